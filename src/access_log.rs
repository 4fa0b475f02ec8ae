//! One line for each exchange, when it is over.
