//! Buckets that several processes share, and what is done when their store does not answer.

use super::{
    core::Core,
    digest::digest,
    plan::{Plan, Told},
    quota::printable,
    store::{Store, Take},
    table::Slot,
};
use crate::{
    Rejection,
    pause::{Pause, Turn},
    rejection::Kind,
    storage::StoreError,
};
use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// What is done with calls while the store of the buckets does not answer.
///
/// There is no default, for none is right everywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnStoreDown {
    /// This process decides by itself, and grants a part of each quota.
    ///
    /// It goes on from what the store last said of each key, so that nobody finds a full bucket who had
    /// used up theirs. When the store answers again it is told what this process knows, for as long as
    /// a bucket takes to fill: so a store that has lost its memory grants no fresh quota either. What is
    /// used meanwhile it learns of as if all processes had used as much; of windows, to one unit of the part. Of keys that found no
    /// [room](super::RateLimitLayer::max_keys) here nothing is known.
    LocalFallback {
        /// The part, from 0 to 1: with four processes that are called alike, 0.25. Of a quota that is
        /// not zero at least one unit is granted, but by a part of 0.
        fraction: f64,
    },
    /// All calls pass, and nothing is counted.
    Allow,
    /// All calls are refused with [`Kind::LimiterUnavailable`].
    Deny,
}

/// Where the buckets of a layer are: in a [`Store`] that several processes share. See
/// [`RateLimitLayer::shared`](super::RateLimitLayer::shared).
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    name: Box<str>,
    on_store_down: OnStoreDown,
    timeout: Duration,
    rest: Duration,
    pause: Mutex<Pause>,
    /// Calls that were decided without it.
    without: AtomicU64,
}

impl Shared {
    pub(super) fn new(name: &str, store: Arc<dyn Store>, on_store_down: OnStoreDown) -> Self {
        Self(Arc::new(Inner {
            store,
            // A store may give braces a meaning, as Redis does, where they choose the node of a cluster.
            name: printable(name).replace(['{', '}'], "?").into(),
            on_store_down,
            timeout: Duration::from_millis(20),
            rest: Duration::from_secs(1),
            pause: Mutex::default(),
            without: AtomicU64::new(0),
        }))
    }

    /// The same store, with another patience.
    pub(super) fn patience(&self, timeout: Option<Duration>, rest: Option<Duration>) -> Self {
        let Inner { store, name, .. } = &*self.0;
        // The end of a pause must be an instant that the clock can tell.
        let hour = Duration::from_secs(60 * 60);
        Self(Arc::new(Inner {
            store: store.clone(),
            name: name.clone(),
            on_store_down: self.0.on_store_down,
            timeout: timeout.unwrap_or(self.0.timeout),
            rest: rest.unwrap_or(self.0.rest).min(hour),
            pause: Mutex::default(),
            without: AtomicU64::new(0),
        }))
    }

    /// The name of the buckets of a key, or of one of those who have it. `None`: of all who have none.
    pub(super) fn bucket(&self, key: Option<&impl Hash>, apart: Option<&str>) -> Box<str> {
        let key = match (key, apart) {
            (None, _) => "none".into(),
            (Some(key), None) => digest(key),
            (Some(key), Some(apart)) => digest(&(key, apart)),
        };
        format!("{}:{key}", self.0.name).into()
    }

    pub(super) async fn decide(
        self,
        core: Arc<Core>,
        plan: Arc<Plan>,
        slot: Slot,
        bucket: Box<str>,
        cost: u64,
    ) -> Result<Option<Told>, Rejection> {
        if let Some(mut asking) = self.0.ask() {
            let take = Take {
                bucket,
                rules: plan.rules.clone(),
                known: core.known(slot, &plan, asking.is_probe()),
                cost,
                now: None,
            };
            let taken = timeout(self.0.timeout, self.0.store.take(take)).await;
            match taken.unwrap_or_else(|_| Err(StoreError::timed_out())) {
                Ok(taken) if taken.buckets().len() == plan.rules.rules.len() => {
                    if asking.answered() {
                        core.store_is_back();
                    }
                    core.warm(slot, &plan, &taken);
                    let decided = plan.told(&taken, cost);
                    return core.judge(plan, decided);
                }
                Ok(_) => asking.failed(&StoreError::corrupt("the store left quotas out")),
                Err(error) => asking.failed(&error),
            }
        }
        self.0.without.fetch_add(1, Ordering::Relaxed);
        match self.0.on_store_down {
            OnStoreDown::LocalFallback { .. } => {
                let decided = core.take_here(slot, &plan, cost);
                core.judge(plan, decided)
            }
            OnStoreDown::Allow => Ok(None),
            OnStoreDown::Deny if plan.is_shadow() => Ok(None),
            OnStoreDown::Deny => {
                let wait = self.0.rest.max(Duration::from_secs(1));
                Err(Rejection::new(Kind::LimiterUnavailable).with_retry_after(wait))
            }
        }
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.0.pause().is_down()
    }

    pub(super) fn without(&self) -> u64 {
        self.0.without.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.0.name)
            .field("on_store_down", &self.0.on_store_down)
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn ask(&self) -> Option<Asking<'_>> {
        let turn = self.pause().turn(Instant::now())?;
        let turn = Some(turn);
        Some(Asking { inner: self, turn })
    }

    // It is valid after every statement, whoever panicked with the lock.
    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call that asks the store. Dropped before the answer, it makes room for another.
struct Asking<'a> {
    inner: &'a Inner,
    turn: Option<Turn>,
}

impl Asking<'_> {
    fn is_probe(&self) -> bool {
        self.turn == Some(Turn::Probe)
    }

    /// Whether it had failed before, after which it may have forgotten what it was told.
    fn answered(&mut self) -> bool {
        self.turn = None;
        let mut pause = self.inner.pause();
        let failed = pause.has_failed();
        let back = pause.answered();
        drop(pause);
        if back {
            let name = &*self.inner.name;
            tracing::info!(name, "rate limit: the store answers again");
        }
        failed
    }

    fn failed(&mut self, error: &StoreError) {
        let Some(turn) = self.turn.take() else { return };
        let Inner { name, rest, .. } = self.inner;
        if self.inner.pause().failed(turn, Instant::now(), *rest) {
            let instead = self.inner.on_store_down;
            tracing::warn!(name = &**name, %error, ?instead, "rate limit: the store does not answer");
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            self.inner.pause().dropped(turn);
        }
    }
}
