//! Stop calling a service that keeps failing.
