//! Ask another service when one has failed.
//!
//! A [`Fallback`] is a few services in an order, of one type. Each is asked when those before it have
//! failed, by the [`Remedy`] of their answers: it is down, overloaded, at its limit, or its circuit is
//! open. What the caller did wrong nobody else mends, and so that answer stands. [`FallbackLayer`] puts
//! one more service, of a type of its own, behind any other; [`AnswerLayer`] an answer that is always
//! there.
//!
//! ```text
//!  call ─▶ first ── failed, nothing shown ──▶ second ── failed ──▶ … ──▶ last
//!            │                                  │                         │
//!            └── begun: it is the answer ───────┴─────────────────────────┴── whatever it says
//! ```
//!
//! # Example
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use tower_gateway::{Body, fallback::{AnswerLayer, Fallback}};
//! # use axum::{body::Bytes, http::Request};
//! # use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Services of one type; those of several go into boxes.
//! let main: Router<()> = Router::new().route("/", get(|| async { StatusCode::BAD_GATEWAY }));
//! let spare: Router<()> = Router::new().route("/", get(|| async { "the spare" }));
//! let both = Fallback::new(main.clone()).or(spare);
//! # let get = || Request::new(Body::empty());
//! let answer = both.oneshot(get()).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//!
//! let sorry = AnswerLayer::new(StatusCode::SERVICE_UNAVAILABLE).body("We are looking into it.");
//! let app = main.layer(sorry);
//! assert_eq!(app.oneshot(get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
//! # }
//! ```
//!
//! # What falls over
//!
//! | answer | HTTP | chat |
//! |---|---|---|
//! | an error, and what a policy says of the service: timeout, bad gateway | yes | yes |
//! | a policy further in that refuses: open circuit, limit, drain | yes | yes |
//! | the service's own refusal for now | 429, 502, 503, 504 | rate limit, quota, overloaded, its credentials |
//! | not ready, or [nothing shown](Fallback::stall), in time | yes | yes |
//! | the caller's fault: 4xx, a bad request, a content filter | no | no |
//! | a conversation that is too long for the model | | by [`ByFault`](crate::llm::ByFault) |
//! | anything after it has begun | no | no |
//!
//! [`when`](Fallback::when) says otherwise: a closure over answers, or another [`When`].
//!
//! # Streams
//!
//! An answer is held back until it has [begun](Begin): HTTP with its head, chat with its first content.
//! One that breaks off or stalls before falls over, and the client sees nothing of it. One that breaks off
//! later ends with its error, as it is without this layer: nothing is said twice, and nobody else goes on
//! with what one has begun. The time between two pieces is for
//! [`TimeoutLayer::idle`](crate::timeout::TimeoutLayer::idle) further in, which counts from the first
//! piece to the last, held back or not.
//!
//! # How often
//!
//! One call for each service, and no more than the request's [`Deadline`] has attempts left: here one is
//! reserved for each service that was not asked, so that retries further in leave some. After the
//! deadline nobody else is asked.
//!
//! A request is asked again from a [copy](Reissue). One that is not idempotent (RFC 9110 §9.2.2: `POST`,
//! `PATCH`) falls over only when nothing of it was sent: the circuit was open, the service was not ready, no
//! connection was made. [`any_method`](Fallback::any_method) says otherwise. One whose body is larger than
//! [64 KiB](Fallback::body_limit), or does not say how large it is, streams to the first service and falls
//! over to none. Chat requests have a copy, but for files that are passed on as they come.
//!
//! # When all fail
//!
//! The answer of the last that was asked stands. Those before it were dropped, with the connections and
//! permits that they held, before the next was asked, and nothing could tell of them. Only errors are kept,
//! which hold nothing: where the last service was not even called (its circuit is open, it is at its
//! limit), the error of one that was says more, and stands in its place. `Retry-After` is the shortest time
//! that any of them named.
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | of one that has begun | the service's | | |
//! | of the last | the service's | | `Retry-After`: the shortest that was named |
//! | it stalled, and the deadline is over | 504 | `timeout` | |
//! | it was not ready, and the deadline is over | 503 | `overloaded` | |
//! | the request broke off while it was read | by why: 400 | | |
//!
//! **What if its store is down**: there is none.
//!
//! # Readiness
//!
//! It is always ready: whether one service is says nothing of a call that may go to another. For each call
//! a service is cloned, made ready and called. One that is not ready [in time](Fallback::ready_within)
//! counts as failed. The last one has all the time it takes, and is never taken for stalled: nobody is
//! left to ask.
//!
//! # What is shared
//!
//! Nothing but what the services share among their own clones.
//!
//! # Cancellation
//!
//! Who drops the call drops the one service that is just asked, and what was reserved is given back.
//!
//! # For operators
//!
//! Each time is an event of `tracing`: the number of the service that was left, counted from 1.

