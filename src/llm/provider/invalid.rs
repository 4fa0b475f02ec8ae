//! Why there is no provider.

use std::fmt;

/// Why a provider cannot be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InvalidProvider {
    variable: Option<&'static str>,
    reason: &'static str,
}

impl InvalidProvider {
    pub(super) fn new(reason: &'static str) -> Self {
        let variable = None;
        Self { variable, reason }
    }

    pub(super) fn of(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    /// The environment variable at fault.
    #[must_use]
    pub fn variable(&self) -> Option<&'static str> {
        self.variable
    }
}

impl fmt::Display for InvalidProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "{variable}: {}", self.reason),
            None => f.write_str(self.reason),
        }
    }
}

/// As a person reads it: this is what a `main` that returns it prints.
impl fmt::Debug for InvalidProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for InvalidProvider {}
