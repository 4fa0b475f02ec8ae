//! How the versions of a prompt do.

mod tally;

use self::tally::Tally;
use super::name::PromptName;
use crate::llm::Usage;
use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most versions of a prompt that are counted: those that were called last.
const MOST_VERSIONS: usize = 32;

/// How a call of a version went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// How long it took, to the end of the answer.
    pub latency: Duration,
    /// What was used.
    pub usage: Option<Usage>,
    /// What it cost, in 10⁻¹² US dollars.
    pub price: Option<i128>,
    /// The code of the error that it ended with.
    pub error: Option<&'static str>,
}

impl Outcome {
    /// It was over after this time.
    #[must_use]
    pub fn new(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// Says what was used.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Says what it cost, in 10⁻¹² US dollars.
    #[must_use]
    pub fn price(mut self, price: i128) -> Self {
        self.price = Some(price);
        self
    }

    /// Says with which error it ended.
    #[must_use]
    pub fn error(mut self, code: &'static str) -> Self {
        self.error = Some(code);
        self
    }
}

/// What is known of the calls of a version in this process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VersionResults {
    /// Which version.
    pub version: NonZeroU32,
    /// How many calls were over.
    pub calls: u64,
    /// How many of them ended with an error.
    pub errors: u64,
    /// The codes of the errors, and how often each came. 16 codes at the most; the rest is `other`.
    pub error_codes: Vec<(&'static str, u64)>,
    /// All of the input, in tokens.
    pub input_tokens: u64,
    /// All of the output, in tokens.
    pub output_tokens: u64,
    /// What they cost together, in 10⁻¹² US dollars.
    pub price: i128,
    /// The mean of their times.
    pub mean_latency: Duration,
    /// The times that a half, nine tenths and 99 of 100 took at the most, within 10 %. Zero if
    /// there was no call.
    pub latency: [Duration; 3],
    /// The scores, by their names. 16 names at the most.
    pub scores: Vec<ScoreResults>,
}

/// What is known of a score of a version.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScoreResults {
    /// Its name.
    pub name: Box<str>,
    /// How often it was given.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the sample. 0 if it was given once.
    pub deviation: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// Those of a prompt.
#[derive(Default)]
struct Tallies {
    /// Each with the number of the change that was its last.
    versions: BTreeMap<NonZeroU32, (u64, Tally)>,
    changes: u64,
}

impl Tallies {
    /// That of a version. Where there is no room for it, the one that changed longest ago makes some.
    fn of(&mut self, version: NonZeroU32) -> &mut Tally {
        if !self.versions.contains_key(&version) && self.versions.len() >= MOST_VERSIONS {
            let all = self.versions.iter();
            let oldest = all.min_by_key(|(_, (last, _))| *last);
            if let Some((&oldest, _)) = oldest {
                self.versions.remove(&oldest);
            }
        }
        self.changes += 1;
        let (last, tally) = self.versions.entry(version).or_default();
        *last = self.changes;
        tally
    }

    fn results(&self) -> impl Iterator<Item = VersionResults> {
        let all = self.versions.iter();
        all.map(|(&version, (_, tally))| tally.results(version))
    }
}

/// The tallies of all prompts.
pub(super) struct Results {
    prompts: Mutex<HashMap<PromptName, Tallies>>,
    most_prompts: usize,
}

impl Results {
    pub(super) fn new(most_prompts: usize) -> Self {
        Self {
            prompts: Mutex::default(),
            most_prompts,
        }
    }

    // A tally is valid after every statement that can panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<PromptName, Tallies>> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a tally, unless there is no room for it.
    fn change<T>(
        &self,
        name: &PromptName,
        version: NonZeroU32,
        change: impl FnOnce(&mut Tally) -> T,
    ) -> Option<T> {
        let mut prompts = self.lock();
        if !prompts.contains_key(name) && prompts.len() >= self.most_prompts {
            return None;
        }
        let tallies = prompts.entry(name.clone()).or_default();
        Some(change(tallies.of(version)))
    }

    pub(super) fn record(&self, name: &PromptName, version: NonZeroU32, outcome: &Outcome) {
        // What there is no room for is not counted.
        let _ = self.change(name, version, |tally| tally.record(outcome));
    }

