//! Who is taken out for a while because of its answers. Plain numbers: no lock, no clock.

use super::LONGEST;
use crate::answer::Outcome;
use std::{fmt, time::Duration};

/// Who is taken out, and for how long: Envoy's outlier detection, with its defaults.
///
/// | what | default |
/// |---|---|
/// | failures in a row that are the endpoint's own answers | 5 |
/// | failures in a row on the way to it | 5 |
/// | success rate, of at least 5 endpoints that answered 100 times each in an interval | below the mean − 1.9 σ |
/// | share of failures, of at least 5 endpoints that answered 50 times each | off; 85 % |
/// | interval | 10 s |
/// | time out | 30 s × how often it was out before and now, at most 300 s |
/// | how many may be out at once | 10 %, one at the least |
///
/// Each interval that an endpoint stays in takes one from how often it was out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    consecutive: u32,
    consecutive_local: u32,
    interval: Duration,
    base: Duration,
    longest: Duration,
    most_percent: u8,
    success_rate: Option<f64>,
    failure_percent: Option<u8>,
}

impl Outlier {
    /// As Envoy has it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            consecutive: 5,
            consecutive_local: 5,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            longest: Duration::from_secs(300),
            most_percent: 10,
            success_rate: Some(1.9),
            failure_percent: None,
        }
    }

    /// Sets how many failures in a row take an endpoint out: its own, such as 5xx. Zero: none do.
    #[must_use]
    pub fn consecutive(self, failures: u32) -> Self {
        let consecutive = failures;
        Self {
            consecutive,
            ..self
        }
    }

    /// Sets how many failures in a row on the way to an endpoint take it out: refused, reset, too late.
    /// Zero: none do.
    #[must_use]
    pub fn consecutive_local(self, failures: u32) -> Self {
        let consecutive_local = failures;
        Self {
            consecutive_local,
            ..self
        }
    }

    /// Sets over which time rates are taken. At least a millisecond, a year at most.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        let interval = interval.clamp(Duration::from_millis(1), LONGEST);
        Self { interval, ..self }
    }

    /// Sets how long an endpoint is out for the first time, and at most. A year is the most there is.
    #[must_use]
    pub fn time_out(self, base: Duration, longest: Duration) -> Self {
        let (base, longest) = (base.min(LONGEST), longest.min(LONGEST));
        Self {
            base,
            longest,
            ..self
        }
    }

    /// Sets which share of all endpoints may be out at once. One may, whatever the share.
    #[must_use]
    pub fn most_percent(self, percent: u8) -> Self {
        let most_percent = percent.min(100);
        Self {
            most_percent,
            ..self
        }
    }

    /// Sets by how many standard deviations a success rate may be below the mean. `None`: by any.
    #[must_use]
    pub fn success_rate(self, deviations: Option<f64>) -> Self {
        Self {
            success_rate: deviations,
            ..self
        }
    }

    /// Sets which share of failures in an interval takes an endpoint out, whatever the others do. `None`:
    /// none does.
    #[must_use]
    pub fn failure_percent(self, percent: Option<u8>) -> Self {
        Self {
            failure_percent: percent,
            ..self
        }
    }

    pub(super) fn every(&self) -> Duration {
        self.interval
    }

    /// For how long it is out that was out so many times before.
    pub(super) fn term(&self, before: u32) -> Duration {
        self.base
            .saturating_mul(before.saturating_add(1))
            .min(self.longest)
    }

    /// Whether one more of `all` may be out.
    pub(super) fn may(&self, out: usize, all: usize) -> bool {
        out < (all * usize::from(self.most_percent) / 100).max(1)
    }

    /// Who is to be taken out for what it answered in an interval.
    pub(super) fn sweep(&self, rates: &[Rate]) -> Vec<(usize, Cause)> {
        const LEAST_ENDPOINTS: usize = 5;
        const RATED: u32 = 100;
        const COUNTED: u32 = 50;
        let mut out = Vec::new();
        let enough = |least: u32| {
            let asked = rates.iter().enumerate();
            asked.filter(move |(_, rate)| rate.answers >= least)
        };
        if let Some(deviations) = self.success_rate
            && enough(RATED).count() >= LEAST_ENDPOINTS
        {
            let n = enough(RATED).count() as f64;
            let mean = enough(RATED).map(|(_, rate)| rate.success()).sum::<f64>() / n;
            let square = |(_, rate): (usize, &Rate)| (rate.success() - mean).powi(2);
            let deviation = (enough(RATED).map(square).sum::<f64>() / n).sqrt();
            let least = mean - deviations * deviation;
            let bad = enough(RATED).filter(|(_, rate)| rate.success() < least);
            out.extend(bad.map(|(at, _)| (at, Cause::SuccessRate)));
        }
        if let Some(percent) = self.failure_percent
            && enough(COUNTED).count() >= LEAST_ENDPOINTS
        {
            let least = 1.0 - f64::from(percent) / 100.0;
            let bad = enough(COUNTED).filter(|(_, rate)| rate.success() <= least);
            out.extend(bad.map(|(at, _)| (at, Cause::FailurePercent)));
        }
        out
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an endpoint was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Its own failures in a row.
    Consecutive,
    /// Failures in a row on the way to it.
    ConsecutiveLocal,
    /// It answers worse than the others.
    SuccessRate,
    /// It fails too often.
    FailurePercent,
    /// Somebody said so.
    Told,
}

