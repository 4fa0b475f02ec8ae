//! The layers, assembled.
