//! The counts of one version.

use super::{CallOutcome, ScoreResults, VersionResults};
use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

/// Each bucket is a tenth longer than the one before; the first ends at a millisecond, the last one
/// at 1.1¹⁵⁹ of them, which is about an hour. What is beyond is in the last.
const BUCKETS: usize = 160;
const GROWTH: f64 = 1.1;

const MOST_CODES: usize = 16;
const MOST_SCORES: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Tally {
    calls: u64,
    errors: u64,
    codes: Vec<(&'static str, u64)>,
    other: u64,
    input: u64,
    output: u64,
    price: i128,
    time: Duration,
    longest: Duration,
    buckets: Box<[u64; BUCKETS]>,
    scores: BTreeMap<Box<str>, Score>,
}

/// Mean and variance as numbers come (Welford, 1962).
#[derive(Clone, Copy, Debug)]
struct Score {
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: 0,
            errors: 0,
            codes: Vec::new(),
            other: 0,
            input: 0,
            output: 0,
            price: 0,
            time: Duration::ZERO,
            longest: Duration::ZERO,
            buckets: Box::new([0; BUCKETS]),
            scores: BTreeMap::new(),
        }
    }
}

impl Tally {
    pub(super) fn record(&mut self, outcome: &CallOutcome) {
        self.calls += 1;
        if let Some(code) = outcome.error {
            self.errors += 1;
            let is_full = self.codes.len() >= MOST_CODES;
            match self.codes.iter_mut().find(|(known, _)| *known == code) {
                Some((_, count)) => *count += 1,
                None if is_full => self.other += 1,
                None => self.codes.push((code, 1)),
            }
        }
        if let Some(usage) = &outcome.usage {
            self.input = self.input.saturating_add(usage.input);
            self.output = self.output.saturating_add(usage.output);
        }
        self.price = self.price.saturating_add(outcome.price.unwrap_or_default());
        self.time = self.time.saturating_add(outcome.latency);
        self.longest = self.longest.max(outcome.latency);
        let millis = outcome.latency.as_secs_f64() * 1e3;
        let bucket = millis.max(1.0).log(GROWTH).ceil() as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }

    /// Whether there was room for it.
    pub(super) fn score(&mut self, name: &str, value: f64) -> bool {
        if let Some(score) = self.scores.get_mut(name) {
            score.add(value);
            return true;
        }
        if self.scores.len() >= MOST_SCORES {
            return false;
        }
        let mut score = Score {
            count: 0,
            mean: 0.0,
            squares: 0.0,
            min: value,
            max: value,
        };
        score.add(value);
        self.scores.insert(name.into(), score);
        true
    }

    /// The time that this share of the calls took at the most.
    fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.calls as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (nth, count) in self.buckets.iter().enumerate().take(BUCKETS - 1) {
            seen += count;
            if seen >= wanted {
                let end = Duration::from_secs_f64(GROWTH.powi(nth as i32) / 1e3);
                return end.min(self.longest);
            }
        }
        self.longest
    }

    pub(super) fn results(&self, version: NonZeroU32) -> VersionResults {
        let mut error_codes = self.codes.clone();
        if self.other > 0 {
            error_codes.push(("other", self.other));
        }
        let calls = u32::try_from(self.calls.max(1)).unwrap_or(u32::MAX);
        VersionResults {
            version,
            calls: self.calls,
            errors: self.errors,
            error_codes,
            input_tokens: self.input,
            output_tokens: self.output,
            price: self.price,
            mean_latency: self.time / calls,
            latency: [0.5, 0.9, 0.99].map(|share| self.quantile(share)),
            scores: self
                .scores
                .iter()
                .map(|(name, score)| score.results(name))
                .collect(),
        }
    }
}

impl Score {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn results(&self, name: &str) -> ScoreResults {
        let deviation = if self.count > 1 {
            (self.squares / (self.count - 1) as f64).max(0.0).sqrt()
        } else {
            0.0
        };
        ScoreResults {
            name: name.into(),
            count: self.count,
            mean: self.mean,
            deviation,
            min: self.min,
            max: self.max,
        }
    }
}
