//! How much is granted in what time.

use super::{
    gcra::Rate,
    meter::{Meter, Rule},
    window::{Fixed, Length, Sliding},
};
use crate::principal::Limit;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// So many units in so much time, such as 60 calls a minute.
///
/// | algorithm | units come back | at most in any such time |
/// |---|---|---|
/// | GCRA, by default | one after the other, evenly | the quota and a [`burst`](Self::burst) |
/// | [`sliding_window`](Self::sliding_window) | as they were used, about | less than twice the quota; the quota, if calls come evenly |
/// | [`fixed_window`](Self::fixed_window), [`per_month`](Self::per_month) | all at once, with the clock | twice the quota, across an edge |
///
/// A quota of zero, or a burst of zero, lets nothing in. The most units are 999,999,999,999,999, which
/// is what a header can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    name: Arc<str>,
    limit: u64,
    period: Duration,
    /// `None`: the limit.
    burst: Option<u64>,
    algorithm: Algorithm,
    shadow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Gcra,
    SlidingWindow,
    FixedWindow,
    Month,
}

/// The most units, and the most of a burst: an integer of RFC 9651 §3.3.1 has 15 digits.
const MOST: u64 = 999_999_999_999_999;
/// The longest that a bucket takes to fill, in microseconds: 142 years. Together with the time since
/// 1970 that is less than 2⁵³ until 2112, and so can be counted anywhere.
pub(super) const DEEPEST: u64 = 1 << 52;

impl Quota {
    /// `units` a second, called `per-second`.
    #[must_use]
    pub fn per_second(units: u64) -> Self {
        Self::per(units, Duration::from_secs(1)).name("per-second")
    }

    /// `units` a minute, called `per-minute`.
    #[must_use]
    pub fn per_minute(units: u64) -> Self {
        Self::per(units, Duration::from_secs(60)).name("per-minute")
    }

    /// `units` an hour, called `per-hour`.
    #[must_use]
    pub fn per_hour(units: u64) -> Self {
        Self::per(units, Duration::from_secs(60 * 60)).name("per-hour")
    }

    /// `units` in 24 hours, called `per-day`. It does not begin anew at midnight, unless it is a
    /// [`fixed_window`](Self::fixed_window).
    #[must_use]
    pub fn per_day(units: u64) -> Self {
        Self::per(units, Duration::from_secs(24 * 60 * 60)).name("per-day")
    }

    /// `units` in a month of the calendar, called `per-month`. As months differ it is always counted in
    /// a fixed window, from the first of the month, 00:00 UTC.
    #[must_use]
    pub fn per_month(units: u64) -> Self {
        let longest = Duration::from_secs(31 * 24 * 60 * 60);
        Self {
            algorithm: Algorithm::Month,
            ..Self::per(units, longest).name("per-month")
        }
    }

    /// `units` in any period, called `quota`. The period counts in whole microseconds, from 1 to
    /// those of a year.
    #[must_use]
    pub fn per(units: u64, period: Duration) -> Self {
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        Self {
            name: "quota".into(),
            limit: units.min(MOST),
            period: period.clamp(Duration::from_micros(1), year),
            burst: None,
            algorithm: Algorithm::Gcra,
            shadow: false,
        }
    }

    /// Sets how many units may be used at once after a rest, by default the whole of the quota. It may
    /// be less or more than what the period grants. Windows have none.
    #[must_use]
    pub fn burst(mut self, units: u64) -> Self {
        self.burst = Some(units.min(MOST));
        self
    }

    /// Counts by a window that slides between two that begin with the clock: what was taken in the one
    /// before counts by as much of it as is covered still.
    #[must_use]
    pub fn sliding_window(self) -> Self {
        self.algorithm(Algorithm::SlidingWindow)
    }

    /// Counts in windows that begin with the clock, in UTC: of a minute with the minute, of a day at
    /// midnight, of any other period with a multiple of it since 1970. The clock is that of where the
    /// buckets are.
    #[must_use]
    pub fn fixed_window(self) -> Self {
        self.algorithm(Algorithm::FixedWindow)
    }

