//! The registry: what everyone asks for prompts.

use super::{
    content::{At, Prompt},
    diff,
    fault::InvalidPrompt,
    name::{InvalidName, LabelName, PromptName},
    record::{Actor, Assignment, LabelMove, NewVersion, PromptHead, RecordedMove, VersionRecord},
    results::{Outcome, VersionResults},
    store::{Created, Store},
    version::{Found, Version},
};
use crate::{Rejection, rejection::Kind, storage::StoreError};
use std::{error::Error, fmt, hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

/// Named prompts, their versions and labels.
///
/// Cloning it bumps a counter; clones share everything. See the [module docs](super).
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
}

/// How a registry is set up. By default the label `production` is protected by the scope
/// `prompts:production`.
#[derive(Clone, Debug)]
pub struct RegistryBuilder {
    protected: Vec<(LabelName, Arc<str>)>,
    refresh: Duration,
    most_prompts: usize,
    most_versions: usize,
}

impl RegistryBuilder {
    /// Moving this label needs this scope.
    #[must_use]
    pub fn protect(mut self, label: LabelName, scope: impl Into<Arc<str>>) -> Self {
        todo!()
    }

    /// Moving this label needs no scope.
    #[must_use]
    pub fn unprotect(mut self, label: &str) -> Self {
        todo!()
    }

    /// How often the store is asked for changes. By default every second; at least 10 ms.
    #[must_use]
    pub fn refresh(mut self, every: Duration) -> Self {
        todo!()
    }

    /// How many prompts are held at the most: 10,000 by default. Those that are beyond are not found.
    #[must_use]
    pub fn most_prompts(mut self, prompts: usize) -> Self {
        todo!()
    }

    /// How many versions are held, beside those that labels point at and the latest ones: 1,000 by default.
    #[must_use]
    pub fn most_versions(mut self, versions: usize) -> Self {
        todo!()
    }

    /// Reads the store once, and from then on what has changed, in a task that ends with the last clone of
    /// the registry.
    ///
    /// # Errors
    ///
    /// If the store cannot be read. A version in it that cannot be compiled is no error: see
    /// [`Registry::problems`].
    pub async fn open(self, store: impl Store) -> Result<Registry, StoreError> {
        todo!()
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
        todo!()
    }

    /// Over the memory of this process, with defaults: for tests, and for prompts in code.
    #[must_use]
    pub fn in_memory() -> Self {
        todo!()
    }

    /// The store that it is over.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The version that a label points at: no waiting, no allocation. Of several versions, the one that the key
    /// belongs to, always the same; without a key any, by its share. [`latest`](super::LATEST) is a label here.
    ///
    /// `None`: there is no such prompt or label, or its version cannot be had.
    #[must_use]
    pub fn by_label<K: Hash + ?Sized>(
        &self,
        name: &str,
        label: &str,
        key: Option<&K>,
    ) -> Option<Found> {
        todo!()
    }

    /// A version, by its number or by a label. Old versions are read from the store.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`], [`NoLabel`](RegistryError::NoLabel), [`NoVersion`](RegistryError::NoVersion), or the
    /// store's.
    pub async fn find<K: Hash + ?Sized>(
        &self,
        name: &str,
        at: &At,
        key: Option<&K>,
    ) -> Result<Found, RegistryError> {
        todo!()
    }

    /// What is known of a prompt: latest version and labels, as of the last refresh.
    #[must_use]
    pub fn head(&self, name: &str) -> Option<Arc<PromptHead>> {
        todo!()
    }

    /// All prompts that are held, in the order of their names, as of the last refresh: those after `after`, `limit`
    /// at the most.
    #[must_use]
    pub fn heads(&self, after: Option<&str>, limit: usize) -> Vec<Arc<PromptHead>> {
        todo!()
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
        todo!()
    }

    /// Creates a version: pins its partials, checks and compiles it, and adds it under the next number. If the
    /// latest version says the same, it is that one. It can be found, by this registry, when this returns.
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
        todo!()
    }

    /// Pins, checks and compiles a prompt as [`create`](Self::create) would, and keeps nothing: its number is
    /// the next one. For previews.
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
        todo!()
    }

    /// Moves a label, or takes it away, and records who did it. This registry sees it when this returns, others
    /// over the same store with their next refresh.
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
        todo!()
    }

    /// The scope that moving this label needs.
    #[must_use]
    pub fn scope_of(&self, label: &str) -> Option<&Arc<str>> {
        todo!()
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
        todo!()
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
        todo!()
    }

    /// Notes how a call of a version went.
    pub fn record(&self, found: &Found, outcome: Outcome) {
        todo!()
    }

    /// Notes a score that the application gives a version: its name (as a label is made), and a number.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoVersion`], if the registry does not hold it; [`RegistryError::Name`]; a score that is no number.
    pub fn score(
        &self,
        name: &str,
        version: NonZeroU32,
        score: &str,
        value: f64,
    ) -> Result<(), RegistryError> {
        todo!()
    }

    /// What is known of the calls of a prompt in this process, version by version.
    #[must_use]
    pub fn results(&self, name: &str) -> Vec<VersionResults> {
        todo!()
    }

    /// Asks the store for changes now.
    ///
    /// # Errors
    ///
    /// The store's. What was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// What is wrong for now: the store, if the last refresh failed, and versions in it that cannot be compiled.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        todo!()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// What goes with a change: why, and what its author believes to be there.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Change {
    /// Why, in 1,024 bytes at the most.
    pub message: Option<String>,
    /// For [`create`](Registry::create): the number of the latest version that was seen, 0 for none.
    pub after: Option<u32>,
    /// For [`move_label`](Registry::move_label): what it points at, `Some(None)` for nothing. `None`: wherever
    /// it points.
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
            RegistryError::Store(_) => Self::new(Kind::PromptsUnavailable),
        };
        rejection.with_source(error)
    }
}
