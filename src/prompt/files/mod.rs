//! Prompts in a directory of files.

mod change;
mod document;
mod fault;
mod labels;
mod reading;
mod scan;
mod stamp;
#[cfg(test)]
mod tests;
mod time;
mod turn;
mod walk;
mod yaml;

pub use self::fault::FileFault;

use self::{change::Attempt, scan::State};
use super::{
    memory::MemoryStore,
    name::{LabelName, PromptName},
    record::{LabelMove, NewVersion, PromptHead, RecordedMove, VersionRecord},
    store::{Changes, Created, Imported, Moved, Store},
};
use crate::storage::{Failure, Pending, StoreError};
use std::{
    fmt, fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::sleep;

/// How often a change is tried while others write files of the prompt: three seconds at the least.
const TRIES: usize = 10;

/// Prompts in a directory of files, which people write and keep in version control, and from which
/// prompts are imported and exported.
///
/// ```
/// use std::fs;
/// use tower_gateway::prompt::{FileStore, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("prompts-{}", std::process::id()));
/// fs::create_dir_all(&folder)?;
/// fs::write(folder.join("translate.md"), "\
/// ---
/// description: Translates a text.
/// model: fast
/// variables:
///   text: {type: string, maxLength: 10000}
///   language: {type: string, default: French}
/// labels: [production]
/// ---
/// system:
/// Translate into {{ language }}.
///
/// user:
/// {{ text }}
/// ")?;
///
/// let files = FileStore::open(&folder).await?;
/// let registry = Registry::open(files.clone()).await?;
/// let found = registry.by_label::<str>("translate", "production", None).expect("it is there");
/// assert_eq!(found.version.prompt().messages.len(), 2);
///
/// // A file that is broken takes nothing down.
/// fs::write(folder.join("translate.md"), "---\nmodel: fast\ntools: none\n---\nHello.")?;
/// registry.refresh().await?;
/// assert!(registry.by_label::<str>("translate", "production", None).is_some());
/// assert!(files.faults()[0].to_string().starts_with("translate.md:3: /tools: Expected a list."));
/// # fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// # Which file is what
///
/// | file | is |
/// |---|---|
/// | `translate.md` | the prompt `translate` |
/// | `support/triage.md` | the prompt `support.triage` |
/// | `translate/3.md` | version 3 of `translate` |
/// | `translate/labels.yaml` | its labels: `production: 3`, or `production: [{version: 2, weight: 9000}, {version: 3, weight: 1000}]` |
///
/// A prompt is **one file without a number**, or **a folder of versions with numbers**. The former is changed in its
/// place: each change makes the next version, counted from 1 as long as the program runs. So its numbers mean something in one process
/// only, and its history is that of the version control. A version with a number never changes, as in every
/// store: what is written into its file later is refused, and what is new gets the next number. `README.md`, other endings
/// than `.md`, and whatever begins with `.` or `_` is left alone.
///
/// # What a file says
///
/// Between two lines of `---` stands YAML 1.2 with the fields of a [`Prompt`](super::Prompt), and beside them
/// `labels` (for a prompt without a number), `author`, `message` and `created_at`. Below stands what is said: the lines `system:`,
/// `developer:`, `user:` and `assistant:` each begin a message. If the first line is none of these, all is one
/// message of the user. With `partial: true` it is a text for others to include. Messages that have more than text stand as `messages` in the
/// front matter. Blank lines around a text are not of it. A file has 4 MiB at the most.
///
/// A partial without a version is the one that is there when the file is read. A prompt without a number follows it, and gets a new
/// version when it changes.
///
/// # What changes
///
/// Whether a file changed is known by its times, its length and, on Unix, its inode, whenever a [registry](super::Registry)
/// asks, once a second by default. A file that somebody is writing is not read: it is taken when it was seen
/// unchanged for 300 ms, or has not been touched for five seconds. What this store puts in its place is taken at once. So a
/// file that is copied into the directory never becomes half a version, unless its copying halts for longer; who
/// writes it beside its place and renames it is sure. What cannot be used leaves what was there before, and is told by
/// [`faults`](Self::faults) and in the log. What is deleted stays until the program ends. Links are followed, but not
/// into a folder that they stand in.
///
/// # Writing
///
/// Versions that are created or imported and labels that are moved are written as files, each in one step, and are on the
/// disk when that returns. Processes that write take turns by a lock on `.lock`, in which they note what they have
/// written lately. While somebody else writes a file of the prompt they wait, three seconds at the most. `labels.yaml` is written anew as a whole, with
/// the moves of labels below a line of `---`; comments in it are lost. Prompts without a number are not written: whoever
/// creates a version of one is told so ([`Invalid`](crate::storage::Failure::Invalid)).
///
/// A move that was made by hand is recorded as that of `files`, at the time of the file.
#[derive(Clone)]
pub struct FileStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    memory: MemoryStore,
    state: Mutex<State>,
    /// Held by the one in this process whose turn it is to write, or is next.
    writing: Mutex<()>,
}

