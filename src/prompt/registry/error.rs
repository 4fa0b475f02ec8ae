//! Why the registry did not do what it was asked to.

use crate::{
    Rejection,
    prompt::{fault::InvalidPrompt, name::InvalidName, record::Assignment},
    rejection::Kind,
    storage::{Failure, StoreError},
};
use std::{error::Error, fmt, num::NonZeroU32, sync::Arc};

/// Why the registry did not do what it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// It is not a name.
    Name(InvalidName),
    /// There is no prompt of this name.
    NoPrompt,
    /// The prompt has no such label.
    NoLabel,
    /// The prompt has no such version.
    NoVersion(NonZeroU32),
    /// What was given is not valid, or the version cannot be compiled.
    Invalid(InvalidPrompt),
    /// The latest version is another one, 0 for none.
    Behind(u32),
    /// The label points elsewhere.
    Elsewhere(Option<Assignment>),
    /// The actor lacks this scope.
    Forbidden(Arc<str>),
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(wrong) => wrong.fmt(f),
            Self::NoPrompt => f.write_str("there is no prompt of this name"),
            Self::NoLabel => f.write_str("the prompt has no such label"),
            Self::NoVersion(version) => write!(f, "the prompt has no version {version}"),
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Behind(0) => f.write_str("there is no such prompt yet"),
            Self::Behind(latest) => write!(f, "the latest version is {latest}"),
            Self::Elsewhere(None) => f.write_str("there is no such label yet"),
            Self::Elsewhere(Some(there)) => write!(f, "the label points at {}", there.to_json()),
            Self::Forbidden(scope) => write!(f, "this needs the scope {scope}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<InvalidPrompt> for RegistryError {
    fn from(invalid: InvalidPrompt) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<InvalidName> for RegistryError {
    fn from(wrong: InvalidName) -> Self {
        Self::Name(wrong)
    }
}

/// 400 for what is not valid, 403, 404, 409 for what has changed meanwhile, 503 for the store.
impl From<RegistryError> for Rejection {
    fn from(error: RegistryError) -> Self {
        let rejection = match &error {
            RegistryError::Invalid(invalid) => return invalid.clone().into(),
            RegistryError::Name(wrong) => Self::new(Kind::InvalidRequest).with_detail(wrong.what()),
            RegistryError::NoPrompt => Self::new(Kind::PromptNotFound),
            RegistryError::NoLabel => {
                Self::new(Kind::PromptNotFound).with_detail("The prompt has no such label.")
            }
            RegistryError::NoVersion(_) => {
                Self::new(Kind::PromptNotFound).with_detail("The prompt has no such version.")
            }
            RegistryError::Behind(_) => {
                Self::new(Kind::Conflict).with_detail("The latest version is another one.")
            }
            RegistryError::Elsewhere(_) => {
                Self::new(Kind::Conflict).with_detail("The label points elsewhere.")
            }
            RegistryError::Forbidden(_) => Self::new(Kind::Forbidden),
            RegistryError::Store(error) if error.failure() == Failure::Invalid => {
                Self::new(Kind::Conflict).with_detail("The store does not take this change.")
            }
            RegistryError::Store(_) => Self::new(Kind::PromptsUnavailable),
        };
        rejection.with_source(error)
    }
}
