//! How a directory is looked at, and how it is changed.

use super::{Inner, document, labels, turn::Turn, walk::walk};
use crate::{
    prompt::{
        name::PromptName,
        record::{Assignment, LabelMove, NewVersion, VersionRecord},
        store::{Created, Imported, Moved},
        version::Version,
    },
    storage::StoreError,
};
use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};
use tokio::time::Instant;

/// What became of a change.
pub(super) enum Attempt<T> {
    /// It is done, or not to be done.
    Done(T),
    /// Somebody may be writing a file of the prompt: it can be tried again after this time.
    Wait(Duration),
}

impl Inner {
    /// Reads what has changed. In how long there will be more, if nobody goes on writing.
    pub(super) fn look(&self) -> Result<Option<Duration>, StoreError> {
        // Whoever writes is waited for, so that no half of a change is seen.
        let turn = Turn::to_read(&self.root)?;
        self.look_in(turn.as_ref())?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(state.files.wait(Instant::now()))
    }

    fn look_in(&self, turn: Option<&Turn>) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = walk(&self.root)?;
        let ours = || turn.map(Turn::ours).unwrap_or_default();
        if state.read(&self.root, found, ours, Instant::now()) {
            state.apply(&mut self.memory.table());
        }
        Ok(())
    }

    /// Changes a prompt, as the only one who does, knowing what is there.
    fn change<T>(
        &self,
        name: &PromptName,
        change: impl FnOnce(&Turn) -> Result<T, StoreError>,
    ) -> Result<Attempt<T>, StoreError> {
        let _mine = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Turn::to_write(&self.root)?;
        self.look_in(Some(&turn))?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = state.files.wait_for(name, Instant::now()) {
            return Ok(Attempt::Wait(wait));
        }
        drop(state);
        change(&turn).map(Attempt::Done)
    }

    pub(super) fn create(&self, new: &NewVersion) -> Result<Attempt<Created>, StoreError> {
        self.change(&new.name, |turn| {
            let table = self.memory.table();
            let latest = table.prompts.get(&new.name).and_then(|kept| kept.latest());
            if let Some(same) = latest.filter(|latest| latest.digest == new.digest) {
                return Ok(Created::Same(same.version));
            }
            let last = latest.map_or(0, |latest| latest.version.get());
            drop(table);
            if new.after.is_some_and(|seen| seen != last) {
                return Ok(Created::Behind(last));
            }
            let folder = self.folder(&new.name)?;
            // The number of a file that is broken is taken.
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let last = last.max(state.files.highest(&new.name));
            drop(state);
            let number = NonZeroU32::MIN.checked_add(last);
            let number = number.ok_or_else(|| StoreError::invalid("there are no more numbers"))?;
            self.add(turn, &VersionRecord::new(new.clone(), number), &folder)?;
            Ok(Created::New(number))
        })
    }

    pub(super) fn import(&self, record: &VersionRecord) -> Result<Attempt<Imported>, StoreError> {
        self.change(&record.name, |turn| {
            let table = self.memory.table();
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
            let folder = self.folder(&record.name)?;
            if folder.join(file_name(record.version)).exists() {
                return Ok(Imported::Taken);
            }
            self.add(turn, record, &folder)?;
            Ok(Imported::New)
        })
    }

    pub(super) fn move_label(&self, moved: &LabelMove) -> Result<Attempt<Moved>, StoreError> {
        self.change(&moved.name, |turn| {
            let table = self.memory.table();
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
            let text = labels::write(&labels, &kept.moves, moved);
            drop(table);
            let folder = self.folder(&moved.name)?;
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let file = match state.files.labels(&moved.name) {
                Some((_, Some(fault))) => {
                    let message = format!("the labels of the prompt cannot be read: {fault}");
                    return Err(StoreError::corrupt(message));
                }
                Some((path, None)) => self.root.join(path),
                None => folder.join("labels.yaml"),
            };
            drop(state);
            turn.put(&file, &text)?;
            self.look_in(Some(turn))?;
            let table = self.memory.table();
            let moves = table.prompts.get(&moved.name).map(|kept| &kept.moves);
            let made = moves.and_then(|moves| moves.iter().rev().find(|made| made.moved == *moved));
            let made = made.ok_or_else(|| StoreError::corrupt("the labels were not read back"))?;
            Ok(Moved::Done(made.revision))
        })
    }

    /// Where the versions of a prompt are, or will be.
    fn folder(&self, name: &PromptName) -> Result<PathBuf, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = state.files.folder(name) {
            return Ok(self.root.join(folder));
        }
        if let Some(path) = state.files.draft(name) {
            let message = format!(
                "the prompt stands in {}, without a number: edit that, or make it the first version, {name}/1.md",
                path.display()
            );
            return Err(StoreError::invalid(message));
        }
        Ok(self.root.join(name.as_str()))
    }

    /// Writes a version, and reads it.
    fn add(&self, turn: &Turn, record: &VersionRecord, folder: &Path) -> Result<(), StoreError> {
        Version::compile(record.clone()).map_err(|invalid| {
            StoreError::invalid("the version is not valid").with_source(invalid)
        })?;
        let text = document::write(record)
            .ok_or_else(|| StoreError::invalid("the version cannot be written as a file"))?;
        turn.make(&self.root, folder)?;
        turn.put(&folder.join(file_name(record.version)), &text)?;
        self.look_in(Some(turn))?;
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
