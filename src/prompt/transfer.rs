//! From one store into another.

use super::{
    fault::InvalidPrompt,
    name::PromptName,
    record::{LabelMove, PromptHead, RecordedMove, VersionRecord, digest},
    store::{Imported, MOST_AT_ONCE, Moved, Store},
    version::Version,
};
use crate::storage::StoreError;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, error::Error, fmt, num::NonZeroU32, sync::Arc};

/// A piece of an export: in JSON `{"version": {…}}` or `{"move": {…}}`, one to a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A version.
    Version(VersionRecord),
    /// A move of a label, after all versions of its prompt.
    Move(LabelMove),
}

/// Everything in a store, prompt by prompt: its versions from the oldest on, then the moves of its
/// labels from the oldest on. What is created meanwhile may be in it or not.
pub struct Export {
    store: Arc<dyn Store>,
    prompts: VecDeque<PromptHead>,
    last: Option<PromptName>,
    all: bool,
    ready: VecDeque<Record>,
}

impl Export {
    /// Of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            prompts: VecDeque::new(),
            last: None,
            all: false,
            ready: VecDeque::new(),
        }
    }

    /// The next piece. `None`: that was all.
    ///
    /// # Errors
    ///
    /// The store's. It can be asked again.
    pub async fn next(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Some(record));
            }
            if let Some(head) = self.prompts.front() {
                self.ready = whole(&*self.store, head).await?;
                self.prompts.pop_front();
                continue;
            }
            if self.all {
                return Ok(None);
            }
            let page = self.store.heads(self.last.as_ref(), MOST_AT_ONCE).await?;
            match page.last() {
                Some(head) => self.last = Some(head.name.clone()),
                None => self.all = true,
            }
            self.prompts = page.into();
        }
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// All versions and moves of a prompt.
async fn whole(store: &dyn Store, head: &PromptHead) -> Result<VecDeque<Record>, StoreError> {
    let mut records = VecDeque::new();
    // The moves first: what they point at is there already.
    let mut before = None;
    loop {
        let page = store
            .label_history(&head.name, None, before, MOST_AT_ONCE)
            .await?;
        let Some(RecordedMove { revision, .. }) = page.last() else {
            break;
        };
        before = Some(*revision);
        for made in page {
            records.push_front(Record::Move(made.moved));
        }
    }
    let mut before: Option<NonZeroU32> = None;
    loop {
        let page = store.versions(&head.name, before, MOST_AT_ONCE).await?;
        let Some(last) = page.last() else {
            break;
        };
        before = Some(last.version);
        for version in page {
            records.push_front(Record::Version(version));
        }
    }
    Ok(records)
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Versions that were added.
    pub versions: u64,
    /// Moves that were made.
    pub moves: u64,
    /// Pieces that were there already.
    pub same: u64,
}

impl ImportReport {
    /// How many pieces were taken. Of an export in lines the one that failed is the line after these.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.versions + self.moves + self.same
    }
}

/// Why an import ended early. What was done before stays, and the import can be done again.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// What a version says is not what it said when its digest was made.
    Changed(PromptName, NonZeroU32),
    /// A version cannot be compiled.
    Invalid(PromptName, NonZeroU32, InvalidPrompt),
    /// The store has a version of this number that says something else.
    Taken(PromptName, NonZeroU32),
    /// A label of this prompt points elsewhere than where the move says: the stores have gone
    /// different ways.
    Elsewhere(Box<LabelMove>),
    /// A move points at a version that there is not.
    NoVersion(Box<LabelMove>),
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(name, version) => write!(
                f,
                "prompt {name} version {version} has been changed: its digest is that of something else"
            ),
            Self::Invalid(name, version, why) => {
                write!(f, "prompt {name} version {version}: {why}")
            }
            Self::Taken(name, version) => {
                write!(f, "prompt {name} has another version {version} already")
            }
            Self::Elsewhere(moved) => write!(
                f,
                "label {} of prompt {} points elsewhere",
                moved.label, moved.name
            ),
            Self::NoVersion(moved) => write!(
                f,
                "label {} of prompt {} is to point at a version that there is not",
                moved.label, moved.name
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for ImportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Takes pieces of an export into a store, in their order. To do it again does nothing more.
#[derive(Debug)]
pub struct Import<'a, S: ?Sized> {
    store: &'a S,
    report: ImportReport,
    /// The moves of the prompt at hand that the store has already, from the oldest on.
    there: Option<(PromptName, VecDeque<LabelMove>)>,
}

impl<'a, S: Store + ?Sized> Import<'a, S> {
    /// Into this store.
    #[must_use]
    pub fn new(store: &'a S) -> Self {
        Self {
            store,
            report: ImportReport::default(),
            there: None,
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> ImportReport {
        self.report
    }

    /// Takes a piece. A version is taken if it says what its digest does, and can be compiled.
    ///
    /// # Errors
    ///
    /// Why it cannot be taken.
    pub async fn add(&mut self, record: Record) -> Result<(), ImportError> {
        match record {
            Record::Version(version) => {
                let (name, number) = (version.name.clone(), version.version);
                if version.digest != digest(&version.prompt) {
                    return Err(ImportError::Changed(name, number));
                }
                let version = match Version::compile(version) {
                    Ok(version) => version.record().clone(),
                    Err(why) => return Err(ImportError::Invalid(name, number, why)),
                };
                match self.store.import_version(version).await? {
                    Imported::New => self.report.versions += 1,
                    Imported::Same => self.report.same += 1,
                    Imported::Taken => return Err(ImportError::Taken(name, number)),
                }
            }
            Record::Move(moved) => {
                if self.has_made(&moved).await? {
                    self.report.same += 1;
                    return Ok(());
                }
                match self.store.move_label(moved.clone()).await? {
                    Moved::Done(_) => self.report.moves += 1,
                    Moved::Elsewhere(_) => return Err(ImportError::Elsewhere(moved.into())),
                    Moved::NoPrompt | Moved::NoVersion(_) => {
                        return Err(ImportError::NoVersion(moved.into()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the store has made this move already: its own are a beginning of those that come.
    async fn has_made(&mut self, moved: &LabelMove) -> Result<bool, StoreError> {
        if self
            .there
            .as_ref()
            .is_none_or(|(name, _)| *name != moved.name)
        {
            let mut all = VecDeque::new();
            let mut before = None;
            loop {
                let page = self
                    .store
                    .label_history(&moved.name, None, before, MOST_AT_ONCE)
                    .await?;
                let Some(last) = page.last() else {
                    break;
                };
                before = Some(last.revision);
                for made in page {
                    all.push_front(made.moved);
                }
            }
            self.there = Some((moved.name.clone(), all));
        }
        let Some((_, there)) = &mut self.there else {
            return Ok(false);
        };
        let same = there.front() == Some(moved);
        if same {
            there.pop_front();
        }
        Ok(same)
    }
}
