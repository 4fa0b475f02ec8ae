//! What the metrics read of the gateway's own state.

use super::directory::ChatService;
use crate::{
    auth::{ApiKeys, AuthLayer, stored::StoredKeys},
    authorize::Stats,
    circuit_breaker::{CircuitBreakerLayer, State},
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
    policies: Vec<Stats>,
    limits: Vec<RateLimitLayer>,
    circuits: Vec<CircuitBreakerLayer>,
}

impl Gauges {
    pub(super) fn auth(&mut self, layer: &AuthLayer<ApiKeys>) {
        self.auth.push(layer.clone());
    }

    pub(super) fn stored_keys(&mut self, layer: &AuthLayer<StoredKeys>, keys: StoredKeys) {
        self.stored.push((layer.clone(), keys));
    }

    pub(super) fn authorize(&mut self, stats: Stats) {
        self.policies.push(stats);
    }

    pub(super) fn rate_limit(&mut self, layer: &RateLimitLayer) {
        self.limits.push(layer.clone());
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
            policies,
            limits,
            circuits,
        } = self;
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
        if !policies.is_empty() {
            type Read = fn(&Stats) -> u64;
            let gauges: [(&str, &str, Read); 3] = [
                (
                    "gateway_authorize_denied",
                    "Calls that the policy did not allow, so far.",
                    Stats::denied,
                ),
                (
                    "gateway_authorize_shadow_denied",
                    "Calls that were let in and a policy in shadow mode would not have allowed, so far.",
                    Stats::shadow_denied,
                ),
                (
                    "gateway_authorize_shadow_allowed",
                    "Calls that were not allowed and a policy in shadow mode would have let in, so far.",
                    Stats::shadow_allowed,
                ),
            ];
            for (name, help, read) in gauges {
                let policies = policies.clone();
                metrics.gauge(name, help, move || {
                    sum(&policies, |it| {
                        usize::try_from(read(it)).unwrap_or(usize::MAX)
                    })
                });
            }
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

fn sum<L>(layers: &[L], read: impl Fn(&L) -> usize) -> i64 {
    let sum = layers.iter().map(read).sum::<usize>();
    i64::try_from(sum).unwrap_or(i64::MAX)
}
