//! How a registry is set up.

use super::{Inner, Registry};
use crate::{
    prompt::{name::LabelName, store::Store},
    storage::StoreError,
};
use std::{sync::Arc, time::Duration};

/// The scope that moving the label `production` needs by default.
pub(super) const SCOPE: &str = "prompts:production";

/// How a registry is set up. By default the label `production` is protected by the scope
/// `prompts:production`.
#[derive(Clone, Debug)]
pub struct RegistryBuilder {
    pub(super) protected: Vec<(LabelName, Arc<str>)>,
    pub(super) refresh: Duration,
    pub(super) most_prompts: usize,
    pub(super) most_versions: usize,
    pub(super) most_bytes: usize,
}

impl RegistryBuilder {
    /// Moving this label needs this scope.
    #[must_use]
    pub fn protect(mut self, label: LabelName, scope: impl Into<Arc<str>>) -> Self {
        self.protected.retain(|(known, _)| *known != label);
        self.protected.push((label, scope.into()));
        self
    }

    /// Moving this label needs no scope.
    #[must_use]
    pub fn unprotect(mut self, label: &str) -> Self {
        self.protected.retain(|(known, _)| **known != *label);
        self
    }

    /// How often the store is asked for changes. By default every second; at least 10 ms.
    #[must_use]
    pub fn refresh(mut self, every: Duration) -> Self {
        self.refresh = every.max(Duration::from_millis(10));
        self
    }

    /// How many prompts are held at the most: 10,000 by default. Those that are beyond are not found.
    #[must_use]
    pub fn most_prompts(mut self, prompts: usize) -> Self {
        self.most_prompts = prompts;
        self
    }

    /// How many versions are held, beside those that labels point at and the latest ones: 1,000 by default.
    #[must_use]
    pub fn most_versions(mut self, versions: usize) -> Self {
        self.most_versions = versions;
        self
    }

    /// How many bytes the versions that are held have together at the most: 256 MiB by default, a quarter of it more
    /// for what prompts become that are held, and a quarter for versions that no label points at. Prompts that are beyond
    /// are not found, and are told by [`problems`](Registry::problems), until there is room.
    #[must_use]
    pub fn most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Reads the store once, and from then on what has changed, in a task that ends with the last clone of
    /// the registry.
    ///
    /// # Errors
    ///
    /// If the store cannot be read. A version in it that cannot be compiled is no error: see
    /// [`Registry::problems`].
    pub async fn open(self, store: impl Store) -> Result<Registry, StoreError> {
        let inner = Inner::new(store, self);
        inner.refresh().await?;
        inner.follow();
        Ok(Registry(inner))
    }
}

impl Default for RegistryBuilder {
    fn default() -> Self {
        let production = LabelName::new("production").ok();
        Self {
            protected: production
                .map(|label| (label, SCOPE.into()))
                .into_iter()
                .collect(),
            refresh: Duration::from_secs(1),
            most_prompts: 10_000,
            most_versions: 1_000,
            most_bytes: 256 << 20,
        }
    }
}
