//! Envoy's gradient.

use super::{Sample, bounds};
use crate::answer::Outcome;
use std::{
    hash::{BuildHasher, RandomState},
    mem,
    time::Duration,
};
use tokio::time::Instant;

/// The controller of Envoy's adaptive concurrency filter.
///
/// Now and then (every 60 seconds and up to 10 % more, so that instances do not do so together) so few
/// calls are let in at once that none waits for another, and half of 50 that are begun then are answered
/// within a time: `rest`, which the service needs without load. Between, every 100 ms, the same half of
/// the calls of that time has taken `now`, and
///
/// ```text
/// gradient = (rest + 25 %) / now, within 0.5 and 2
/// limit    = gradient × limit + √(gradient × limit)
/// ```
///
/// so that the limit falls as soon as answers take longer than at rest by more than a quarter, and by
/// the root there is always room to find out whether more would do. If it was the least that it may be for
/// five windows on end, the service has most likely become slower for good, and `rest` is found anew.
///
/// Beyond Envoy: the limit grows only if half of it was used in the window, for else a quiet night would
/// lift it to the most, and the morning would meet no limit. And a call that failed is no sample: to fail
/// is often quick.
///
/// While `rest` is found, and that is at the very beginning too, no more than [`probe`](Self::probe) calls
/// are let in at once: give it a [queue](crate::concurrency::ConcurrencyLayer::queue). A service that takes
/// seconds for an answer takes long for 50 of them: ask for [fewer](Self::rest_calls), or take
/// [`Aimd`](super::Aimd).
#[derive(Clone, Debug)]
pub struct Gradient {
    least: usize,
    most: usize,
    start: usize,
    probe: usize,
    window: Duration,
    rest_every: Duration,
    rest_calls: usize,
    buffer_percent: u32,
    percentile: u8,
}

impl Gradient {
    /// Begins with 20 at once, and stays between 3 and 1,000. Probes with 3 at once and 50 calls every 60
    /// to 66 seconds; looks at the 50th percentile of windows of 100 ms, and minds what is more than 25 %
    /// above rest. Envoy's defaults, but for the start.
    #[must_use]
    pub fn new() -> Self {
        Self {
            least: 3,
            most: 1000,
            start: 20,
            probe: 3,
            window: Duration::from_millis(100),
            rest_every: Duration::from_secs(60),
            rest_calls: 50,
            buffer_percent: 25,
            percentile: 50,
        }
    }

    /// Sets between which numbers the limit stays, but for probes. Zero is taken as one.
    #[must_use]
    pub fn limits(mut self, least: usize, most: usize) -> Self {
        (self.least, self.most) = bounds(least, most);
        self
    }

    /// Sets what the limit begins with, after the first probe.
    #[must_use]
    pub fn start(mut self, limit: usize) -> Self {
        self.start = limit;
        self
    }

    /// Sets how many are let in at once while the time at rest is found. Zero is taken as one.
    #[must_use]
    pub fn probe(mut self, calls: usize) -> Self {
        self.probe = calls.max(1);
        self
    }

    /// Sets how often the limit is found anew. At most a year.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window.min(YEAR);
        self
    }

    /// Sets how often the time at rest is found anew. Up to a tenth is added. At most a year.
    #[must_use]
    pub fn rest_every(mut self, interval: Duration) -> Self {
        self.rest_every = interval.min(YEAR);
        self
    }

    /// Sets how many calls it is found by. From 1 to 1,000.
    #[must_use]
    pub fn rest_calls(mut self, calls: usize) -> Self {
        self.rest_calls = calls.clamp(1, KEPT);
        self
    }

    /// Sets by how much answers may take longer than at rest.
    #[must_use]
    pub fn buffer_percent(mut self, percent: u32) -> Self {
        self.buffer_percent = percent;
        self
    }

    /// Sets which percentile of the times is looked at. From 1 to 100.
    #[must_use]
    pub fn percentile(mut self, percentile: u8) -> Self {
        self.percentile = percentile.clamp(1, 100);
        self
    }
}

impl Default for Gradient {
    fn default() -> Self {
        Self::new()
    }
}

/// The end of what is waited for must be an instant that the clock can tell.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Of how many calls of a window the times are kept: the latest.
const KEPT: usize = 1000;
/// For how many windows the limit may be the least that it may.
const PINNED: u32 = 5;

#[derive(Debug)]
pub(in crate::concurrency) struct Core {
    config: Gradient,
    /// What it is between probes.
    limit: usize,
    rest: Duration,
    phase: Phase,
    times: Vec<Duration>,
    /// Where the next time goes once as many are kept as may be.
    next: usize,
    /// The most that were in flight in this window.
    peak: usize,
    pinned: u32,
    random: RandomState,
}

