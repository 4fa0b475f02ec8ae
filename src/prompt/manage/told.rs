//! Records as JSON.

use crate::prompt::{PromptHead, Registry, VersionRecord, VersionResults};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// What a list says of a prompt.
pub(super) fn head(registry: &Registry, head: &PromptHead) -> Value {
    let labels: Map<_, _> = head
        .labels
        .iter()
        .map(|(label, to)| (label.to_string(), to.to_json()))
        .collect();
    let protected: Vec<_> = labels
        .keys()
        .filter(|label| registry.scope_of(label).is_some())
        .cloned()
        .collect();
    json!({
        "name": head.name.as_str(),
        "latest": head.latest,
        "labels": labels,
        "protected": protected,
    })
}

/// A version without what it says.
pub(super) fn version(record: &VersionRecord) -> Value {
    let mut told = json!({
        "version": record.version,
        "digest": &*record.digest,
        "author": &*record.author,
        "created_at": millis(record.created_at),
    });
    if let Some(message) = &record.message {
        told["message"] = (**message).into();
    }
    told
}

/// Milliseconds since 1970, as in exports.
fn millis(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Of 10⁻¹² US dollars. A number of JSON holds it to a hundredth of a cent.
pub(super) fn dollars(price: i128) -> f64 {
    price as f64 / 1e12
}

pub(super) fn results(results: &VersionResults) -> Value {
    let scores: Map<_, _> = results
        .scores
        .iter()
        .map(|score| {
            let told = json!({
                "count": score.count,
                "mean": score.mean,
                "deviation": score.deviation,
                "min": score.min,
                "max": score.max,
            });
            (score.name.to_string(), told)
        })
        .collect();
    let codes: Map<_, _> = results
        .error_codes
        .iter()
        .map(|(code, count)| ((*code).to_owned(), (*count).into()))
        .collect();
    let [half, nine_tenths, most] = results.latency.map(milliseconds);
    json!({
        "version": results.version,
        "calls": results.calls,
        "errors": results.errors,
        "error_codes": codes,
        "input_tokens": results.input_tokens,
        "output_tokens": results.output_tokens,
        "price_usd": dollars(results.price),
        "latency_ms": {
            "mean": milliseconds(results.mean_latency),
            "p50": half,
            "p90": nine_tenths,
            "p99": most,
        },
        "scores": scores,
    })
}
