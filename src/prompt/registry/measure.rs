//! How versions do.

use super::{Registry, RegistryError};
use crate::prompt::{
    fault::{Fault, InvalidPrompt},
    name::PromptName,
    results::{CallOutcome, VersionResults},
    version::Found,
};
use std::num::NonZeroU32;

impl Registry {
    /// Notes how a call of a version went.
    pub fn record(&self, found: &Found, outcome: &CallOutcome) {
        let version = &found.version;
        let results = &self.0.results;
        results.record(version.name(), version.number(), outcome);
    }

    /// Notes a score that the application gives a version: its name (as a label is made), and a number.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`]; [`RegistryError::NoVersion`] of a number above that of the latest version (whether
    /// an older one is there is not asked: calls of it may have been made elsewhere); [`RegistryError::Name`]; a score
    /// that is no number.
    pub fn score(
        &self,
        name: &str,
        version: NonZeroU32,
        score: &str,
        value: f64,
    ) -> Result<(), RegistryError> {
        let name = PromptName::new(name)?;
        let score = PromptName::new(score)?;
        if !value.is_finite() {
            let what = "A score is a finite number.";
            return Err(InvalidPrompt::from(Fault::new("/value", what)).into());
        }
        let head = self.head(&name).ok_or(RegistryError::NoPrompt)?;
        if version > head.latest {
            return Err(RegistryError::NoVersion(version));
        }
        if self.0.results.score(&name, version, &score, value) {
            return Ok(());
        }
        let what = "A version has scores of 16 names at the most.";
        Err(InvalidPrompt::from(Fault::new("/score", what)).into())
    }

    /// What is known of the calls of a prompt in this process, version by version.
    #[must_use]
    pub fn results(&self, name: &str) -> Vec<VersionResults> {
        self.0.results.of(name)
    }

    /// The same of all prompts, for metrics: of the 160 versions that were called first, in that order. Once
    /// there are so many, a version takes the place of an older one of its own prompt, and of no other.
    #[must_use]
    pub fn all_results(&self) -> Vec<(PromptName, VersionResults)> {
        self.0.results.all()
    }
}
