mod create;
mod follow;
mod measure;
mod release;
mod shares;
mod transfer;

use super::{builder::SCOPE, *};
use crate::{
    Principal, Rejection,
    prompt::{
        Actor, Assignment, CallOutcome, Changes, Created, Export, Import, ImportError, Imported,
        LabelMove, LabelName, Moved, NewVersion, Partial, PartialSource, Prompt, Record,
        RecordedMove, Variables, VersionRecord,
    },
    rejection::Kind,
    storage::Pending,
};
use serde_json::json;
use std::{
    collections::HashSet,
    future::ready,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn code() -> Actor {
    Actor::code("test")
}

fn says(text: &str) -> Prompt {
    Prompt::new().user(text)
}

fn split(shares: &[(u32, u32)]) -> Assignment {
    Assignment::split(
        shares
            .iter()
            .map(|&(version, weight)| (number(version), weight)),
    )
    .unwrap()
}

async fn with_versions(registry: &Registry, name: &str, versions: u32) {
    for nth in 1..=versions {
        let prompt = says(&format!("version {nth}"));
        let created = registry
            .create(&code(), name, prompt, Change::new())
            .await
            .unwrap();
        assert_eq!(created, Created::New(number(nth)));
    }
}

async fn point(registry: &Registry, label: &str, to: Assignment) -> LabelMove {
    let code = code();
    let moved = registry.move_label(&code, "a", label, Some(to), Change::new());
    moved.await.unwrap()
}

/// Counts what it is asked, fails when it is told to, and takes two milliseconds for a version.
#[derive(Clone, Default)]
struct Watched {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
    bodies: Arc<AtomicUsize>,
    /// How many moves are to find that others were faster.
    races: Arc<AtomicUsize>,
}

impl Watched {
    fn or_fail<'a, T: Send + 'a>(&self, answer: Pending<'a, T>) -> Pending<'a, T> {
        if self.fails.load(Ordering::Relaxed) {
            return Box::pin(ready(Err(StoreError::unavailable("down"))));
        }
        answer
    }
}

impl Store for Watched {
    fn create_version(&self, version: NewVersion) -> Pending<'_, Created> {
        self.or_fail(self.store.create_version(version))
    }
    fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported> {
        self.or_fail(self.store.import_version(version))
    }
    fn version<'a>(
        &'a self,
        name: &'a PromptName,
        version: NonZeroU32,
    ) -> Pending<'a, Option<VersionRecord>> {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            sleep(Duration::from_millis(2)).await;
            self.or_fail(self.store.version(name, version)).await
        })
    }
    fn versions<'a>(
        &'a self,
        name: &'a PromptName,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Pending<'a, Vec<VersionRecord>> {
        self.or_fail(self.store.versions(name, before, limit))
    }
    fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>> {
        self.or_fail(self.store.head(name))
    }
    fn heads<'a>(
        &'a self,
        after: Option<&'a PromptName>,
        limit: usize,
    ) -> Pending<'a, Vec<PromptHead>> {
        self.or_fail(self.store.heads(after, limit))
    }
    fn move_label(&self, change: LabelMove) -> Pending<'_, Moved> {
        let left = self.races.load(Ordering::Relaxed);
        if left > 0 {
            self.races.store(left - 1, Ordering::Relaxed);
            return Box::pin(ready(Ok(Moved::Elsewhere(None))));
        }
        self.or_fail(self.store.move_label(change))
    }
    fn label_history<'a>(
        &'a self,
        name: &'a PromptName,
        label: Option<&'a LabelName>,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'a, Vec<RecordedMove>> {
        self.or_fail(self.store.label_history(name, label, before, limit))
    }
    fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes> {
        self.or_fail(self.store.changes_since(revision, limit))
    }
}
