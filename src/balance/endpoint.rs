//! One of those that calls are spread over.

use super::{
    outlier::Tally,
    pick::{Latency, PeakEwma},
    rules::Rules,
    set::Shared,
    verdict::Verdict,
};
use crate::answer::{Outcome, Remedy};
use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

/// An endpoint, as it is told of: a name that no other of the set has, a weight and a priority.
///
/// ```
/// use tower_gateway::balance::Endpoint;
///
/// let endpoint = Endpoint::new("10.0.0.1:8080").weight(3).priority(1);
/// assert_eq!(endpoint.address().map(|address| address.port()), Some(8080));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    name: Arc<str>,
    weight: u32,
    priority: u8,
}

impl Endpoint {
    /// The last of the priorities.
    pub const LAST: u8 = 15;

    /// Of weight 1 and priority 0. The name is what operators see, what a ring places it by, and what it is
    /// the same endpoint by when a set changes.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            priority: 0,
        }
    }

    /// Sets how much it can take, compared to the others of its priority. Zero takes no calls.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Sets its priority, from 0, which is asked first, to 15. More is taken as 15.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        let priority = priority.min(Self::LAST);
        Self { priority, ..self }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The address, if the name is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.name.parse().ok()
    }

    pub(super) fn heaviness(&self) -> u32 {
        self.weight
    }

    pub(super) fn rank(&self) -> u8 {
        self.priority
    }
}

impl From<&str> for Endpoint {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.to_string())
    }
}

/// What all endpoints of a set have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) rules: Rules,
    pub(super) ewma: PeakEwma,
    /// How many calls are out at those of each priority.
    pub(super) out: PerLevel,
}

/// A number for each priority.
#[derive(Debug, Default)]
pub(super) struct PerLevel([AtomicU64; Endpoint::LAST as usize + 1]);

impl PerLevel {
    pub(super) fn of(&self, rank: u8) -> &AtomicU64 {
        &self.0[usize::from(rank.min(Endpoint::LAST))]
    }
}

/// What is known of an endpoint from its calls. It stays what it is when the set changes around it.
pub(super) struct Node<S> {
    pub(super) id: NonZeroU64,
    pub(super) name: Arc<str>,
    /// Behind a lock, so that it need not be `Sync`. Held while it is cloned.
    service: Mutex<S>,
    pub(super) active: AtomicU32,
    latency: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
    local_failures: AtomicU64,
    tally: Mutex<Tally>,
    common: Arc<Common>,
    shared: Weak<Shared<S>>,
}

impl<S> Node<S> {
    pub(super) fn new(
        name: Arc<str>,
        service: S,
        common: Arc<Common>,
        shared: Weak<Shared<S>>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            // Not in the life of any process.
            id: NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX),
            name,
            service: Mutex::new(service),
            active: AtomicU32::new(0),
            latency: AtomicU64::new(Latency::UNKNOWN.to_bits()),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            local_failures: AtomicU64::new(0),
            tally: Mutex::default(),
            common,
            shared,
        }
    }

    /// The one before. It may do something when it is dropped, so not under a lock.
    #[must_use]
    pub(super) fn replace(&self, service: S) -> S {
        std::mem::replace(&mut *lock(&self.service), service)
    }

    pub(super) fn service(&self) -> S
    where
        S: Clone,
    {
        lock(&self.service).clone()
    }

    pub(super) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self) -> Latency {
        Latency::from_bits(self.latency.load(Ordering::Relaxed))
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn local_failures(&self) -> u64 {
        self.local_failures.load(Ordering::Relaxed)
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Counts one more call out. With a bound, only if that is not too many.
    pub(super) fn enter(&self, bound: Option<u32>) -> bool {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let more = |active: u32| match bound {
            Some(bound) if active >= bound => None,
            _ => Some(active.saturating_add(1)),
        };
        self.active.fetch_update(set, fetch, more).is_ok()
    }

    fn learn(&self, learn: impl Fn(Latency) -> Latency) {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let more = |bits| Some(learn(Latency::from_bits(bits)).to_bits());
        let _ = self.latency.fetch_update(set, fetch, more);
    }

    /// What came of a call, for the health of the endpoint.
    fn judged(&self, outcome: Outcome, local: bool) {
        if outcome == Outcome::Failure {
            self.failures.fetch_add(1, Ordering::Relaxed);
            if local {
                self.local_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        let Some(rules) = self.common.rules.outlier_rules() else {
            return;
        };
        let cause = self.tally().record(outcome, local, rules);
        if let (Some(cause), Some(shared)) = (cause, self.shared.upgrade()) {
            shared.eject(self.id, cause, Instant::now());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One call that is out at an endpoint. Counts it until it is dropped.
pub(super) struct Permit<S> {
    node: Arc<Node<S>>,
    rank: u8,
    since: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Called,
    /// The head said so, and the end may say otherwise.
    Well,
    Judged,
}

impl<S> Permit<S> {
    /// For a call that was [counted](Node::enter).
    pub(super) fn new(node: Arc<Node<S>>, rank: u8, since: Instant) -> Self {
        node.common.out.of(rank).fetch_add(1, Ordering::Relaxed);
        node.calls.fetch_add(1, Ordering::Relaxed);
        let stage = Stage::Called;
        Self {
            node,
            rank,
            since,
            stage,
        }
    }

    pub(super) fn node(&self) -> &Node<S> {
        &self.node
    }

    /// The head of the answer is there, or an error in its place.
    pub(super) fn answered(&mut self, verdict: &Verdict) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        let common = &self.node.common;
        // What fails or refuses fast is not to be taken for what is fast.
        let took = match verdict.is_well() {
            true => took,
            false => took.max(common.rules.failure_penalty()),
        };
        self.node
            .learn(|latency| common.ewma.observe(latency, took, now));
        match verdict.outcome {
            Outcome::Success => self.stage = Stage::Well,
            Outcome::Neutral => self.stage = Stage::Judged,
            Outcome::Failure => self.judge(Outcome::Failure, verdict.local),
        }
        let after = match (verdict.remedy, verdict.outcome) {
            (Remedy::Again { after: Some(after) }, _) if !after.is_zero() => Some(after),
            // Or it would have the fewest calls out, and be given all of them.
            (Remedy::Again { .. } | Remedy::Elsewhere, Outcome::Neutral) => None,
            _ => return,
        };
        if let Some(shared) = self.node.shared.upgrade() {
            shared.rest(self.node.id, after, now);
        }
    }

    /// The answer is over.
    pub(super) fn ended(mut self, outcome: Outcome, local: bool) {
        if self.stage == Stage::Well {
            self.judge(outcome, local);
        }
    }

    fn judge(&mut self, outcome: Outcome, local: bool) {
        self.stage = Stage::Judged;
        self.node.judged(outcome, local);
    }
}

impl<S> Drop for Permit<S> {
    fn drop(&mut self) {
        if self.stage == Stage::Called {
            let now = Instant::now();
            let took = now.saturating_duration_since(self.since);
            let ewma = &self.node.common.ewma;
            let others = match self.node.latency().is_known() {
                true => None,
                false => self.node.shared.upgrade(),
            };
            let others = others.and_then(|shared| shared.slowest(now));
            self.node
                .learn(|latency| ewma.give_up(latency, took, others, now));
        }
        self.node.active.fetch_sub(1, Ordering::Relaxed);
        self.node
            .common
            .out
            .of(self.rank)
            .fetch_sub(1, Ordering::Relaxed);
    }
}