    /// Whether there was room for it.
    pub(super) fn score(
        &self,
        name: &PromptName,
        version: NonZeroU32,
        score: &str,
        value: f64,
    ) -> bool {
        let scored = self.change(name, version, |tally| tally.score(score, value));
        scored.unwrap_or(false)
    }

    /// Those of all prompts that were called, in the order of their names: `most` prompts.
    pub(super) fn all(&self, most: usize) -> Vec<(PromptName, VersionResults)> {
        let prompts = self.lock();
        let mut names: Vec<_> = prompts.keys().collect();
        names.sort_unstable();
        names.truncate(most);
        let all = names.into_iter().flat_map(|name| {
            let all = prompts.get(name).into_iter().flat_map(Tallies::results);
            all.map(|results| (name.clone(), results))
        });
        all.collect()
    }

    pub(super) fn of(&self, name: &str) -> Vec<VersionResults> {
        let prompts = self.lock();
        let all = prompts.get(name).into_iter().flat_map(Tallies::results);
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn calls_and_scores_are_counted_by_version() {
        let results = Results::new(2);
        let name = PromptName::new("a").unwrap();
        for nth in 1..=100 {
            let mut outcome = Outcome::new(Duration::from_millis(nth * 10))
                .usage(Usage::new(100, 10))
                .price(5);
            if nth % 4 == 0 {
                outcome = outcome.error("timeout");
            }
            results.record(&name, number(1), &outcome);
        }
        for value in [1.0, 2.0, 3.0] {
            assert!(results.score(&name, number(2), "helpful", value));
        }
        let all = results.of("a");
        let one = &all[0];
        assert_eq!((one.calls, one.errors), (100, 25));
        assert_eq!(one.error_codes, [("timeout", 25)]);
        assert_eq!(
            (one.input_tokens, one.output_tokens, one.price),
            (10_000, 1_000, 500)
        );
        assert_eq!(one.mean_latency, Duration::from_millis(505));
        for (told, wanted) in one.latency.iter().zip([500_u64, 900, 990]) {
            let wanted = Duration::from_millis(wanted);
            assert!(
                *told >= wanted && *told <= wanted.mul_f64(1.11),
                "{told:?} {wanted:?}"
            );
        }
        let score = &all[1].scores[0];
        assert_eq!((score.count, score.mean, score.deviation), (3, 2.0, 1.0));
        assert_eq!((score.min, score.max), (1.0, 3.0));
    }

    #[test]
    fn what_is_called_all_the_time_is_counted_whatever_else_is_tried() {
        let results = Results::new(2);
        let name = PromptName::new("a").unwrap();
        let outcome = Outcome::default();
        for nth in 6..=100 {
            results.record(&name, number(5), &outcome);
            results.record(&name, number(nth), &outcome);
        }
        // Also one of the oldest.
        results.record(&name, number(1), &outcome);
        let all = results.of("a");
        let told = |nth: usize| (all[nth].version.get(), all[nth].calls);
        assert_eq!(
            (all.len(), told(0), told(1), told(2)),
            (32, (1, 1), (5, 95), (71, 1))
        );
    }

    #[test]
    fn nothing_grows_without_end() {
        let results = Results::new(2);
        let outcome = Outcome::new(Duration::from_secs(100_000));
        for nth in 1..=100 {
            let name = PromptName::new(format!("p{nth}")).unwrap();
            results.record(&name, number(1), &outcome);
        }
        assert_eq!(results.lock().len(), 2);
        let name = PromptName::new("p1").unwrap();
        for nth in 1..=100 {
            results.record(&name, number(nth), &outcome);
        }
        let all = results.of("p1");
        assert_eq!(
            (all.len(), all[0].version, all[31].version),
            (32, number(69), number(100))
        );
        results.record(&name, number(3), &outcome);
        assert_eq!(results.of("p1").len(), 32);
        let taken =
            (0..100).filter(|nth| results.score(&name, number(100), &format!("s{nth}"), 1.0));
        assert_eq!(taken.count(), 16);
        for nth in 0..100_usize {
            let code = String::leak(format!("code{nth}"));
            results.record(&name, number(100), &Outcome::default().error(code));
        }
        let codes = &results.of("p1")[31].error_codes;
        assert_eq!((codes.len(), codes[16]), (17, ("other", 84)));
    }
}
