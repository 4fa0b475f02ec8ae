//! Who answers soonest, as far as is known.

use super::{Alias, Dice};
use std::time::Duration;
use tokio::time::Instant;

/// How long the answers of one candidate take, as is remembered of them: an exponentially weighted moving
/// average that jumps to a peak, and forgets it slowly. 64 bits, so that it fits an atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Zero: nothing is known.
    nanos: f32,
    /// Milliseconds since the epoch of who measures, modulo 2³². Of one that nothing is known of: how many
    /// calls there were given up.
    at: u32,
}

impl Latency {
    /// Nothing is known yet.
    pub const UNKNOWN: Self = Self { nanos: 0.0, at: 0 };

    /// Whether anything is known.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.nanos > 0.0
    }

    /// As bits, for an atomic.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.nanos.to_bits()) << 32 | u64::from(self.at)
    }

    /// From the bits of one.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self {
            nanos: f32::from_bits((bits >> 32) as u32),
            at: bits as u32,
        }
    }
}

/// Of two that are drawn at random the one that costs less: what its answers take, times the calls that it
/// has out and this one. That is Finagle's peak EWMA with two choices.
///
/// An average jumps up to a peak at once and decays over 10 s, so a candidate that became slow is left
/// alone from the first slow answer on, and asked again when its peak is forgotten. Of one that nothing is
/// known of the best is thought, until it has a call out: then it costs more than any other, until that
/// call is answered.
///
/// Weights say how often a candidate is drawn.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    decay: f64,
    epoch: Instant,
}

impl PeakEwma {
    /// What an unknown one costs that has a call out: more than any that is known.
    const PENALTY: f64 = 1e18;

