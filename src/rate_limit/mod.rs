//! Let each caller use so much in so much time, and turn away what is more.
//!
//! Every key has a bucket, which a [`Quota`] fills evenly: 60 a minute are one a second, and after a
//! rest up to 60 at once (the generic cell rate algorithm, GCRA). A quota may also be counted in a
//! [sliding](Quota::sliding_window) or a [fixed](Quota::fixed_window) window. A call takes its
//! [`cost`](RateLimitLayer::cost) out of the bucket, or is refused with [`Kind::RateLimited`].
//!
//! # Example
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use tower_gateway::{key::ByHeader, rate_limit::{Quota, RateLimitLayer}};
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "Hello" }))
//!     .layer(RateLimitLayer::new(Quota::per_minute(1)).key(ByHeader::new("x-team")));
//! # let get = |team: &str| app.clone().oneshot(Request::get("/").header("x-team", team).body(Body::empty()).unwrap());
//!
//! let first = get("red").await.unwrap();
//! assert_eq!(first.status(), StatusCode::OK);
//! assert_eq!(first.headers()["ratelimit"], r#""per-minute";r=0;t=60"#);
//!
//! let second = get("red").await.unwrap();
//! assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(second.headers()["retry-after"], "60");
//!
//! assert_eq!(get("blue").await.unwrap().status(), StatusCode::OK);
//! # }
//! ```
//!
//! The request type is free, so the same layer limits a language model by
//! `(ByPrincipal, ByModel)`, with a cost in tokens. What a limit says of a model is decided there, around the
//! model: over HTTP nobody knows it yet.
//!
//! # Whose quota
//!
//! By default that of the [`Principal`](crate::Principal), so authentication stands further out. A
//! [`key`](crate::key) may have several parts: team, tenant, route, model, address, header. A call without
//! a key is [`OnMissingKey`]'s: by default all such calls share one bucket.
//!
//! Several quotas, such as 10 a second and 1,000 a day, go into one layer:
//! [`RateLimitLayer::all`]. A call takes from all of them or from none, whatever their algorithms. Two
//! layers, one around the other, would charge the outer one for what the inner one refuses.
//!
//! Who has [limits](crate::principal::Limit) of their own is counted by these: a limit stands in the place
//! of the quota that has its name, and is counted by that one's algorithm. They come with the principal,
//! as long as the key has it for a part, or from a closure ([`WithLimits`](crate::key::WithLimits)). Those
//! that a credential brings are for this one alone: two API keys of one owner, of 10 and of 1,000 a minute,
//! use up nothing of each other's, and a key that was rotated shares with the one that takes its place.
//! Those from a closure are for all who have the key.
//!
//! A quota in [shadow mode](Quota::shadow) counts and refuses nobody. Whom it would have refused is in
//! [`Stats::shadow_refusals`], and in the log once a second.
//!
//! # Answers
//!
//! | answer | status | code | `Retry-After` | beside it |
//! |---|--:|---|---|---|
//! | let in | the service's | | | the quota headers |
//! | the quota is used up | 429 | `rate_limit_exceeded` | whole seconds, rounded up, never 0 | the quota headers, `violated-policies` |
//! | costs more than a [`burst`](Quota::burst) or a window grants, or the quota is zero | 429 | `rate_limit_exceeded` | none: it never fits | the same, and `x-should-retry: false` |
//! | no key, with [`OnMissingKey::Reject`] | 401 | `missing_api_key` | | `WWW-Authenticate` |
//! | no key, with [`OnMissingKey::Forbid`] | 403 | `insufficient_permissions` | | |
//! | its store is down, with [`OnStoreDown::Deny`] | 503 | `rate_limiter_unavailable` | the [`pause`](RateLimitLayer::pause) | |
//!
//! | quota header | says |
//! |---|---|
//! | `RateLimit: "per-minute";r=59;t=1` | of each quota: what could be used at once, and in how many seconds there is one more |
//! | `RateLimit-Policy: "per-minute";q=60;w=60` | of each quota: units and seconds |
//! | `x-ratelimit-limit-requests: 60` | of the quota with the least left: its units |
//! | `x-ratelimit-remaining-requests: 59` | what could be used at once |
//! | `x-ratelimit-reset-requests: 6m0s` | in how much time all of it is there again |
//!
//! Limiters further out append to the first two. In the other three the one with the least left
//! speaks, be it an upstream. [`RateLimitLayer::headers`] chooses.
//!
//! # What if its store is down
//!
//! Buckets in this process are never down. Those that [several processes share](RateLimitLayer::shared)
//! are waited for 20 ms; what is done then is [`OnStoreDown`]'s, which is chosen when the layer is made:
//! this process decides by itself, all calls pass, or none. After three failures in a row the store is left
//! alone for a second, and then one call asks it, so that a dead store costs no caller its 20 ms. One
//! line in the log tells of each change, [`Stats::is_degraded`] tells how it stands, and
//! [`Stats::without_store`] counts.
//!
//! # What is shared
//!
//! The buckets belong to the layer value. Every service that a layer or a clone of it wraps counts
//! with the same ones. They are not made in [`Layer::layer`](tower_layer::Layer::layer), because a router
//! may call that once for each route, or once for each request. Every setter starts with fresh buckets,
//! but for those in a store, which belong to the store and to a name.
//!
//! # What it keeps
//!
//! Of each key a keyed hash and some numbers; never the key. Keys whose buckets are full again are
//! forgotten within a minute or so. There are at most 100,000 ([`max_keys`](RateLimitLayer::max_keys));
//! beyond that new keys share one bucket, which is neither a free pass nor growth without bound. For each
//! key that is at most
//!
//! | quotas | bytes |
//! |---|--:|
//! | one, by GCRA, of which one unit comes back in a whole number of nanoseconds | 40 |
//! | any others | 96, and 32 for each quota |
//!
//! so that 10 million of them, if there shall be so many, take 400 MB, 1.3 GB, or 1.6 GB for two quotas. The
//! table grows by one part of 64 at a time. [`Stats::tracked_keys`] and [`Stats::bytes`] tell how it
//! stands. What a key was counted by before, such as limits that it had then, takes 32 bytes each as well,
//! for 32 of them at most. A store is told the name of the layer and the first 128 bits of a SHA-256 hash of the key;
//! what it keeps it forgets as soon as it is full again.
//!
//! # Cancellation
//!
//! A call is charged when it is made, and stays charged if it is dropped. The service is called only
//! after. What a store has not answered in time may have been charged there as well.

