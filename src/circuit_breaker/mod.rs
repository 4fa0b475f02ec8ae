//! Stop calling a service that keeps failing.
//!
//! The breaker counts the failures among the last calls, or among those of the last
//! [seconds](CircuitBreakerLayer::time_window). When their share is too great it *opens*:
//! calls are refused with [`Kind::CircuitOpen`] and the service is left alone. After the cool-down
//! it is *half open*: a few calls are let through as probes, and by their outcomes it closes or
//! opens again.
//!
//! ```text
//!          too many failures                 cool-down over
//!  closed ───────────────────────▶ open ───────────────────────▶ half open
//!    ▲                               ▲                              │
//!    │      enough successes         │      too many failures       │
//!    └───────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! # Example
//!
//! One layer is enough: it answers for itself, and it leaves the error type as it was.
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use tower_gateway::circuit_breaker::CircuitBreakerLayer;
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/", get(|| async { StatusCode::BAD_GATEWAY }))
//!     .layer(CircuitBreakerLayer::new().minimum_calls(1));
//! # let get = || async { app.clone().oneshot(Request::new(Body::empty())).await.unwrap() };
//!
//! // The first call reaches the handler and fails. The second is refused without a call.
//! assert_eq!(get().await.status(), StatusCode::BAD_GATEWAY);
//! assert_eq!(get().await.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(get().await.headers()["retry-after"], "30");
//! # }
//! ```
//!
//! # Numbers
//!
//! | | [`new`](CircuitBreakerLayer::new) | [`gateway`](CircuitBreakerLayer::gateway) | [`resilience4j`](CircuitBreakerLayer::resilience4j) |
//! |---|--:|--:|--:|
//! | [window](CircuitBreakerLayer::window) | 100 calls | 10 seconds | 100 calls |
//! | [failures](CircuitBreakerLayer::failure_percent) | 50 % | 50 % | 50 % |
//! | [slow calls](CircuitBreakerLayer::slow_calls) | - | - | 100 % of 60 s |
//! | [not before so many calls](CircuitBreakerLayer::minimum_calls) | 20 | 20 | 100 |
//! | [cool-down](CircuitBreakerLayer::cool_down) | 30 s | 5 s | 60 s |
//! | [doubled while it fails](CircuitBreakerLayer::cool_down_up_to), up to | - | 60 s | - |
//! | [probes](CircuitBreakerLayer::probes) | 10 | 3 | 10 |
//! | [half open](CircuitBreakerLayer::half_open_for) for at most | - | - | - |
//!
//! The last calls tell soon of a service that is called often, and late of one that is not: a hundred calls
//! may be of yesterday. The last seconds forget, and by too few calls nothing is judged.
//!
//! # Answers
//!
//! | circuit | status | code | headers |
//! |---|--:|---|---|
//! | closed, or half open with a probe left | the service's | | |
//! | open | 503 | `upstream_unavailable` | `Retry-After`: what is left of the cool-down |
//! | half open, all probes out | 503 | `upstream_unavailable` | |
//! | forced open | 503 | `upstream_unavailable` | |
//!
//! Each refusal has a `Proxy-Status` (RFC 9209) of `destination_unavailable`, and says to whoever tries again
//! that only [another service](crate::answer::Remedy::Elsewhere) helps.
//!
//! **What if its store is down**: there is none. A circuit is of one process, and others find out for
//! themselves.
//!
//! # What counts
//!
//! Answers are judged by their own [`Health`](crate::Health), or by
//! [`classify_status`](CircuitBreakerLayer::classify_status), or by
//! [`classify`](CircuitBreakerLayer::classify). They count as soon as their head is there, and so
//! does their time. An answer that breaks off later, in the middle of its [body](Follow) or of its
//! stream, is revised: its success becomes a failure, as long as it is among the last calls and the
//! circuit has not changed since. In a window of seconds it stays in the second of its head.
//!
//! Trailers are not read. A gRPC failure stands in them, under the status 200, and so counts as a
//! success; only one that is answered by headers alone, with `grpc-status` among them, can be told by
//! [`classify`](CircuitBreakerLayer::classify).
//!
//! # What is shared
//!
//! The circuit belongs to the layer value. Every service that a layer or a clone of it wraps shares
//! one circuit, so make one layer for each upstream. The state is not made in [`Layer::layer`],
//! because a router may call that once for each route, or once for each request. Every setter
//! starts a fresh circuit, so a layer that was made from another shares nothing with it.
//!
//! With a [`key`](CircuitBreakerLayer::key) there is a circuit for each name: each model, each endpoint.
//! They are kept by a keyed hash, and no more than [`max_keys`](CircuitBreakerLayer::max_keys): those beyond
//! share one circuit, and so do calls without a key. One that nobody has used for ten
//! minutes, or [otherwise](CircuitBreakerLayer::idle), is forgotten, and begins anew as closed.
//!
//! # Cancellation
//!
//! A call dropped before it answers counts neither as success nor as failure, and a dropped probe
//! makes room for another; if it had already taken longer than a [slow
//! call](CircuitBreakerLayer::slow_calls) may, it counts as slow. An answer that the caller drops
//! half-way stays what its head was. A probe that hangs holds its place: put a
//! [timeout](crate::timeout) further in, or say for how long it may be
//! [half open](CircuitBreakerLayer::half_open_for).
//!
//! # For operators
//!
//! Every change of [`State`] is an event of `tracing`, a warning when the circuit opens, with the names of
//! the [circuit](CircuitBreakerLayer::name) and of its [key](CircuitBreakerLayer::key_name) if they have one. [`CircuitBreakerLayer::state`] tells it to
//! a health check. A [`CircuitBreakerHandle`] reads the [figures](Stats), waits for
//! [changes](CircuitBreakerHandle::changes), and [trips](CircuitBreakerHandle::trip),
//! [resets](CircuitBreakerHandle::reset), [disables](CircuitBreakerHandle::disable) or [holds
//! open](CircuitBreakerHandle::force_open). A gateway tells the figures of each of its circuits among its
//! metrics (`gateway_breaker_state` and others).

