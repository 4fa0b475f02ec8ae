//! Asking again, where that may help and does no harm.
//!
//! ```text
//!  call ──▶ attempt ──▶ failed ──▶ wait ──▶ attempt ──▶ begun ──▶ the caller's, for good
//!               ▲                   │
//!               │   may it help?    │  the answer's remedy, or your condition
//!               │   may it be sent? │  idempotent, or the service has not seen it
//!               │   is there time?  │  the deadline of the exchange
//!               └── may we? ────────┘  the budgets of the exchange and of the service
//! ```
//!
//! # Example
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower_gateway::retry::RetryLayer;
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! /// Fails each time but the third.
//! async fn moody() -> StatusCode {
//!     match CALLS.fetch_add(1, Ordering::Relaxed) {
//!         2 => StatusCode::OK,
//!         _ => StatusCode::SERVICE_UNAVAILABLE,
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # tokio::time::pause();
//! let retry = RetryLayer::new();
//! let app: Router = Router::new().route("/", get(moody).post(moody)).layer(retry.clone());
//! # let call = |method: &str| {
//! #     let request = Request::builder().method(method).body(Body::empty()).unwrap();
//! #     let app = app.clone();
//! #     async { app.oneshot(request).await.unwrap() }
//! # };
//!
//! assert_eq!(call("GET").await.status(), StatusCode::OK);
//! assert_eq!(retry.stats().retries(), 2);
//! // What may have been done is not done twice.
//! assert_eq!(call("POST").await.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(retry.stats().retries(), 2);
//! # }
//! ```
//!
//! # Which answers
//!
//! By default the answer itself says [what would mend it](crate::Health::remedy). Over HTTP 429, 502, 503,
//! 504 and the lack of an answer are worth another attempt, of a language model whatever is neither the
//! caller's fault nor that of an account. [`On`] is a set of conditions for HTTP by name, and a closure is a
//! condition of your own. Where only [another service](Remedy::Elsewhere) may do better, an open circuit
//! among others, the answer stands, unless the service further in chooses among
//! [several](RetryLayer::elsewhere).
//!
//! # Which requests
//!
//! Those that are idempotent, RFC 9110 §9.2.2: `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE`, and
//! calls of a language model, which change nothing but the bill. All others only if the service certainly
//! has not seen them: there was no connection, an HTTP/2 server says that it has not looked
//! (`REFUSED_STREAM`, `GOAWAY`), or a policy further in did not let them through. With
//! [`idempotency_keys`](RetryLayer::idempotency_keys) also those that have an `Idempotency-Key`.
//!
//! What is to be sent again must be kept. Whether it is, is decided beforehand: a body that does not say
//! how large it is, or says more than [64 KiB](RetryLayer::body_limit), stays a stream and is sent once. One
//! that is kept is read before the first attempt, and loses its trailers. Requests for an upgrade are sent
//! once. gRPC over HTTP/2 mostly does not say how large its messages are.
//!
//! Where a connection that had been idle turns out to be closed, the [`client`](crate::client) itself asks
//! once more. That is no attempt in the sense of this module.
//!
//! # Waits
//!
//! Before the nth further attempt a random time from [0, (2ⁿ − 1) · 25 ms), below 250 ms: full jitter, as
//! Envoy has it. If the service asks to be left alone for a while (`Retry-After`, or the reset that a
//! vendor names) that comes before it. If that is more than [10 seconds](RetryLayer::longest_wait), or
//! reaches beyond the [deadline](crate::deadline) of the exchange, the answer stands.
//!
//! # Two budgets
//!
//! Further attempts are limited twice. Those of one exchange by its [`Deadline`], which all layers that
//! try again draw on: so they never multiply. Those of all exchanges by a [`Budget`], so that a service
//! that fails is not asked three times as often as one that does not. An attempt that either denies is
//! counted in [`stats`](RetryLayer::stats) and told to the log, and the answer stands.
//!
//! # Streams
//!
//! An answer is the caller's when it [has begun](crate::answer::Begin): over HTTP with its head, of a
//! language model with its first content, up to which it is held back. What breaks off before is asked
//! again; what breaks off later never is, and nothing is said twice. A request that is sent once is not
//! held back. The answer that failed is dropped before the wait for the next attempt, with its permits.
//!
//! # Answers
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | of the last attempt | the service's | | |
//! | the body of the request broke off while it was read | 400, or what its error says | `invalid_request` | |
//!
//! **What if its store is down**: there is none. A budget is of one process.
//!
//! # Order
//!
//! Outside of breaker, concurrency limit and timeout, each of which then sees single attempts: a probe of a
//! half-open circuit is one call. Inside of what decides once for all attempts: rate limits, caches,
//! fallback, and the [`DeadlineLayer`](crate::deadline::DeadlineLayer).
//!
//! Each attempt at a language model may be billed, also one that failed. How many there were stands in
//! [`Exchange`](crate::Exchange), and in logs and metrics.
//!
//! # What is shared
//!
//! Budget and counts belong to the layer value: its clones, and all services that they wrap, have them in
//! common. Every setter starts fresh ones, but a budget that was [given](RetryLayer::budget) stays.
//!
//! # Cancellation
//!
//! To drop the future drops the attempt, or ends the wait. Its place in the budget is free at once.

mod attempts;
mod backoff;
mod stats;
mod when;

pub use self::{stats::Stats, when::On};
pub use crate::{
    answer::{ByRemedy, When},
    reissue::ResponseFuture,
};

use self::{attempts::attempts, backoff::Backoff, stats::Counts};
use crate::{Extensible, Health, Reject, answer::Begin, deadline::Budget, reissue::Reissue};
use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use crate::{answer::Remedy, deadline::Deadline};

