//! By which rules calls are spread.

use super::{
    outlier::Outlier,
    pick::{Levels, Ring, SlowStart},
};
use crate::answer::Remedy;
use std::time::Duration;

/// How an endpoint is chosen among those of one priority.
///
/// What each costs and is made from stands in [`pick`](super::pick).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Each in turn. Weights and slow start are not looked at.
    RoundRobin,
    /// In turn by weight, as nginx does it.
    SmoothWeighted,
    /// Who has the fewest calls out for its weight. Best where calls differ much in what they cost, and
    /// the default.
    #[default]
    LeastOutstanding,
    /// Of two the one that answers sooner: peak EWMA. Best where endpoints differ in how fast they are.
    /// What is measured is the time to the head of the answer, not to its end.
    PeakEwma,
    /// The same one for the same [key](super::Balance::key). A call without a key goes anywhere.
    RingHash,
    /// At random, by weight.
    Random,
}

/// By which rules calls are spread over a set of endpoints.
///
/// ```
/// use tower_gateway::balance::{Outlier, Rules, SlowStart, Strategy};
/// use std::time::Duration;
///
/// let rules = Rules::new(Strategy::PeakEwma)
///     .slow_start(SlowStart::new(Duration::from_secs(30)))
///     .outlier(Outlier::new().consecutive(3))
///     .panic_threshold(0.3);
/// # let _ = rules;
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    strategy: Strategy,
    levels: Levels,
    slow_start: Option<SlowStart>,
    outlier: Option<Outlier>,
    longest_rest: Duration,
    decay: Duration,
    failure_penalty: Duration,
    points: u32,
    bound: Option<f64>,
    seed: Option<u64>,
}

impl Rules {
    /// This strategy, [`Outlier::new`] and [`Levels::new`], no slow start, and a rest for whoever asks for
    /// one, at most an hour.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            levels: Levels::new(),
            slow_start: None,
            outlier: Some(Outlier::new()),
            longest_rest: Remedy::LONGEST,
            decay: Duration::from_secs(10),
            failure_penalty: Duration::from_secs(1),
            points: Ring::POINTS,
            bound: Some(1.25),
            seed: None,
        }
    }

    /// Lets endpoints that are new, or well again, have calls little by little.
    #[must_use]
    pub fn slow_start(self, slow_start: SlowStart) -> Self {
        let slow_start = Some(slow_start);
        Self { slow_start, ..self }
    }

    /// Sets who is taken out for its answers. `None`: nobody.
    #[must_use]
    pub fn outlier(self, outlier: impl Into<Option<Outlier>>) -> Self {
        let outlier = outlier.into();
        Self { outlier, ..self }
    }

    /// Sets how much more than its share a well endpoint can take, 1.4 times by default: by that is known
    /// when a priority overflows to the next.
    #[must_use]
    pub fn overprovision(self, times: f64) -> Self {
        let levels = self.levels.overprovision(times);
        Self { levels, ..self }
    }

    /// Sets below which share of well endpoints a priority ignores health, 0.5 by default. 0: never, unless
    /// nobody at all is well.
    #[must_use]
    pub fn panic_threshold(self, share: f64) -> Self {
        let levels = self.levels.panic_threshold(share);
        Self { levels, ..self }
    }

    /// Sets for how long an endpoint may rest that asked for it, with a 429 or a 503 and a time, or that
    /// refused without one: at most and by default [`Remedy::LONGEST`]. Zero: none rests, and one that
    /// refuses at once may be given most calls by [`Strategy::LeastOutstanding`].
    #[must_use]
    pub fn longest_rest(self, longest: Duration) -> Self {
        let longest_rest = longest.min(Remedy::LONGEST);
        Self {
            longest_rest,
            ..self
        }
    }

    /// Sets over which time [peak EWMA](Strategy::PeakEwma) forgets, 10 s by default.
    #[must_use]
    pub fn decay(self, decay: Duration) -> Self {
        Self { decay, ..self }
    }

    /// Sets how long a call that failed or was refused counts for at the least in peak EWMA, 1 s by default,
    /// so that what fails fast is not taken for what is fast.
    #[must_use]
    pub fn penalty(self, failure: Duration) -> Self {
        let failure_penalty = failure;
        Self {
            failure_penalty,
            ..self
        }
    }

    /// Sets how many points an endpoint of mean weight has on a [ring](Strategy::RingHash), 1024 by default:
    /// a quarter of them at the least, twice as many at the most. Taken as from 1 to 65,536. See
    /// [`Ring`](super::pick::Ring#scale).
    #[must_use]
    pub fn ring_points(self, points: u32) -> Self {
        let points = points.clamp(1, 65_536);
        Self { points, ..self }
    }

    /// Sets how many times its share of the calls that are out an endpoint of a ring may have, 1.25 by
    /// default; at least 1. `None`: any number, so that a key never moves while its endpoint is well.
    #[must_use]
    pub fn bounded_load(self, factor: impl Into<Option<f64>>) -> Self {
        let bound = factor.into();
        Self { bound, ..self }
    }

    /// Makes chance repeat itself, for tests.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let seed = Some(seed);
        Self { seed, ..self }
    }

    /// How an endpoint is chosen.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    pub(super) fn outlier_rules(&self) -> Option<&Outlier> {
        self.outlier.as_ref()
    }

    pub(super) fn levels(&self) -> &Levels {
        &self.levels
    }

    pub(super) fn slow(&self) -> Option<&SlowStart> {
        self.slow_start.as_ref()
    }

    pub(super) fn rest(&self) -> Duration {
        self.longest_rest
    }

    pub(super) fn forgets_over(&self) -> Duration {
        self.decay
    }

    pub(super) fn failure_penalty(&self) -> Duration {
        self.failure_penalty
    }

    pub(super) fn points(&self) -> u32 {
        self.points
    }

    pub(super) fn bound(&self) -> Option<f64> {
        self.bound
    }

    pub(super) fn seeded(&self) -> Option<u64> {
        self.seed
    }
}

impl Default for Rules {
    /// Least outstanding.
    fn default() -> Self {
        Self::new(Strategy::default())
    }
}

impl From<Strategy> for Rules {
    fn from(strategy: Strategy) -> Self {
        Self::new(strategy)
    }
}