mod circuit;
mod handle;
mod keyed;
mod service;
mod shared;
mod stats;
mod window;

pub use self::{
    handle::{Change, Changes, CircuitBreakerHandle},
    service::{ByStatus, CircuitBreaker, ResponseFuture},
    stats::{State, Stats},
};

use self::{
    circuit::Config,
    handle::Teller,
    keyed::{Names, Room, Table},
    shared::{Circuits, Shared},
    window::Span,
};
use crate::{
    answer::{ByHealth, Outcome},
    key::Global,
};
use http::StatusCode;
use std::{any::Any, fmt, hash::Hash, sync::Arc, time::Duration};
use tower_layer::Layer;

#[cfg(doc)]
use crate::{Follow, Rejection, answer::Classify, rejection::Kind};

/// Applies [`CircuitBreaker`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ByHealth, K = Global> {
    settings: Settings,
    circuits: Circuits,
    classify: C,
    key: K,
}

#[derive(Clone, Debug)]
struct Settings {
    config: Config,
    room: Room,
    keyed: bool,
    name: Option<Arc<str>>,
    names: Option<Names>,
}

impl Settings {
    fn circuits(&self) -> Circuits {
        let teller = Teller::new(self.name.clone());
        match self.keyed {
            false => Circuits::One(Shared::new(self.config, teller)),
            true => {
                let (config, room, names) = (self.config, self.room, self.names.clone());
                Circuits::Keyed(Arc::new(Table::new(config, room, names, teller)))
            }
        }
    }
}

/// From here on a time is without end: its end must be an instant that the clock can tell.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl CircuitBreakerLayer {
    /// Opens for 30 seconds when 50 % of the last 100 calls have failed, but not before 20 calls
    /// were answered. Lets 10 probes through. Does not mind slow calls.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Config {
            failure_percent: 50,
            slow: None,
            window: Span::Calls(100),
            minimum_calls: 20,
            probes: 10,
            cool_down: Duration::from_secs(30),
            longest_cool_down: Duration::ZERO,
            half_open: None,
        })
    }

    /// With the numbers of Resilience4j: opens for 60 seconds when 50 % of the last 100 calls have failed, or all
    /// of them took 60 seconds, but not before 100 calls were answered. Lets 10 probes through.
    #[must_use]
    pub fn resilience4j() -> Self {
        Self::new()
            .slow_calls(Duration::from_secs(60), 100)
            .minimum_calls(100)
            .cool_down(Duration::from_secs(60))
    }

    /// For upstreams that are called often: opens when 50 % of the calls of the last 10 seconds have
    /// failed, but not for fewer than 20, for 5 seconds first, and twice as long each time that its 3 probes
    /// fail, up to 60.
    #[must_use]
    pub fn gateway() -> Self {
        Self::new()
            .time_window(10)
            .cool_down(Duration::from_secs(5))
            .cool_down_up_to(Duration::from_secs(60))
            .probes(3)
    }

    fn with(config: Config) -> Self {
        let settings = Settings {
            config,
            room: Room {
                most: 10_000,
                idle: Duration::from_secs(10 * 60),
            },
            keyed: false,
            name: None,
            names: None,
        };
        Self {
            circuits: settings.circuits(),
            settings,
            classify: ByHealth::default(),
            key: Global,
        }
    }
}