    fn algorithm(mut self, algorithm: Algorithm) -> Self {
        if self.algorithm != Algorithm::Month {
            self.algorithm = algorithm;
        }
        self
    }

    /// Lets the quota count, and refuse nobody: to see whom it would. Callers are not told of it.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// Sets by which name callers learn of the quota: in `RateLimit`, `RateLimit-Policy` and
    /// `violated-policies`. The limits of a principal name it so, too.
    ///
    /// Cut at 64 characters; what is not printable ASCII becomes `?`.
    #[must_use]
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.name = printable(name.as_ref()).into();
        self
    }

    pub(super) fn label(&self) -> &str {
        &self.name
    }

    #[cfg(all(test, feature = "rate-limit-redis"))]
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// In whole seconds, as `RateLimit-Policy` tells it.
    pub(super) fn window(&self) -> u64 {
        let period = self.period;
        period.as_secs() + u64::from(period.subsec_nanos() > 0)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX)
    }

    /// How many units may be used at once, at most.
    fn most(&self) -> u64 {
        let deepest = u128::from(self.limit) * u128::from(DEEPEST) / u128::from(self.micros());
        let burst = self.burst.unwrap_or(self.limit);
        u64::try_from(deepest).map_or(burst, |deepest| burst.min(deepest))
    }

    /// On a clock of microseconds.
    pub(super) fn rate(&self) -> Rate {
        if self.limit == 0 {
            // The speed is never looked at: nothing fits into a burst of zero.
            return Rate::new(1, self.micros(), 0);
        }
        Rate::new(self.limit, self.micros(), self.most())
    }

    pub(super) fn rule(&self) -> Rule {
        let limit = self.limit;
        let meter = match self.algorithm {
            Algorithm::Gcra => Meter::Gcra(self.rate()),
            Algorithm::SlidingWindow => Meter::Sliding(Sliding {
                limit,
                length: self.micros(),
            }),
            Algorithm::FixedWindow => Meter::Fixed(Fixed {
                limit,
                length: Length::Fixed(self.micros()),
            }),
            Algorithm::Month => Meter::Fixed(Fixed {
                limit,
                length: Length::Month,
            }),
        };
        Rule {
            meter,
            shadow: self.shadow,
            field: hashed(&self.field()),
        }
    }

    /// A name that no other quota has in a layer, if their names and periods differ. What is kept under
    /// it means the same for all who use it.
    pub(super) fn field(&self) -> String {
        let (kind, micros) = match self.algorithm {
            Algorithm::Gcra => ("gcra", self.micros()),
            Algorithm::SlidingWindow => ("sliding", self.micros()),
            Algorithm::FixedWindow => ("fixed", self.micros()),
            // A limit of somebody's own may say how long it is, which it is not asked.
            Algorithm::Month => ("month", 0),
        };
        format!("{kind}:{micros}:{}", self.name)
    }

    /// The quota of somebody who has a limit of their own: other numbers, by the same algorithm.
    pub(super) fn limited(&self, limit: &Limit) -> Self {
        let period = match self.algorithm {
            Algorithm::Month => self.period,
            _ => limit.period(),
        };
        // The shortest period would be a microsecond, and so many units in it no limit at all.
        let units = if limit.period().is_zero() {
            0
        } else {
            limit.units()
        };
        Self {
            name: self.name.clone(),
            algorithm: self.algorithm,
            shadow: self.shadow,
            ..Self::per(units, period).burst(limit.burst())
        }
    }

    /// A part of the quota, from 0 to 1. Of what is not zero at least one unit.
    pub(super) fn part(&self, part: f64) -> Self {
        let share = |units: u64| match units {
            0 => 0,
            _ if part <= 0.0 => 0,
            units => ((units as f64 * part) as u64).clamp(1, units),
        };
        Self {
            limit: share(self.limit),
            burst: self.burst.map(share),
            ..self.clone()
        }
    }

    /// The time for one unit and the burst, as governor counts them: in whole nanoseconds, 64 bits, and
    /// without a look at overflow. `None` where it would be rounded, or where it would not hold, and
    /// where the algorithm is not its own.
    pub(super) fn nanoseconds(&self) -> Option<(u64, u32)> {
        if self.algorithm != Algorithm::Gcra || self.shadow || self.limit == 0 {
            return None;
        }
        let period = self.micros().checked_mul(1000)?;
        // 700,000 a second are 1,428.57 ns each. In 1,428 there would be 280 more.
        let interval = (period % self.limit == 0).then_some(period / self.limit)?;
        let burst = u32::try_from(self.most()).ok().filter(|most| *most > 0)?;
        let whole = interval.checked_mul(burst.into())?;
        // 2⁶² ns are 146 years.
        (whole < 1 << 62).then_some((interval, burst))
    }
}