impl Cause {
    /// `consecutive_failures`, `consecutive_local_failures`, `success_rate`, `failure_percentage` or `told`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive_failures",
            Self::ConsecutiveLocal => "consecutive_local_failures",
            Self::SuccessRate => "success_rate",
            Self::FailurePercent => "failure_percentage",
            Self::Told => "told",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an endpoint answered in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) answers: u32,
    pub(super) failures: u32,
}

impl Rate {
    fn success(&self) -> f64 {
        1.0 - f64::from(self.failures) / f64::from(self.answers.max(1))
    }
}

/// What an endpoint answered lately.
#[derive(Debug, Default)]
pub(super) struct Tally {
    in_a_row: u32,
    local_in_a_row: u32,
    rate: Rate,
}

impl Tally {
    pub(super) fn record(
        &mut self,
        outcome: Outcome,
        local: bool,
        rules: &Outlier,
    ) -> Option<Cause> {
        let reached = |count: &mut u32, most: u32| {
            *count = count.saturating_add(1);
            most > 0 && *count >= most && {
                *count = 0;
                true
            }
        };
        match outcome {
            Outcome::Neutral => return None,
            Outcome::Success => (self.in_a_row, self.local_in_a_row) = (0, 0),
            Outcome::Failure => {}
        }
        // What is on the way says nothing of how the endpoint answers.
        if !local {
            self.rate.answers = self.rate.answers.saturating_add(1);
        }
        match (outcome, local) {
            (Outcome::Failure, true) => reached(&mut self.local_in_a_row, rules.consecutive_local)
                .then_some(Cause::ConsecutiveLocal),
            (Outcome::Failure, false) => {
                // It was reached.
                self.local_in_a_row = 0;
                self.rate.failures = self.rate.failures.saturating_add(1);
                reached(&mut self.in_a_row, rules.consecutive).then_some(Cause::Consecutive)
            }
            _ => None,
        }
    }

    /// What was answered since the last time.
    pub(super) fn take(&mut self) -> Rate {
        std::mem::take(&mut self.rate)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn five_in_a_row_and_each_kind_by_itself() {
        let rules = Outlier::new();
        let mut tally = Tally::default();
        let mut fails = |outcome, local| tally.record(outcome, local, &rules);
        for _ in 0..4 {
            assert_eq!(fails(Outcome::Failure, false), None);
            assert_eq!(fails(Outcome::Neutral, false), None);
        }
        assert_eq!(fails(Outcome::Success, false), None, "and all begins anew");
        for _ in 0..4 {
            assert_eq!(fails(Outcome::Failure, false), None);
        }
        for _ in 0..4 {
            assert_eq!(fails(Outcome::Failure, true), None);
        }
        assert_eq!(fails(Outcome::Failure, true), Some(Cause::ConsecutiveLocal));
        assert_eq!(fails(Outcome::Failure, false), Some(Cause::Consecutive));
        assert_eq!(fails(Outcome::Failure, false), None, "it is out");
        let off = Outlier::new().consecutive(0);
        assert!((0..99).all(|_| tally.record(Outcome::Failure, false, &off).is_none()));
    }

    #[test]
    fn terms_grow_and_end_at_five_minutes() {
        let rules = Outlier::new();
        let terms = [0, 1, 8, 9, 1000, u32::MAX].map(|before| rules.term(before).as_secs());
        assert_eq!(terms, [30, 60, 270, 300, 300, 300]);
        let short = rules.time_out(SECOND, 2 * SECOND);
        assert_eq!(short.term(5), 2 * SECOND);
    }

    #[test]
    fn at_most_a_tenth_is_out_and_one_at_the_least() {
        let rules = Outlier::new();
        assert!(rules.may(0, 1) && !rules.may(1, 3) && !rules.may(1, 19));
        assert!(rules.may(1, 20) && !rules.may(2, 20));
        assert!(Outlier::new().most_percent(0).may(0, 5));
    }

    fn rate(failures: u32) -> Rate {
        Rate {
            answers: 100,
            failures,
        }
    }

    #[test]
    fn who_answers_worse_than_the_others_is_found() {
        let rules = Outlier::new();
        let mut rates = vec![rate(1); 9];
        rates.push(rate(30));
        assert_eq!(rules.sweep(&rates), [(9, Cause::SuccessRate)]);
        assert_eq!(
            rules.sweep(&rates[6..]),
            [],
            "of four nobody is the odd one"
        );
        assert_eq!(rules.sweep(&[rate(50); 9]), [], "all are alike");
        rates[9].answers = 99;
        assert_eq!(rules.sweep(&rates), [], "too few answers");
        assert_eq!(Outlier::new().success_rate(None).sweep(&rates), []);
    }

    #[test]
    fn who_fails_too_often_is_found_if_asked_for() {
        let mut rates = vec![
            Rate {
                answers: 50,
                failures: 43
            };
            5
        ];
        assert_eq!(Outlier::new().sweep(&rates), []);
        let rules = Outlier::new().failure_percent(Some(85));
        assert_eq!(rules.sweep(&rates).len(), 5);
        rates[0].failures = 42;
        assert_eq!(rules.sweep(&rates).len(), 4);
        rates.pop();
        assert_eq!(rules.sweep(&rates), []);
    }

    #[test]
    fn faults_on_the_way_are_no_answers() {
        let rules = Outlier::new();
        let mut tally = Tally::default();
        tally.record(Outcome::Failure, true, &rules);
        tally.record(Outcome::Failure, false, &rules);
        tally.record(Outcome::Success, false, &rules);
        assert_eq!(
            tally.take(),
            Rate {
                answers: 2,
                failures: 1
            }
        );
        assert_eq!(tally.take(), Rate::default());
    }
}