mod answer;
mod call;
mod one_of;

pub use self::{
    answer::{AnswerFuture, AnswerInstead, AnswerLayer},
    one_of::{OneOf, OneOfFuture},
};

pub use crate::{
    answer::{ByRemedy, When},
    reissue::ResponseFuture,
};

use crate::{
    Extensible, Health, Reject,
    answer::{Begin, Remedy},
    reissue::Reissue,
};
use http::{Response, StatusCode};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use crate::deadline::Deadline;

/// How long one is waited for, and what is kept.
#[derive(Clone, Copy, Debug)]
struct Rules {
    stall: Option<Duration>,
    ready: Duration,
    any_method: bool,
    body_limit: usize,
}

impl Rules {
    const DEFAULT: Self = Self {
        stall: Some(Duration::from_secs(300)),
        ready: Duration::from_secs(5),
        any_method: false,
        body_limit: 64 << 10,
    };
}

/// Services that stand for one another, in order.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Fallback<S, W = ByRemedy> {
    services: Arc<[S]>,
    rules: Rules,
    when: W,
}

impl<S> Fallback<S> {
    /// One service, and as yet no other. Each has 5 seconds to be ready and 300 seconds to
    /// show something, and a body of up to 64 KiB is kept for the next.
    #[must_use]
    pub fn new(first: S) -> Self {
        Self::of_parts(Arc::new([first]), Rules::DEFAULT)
    }

    fn of_parts(services: Arc<[S]>, rules: Rules) -> Self {
        Self {
            services,
            rules,
            when: ByRemedy,
        }
    }
}

impl<S: Clone, W> Fallback<S, W> {
    /// Adds one that is asked when those before it have failed.
    #[must_use]
    pub fn or(mut self, next: S) -> Self {
        self.services = self.services.iter().cloned().chain([next]).collect();
        self
    }
}

impl<S, W> Fallback<S, W> {
    /// The services, in their order.
    #[must_use]
    pub fn services(&self) -> &[S] {
        &self.services
    }

    fn judged_by<V>(self, when: V) -> Fallback<S, V> {
        Fallback {
            services: self.services,
            rules: self.rules,
            when,
        }
    }
}

macro_rules! setters {
    ($of:ident<$own:ident, $when:ident>) => {
        impl<$own, $when> $of<$own, $when> {
            /// Sets how long a service may take from its call to the first content of its answer (over
            /// HTTP: to the head), while there is another to ask; 300 seconds by default, and `None` is for ever.
            /// Comments and pings are no content.
            ///
            /// An answer in one piece has no content before it is whole, and a model may think for minutes:
            /// it was paid for when it is given up. Zero gives up whatever is not there at once.
            #[must_use]
            pub fn stall(mut self, limit: impl Into<Option<Duration>>) -> Self {
                self.rules.stall = limit.into();
                self
            }

            /// Sets how long a service may take to be ready, while there is another to ask: 5 seconds by
            /// default.
            #[must_use]
            pub fn ready_within(mut self, limit: Duration) -> Self {
                self.rules.ready = limit;
                self
            }

            /// Asks another also for what is not idempotent and was sent, so that it may be done twice.
            #[must_use]
            pub fn any_method(mut self) -> Self {
                self.rules.any_method = true;
                self
            }

            /// Sets how large a body may be that is kept for another service: 64 KiB by default. It is read
            /// whole before the first is asked; one that is larger, or does not say how large it is, is not
            /// read, and no other service is asked.
            #[must_use]
            pub fn body_limit(mut self, bytes: usize) -> Self {
                self.rules.body_limit = bytes;
                self
            }

            /// Sets when another service is asked: a closure `Fn(Result<&Res, &E>) -> Remedy`, or another
            /// [`When`]. What has stalled or was not ready is not asked about.
            ///
            /// Over HTTP such a closure must name the type of the body: [`when_status`](Self::when_status)
            /// need not.
            #[must_use]
            pub fn when<V>(self, when: V) -> $of<$own, V> {
                self.judged_by(when)
            }

            /// Sets after which HTTP statuses another service is asked, whatever the type of the body. A
            /// response that is the [`Rejection`](crate::Rejection) of a policy further in is judged by
            /// that, and errors of the service always fall over.
            #[must_use]
            pub fn when_status<F: Fn(StatusCode) -> bool>(
                self,
                status: F,
            ) -> $of<$own, ByStatus<F>> {
                self.judged_by(ByStatus(status))
            }
        }
    };
}

