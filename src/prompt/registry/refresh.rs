//! How the registry follows its store.

use super::{
    Inner,
    snapshot::{Entry, Snapshot},
};
use crate::{
    prompt::{
        fault::{Fault, InvalidPrompt},
        name::PromptName,
        record::{Assignment, PromptHead},
        store::Changes,
        version::Version,
    },
    storage::{Failure, Pending, StoreError},
};
use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};
use tokio::{runtime::Handle, time};

/// How long the store may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many prompts are asked for at once.
const AT_ONCE: usize = 256;

/// An answer of the store, or that it took too long.
pub(super) async fn patiently<T>(answer: Pending<'_, T>) -> Result<T, StoreError> {
    match time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::timed_out()),
    }
}

impl Inner {
    /// Asks for changes until the last registry is gone. Outside of a runtime nobody asks.
    pub(super) fn follow(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (registry, every) = (Arc::downgrade(self), self.settings.refresh);
        let task = runtime.spawn(follow(registry, every)).abort_handle();
        // It is set once.
        let _ = self.task.set(task);
    }

    /// Asks for changes now. What could be read is taken, also if the store fails in the middle.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let done = self.catch_up().await;
        let mut last = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Err(error)) = (&*last, &done) {
            tracing::warn!(%error, "prompts cannot be refreshed; those that are known are served");
        }
        *last = done.as_ref().err().cloned();
        done
    }

    /// Takes changes page by page: whoever asks for a prompt does not wait for all that came after it.
    async fn catch_up(&self) -> Result<(), StoreError> {
        loop {
            let before = self.snapshot();
            let since = before.revision;
            let changes = patiently(self.store.changes_since(since, AT_ONCE)).await?;
            let Changes {
                revision,
                heads,
                more,
            } = changes;
            // A store that says that there is more, and gives nothing, is not asked for ever.
            let ahead = revision > since;
            if !ahead && heads.is_empty() {
                break;
            }
            let mut next = Snapshot::clone(&before);
            let taken = self.take(&mut next, heads).await;
            if taken.is_ok() {
                next.revision = next.revision.max(revision);
            }
            self.publish(next);
            taken?;
            if !more || !ahead {
                break;
            }
        }
        self.take_left_out().await
    }

    fn publish(&self, next: Snapshot) {
        let mut snapshot = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *snapshot = Arc::new(next);
    }

    /// Takes what prompts are now. After each of them the snapshot is whole.
    async fn take(&self, next: &mut Snapshot, heads: Vec<PromptHead>) -> Result<(), StoreError> {
        for head in heads {
            let revision = head.revision;
            self.take_one(next, head).await?;
            next.revision = next.revision.max(revision);
        }
        Ok(())
    }

    /// Takes prompts that there was no room for, if there is now.
    async fn take_left_out(&self) -> Result<(), StoreError> {
        let before = self.snapshot();
        let Some(mut name) = before.fitting(self.room()) else {
            return Ok(());
        };
        let mut next = Snapshot::clone(&before);
        for _ in 0..AT_ONCE {
            match patiently(self.store.head(&name)).await {
                Ok(Some(head)) => self.take_one(&mut next, head).await?,
                Err(error) if error.failure() != Failure::Corrupt => return Err(error),
                _ => drop(next.left_out.remove(&name)),
            }
            match next.fitting(self.room()) {
                Some(another) => name = another,
                None => break,
            }
        }
        self.publish(next);
        Ok(())
    }

    /// Takes what a prompt is now.
    async fn take_one(&self, next: &mut Snapshot, head: PromptHead) -> Result<(), StoreError> {
        let before = next.prompts.get(&head.name).cloned();
        let wanted: BTreeSet<_> = head
            .labels
            .values()
            .flat_map(Assignment::shares)
            .map(|share| share.version)
            .chain([head.latest])
            .collect();
        let (mut versions, mut broken) = (HashMap::new(), Vec::new());
        for number in wanted {
            let known = before.as_ref().and_then(|before| before.version(number));
            let found = match known {
                Some(known) => Some(Ok(known.clone())),
                None => self.load(&head.name, number).await?,
            };
            let why = match found {
                Some(Ok(version)) => {
                    versions.insert(number, version);
                    continue;
                }
                Some(Err(invalid)) => invalid,
                None => Fault::new("", "The version is not in the store.").into(),
            };
            tracing::warn!(prompt = %head.name, version = number, %why, "a version of a prompt cannot be used");
            broken.push((number, why));
        }
        let name = head.name.clone();
        if !next.insert(Entry::new(head, &versions, broken), self.room()) {
            tracing::warn!(prompt = %name, "there is no room for a prompt: it is not found");
        }
        Ok(())
    }

    /// A version from the cache or from the store, or why it cannot be used. `None`: it is not there.
    pub(super) async fn load(
        &self,
        name: &PromptName,
        number: NonZeroU32,
    ) -> Result<Option<Result<Arc<Version>, InvalidPrompt>>, StoreError> {
        if let Some(known) = self.cache.get(name, number) {
            return Ok(Some(Ok(known)));
        }
        let record = match patiently(self.store.version(name, number)).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            // One that cannot be read is no reason to leave the others.
            Err(error) if error.failure() == Failure::Corrupt => {
                let fault = Fault::new("", "The version cannot be read.");
                return Ok(Some(Err(fault.about(error.to_string()).into())));
            }
            Err(error) => return Err(error),
        };
        let compiled = Version::compile(record).map(Arc::new);
        if let Ok(version) = &compiled {
            self.cache.insert(version.clone());
        }
        Ok(Some(compiled))
    }
}

async fn follow(registry: Weak<Inner>, every: Duration) {
    loop {
        time::sleep(every).await;
        let Some(registry) = registry.upgrade() else {
            return;
        };
        // It is told by `problems`.
        let _ = registry.refresh().await;
    }
}
