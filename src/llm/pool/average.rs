//! Averages that forget.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// In seconds: within this time an average goes to 1/e of what it was without, and without samples towards
/// nothing known.
const DECAY: f32 = 60.0;
/// A sample counts for this much at the least, so that many at one time count, too.
const LEAST: f32 = 0.1;
/// A hundredth of a second.
const TICK: u64 = 10;

/// When an average was made, in ticks since the pool was. It goes round in 497 days, and may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(u32);

impl Tick {
    pub(super) fn of_millis(millis: u64) -> Self {
        // What is cut off is what goes round.
        Self((millis / TICK) as u32)
    }

    fn since(self, earlier: Self) -> f32 {
        // Another thread may have been told the time a little later.
        let ticks = self.0.wrapping_sub(earlier.0).cast_signed().max(0);
        ticks as f32 / 100.0
    }
}

/// An average of samples in time, exponentially weighted. `0.0`: nothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Average {
    value: f32,
    at: Tick,
}

impl Average {
    /// With one more sample.
    #[must_use]
    pub(super) fn with(self, sample: f32, now: Tick) -> Self {
        let sample = sample.max(f32::MIN_POSITIVE);
        let value = if self.value > 0.0 {
            let part = (1.0 - (-now.since(self.at) / DECAY).exp()).max(LEAST);
            self.value + part * (sample - self.value)
        } else {
            sample
        };
        Self { value, at: now }
    }

    /// What it is.
    pub(super) fn value(self) -> Option<f32> {
        (self.value > 0.0).then_some(self.value)
    }

    /// What it is, as far as it still counts: it goes towards zero, and after ten times the decay nothing
    /// is known.
    pub(super) fn faded(self, now: Tick) -> Option<f32> {
        let age = now.since(self.at) / DECAY;
        self.value()
            .filter(|_| age < 10.0)
            .map(|value| value * (-age).exp())
    }
}

/// An [`Average`] that threads share. One of two samples at the same instant may be lost.
#[derive(Debug, Default)]
pub(super) struct Shared(AtomicU64);

impl Shared {
    pub(super) fn get(&self) -> Average {
        let bits = self.0.load(Ordering::Relaxed);
        Average {
            value: f32::from_bits((bits >> 32) as u32),
            at: Tick(bits as u32),
        }
    }

    pub(super) fn add(&self, sample: Duration, now: Tick) {
        self.add_number(sample.as_secs_f32(), now);
    }

    pub(super) fn add_number(&self, sample: f32, now: Tick) {
        let Average { value, at } = self.get().with(sample, now);
        let bits = u64::from(value.to_bits()) << 32 | u64::from(at.0);
        self.0.store(bits, Ordering::Relaxed);
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Tick {
        Tick(seconds * 100)
    }

    #[test]
    fn old_samples_are_forgotten() {
        let shared = Shared::default();
        assert_eq!(shared.get().value(), None);
        shared.add(Duration::from_secs(4), at(0));
        assert_eq!(shared.get().faded(at(0)), Some(4.0));
        // Ten at one instant are as many as ten.
        for _ in 0..10 {
            shared.add(Duration::from_secs(1), at(0));
        }
        let average = shared.get().value().unwrap();
        assert!((1.5..2.5).contains(&average), "{average}");
        shared.add(Duration::from_secs(1), at(300));
        let average = shared.get().value().unwrap();
        assert!((1.0..1.02).contains(&average), "{average}");
        let faded = shared.get().faded(at(360)).unwrap();
        assert!((0.36..0.38).contains(&faded), "{faded}");
        assert_eq!(shared.get().faded(at(2000)), None);
    }

    #[test]
    fn a_clock_that_goes_round_goes_on() {
        let before = Tick(u32::MAX - 99);
        assert_eq!(Tick(100).since(before), 2.0);
        assert_eq!(before.since(Tick(100)), 0.0);
    }
}
