//! How the circuit breakers stand, in the words of Resilience4j.

use crate::{
    circuit_breaker::{CircuitBreakerHandle, State, Stats},
    metrics::{Metrics, Sample},
};
use std::{collections::HashSet, sync::Arc};

/// Each under its name, or else its number.
type Named = Arc<[(Arc<str>, CircuitBreakerHandle)]>;

/// How many circuits of one breaker are told of apart.
const MOST_KEYS: usize = 256;

pub(super) fn told<'a>(
    metrics: &Metrics,
    circuits: impl Iterator<Item = &'a CircuitBreakerHandle>,
) {
    let mut taken = HashSet::new();
    let named: Named = circuits
        .enumerate()
        .map(|(index, handle)| {
            let mut name: Arc<str> = match handle.called() {
                Some(name) => name.clone(),
                None => (index + 1).to_string().into(),
            };
            // No two series may have the same labels.
            while !taken.insert(name.clone()) {
                name = format!("{name}-{}", index + 1).into();
            }
            (name, handle.clone())
        })
        .collect();
    if named.is_empty() {
        return;
    }
    let each = |read: Read| {
        let named = named.clone();
        move || {
            let mut samples = Vec::new();
            for (name, handle) in named.iter() {
                for (key, stats) in handle.stats_by_key(MOST_KEYS) {
                    for told in read(&stats) {
                        let told = told.label("name", name.clone());
                        samples.push(match &key {
                            Some(key) => told.label("key", key.clone()),
                            None => told,
                        });
                    }
                }
            }
            samples
        }
    };
    for (name, help, read) in GAUGES {
        metrics.gauges(name, help, each(read));
    }
    for (name, help, read) in COUNTERS {
        metrics.counters(name, help, each(read));
    }
}

type Read = fn(&Stats) -> Vec<Sample>;

const GAUGES: [(&str, &str, Read); 4] = [
    (
        "gateway_breaker_state",
        "Whether a circuit breaker is in this state: 1, and else 0",
        |stats| {
            let told = |state: State| {
                let is = f64::from(u8::from(stats.state() == state));
                Sample::new(is).label("state", state.as_str())
            };
            State::ALL.map(told).into()
        },
    ),
    (
        "gateway_breaker_buffered_calls",
        "Calls in the window of a circuit breaker",
        |stats| {
            let failed = stats.buffered_failed_calls();
            let successful = stats.buffered_calls().saturating_sub(failed);
            vec![
                Sample::new(successful as f64).label("kind", "successful"),
                Sample::new(failed as f64).label("kind", "failed"),
            ]
        },
    ),
    (
        "gateway_breaker_failure_rate",
        "Share of the calls in the window that failed, once there are enough",
        |stats| stats.failure_rate().map(Sample::new).into_iter().collect(),
    ),
    (
        "gateway_breaker_slow_call_rate",
        "Share of the calls in the window that were slow, once there are enough",
        |stats| {
            stats
                .slow_call_rate()
                .map(Sample::new)
                .into_iter()
                .collect()
        },
    ),
];

const COUNTERS: [(&str, &str, Read); 2] = [
    (
        "gateway_breaker_calls",
        "Calls that a circuit breaker let through",
        |stats| {
            vec![
                Sample::new(stats.successful_calls() as f64).label("kind", "successful"),
                Sample::new(stats.failed_calls() as f64).label("kind", "failed"),
                Sample::new(stats.ignored_calls() as f64).label("kind", "ignored"),
            ]
        },
    ),
    (
        "gateway_breaker_not_permitted_calls",
        "Calls that a circuit breaker turned away",
        |stats| vec![Sample::new(stats.not_permitted_calls() as f64)],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit_breaker::CircuitBreakerLayer;

    #[test]
    fn each_circuit_has_a_name_of_its_own_and_six_states() {
        let metrics = Metrics::new();
        let named = || CircuitBreakerLayer::new().name("openai");
        let circuits = [named(), CircuitBreakerLayer::new(), named()];
        let circuits = circuits.map(|layer| layer.handle());
        circuits[2].force_open();
        told(&metrics, circuits.iter());
        let text = metrics.encode();
        for line in [
            r#"gateway_breaker_state{state="closed",name="openai"} 1"#,
            r#"gateway_breaker_state{state="closed",name="2"} 1"#,
            r#"gateway_breaker_state{state="forced_open",name="openai-3"} 1"#,
            r#"gateway_breaker_buffered_calls{kind="failed",name="openai"} 0"#,
            r#"gateway_breaker_calls_total{kind="ignored",name="openai"} 0"#,
            r#"gateway_breaker_not_permitted_calls_total{name="openai"} 0"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
        assert_eq!(text.matches("gateway_breaker_state{").count(), 18);
    }

    #[test]
    fn circuits_of_keys_with_names_are_told_of_apart() {
        let metrics = Metrics::new();
        let layer = CircuitBreakerLayer::new()
            .name("upstream")
            .key(|_: &()| Some(7_u8))
            .key_name(|key: &u8| key.to_string().into());
        let seven = layer.handle_of(&7_u8).unwrap();
        seven.force_open();
        told(&metrics, [layer.handle()].iter());
        let text = metrics.encode();
        let line = r#"gateway_breaker_state{state="forced_open",name="upstream",key="7"} 1"#;
        assert!(text.lines().any(|told| told == line), "{text}");
        let line = r#"gateway_breaker_state{state="closed",name="upstream"} 1"#;
        assert!(text.lines().any(|told| told == line), "{text}");
    }
}
