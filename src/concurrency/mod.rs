//! At most so many exchanges at once.
//!
//! An exchange lasts from the call to the last byte of its answer, or until either side drops it. One
//! too many is refused at once with [`Kind::Overloaded`], 503 over HTTP, or waits in a
//! [queue](ConcurrencyLayer::queue) that is bounded in length and in time.
//!
//! # Example
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use tower_gateway::concurrency::ConcurrencyLayer;
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let limit = ConcurrencyLayer::new(1);
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(limit.clone());
//! # let get = || async { app.clone().oneshot(Request::new(Body::empty())).await.unwrap() };
//!
//! // The head of the first answer is here, its body is not yet read.
//! let first = get().await;
//! assert_eq!(limit.available(), 0);
//!
//! let second = get().await;
//! assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert!(second.headers().contains_key("retry-after"));
//!
//! drop(first);
//! assert_eq!(get().await.status(), StatusCode::OK);
//! # }
//! ```
//!
//! # Who goes first
//!
//! Those who wait have a [`Priority`], which a [`Triage`] says: a closure over the request,
//! [`ByScope`], [`FromHeader`]. It is asked only where there is no room.
//!
//! 1. Of a higher and a lower priority the higher is served, and within one priority who came first.
//! 2. Of every [eight](ConcurrencyLayer::first_in_turn) that are served while several priorities wait, the
//!    eighth is the one that came first of all, whatever its priority. So nobody who came later is ever
//!    served before one of a higher priority, and nobody waits for ever behind those of a higher one who
//!    keep coming, as long as it is not displaced and its wait is not over.
//! 3. Where there is no place left, the one goes that would be served last: of the lowest priority who
//!    came last, be it the newcomer itself. Whoever goes is answered at once.
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt};
//! # use tower_gateway::{Body, BoxError};
//! use tower_gateway::concurrency::{ConcurrencyLayer, FromHeader, Priority, Reason};
//! # use http::{Request, Response};
//! # use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let limit = ConcurrencyLayer::new(1)
//!     .queue(1, Duration::from_secs(2))
//!     // Everyone may say `sheddable`, and those with this scope `critical`.
//!     .priority(FromHeader::new("x-priority").believed_with("priority:critical"));
//! # let service = ServiceBuilder::new().layer(limit.clone()).service_fn(async |_: Request<()>| {
//! #     Ok::<_, BoxError>(Response::new(Body::from("hello")))
//! # });
//! # let request = |said: &'static str| Request::builder().header("x-priority", said).body(()).unwrap();
//! let first = service.clone().oneshot(request("normal")).await?;
//! let batch = tokio::spawn(service.clone().oneshot(request("sheddable")));
//! # tokio::task::yield_now().await;
//! assert_eq!(limit.stats().waiting(Priority::Sheddable), 1);
//! let other = tokio::spawn(service.clone().oneshot(request("normal")));
//!
//! assert_eq!(batch.await??.status(), 503, "its place was needed");
//! drop(first);
//! assert_eq!(other.await??.status(), 200);
//! assert_eq!(limit.stats().shed(Reason::Displaced), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # When the queue stands
//!
//! A queue evens out bursts. If more come than are served for long, it only makes everybody wait, and the
//! longest of all for an answer that its caller may no longer want. With
//! [`controlled_delay`](ConcurrencyLayer::controlled_delay) a queue that was never empty for an interval
//! is taken for such a one: then the newest of a priority goes first, and nobody waits longer than a
//! target. That is the adaptive LIFO and the controlled delay of Facebook's "Fail at Scale" (Maurer, ACM
//! Queue 13(8), 2015), whose delay is CoDel's (RFC 8289) without its square root: a queue of requests has
//! the room, and each of those who wait can be answered. The least wait of an interval, by which CoDel
//! judges, says nothing once the newest go first, and so it is the queue's being empty that ends this.
//!
//! # A key
//!
//! With a [`key`](ConcurrencyLayer::key) the limit, and the queue, hold for each name by itself: each
//! principal, each route. Who is over its own share is answered with 429 `rate_limit_exceeded`, for others
//! are still served; [`refuse_with`](ConcurrencyLayer::refuse_with) says otherwise. Only keys that have an
//! exchange in flight or waiting are kept, by a keyed hash, and no more than
//! [`max_keys`](ConcurrencyLayer::max_keys): those beyond share one limit, and so do calls without a key.
//!
//! # A limit that finds itself
//!
//! [`ConcurrencyLayer::adaptive`] learns from the time between a call and the head of its answer:
//! [`Gradient`] as Envoy does, [`Aimd`] as TCP does. How long a stream lasts after its head tells nothing,
//! and is not looked at. Calls that wait for news by design, and health checks, are best
//! [excluded](Sampled). What failed, by [`classify`](ConcurrencyLayer::classify), is no sample to the one
//! and an overload to the other.
//!
//! # Answers
//!
//! | why | status | code | headers | [`Reason`] |
//! |---|--:|---|---|---|
//! | no room, and no place to wait | 503 | `overloaded` | `Retry-After` | `Full` |
//! | it gave its place to a higher priority | 503 | `overloaded` | `Retry-After` | `Displaced` |
//! | it waited as long as it may | 503 | `overloaded` | `Retry-After` | `Late` |
//! | it waited in a queue that stands | 503 | `overloaded` | `Retry-After` | `Delayed` |
//! | any of these, with a key | 429 | `rate_limit_exceeded` | `Retry-After` | |
//!
//! The type of the problem document is IANA's `temporary-reduced-capacity`, or `quota-exceeded`.
//! `Retry-After` is 1, 2 or 3 seconds in turn, so that those who were refused together do not come
//! back together.
//!
//! **What if its store is down**: it has none.
//!
//! # What is shared
//!
//! The permits belong to the layer value: every service that a layer or a clone of it wraps draws on
//! the same ones. They are not made in [`Layer::layer`], because a router may call that once for each
//! route, or once for each request. Every setter starts afresh, so a layer that was made from another
//! shares nothing with it.
//!
//! # Cancellation
//!
//! Whoever is dropped gives back what it had: a call its permit, one that waits its place in the
//! queue. What an answer was made of is dropped before its permit is free.
//!
//! A connection that was upgraded (101) has an answer without a body, so its permit is free while
//! the tunnel lives. Proxies and servers bound those by themselves.

