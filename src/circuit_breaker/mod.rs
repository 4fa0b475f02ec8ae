//! Stop calling a service that keeps failing.
//!
//! The breaker counts the failures among the last calls. When their share is too great it *opens*:
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
//! # Answers
//!
//! | circuit | status | code | headers |
//! |---|--:|---|---|
//! | closed, or half open with a probe left | the service's | | |
//! | open | 503 | `upstream_unavailable` | `Retry-After`: what is left of the cool-down |
//! | half open, all probes out | 503 | `upstream_unavailable` | |
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
//! circuit has not changed since.
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
//! # Cancellation
//!
//! A call dropped before it answers counts neither as success nor as failure, and a dropped probe
//! makes room for another; if it had already taken longer than a [slow
//! call](CircuitBreakerLayer::slow_calls) may, it counts as slow. An answer that the caller drops
//! half-way stays what its head was. A probe that hangs holds its place: put a
//! [timeout](crate::timeout) further in.
//!
//! # For operators
//!
//! Every change of [`State`] is an event of `tracing`, a warning when the circuit opens.
//! [`CircuitBreakerLayer::state`] tells it to a health check.

mod circuit;

use self::circuit::{Circuit, Config, Entry};
use crate::{
    Follow, Reject, Rejection,
    answer::{ByHealth, Classify, Outcome},
};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use crate::rejection::Kind;

/// Applies [`CircuitBreaker`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ByHealth> {
    shared: Shared,
    classify: C,
}

impl CircuitBreakerLayer {
    /// Opens for 30 seconds when 50 % of the last 100 calls have failed, but not before 20 calls
    /// were answered. Lets 10 probes through. Does not mind slow calls.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared::new(Config {
            failure_percent: 50,
            slow: None,
            window: 100,
            minimum_calls: 20,
            probes: 10,
            cool_down: Duration::from_secs(30),
        });
        let classify = ByHealth::default();
        Self { shared, classify }
    }
}

impl<C> CircuitBreakerLayer<C> {
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
        self.set(|config| config.window = calls.max(1).into())
    }

    /// Sets how many calls must have been answered before the circuit can open. More than the
    /// window is taken as the window.
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
        // The end of the cool-down must be an instant that the clock can tell.
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        self.set(|config| config.cool_down = cool_down.min(year))
    }

    /// Sets what counts as a failure: a closure `Fn(Result<&Res, &E>) -> Outcome`, or another
    /// [`Classify`].
    ///
    /// Over HTTP such a closure must name the type of the body, which depends on what stands further
    /// in: [`classify_status`](Self::classify_status) need not.
    #[must_use]
    pub fn classify<T>(self, classify: T) -> CircuitBreakerLayer<T> {
        let shared = Shared::new(self.shared.config());
        CircuitBreakerLayer { shared, classify }
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
    pub fn classify_status<F>(self, status: F) -> CircuitBreakerLayer<ByStatus<F>>
    where
        F: Fn(StatusCode) -> Outcome,
    {
        self.classify(ByStatus(status))
    }

    /// What the circuit does with calls just now. One that has cooled down is still open until the
    /// first probe.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().state()
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.shared.config();
        set(&mut config);
        self.shared = Shared::new(config);
        self
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker {
            inner,
            shared: self.shared.clone(),
            classify: self.classify.clone(),
        }
    }
}

impl<C> fmt::Debug for CircuitBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Turns calls away while the inner service keeps failing.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct CircuitBreaker<S, C = ByHealth> {
    inner: S,
    shared: Shared,
    classify: C,
}