impl<C, K> CircuitBreakerLayer<C, K> {
    /// Sets which share of failures opens the circuit. Taken as from 1 to 100.
    #[must_use]
    pub fn failure_percent(self, percent: u8) -> Self {
        self.set(|config| config.failure_percent = percent.clamp(1, 100))
    }

    /// Sets how long a call takes that is slow, up to the head of its answer, and which share of
    /// slow calls opens the circuit. Taken as from 1 to 100.
    #[must_use]
    pub fn slow_calls(self, slow: Duration, percent: u8) -> Self {
        self.set(|config| config.slow = Some((slow, percent.clamp(1, 100))))
    }

    /// Sets how many of the last calls count. Zero is taken as one.
    #[must_use]
    pub fn window(self, calls: u16) -> Self {
        self.set(|config| config.window = Span::Calls(calls.max(1).into()))
    }

    /// Sets of how many of the last seconds the calls count, in place of the last so many. This second is the
    /// last of them, so that with 10 the calls of 9 to 10 seconds count. Taken as from 1 to 3600.
    #[must_use]
    pub fn time_window(self, seconds: u16) -> Self {
        let seconds = seconds.clamp(1, 3600).into();
        self.set(|config| config.window = Span::Seconds(seconds))
    }

    /// Sets how many calls must have been answered before the circuit can open. More than the
    /// [window](Self::window) is taken as the window.
    #[must_use]
    pub fn minimum_calls(self, calls: u16) -> Self {
        self.set(|config| config.minimum_calls = calls.into())
    }

    /// Sets how many calls a half-open circuit lets through. Zero is taken as one.
    #[must_use]
    pub fn probes(self, calls: u16) -> Self {
        self.set(|config| config.probes = calls.max(1).into())
    }

    /// Sets how long an open circuit waits before it lets probes through. At most a year.
    #[must_use]
    pub fn cool_down(self, cool_down: Duration) -> Self {
        self.set(|config| config.cool_down = cool_down.min(YEAR))
    }

    /// Doubles the [cool-down](Self::cool_down) each time that the circuit opens again without having closed,
    /// up to this, which is at most a year. Once it has closed it begins anew.
    #[must_use]
    pub fn cool_down_up_to(self, longest: Duration) -> Self {
        self.set(|config| config.longest_cool_down = longest.min(YEAR))
    }

    /// Sets how long the circuit may be half open. One whose probes were not all answered by then opens
    /// again, as if they had failed; it is looked at when the next call comes. Without it, and with
    /// zero, it waits for them.
    #[must_use]
    pub fn half_open_for(self, longest: Duration) -> Self {
        let longest = (!longest.is_zero()).then(|| longest.min(YEAR));
        self.set(|config| config.half_open = longest)
    }

