//! How the versions of prompts do, in this process.

use crate::{
    metrics::{Metrics, Sample},
    prompt::{Registry, VersionResults},
};

/// What is told of one version.
type Read = fn(&VersionResults) -> Vec<Sample>;

/// All of it is read once for each time that it is told, for what is counted waits meanwhile.
pub(super) fn told(metrics: &Metrics, registry: &Registry) {
    let registry = registry.clone();
    let families = || COUNTERS.iter().chain(&GAUGES);
    let names: Vec<_> = families().map(|&(name, help, _)| (name, help)).collect();
    metrics.together(&names, COUNTERS.len(), move || {
        let results = registry.all_results();
        let told = |read: Read| {
            let all = results.iter().flat_map(|(name, results)| {
                read(results).into_iter().map(|sample| {
                    sample
                        .label("prompt", name.as_arc().clone())
                        .label("version", results.version.to_string())
                })
            });
            all.collect()
        };
        families().map(|&(.., read)| told(read)).collect()
    });
}

const COUNTERS: [(&str, &str, Read); 4] = [
    (
        "gateway_prompt_calls",
        "Calls of a version of a prompt that are over",
        |results| vec![Sample::new(results.calls as f64)],
    ),
    (
        "gateway_prompt_errors",
        "Those of them that ended with an error",
        |results| {
            let codes = results.error_codes.iter();
            let told = codes.map(|&(code, count)| Sample::new(count as f64).label("code", code));
            told.collect()
        },
    ),
    (
        "gateway_prompt_tokens",
        "Tokens used by calls of a version of a prompt",
        |results| {
            vec![
                Sample::new(results.input_tokens as f64).label("type", "input"),
                Sample::new(results.output_tokens as f64).label("type", "output"),
            ]
        },
    ),
    (
        "gateway_prompt_scores",
        "Scores that were given to a version of a prompt",
        |results| {
            let scores = results.scores.iter();
            let told = scores.map(|score| {
                Sample::new(score.count as f64).label("score", score.name.to_string())
            });
            told.collect()
        },
    ),
];

const GAUGES: [(&str, &str, Read); 3] = [
    (
        "gateway_prompt_cost_dollars",
        "What the calls of a version of a prompt cost so far, by the catalog, in US dollars",
        |results| vec![Sample::new(results.price as f64 / 1e12)],
    ),
    (
        "gateway_prompt_duration_quantile_seconds",
        "The time that this share of the calls of a version of a prompt took at the most",
        |results| {
            let shares = ["0.5", "0.9", "0.99"].into_iter().zip(results.latency);
            let told = shares
                .map(|(share, time)| Sample::new(time.as_secs_f64()).label("quantile", share));
            told.collect()
        },
    ),
    (
        "gateway_prompt_score_mean",
        "The mean of a score of a version of a prompt",
        |results| {
            let scores = results.scores.iter();
            let told =
                scores.map(|score| Sample::new(score.mean).label("score", score.name.to_string()));
            told.collect()
        },
    ),
];
