//! An answer that must begin in time, go on in time, and end in time.
//!
//! ```text
//!  call ──▶ head ─▶ piece ─────▶ piece ─▶ … ─▶ end
//!   ├ first ─┤       ├── idle ───┤                    no longer than this
//!   ├──────────────────── total ────────────────┤
//! ```
//!
//! | limit | of what | [`new`](TimeoutLayer::new) | [`llm`](TimeoutLayer::llm) |
//! |---|---|---|---|
//! | [`first_byte`](TimeoutLayer::first_byte) | up to the head of the answer | 15 s | 600 s |
//! | [`idle`](TimeoutLayer::idle) | up to the next piece of the answer, or its end | 300 s | 300 s |
//! | [`total`](TimeoutLayer::total) | all of it | - | - |
//!
//! Before the head a call that is too slow is answered with [`Kind::Timeout`], 504 over HTTP. After
//! it nothing can be answered any more, so the answer is [cut](Follow::cut): its body or its stream
//! ends with the same rejection as an error, and over HTTP the client sees that it was cut off.
//!
//! # Example
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use std::{future::pending, time::Duration};
//! use tower_gateway::timeout::TimeoutLayer;
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # tokio::time::pause();
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "in time" }))
//!     .route("/never", get(pending::<()>))
//!     .layer(TimeoutLayer::new().first_byte(Duration::from_secs(5)));
//! # let get = |path| {
//! #     let request = Request::get(path).body(Body::empty()).unwrap();
//! #     let app = app.clone();
//! #     async { app.oneshot(request).await.unwrap() }
//! # };
//!
//! assert_eq!(get("/").await.status(), StatusCode::OK);
//! assert_eq!(get("/never").await.status(), StatusCode::GATEWAY_TIMEOUT);
//! # }
//! ```
//!
//! # Answers
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | in time | the service's | | |
//! | no head in time | 504 | `timeout` | |
//! | too slow after its head | what it was, cut off | `timeout`, in logs and as the error of the stream | |
//!
//! **What if its store is down**: there is none. Nothing is kept but the timer of each call.
//!
//! # Whose time is counted
//!
//! The service's, not the client's. Waiting for the head begins when the answer is first waited for
//! in vain. Idle time begins anew when the answer, asked for the next piece, has none: while a slow
//! client takes its time over the last one, nobody asks. A limit is looked at only when the answer
//! has nothing to give, so a piece that arrives late is still handed on. An answer that always has
//! something to give is not cut, not by [`total`](TimeoutLayer::total) either.
//!
//! A service that waits for the rest of the request has not answered either, so a slow upload counts
//! as the time of the service: it is a [`Kind::Timeout`], and enough of them open a breaker further
//! out for everybody. Nothing here tells the one from the other. So bound what callers may send,
//! further out than this layer and any breaker: by size, and by a time that is shorter than
//! [`first_byte`](TimeoutLayer::first_byte), and refuse a slow one with [`Kind::RequestTimeout`], 408,
//! which blames the caller. A gateway does so for its routes, with 60 seconds to the next piece of a
//! body by default; set either so that the caller's time is over first.
//!
//! A breaker further out counts both kinds of timeout as failures of the service. What stands
//! further in sees a call that was dropped.
//!
//! # Cost
//!
//! A call that answers at once, with a body that is all there, reads no clock (with a total: one)
//! and registers no timer. A stream reads the clock once for each wait, and sets its timer anew at
//! most once in an idle span. A timer needs a tokio runtime that has time enabled: it panics without.
//!
//! # What is shared
//!
//! Nothing.

use crate::{Follow, Reject, Rejection, rejection::Kind};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// From here on a limit is none: the instant of its end must be one that the clock can tell.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Applies [`Timeout`] to a service.
///
/// Each limit is a [`Duration`], or `None` for no limit. A year or more is no limit, zero refuses
/// whatever is not there at once.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutLayer {
    first_byte: Option<Duration>,
    idle: Option<Duration>,
    total: Option<Duration>,
}

