//! Spread calls over many endpoints.
//!
//! A [`Balance`] is a service over a set of [`Endpoints`], each of which is a service of its own: for each
//! call it takes one, by a [`Strategy`], out of those that are well. The set lives: endpoints come and go,
//! rest, fail and come back, while calls are out.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceExt, service_fn};
//! use tower_gateway::{Body, balance::{Balance, Endpoint, Endpoints, Strategy}};
//! # use std::convert::Infallible;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let upstream = |name: &'static str| {
//!     service_fn(move |_: Request<Body>| async move {
//!         Ok::<_, Infallible>(Response::new(Body::from(name)))
//!     })
//! };
//! let endpoints = Endpoints::new(Strategy::SmoothWeighted);
//! endpoints.insert(Endpoint::new("a").weight(2), upstream("a"));
//! endpoints.insert("b", upstream("b"));
//!
//! let balance = Balance::new(endpoints.clone());
//! # let get = || async {
//! #     let answer = balance.clone().oneshot(Request::new(Body::empty())).await.unwrap();
//! #     let status = answer.status();
//! #     let text = tower_gateway::collect(answer.into_body(), 999).await.unwrap();
//! #     (status.as_u16(), String::from_utf8_lossy(&text).into_owned())
//! # };
//! let mut answers = String::new();
//! for _ in 0..6 {
//!     answers += &get().await.1;
//! }
//! assert_eq!(answers, "abaaba");
//!
//! // No more calls for one that is drained, and none for anybody when nobody is left.
//! endpoints.drain("a");
//! assert_eq!(get().await.1, "b");
//! endpoints.remove("b");
//! assert_eq!(get().await.0, 503);
//! assert_eq!(endpoints.status("a").unwrap().calls, 4);
//! # }
//! ```
//!
//! The request type is free, so the same service stands before language models. What knows nothing of
//! attempts, such as a bare `String`, is balanced with [`forgetful`](Balance::forgetful).
//!
//! # Who is taken
//!
//! 1. A priority. All calls go to the endpoints of priority 0, as long as 1.4 times those that are well are
//!    not fewer than all of them; what they cannot take overflows to the next priority.
//! 2. Of that priority an endpoint that is well, by the [`Strategy`]. When less than half are well, and the
//!    other priorities cannot help, health is ignored rather than to have a few carry everything: they
//!    would fail next.
//! 3. A call that comes again, by a retry, a hedge or a fallback further out, goes to another endpoint than
//!    those it was sent to before, as its [`Deadline`] remembers them: three
//!    more picks, then whoever was not tried, if need be of another priority; and if all were tried, any.
//!
//! [`Rules`] set all of these numbers.
//!
//! # Who is well
//!
//! | [`State`] | why | until |
//! |---|---|---|
//! | `Up` | | |
//! | `Resting` | it asked to be left alone: a 429 or a 503 with a time ([`Remedy`](crate::answer::Remedy)) | that time, at most [an hour](Rules::longest_rest) |
//! | `Resting` | it refused without a time: a 429, or what a breaker or a limit inside of it refused | a second |
//! | `Ejected` | it failed five times in a row, or more than the others do: [`Outlier`] | 30 s, then longer, at most 300 s; or its next good check |
//! | `Ejected` | [somebody took it out](Endpoints::eject) | somebody says otherwise |
//! | `Unhealthy` | three [checks](Endpoints::check) in a row were bad | two are good |
//! | `Draining` | [somebody said so](Endpoints::drain) | somebody says otherwise |
//!
//! Whoever rests is not called even when health is ignored, unless all endpoints of all priorities rest:
//! then there is nothing to lose. Whom somebody took out, or drains, is never called. Faults on the way
//! (refused, reset, too late) and failures that are an endpoint's own answers are counted apart.
//!
//! Answers are judged by their own [`Health`](crate::Health), or by a [`Judge`]. A failure counts with the
//! head, a success with the end of the answer, so that a stream that breaks off is a failure. What a caller
//! breaks off is neither. How long an answer took is measured to its head.
//!
//! # Where endpoints come from
//!
//! From code, by the handle: [`Endpoints`]. From elsewhere by a task that feeds it: a file, DNS, or a
//! stream, see [`discover`].
//!
//! # Answers
//!
//! | why | status | code | headers |
//! |---|--:|---|---|
//! | an endpoint was taken | the endpoint's | | |
//! | there is nobody | 503 | `upstream_unavailable` | `Proxy-Status: tower-gateway; error=destination_unavailable` |
//!
//! **What if its store is down**: it has none. Where endpoints come from may be down: the last set that was
//! good stays.
//!
//! # What is shared
//!
//! Everything belongs to the [`Endpoints`], which all balancers that are made of it or of its clones share.
//! A router may clone a balancer for each request. Each call clones the service of its endpoint, makes the
//! clone ready and calls it: what must be shared among calls, a connection pool or a limit, must be shared
//! among clones of that service.
//!
//! A balancer is always ready: whether the endpoint that a call will be given is, nobody knows before.
//! A call that waits for its endpoint to be ready counts among those that are out there.
//!
//! # Cancellation
//!
//! Whatever is dropped, and wherever it waits, is not counted any more: calls, and answers half-way. What
//! the call held is dropped before. A call that is dropped before its head says nothing of its endpoint's
//! health, and of its speed only that it took so long at least. One that never answered a call, and was not
//! waited for twice, counts for no faster than the slowest of the others.
//!
//! # For operators
//!
//! [`Endpoints::statuses`] tells all that is known of each endpoint, and why one is out;
//! [`Endpoints::eject`], [`rest`](Endpoints::rest) and their like set it. Changes of [`State`] are events of
//! `tracing`; taking an endpoint out is a warning.
//!
//! Nothing runs in the background but what [`check`](Endpoints::check) and [`discover`] return, which end
//! when the last handle and the last balancer are dropped. What is due by the clock is done by the next call
//! that comes, or whoever looks.

