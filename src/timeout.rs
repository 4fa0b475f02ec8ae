//! An answer that must begin in time, go on in time, and end in time.
