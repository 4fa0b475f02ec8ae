//! Let each caller use so much in so much time, and turn away what is more.
//!
//! Every key has a bucket, which a [`Quota`] fills evenly: 60 a minute are one a second, and after a
//! rest up to 60 at once (the generic cell rate algorithm, GCRA). A call takes its
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
//! `(ByPrincipal, |req: &ChatRequest| …)`.
//!
//! # Whose quota
//!
//! By default that of the [`Principal`](crate::Principal), so authentication stands further out. A
//! call without a key is [`OnMissingKey`]'s: by default all such calls share one bucket.
//!
//! Several quotas, such as 10 a second and 1,000 a day, go into one layer:
//! [`RateLimitLayer::all`]. A call takes from all of them or from none. Two layers, one around the
//! other, would charge the outer one for what the inner one refuses.
//!
//! # Answers
//!
//! | answer | status | code | `Retry-After` | beside it |
//! |---|--:|---|---|---|
//! | let in | the service's | | | the quota headers |
//! | the quota is used up | 429 | `rate_limit_exceeded` | whole seconds, rounded up, never 0 | the quota headers, `violated-policies` |
//! | costs more than a [`burst`](Quota::burst), or the quota is zero | 429 | `rate_limit_exceeded` | none: it never fits | the same, and `x-should-retry: false` |
//! | no key, with [`OnMissingKey::Reject`] | 401 | `missing_api_key` | | `WWW-Authenticate` |
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
//! # What is shared
//!
//! The buckets belong to the layer value. Every service that a layer or a clone of it wraps counts
//! with the same ones. They are not made in [`Layer::layer`], because a router may call that once
//! for each route, or once for each request. Every setter starts with fresh buckets.
//!
//! # What it keeps
//!
//! One time for each quota and key, under a keyed hash; never the key. Keys whose bucket is full
//! again are forgotten within a minute or so. There are at most 100,000
//! ([`max_keys`](RateLimitLayer::max_keys)); beyond that new keys share one bucket, which is neither
//! a free pass nor growth without bound. [`tracked_keys`](RateLimitLayer::tracked_keys) tells how
//! many there are.
//!
//! # Cancellation
//!
//! A call is charged when it is made, and stays charged if it is dropped. The service is called only
//! after.

mod gcra;
mod headers;
mod memory;
mod quota;
mod table;

pub use self::{headers::Headers, quota::Quota};

use self::{
    headers::Lines,
    memory::{Decided, Memory},
    table::Slot,
};
use crate::{
    Extensible, Reject, Rejection,
    key::{ByPrincipal, Cost, Key, One},
    rejection::Kind,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

/// Applies [`RateLimit`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct RateLimitLayer<K = ByPrincipal, C = One> {
    shared: Arc<Shared>,
    key: K,
    cost: C,
}

/// What is done with a call that has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissingKey {
    /// All such calls share one bucket.
    #[default]
    Shared,
    /// It is refused with [`Kind::Unauthenticated`].
    Reject,
    /// It passes, and nothing is counted.
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
        let shared = Shared::new(Config {
            quotas: quotas.into_iter().collect(),
            max_keys: 100_000,
            on_missing_key: OnMissingKey::default(),
            headers: Headers::default(),
        });
        Self {
            shared,
            key: ByPrincipal,
            cost: One,
        }
    }
}

impl<K, C> RateLimitLayer<K, C> {
    /// Sets in whose name calls are counted.
    #[must_use]
    pub fn key<T>(self, key: T) -> RateLimitLayer<T, C> {
        RateLimitLayer {
            shared: Shared::new(self.shared.config.clone()),
            key,
            cost: self.cost,
        }
    }

    /// Sets how many units of the quota a call takes. By default one.
    ///
    /// With units that are not calls choose [`Headers::Ietf`], for the other headers speak of
    /// requests.
    #[must_use]
    pub fn cost<T>(self, cost: T) -> RateLimitLayer<K, T> {
        RateLimitLayer {
            shared: Shared::new(self.shared.config.clone()),
            key: self.key,
            cost,
        }
    }

    /// Sets what is done with a call that has no key. By default they share one bucket.
    #[must_use]
    pub fn on_missing_key(self, on_missing_key: OnMissingKey) -> Self {
        self.set(|config| config.on_missing_key = on_missing_key)
    }

