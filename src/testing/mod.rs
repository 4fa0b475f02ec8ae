//! A mock vendor and a mock upstream.
