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
pub(super) struct Table {
    revision: u64,
    pub(super) prompts: BTreeMap<PromptName, Kept>,
    /// The prompts by the revisions in which they changed last.
    changed: BTreeMap<u64, PromptName>,
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) versions: BTreeMap<NonZeroU32, VersionRecord>,
    pub(super) labels: BTreeMap<LabelName, Assignment>,
    pub(super) moves: Vec<RecordedMove>,
    revision: u64,
}

impl Kept {
    pub(super) fn latest(&self) -> Option<&VersionRecord> {
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

    pub(super) fn create(&mut self, new: NewVersion) -> Result<Created, StoreError> {
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

    pub(super) fn import(&mut self, record: VersionRecord) -> Imported {
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

    pub(super) fn move_label(&mut self, moved: LabelMove) -> Moved {
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

    /// Takes a move that was made elsewhere, wherever the label points here.
    pub(super) fn replay(&mut self, moved: LabelMove) {
        let name = moved.name.clone();
        let Some(kept) = self.prompts.get_mut(&name) else {
            return;
        };
        match &moved.to {
            Some(to) => kept.labels.insert(moved.label.clone(), to.clone()),
            None => kept.labels.remove(&moved.label),
        };
        let revision = self.touch(&name);
        if let Some(kept) = self.prompts.get_mut(&name) {
            kept.moves.push(RecordedMove { revision, moved });
        }
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
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;

    fn name(name: &str) -> PromptName {
        PromptName::new(name).unwrap()
    }

    async fn create(store: &MemoryStore, prompt: &str, text: &str) {
        let new = NewVersion::new(name(prompt), Prompt::new().user(text), "test");
        store.create_version(new).await.unwrap();
    }

    #[tokio::test]
    async fn changes_come_page_by_page_and_each_prompt_as_it_is_last() {
        let store = MemoryStore::new();
        for prompt in ["a", "b", "c", "a"] {
            create(
                &store,
                prompt,
                &format!("{prompt}{}", store.table().revision),
            )
            .await;
        }
        let page = store.changes_since(0, 2).await.unwrap();
        let told = |page: &Changes| -> Vec<_> {
            let heads = page.heads.iter();
            heads
                .map(|head| (head.name.to_string(), head.latest.get(), head.revision))
                .collect()
        };
        assert_eq!(told(&page), [("b".into(), 1, 2), ("c".into(), 1, 3)]);
        assert_eq!((page.revision, page.more), (3, true));
        let rest = store.changes_since(page.revision, 2).await.unwrap();
        assert_eq!(told(&rest), [("a".into(), 2, 4)]);
        assert_eq!((rest.revision, rest.more), (4, false));
        let none = store.changes_since(4, 2).await.unwrap();
        assert_eq!((none.heads.len(), none.revision, none.more), (0, 4, false));
        create(&store, "a", "a3").await;
        let same = store.changes_since(4, 2).await.unwrap();
        assert!(same.heads.is_empty(), "it says the same");
    }

    #[tokio::test]
    async fn a_label_is_moved_from_where_it_points() {
        let store = MemoryStore::new();
        create(&store, "a", "one").await;
        let to = || Some(Assignment::to(NonZeroU32::MIN));
        let moved = |prompt: &str, from, to| {
            let label = LabelName::new("x").unwrap();
            store.move_label(LabelMove::new(name(prompt), label, from, to, "test"))
        };
        assert_eq!(moved("b", None, to()).await.unwrap(), Moved::NoPrompt);
        let two = NonZeroU32::new(2).unwrap();
        let there = Some(Assignment::to(two));
        assert_eq!(
            moved("a", None, there).await.unwrap(),
            Moved::NoVersion(two)
        );
        assert_eq!(moved("a", None, to()).await.unwrap(), Moved::Done(2));
        assert_eq!(
            moved("a", None, to()).await.unwrap(),
            Moved::Elsewhere(to())
        );
        assert_eq!(moved("a", to(), None).await.unwrap(), Moved::Done(3));
        assert_eq!(
            moved("a", to(), None).await.unwrap(),
            Moved::Elsewhere(None)
        );
    }
}
