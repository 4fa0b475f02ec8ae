//! At most so many calls in so much time.
