//! Prompts in the memory of this process.

use super::{
    name::{LabelName, PromptName},
    record::{Assignment, LabelMove, NewVersion, PromptHead, RecordedMove, VersionRecord},
    store::{Changes, Created, Imported, MOST_AT_ONCE, Moved, Store},
};
use crate::storage::{Pending, StoreError};
use std::{
    collections::BTreeMap,
    fmt,
    future::ready,
    num::NonZeroU32,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Prompts that are gone with the process: for tests, and for prompts that stand in code.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    revision: u64,
    prompts: BTreeMap<PromptName, Kept>,
    /// The prompts by the revisions in which they changed last.
    changed: BTreeMap<u64, PromptName>,
}

#[derive(Default)]
struct Kept {
    versions: BTreeMap<NonZeroU32, VersionRecord>,
    labels: BTreeMap<LabelName, Assignment>,
    moves: Vec<RecordedMove>,
    revision: u64,
}

impl Kept {
    fn latest(&self) -> Option<&VersionRecord> {
        self.versions.values().next_back()
    }

    fn head(&self, name: &PromptName) -> Option<PromptHead> {
        Some(PromptHead {
            name: name.clone(),
            latest: self.latest()?.version,
            labels: self.labels.clone(),
            revision: self.revision,
        })
    }
}

impl Table {
    /// Notes that a prompt has changed.
    fn touch(&mut self, name: &PromptName) -> u64 {
        self.revision += 1;
        if let Some(kept) = self.prompts.get_mut(name) {
            self.changed.remove(&kept.revision);
            kept.revision = self.revision;
            self.changed.insert(self.revision, name.clone());
        }
        self.revision
    }

    fn create(&mut self, new: NewVersion) -> Result<Created, StoreError> {
        let latest = self.prompts.get(&new.name).and_then(Kept::latest);
        if let Some(same) = latest.filter(|latest| latest.digest == new.digest) {
            return Ok(Created::Same(same.version));
        }
        let last = latest.map_or(0, |latest| latest.version.get());
        if new.after.is_some_and(|seen| seen != last) {
            return Ok(Created::Behind(last));
        }
        let number = NonZeroU32::MIN.checked_add(last);
        let number = number.ok_or_else(|| StoreError::invalid("there are no more numbers"))?;
        let record = VersionRecord::new(new, number);
        let name = record.name.clone();
        let kept = self.prompts.entry(name.clone()).or_default();
        kept.versions.insert(number, record);
        self.touch(&name);
        Ok(Created::New(number))
    }

    fn import(&mut self, record: VersionRecord) -> Imported {
        let name = record.name.clone();
        let kept = self.prompts.entry(name.clone()).or_default();
        match kept.versions.get(&record.version) {
            Some(there) if there.digest == record.digest => Imported::Same,
            Some(_) => Imported::Taken,
            None => {
                kept.versions.insert(record.version, record);
                self.touch(&name);
                Imported::New
            }
        }
    }

    fn move_label(&mut self, moved: LabelMove) -> Moved {
        let Some(kept) = self.prompts.get_mut(&moved.name) else {
            return Moved::NoPrompt;
        };
        let wanted = moved.to.iter().flat_map(Assignment::shares);
        for share in wanted {
            if !kept.versions.contains_key(&share.version) {
                return Moved::NoVersion(share.version);
            }
        }
        let there = kept.labels.get(&moved.label);
        if there != moved.from.as_ref() {
            return Moved::Elsewhere(there.cloned());
        }
        match &moved.to {
            Some(to) => kept.labels.insert(moved.label.clone(), to.clone()),
            None => kept.labels.remove(&moved.label),
        };
        let name = moved.name.clone();
        let revision = self.touch(&name);
        if let Some(kept) = self.prompts.get_mut(&name) {
            kept.moves.push(RecordedMove { revision, moved });
        }
        Moved::Done(revision)
    }

    fn changes(&self, since: u64, limit: usize) -> Changes {
        let mut heads: Vec<_> = self
            .changed
            .range((Bound::Excluded(since), Bound::Unbounded))
            .filter_map(|(_, name)| self.prompts.get(name)?.head(name))
            .take(limit + 1)
            .collect();
        let more = heads.len() > limit;
        heads.truncate(limit);
        let last = heads.last().map_or(since, |head| head.revision);
        Changes {
            revision: if more { last } else { self.revision.max(since) },
            heads,
            more,
        }
    }
}

impl MemoryStore {
    /// No prompts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // A table is valid after every statement that can panic.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("prompts", &self.table().prompts.len())
            .finish()
    }
}

fn at_once(limit: usize) -> usize {
    limit.clamp(1, MOST_AT_ONCE)
}

impl Store for MemoryStore {
    fn create_version(&self, version: NewVersion) -> Pending<'_, Created> {
        Box::pin(ready(self.table().create(version)))
    }

    fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported> {
        Box::pin(ready(Ok(self.table().import(version))))
    }

    fn version<'a>(
        &'a self,
        name: &'a PromptName,
        version: NonZeroU32,
    ) -> Pending<'a, Option<VersionRecord>> {
        let table = self.table();
        let kept = table.prompts.get(name);
        let found = kept.and_then(|kept| kept.versions.get(&version).cloned());
        Box::pin(ready(Ok(found)))
    }

    fn versions<'a>(
        &'a self,
        name: &'a PromptName,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Pending<'a, Vec<VersionRecord>> {
        let table = self.table();
        let below = before.map_or(Bound::Unbounded, Bound::Excluded);
        let kept = table.prompts.get(name).into_iter();
        let found = kept
            .flat_map(|kept| kept.versions.range((Bound::Unbounded, below)).rev())
            .map(|(_, record)| record.clone())
            .take(at_once(limit))
            .collect();
        Box::pin(ready(Ok(found)))
    }

    fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>> {
        let table = self.table();
        let head = table.prompts.get(name).and_then(|kept| kept.head(name));
        Box::pin(ready(Ok(head)))
    }

    fn heads<'a>(
        &'a self,
        after: Option<&'a PromptName>,
        limit: usize,
    ) -> Pending<'a, Vec<PromptHead>> {
        let table = self.table();
        let above = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = table
            .prompts
            .range::<PromptName, _>((above, Bound::Unbounded))
            .filter_map(|(name, kept)| kept.head(name))
            .take(at_once(limit))
            .collect();
        Box::pin(ready(Ok(found)))
    }

    fn move_label(&self, change: LabelMove) -> Pending<'_, Moved> {
        Box::pin(ready(Ok(self.table().move_label(change))))
    }

    fn label_history<'a>(
        &'a self,
        name: &'a PromptName,
        label: Option<&'a LabelName>,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'a, Vec<RecordedMove>> {
        let table = self.table();
        let moves = table.prompts.get(name).map_or(&[][..], |kept| &kept.moves);
        let found = moves
            .iter()
            .rev()
            .filter(|made| before.is_none_or(|before| made.revision < before))
            .filter(|made| label.is_none_or(|label| made.moved.label == *label))
            .take(at_once(limit))
            .cloned()
            .collect();
        Box::pin(ready(Ok(found)))
    }

    fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes> {
        Box::pin(ready(Ok(self.table().changes(revision, at_once(limit)))))
    }
}
