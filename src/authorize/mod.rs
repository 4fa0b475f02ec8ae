//! Who may do what.

pub mod external;