#[cfg(test)]
mod contract;
mod core;
mod digest;
mod gcra;
mod headers;
mod kept;
mod memory;
mod meter;
mod pause;
mod plan;
mod quota;
#[cfg(feature = "rate-limit-redis")]
mod redis;
mod service;
mod shared;
mod store;
mod table;
mod window;

#[cfg(feature = "rate-limit-redis")]
pub use self::redis::RedisStore;
pub use self::{
    headers::Headers,
    meter::State,
    quota::Quota,
    service::{RateLimit, ResponseFuture, SharedFuture},
    shared::{OnStoreDown, Shared},
    store::{MemoryStore, Store, Take, Taken},
};

use self::core::{Config, Core, Place};
use crate::key::{ByPrincipal, One};
use std::{sync::Arc, time::Duration};

#[cfg(doc)]
use crate::rejection::Kind;

/// Applies [`RateLimit`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct RateLimitLayer<K = ByPrincipal, C = One, B = InProcess> {
    core: Arc<Core>,
    key: K,
    cost: C,
    buckets: B,
}

/// Where the buckets of a layer are: in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

/// What is done with a call that has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissingKey {
    /// All such calls share one bucket.
    #[default]
    Shared,
    /// It is refused with [`Kind::Unauthenticated`]: what is missing is a principal.
    Reject,
    /// It is refused with [`Kind::Forbidden`]: what is missing is something else.
    Forbid,
    /// It passes, and nothing is counted. Whoever can send a call without a key has no limit: of a
    /// [header](crate::key::ByHeader) it is enough to send two, or one that is not ASCII.
    Skip,
}

impl RateLimitLayer {
    /// One quota for each principal. At most 100,000 keys; calls without one share a bucket; all
    /// [`Headers`].
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::all([quota])
    }

    /// Several quotas, of which a call takes from all or from none. Without any, all calls pass.
    #[must_use]
    pub fn all(quotas: impl IntoIterator<Item = Quota>) -> Self {
        let core = Core::new(Config {
            quotas: quotas.into_iter().collect(),
            max_keys: 100_000,
            on_missing_key: OnMissingKey::default(),
            headers: Headers::default(),
            place: Place::Here,
        });
        Self {
            core,
            key: ByPrincipal,
            cost: One,
            buckets: InProcess,
        }
    }
}

impl<K, C, B> RateLimitLayer<K, C, B> {
    /// Sets in whose name calls are counted.
    #[must_use]
    pub fn key<T>(self, key: T) -> RateLimitLayer<T, C, B> {
        RateLimitLayer {
            core: Core::new(self.core.config.clone()),
            key,
            cost: self.cost,
            buckets: self.buckets,
        }
    }

