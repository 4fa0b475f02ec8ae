//! What the metrics read of the gateway's own state.

mod breakers;
#[cfg(feature = "prompts")]
mod prompts;

use super::directory::ChatService;
use crate::{
    auth::{AuthLayer, Authenticate, signature::SignatureLayer},
    authorize,
    circuit_breaker::{CircuitBreakerLayer, State},
    concurrency::{self, ConcurrencyLayer, Priority, Reason},
    llm::{self, ChatRequest, ChatResponse, pool},
    metrics::Metrics,
    rate_limit,
};
use std::sync::Arc;
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;
use tower_service::Service;

type Read = Arc<dyn Fn() -> usize + Send + Sync>;

/// Handles of the layers whose state is worth a number. Nothing is read before the metrics are known.
#[derive(Default)]
pub(super) struct Gauges {
    failing: Vec<Read>,
    known: Vec<Read>,
    signatures: Vec<Read>,
    policies: Vec<authorize::Stats>,
    limits: Vec<rate_limit::Stats>,
    circuits: Vec<CircuitBreakerLayer>,
    concurrency: Vec<ConcurrencyLayer>,
    pools: Vec<pool::Handle>,
    #[cfg(feature = "prompts")]
    prompts: Option<crate::prompt::Registry>,
}

impl Gauges {
    pub(super) fn auth<A>(&mut self, layer: &AuthLayer<A>)
    where
        A: Authenticate + Send + Sync + 'static,
    {
        let (failing, known) = (layer.clone(), layer.clone());
        self.failing
            .push(Arc::new(move || failing.failing_addresses()));
        self.known.push(Arc::new(move || known.kept()));
    }

    pub(super) fn signatures(&mut self, layer: &SignatureLayer) {
        let layer = layer.clone();
        self.signatures.push(Arc::new(move || layer.remembers()));
    }

    pub(super) fn authorize(&mut self, stats: authorize::Stats) {
        self.policies.push(stats);
    }

    pub(super) fn rate_limit(&mut self, stats: rate_limit::Stats) {
        self.limits.push(stats);
    }

    pub(super) fn concurrency(&mut self, layer: ConcurrencyLayer) {
        self.concurrency.push(layer);
    }

    pub(super) fn circuit(&mut self, layer: CircuitBreakerLayer) {
        self.circuits.push(layer);
    }

    pub(super) fn pool(&mut self, handle: pool::Handle) {
        self.pools.push(handle);
    }

    #[cfg(feature = "prompts")]
    pub(super) fn prompts(&mut self, registry: crate::prompt::Registry) {
        self.prompts = Some(registry);
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
        self.guarded_by(&CircuitBreakerLayer::new(), service)
    }

    /// The same, where the service has a name.
    pub(super) fn guarded_as<S>(&mut self, name: &str, service: S) -> ChatService
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
        self.guarded_by(&CircuitBreakerLayer::new().name(name), service)
    }

    fn guarded_by<S>(&mut self, layer: &CircuitBreakerLayer, service: S) -> ChatService
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
        self.circuits.push(layer.clone());
        BoxCloneSyncService::new(layer.layer(service))
    }

    pub(super) fn read_by(self, metrics: &Metrics) {
        for (name, help, read) in AUTH {
            let reads = read(&self).to_vec();
            gauge(metrics, name, help, reads, |read| read());
        }
        for (name, help, read) in POLICIES {
            gauge(metrics, name, help, self.policies.clone(), move |stats| {
                counted(read(stats))
            });
        }
        for (name, help, read) in RATE_LIMITS {
            gauge(metrics, name, help, self.limits.clone(), read);
        }
        load(metrics, &self.concurrency);
        breakers::told(metrics, &self.circuits);
        #[cfg(feature = "prompts")]
        if let Some(registry) = &self.prompts {
            prompts::told(metrics, registry);
        }
        gauge(
            metrics,
            "gateway_pool_entries_out",
            "Models of pools that are drained, or left alone until their vendor may be asked again.",
            self.pools,
            |pool| {
                let entries = pool.entries();
                let out = entries.iter();
                out.filter(|one| one.drained || one.cooling.is_some())
                    .count()
            },
        );
        gauge(
            metrics,
            "gateway_circuits_open",
            "Services of models that are left alone, or tried again with a few calls.",
            self.circuits,
            |layer| usize::from(layer.state() != State::Closed),
        );
    }
}

