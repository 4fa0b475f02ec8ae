//! What the metrics read of the gateway's own state.

use super::directory::ChatService;
use crate::{
    auth::{ApiKeys, AuthLayer, stored::StoredKeys},
    circuit_breaker::{CircuitBreakerLayer, State},
    concurrency::{ConcurrencyLayer, Priority, Reason, Stats},
    llm::{self, ChatRequest, ChatResponse},
    metrics::Metrics,
    rate_limit::RateLimitLayer,
};
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;
use tower_service::Service;

/// Handles of the layers whose state is worth a number. Nothing is read before the metrics are known.
#[derive(Default)]
pub(super) struct Gauges {
    auth: Vec<AuthLayer<ApiKeys>>,
    stored: Vec<(AuthLayer<StoredKeys>, StoredKeys)>,
    limits: Vec<RateLimitLayer>,
    circuits: Vec<CircuitBreakerLayer>,
    concurrency: Vec<ConcurrencyLayer>,
}

impl Gauges {
    pub(super) fn auth(&mut self, layer: &AuthLayer<ApiKeys>) {
        self.auth.push(layer.clone());
    }

    pub(super) fn stored_keys(&mut self, layer: &AuthLayer<StoredKeys>, keys: StoredKeys) {
        self.stored.push((layer.clone(), keys));
    }

    pub(super) fn rate_limit(&mut self, layer: &RateLimitLayer) {
        self.limits.push(layer.clone());
    }

    pub(super) fn concurrency(&mut self, layer: ConcurrencyLayer) {
        self.concurrency.push(layer);
    }

    /// The service behind a breaker of its own: one that fails is left alone, and the others are not.
    pub(super) fn guarded<S>(&mut self, service: S) -> ChatService
    where
        S: Service<
                ChatRequest,
                Response = ChatResponse,
                Error = llm::Error,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let layer = CircuitBreakerLayer::new();
        self.circuits.push(layer.clone());
        BoxCloneSyncService::new(layer.layer(service))
    }

    pub(super) fn read_by(self, metrics: &Metrics) {
        let Self {
            auth,
            stored,
            limits,
            circuits,
            concurrency,
        } = self;
        if !concurrency.is_empty() {
            load(metrics, &concurrency);
        }
        if !stored.is_empty() {
            let keys: Vec<_> = stored.iter().map(|(_, keys)| keys.clone()).collect();
            metrics.gauge(
                "gateway_auth_known_keys",
                "Keys in memory of those in a store.",
                move || sum(&keys, StoredKeys::known_keys),
            );
        }
        if !auth.is_empty() || !stored.is_empty() {
            metrics.gauge(
                "gateway_auth_failing_addresses",
                "Addresses whose wrong keys are counted.",
                move || {
                    let stored = sum(&stored, |(layer, _)| layer.failing_addresses());
                    sum(&auth, AuthLayer::failing_addresses) + stored
                },
            );
        }
        if !limits.is_empty() {
            metrics.gauge(
                "gateway_rate_limit_keys",
                "Keys that the rate limit keeps count of.",
                {
                    let limits = limits.clone();
                    move || sum(&limits, RateLimitLayer::tracked_keys)
                },
            );
            metrics.gauge(
                "gateway_rate_limit_bytes",
                "Memory of the keys that the rate limit keeps count of, about.",
                {
                    let limits = limits.clone();
                    move || sum(&limits, |limit| limit.stats().bytes())
                },
            );
            metrics.gauge(
                "gateway_rate_limit_shadow_refusals",
                "Calls that quotas in shadow mode would have refused, so far.",
                move || {
                    sum(&limits, |limit| {
                        usize::try_from(limit.stats().shadow_refusals()).unwrap_or(usize::MAX)
                    })
                },
            );
        }
        if !circuits.is_empty() {
            metrics.gauge(
                "gateway_circuits_open",
                "Services of models that are left alone, or tried again with a few calls.",
                move || {
                    sum(&circuits, |layer| {
                        usize::from(layer.state() != State::Closed)
                    })
                },
            );
        }
    }
}

/// How the limits on concurrency stand.
fn load(metrics: &Metrics, limits: &[ConcurrencyLayer]) {
    let gauge = |name: &str, help: &str, read: fn(&Stats, usize) -> u64, of: usize| {
        let limits = limits.to_vec();
        metrics.gauge(name, help, move || {
            let read = |limit: &ConcurrencyLayer| read(&limit.stats(), of);
            sum(&limits, |limit| {
                usize::try_from(read(limit)).unwrap_or(usize::MAX)
            })
        });
    };
    gauge(
        "gateway_concurrency_limit",
        "How many exchanges may be in flight.",
        |stats, _| stats.limit() as u64,
        0,
    );
    gauge(
        "gateway_concurrency_in_flight",
        "How many exchanges are in flight.",
        |stats, _| stats.in_flight() as u64,
        0,
    );
    for (at, priority) in Priority::ALL.into_iter().enumerate() {
        gauge(
            &format!("gateway_concurrency_waiting_{priority}"),
            "How many calls of this priority wait to be let in.",
            |stats, at| stats.waiting(Priority::ALL[at]) as u64,
            at,
        );
    }
    for (at, reason) in Reason::ALL.into_iter().enumerate() {
        gauge(
            &format!("gateway_concurrency_shed_{reason}"),
            "How many calls were not let in for this reason, so far.",
            |stats, at| stats.shed(Reason::ALL[at]),
            at,
        );
    }
}

fn sum<L>(layers: &[L], read: impl Fn(&L) -> usize) -> i64 {
    let sum = layers.iter().map(read).fold(0, usize::saturating_add);
    i64::try_from(sum).unwrap_or(i64::MAX)
}
