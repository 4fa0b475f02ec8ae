//! What a limit can tell of itself.

use super::Priority;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There was no room, and no place to wait.
    Full,
    /// It waited, and gave its place to a call that goes before it.
    Displaced,
    /// It waited as long as anyone may.
    Late,
    /// It waited, in a queue that [stands](super::ConcurrencyLayer::controlled_delay), as long as anyone
    /// may then.
    Delayed,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Displaced, Self::Late, Self::Delayed];

    /// `full`, `displaced`, `late` or `delayed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Displaced => "displaced",
            Self::Late => "late",
            Self::Delayed => "delayed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How things stand just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub(super) limit: usize,
    pub(super) in_flight: usize,
    pub(super) waiting: [usize; Priority::ALL.len()],
    pub(super) shed: [u64; Reason::ALL.len()],
    pub(super) keys: usize,
}

impl Stats {
    /// How many may be in at once: with a key, under each.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are in.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many of this priority wait.
    #[must_use]
    pub fn waiting(&self, priority: Priority) -> usize {
        self.waiting[priority.lane()]
    }

    /// How many were not let in for this reason, so far.
    #[must_use]
    pub fn shed(&self, reason: Reason) -> u64 {
        self.shed[reason as usize]
    }

    /// How many keys have an exchange in flight or waiting. Zero without a key.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
    }
}

/// How many were turned away.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; Reason::ALL.len()]);

impl Counts {
    /// Counts one, and says when it may come back: in 1, 2 or 3 seconds in turn, so that those who were
    /// turned away together do not come back together.
    pub(super) fn shed(&self, reason: Reason) -> Duration {
        let turn = self.0[reason as usize].fetch_add(1, Ordering::Relaxed) % 3;
        Duration::from_secs(1 + turn)
    }

    pub(super) fn read(&self) -> [u64; Reason::ALL.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