mod adaptive;
mod future;
mod gate;
mod keyed;
mod priority;
mod queue;
mod stats;

pub use self::{
    adaptive::{AdaptiveLimit, Aimd, Gradient},
    future::ResponseFuture,
    priority::{AllNormal, ByScope, FromHeader, Priority, Sampled, Triage, UnknownPriority},
    stats::{Reason, Stats},
};

use self::{
    future::Call,
    gate::{Entry, Gate, Limit, MOST, Shared},
    keyed::{Held, Table},
    queue::{ControlledDelay, Rules},
    stats::Counts,
};
use crate::{
    Follow,
    answer::{Classify, Outcome},
    key::{Global, Key},
    rejection::Kind,
};
use std::{
    hash::{BuildHasher, RandomState},
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

/// Applies [`Concurrency`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer<T = AllNormal, K = Global, C = Unjudged> {
    config: Config,
    gates: Gates,
    triage: T,
    key: K,
    classify: C,
}

#[derive(Clone, Debug)]
struct Config {
    limit: Limit,
    rules: Rules,
    until_head: bool,
    refusal: Option<Kind>,
    keyed: bool,
    max_keys: usize,
}

impl Config {
    fn gates(&self) -> Gates {
        let refusal = match self.keyed {
            false => Kind::Overloaded,
            true => Kind::RateLimited,
        };
        let shared = Arc::new(Shared {
            limit: self.limit.clone(),
            rules: self.rules,
            until_head: self.until_head,
            refusal: self.refusal.unwrap_or(refusal),
            counts: Counts::default(),
        });
        match self.keyed {
            false => Gates::One(Arc::new(Gate::new(shared, None))),
            true => Gates::Keyed(Arc::new(Keyed {
                table: Arc::new(Table::new(shared, self.max_keys)),
                hasher: RandomState::new(),
            })),
        }
    }
}