/// Applies [`Retry`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct RetryLayer<W = ByRemedy> {
    policy: Arc<Policy>,
    /// Whether the budget was given.
    given: bool,
    when: W,
}

#[derive(Debug)]
struct Policy {
    config: Config,
    budget: Option<Budget>,
    counts: Counts,
}

#[derive(Clone, Debug)]
struct Config {
    retries: u32,
    backoff: Backoff,
    longest_wait: Duration,
    body_limit: usize,
    idempotency_keys: bool,
    assume_idempotent: bool,
    elsewhere: bool,
    attempt_header: bool,
}

impl RetryLayer {
    /// Asks again twice at most, after up to 25 and 75 milliseconds, if the answer's own
    /// [remedy](crate::Health::remedy) is to ask again. Waits at most 10 seconds where the service asks
    /// for it. Keeps bodies of up to 64 KiB. The budget is [`Budget::rate`]: 20 % of the calls of the last
    /// 10 seconds, and 10 a second beside.
    #[must_use]
    pub fn new() -> Self {
        let config = Config {
            retries: 2,
            backoff: Backoff {
                base: Duration::from_millis(25),
                cap: Duration::from_millis(250),
            },
            longest_wait: Duration::from_secs(10),
            body_limit: 64 * 1024,
            idempotency_keys: false,
            assume_idempotent: false,
            elsewhere: false,
            attempt_header: false,
        };
        Self {
            policy: Arc::new(Policy {
                config,
                budget: Some(Budget::rate()),
                counts: Counts::default(),
            }),
            given: false,
            when: ByRemedy,
        }
    }
}

impl<W> RetryLayer<W> {
    /// Sets how often it is asked again, at most. With zero never.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        self.set(|config| config.retries = retries)
    }

    /// Sets which answers are worth another attempt: a closure `Fn(Result<&Res, &E>) -> Remedy`, a set of
    /// conditions [`On`] HTTP, or another [`When`].
    #[must_use]
    pub fn when<T>(self, when: T) -> RetryLayer<T> {
        let RetryLayer { policy, given, .. } = self.set(|_| ());
        RetryLayer {
            policy,
            given,
            when,
        }
    }

    /// Sets the time that the random waits are made of, and the most that they may come to. By default
    /// 25 ms, and ten times that.
    #[must_use]
    pub fn backoff(self, base: Duration, cap: Duration) -> Self {
        self.set(|config| config.backoff = Backoff { base, cap })
    }

    /// Sets for how long it is waited at most where the service asks for it. After an answer that asks for
    /// more nobody asks again. 10 seconds by default.
    #[must_use]
    pub fn longest_wait(self, longest: Duration) -> Self {
        self.set(|config| config.longest_wait = longest)
    }

    /// Sets how large a body may be that is kept, in bytes. 64 KiB by default.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|config| config.body_limit = bytes)
    }

    /// Sends again also what is not idempotent, if it has an `Idempotency-Key`. For services that are known
    /// to heed it; to others it is a header like any other.
    #[must_use]
    pub fn idempotency_keys(self) -> Self {
        self.set(|config| config.idempotency_keys = true)
    }

    /// Takes every request for idempotent, whatever its method. For services that are known to be so, such
    /// as many of gRPC's.
    #[must_use]
    pub fn assume_idempotent(self) -> Self {
        self.set(|config| config.assume_idempotent = true)
    }

    /// Asks again also where only [another](Remedy::Elsewhere) service may do better, and does not wait
    /// for as long as one asked to be left alone. For a service that chooses among several each time,
    /// such as a balancer.
    #[must_use]
    pub fn elsewhere(self) -> Self {
        self.set(|config| config.elsewhere = true)
    }

    /// Tells the service which attempt it is: `x-gateway-attempt-count`, from 1. What a caller sent under
    /// this name is replaced.
    #[must_use]
    pub fn attempt_header(self) -> Self {
        self.set(|config| config.attempt_header = true)
    }

    /// Sets how much may be asked again all in all, or `None`: no limit but that of each exchange. Give
    /// layers around one service one budget.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<Option<Budget>>) -> Self {
        self.given = true;
        self.policy = Arc::new(Policy {
            config: self.policy.config.clone(),
            budget: budget.into(),
            counts: Counts::default(),
        });
        self
    }

    /// What was asked again, and what was not, up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.policy.counts.stats()
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.policy.config.clone();
        set(&mut config);
        let budget = self.policy.budget.as_ref();
        let budget = budget.map(|budget| {
            if self.given {
                budget.clone()
            } else {
                budget.fresh()
            }
        });
        self.policy = Arc::new(Policy {
            config,
            budget,
            counts: Counts::default(),
        });
        self
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, W: Clone> Layer<S> for RetryLayer<W> {
    type Service = Retry<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry {
            inner,
            policy: self.policy.clone(),
            when: self.when.clone(),
        }
    }
}

impl<W> fmt::Debug for RetryLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Asks the inner service again.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Retry<S, W = ByRemedy> {
    inner: S,
    policy: Arc<Policy>,
    when: W,
}

impl<S, W, Req> Service<Req> for Retry<S, W>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Health<S::Error> + Begin<S::Error> + Reject<S::Error> + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    W: When<S::Response, S::Error> + Clone + Send + 'static,
    Req: Reissue + Extensible,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        // The clone has not been made ready.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let (policy, when) = (self.policy.clone(), self.when.clone());
        ResponseFuture::new(attempts(inner, req, policy, when))
    }
}

impl<S: fmt::Debug, W> fmt::Debug for Retry<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