    /// Sets what the circuit is called, in events and metrics.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self.fresh()
    }

    /// Keeps a circuit for each of these names: [`ByModel`](crate::llm::ByModel),
    /// [`ByRoute`](crate::key::ByRoute), a closure over the request.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt};
    /// use tower_gateway::{Body, circuit_breaker::CircuitBreakerLayer};
    /// # use http::{Request, Response, StatusCode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let layer = CircuitBreakerLayer::new()
    ///     .minimum_calls(1)
    ///     .key(|req: &Request<()>| req.uri().host().map(str::to_owned));
    /// let service = ServiceBuilder::new().layer(layer).service_fn(async |req: Request<()>| {
    ///     let mut answer = Response::new(Body::empty());
    ///     if req.uri().host() == Some("down") {
    ///         *answer.status_mut() = StatusCode::BAD_GATEWAY;
    ///     }
    ///     Ok::<_, Infallible>(answer)
    /// });
    /// # let get = |host| {
    /// #     let request = Request::get(format!("http://{host}/")).body(()).unwrap();
    /// #     let service = service.clone();
    /// #     async { service.oneshot(request).await.unwrap() }
    /// # };
    /// assert_eq!(get("down").await.status(), StatusCode::BAD_GATEWAY);
    /// assert_eq!(get("down").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    /// assert_eq!(get("up").await.status(), StatusCode::OK);
    /// # }
    /// ```
    #[must_use]
    pub fn key<L>(mut self, key: L) -> CircuitBreakerLayer<C, L> {
        self.settings.keyed = true;
        CircuitBreakerLayer {
            circuits: self.settings.circuits(),
            settings: self.settings,
            classify: self.classify,
            key,
        }
    }

    /// Sets what a key is called, in events and [changes](CircuitBreakerHandle::changes): a closure over the
    /// type that the [`Key`](crate::key::Key) makes, such as `Arc<str>` of [`ByModel`](crate::llm::ByModel);
    /// keys of another type have no name. Names are kept as they are, and written to the log: not for
    /// what is secret, or what callers choose.
    #[must_use]
    pub fn key_name<T: Any>(
        mut self,
        name: impl Fn(&T) -> Arc<str> + Send + Sync + 'static,
    ) -> Self {
        self.settings.names = Some(Names::new(name));
        self.fresh()
    }

    /// Sets for how many keys there is room: 10,000 by default. Those beyond share one circuit.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.settings.room.most = keys;
        self.fresh()
    }

    /// Sets after how long the circuit of a key is forgotten that nobody has used: ten minutes by default.
    /// Less than the longest cool-down is taken as that.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.settings.room.idle = idle;
        self.fresh()
    }

    /// Sets what counts as a failure: a closure `Fn(Result<&Res, &E>) -> Outcome`, or another
    /// [`Classify`].
    ///
    /// Over HTTP such a closure must name the type of the body, which depends on what stands further
    /// in: [`classify_status`](Self::classify_status) need not.
    #[must_use]
    pub fn classify<T>(self, classify: T) -> CircuitBreakerLayer<T, K> {
        CircuitBreakerLayer {
            circuits: self.settings.circuits(),
            settings: self.settings,
            classify,
            key: self.key,
        }
    }

    /// Sets which HTTP statuses count as failures, whatever the type of the body.
    ///
    /// A response that is the [`Rejection`] of a policy further in is not asked about: it counts as a
    /// failure if it blames the service. Errors of the service, and bodies that break off, always do.
    ///
    /// ```
    /// use tower_gateway::{answer::Outcome, circuit_breaker::CircuitBreakerLayer};
    /// # use axum::{Router, http::StatusCode};
    ///
    /// let layer = CircuitBreakerLayer::new().classify_status(|status| match status.as_u16() {
    ///     502..=504 => Outcome::Failure,
    ///     429 | 500 => Outcome::Neutral,
    ///     _ => Outcome::Success,
    /// });
    /// # let _: Router = Router::new().layer(layer);
    /// ```
    #[must_use]
    pub fn classify_status<F>(self, status: F) -> CircuitBreakerLayer<ByStatus<F>, K>
    where
        F: Fn(StatusCode) -> Outcome,
    {
        self.classify(ByStatus(status))
    }

    /// What the circuit does with calls just now. One that has cooled down is still open until the
    /// first probe. With a key, see [`Stats::state`].
    #[must_use]
    pub fn state(&self) -> State {
        self.circuits.stats().state()
    }

    /// A handle to watch the circuit, and to lay hands on it; with a key, all circuits.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle(self.circuits.clone())
    }

    /// A handle of the circuit of one key, of the type that the [`Key`](crate::key::Key) makes, such as
    /// `Arc<str>` of [`ByModel`](crate::llm::ByModel). As long as it is held the circuit is not forgotten.
    /// [Changes](CircuitBreakerHandle::changes) are those of all keys. Without a key it is
    /// [the](Self::handle) handle. `None`: there is [no room](Self::max_keys) for it, and it has none of its
    /// own.
    #[must_use]
    pub fn handle_of(&self, key: &(impl Hash + Any)) -> Option<CircuitBreakerHandle> {
        let own = self.circuits.own(key)?;
        Some(CircuitBreakerHandle(Circuits::One(own)))
    }

    /// What the circuit is [called](Self::name).
    #[must_use]
    pub fn called(&self) -> Option<&Arc<str>> {
        self.settings.name.as_ref()
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.settings.config);
        self.fresh()
    }

    fn fresh(mut self) -> Self {
        self.circuits = self.settings.circuits();
        self
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, C: Clone, K: Clone> Layer<S> for CircuitBreakerLayer<C, K> {
    type Service = CircuitBreaker<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker {
            inner,
            circuits: self.circuits.clone(),
            classify: self.classify.clone(),
            key: self.key.clone(),
        }
    }
}

impl<C, K> fmt::Debug for CircuitBreakerLayer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("settings", &self.settings)
            .field("circuits", &self.circuits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
