//! How much is granted in what time.

use super::gcra::Rate;
use std::{sync::Arc, time::Duration};

/// So many units in so much time, such as 60 calls a minute.
///
/// Units come back one after the other, evenly over the period, and not all at once at its end. What
/// is not used adds up to the [`burst`](Self::burst), by default the whole of the quota.
///
/// A quota of zero, or a burst of zero, lets nothing in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    name: Arc<str>,
    limit: u64,
    period: Duration,
    burst: u64,
}

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

    /// `units` in 24 hours, called `per-day`. It does not begin anew at midnight.
    #[must_use]
    pub fn per_day(units: u64) -> Self {
        Self::per(units, Duration::from_secs(24 * 60 * 60)).name("per-day")
    }

    /// `units` in any period, called `quota`. The period counts in whole microseconds, from 1 to
    /// those of a year.
    #[must_use]
    pub fn per(units: u64, period: Duration) -> Self {
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let period = period.clamp(Duration::from_micros(1), year);
        Self {
            name: "quota".into(),
            limit: units,
            period,
            burst: units,
        }
    }

    /// Sets how many units may be used at once after a rest. It may be less or more than what the
    /// period grants.
    #[must_use]
    pub fn burst(mut self, units: u64) -> Self {
        self.burst = units;
        self
    }

    /// Sets by which name callers learn of the quota: in `RateLimit`, `RateLimit-Policy` and
    /// `violated-policies`.
    ///
    /// Cut at 64 characters; what is not printable ASCII becomes `?`.
    #[must_use]
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        let printable = |char: char| matches!(char, ' '..='~');
        let chars = name.as_ref().chars().take(64);
        self.name = chars
            .map(|char| if printable(char) { char } else { '?' })
            .collect::<String>()
            .into();
        self
    }

    pub(super) fn label(&self) -> &str {
        &self.name
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// In whole seconds, as `RateLimit-Policy` tells it.
    pub(super) fn window(&self) -> u64 {
        let period = self.period;
        period.as_secs() + u64::from(period.subsec_nanos() > 0)
    }

    /// On a clock of microseconds.
    pub(super) fn rate(&self) -> Rate {
        let period = u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX);
        if self.limit == 0 {
            // The speed is never looked at: nothing fits into a burst of zero.
            return Rate::new(1, period, 0);
        }
        Rate::new(self.limit, period, self.burst)
    }

    /// The time for one unit and the burst, as governor counts them: in nanoseconds, 64 bits, and
    /// without a look at overflow. `None` where that is too coarse, or where it would not hold.
    pub(super) fn nanoseconds(&self) -> Option<(u64, u32)> {
        let interval = u64::try_from(self.period.as_nanos())
            .ok()?
            .checked_div(self.limit)?;
        let burst = u32::try_from(self.burst).ok().filter(|burst| *burst > 0)?;
        let whole = interval.checked_mul(burst.into())?;
        // A rounding of one nanosecond is less than a thousandth of a unit. 2⁶² ns are 146 years.
        (interval >= 1000 && whole < 1 << 62).then_some((interval, burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn governor_is_not_asked_what_it_cannot_count() {
        assert_eq!(
            Quota::per_minute(600).nanoseconds(),
            Some((100_000_000, 600))
        );
        for quota in [
            Quota::per_second(0),
            Quota::per_second(9).burst(0),
            Quota::per_second(10_000_000),
            Quota::per_day(1).burst(u32::MAX.into()),
            Quota::per_second(1).burst(u64::MAX),
            Quota::per_second(u64::MAX),
        ] {
            assert_eq!(quota.nanoseconds(), None, "{quota:?}");
        }
    }

    #[test]
    fn a_name_can_stand_in_a_header() {
        assert_eq!(Quota::per_day(1).name("a\r\nb: é").label(), "a??b: ?");
        assert_eq!(Quota::per_day(1).name("x".repeat(99)).label().len(), 64);
    }
}
