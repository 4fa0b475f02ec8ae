//! How the versions of a prompt do.

use crate::llm::Usage;
use std::{num::NonZeroU32, time::Duration};

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
    /// The times that a half, nine tenths and 99 of 100 took at the most, within 10 %. Zero if there was no call.
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
