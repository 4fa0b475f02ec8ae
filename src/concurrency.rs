//! At most so many exchanges at once.
