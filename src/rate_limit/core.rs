//! What all services of one layer share.

use super::{
    OnMissingKey,
    headers::Headers,
    memory::{Decided, Memory},
    meter::Known,
    plan::{Plan, Plans, Told},
    quota::Quota,
    store::Taken,
    table::Slot,
};
use crate::{Rejection, rejection::Kind};
use http::{HeaderValue, header};
use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) quotas: Arc<[Quota]>,
    pub(super) max_keys: usize,
    pub(super) on_missing_key: OnMissingKey,
    pub(super) headers: Headers,
    pub(super) place: Place,
}

/// What the buckets in this process are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// They are all there are.
    Here,
    /// They stand in for those of a store, for such a part of each quota.
    StandIn(f64),
    /// Nothing: a store has all.
    Elsewhere,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) plans: Plans,
    hasher: RandomState,
    memory: Memory,
    /// When the store answered again, in microseconds. Zero: it always has.
    back: AtomicU64,
    shadowed: AtomicU64,
    /// In whole seconds from `start` on, when shadows were logged last.
    logged: AtomicU64,
    start: Instant,
}

impl Core {
    pub(super) fn new(config: Config) -> Arc<Self> {
        let part = match config.place {
            Place::StandIn(part) => Some(part),
            _ => None,
        };
        Arc::new(Self {
            plans: Plans::new(config.quotas.clone(), config.headers, part),
            hasher: RandomState::new(),
            memory: match config.place {
                Place::Here => Memory::new(&config.quotas, config.max_keys),
                Place::StandIn(_) => Memory::beside_a_store(config.max_keys),
                Place::Elsewhere => Memory::beside_a_store(0),
            },
            back: AtomicU64::new(0),
            shadowed: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            start: Instant::now(),
            config,
        })
    }

    /// Whose bucket a call goes by: of all who have the key, or of one of them. `None`: nobody's.
    pub(super) fn slot(
        &self,
        key: Option<&impl Hash>,
        apart: Option<&str>,
    ) -> Result<Option<Slot>, Rejection> {
        Ok(match (key, self.config.on_missing_key) {
            _ if self.config.quotas.is_empty() => None,
            (Some(key), _) => Some(match apart {
                None => Slot::Named(self.hasher.hash_one(key)),
                Some(apart) => Slot::Apart(self.hasher.hash_one((key, apart))),
            }),
            (None, OnMissingKey::Shared) => Some(Slot::Nameless),
            (None, OnMissingKey::Skip) => None,
            (None, OnMissingKey::Forbid) => return Err(Rejection::new(Kind::Forbidden)),
            (None, OnMissingKey::Reject) => {
                // Every 401 must name a scheme (RFC 9110 §15.5.2).
                return Err(Rejection::new(Kind::Unauthenticated)
                    .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
        })
    }

    /// Decides by the buckets in this process.
    pub(super) fn take_here(&self, slot: Slot, plan: &Plan, cost: u64) -> Decided {
        self.memory.take(slot, plan.here(), plan.limited, cost)
    }

    /// Keeps what a store said for when it will not answer.
    pub(super) fn warm(&self, slot: Slot, plan: &Plan, taken: &Taken) {
        if let Place::StandIn(part) = self.config.place {
            self.memory.warm(slot, plan.here(), taken, part);
        }
    }

    pub(super) fn store_is_back(&self) {
        self.back.store(self.memory.now(), Ordering::Relaxed);
    }

    /// What to tell a store of a key, which it may have forgotten while it was down: as long as a bucket
    /// takes to fill, and when it is asked whether it is back.
    pub(super) fn known(&self, slot: Slot, plan: &Plan, back: bool) -> Box<[Known]> {
        let Place::StandIn(part) = self.config.place else {
            return Box::default();
        };
        let back = back
            || match self.back.load(Ordering::Relaxed) {
                0 => false,
                since => self.memory.now() < since.saturating_add(plan.depth),
            };
        let known = || self.memory.known(slot, plan.here(), part);
        back.then(known).flatten().unwrap_or_default()
    }

    /// What follows from a decision. What is left, if the caller shall be told.
    pub(super) fn judge(
        &self,
        plan: Arc<Plan>,
        decided: Decided,
    ) -> Result<Option<Told>, Rejection> {
        if decided.as_slice().iter().all(|decision| decision.allowed) {
            return Ok(Told::new(plan, decided));
        }
        for quota in plan.shadowed(&decided) {
            self.shadowed(quota);
        }
        match plan.refusal(&decided) {
            Some(rejection) => Err(rejection),
            None => Ok(Told::new(plan, decided)),
        }
    }

    /// Counts each, and logs one a second.
    fn shadowed(&self, quota: &str) {
        let refusals = self.shadowed.fetch_add(1, Ordering::Relaxed) + 1;
        let second = self.start.elapsed().as_secs() + 1;
        if self.logged.swap(second, Ordering::Relaxed) != second {
            tracing::info!(quota, refusals, "rate limit: a shadow would have refused");
        }
    }

    pub(super) fn shadow_refusals(&self) -> u64 {
        self.shadowed.load(Ordering::Relaxed)
    }

    pub(super) fn tracked(&self) -> usize {
        self.memory.tracked()
    }

    pub(super) fn bytes(&self) -> usize {
        self.memory.bytes(self.config.quotas.len())
    }
}