impl ConcurrencyLayer {
    /// Lets `limit` exchanges in at once and refuses the rest without a queue. Zero lets nothing in.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with(Limit::Fixed((limit as u64).min(MOST)))
    }

    /// Lets in as many as the service can take, by what is learned from its answers: a [`Gradient`] or an
    /// [`Aimd`].
    ///
    /// What is learned from ends with the head of an answer, and so do the permits, as with
    /// [`until_head`](Self::until_head): streams that go on for long would leave no room for the few calls that
    /// a gradient probes with.
    #[must_use]
    pub fn adaptive(limit: impl Into<AdaptiveLimit>) -> Self {
        Self::with(Limit::Adaptive(limit.into())).until_head()
    }

    fn with(limit: Limit) -> Self {
        let config = Config {
            limit,
            rules: Rules {
                places: 0,
                max_wait: Duration::ZERO,
                first_every: 8,
                delay: None,
            },
            until_head: false,
            refusal: None,
            keyed: false,
            max_keys: 100_000,
        };
        Self {
            gates: config.gates(),
            config,
            triage: AllNormal,
            key: Global,
            classify: Unjudged,
        }
    }
}

impl<T, K, C> ConcurrencyLayer<T, K, C> {
    /// Lets `places` more calls wait, each no longer than `max_wait`, before they are refused. With a key,
    /// so many under each.
    ///
    /// A queue evens out bursts. It does not help against a load that stays too high, but for making
    /// everybody wait: keep it short, about as many places as permits, and `max_wait` below the
    /// patience of the callers.
    #[must_use]
    pub fn queue(self, places: usize, max_wait: Duration) -> Self {
        self.set(|config| {
            config.rules.places = places;
            config.rules.max_wait = max_wait;
        })
    }

    /// Sets what a queue does that was never empty for an `interval`: the newest of each priority go
    /// first, and nobody waits longer than `target`. Without it the order never changes.
    ///
    /// "Fail at Scale" found 5 ms and 100 ms to suit most services that answer within some milliseconds.
    /// Before a slower one a place in the queue takes longer to be worth anything: take about the time of
    /// an answer for the target, and a few of them for the interval.
    #[must_use]
    pub fn controlled_delay(self, target: Duration, interval: Duration) -> Self {
        let delay = Some(ControlledDelay { target, interval });
        self.set(|config| config.rules.delay = delay)
    }

    /// Sets who may go first of those who wait.
    #[must_use]
    pub fn priority<U>(self, triage: U) -> ConcurrencyLayer<U, K, C> {
        ConcurrencyLayer {
            gates: self.config.gates(),
            config: self.config,
            triage,
            key: self.key,
            classify: self.classify,
        }
    }

    /// Sets how often the one who came first of all is served before those of higher priorities: every so
    /// many turns for which several priorities wait, 8 by default. 1: always, so that priorities only say
    /// who is shed. 0: never, so that those of a low priority wait in vain while others keep coming.
    #[must_use]
    pub fn first_in_turn(self, every: u32) -> Self {
        self.set(|config| config.rules.first_every = every)
    }

    /// Holds the limit for each of these names by itself. Whoever is over it is answered with 429.
    #[must_use]
    pub fn key<L>(mut self, key: L) -> ConcurrencyLayer<T, L, C> {
        self.config.keyed = true;
        ConcurrencyLayer {
            gates: self.config.gates(),
            config: self.config,
            triage: self.triage,
            key,
            classify: self.classify,
        }
    }

