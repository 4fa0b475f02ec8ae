//! Keys in a JSON file.

use super::{
    record::StoredKey,
    store::{KeyFilter, KeyLookup, KeyStore},
    table::Table,
    wire::Wire,
};
use crate::storage::{Failure, Pending, StoreError};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

/// How long a writer waits for those of other processes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest file that is read: some 50,000 keys.
const LARGEST: u64 = 32 * 1024 * 1024;

/// Keys in one JSON file, for one machine and up to some thousands of keys.
///
/// A change by another process is seen with the next look-up. Every write makes a new file, which is
/// on the disk before it takes the place of the old one in one step; processes that write take turns
/// by a lock on `FILE.lock` beside it. The file is for its owner's eyes alone (mode 600).
///
/// A file that is missing is one without keys. One that cannot be read lets nobody in by it.
#[derive(Clone)]
pub struct FileKeys(Arc<Inner>);

struct Inner {
    path: PathBuf,
    read: Mutex<Read>,
    /// Held by the one in this process whose turn it is, or is next.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Read {
    table: Table,
    /// Of which version of the file. `None`: of none.
    stamp: Option<Stamp>,
}

/// What tells one version of a file from the next: every write makes another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let file = 0;
        Self {
            file,
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<Wire>,
}

impl FileKeys {
    /// Reads the file, if it is there.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let inner = Inner {
            path: path.into(),
            read: Mutex::default(),
            writing: Mutex::default(),
        };
        inner.with(|_| ())?;
        Ok(Self(Arc::new(inner)))
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
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeys")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Does something with the keys as they are in the file now.
    fn with<T>(&self, with: impl FnOnce(&mut Table) -> T) -> Result<T, StoreError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut read)?;
        Ok(with(&mut read.table))
    }

    fn refresh(&self, read: &mut Read) -> Result<(), StoreError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *read = Read::default();
                return Ok(());
            }
            other => other.map_err(StoreError::unavailable)?,
        };
        let metadata = file.metadata().map_err(StoreError::unavailable)?;
        let stamp = Stamp::of(&metadata);
        if read.stamp == Some(stamp) {
            return Ok(());
        }
        // What was read before is good no more, whatever becomes of this.
        *read = Read::default();
        if stamp.length > LARGEST {
            return Err(StoreError::corrupt("the file of keys is above 32 MiB"));
        }
        let document: Document =
            serde_json::from_reader(io::BufReader::new(file)).map_err(|error| {
                StoreError::corrupt("the file of keys cannot be read").with_source(error)
            })?;
        if document.version > 1 {
            let message = "the file of keys was written by a newer version of this program";
            return Err(StoreError::new(Failure::Newer, message));
        }
        for wire in document.keys {
            let twice = |_| StoreError::corrupt("the file of keys has one id twice");
            read.table.insert(wire.key()?).map_err(twice)?;
        }
        read.stamp = Some(stamp);
        Ok(())
    }

    /// Changes the keys, and is back when the change is on the disk. `false`: nothing was changed.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Table) -> Result<(T, bool), StoreError>,
    ) -> Result<T, StoreError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = lock(&self.beside("lock"))?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut read)?;
        let mut table = read.table.clone();
        let (answer, changed) = change(&mut table)?;
        if changed {
            // Read again with the next look-up: what is in the file is what counts.
            read.stamp = None;
            self.write(&table).map_err(StoreError::unavailable)?;
        }
        Ok(answer)
    }

    fn write(&self, table: &Table) -> io::Result<()> {
        let document = Document {
            version: 1,
            keys: table.keys().map(Wire::of).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        // Nobody else writes it: whoever does has the lock. One that a crash left is overwritten.
        let draft = self.beside("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        sync_folder(&self.path)
    }

    /// The path with one more ending.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(ending);
        path.into()
    }
}

/// Waits for its turn. The lock ends with the file's handle, and so with the process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(StoreError::unavailable)?;
    let pause = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(pause),
            Err(TryLockError::Error(error)) => return Err(StoreError::unavailable(error)),
        }
    }
    Err(StoreError::timed_out())
}

/// A name in a folder is on the disk when the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

impl KeyLookup for FileKeys {
    fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>> {
        let id = id.to_owned();
        self.blocking(move |inner| inner.with(|table| table.find(&id)))
    }

    fn used<'a>(&'a self, uses: &'a [(Arc<str>, SystemTime)]) -> Pending<'a, ()> {
        let uses = uses.to_owned();
        self.blocking(move |inner| inner.change(|table| Ok(((), table.used(&uses)))))
    }
}

impl KeyStore for FileKeys {
    fn insert(&self, key: StoredKey) -> Pending<'_, ()> {
        self.blocking(|inner| inner.change(|table| Ok((table.insert(key)?, true))))
    }

    fn replace<'a>(
        &'a self,
        id: &'a str,
        until: SystemTime,
        successor: StoredKey,
    ) -> Pending<'a, bool> {
        let id = id.to_owned();
        self.blocking(move |inner| {
            inner.change(|table| {
                let replaced = table.replace(&id, until, successor)?;
                Ok((replaced, replaced))
            })
        })
    }

    fn revoke<'a>(&'a self, id: &'a str, at: SystemTime) -> Pending<'a, bool> {
        let id = id.to_owned();
        self.blocking(move |inner| {
            inner.change(|table| {
                let revoked = table.revoke(&id, at);
                Ok((revoked, revoked))
            })
        })
    }

    fn list<'a>(&'a self, filter: &'a KeyFilter) -> Pending<'a, Vec<StoredKey>> {
        let filter = filter.clone();
        self.blocking(move |inner| inner.with(|table| table.list(&filter)))
    }
}
