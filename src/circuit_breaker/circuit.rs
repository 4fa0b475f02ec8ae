//! The state machine. It reads no clock and takes no lock, so it is tested as plain data.

use super::{
    State,
    stats::Stats,
    window::{Answer, Span, Window},
};
use crate::{
    answer::Outcome,
    rejection::{Kind, Rejection},
};
use http::{HeaderName, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) failure_percent: u8,
    /// Calls that take this long are slow, and this share of them opens the circuit.
    pub(super) slow: Option<(Duration, u8)>,
    pub(super) window: Span,
    pub(super) minimum_calls: usize,
    pub(super) probes: usize,
    pub(super) cool_down: Duration,
    /// The cool-down doubles up to here while the circuit does not close in between.
    pub(super) longest_cool_down: Duration,
    /// How long it may be half open before it opens again.
    pub(super) half_open: Option<Duration>,
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

    /// A window that is shorter than the minimum could never open the circuit.
    fn minimum(&self) -> usize {
        let minimum = self.minimum_calls.max(1);
        match self.window {
            Span::Calls(calls) => minimum.min(calls),
            Span::Seconds(_) => minimum,
        }
    }

    /// How long it is open, if it has opened so many times without closing in between.
    fn cool_down_after(&self, openings: u32) -> Duration {
        let factor = 2_u32.saturating_pow(openings);
        let longest = self.longest_cool_down.max(self.cool_down);
        self.cool_down.saturating_mul(factor).min(longest)
    }

    /// The longest that any circuit is open.
    pub(super) fn longest_open(&self) -> Duration {
        self.longest_cool_down.max(self.cool_down)
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
    /// How often it has opened since it was closed.
    openings: u32,
    counts: Counts,
    /// The changes of state that nobody was told of.
    untold: Vec<(State, State)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { free: usize, until: Option<Instant> },
    Forced(Forced),
}

/// A state that no answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forced {
    Disabled,
    MetricsOnly,
    Open,
}

/// What was counted since the circuit was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) successful: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    pub(super) not_permitted: u64,
}

/// Where an answer stands in the window, should it have to be revised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    epoch: u64,
    place: u64,
    failed: bool,
}

impl Circuit {
    pub(super) fn forced(&self) -> Option<Forced> {
        match self.phase {
            Phase::Forced(forced) => Some(forced),
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Closed,
            window: Window::new(config.window),
            epoch: 0,
            openings: 0,
            counts: Counts::default(),
            untold: Vec::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Forced(Forced::Disabled) => State::Disabled,
            Phase::Forced(Forced::MetricsOnly) => State::MetricsOnly,
            Phase::Forced(Forced::Open) => State::ForcedOpen,
        }
    }

    /// Lets a call in, and names the epoch that its outcome belongs to.
    pub(super) fn admit(&mut self, now: Instant) -> Result<u64, Rejection> {
        self.pass_time(now);
        let refused = match &mut self.phase {
            Phase::Open { until } => Some(refusal().with_retry_after(*until - now)),
            Phase::HalfOpen { free: 0, .. } | Phase::Forced(Forced::Open) => Some(refusal()),
            Phase::HalfOpen { free, .. } => {
                *free -= 1;
                None
            }
            Phase::Closed | Phase::Forced(Forced::Disabled | Forced::MetricsOnly) => None,
        };
        match refused {
            Some(refusal) => {
                self.counts.not_permitted += 1;
                Err(refusal)
            }
            None => Ok(self.epoch),
        }
    }

