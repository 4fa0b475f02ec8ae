//! What a retry layer can tell of itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why something was not asked again that was worth it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    Time,
    Attempts,
    Budget,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    retries: AtomicU64,
    denied: [AtomicU64; 3],
}

impl Counts {
    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deny(&self, why: Denied) {
        self.denied[why as usize].fetch_add(1, Ordering::Relaxed);
        let why = match why {
            Denied::Time => "there is no time",
            Denied::Attempts => "the exchange has no attempts left",
            Denied::Budget => "the budget of the service is used up",
        };
        tracing::info!(why, "does not ask again");
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            retries: self.retries.load(Ordering::Relaxed),
            denied: self
                .denied
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
        }
    }
}

/// What was asked again, and what was worth it and was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    retries: u64,
    denied: [u64; 3],
}

impl Stats {
    /// Further attempts that were made.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Those for which there was no time, by the deadline or by the
    /// [longest wait](super::RetryLayer::longest_wait).
    #[must_use]
    pub fn without_time(&self) -> u64 {
        self.denied[Denied::Time as usize]
    }

    /// Those for which the exchange had [no attempts left](crate::deadline::Deadline::take).
    #[must_use]
    pub fn without_attempts(&self) -> u64 {
        self.denied[Denied::Attempts as usize]
    }

    /// Those that the [`Budget`](crate::deadline::Budget) of the service did not allow.
    #[must_use]
    pub fn without_budget(&self) -> u64 {
        self.denied[Denied::Budget as usize]
    }
}