    /// Sets how many units of the quota a call takes. By default one.
    ///
    /// With units that are not calls choose [`Headers::Ietf`], for the other headers speak of
    /// requests.
    #[must_use]
    pub fn cost<T>(self, cost: T) -> RateLimitLayer<K, T, B> {
        RateLimitLayer {
            core: Core::new(self.core.config.clone()),
            key: self.key,
            cost,
            buckets: self.buckets,
        }
    }

    /// Sets what is done with a call that has no key. By default they share one bucket.
    #[must_use]
    pub fn on_missing_key(self, on_missing_key: OnMissingKey) -> Self {
        self.set(|config| config.on_missing_key = on_missing_key)
    }

    /// Sets how many keys have a bucket of their own in this process. By default 100,000, of
    /// [so many bytes](self#what-it-keeps) each.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|config| config.max_keys = keys)
    }

    /// Sets which headers tell callers what is left. By default all.
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.set(|config| config.headers = headers)
    }

    /// How many keys have a bucket in this process now. For a gauge.
    #[must_use]
    pub fn tracked_keys(&self) -> usize {
        self.core.tracked()
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.core.config.clone();
        set(&mut config);
        self.core = Core::new(config);
        self
    }
}

impl<K, C> RateLimitLayer<K, C> {
    /// Keeps the buckets in a store that several processes share, under this name: all layers that use
    /// the name and the store count together. At most 64 characters of printable ASCII.
    ///
    /// The store is waited for 20 ms, and left alone for a second when it does not answer.
    #[must_use]
    pub fn shared(
        self,
        name: impl AsRef<str>,
        store: impl Store,
        on_store_down: OnStoreDown,
    ) -> RateLimitLayer<K, C, Shared> {
        let place = match on_store_down {
            OnStoreDown::LocalFallback { fraction } => Place::StandIn(fraction),
            OnStoreDown::Allow | OnStoreDown::Deny => Place::Elsewhere,
        };
        let Self {
            core, key, cost, ..
        } = self.set(|config| config.place = place);
        RateLimitLayer {
            core,
            key,
            cost,
            buckets: Shared::new(name.as_ref(), Arc::new(store), on_store_down),
        }
    }

    /// What there is to know of it. For gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            core: self.core.clone(),
            shared: None,
        }
    }
}

impl<K, C> RateLimitLayer<K, C, Shared> {
    /// Sets how long the store is waited for. By default 20 ms. With less than 10 ms Redis is not thought to
    /// be gone when it does not answer, and a connection to a machine that died lasts until TCP gives it up.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.buckets = self.buckets.patience(Some(timeout), None);
        self
    }

    /// Sets how long the store is left alone when it does not answer. By default a second, at most an
    /// hour.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.buckets = self.buckets.patience(None, Some(pause));
        self
    }

    /// What there is to know of it. For gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            core: self.core.clone(),
            shared: Some(self.buckets.clone()),
        }
    }
}

/// What there is to know of a limiter, for gauges: a handle, which tells what is so now.
///
/// ```
/// # #[cfg(feature = "metrics")] {
/// use tower_gateway::{metrics::Metrics, rate_limit::{Quota, RateLimitLayer}};
///
/// let layer = RateLimitLayer::new(Quota::per_minute(60));
/// let (metrics, stats) = (Metrics::new(), layer.stats());
/// metrics.gauge("api_limit_bytes", "Memory of the limit.", move || stats.bytes() as i64);
/// assert!(metrics.encode().contains("api_limit_bytes 0"));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stats {
    core: Arc<Core>,
    shared: Option<Shared>,
}

impl Stats {
    /// How many keys have a bucket in this process.
    #[must_use]
    pub fn tracked_keys(&self) -> usize {
        self.core.tracked()
    }

    /// How many bytes these take, about. It locks one part of them after the other.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.core.bytes()
    }

    /// How many refusals there would have been by quotas in [shadow mode](Quota::shadow).
    #[must_use]
    pub fn shadow_refusals(&self) -> u64 {
        self.core.shadow_refusals()
    }

    /// Whether the store is down, and calls are decided without it.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.shared.as_ref().is_some_and(Shared::is_degraded)
    }

    /// How many calls were decided without the store, because it did not answer.
    #[must_use]
    pub fn without_store(&self) -> u64 {
        self.shared.as_ref().map_or(0, Shared::without)
    }
}