    /// What becomes of it without a call. It is looked at when the next one comes.
    fn pass_time(&mut self, now: Instant) {
        if let Phase::HalfOpen {
            until: Some(until), ..
        } = self.phase
            && until <= now
        {
            self.open(until);
        }
        if let Phase::Open { until } = self.phase
            && until <= now
        {
            self.enter(Phase::HalfOpen {
                free: self.config.probes,
                until: self.config.half_open.map(|wait| now + wait),
            });
        }
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
        if epoch != self.epoch || self.phase == Phase::Forced(Forced::Disabled) {
            return None;
        }
        let failed = match outcome {
            Outcome::Neutral => {
                self.counts.ignored += 1;
                if let Phase::HalfOpen { free, .. } = &mut self.phase {
                    *free += 1;
                }
                return None;
            }
            Outcome::Success => {
                self.counts.successful += 1;
                false
            }
            Outcome::Failure => {
                self.counts.failed += 1;
                true
            }
        };
        let slow = self.config.is_slow(elapsed);
        let place = self.window.push(Answer { failed, slow }, now);
        self.judge(now);
        Some(Entry {
            epoch,
            place,
            failed,
        })
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

    /// Turns an answer that was recorded before into a failure. Of the seconds of a window it is known how
    /// many calls they have, and not which: nobody may revise one twice.
    pub(super) fn revise(&mut self, entry: Entry, now: Instant) {
        if entry.epoch == self.epoch && !entry.failed && self.window.fail(entry.place, now) {
            self.counts.failed += 1;
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let tally = self.window.tally(now);
        let config = &self.config;
        match self.phase {
            Phase::Closed => {
                let enough = tally.calls >= config.minimum();
                if enough && config.too_many(tally.failed, tally.slow, tally.calls) {
                    self.open(now);
                }
            }
            // Decided as soon as the probes still out cannot change it, lest one that hangs keep
            // the circuit half open.
            Phase::HalfOpen { .. } => {
                let probes = config.probes;
                let out = probes - tally.calls;
                if config.too_many(tally.failed, tally.slow, probes) {
                    self.open(now);
                } else if !config.too_many(tally.failed + out, tally.slow + out, probes) {
                    self.openings = 0;
                    self.enter(Phase::Closed);
                }
            }
            Phase::Open { .. } | Phase::Forced(_) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        let until = now + self.config.cool_down_after(self.openings);
        self.openings = self.openings.saturating_add(1);
        self.enter(Phase::Open { until });
    }

    fn enter(&mut self, phase: Phase) {
        let before = self.state();
        let span = match phase {
            Phase::HalfOpen { .. } => Span::Calls(self.config.probes),
            _ => self.config.window,
        };
        self.phase = phase;
        self.window = Window::new(span);
        self.epoch += 1;
        let after = self.state();
        if before != after {
            self.untold.push((before, after));
        }
    }

    /// Opens it as if too many calls had failed, unless it is open.
    pub(super) fn trip(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Open { until } if now < until) {
            self.open(now);
        }
    }

    /// Closes it, and forgets what was.
    pub(super) fn reset(&mut self) {
        self.openings = 0;
        self.enter(Phase::Closed);
    }

    /// Holds it in a state until it is [reset](Self::reset) or [tripped](Self::trip).
    pub(super) fn force(&mut self, forced: Forced) {
        if self.phase != Phase::Forced(forced) {
            self.openings = 0;
            self.enter(Phase::Forced(forced));
        }
    }

    /// The changes of state since the last time.
    pub(super) fn take_untold(&mut self) -> Vec<(State, State)> {
        std::mem::take(&mut self.untold)
    }

    pub(super) fn stats(&mut self, now: Instant) -> Stats {
        Stats {
            state: self.state(),
            circuits: 1,
            not_closed: usize::from(self.refuses()),
            minimum: self.config.minimum(),
            tally: self.window.tally(now),
            counts: self.counts,
        }
    }

    /// Whether some calls or all are turned away.
    fn refuses(&self) -> bool {
        matches!(
            self.phase,
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Forced(Forced::Open)
        )
    }
}

/// As an upstream that is not asked (RFC 9209 §2.3.2).
fn refusal() -> Rejection {
    Rejection::new(Kind::CircuitOpen).with_header(
        HeaderName::from_static("proxy-status"),
        HeaderValue::from_static("tower-gateway; error=destination_unavailable"),
    )
}

#[cfg(test)]
mod tests;