impl TimeoutLayer {
    /// For upstreams: 15 seconds to the head, 300 seconds idle, no total.
    #[must_use]
    pub fn new() -> Self {
        Self {
            first_byte: Some(Duration::from_secs(15)),
            idle: Some(Duration::from_secs(300)),
            total: None,
        }
    }

    /// For language models, which may think for minutes before the head of an answer that does not
    /// stream: 600 seconds to the head, 300 seconds idle, no total.
    #[must_use]
    pub fn llm() -> Self {
        Self::new().first_byte(Duration::from_secs(600))
    }

    /// Sets how long the head of an answer may take.
    #[must_use]
    pub fn first_byte(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.first_byte = some_time(limit.into());
        self
    }

    /// Sets how long the answer may have nothing to give, between two of its pieces and before its
    /// first and after its last.
    #[must_use]
    pub fn idle(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle = some_time(limit.into());
        self
    }

    /// Sets how long the whole exchange may take, from the call to the end of the answer.
    ///
    /// Wrong for server-sent events, for long downloads, and for whatever else is healthy however
    /// long it lasts.
    #[must_use]
    pub fn total(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.total = some_time(limit.into());
        self
    }
}

fn some_time(limit: Option<Duration>) -> Option<Duration> {
    limit.filter(|limit| *limit < NEVER)
}

impl Default for TimeoutLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout {
            inner,
            limits: *self,
        }
    }
}

/// Ends answers of the inner service that take too long.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    limits: TimeoutLayer,
}

impl<S, Req> Service<Req> for Timeout<S>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let watch = Watch {
            limits: self.limits,
            end: self.limits.total.map(|total| Instant::now() + total),
            deadline: None,
            sleep: None,
        };
        ResponseFuture {
            future: Some(self.inner.call(req)),
            watch: Some(watch),
        }
    }
}

pin_project! {
    /// Response future of [`Timeout`].
    pub struct ResponseFuture<F> {
        #[pin]
        future: Option<F>,
        watch: Option<Watch>,
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E>,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        // The answer is asked first, so that one that comes late still counts.
        match future.expect("polled after completion").poll(cx) {
            Poll::Ready(answer) => {
                let mut watch = this.watch.take().expect("polled after completion");
                Poll::Ready(answer.map(|answer| {
                    answer.cut(move |cx, moved| {
                        ready!(watch.poll_piece(cx, moved));
                        let rejection = Rejection::new(Kind::Timeout);
                        Poll::Ready(rejection.with_detail("The service stopped answering."))
                    })
                }))
            }
            Poll::Pending => {
                let watch = this.watch.as_mut().expect("polled after completion");
                ready!(watch.poll_head(cx));
                // What the call holds must be free before its caller goes on, perhaps to try again.
                this.future.set(None);
                Poll::Ready(Res::Followed::reject(Rejection::new(Kind::Timeout)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The limits of one exchange, and one timer for all of them.
struct Watch {
    limits: TimeoutLayer,
    /// When all must be over.
    end: Option<Instant>,
    /// When what is waited for must be there.
    deadline: Option<Instant>,
    /// Never set later than the deadline, but perhaps earlier.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// The head is not there. Ready when it is late.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline.is_none() {
            self.set_deadline(self.limits.first_byte);
        }
        self.poll_deadline(cx)
    }

    /// The next piece is not there; `moved` says that another was, since the last time. Ready when
    /// it is late.
    fn poll_piece(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        if moved {
            self.set_deadline(self.limits.idle);
        }
        self.poll_deadline(cx)
    }

    fn set_deadline(&mut self, limit: Option<Duration>) {
        let next = limit.map(|limit| Instant::now() + limit);
        self.deadline = [next, self.end].into_iter().flatten().min();
    }

    /// Each piece moves the deadline, but the timer is set anew only when it has gone off or is too
    /// late: a stream would pay for it with every piece.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| {
            let mut sleep = Box::pin(sleep_until(deadline));
            // Sets the timer, which the first poll would not if the budget is used up.
            sleep.as_mut().reset(deadline);
            sleep
        });
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            // An answer that is busy without end uses up the budget of its task each time, and a
            // timer that has gone off does not say so to a poll without budget.
            if !sleep.is_elapsed() {
                ready!(sleep.as_mut().poll(cx));
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
