//! What a hedge can tell of itself.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Counts {
    hedges: AtomicU64,
    won: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    pub(super) fn hedge(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("asks a second time");
    }

    pub(super) fn win(&self) {
        self.won.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deny(&self, why: &'static str) {
        self.denied.fetch_add(1, Ordering::Relaxed);
        tracing::info!(why, "does not ask a second time");
    }

    pub(super) fn stats(&self) -> Stats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            hedges: read(&self.hedges),
            won: read(&self.won),
            denied: read(&self.denied),
        }
    }
}

/// What was asked a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    hedges: u64,
    won: u64,
    denied: u64,
}

impl Stats {
    /// Attempts beside the first.
    #[must_use]
    pub fn hedges(&self) -> u64 {
        self.hedges
    }

    /// Those of them that won.
    #[must_use]
    pub fn won(&self) -> u64 {
        self.won
    }

    /// Calls that were slow and were not asked again, for want of budget, attempts or time.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied
    }
}