impl<S, C, Req> Service<Req> for CircuitBreaker<S, C>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
    C: Classify<S::Response, S::Error> + Clone + Send + 'static,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    // An open circuit does not show here: an error from `poll_ready` means that the service is
    // dead for good, and `Pending` would hold the caller where it asked for a fast answer.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let call = match self.shared.admit() {
            Ok(permit) => Call::Admitted {
                future: self.inner.call(req),
                judge: Some((permit, self.classify.clone())),
            },
            Err(rejection) => Call::Refused {
                rejection: Some(rejection),
            },
        };
        ResponseFuture { call }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for CircuitBreaker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// Response future of [`CircuitBreaker`].
    pub struct ResponseFuture<F, C> {
        #[pin]
        call: Call<F, C>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<F, C> {
        Admitted {
            #[pin]
            future: F,
            judge: Option<(Permit, C)>,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

impl<F, C, Res, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E>,
    C: Classify<Res, E> + Send + 'static,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().call.project() {
            CallProj::Admitted { future, judge } => {
                let answer = ready!(future.poll(cx));
                let (mut permit, classify) = judge.take().expect("polled after completion");
                permit.record(classify.classify(answer.as_ref()));
                answer.map(|answer| {
                    answer.follow(move |end| {
                        if classify.judge_end(end) == Outcome::Failure {
                            permit.revise();
                        }
                    })
                })
            }
            CallProj::Refused { rejection } => {
                Res::Followed::reject(rejection.take().expect("polled after completion"))
            }
        })
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Judges HTTP answers by their status. See [`CircuitBreakerLayer::classify_status`].
#[derive(Clone, Copy)]
pub struct ByStatus<F>(F);

impl<B, E, F> Classify<Response<B>, E> for ByStatus<F>
where
    F: Fn(StatusCode) -> Outcome,
{
    fn classify(&self, answer: Result<&Response<B>, &E>) -> Outcome {
        let Ok(response) = answer else {
            return Outcome::Failure;
        };
        match response.extensions().get::<Rejection>() {
            Some(rejection) => rejection.into(),
            None => self.0(response.status()),
        }
    }
}

impl<F> fmt::Debug for ByStatus<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByStatus").finish_non_exhaustive()
    }
}

/// What a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Lets all through.
    Closed,
    /// Lets none through.
    Open,
    /// Lets probes through.
    HalfOpen,
}

/// The circuit, with a lock and a clock.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Circuit>>);

impl Shared {
    fn new(config: Config) -> Self {
        Self(Arc::new(Mutex::new(Circuit::new(config))))
    }

    fn config(&self) -> Config {
        self.lock().config()
    }

    fn admit(&self) -> Result<Permit, Rejection> {
        let since = Instant::now();
        let epoch = self.change(|circuit| circuit.admit(since))?;
        Ok(Permit {
            shared: self.clone(),
            epoch,
            since,
            answered: false,
            entry: None,
        })
    }

    /// Tells the log if the state is another than before, when the lock is free again.
    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.lock();
        let before = circuit.state();
        let result = change(&mut circuit);
        let after = circuit.state();
        drop(circuit);
        if before != after {
            match after {
                State::Open => tracing::warn!("circuit opened"),
                State::HalfOpen => tracing::info!("circuit is half open"),
                State::Closed => tracing::info!("circuit closed"),
            }
        }
        result
    }

    // Whoever panicked with the lock left a valid circuit: it is one after every statement.
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one call, which travels with its answer.
///
/// Settles exactly once: when the call is answered, or else on drop.
#[derive(Debug)]
struct Permit {
    shared: Shared,
    epoch: u64,
    since: Instant,
    answered: bool,
    entry: Option<Entry>,
}

impl Permit {
    fn record(&mut self, outcome: Outcome) {
        self.answered = true;
        let now = Instant::now();
        let (epoch, elapsed) = (self.epoch, now - self.since);
        self.entry = self
            .shared
            .change(|circuit| circuit.record(epoch, outcome, elapsed, now));
    }

    /// Makes a failure of what was recorded.
    fn revise(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared
                .change(|circuit| circuit.revise(entry, Instant::now()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.answered {
            let now = Instant::now();
            let (epoch, elapsed) = (self.epoch, now - self.since);
            self.shared
                .change(|circuit| circuit.abandon(epoch, elapsed, now));
        }
    }
}
