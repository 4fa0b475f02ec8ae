//! The state machine. It reads no clock and takes no lock, so it is tested as plain data.

use super::State;
use crate::{
    answer::Outcome,
    rejection::{Kind, Rejection},
};
use http::{HeaderName, HeaderValue};
use std::{collections::VecDeque, fmt, time::Duration};
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) failure_percent: u8,
    /// Calls that take this long are slow, and this share of them opens the circuit.
    pub(super) slow: Option<(Duration, u8)>,
    pub(super) window: usize,
    pub(super) minimum_calls: usize,
    pub(super) probes: usize,
    pub(super) cool_down: Duration,
}

impl Config {
    /// Whether so many failed or slow calls among `calls` are too many.
    fn too_many(&self, failed: usize, slow: usize, calls: usize) -> bool {
        let reaches = |count, percent| count * 100 >= usize::from(percent) * calls;
        reaches(failed, self.failure_percent)
            || self.slow.is_some_and(|(_, percent)| reaches(slow, percent))
    }

    fn is_slow(&self, elapsed: Duration) -> bool {
        self.slow.is_some_and(|(slow, _)| elapsed >= slow)
    }
}

#[derive(Debug)]
pub(super) struct Circuit {
    config: Config,
    phase: Phase,
    /// The calls that were answered in this phase.
    window: Window,
    /// Goes up with every change of phase, so that a late answer cannot move the next phase.
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { free: usize },
}

/// Where an answer stands in the window, should it have to be revised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    epoch: u64,
    index: u64,
}

impl Circuit {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Closed,
            window: Window::default(),
            epoch: 0,
        }
    }

    pub(super) fn config(&self) -> Config {
        self.config
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Lets a call in, and names the epoch that its outcome belongs to.
    pub(super) fn admit(&mut self, now: Instant) -> Result<u64, Rejection> {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(refusal().with_retry_after(until - now));
            }
            let free = self.config.probes;
            self.enter(Phase::HalfOpen { free });
        }
        if let Phase::HalfOpen { free } = &mut self.phase {
            *free = free.checked_sub(1).ok_or_else(refusal)?;
        }
        Ok(self.epoch)
    }

    /// Counts an answer that took `elapsed`. Each call that was let in is recorded once, or
    /// [abandoned](Self::abandon).
    pub(super) fn record(
        &mut self,
        epoch: u64,
        outcome: Outcome,
        elapsed: Duration,
        now: Instant,
    ) -> Option<Entry> {
        if epoch != self.epoch {
            return None;
        }
        let capacity = match (&mut self.phase, outcome) {
            (Phase::HalfOpen { free }, Outcome::Neutral) => {
                *free += 1;
                return None;
            }
            (_, Outcome::Neutral) => return None,
            (Phase::HalfOpen { .. }, _) => self.config.probes,
            (Phase::Closed | Phase::Open { .. }, _) => self.config.window,
        };
        let answer = Answer {
            failed: outcome == Outcome::Failure,
            slow: self.config.is_slow(elapsed),
        };
        let index = self.window.push(answer, capacity);
        self.judge(now);
        Some(Entry { epoch, index })
    }

    /// Takes leave of a call that was dropped before it answered. Whether it would have failed
    /// nobody knows, but that it was slow is a fact.
    pub(super) fn abandon(&mut self, epoch: u64, elapsed: Duration, now: Instant) {
        let outcome = if self.config.is_slow(elapsed) {
            Outcome::Success
        } else {
            Outcome::Neutral
        };
        self.record(epoch, outcome, elapsed, now);
    }

    /// Turns an answer that was recorded before into a failure.
    pub(super) fn revise(&mut self, entry: Entry, now: Instant) {
        if entry.epoch == self.epoch && self.window.fail(entry.index) {
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let (config, window) = (&self.config, &self.window);
        let calls = window.answers.len();
        let open = Phase::Open {
            until: now + config.cool_down,
        };
        match self.phase {
            Phase::Closed => {
                // A window that is shorter than the minimum could never open the circuit.
                let minimum = config.minimum_calls.min(config.window);
                if calls >= minimum && config.too_many(window.failed, window.slow, calls) {
                    self.enter(open);
                }
            }
            // Decided as soon as the probes still out cannot change it, lest one that hangs keep
            // the circuit half open.
            Phase::HalfOpen { .. } => {
                let probes = config.probes;
                let out = probes - calls;
                if config.too_many(window.failed, window.slow, probes) {
                    self.enter(open);
                } else if !config.too_many(window.failed + out, window.slow + out, probes) {
                    self.enter(Phase::Closed);
                }
            }
            Phase::Open { .. } => {}
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.window = Window::default();
        self.epoch += 1;
    }
}

#[derive(Clone, Copy)]
struct Answer {
    failed: bool,
    slow: bool,
}

/// The last answers, and how many of them were bad.
#[derive(Default)]
struct Window {
    answers: VecDeque<Answer>,
    /// How many answers have left, which is the index of the first that has not.
    left: u64,
    failed: usize,
    slow: usize,
}

/// As an upstream that is not asked (RFC 9209 §2.3.2).
fn refusal() -> Rejection {
    Rejection::new(Kind::CircuitOpen).with_header(
        HeaderName::from_static("proxy-status"),
        HeaderValue::from_static("tower-gateway; error=destination_unavailable"),
    )
}

impl Window {
    fn push(&mut self, answer: Answer, capacity: usize) -> u64 {
        if self.answers.len() == capacity {
            let oldest = self.answers.pop_front();
            self.left += 1;
            self.failed -= usize::from(oldest.is_some_and(|answer| answer.failed));
            self.slow -= usize::from(oldest.is_some_and(|answer| answer.slow));
        }
        let index = self.left + self.answers.len() as u64;
        self.answers.push_back(answer);
        self.failed += usize::from(answer.failed);
        self.slow += usize::from(answer.slow);
        index
    }

    /// Returns whether the answer is still here and had not failed before.
    fn fail(&mut self, index: u64) -> bool {
        let answer = index
            .checked_sub(self.left)
            .and_then(|position| usize::try_from(position).ok())
            .and_then(|position| self.answers.get_mut(position))
            .filter(|answer| !answer.failed);
        let found = answer.map(|answer| answer.failed = true).is_some();
        self.failed += usize::from(found);
        found
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("calls", &self.answers.len())
            .field("failed", &self.failed)
            .field("slow", &self.slow)
            .finish()
    }
}

#[cfg(test)]
mod tests;
