//! A span for each exchange, and its request id.
