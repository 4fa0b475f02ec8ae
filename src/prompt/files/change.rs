//! How a directory is looked at, and how files are written.

use super::{Inner, document, labels, walk::walk};
use crate::{
    prompt::{
        name::PromptName,
        record::{Assignment, LabelMove, NewVersion, VersionRecord},
        store::{Created, Imported, Moved},
        version::Version,
    },
    storage::{Failure, StoreError},
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::PoisonError,
    thread,
    time::Duration,
};

/// How long a process waits for others.
const PATIENCE: Duration = Duration::from_secs(5);

/// What writers lock.
const LOCK: &str = ".lock";

impl Inner {
    /// Reads what has changed.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        // Whoever writes is waited for, so that no half of a change is seen.
        let _lock = match File::open(self.root.join(LOCK)) {
            Ok(file) => Some(lock(file, File::try_lock_shared)?),
            // Nobody has ever written, or nobody can.
            Err(_) => None,
        };
        self.look_now()
    }

    fn look_now(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = walk(&self.root)?;
        if state.read(&self.root, found) {
            state.apply(&mut self.memory.table());
        }
        Ok(())
    }

    /// Changes something, as the only one who does, knowing what is there.
    fn change<T>(
        &self,
        change: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.root.join(LOCK)).map_err(unwritten)?;
        let _lock = lock(file, File::try_lock)?;
        self.look_now()?;
        change(self)
    }

    pub(super) fn create(&self, new: NewVersion) -> Result<Created, StoreError> {
        self.change(|this| {
            let table = this.memory.table();
            let latest = table.prompts.get(&new.name).and_then(|kept| kept.latest());
            if let Some(same) = latest.filter(|latest| latest.digest == new.digest) {
                return Ok(Created::Same(same.version));
            }
            let last = latest.map_or(0, |latest| latest.version.get());
            drop(table);
            if new.after.is_some_and(|seen| seen != last) {
                return Ok(Created::Behind(last));
            }
            let folder = this.folder(&new.name)?;
            // The number of a file that is broken is taken.
            let state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            let last = last.max(state.highest(&new.name));
            drop(state);
            let number = NonZeroU32::MIN.checked_add(last);
            let number = number.ok_or_else(|| StoreError::invalid("there are no more numbers"))?;
            this.add(&VersionRecord::new(new, number), &folder)?;
            Ok(Created::New(number))
        })
    }

    pub(super) fn import(&self, record: VersionRecord) -> Result<Imported, StoreError> {
        self.change(|this| {
            let table = this.memory.table();
            let kept = table.prompts.get(&record.name);
            let there = kept.and_then(|kept| kept.versions.get(&record.version));
            if let Some(there) = there {
                let same = there.digest == record.digest;
                return Ok(if same {
                    Imported::Same
                } else {
                    Imported::Taken
                });
            }
            drop(table);
            let folder = this.folder(&record.name)?;
            if folder.join(file_name(record.version)).exists() {
                return Ok(Imported::Taken);
            }
            this.add(&record, &folder)?;
            Ok(Imported::New)
        })
    }

    pub(super) fn move_label(&self, moved: LabelMove) -> Result<Moved, StoreError> {
        self.change(|this| {
            let table = this.memory.table();
            let Some(kept) = table.prompts.get(&moved.name) else {
                return Ok(Moved::NoPrompt);
            };
            for share in moved.to.iter().flat_map(Assignment::shares) {
                if !kept.versions.contains_key(&share.version) {
                    return Ok(Moved::NoVersion(share.version));
                }
            }
            let there = kept.labels.get(&moved.label);
            if there != moved.from.as_ref() {
                return Ok(Moved::Elsewhere(there.cloned()));
            }
            let mut labels = kept.labels.clone();
            match &moved.to {
                Some(to) => labels.insert(moved.label.clone(), to.clone()),
                None => labels.remove(&moved.label),
            };
            let text = labels::write(&labels, &kept.moves, &moved);
            drop(table);
            let folder = this.folder(&moved.name)?;
            let state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            let file = match state.labels(&moved.name) {
                Some((_, Some(fault))) => {
                    let message = format!("the labels of the prompt cannot be read: {fault}");
                    return Err(StoreError::corrupt(message));
                }
                Some((path, None)) => this.root.join(path),
                None => folder.join("labels.yaml"),
            };
            drop(state);
            write(&file, &text).map_err(unwritten)?;
            this.look_now()?;
            let table = this.memory.table();
            let moves = table.prompts.get(&moved.name).map(|kept| &kept.moves);
            let made = moves.and_then(|moves| moves.iter().rev().find(|made| made.moved == moved));
            let made = made.ok_or_else(|| StoreError::corrupt("the labels were not read back"))?;
            Ok(Moved::Done(made.revision))
        })
    }

    /// Where the versions of a prompt are, or will be.
    fn folder(&self, name: &PromptName) -> Result<PathBuf, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = state.folder(name) {
            return Ok(self.root.join(folder));
        }
        if let Some(path) = state.draft(name) {
            let message = format!(
                "the prompt stands in {}, without a number: edit that, or make it the first version, {name}/1.md",
                path.display()
            );
            return Err(StoreError::invalid(message));
        }
        Ok(self.root.join(name.as_str()))
    }

    /// Writes a version, and reads it.
    fn add(&self, record: &VersionRecord, folder: &Path) -> Result<(), StoreError> {
        Version::compile(record.clone()).map_err(|invalid| {
            StoreError::invalid("the version is not valid").with_source(invalid)
        })?;
        let text = document::write(record)
            .ok_or_else(|| StoreError::invalid("the version cannot be written as a file"))?;
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(unwritten)?;
            sync_folder(&self.root).map_err(unwritten)?;
        }
        write(&folder.join(file_name(record.version)), &text).map_err(unwritten)?;
        self.look_now()?;
        let table = self.memory.table();
        let kept = table.prompts.get(&record.name);
        let read = kept.and_then(|kept| kept.versions.get(&record.version));
        match read {
            Some(read) if read.digest == record.digest => Ok(()),
            _ => Err(StoreError::corrupt(
                "the version was not read back as it is",
            )),
        }
    }
}

fn file_name(number: NonZeroU32) -> String {
    format!("{number}.md")
}

fn unwritten(error: io::Error) -> StoreError {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};

    if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
        let message =
            "the directory of prompts cannot be written: change its files where they come from";
        return StoreError::new(Failure::Invalid, message).with_source(error);
    }
    StoreError::unavailable(error)
}

/// Puts a file in its place, in one step. It is on the disk when this returns.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let (folder, name) = (path.parent().unwrap_or(path), path.file_name());
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name.unwrap_or_default());
    draft.push(".new");
    // Nobody else writes it: whoever does has the lock. One that a crash left is overwritten.
    let draft = folder.join(draft);
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_folder(folder)
}

/// A name in a folder is on the disk when the folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Waits for its turn. The lock ends with the file's handle, and so with the process.
fn lock(file: File, try_lock: fn(&File) -> Result<(), TryLockError>) -> Result<File, StoreError> {
    let pause = Duration::from_millis(2);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        match try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(pause),
            Err(TryLockError::Error(error)) => return Err(StoreError::unavailable(error)),
        }
    }
    Err(StoreError::timed_out())
}
