//! Path and method to service.
