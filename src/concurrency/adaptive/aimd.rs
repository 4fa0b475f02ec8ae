//! Additive increase, multiplicative decrease.

use super::{Sample, bounds};
use crate::answer::Outcome;
use std::time::Duration;
use tokio::time::Instant;

/// One more when as many calls as there may be at once went well, and a tenth less when one did not: the
/// congestion avoidance of TCP (RFC 5681 section 3.1), with the gentler cut that Netflix's
/// concurrency-limits chose.
///
/// A call did not go well if it failed or took longer than it may. Those that were under way when the
/// limit was cut do not cut it again. The limit grows only while at least half of it is used.
///
/// It knows of an overload when answers are as late as you said, and not before. In return there is one
/// number to set, and nothing is measured at rest.
#[derive(Clone, Debug)]
pub struct Aimd {
    pub(super) slow: Duration,
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) start: usize,
    pub(super) keep_percent: u8,
}

impl Aimd {
    /// Takes what takes longer than this for a sign of overload. Begins with 20 at once, and stays
    /// between 1 and 1,000. Keeps 90 % at a cut.
    #[must_use]
    pub fn new(slow: Duration) -> Self {
        Self {
            slow,
            least: 1,
            most: 1000,
            start: 20,
            keep_percent: 90,
        }
    }

    /// Sets between which numbers the limit stays. Zero is taken as one.
    #[must_use]
    pub fn limits(mut self, least: usize, most: usize) -> Self {
        (self.least, self.most) = bounds(least, most);
        self
    }

    /// Sets what the limit begins with.
    #[must_use]
    pub fn start(mut self, limit: usize) -> Self {
        self.start = limit;
        self
    }

    /// Sets how much of the limit is kept when it is cut. Taken as from 10 to 99.
    #[must_use]
    pub fn keep_percent(mut self, percent: u8) -> Self {
        self.keep_percent = percent.clamp(10, 99);
        self
    }
}

#[derive(Debug)]
pub(in crate::concurrency) struct Core {
    config: Aimd,
    limit: usize,
    /// How many went well since the limit last grew.
    well: usize,
    cut: Option<Instant>,
}

impl Core {
    pub(super) fn new(config: Aimd) -> Self {
        let limit = config.start.clamp(config.least, config.most);
        Self {
            config,
            limit,
            well: 0,
            cut: None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn sample(&mut self, sample: &Sample) {
        let slow = sample.took() > self.config.slow;
        match sample.outcome {
            _ if slow => self.cut(sample),
            Outcome::Failure => self.cut(sample),
            Outcome::Success => self.grow(sample),
            Outcome::Neutral => {}
        }
    }

    fn cut(&mut self, sample: &Sample) {
        if self.cut.is_some_and(|cut| sample.begun < cut) {
            return;
        }
        let kept = self.limit as u128 * u128::from(self.config.keep_percent) / 100;
        // Less than it was, which fitted.
        self.limit = (kept as usize).max(self.config.least);
        self.cut = Some(sample.now);
        self.well = 0;
    }

    fn grow(&mut self, sample: &Sample) {
        if sample.in_flight.saturating_mul(2) < self.limit {
            return;
        }
        self.well += 1;
        if self.well >= self.limit {
            self.well = 0;
            self.limit = (self.limit + 1).min(self.config.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(100);
    const FAST: Duration = Duration::from_millis(10);

    fn sample(begun: Instant, took: Duration, in_flight: usize, outcome: Outcome) -> Sample {
        Sample {
            begun,
            now: begun + took,
            in_flight,
            outcome,
        }
    }

    #[test]
    fn as_many_good_calls_as_there_may_be_make_room_for_one_more() {
        let now = Instant::now();
        let mut core = Core::new(Aimd::new(SLOW).start(10).limits(1, 11));
        let mut well = |times| {
            for _ in 0..times {
                core.sample(&sample(now, FAST, 10, Outcome::Success));
            }
            core.limit()
        };
        assert_eq!((well(9), well(1), well(100)), (10, 11, 11));
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut core = Core::new(Aimd::new(SLOW).start(10));
        for _ in 0..100 {
            core.sample(&sample(Instant::now(), FAST, 4, Outcome::Success));
        }
        assert_eq!(core.limit(), 10);
    }

    #[test]
    fn one_overload_cuts_once_however_many_it_hits() {
        let start = Instant::now();
        let mut core = Core::new(Aimd::new(SLOW).start(100));
        for _ in 0..50 {
            core.sample(&sample(start, 2 * SLOW, 100, Outcome::Success));
        }
        assert_eq!(core.limit(), 90);
        let later = start + 2 * SLOW;
        core.sample(&sample(later, FAST, 90, Outcome::Failure));
        assert_eq!(core.limit(), 81);
    }

    #[test]
    fn who_hung_up_soon_says_nothing_and_who_hung_up_late_says_enough() {
        let now = Instant::now();
        let mut core = Core::new(Aimd::new(SLOW).start(10));
        core.sample(&sample(now, FAST, 10, Outcome::Neutral));
        assert_eq!((core.limit(), core.well), (10, 0));
        core.sample(&sample(now, 2 * SLOW, 10, Outcome::Neutral));
        assert_eq!(core.limit(), 9);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut now = Instant::now();
        let mut core = Core::new(Aimd::new(SLOW).start(0).limits(0, 0));
        assert_eq!(core.limit(), 1);
        for outcome in [Outcome::Failure, Outcome::Success] {
            now += SLOW;
            core.sample(&sample(now, FAST, 1, outcome));
            assert_eq!(core.limit(), 1);
        }
    }
}