    /// Averages decay over 10 s. All of one set measure from the same `epoch`.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self { decay: 10e9, epoch }
    }

    /// Sets over which time an average decays to 37 %.
    #[must_use]
    pub fn decay(self, decay: Duration) -> Self {
        let decay = (decay.as_nanos() as f64).max(1.0);
        Self { decay, ..self }
    }

    fn tick(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    /// What is left of a peak that is so old.
    fn kept(&self, latency: Latency, tick: u32) -> f64 {
        // A clock that another thread read a little earlier is no age.
        let age = tick.wrapping_sub(latency.at).cast_signed().max(0);
        match age {
            0 => 1.0,
            age => (-f64::from(age) * 1e6 / self.decay).exp(),
        }
    }

    /// An answer came after `took`.
    #[must_use]
    pub fn observe(&self, latency: Latency, took: Duration, now: Instant) -> Latency {
        let at = self.tick(now);
        // So short that it could not be measured is still known.
        let took = (took.as_nanos() as f64).max(1.0);
        let known = f64::from(latency.nanos);
        let kept = self.kept(latency, at);
        let nanos = if took > known * kept {
            took
        } else {
            known * kept + took * (1.0 - kept)
        };
        Latency {
            nanos: nanos as f32,
            at,
        }
    }

    /// No answer has come after `took`, and none will: only news if it is bad.
    ///
    /// Of one that nothing is known of it is from a second on, and from the second time on whatever it took.
    /// Then it counts for no less than the slowest of the `others`, if anything is known of them: one that
    /// answers nobody before they give up must not stay the one of which the best is thought.
    #[must_use]
    pub fn give_up(
        &self,
        latency: Latency,
        took: Duration,
        others: Option<Duration>,
        now: Instant,
    ) -> Latency {
        match self.read(latency, now) {
            Some(known) if took > known => self.observe(latency, took, now),
            Some(_) => latency,
            None if took >= Duration::from_secs(1) => self.observe(latency, took, now),
            None if latency.at == 0 => Latency { nanos: 0.0, at: 1 },
            None => self.observe(latency, took.max(others.unwrap_or_default()), now),
        }
    }

    /// What is known of it. A peak fades while nobody asks.
    #[must_use]
    pub fn read(&self, latency: Latency, now: Instant) -> Option<Duration> {
        let nanos = f64::from(latency.nanos);
        (nanos > 0.0).then(|| {
            let kept = self.kept(latency, self.tick(now));
            Duration::from_nanos((nanos * kept) as u64)
        })
    }

    /// What a call costs there, in nanoseconds of waiting.
    #[must_use]
    pub fn cost(&self, latency: Latency, outstanding: u32, now: Instant) -> f64 {
        let nanos = f64::from(latency.nanos);
        match outstanding {
            0 if nanos == 0.0 => 0.0,
            calls if nanos == 0.0 => Self::PENALTY + f64::from(calls),
            calls => nanos * self.kept(latency, self.tick(now)) * (f64::from(calls) + 1.0),
        }
    }

    /// The cheaper of two that are drawn. A cost of `None` leaves a candidate out. `None`: there is
    /// nobody, or both that were drawn are left out.
    pub fn pick(
        drawn: &Alias,
        dice: &mut Dice,
        cost: impl Fn(usize) -> Option<f64>,
    ) -> Option<usize> {
        let one = drawn.pick(dice)?;
        let mut other = one;
        for _ in 0..4 {
            other = drawn.pick(dice)?;
            if other != one {
                break;
            }
        }
        match (cost(one), cost(other)) {
            (Some(a), Some(b)) => Some(if b < a { other } else { one }),
            (Some(_), None) => Some(one),
            (None, Some(_)) => Some(other),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn nearly(latency: Option<Duration>, due: Duration) -> bool {
        let off = latency.unwrap().as_secs_f64() / due.as_secs_f64() - 1.0;
        off.abs() < 0.001
    }

    #[test]
    fn an_average_jumps_to_a_peak_and_decays() {
        let start = Instant::now();
        let ewma = PeakEwma::new(start);
        let known = ewma.observe(Latency::UNKNOWN, 10 * MS, start);
        assert!(nearly(ewma.read(known, start), 10 * MS));
        let peak = ewma.observe(known, 500 * MS, start);
        assert!(nearly(ewma.read(peak, start), 500 * MS));
        assert_eq!(
            ewma.observe(peak, 10 * MS, start).nanos,
            peak.nanos,
            "no time has passed"
        );
        let later = start + Duration::from_secs(10);
        let faded = Duration::from_secs_f64(0.5 * (-1_f64).exp());
        assert!(nearly(ewma.read(peak, later), faded));
        let kept = (-1_f64).exp();
        let mean = Duration::from_secs_f64(0.5 * kept + 0.01 * (1.0 - kept));
        assert!(nearly(
            ewma.read(ewma.observe(peak, 10 * MS, later), later),
            mean
        ));
    }

    #[test]
    fn an_unknown_one_is_tried_once_before_more_is_known() {
        let now = Instant::now();
        let ewma = PeakEwma::new(now);
        let slow = ewma.observe(Latency::UNKNOWN, Duration::from_secs(60), now);
        assert!(ewma.cost(Latency::UNKNOWN, 0, now) < ewma.cost(slow, 0, now));
        assert!(ewma.cost(Latency::UNKNOWN, 1, now) > ewma.cost(slow, 1000, now));
        assert!(ewma.cost(slow, 2, now) > ewma.cost(slow, 1, now));
    }

    #[test]
    fn a_call_that_is_given_up_is_only_bad_news() {
        let now = Instant::now();
        let ewma = PeakEwma::new(now);
        let known = ewma.observe(Latency::UNKNOWN, 10 * MS, now);
        let give_up = |latency, took| ewma.give_up(latency, took, Some(9 * MS), now);
        assert_eq!(give_up(known, MS), known);
        assert!(nearly(ewma.read(give_up(known, 99 * MS), now), 99 * MS));
        let once = give_up(Latency::UNKNOWN, MS);
        assert_eq!(
            (ewma.read(once, now), ewma.cost(once, 0, now)),
            (None, 0.0),
            "a caller that hangs up at once says nothing"
        );
        let hung = give_up(Latency::UNKNOWN, 5000 * MS);
        assert!(nearly(ewma.read(hung, now), 5000 * MS));
        // Two of them do.
        let once = Latency::from_bits(once.to_bits());
        assert!(nearly(ewma.read(give_up(once, MS), now), 9 * MS));
        assert!(nearly(ewma.read(give_up(once, 50 * MS), now), 50 * MS));
        let alone = ewma.give_up(once, MS, None, now);
        assert!(nearly(ewma.read(alone, now), MS));
    }

    #[test]
    fn bits_are_the_same_and_clocks_that_went_back_no_age() {
        let start = Instant::now();
        let ewma = PeakEwma::new(start).decay(Duration::from_secs(1));
        let late = ewma.observe(Latency::UNKNOWN, 7 * MS, start + Duration::from_secs(5));
        assert_eq!(Latency::from_bits(late.to_bits()), late);
        assert!(nearly(
            ewma.read(late, start + Duration::from_secs(4)),
            7 * MS
        ));
    }

    #[test]
    fn the_cheaper_of_two_is_taken_and_who_is_left_out_is_not() {
        let drawn = Alias::new(&[1.0; 2]);
        let mut dice = Dice::new(9);
        let costs = [3.0, 2.0];
        for _ in 0..100 {
            assert!(
                PeakEwma::pick(&drawn, &mut dice, |at| (at == 0).then_some(costs[at]))
                    .is_none_or(|at| at == 0)
            );
        }
        let picks = (0..1000).map(|_| PeakEwma::pick(&drawn, &mut dice, |at| Some(costs[at])));
        assert!(
            picks.filter(|&at| at == Some(0)).count() < 100,
            "drawn five times in a row"
        );
        assert_eq!(PeakEwma::pick(&drawn, &mut dice, |_| None), None);
        assert_eq!(
            PeakEwma::pick(&Alias::new(&[]), &mut dice, |_| Some(0.0)),
            None
        );
    }
}
