//! How long answers take: a percentile of the last minute or so.

use std::time::Duration;
use tokio::time::Instant;

/// Eight to each power of two of microseconds, up to two hours.
const BUCKETS: usize = 256;

/// Fewer answers than this say nothing.
const MINIMUM: u32 = 20;

/// After so many answers the percentile is looked for again.
const OFTEN: u32 = 16;

/// For how long answers are counted together. They count for that time again.
const PERIOD: Duration = Duration::from_secs(30);

/// Counts of the current period and the one before. What it says is at most an eighth too much, and never
/// too little.
#[derive(Debug)]
pub(super) struct Latencies {
    percent: u32,
    current: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
    end: Option<Instant>,
    since: u32,
    percentile: Option<Duration>,
}

impl Latencies {
    pub(super) fn new(percent: u32) -> Self {
        Self {
            percent,
            current: Box::new([0; BUCKETS]),
            before: Box::new([0; BUCKETS]),
            end: None,
            since: 0,
            percentile: None,
        }
    }

    /// So many of a hundred answers took no longer than this. `None`: not known yet.
    pub(super) fn percentile(&self) -> Option<Duration> {
        self.percentile
    }

    pub(super) fn record(&mut self, took: Duration, now: Instant) {
        let end = *self.end.get_or_insert(now + PERIOD);
        if now >= end {
            std::mem::swap(&mut self.current, &mut self.before);
            self.current.fill(0);
            if now >= end + PERIOD {
                self.before.fill(0);
            }
            self.end = Some(now + PERIOD);
            self.since = OFTEN;
        }
        let count = &mut self.current[bucket(took)];
        *count = count.saturating_add(1);
        self.since += 1;
        if self.since >= OFTEN || self.percentile.is_none() {
            self.since = 0;
            self.percentile = self.find();
        }
    }

    fn find(&self) -> Option<Duration> {
        let counts = || self.current.iter().zip(&*self.before);
        let both = |(a, b): (&u32, &u32)| u64::from(*a) + u64::from(*b);
        let total: u64 = counts().map(both).sum();
        if total < MINIMUM.into() {
            return None;
        }
        let rank = (total * u64::from(self.percent)).div_ceil(100).max(1);
        let mut sum = 0;
        let found = counts().map(both).position(|count| {
            sum += count;
            sum >= rank
        });
        found.map(longest)
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let power = micros.max(1).ilog2() as usize;
    let bucket = match power {
        0..3 => micros as usize,
        _ => (power - 2) * 8 + (micros >> (power - 3)) as usize % 8,
    };
    bucket.min(BUCKETS - 1)
}

/// What is below the next bucket.
fn longest(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    let micros = match next {
        0..8 => next,
        _ => (8 + next % 8) << (next / 8 - 1),
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_few_answers_say_nothing() {
        let now = Instant::now();
        let mut latencies = Latencies::new(95);
        for _ in 0..19 {
            latencies.record(MILLI, now);
        }
        assert_eq!(latencies.percentile(), None);
        latencies.record(MILLI, now);
        assert!(latencies.percentile().is_some());
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut now = Instant::now();
        let mut latencies = Latencies::new(95);
        let mut record = |took: Duration, pause, times| {
            now += pause;
            (0..times).for_each(|_| latencies.record(took, now));
            latencies.percentile().unwrap()
        };
        assert!(record(1000 * MILLI, PERIOD, 100) >= 1000 * MILLI);
        assert!(
            record(MILLI, PERIOD, 100) >= 1000 * MILLI,
            "it counts once more"
        );
        assert!(record(MILLI, PERIOD, 100) <= 2 * MILLI);
        record(1000 * MILLI, PERIOD, 100);
        assert!(record(MILLI, 3 * PERIOD, 20) <= 2 * MILLI);
    }

    proptest! {
        #[test]
        fn it_is_never_too_little_and_at_most_an_eighth_too_much(
            mut micros in proptest::collection::vec(0_u64..7_000_000_000, 20..200),
            percent in 1_u32..100,
        ) {
            let now = Instant::now();
            let mut latencies = Latencies::new(percent);
            for &micros in &micros {
                latencies.record(Duration::from_micros(micros), now);
            }
            let told = latencies.find().unwrap();
            micros.sort_unstable();
            let rank = (micros.len() * percent as usize).div_ceil(100).max(1);
            let exact = Duration::from_micros(micros[rank - 1]);
            prop_assert!(exact <= told && told <= exact + exact / 8 + Duration::from_micros(1));
        }
    }
}
