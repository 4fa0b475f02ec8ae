//! How it went.

use super::{Shared, lock};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

#[derive(Debug, Default)]
pub(super) struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
    undecided: AtomicU64,
    failed_open: AtomicU64,
}

impl Counts {
    pub(super) fn decided(&self, allowed: bool) {
        let count = if allowed { &self.allowed } else { &self.denied };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn undecided(&self, lets_in: bool) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
        if lets_in {
            self.failed_open.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How it went so far, for gauges. See [`ExternalLayer::stats`](super::ExternalLayer::stats).
#[derive(Clone)]
pub struct Stats(Arc<Shared>);

impl Stats {
    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// How many calls were allowed.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        self.0.counts.allowed.load(Ordering::Relaxed)
    }

    /// How many calls were denied.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.0.counts.denied.load(Ordering::Relaxed)
    }

    /// Of how many calls nobody said whether they may be made.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        self.0.counts.undecided.load(Ordering::Relaxed)
    }

    /// How many of these were let in, by [`OnFailure::Allow`](super::OnFailure::Allow).
    #[must_use]
    pub fn failed_open(&self) -> u64 {
        self.0.counts.failed_open.load(Ordering::Relaxed)
    }

    /// Whether the decider is left alone now, for it did not answer.
    #[must_use]
    pub fn is_down(&self) -> bool {
        lock(&self.0.pause).is_down()
    }

    /// How many decisions are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.0.cache.as_ref().map_or(0, |cache| lock(cache).len())
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("allowed", &self.allowed())
            .field("denied", &self.denied())
            .field("undecided", &self.undecided())
            .field("failed_open", &self.failed_open())
            .field("is_down", &self.is_down())
            .field("kept", &self.kept())
            .finish()
    }
}
