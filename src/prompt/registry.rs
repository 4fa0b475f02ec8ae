//! The registry: what everyone asks for prompts.

mod builder;
mod cache;
mod change;
mod create;
mod error;
mod measure;
mod refresh;
mod release;
mod snapshot;
#[cfg(test)]
mod tests;

pub use self::{builder::RegistryBuilder, change::Change, error::RegistryError};

use self::{
    cache::Cache,
    refresh::patiently,
    snapshot::{Room, Snapshot},
};
use super::{
    content::At,
    memory::MemoryStore,
    name::{LATEST, PromptName},
    record::PromptHead,
    results::Results,
    store::Store,
    transfer::Export,
    version::{Found, Version},
};
use crate::storage::StoreError;
use std::{
    fmt,
    hash::Hash,
    num::NonZeroU32,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};
use tokio::task::AbortHandle;

/// The most problems that are told.
const MOST_PROBLEMS: usize = 100;

/// The most prompts that there is no room for of which each is told.
const MOST_LEFT_OUT: usize = 10;

/// Named prompts, their versions and labels.
///
/// Cloning it bumps a counter; clones share everything. See the [module docs](super).
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    settings: RegistryBuilder,
    snapshot: RwLock<Arc<Snapshot>>,
    cache: Cache,
    results: Results,
    /// One refresh at a time.
    turn: tokio::sync::Mutex<()>,
    /// Why the last refresh failed.
    failed: Mutex<Option<StoreError>>,
    task: OnceLock<AbortHandle>,
}

impl Inner {
    fn new(store: impl Store, settings: RegistryBuilder) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(store),
            snapshot: RwLock::default(),
            cache: Cache::new(settings.most_versions, settings.most_bytes / 4),
            results: Results::new(settings.most_prompts),
            turn: tokio::sync::Mutex::new(()),
            failed: Mutex::default(),
            task: OnceLock::new(),
            settings,
        })
    }

    fn room(&self) -> Room {
        Room {
            prompts: self.settings.most_prompts,
            bytes: self.settings.most_bytes,
        }
    }

    // It is swapped whole: valid after every statement.
    fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.read();
        snapshot.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Registry {
    /// Over this store, with defaults.
    ///
    /// # Errors
    ///
    /// As [`RegistryBuilder::open`].
    pub async fn open(store: impl Store) -> Result<Self, StoreError> {
        Self::builder().open(store).await
    }

    /// To set it up.
    #[must_use]
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Over the memory of this process, with defaults: for tests, and for prompts in code.
    #[must_use]
    pub fn in_memory() -> Self {
        // Nobody else writes there, so there is nothing to follow.
        Self(Inner::new(MemoryStore::new(), Self::builder()))
    }

    /// The store that it is over.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The version that a label points at: no waiting, no allocation. Of several versions, the one
    /// that the key belongs to, always the same; without a key any, by its share.
    /// [`latest`](super::LATEST) is a label here.
    ///
    /// `None`: there is no such prompt or label, or its version cannot be had.
    #[must_use]
    pub fn by_label<K: Hash + ?Sized>(
        &self,
        name: &str,
        label: &str,
        key: Option<&K>,
    ) -> Option<Found> {
        let snapshot = self.0.snapshot.read();
        let snapshot = snapshot.unwrap_or_else(PoisonError::into_inner);
        snapshot.by_label(name, label, key)
    }

    /// A version, by its number or by a label. Old versions are read from the store.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`], [`NoLabel`](RegistryError::NoLabel),
    /// [`NoVersion`](RegistryError::NoVersion), or the store's.
    pub async fn find<K: Hash + ?Sized>(
        &self,
        name: &str,
        at: &At,
        key: Option<&K>,
    ) -> Result<Found, RegistryError> {
        let snapshot = self.0.snapshot();
        let entry = snapshot.prompts.get(name).ok_or(RegistryError::NoPrompt)?;
        let label = match at {
            At::Latest => LATEST,
            At::Label(label) => label.as_str(),
            At::Version(number) => {
                let known = entry.version(*number);
                let version = self.version(&entry.head, known, *number).await?;
                return Ok(Found {
                    version,
                    label: None,
                    is_split: false,
                });
            }
        };
        if let Some(found) = entry.by_label(label, key) {
            return Ok(found);
        }
        let number = match at {
            At::Label(label) => match entry.head.labels.get(label) {
                Some(assignment) => assignment.main(),
                None => return Err(RegistryError::NoLabel),
            },
            _ => entry.head.latest,
        };
        Err(entry.why_not(number))
    }

    /// A version of a prompt: one that is known, or from the store.
    async fn version(
        &self,
        head: &PromptHead,
        known: Option<&Arc<Version>>,
        number: NonZeroU32,
    ) -> Result<Arc<Version>, RegistryError> {
        if let Some(known) = known {
            return Ok(known.clone());
        }
        // Nobody makes the store look for what there is not.
        if number > head.latest {
            return Err(RegistryError::NoVersion(number));
        }
        match self.0.load(&head.name, number).await? {
            Some(found) => Ok(found?),
            None => Err(RegistryError::NoVersion(number)),
        }
    }

    /// What is known of a prompt: latest version and labels, as of the last refresh.
    #[must_use]
    pub fn head(&self, name: &str) -> Option<Arc<PromptHead>> {
        let snapshot = self.0.snapshot();
        Some(snapshot.prompts.get(name)?.head.clone())
    }

    /// All prompts that are held, in the order of their names, as of the last refresh: those after
    /// `after`, `limit` at the most.
    #[must_use]
    pub fn heads(&self, after: Option<&str>, limit: usize) -> Vec<Arc<PromptHead>> {
        let snapshot = self.0.snapshot();
        let mut all: Vec<_> = snapshot
            .prompts
            .values()
            .map(|entry| entry.head.clone())
            .filter(|head| after.is_none_or(|after| *head.name > *after))
            .collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all.truncate(limit);
        all
    }

    /// What the store knows of a prompt.
    async fn stored(&self, name: &PromptName) -> Result<PromptHead, RegistryError> {
        let head = patiently(self.0.store.head(name)).await?;
        head.ok_or(RegistryError::NoPrompt)
    }

    /// Asks the store for changes now.
    ///
    /// # Errors
    ///
    /// The store's. What was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.0.refresh().await
    }

    /// Everything in the store, to be [imported](super::Import) elsewhere.
    #[must_use]
    pub fn export(&self) -> Export {
        Export::new(self.0.store.clone())
    }

    /// What is wrong for now: the store, if the last refresh failed, what it tells itself, and versions
    /// in it that cannot be compiled.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let snapshot = self.0.snapshot();
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = failed.iter().map(ToString::to_string).collect();
        drop(failed);
        all.extend(self.0.store.problems());
        let left_out = snapshot.left_out.keys();
        let names = left_out.clone().take(MOST_LEFT_OUT);
        all.extend(names.map(|name| format!("there is no room for prompt {name}")));
        if left_out.len() > MOST_LEFT_OUT {
            let more = left_out.len() - MOST_LEFT_OUT;
            all.push(format!("there is no room for {more} more prompts"));
        }
        for (name, entry) in &snapshot.prompts {
            for (version, why) in &entry.broken {
                all.push(format!("prompt {name} version {version}: {why}"));
            }
        }
        all.truncate(MOST_PROBLEMS);
        all
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot();
        f.debug_struct("Registry")
            .field("prompts", &snapshot.prompts.len())
            .field("revision", &snapshot.revision)
            .finish_non_exhaustive()
    }
}
