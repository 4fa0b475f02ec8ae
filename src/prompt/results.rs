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

/// The most versions that are told of all prompts together: three quantiles of each are within the 500
/// series that a family of metrics has.
const MOST_TOLD: usize = 160;

/// How a call of a version went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CallOutcome {
    /// How long it took, to the end of the answer.
    pub latency: Duration,
    /// What was used.
    pub usage: Option<Usage>,
    /// What it cost, in 10⁻¹² US dollars.
    pub price: Option<i128>,
    /// The code of the error that it ended with.
    pub error: Option<&'static str>,
}

impl CallOutcome {
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

/// What is counted of a version.
#[derive(Default)]
struct Counted {
    tally: Tally,
    /// At which place it is told of all prompts. `None`: there is no room.
    place: Option<usize>,
    /// The number of the change that was its last.
    last: u64,
}

type Tallies = BTreeMap<NonZeroU32, Counted>;

#[derive(Default)]
struct Prompts {
    tallies: HashMap<PromptName, Tallies>,
    /// How many have a place.
    told: usize,
    changes: u64,
}

/// The tallies of all prompts.
pub(super) struct Results {
    prompts: Mutex<Prompts>,
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
    fn lock(&self) -> MutexGuard<'_, Prompts> {
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
        let Prompts {
            tallies,
            told,
            changes,
        } = &mut *prompts;
        if !tallies.contains_key(name) && tallies.len() >= self.most_prompts {
            return None;
        }
        let tallies = tallies.entry(name.clone()).or_default();
        if !tallies.contains_key(&version) {
            let place = room(tallies, version, told);
            let counted = Counted {
                place,
                ..Counted::default()
            };
            tallies.insert(version, counted);
        }
        let counted = tallies.get_mut(&version)?;
        *changes += 1;
        counted.last = *changes;
        Some(change(&mut counted.tally))
    }

    pub(super) fn record(&self, name: &PromptName, version: NonZeroU32, outcome: &CallOutcome) {
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

    /// Those of all prompts that have a place, in the order of these.
    pub(super) fn all(&self) -> Vec<(PromptName, VersionResults)> {
        let prompts = self.lock();
        let all = prompts.tallies.iter().flat_map(|(name, tallies)| {
            let each = tallies.iter();
            each.filter_map(move |(&version, counted)| {
                Some((counted.place?, name.clone(), version, counted.tally.clone()))
            })
        });
        let mut all: Vec<_> = all.collect();
        // The rest is done while others count.
        drop(prompts);
        all.sort_unstable_by_key(|&(place, ..)| place);
        all.into_iter()
            .map(|(_, name, version, tally)| (name, tally.results(version)))
            .collect()
    }

    pub(super) fn of(&self, name: &str) -> Vec<VersionResults> {
        let prompts = self.lock();
        let tallies = prompts.tallies.get(name).into_iter().flatten();
        let all = tallies.map(|(&version, counted)| counted.tally.results(version));
        all.collect()
    }
}

/// Makes room for a version of a prompt, where the one that was called longest ago goes, and finds a place
/// for it.
fn room(tallies: &mut Tallies, version: NonZeroU32, told: &mut usize) -> Option<usize> {
    let mut place = None;
    if tallies.len() >= MOST_VERSIONS {
        let longest_ago = tallies.iter().min_by_key(|(_, counted)| counted.last);
        let longest_ago = longest_ago.map(|(&version, _)| version);
        place = longest_ago
            .and_then(|version| tallies.remove(&version))
            .and_then(|counted| counted.place);
    }
    if place.is_none() && *told < MOST_TOLD {
        place = Some(*told);
        *told += 1;
    }
    let mut older = tallies.range_mut(..version);
    place.or_else(|| older.find_map(|(_, older)| older.place.take()))
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
            let mut outcome = CallOutcome::new(Duration::from_millis(nth * 10))
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
    fn what_is_told_stays_so_whoever_comes_later() {
        let results = Results::new(10_000);
        let call = |name: &str, version| {
            let name = PromptName::new(name).unwrap();
            results.record(&name, number(version), &CallOutcome::default());
        };
        let told = || {
            let all = results.all().into_iter();
            all.map(|(name, one)| (name.to_string(), one.version.get()))
                .collect::<Vec<_>>()
        };
        for nth in 0..2_000_u32 {
            call(&format!("p{}", nth % 500), 1 + nth / 500);
        }
        let first = told();
        assert_eq!(first.len(), MOST_TOLD);
        // Of each prompt the newest, for an older one made room for it.
        let wanted = (0..160).map(|nth| (format!("p{nth}"), 4));
        assert!(first.iter().cloned().eq(wanted), "{first:?}");
        call("aaa", 1);
        call("p7", 3);
        assert_eq!(told(), first);
        call("p7", 9);
        let after = told();
        assert_eq!(after[7], ("p7".to_owned(), 9));
        assert_eq!(after.len(), MOST_TOLD);
    }

    #[test]
    fn what_is_called_all_the_time_is_counted_whatever_else_is_tried() {
        let results = Results::new(2);
        let name = PromptName::new("a").unwrap();
        let outcome = CallOutcome::default();
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
        let outcome = CallOutcome::new(Duration::from_secs(100_000));
        for nth in 1..=100 {
            let name = PromptName::new(format!("p{nth}")).unwrap();
            results.record(&name, number(1), &outcome);
        }
        assert_eq!(results.lock().tallies.len(), 2);
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
            results.record(&name, number(100), &CallOutcome::default().error(code));
        }
        let codes = &results.of("p1")[31].error_codes;
        assert_eq!((codes.len(), codes[16]), (17, ("other", 84)));
    }
}