impl FileStore {
    /// The prompts in this directory.
    ///
    /// # Errors
    ///
    /// If it is no directory, or cannot be read. A file in it that cannot be used is no error: see
    /// [`faults`](Self::faults).
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self(Arc::new(Inner {
            root: path.into(),
            memory: MemoryStore::new(),
            state: Mutex::default(),
            writing: Mutex::default(),
        }));
        this.look().await?;
        Ok(this)
    }

    /// The same, of a directory that is made if it is not there: to export into.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), or if it cannot be made.
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let folder = path.clone();
        let made = tokio::task::spawn_blocking(move || fs::create_dir_all(folder)).await;
        made.map_err(StoreError::unavailable)?
            .map_err(StoreError::unavailable)?;
        Self::open(path).await
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// What is wrong with files, as of the last look: where, and what would mend it. 1,000 faults at the most.
    #[must_use]
    pub fn faults(&self) -> Vec<FileFault> {
        let state = self.0.state.lock();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.faults.clone()
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'static, T> {
        let inner = self.0.clone();
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || work(&inner));
            work.await.map_err(StoreError::unavailable)?
        })
    }

    /// Looks at the files, and once more if somebody has written some just now.
    async fn look(&self) -> Result<(), StoreError> {
        if let Some(wait) = self.blocking(Inner::look).await? {
            sleep(wait).await;
            self.blocking(Inner::look).await?;
        }
        Ok(())
    }

    /// Looks at the files first.
    fn looking<'a, T: Send + 'a>(
        &'a self,
        answer: impl FnOnce(&'a MemoryStore) -> Pending<'a, T> + Send + 'a,
    ) -> Pending<'a, T> {
        Box::pin(async move {
            self.blocking(Inner::look).await?;
            answer(&self.0.memory).await
        })
    }

    /// Changes something, when nobody is in the middle of writing a file of the prompt.
    fn changing<W: Clone + Send + 'static, T: Send + 'static>(
        &self,
        what: W,
        change: fn(&Inner, &W) -> Result<Attempt<T>, StoreError>,
    ) -> Pending<'_, T> {
        Box::pin(async move {
            for _ in 0..TRIES {
                let what = what.clone();
                match self.blocking(move |inner| change(inner, &what)).await? {
                    Attempt::Done(done) => return Ok(done),
                    Attempt::Wait(time) => sleep(time).await,
                }
            }
            let message = "somebody else is writing the files of the prompt";
            Err(StoreError::new(Failure::Unavailable, message))
        })
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.0.root)
            .finish_non_exhaustive()
    }
}

impl Store for FileStore {
    fn create_version(&self, version: NewVersion) -> Pending<'_, Created> {
        self.changing(version, Inner::create)
    }

    fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported> {
        self.changing(version, Inner::import)
    }

    fn version<'a>(
        &'a self,
        name: &'a PromptName,
        version: NonZeroU32,
    ) -> Pending<'a, Option<VersionRecord>> {
        Box::pin(async move {
            // It never changes.
            match self.0.memory.version(name, version).await? {
                Some(record) => Ok(Some(record)),
                None => {
                    self.looking(move |memory| memory.version(name, version))
                        .await
                }
            }
        })
    }

    fn versions<'a>(
        &'a self,
        name: &'a PromptName,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Pending<'a, Vec<VersionRecord>> {
        self.looking(move |memory| memory.versions(name, before, limit))
    }

    fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>> {
        self.looking(move |memory| memory.head(name))
    }

    fn heads<'a>(
        &'a self,
        after: Option<&'a PromptName>,
        limit: usize,
    ) -> Pending<'a, Vec<PromptHead>> {
        self.looking(move |memory| memory.heads(after, limit))
    }

    fn move_label(&self, change: LabelMove) -> Pending<'_, Moved> {
        self.changing(change, Inner::move_label)
    }

    fn label_history<'a>(
        &'a self,
        name: &'a PromptName,
        label: Option<&'a LabelName>,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'a, Vec<RecordedMove>> {
        self.looking(move |memory| memory.label_history(name, label, before, limit))
    }

    fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes> {
        Box::pin(async move {
            let wait = self.blocking(Inner::look).await?;
            let changes = self.0.memory.changes_since(revision, limit).await?;
            // Who follows comes again in a second, and would see what was written just now a second later.
            let Some(wait) = wait.filter(|_| !changes.more) else {
                return Ok(changes);
            };
            sleep(wait).await;
            self.blocking(Inner::look).await?;
            self.0.memory.changes_since(revision, limit).await
        })
    }

    fn problems(&self) -> Vec<String> {
        let faults = self.faults();
        faults.iter().map(ToString::to_string).collect()
    }
}
