//! Forward to an upstream.
