//! What goes with a change.

use super::RegistryError;
use crate::prompt::{
    fault::{Fault, InvalidPrompt},
    record::Assignment,
};

/// The longest reason for a change, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// What goes with a change: why, and what its author believes to be there.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Change {
    /// Why, in 1,024 bytes at the most.
    pub message: Option<String>,
    /// For [`create`](super::Registry::create): the number of the latest version that was seen, 0 for none.
    pub after: Option<u32>,
    /// For [`move_label`](super::Registry::move_label): what it points at, `Some(None)` for nothing.
    /// `None`: wherever it points.
    pub from: Option<Option<Assignment>>,
}

impl Change {
    /// Without a word.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says why.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Only if this is the number of the latest version, 0 for none.
    #[must_use]
    pub fn after(mut self, latest: u32) -> Self {
        self.after = Some(latest);
        self
    }

    /// Only if the label points at this, `None` for nothing.
    #[must_use]
    pub fn from(mut self, from: Option<Assignment>) -> Self {
        self.from = Some(from);
        self
    }
}

impl Change {
    /// Why something is changed, if it is short enough.
    pub(super) fn why(&self) -> Result<Option<Box<str>>, RegistryError> {
        match &self.message {
            Some(message) if message.len() > LONGEST_MESSAGE => {
                let what = "A message has 1024 bytes at the most.";
                Err(InvalidPrompt::from(Fault::new("/message", what)).into())
            }
            message => Ok(message.as_deref().map(Into::into)),
        }
    }
}
