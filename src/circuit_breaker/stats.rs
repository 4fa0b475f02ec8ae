//! What a circuit does with calls, and what it can tell of them.

use super::{circuit::Counts, window::Tally};
use std::fmt;

/// What a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Lets all through.
    Closed,
    /// Lets none through.
    Open,
    /// Lets probes through.
    HalfOpen,
    /// Lets all through, counts nothing, and stays so.
    Disabled,
    /// Lets all through, counts, and never opens.
    MetricsOnly,
    /// Lets none through, and stays so.
    ForcedOpen,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Closed,
        Self::Open,
        Self::HalfOpen,
        Self::Disabled,
        Self::MetricsOnly,
        Self::ForcedOpen,
    ];

    /// `closed`, `open`, `half_open`, `disabled`, `metrics_only` or `forced_open`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
            Self::ForcedOpen => "forced_open",
        }
    }

    /// Of several circuits, the one that the state of all goes by comes last.
    fn weight(self) -> u8 {
        match self {
            Self::Disabled => 0,
            Self::MetricsOnly => 1,
            Self::Closed => 2,
            Self::HalfOpen => 3,
            Self::Open => 4,
            Self::ForcedOpen => 5,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How things stand just now, in the words of Resilience4j. With a key, of all circuits together.
///
/// Calls are *buffered* while they are in the window. What is counted so far never goes down; a call whose
/// circuit changed its state before it answered counts nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub(super) state: State,
    pub(super) circuits: usize,
    pub(super) not_closed: usize,
    /// How many calls make a rate.
    pub(super) minimum: usize,
    pub(super) tally: Tally,
    pub(super) counts: Counts,
}

impl Stats {
    /// The state. Of several circuits: forced open if one is, else open if one is, else half open if one is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How many circuits there are: one, or with a key one for each that was used of late, one for calls
    /// without a key and one for keys that found no room.
    #[must_use]
    pub fn circuits(&self) -> usize {
        self.circuits
    }

    /// How many circuits are open, forced open or half open.
    #[must_use]
    pub fn not_closed(&self) -> usize {
        self.not_closed
    }

    /// Which share of the buffered calls failed, from 0 to 1. `None`: there are too few to tell.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        self.rate(self.tally.failed)
    }

    /// Which share of the buffered calls was slow, from 0 to 1. `None`: there are too few to tell.
    #[must_use]
    pub fn slow_call_rate(&self) -> Option<f64> {
        self.rate(self.tally.slow)
    }

    /// How many calls are buffered.
    #[must_use]
    pub fn buffered_calls(&self) -> usize {
        self.tally.calls
    }

    /// How many of the buffered calls failed.
    #[must_use]
    pub fn buffered_failed_calls(&self) -> usize {
        self.tally.failed
    }

    /// How many of the buffered calls were slow.
    #[must_use]
    pub fn buffered_slow_calls(&self) -> usize {
        self.tally.slow
    }

    /// How many calls succeeded, so far, with those that were dropped when they were slow already.
    #[must_use]
    pub fn successful_calls(&self) -> u64 {
        self.counts.successful
    }

    /// How many calls failed, so far. One that broke off after its head was counted as successful before.
    #[must_use]
    pub fn failed_calls(&self) -> u64 {
        self.counts.failed
    }

    /// How many calls were neither, or dropped before they were slow, so far.
    #[must_use]
    pub fn ignored_calls(&self) -> u64 {
        self.counts.ignored
    }

    /// How many calls were turned away, so far.
    #[must_use]
    pub fn not_permitted_calls(&self) -> u64 {
        self.counts.not_permitted
    }

    fn rate(&self, count: usize) -> Option<f64> {
        let calls = self.tally.calls;
        (calls >= self.minimum.max(1)).then(|| count as f64 / calls as f64)
    }

    /// Of both together.
    pub(super) fn merge(&mut self, other: Self) {
        if other.state.weight() > self.state.weight() {
            self.state = other.state;
        }
        self.circuits += other.circuits;
        self.not_closed += other.not_closed;
        self.tally.merge(other.tally);
        self.counts.merge(other.counts);
    }
}

impl Counts {
    pub(super) fn merge(&mut self, other: Self) {
        self.successful += other.successful;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.not_permitted += other.not_permitted;
    }
}