setters! { Fallback<S, W> }
setters! { FallbackLayer<U, W> }

impl<S, W, Req> Service<Req> for Fallback<S, W>
where
    S: Service<Req> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Health<S::Error> + Begin<S::Error> + Reject<S::Error> + Send + 'static,
    S::Error: Send + 'static,
    W: When<S::Response, S::Error> + Clone + Send + 'static,
    Req: Reissue + Extensible,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    // Whether one is ready says nothing of the call, which may go to another.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let (services, when) = (self.services.clone(), self.when.clone());
        ResponseFuture::new(call::run(services, self.rules, when, req))
    }
}

impl<S: fmt::Debug, W> fmt::Debug for Fallback<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("services", &self.services)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Puts another service behind one, of any type that answers with the same.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::get};
/// use tower_gateway::fallback::FallbackLayer;
/// # use axum::{body::Body, http::Request};
/// # use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let spare: Router = Router::new().route("/", get(|| async { "the spare" }));
/// let app: Router = Router::new()
///     .route("/", get(|| async { StatusCode::GATEWAY_TIMEOUT }))
///     .layer(FallbackLayer::new(spare).body_limit(1 << 20));
/// let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::OK);
/// # }
/// ```
#[derive(Clone)]
pub struct FallbackLayer<T, W = ByRemedy> {
    other: T,
    rules: Rules,
    when: W,
}

impl<T> FallbackLayer<T> {
    /// Asks `other` when the service has failed. The numbers are those of [`Fallback::new`].
    #[must_use]
    pub fn new(other: T) -> Self {
        Self {
            other,
            rules: Rules::DEFAULT,
            when: ByRemedy,
        }
    }
}

impl<T, W> FallbackLayer<T, W> {
    fn judged_by<V>(self, when: V) -> FallbackLayer<T, V> {
        FallbackLayer {
            other: self.other,
            rules: self.rules,
            when,
        }
    }
}

impl<S, T: Clone, W: Clone> Layer<S> for FallbackLayer<T, W> {
    type Service = Fallback<OneOf<S, T>, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let services = [OneOf::First(inner), OneOf::Other(self.other.clone())];
        Fallback::of_parts(Arc::new(services), self.rules).judged_by(self.when.clone())
    }
}

impl<T: fmt::Debug, W> fmt::Debug for FallbackLayer<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer")
            .field("other", &self.other)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// By the HTTP status. See [`Fallback::when_status`].
#[derive(Clone, Copy)]
pub struct ByStatus<F>(F);

impl<B, E: 'static, F: Fn(StatusCode) -> bool> When<Response<B>, E> for ByStatus<F> {
    fn remedy(&self, answer: Result<&Response<B>, &E>) -> Remedy {
        match answer {
            Ok(response) if response.extensions().get::<crate::Rejection>().is_none() => {
                match (self.0)(response.status()) {
                    true => Remedy::again(None),
                    false => Remedy::Nothing,
                }
            }
            answer => <Response<B> as Health<E>>::remedy(answer),
        }
    }
}

impl<F> fmt::Debug for ByStatus<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByStatus").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
