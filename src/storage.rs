//! What all storage outside of a policy has in common: how it is awaited, and how it fails.
//!
//! The storage traits themselves stand with their policies, in the policy's words, such as
//! [`KeyStore`](crate::auth::stored::KeyStore).

use std::{borrow::Cow, error::Error, fmt, future::Future, pin::Pin, sync::Arc};

/// What a storage is awaited for. Boxed, so that a trait of such methods can be a `dyn`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// It cannot be reached, or broke off.
    Unavailable,
    /// It did not answer in time.
    TimedOut,
    /// What was to be added is there already.
    Conflict,
    /// What it was asked or set up with is not valid.
    Invalid,
    /// What is in it cannot be read.
    Corrupt,
    /// It was written by a newer version of this program.
    Newer,
}

/// Why a storage could not do what it was asked to.
///
/// It names no address, no password and no value: what is shown is fit for logs. The
/// [`source`](Error::source) is what the driver said.
#[derive(Clone, Debug)]
pub struct StoreError {
    failure: Failure,
    message: Cow<'static, str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// A failure, in words that hold no secret.
    #[must_use]
    pub fn new(failure: Failure, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            failure,
            message: message.into(),
            source: None,
        }
    }

    /// It cannot be reached, or broke off.
    #[must_use]
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Failure::Unavailable, "the store is not available").with_source(source)
    }

    /// It did not answer in time.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::new(Failure::TimedOut, "the store did not answer in time")
    }

    /// What it was asked or set up with is not valid.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Failure::Invalid, message)
    }

    /// What is in it cannot be read.
    #[must_use]
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Failure::Corrupt, message)
    }

    /// Adds what went wrong inside.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn failure(&self) -> Failure {
        self.failure
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}
