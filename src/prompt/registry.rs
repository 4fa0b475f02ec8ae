//! The registry: what everyone asks for prompts.

mod builder;
mod cache;
mod change;
mod error;
mod refresh;
mod snapshot;
#[cfg(test)]
mod tests;

pub use self::{builder::RegistryBuilder, change::Change, error::RegistryError};

use self::{cache::Cache, refresh::patiently, snapshot::Snapshot};
use super::{
    content::{At, PartialSource, Prompt},
    diff::diff,
    fault::{Fault, InvalidPrompt},
    memory::MemoryStore,
    name::{LATEST, LabelName, PromptName},
    record::{Actor, Assignment, LabelMove, NewVersion, PromptHead, RecordedMove, VersionRecord},
    results::{Outcome, Results, VersionResults},
    store::{Created, Moved, Store},
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

/// The most labels of a prompt.
const MOST_LABELS: usize = 64;

/// The most partials that are looked for.
const MOST_PARTIALS: usize = 64;

/// The most problems that are told.
const MOST_PROBLEMS: usize = 100;

/// How often a label is moved again that somebody else has moved meanwhile.
const TRIES: usize = 8;

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

    /// Versions of a prompt, the newest first, from the store: those with numbers below `before`.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`], or the store's.
    pub async fn versions(
        &self,
        name: &str,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Result<Vec<VersionRecord>, RegistryError> {
        let name = PromptName::new(name)?;
        let all = patiently(self.0.store.versions(&name, before, limit)).await?;
        if all.is_empty() {
            self.stored(&name).await?;
        }
        Ok(all)
    }

    /// Creates a version: pins its partials, checks and compiles it, and adds it under the next
    /// number. If the latest version says the same, it is that one. It can be found, by this
    /// registry, when this returns.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Invalid`] with all that is wrong; [`RegistryError::Behind`], if
    /// [`after`](Change::after) is not the latest one; the store's.
    pub async fn create(
        &self,
        actor: &Actor,
        name: &str,
        prompt: Prompt,
        change: Change,
    ) -> Result<Created, RegistryError> {
        let new = self.prepare(actor, name, prompt).await?;
        Version::compile(VersionRecord::new(new.clone(), NonZeroU32::MIN))?;
        let new = NewVersion {
            message: change.why()?,
            after: change.after,
            ..new
        };
        match patiently(self.0.store.create_version(new)).await? {
            Created::Behind(latest) => Err(RegistryError::Behind(latest)),
            created => {
                // It is created, whether or not it can be read back at once.
                let _ = self.refresh().await;
                Ok(created)
            }
        }
    }

    /// Pins, checks and compiles a prompt as [`create`](Self::create) would, and keeps nothing: its
    /// number is the next one. For previews.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub async fn preview(
        &self,
        actor: &Actor,
        name: &str,
        prompt: Prompt,
    ) -> Result<Version, RegistryError> {
        let new = self.prepare(actor, name, prompt).await?;
        let latest = self.head(name).map_or(0, |head| head.latest.get());
        let number = NonZeroU32::MIN.saturating_add(latest);
        Ok(Version::compile(VersionRecord::new(new, number))?)
    }

    /// Pins the partials of a prompt that is to be a version.
    async fn prepare(
        &self,
        actor: &Actor,
        name: &str,
        mut prompt: Prompt,
    ) -> Result<NewVersion, RegistryError> {
        let name = PromptName::new(name)?;
        let mut found: Vec<(PartialSource, (NonZeroU32, Arc<Prompt>))> = Vec::new();
        for source in prompt.unpinned().take(MOST_PARTIALS) {
            if found.iter().any(|(known, _)| known == source) {
                continue;
            }
            let Some(head) = patiently(self.0.store.head(&source.prompt)).await? else {
                continue;
            };
            let number = match &source.at {
                At::Latest => Some(head.latest),
                At::Version(number) => Some(*number),
                At::Label(label) => head.labels.get(label).map(Assignment::main),
            };
            let Some(number) = number else {
                continue;
            };
            if let Some(record) = patiently(self.0.store.version(&source.prompt, number)).await? {
                found.push((source.clone(), (number, record.prompt)));
            }
        }
        prompt.pin(|source| {
            let found = found.iter().find(|(known, _)| known == source);
            found.map(|(_, found)| found.clone())
        })?;
        Ok(NewVersion::new(name, prompt, actor.name().clone()))
    }

    /// Moves a label, or takes it away, and records who did it. This registry sees it when this
    /// returns, others over the same store with their next refresh.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Forbidden`], if the label is protected and the actor lacks the scope;
    /// [`RegistryError::Elsewhere`], if [`from`](Change::from) is given and it points elsewhere;
    /// [`RegistryError::NoVersion`]; the store's.
    pub async fn move_label(
        &self,
        actor: &Actor,
        name: &str,
        label: &str,
        to: Option<Assignment>,
        change: Change,
    ) -> Result<LabelMove, RegistryError> {
        let (name, label) = (PromptName::new(name)?, LabelName::new(label)?);
        if let Some(scope) = self
            .scope_of(&label)
            .filter(|scope| !actor.has_scope(scope))
        {
            return Err(RegistryError::Forbidden(scope.clone()));
        }
        let message = change.why()?;
        let mut head = self.stored(&name).await?;
        // Nobody lets a label point at what cannot be used.
        for share in to.iter().flat_map(Assignment::shares) {
            self.version(&head, None, share.version).await?;
        }
        for _ in 0..TRIES {
            let from = head.labels.get(&label);
            if change
                .from
                .as_ref()
                .is_some_and(|seen| seen.as_ref() != from)
            {
                return Err(RegistryError::Elsewhere(from.cloned()));
            }
            if from.is_none() && to.is_none() {
                return Err(RegistryError::NoLabel);
            }
            if from.is_none() && head.labels.len() >= MOST_LABELS {
                let what = "A prompt has 64 labels at the most.";
                return Err(InvalidPrompt::from(Fault::new("", what)).into());
            }
            let by = actor.name().clone();
            let mut moved =
                LabelMove::new(name.clone(), label.clone(), from.cloned(), to.clone(), by);
            moved.message.clone_from(&message);
            // Nothing is moved, and so there is nothing to record.
            if moved.from == moved.to {
                return Ok(moved);
            }
            match patiently(self.0.store.move_label(moved.clone())).await? {
                Moved::Done(_) => {
                    // It is moved, whether or not it can be read back at once.
                    let _ = self.refresh().await;
                    return Ok(moved);
                }
                Moved::NoPrompt => return Err(RegistryError::NoPrompt),
                Moved::NoVersion(number) => return Err(RegistryError::NoVersion(number)),
                Moved::Elsewhere(_) => head = self.stored(&name).await?,
            }
        }
        Err(RegistryError::Elsewhere(head.labels.get(&label).cloned()))
    }

    /// What the store knows of a prompt.
    async fn stored(&self, name: &PromptName) -> Result<PromptHead, RegistryError> {
        let head = patiently(self.0.store.head(name)).await?;
        head.ok_or(RegistryError::NoPrompt)
    }

    /// The scope that moving this label needs.
    #[must_use]
    pub fn scope_of(&self, label: &str) -> Option<&Arc<str>> {
        let protected = &self.0.settings.protected;
        let found = protected.iter().find(|(known, _)| **known == *label);
        found.map(|(_, scope)| scope)
    }

    /// The moves of a label, or of all labels of a prompt, the newest first.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`], or the store's.
    pub async fn label_history(
        &self,
        name: &str,
        label: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<RecordedMove>, RegistryError> {
        let name = PromptName::new(name)?;
        let label = label.map(LabelName::new).transpose()?;
        let history = self
            .0
            .store
            .label_history(&name, label.as_ref(), before, limit);
        let all = patiently(history).await?;
        if all.is_empty() {
            self.stored(&name).await?;
        }
        Ok(all)
    }

    /// What differs from one version to another, as a unified diff of their readable forms. Empty: nothing.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoVersion`], or the store's.
    pub async fn diff(
        &self,
        name: &str,
        old: NonZeroU32,
        new: NonZeroU32,
    ) -> Result<String, RegistryError> {
        let one = self.find::<str>(name, &At::Version(old), None).await?;
        let other = self.find::<str>(name, &At::Version(new), None).await?;
        let title = |version: NonZeroU32| format!("{name} version {version}");
        let (one, other) = (one.version.prompt(), other.version.prompt());
        Ok(diff(&title(old), one, &title(new), other))
    }

    /// Notes how a call of a version went.
    pub fn record(&self, found: &Found, outcome: Outcome) {
        let version = &found.version;
        let results = &self.0.results;
        results.record(version.name(), version.number(), &outcome);
    }

    /// Notes a score that the application gives a version: its name (as a label is made), and a number.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoVersion`], if the registry does not hold it; [`RegistryError::Name`]; a
    /// score that is no number.
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
        if let Some(name) = &snapshot.left_out {
            all.push(format!("there is no room for prompt {name}"));
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
