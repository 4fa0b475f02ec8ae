//! What the metrics read of the gateway's own state.

use super::directory::ChatService;
use crate::{
    auth::{AuthLayer, Authenticate, signature::SignatureLayer},
    authorize,
    circuit_breaker::{CircuitBreakerLayer, State},
    llm::{self, ChatRequest, ChatResponse},
    metrics::Metrics,
    rate_limit::Stats,
};
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;
use tower_service::Service;

type Read = Box<dyn Fn() -> usize + Send + Sync>;

/// Handles of the layers whose state is worth a number. Nothing is read before the metrics are known.
#[derive(Default)]
pub(super) struct Gauges {
    failing: Vec<Read>,
    known: Vec<Read>,
    signatures: Vec<Read>,
    policies: Vec<authorize::Stats>,
    limits: Vec<Stats>,
    circuits: Vec<CircuitBreakerLayer>,
}

impl Gauges {
    pub(super) fn auth<A>(&mut self, layer: &AuthLayer<A>)
    where
        A: Authenticate + Send + Sync + 'static,
    {
        let (failing, known) = (layer.clone(), layer.clone());
        self.failing
            .push(Box::new(move || failing.failing_addresses()));
        self.known.push(Box::new(move || known.kept()));
    }

    pub(super) fn signatures(&mut self, layer: &SignatureLayer) {
        let layer = layer.clone();
        self.signatures.push(Box::new(move || layer.remembers()));
    }

    pub(super) fn authorize(&mut self, stats: authorize::Stats) {
        self.policies.push(stats);
    }

    pub(super) fn rate_limit(&mut self, stats: Stats) {
        self.limits.push(stats);
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
        let all = |name, help, reads: Vec<Read>| {
            if !reads.is_empty() {
                metrics.gauge(name, help, move || sum(&reads, |read| read()));
            }
        };
        all(
            "gateway_auth_failing_addresses",
            "Addresses whose wrong keys are counted.",
            self.failing,
        );
        all(
            "gateway_auth_known_credentials",
            "Keys and tokens in memory of which it is known whose they are.",
            self.known,
        );
        all(
            "gateway_auth_remembered_signatures",
            "Signatures of requests that are not taken again.",
            self.signatures,
        );
        let policies = |name, help, read: fn(&authorize::Stats) -> u64| {
            if !self.policies.is_empty() {
                let policies = self.policies.clone();
                metrics.gauge(name, help, move || {
                    sum(&policies, |it| {
                        usize::try_from(read(it)).unwrap_or(usize::MAX)
                    })
                });
            }
        };
        policies(
            "gateway_authorize_denied",
            "Calls that the policy did not allow, so far.",
            authorize::Stats::denied,
        );
        policies(
            "gateway_authorize_shadow_denied",
            "Calls that were let in and a policy in shadow mode would not have allowed, so far.",
            authorize::Stats::shadow_denied,
        );
        policies(
            "gateway_authorize_shadow_allowed",
            "Calls that were not allowed and a policy in shadow mode would have let in, so far.",
            authorize::Stats::shadow_allowed,
        );
        let limits = |name, help, read: fn(&Stats) -> usize| {
            if !self.limits.is_empty() {
                let limits = self.limits.clone();
                metrics.gauge(name, help, move || sum(&limits, read));
            }
        };
        limits(
            "gateway_rate_limit_keys",
            "Keys that the rate limits keep count of in this process.",
            Stats::tracked_keys,
        );
        limits(
            "gateway_rate_limit_bytes",
            "Memory of the keys that the rate limits keep count of, about.",
            Stats::bytes,
        );
        limits(
            "gateway_rate_limit_shadow_refusals",
            "Calls that quotas in shadow mode would have refused, so far.",
            |stats| usize::try_from(stats.shadow_refusals()).unwrap_or(usize::MAX),
        );
        limits(
            "gateway_rate_limit_degraded",
            "Rate limits whose store does not answer, and which are decided without it.",
            |stats| usize::from(stats.is_degraded()),
        );
        limits(
            "gateway_rate_limit_without_store",
            "Calls that were decided without the store of a rate limit, so far.",
            |stats| usize::try_from(stats.without_store()).unwrap_or(usize::MAX),
        );
        let circuits = self.circuits;
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
