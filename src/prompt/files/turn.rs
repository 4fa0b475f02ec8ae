//! Whose turn it is to write, and what was put into the directory by those who had it.

use super::stamp::Mark;
use crate::storage::{Failure, StoreError};
use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    thread,
    time::Duration,
};

/// How long a process waits for others.
const PATIENCE: Duration = Duration::from_secs(5);

/// What writers lock.
const LOCK: &str = ".lock";

/// When there are so many notes of what was written, the older half of them is forgotten: some thousand files.
const MOST_NOTES: u64 = 256 << 10;

/// The lock, until this is dropped or the process ends.
///
/// The file that is locked has a line for each file that was put in its place lately. Whoever finds such a file
/// knows that it is whole; of any other new one somebody may have written no more than the half yet.
pub(super) struct Turn(File);

impl Turn {
    /// As the only one.
    pub(super) fn to_write(root: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(root.join(LOCK)).map_err(unwritten)?;
        let turn = lock(file, File::try_lock).map(Self)?;
        turn.forget_torn().map_err(unwritten)?;
        Ok(turn)
    }

    /// A note that a crash or a full disk has cut would take the next one with it. What all of them name is waited
    /// for.
    fn forget_torn(&self) -> io::Result<()> {
        let mut file = &self.0;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.set_len(0)?;
        }
        Ok(())
    }

    /// With others that read. `None`: nobody has ever written, or nobody can.
    pub(super) fn to_read(root: &Path) -> Result<Option<Self>, StoreError> {
        match File::open(root.join(LOCK)) {
            Ok(file) => lock(file, File::try_lock_shared).map(|file| Some(Self(file))),
            Err(_) => Ok(None),
        }
    }

    /// What was put in its place lately. Notes that cannot be read are none: it is waited for what they name.
    pub(super) fn ours(&self) -> HashSet<Mark> {
        let notes = self.notes().unwrap_or_default();
        notes.lines().filter_map(Mark::read).collect()
    }

    fn notes(&self) -> io::Result<String> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0))?;
        let mut notes = Vec::new();
        file.take(2 * MOST_NOTES).read_to_end(&mut notes)?;
        // A line that is no text is no note.
        Ok(String::from_utf8_lossy(&notes).into_owned())
    }

    /// Notes a file before it is put in its place, so that none is there without.
    fn note(&self, mark: Mark) -> io::Result<()> {
        let mut file = &self.0;
        if file.seek(SeekFrom::End(0))? > MOST_NOTES {
            let notes = self.notes().unwrap_or_default();
            let newer = notes.get(notes.len() / 2..).unwrap_or_default();
            // It may begin within a line.
            let newer = newer.split_once('\n').map_or("", |(_, newer)| newer);
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(newer.as_bytes())?;
        }
        file.write_all(mark.write().as_bytes())
    }

    /// Puts a file in its place, in one step. It is on the disk when this returns.
    pub(super) fn put(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        let put = || {
            let (folder, name) = (path.parent().unwrap_or(path), path.file_name());
            let mut draft = OsString::from(".");
            draft.push(name.unwrap_or_default());
            draft.push(".new");
            // Nobody else writes it. One that a crash left is overwritten.
            let draft = folder.join(draft);
            let mut file = File::create(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            self.note(Mark::of(&file.metadata()?))?;
            fs::rename(&draft, path)?;
            sync_folder(folder)
        };
        put().map_err(unwritten)
    }

    /// Makes a folder, if it is not there yet. It is on the disk when this returns.
    pub(super) fn make(&self, root: &Path, folder: &Path) -> Result<(), StoreError> {
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(unwritten)?;
        }
        // Also of one that is there: whoever made it may have died before this.
        sync_folder(root).map_err(unwritten)
    }
}

/// A name in a folder is on the disk when the folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let name = format!("tower-gateway-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_torn_note_takes_no_other_with_it() {
        let folder = folder("torn");
        let mark = |nth: u32| Mark::read(&format!("{nth} 1000 1795335050123456789")).unwrap();
        for torn in [&b"7 1000 179"[..], b"\xff\xfe\n", b"7 1000 1\n\0\0\0"] {
            fs::write(folder.join(LOCK), torn).unwrap();
            let turn = Turn::to_write(&folder).unwrap();
            turn.note(mark(8)).unwrap();
            assert!(turn.ours().contains(&mark(8)), "{torn:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_newest_notes_are_kept() {
        let folder = folder("turn");
        let turn = Turn::to_write(&folder).unwrap();
        let mark = |nth: u32| Mark::read(&format!("{nth} 1000 1795335050123456789")).unwrap();
        for nth in 0..20_000 {
            turn.note(mark(nth)).unwrap();
        }
        drop(turn);
        let turn = Turn::to_read(&folder).unwrap().unwrap();
        let ours = turn.ours();
        assert!((18_000..20_000).all(|nth| ours.contains(&mark(nth))));
        assert!(!ours.contains(&mark(0)));
        let length = fs::metadata(folder.join(LOCK)).unwrap().len();
        assert!(length <= MOST_NOTES + 100, "{length}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
