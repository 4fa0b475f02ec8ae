//! How the circuit breakers stand, in the words of Resilience4j.

use crate::{
    circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, State, Stats},
    metrics::{Metrics, Sample},
};
use std::{collections::HashSet, sync::Arc};

/// Each under its name, or else its number.
type Named = Arc<[(Arc<str>, CircuitBreakerHandle)]>;

pub(super) fn told(metrics: &Metrics, circuits: &[CircuitBreakerLayer]) {
    if circuits.is_empty() {
        return;
    }
    let mut taken = HashSet::new();
    let named: Named = circuits
        .iter()
        .enumerate()
        .map(|(index, layer)| {
            let mut name: Arc<str> = match layer.called() {
                Some(name) => name.clone(),
                None => (index + 1).to_string().into(),
            };
            // No two series may have the same labels.
            while !taken.insert(name.clone()) {
                name = format!("{name}-{}", index + 1).into();
            }
            (name, layer.handle())
        })
        .collect();
    let each = |read: Read| {
        let named = named.clone();
        move || {
            let mut samples = Vec::new();
            for (name, handle) in named.iter() {
                let told = read(&handle.stats());
                let told = told
                    .into_iter()
                    .map(|told| told.label("name", name.clone()));
                samples.extend(told);
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

    #[test]
    fn each_circuit_has_a_name_of_its_own_and_six_states() {
        let metrics = Metrics::new();
        let named = || CircuitBreakerLayer::new().name("openai");
        let circuits = [named(), CircuitBreakerLayer::new(), named()];
        circuits[2].handle().force_open();
        told(&metrics, &circuits);
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
}
