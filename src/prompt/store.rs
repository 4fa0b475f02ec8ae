//! Where prompts are kept: the trait.

use super::{
    name::{LabelName, PromptName},
    record::{Assignment, LabelMove, NewVersion, PromptHead, RecordedMove, VersionRecord},
};
use crate::storage::Pending;
use std::{num::NonZeroU32, sync::Arc};

/// The most entries that a store gives at once, whatever it is asked for.
pub const MOST_AT_ONCE: usize = 1_000;

/// Keeps versions of prompts and their labels. What it has said is done is still there after a crash.
///
/// Every change is one atomic step, and makes one *revision*: a number that grows with each change
/// of the whole store, from 0 for an empty one. Changes become visible in the order of their
/// revisions: whoever has seen revision 7 will never find a change of revision 6 that was not there
/// before. (In SQL: the row that counts is the first that each change updates, so that they come
/// one after the other.)
pub trait Store: Send + Sync + 'static {
    /// Adds a version under the next number, unless the latest one says the same, or its author has
    /// not seen the latest one. Which of these it is and which number is next is decided in the
    /// same step, in the order of [`Created`].
    fn create_version(&self, version: NewVersion) -> Pending<'_, Created>;

    /// Adds a version under the number that it has, for imports. Versions with higher numbers may
    /// be there, and numbers may be missing.
    fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported>;

    /// A version.
    fn version<'a>(
        &'a self,
        name: &'a PromptName,
        version: NonZeroU32,
    ) -> Pending<'a, Option<VersionRecord>>;

    /// Versions of a prompt, the newest first: those with numbers below `before`, if it is given,
    /// and `limit` at the most. Empty: there are no such.
    fn versions<'a>(
        &'a self,
        name: &'a PromptName,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Pending<'a, Vec<VersionRecord>>;

    /// What is known of a prompt, as of a moment after the call.
    fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>>;

    /// Prompts, in the order of the bytes of their names: those after `after`, if it is given, and
    /// `limit` at the most.
    fn heads<'a>(
        &'a self,
        after: Option<&'a PromptName>,
        limit: usize,
    ) -> Pending<'a, Vec<PromptHead>>;

    /// Lets a label point elsewhere, or takes it away, if it points where the move says that it does, and
    /// records the move. All in one step, in the order of [`Moved`].
    fn move_label(&self, change: LabelMove) -> Pending<'_, Moved>;

    /// The moves of a label, or of all labels of a prompt, the newest first: those with revisions below
    /// `before`, if it is given, and `limit` at the most.
    fn label_history<'a>(
        &'a self,
        name: &'a PromptName,
        label: Option<&'a LabelName>,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'a, Vec<RecordedMove>>;

    /// The prompts that changed after a revision, in the order of the revisions in which they
    /// changed last, `limit` at the most. After 0: all. This is what every gateway asks again and
    /// again: where nothing changed it must cost little.
    fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes>;

    /// What is wrong in it for now, for whoever operates it: such as files that cannot be read. By default nothing.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What became of a version that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The latest version has this digest: nothing was created. So who asks twice gets one version.
    Same(NonZeroU32),
    /// The latest version is another one than its author has seen, 0 for none: nothing was created.
    Behind(u32),
    /// It was created under this number.
    New(NonZeroU32),
}

/// What became of a version that was to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// There is one of this number that says something else: nothing was changed.
    Taken,
    /// There is one of this number that says the same (has the same digest): nothing was changed.
    Same,
    /// It was added.
    New,
}

/// What became of a label that was to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// There is no prompt of this name: nothing was changed.
    NoPrompt,
    /// There is no such version, which it was to point at: nothing was changed.
    NoVersion(NonZeroU32),
    /// It points there, and not where the move said: nothing was changed.
    Elsewhere(Option<Assignment>),
    /// It points there now, as of this revision.
    Done(u64),
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Up to which revision this is all. Ask again from here: if there was more than fits, that is
    /// the revision of the last prompt of the list; otherwise that of the store. Never less than
    /// what was asked.
    pub revision: u64,
    /// The prompts as they are now, in the order of their revisions.
    pub heads: Vec<PromptHead>,
    /// Whether there is more than fits: ask again at once.
    pub more: bool,
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn create_version(&self, version: NewVersion) -> Pending<'_, Created> {
        S::create_version(self, version)
    }

    fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported> {
        S::import_version(self, version)
    }

    fn version<'a>(
        &'a self,
        name: &'a PromptName,
        version: NonZeroU32,
    ) -> Pending<'a, Option<VersionRecord>> {
        S::version(self, name, version)
    }

    fn versions<'a>(
        &'a self,
        name: &'a PromptName,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Pending<'a, Vec<VersionRecord>> {
        S::versions(self, name, before, limit)
    }

    fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>> {
        S::head(self, name)
    }

    fn heads<'a>(
        &'a self,
        after: Option<&'a PromptName>,
        limit: usize,
    ) -> Pending<'a, Vec<PromptHead>> {
        S::heads(self, after, limit)
    }

    fn move_label(&self, change: LabelMove) -> Pending<'_, Moved> {
        S::move_label(self, change)
    }

    fn label_history<'a>(
        &'a self,
        name: &'a PromptName,
        label: Option<&'a LabelName>,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'a, Vec<RecordedMove>> {
        S::label_history(self, name, label, before, limit)
    }

    fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes> {
        S::changes_since(self, revision, limit)
    }

    fn problems(&self) -> Vec<String> {
        S::problems(self)
    }
}