    /// Sets for how many keys there is room at once: 100,000 by default. Those beyond share one limit.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|config| config.max_keys = keys)
    }

    /// Sets what an [adaptive](Self::adaptive) limit takes for a failure. By default every error is one,
    /// and no response is, whatever it says; [`ByHealth`](crate::answer::ByHealth) asks the response.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> ConcurrencyLayer<T, K, D> {
        ConcurrencyLayer {
            gates: self.config.gates(),
            config: self.config,
            triage: self.triage,
            key: self.key,
            classify,
        }
    }

    /// Lets go of a permit with the head of the answer, and not with its last byte: where it is the work
    /// before the head that is bounded, and streams cost little.
    #[must_use]
    pub fn until_head(self) -> Self {
        self.set(|config| config.until_head = true)
    }

    /// Sets what is answered: [`Kind::Overloaded`] by default, and with a key [`Kind::RateLimited`].
    #[must_use]
    pub fn refuse_with(self, kind: Kind) -> Self {
        self.set(|config| config.refusal = Some(kind))
    }

    /// How many more exchanges would be let in just now; with a key, of none in particular.
    #[must_use]
    pub fn available(&self) -> usize {
        let stats = self.stats();
        match self.gates {
            Gates::One(_) => stats.limit.saturating_sub(stats.in_flight),
            Gates::Keyed(_) => stats.limit,
        }
    }

    /// How many calls wait in the queue just now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.stats().waiting.iter().sum()
    }

    /// How things stand just now. With a key it looks at each that is in use: to be asked now and then.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        match &self.gates {
            Gates::One(gate) => gate.add_to(&mut stats),
            Gates::Keyed(keyed) => {
                keyed.table.each(|gate| gate.add_to(&mut stats));
                stats.keys = keyed.table.tracked();
            }
        }
        stats.shed = self.gates.shared().counts.read();
        stats
    }

    /// A handle of the same limit that knows nothing of its requests.
    #[cfg_attr(not(feature = "gateway"), allow(dead_code))]
    pub(crate) fn handle(&self) -> ConcurrencyLayer {
        ConcurrencyLayer {
            config: self.config.clone(),
            gates: self.gates.clone(),
            triage: AllNormal,
            key: Global,
            classify: Unjudged,
        }
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.config);
        self.gates = self.config.gates();
        self
    }
}

/// Whose limit it is.
#[derive(Clone, Debug)]
enum Gates {
    One(Arc<Gate>),
    Keyed(Arc<Keyed>),
}

#[derive(Debug)]
struct Keyed {
    table: Arc<Table>,
    hasher: RandomState,
}

impl Gates {
    fn shared(&self) -> &Shared {
        match self {
            Self::One(gate) => &gate.shared,
            Self::Keyed(keyed) => keyed.table.shared(),
        }
    }

    fn hold<Req, K: Key<Req>>(&self, key: &K, req: &Req) -> Held {
        match self {
            Self::One(gate) => Held::new(gate.clone()),
            Self::Keyed(keyed) => {
                let key = key.key(req);
                let key = key.map(|key| keyed.hasher.hash_one(key));
                keyed.table.hold(key)
            }
        }
    }
}

impl<S, T: Clone, K: Clone, C: Clone> Layer<S> for ConcurrencyLayer<T, K, C> {
    type Service = Concurrency<S, T, K, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency {
            inner,
            gates: self.gates.clone(),
            triage: self.triage.clone(),
            key: self.key.clone(),
            classify: self.classify.clone(),
        }
    }
}

/// Lets only so many exchanges in at once.
///
/// The inner service is cloned only for a call that waits.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Concurrency<S, T = AllNormal, K = Global, C = Unjudged> {
    inner: S,
    gates: Gates,
    triage: T,
    key: K,
    classify: C,
}

impl<S, T, K, C, Req> Service<Req> for Concurrency<S, T, K, C>
where
    S: Service<Req> + Clone,
    S::Response: Follow<S::Error>,
    T: Triage<Req>,
    K: Key<Req>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C>;

    // Who is refused hears it at once, so a lack of permits does not show here.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let held = self.gates.hold(&self.key, &req);
        let triage = &self.triage;
        let (priority, is_sample) = (|| triage.priority(&req), || triage.is_sample(&req));
        let call = match Gate::enter(held, priority, is_sample) {
            Entry::Permit(permit) => Call::Called {
                future: self.inner.call(req),
                permit: Some(permit),
            },
            Entry::Queue(wait) => {
                let clone = self.inner.clone();
                // The one that was made ready is the one to call.
                let ready = mem::replace(&mut self.inner, clone);
                Call::Waiting {
                    wait,
                    call: Some((ready, req)),
                    gates: self.gates.clone(),
                }
            }
            Entry::Refused(reason) => Call::Refused {
                rejection: Some(self.gates.shared().refuse(reason)),
            },
        };
        ResponseFuture::new(call, self.classify.clone())
    }
}

/// Takes every response for a success and every error for a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unjudged;

impl<Res, E> Classify<Res, E> for Unjudged {
    fn classify(&self, answer: Result<&Res, &E>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }
    }
}

#[cfg(test)]
mod tests;