/// A name, what it tells, and how it is read.
type Gauge<T> = (&'static str, &'static str, T);

type Kept = fn(&Gauges) -> &[Read];
type Decided = fn(&authorize::Stats) -> u64;
type Limited = fn(&rate_limit::Stats) -> usize;

const AUTH: [Gauge<Kept>; 3] = [
    (
        "gateway_auth_failing_addresses",
        "Addresses whose wrong keys are counted.",
        |gauges| &gauges.failing,
    ),
    (
        "gateway_auth_known_credentials",
        "Keys and tokens in memory of which it is known whose they are.",
        |gauges| &gauges.known,
    ),
    (
        "gateway_auth_remembered_signatures",
        "Signatures of requests that are not taken again.",
        |gauges| &gauges.signatures,
    ),
];

const POLICIES: [Gauge<Decided>; 3] = [
    (
        "gateway_authorize_denied",
        "Calls that the policy did not allow, so far.",
        authorize::Stats::denied,
    ),
    (
        "gateway_authorize_shadow_denied",
        "Calls that were let in and a policy in shadow mode would not have allowed, so far.",
        authorize::Stats::shadow_denied,
    ),
    (
        "gateway_authorize_shadow_allowed",
        "Calls that were not allowed and a policy in shadow mode would have let in, so far.",
        authorize::Stats::shadow_allowed,
    ),
];

const RATE_LIMITS: [Gauge<Limited>; 5] = [
    (
        "gateway_rate_limit_keys",
        "Keys that the rate limits keep count of in this process.",
        rate_limit::Stats::tracked_keys,
    ),
    (
        "gateway_rate_limit_bytes",
        "Memory of the keys that the rate limits keep count of, about.",
        rate_limit::Stats::bytes,
    ),
    (
        "gateway_rate_limit_shadow_refusals",
        "Calls that quotas in shadow mode would have refused, so far.",
        |stats| counted(stats.shadow_refusals()),
    ),
    (
        "gateway_rate_limit_degraded",
        "Rate limits whose store does not answer, and which are decided without it.",
        |stats| usize::from(stats.is_degraded()),
    ),
    (
        "gateway_rate_limit_without_store",
        "Calls that were decided without the store of a rate limit, so far.",
        |stats| counted(stats.without_store()),
    ),
];

/// How the limits on concurrency stand.
fn load(metrics: &Metrics, limits: &[ConcurrencyLayer]) {
    let told =
        |name: &str, help: &str, read: Box<dyn Fn(&concurrency::Stats) -> u64 + Send + Sync>| {
            gauge(metrics, name, help, limits.to_vec(), move |limit| {
                counted(read(&limit.stats()))
            });
        };
    told(
        "gateway_concurrency_limit",
        "How many exchanges may be in flight.",
        Box::new(|stats| stats.limit() as u64),
    );
    told(
        "gateway_concurrency_in_flight",
        "How many exchanges are in flight.",
        Box::new(|stats| stats.in_flight() as u64),
    );
    for priority in Priority::ALL {
        told(
            &format!("gateway_concurrency_waiting_{priority}"),
            "How many calls of this priority wait to be let in.",
            Box::new(move |stats| stats.waiting(priority) as u64),
        );
    }
    for reason in Reason::ALL {
        told(
            &format!("gateway_concurrency_shed_{reason}"),
            "How many calls were not let in for this reason, so far.",
            Box::new(move |stats| stats.shed(reason)),
        );
    }
}

/// A number of all of these together, if there are any.
fn gauge<L: Send + Sync + 'static>(
    metrics: &Metrics,
    name: &str,
    help: &str,
    layers: Vec<L>,
    read: impl Fn(&L) -> usize + Send + Sync + 'static,
) {
    if !layers.is_empty() {
        metrics.gauge(name, help, move || sum(&layers, &read));
    }
}

fn counted(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn sum<L>(layers: &[L], read: impl Fn(&L) -> usize) -> i64 {
    let sum = layers.iter().map(read).fold(0, usize::saturating_add);
    i64::try_from(sum).unwrap_or(i64::MAX)
}