mod check;
mod condition;
pub mod discover;
mod endpoint;
mod future;
mod handle;
mod outlier;
pub mod pick;
mod rules;
mod set;
mod verdict;
mod view;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use self::{
    check::Checks,
    condition::{State, Status},
    endpoint::Endpoint,
    future::ResponseFuture,
    handle::{Endpoints, Watcher},
    outlier::{Cause, Outlier},
    pick::SlowStart,
    rules::{Rules, Strategy},
    verdict::{Judge, Verdict},
};

use self::{future::Call, view::View};
use crate::{
    Extensible, Follow, Rejection,
    answer::ByHealth,
    deadline::{Deadline, Tried},
    key::{Global, Key},
    rejection::Kind,
};
use http::{HeaderName, HeaderValue};
use std::{
    fmt,
    sync::Weak,
    task::{Context, Poll},
    time::Duration,
};
use tower_service::Service;

/// The longest of all times that can be set. Their ends must be instants that the clock can tell.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Gives each call to one of a set of endpoints.
///
/// See the [module docs](self) for an example.
pub struct Balance<S, K = Global, J = ByHealth, M = ByDeadline> {
    endpoints: Endpoints<S>,
    /// What was used last. It keeps nothing alive: whoever left the set may be held by nobody else.
    view: Weak<View<S>>,
    key: K,
    judge: J,
    memory: M,
}

impl<S> Balance<S> {
    /// Spreads calls over these.
    #[must_use]
    pub fn new(endpoints: Endpoints<S>) -> Self {
        Self {
            endpoints,
            view: Weak::new(),
            key: Global,
            judge: ByHealth::default(),
            memory: ByDeadline,
        }
    }
}

impl<S, K, J, M> Balance<S, K, J, M> {
    /// Sets by what [`Strategy::RingHash`] tells calls apart: the client's address, the principal, a header,
    /// a conversation. By default all are of one key. Other strategies do not look at it.
    #[must_use]
    pub fn key<L>(self, key: L) -> Balance<S, L, J, M> {
        Balance {
            endpoints: self.endpoints,
            view: self.view,
            key,
            judge: self.judge,
            memory: self.memory,
        }
    }

    /// Sets what an answer says of its endpoint: a closure `Fn(Result<&Res, &E>) -> Verdict`, or another
    /// [`Judge`].
    #[must_use]
    pub fn judge<T>(self, judge: T) -> Balance<S, K, T, M> {
        Balance {
            endpoints: self.endpoints,
            view: self.view,
            key: self.key,
            judge,
            memory: self.memory,
        }
    }

    /// Does not look at whom a call was sent to before: for requests that carry no extensions.
    #[must_use]
    pub fn forgetful(self) -> Balance<S, K, J, Forgetful> {
        Balance {
            endpoints: self.endpoints,
            view: self.view,
            key: self.key,
            judge: self.judge,
            memory: Forgetful,
        }
    }

    /// The endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints<S> {
        &self.endpoints
    }
}

impl<S, K: Clone, J: Clone, M: Clone> Clone for Balance<S, K, J, M> {
    fn clone(&self) -> Self {
        Self {
            endpoints: self.endpoints.clone(),
            view: self.view.clone(),
            key: self.key.clone(),
            judge: self.judge.clone(),
            memory: self.memory.clone(),
        }
    }
}

impl<S, K, J, M> fmt::Debug for Balance<S, K, J, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl<S, K, J, M, Req> Service<Req> for Balance<S, K, J, M>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Follow<S::Error>,
    K: Key<Req>,
    J: Judge<S::Response, S::Error> + Clone + Send + 'static,
    M: Memory<Req>,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, J>;

    // Which endpoint must be ready is known when there is a call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let shared = self.endpoints.shared();
        let key = shared.needs_key().then(|| self.key.key(&req)).flatten();
        let key = key.map(|key| pick::hash(&key));
        let tried = self.memory.tried(&req);
        let call = match shared.pick(&mut self.view, key, tried) {
            Some(permit) => Call::Readying {
                service: permit.node().service(),
                req: Some(req),
                permit: Some(permit),
            },
            None => Call::Refused {
                rejection: Some(refusal()),
            },
        };
        ResponseFuture::new(call, self.judge.clone())
    }
}

/// As an upstream that is not asked (RFC 9209 §2.3.2).
fn refusal() -> Rejection {
    Rejection::new(Kind::CircuitOpen)
        .with_detail("There is no endpoint to be called.")
        .with_header(
            HeaderName::from_static("proxy-status"),
            HeaderValue::from_static("tower-gateway; error=destination_unavailable"),
        )
}

/// Whom a call was sent to before.
#[diagnostic::on_unimplemented(
    message = "nothing says whom a `{Req}` was sent to before",
    note = "by default that is in its extensions: `impl Extensible for {Req}`",
    note = "or do without: `.forgetful()`"
)]
pub trait Memory<Req> {
    /// `None`: nobody tries again, so that there is nothing to be remembered.
    fn tried<'a>(&self, req: &'a Req) -> Option<&'a Tried>;
}

/// By the [`Deadline`] of the request, which whoever tries again makes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByDeadline;

impl<Req: Extensible> Memory<Req> for ByDeadline {
    fn tried<'a>(&self, req: &'a Req) -> Option<&'a Tried> {
        Deadline::of(req).map(Deadline::tried)
    }
}

/// Nothing is remembered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

impl<Req> Memory<Req> for Forgetful {
    fn tried<'a>(&self, _: &'a Req) -> Option<&'a Tried> {
        None
    }
}