/// The name that a quota is kept under, in this process: the same for all layers.
pub(super) fn hashed(field: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    field.hash(&mut hasher);
    hasher.finish()
}

/// At most 64 characters that can stand in a header.
pub(super) fn printable(name: &str) -> String {
    let shown = |char| match char {
        ' '..='~' => char,
        _ => '?',
    };
    name.chars().take(64).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn governor_is_not_asked_what_it_cannot_count() {
        for (quota, counted) in [
            (Quota::per_minute(600), (100_000_000, 600)),
            (Quota::per_second(10_000_000), (100, 10_000_000)),
            (Quota::per_second(1_000_000_000), (1, 1_000_000_000)),
            // Not deeper than any bucket is.
            (
                Quota::per_day(1).burst(u32::MAX.into()),
                (86_400_000_000_000, 52_124),
            ),
        ] {
            assert_eq!(quota.nanoseconds(), Some(counted), "{quota:?}");
        }
        for quota in [
            Quota::per_second(0),
            Quota::per_second(9).burst(0),
            // Their intervals are no whole numbers.
            Quota::per_minute(7),
            Quota::per_second(700_000),
            Quota::per_second(999_002),
            Quota::per_second(2_000_000_000),
            Quota::per_second(1).burst(u64::MAX),
            Quota::per_second(u64::MAX),
            Quota::per_second(10).sliding_window(),
            Quota::per_second(10).fixed_window(),
            Quota::per_second(10).shadow(),
            Quota::per_month(9),
        ] {
            assert_eq!(quota.nanoseconds(), None, "{quota:?}");
        }
    }

    #[test]
    fn a_name_can_stand_in_a_header() {
        assert_eq!(Quota::per_day(1).name("a\r\nb: é").label(), "a??b: ?");
        assert_eq!(Quota::per_day(1).name("x".repeat(99)).label().len(), 64);
    }

    #[test]
    fn a_month_stays_a_month() {
        let quota = Quota::per_month(5);
        assert_eq!(quota.clone().sliding_window(), quota);
        let limit = Limit::new("per-month", 7, Duration::from_secs(1));
        assert_eq!(quota.limited(&limit).rule().meter_limit(), 7);
        assert_eq!(quota.limited(&limit).field(), quota.field());
    }

    #[test]
    fn a_part_of_something_is_never_nothing_and_never_more() {
        let quota = Quota::per_minute(10).burst(3);
        let part = |part| (quota.part(part).limit, quota.part(part).burst);
        assert_eq!(part(0.25), (2, Some(1)));
        assert_eq!(part(0.001), (1, Some(1)));
        assert_eq!(part(1.0), (10, Some(3)));
        assert_eq!(part(7.0), (10, Some(3)));
        assert_eq!(part(0.0), (0, Some(0)));
        assert_eq!(part(f64::NAN), (1, Some(1)), "as little as there is");
        assert_eq!(Quota::per_minute(0).part(1.0).limit, 0);
    }

    impl Rule {
        fn meter_limit(&self) -> u64 {
            match self.meter {
                Meter::Fixed(window) => window.limit,
                _ => unreachable!("no window"),
            }
        }
    }
}
