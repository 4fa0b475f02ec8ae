//! Why a gateway cannot be built.

use std::fmt::{self, Write};

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: String,
    pub(super) mend: String,
}

/// Why a gateway could not be built: every fault that was found.
pub struct BuildError(pub(super) Vec<Fault>);

impl BuildError {
    /// Each fault: the call that made it, and what would mend it.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|fault| (&*fault.at, &*fault.mend))
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("the gateway cannot be built:");
        for (at, mend) in self.faults() {
            let _ = write!(text, "\n  {at}: {mend}");
        }
        f.write_str(&text)
    }
}

/// As a person reads it: this is what a `main` that returns it prints.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildError {}