    /// Sets how many keys have a bucket of their own. By default 100,000, of 50 to 150 bytes each.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|config| config.max_keys = keys)
    }

    /// Sets which headers tell callers what is left. By default all.
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.set(|config| config.headers = headers)
    }

    /// How many keys have a bucket now. For a gauge.
    #[must_use]
    pub fn tracked_keys(&self) -> usize {
        self.shared.memory.tracked()
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.shared.config.clone();
        set(&mut config);
        self.shared = Shared::new(config);
        self
    }
}

impl<S, K: Clone, C: Clone> Layer<S> for RateLimitLayer<K, C> {
    type Service = RateLimit<S, K, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            inner,
            layer: self.clone(),
        }
    }
}

/// Turns away calls for which the quota of their key does not suffice.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct RateLimit<S, K = ByPrincipal, C = One> {
    inner: S,
    layer: RateLimitLayer<K, C>,
}

impl<S, K, C, Req> Service<Req> for RateLimit<S, K, C>
where
    S: Service<Req>,
    S::Response: Reject<S::Error> + Extensible,
    K: Key<Req>,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    // A quota that is used up does not show here: it is another one for every caller.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let RateLimitLayer { shared, key, cost } = &self.layer;
        let told = match shared.take(key.key(&req).as_ref(), || cost.cost(&req)) {
            Ok(told) => told,
            Err(rejection) => {
                let rejection = Some(rejection);
                let state = State::Rejected { rejection };
                return ResponseFuture { state };
            }
        };
        let told = told.map(|decided| (shared.clone(), decided));
        let future = self.inner.call(req);
        let state = State::Called { future, told };
        ResponseFuture { state }
    }
}

pin_project! {
    /// Response future of [`RateLimit`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            told: Option<(Arc<Shared>, Decided)>,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Reject<E> + Extensible,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProj::Called { future, told } => {
                let mut answer = ready!(future.poll(cx));
                if let (Ok(response), Some((shared, decided))) = (&mut answer, told.take()) {
                    let headers = response.headers_mut();
                    shared.lines.write(decided.as_slice(), headers);
                }
                answer
            }
            StateProj::Rejected { rejection } => {
                Res::reject(rejection.take().expect("polled after completion"))
            }
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Config {
    quotas: Arc<[Quota]>,
    max_keys: usize,
    on_missing_key: OnMissingKey,
    headers: Headers,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    lines: Lines,
    hasher: RandomState,
    memory: Memory,
}

impl Shared {
    fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            lines: Lines::new(config.headers, &config.quotas),
            hasher: RandomState::new(),
            memory: Memory::new(&config.quotas, config.max_keys),
            config,
        })
    }

    /// Takes what a call costs. What is left, if the caller shall be told.
    fn take<K: std::hash::Hash>(
        &self,
        key: Option<&K>,
        cost: impl FnOnce() -> u64,
    ) -> Result<Option<Decided>, Rejection> {
        let slot = match (key, self.config.on_missing_key) {
            _ if self.config.quotas.is_empty() => return Ok(None),
            (Some(key), _) => Slot::Named(self.hasher.hash_one(key)),
            (None, OnMissingKey::Shared) => Slot::Nameless,
            (None, OnMissingKey::Skip) => return Ok(None),
            (None, OnMissingKey::Reject) => {
                // Every 401 must name a scheme (RFC 9110 §15.5.2).
                return Err(Rejection::new(Kind::Unauthenticated)
                    .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
        };
        let decided = self.memory.take(slot, cost());
        if decided.as_slice().iter().all(|decision| decision.allowed) {
            return Ok(Some(decided).filter(|_| !self.lines.silent()));
        }
        Err(self.refuse(&decided))
    }

    fn refuse(&self, decided: &Decided) -> Rejection {
        let decisions = decided.as_slice();
        let mut rejection = Rejection::new(Kind::RateLimited);
        let mut wait = Some(Duration::ZERO);
        for (quota, decision) in self.config.quotas.iter().zip(decisions) {
            if !decision.allowed {
                rejection = rejection.with_violated_policy(quota.label());
                let this = decision.retry_after.map(Duration::from_micros);
                wait = wait.zip(this).map(|(all, this)| all.max(this));
            }
        }
        let mut headers = HeaderMap::new();
        self.lines.write(decisions, &mut headers);
        for (name, value) in &headers {
            rejection = rejection.with_header(name.clone(), value.clone());
        }
        match wait {
            // Never 0: a caller that comes back at once is only turned away again.
            Some(wait) => rejection.with_retry_after(wait.max(Duration::from_micros(1))),
            None => rejection
                .with_detail("The call takes more than the quota ever holds.")
                .with_header(
                    HeaderName::from_static("x-should-retry"),
                    HeaderValue::from_static("false"),
                ),
        }
    }
}