#[derive(Debug)]
enum Phase {
    Probing {
        since: Instant,
    },
    Running {
        window_ends: Instant,
        probe_at: Instant,
    },
}

impl Core {
    pub(super) fn new(config: Gradient, now: Instant) -> Self {
        let limit = config.start.clamp(config.least, config.most);
        Self {
            config,
            limit,
            rest: Duration::ZERO,
            phase: Phase::Probing { since: now },
            times: Vec::new(),
            next: 0,
            peak: 0,
            pinned: 0,
            random: RandomState::new(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        match self.phase {
            Phase::Probing { .. } => self.config.probe.min(self.config.most),
            Phase::Running { .. } => self.limit,
        }
    }

    pub(super) fn sample(&mut self, sample: &Sample) {
        let now = sample.now;
        match self.phase {
            // What was begun before may have waited for others.
            Phase::Probing { since } if sample.begun < since => {}
            Phase::Probing { since } => {
                self.keep(sample);
                // Where none of the calls tells a time, or they are few, nobody is held to a probe for ever.
                let long = now.saturating_duration_since(since) >= self.config.rest_every;
                if self.times.len() >= self.config.rest_calls || long {
                    if !self.times.is_empty() {
                        self.rest = self.percentile();
                    }
                    self.phase = Phase::Running {
                        window_ends: now + self.config.window,
                        probe_at: now + self.config.rest_every + self.jitter(now),
                    };
                }
            }
            Phase::Running {
                window_ends,
                probe_at,
            } => {
                self.keep(sample);
                if now >= window_ends && !self.times.is_empty() {
                    self.adjust();
                    let window_ends = now + self.config.window;
                    self.phase = Phase::Running {
                        window_ends,
                        probe_at,
                    };
                }
                if now >= probe_at || self.pinned >= PINNED {
                    self.pinned = 0;
                    self.percentile();
                    self.phase = Phase::Probing { since: now };
                }
            }
        }
    }

    fn adjust(&mut self) {
        let took = self.percentile();
        let peak = mem::take(&mut self.peak);
        if self.rest.is_zero() {
            // No time was ever told while at rest, so nothing can be longer than it.
            self.rest = took;
        }
        let buffered =
            self.rest.as_secs_f64() * (1.0 + f64::from(self.config.buffer_percent) / 100.0);
        // A service that answers in no time at all is not overloaded.
        let gradient = (buffered / took.as_secs_f64().max(1e-9)).clamp(0.5, 2.0);
        let limit = self.limit as f64 * gradient;
        // To a number that fits: it is at most twice what fitted.
        let found = (limit + limit.sqrt()) as usize;
        let found = found.clamp(self.config.least, self.config.most);
        if found <= self.limit || peak.saturating_mul(2) >= self.limit {
            self.limit = found;
        }
        let pinned = self.limit == self.config.least && gradient < 1.0;
        self.pinned = if pinned { self.pinned + 1 } else { 0 };
    }

    fn keep(&mut self, sample: &Sample) {
        self.peak = self.peak.max(sample.in_flight);
        if sample.outcome != Outcome::Success {
            return;
        }
        let took = sample.took();
        // One of `next` is there only after as many were kept as may be.
        match self.times.get_mut(self.next) {
            Some(oldest) => *oldest = took,
            None => self.times.push(took),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Forgets the times.
    fn percentile(&mut self) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let nth = (self.times.len() * usize::from(self.config.percentile)).div_ceil(100);
        let nth = nth.saturating_sub(1).min(last);
        let time = match self.times.is_empty() {
            true => Duration::ZERO,
            false => *self.times.select_nth_unstable(nth).1,
        };
        self.times.clear();
        self.next = 0;
        time
    }

    /// Up to a tenth of the time between two probes.
    fn jitter(&self, now: Instant) -> Duration {
        let share = self.random.hash_one(now) % 1000;
        self.config.rest_every.mul_f64(share as f64 / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(10);

    /// A core, and a clock.
    struct Run(Core, Instant);

    impl Run {
        fn new(config: Gradient) -> Self {
            let now = Instant::now();
            Self(Core::new(config, now), now)
        }

        /// So many calls, one after the other, that take so long each.
        fn calls(&mut self, calls: usize, took: Duration, in_flight: usize) -> usize {
            for _ in 0..calls {
                let begun = self.1;
                self.1 += took;
                self.0.sample(&Sample {
                    begun,
                    now: self.1,
                    in_flight,
                    outcome: Outcome::Success,
                });
            }
            self.0.limit()
        }

        /// So many windows, of ten calls each at least.
        fn windows(&mut self, windows: usize, took: Duration, in_flight: usize) -> usize {
            let calls = (Duration::from_millis(100).as_micros() / took.as_micros()).max(1);
            self.calls(windows * usize::try_from(calls).unwrap(), took, in_flight)
        }
    }

    #[test]
    fn it_probes_first_and_then_begins() {
        let mut run = Run::new(Gradient::new());
        assert_eq!(run.0.limit(), 3);
        assert_eq!(run.calls(49, REST, 3), 3);
        assert_eq!(run.calls(1, REST, 3), 20);
        assert_eq!(run.0.rest, REST);
    }

    #[test]
    fn the_numbers_are_those_of_the_formula() {
        let mut run = Run::new(Gradient::new().start(100));
        run.calls(50, REST, 3);
        // 12.5 / 25 = 0.5: 50 + 7.07.
        assert_eq!(run.windows(1, 25 * REST / 10, 100), 57);
        // 12.5 / 12.5 = 1: 57 + 7.54.
        assert_eq!(run.windows(1, 125 * REST / 100, 57), 64);
        // Never less than half, and never more than double.
        assert_eq!(run.windows(1, 10 * REST, 64), 32 + 5);
        assert_eq!(run.windows(1, REST / 10, 37), 74 + 8);
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut run = Run::new(Gradient::new().start(100));
        run.calls(50, REST, 3);
        assert_eq!(run.windows(10, REST, 49), 100);
        assert!(run.windows(1, REST, 50) > 100);
    }

    #[test]
    fn rest_is_found_anew_after_a_minute_and_by_calls_that_are_begun_then() {
        let mut run = Run::new(Gradient::new());
        run.calls(50, REST, 3);
        let start = run.1;
        while run.calls(1, REST, 1) != 3 {}
        let after = (run.1 - start).as_secs_f64();
        assert!(
            (60.0..66.1).contains(&after),
            "up to a tenth later: {after}"
        );
        let old = Sample {
            begun: run.1 - Duration::from_secs(30),
            now: run.1,
            in_flight: 3,
            outcome: Outcome::Success,
        };
        (0..100).for_each(|_| run.0.sample(&old));
        assert_eq!(run.0.limit(), 3);
        assert_eq!(run.calls(50, 2 * REST, 3), 20);
        assert_eq!(run.0.rest, 2 * REST);
    }

    #[test]
    fn rest_is_found_anew_when_the_limit_can_fall_no_further() {
        let mut run = Run::new(Gradient::new().limits(5, 100));
        run.calls(50, REST, 3);
        let mut windows = 0;
        while run.windows(1, 10 * REST, 20) != 3 {
            windows += 1;
            assert!(windows < 30, "{:?}", run.0);
        }
        assert_eq!(run.0.pinned, 0);
        run.calls(50, 10 * REST, 3);
        assert_eq!((run.0.rest, run.0.limit()), (10 * REST, 5));
    }

    #[test]
    fn failures_and_hang_ups_are_no_samples() {
        let mut run = Run::new(Gradient::new());
        for outcome in [Outcome::Failure, Outcome::Neutral] {
            for _ in 0..100 {
                run.0.sample(&Sample {
                    begun: run.1,
                    now: run.1,
                    in_flight: 3,
                    outcome,
                });
            }
        }
        assert_eq!(run.0.limit(), 3, "still probing");
    }

    #[test]
    fn a_service_whose_calls_tell_no_time_is_not_probed_for_ever() {
        let mut run = Run::new(Gradient::new());
        let minute = Duration::from_secs(60);
        let untold = |run: &Run| Sample {
            begun: run.1,
            now: run.1,
            in_flight: 3,
            outcome: Outcome::Neutral,
        };
        run.0.sample(&untold(&run));
        assert_eq!(run.0.limit(), 3);
        run.1 += minute;
        run.0.sample(&untold(&run));
        assert_eq!(run.0.limit(), 20);
        assert!(run.windows(1, REST, 20) >= 20, "what comes first is rest");
    }

    #[test]
    fn a_window_without_end_is_a_year() {
        let mut run = Run::new(
            Gradient::new()
                .window(Duration::MAX)
                .rest_every(Duration::MAX),
        );
        assert_eq!(run.calls(50, REST, 3), 20);
    }

    #[test]
    fn no_more_times_are_kept_than_may_be() {
        let mut run = Run::new(Gradient::new().window(Duration::from_secs(3600)));
        run.calls(50, REST, 3);
        run.calls(3 * KEPT + 7, REST / 100, 3);
        assert_eq!(run.0.times.len(), KEPT);
    }
}
