//! At most so many exchanges at once.
//!
//! An exchange lasts from the call to the last byte of its answer, or until either side drops it. One
//! too many is refused at once with [`Kind::Overloaded`], 503 over HTTP, or waits in a
//! [queue](ConcurrencyLayer::queue) that is bounded in length and in time: first come, first served.
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
//! # Answers
//!
//! | exchange | status | code | headers |
//! |---|--:|---|---|
//! | one for which there is room, at once or in time | the service's | | |
//! | one too many | 503 | `overloaded` | `Retry-After` |
//!
//! **What if its store is down**: there is none. Permits are of one process.
//!
//! `Retry-After` is 1, 2 or 3 seconds in turn, so that those who were refused together do not come
//! back together.
//!
//! # What is shared
//!
//! The permits belong to the layer value: every service that a layer or a clone of it wraps draws on
//! the same ones. They are not made in [`Layer::layer`], because a router may call that once for each
//! route, or once for each request. [`queue`](ConcurrencyLayer::queue) starts afresh, so a layer that
//! was made from another shares nothing with it.
//!
//! # Cancellation
//!
//! Whoever is dropped gives back what it had: a call its permit, one that waits its place in the
//! queue. What an answer was made of is dropped before its permit is free.
//!
//! A connection that was upgraded (101) has an answer without a body, so its permit is free while
//! the tunnel lives. Proxies and servers bound those by themselves.

use crate::{Follow, Reject, Rejection, rejection::Kind};
use pin_project_lite::pin_project;
use std::{
    fmt, mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tower_layer::Layer;
use tower_service::Service;

/// Applies [`Concurrency`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer {
    shared: Arc<Shared>,
}

impl ConcurrencyLayer {
    /// Lets `limit` exchanges in at once and refuses the rest without a queue. Zero lets nothing in.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with(limit, None)
    }

    /// Lets `places` more calls wait, each no longer than `max_wait`, before they are refused.
    ///
    /// A queue evens out bursts. It does not help against a load that stays too high, but for making
    /// everybody wait: keep it short, about as many places as permits, and `max_wait` below the
    /// patience of the callers.
    #[must_use]
    pub fn queue(self, places: usize, max_wait: Duration) -> Self {
        let queue = Queue {
            len: places.min(Semaphore::MAX_PERMITS),
            places: semaphore(places),
            max_wait,
        };
        Self::with(self.shared.limit, Some(queue))
    }

    fn with(limit: usize, queue: Option<Queue>) -> Self {
        let shared = Shared {
            limit,
            permits: semaphore(limit),
            queue,
            refused: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// How many more exchanges would be let in just now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.shared.permits.available_permits()
    }

    /// How many calls wait in the queue just now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queue = self.shared.queue.as_ref();
        queue.map_or(0, |queue| queue.len - queue.places.available_permits())
    }
}

/// tokio's panics above its maximum, which nobody reaches.
fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency {
            inner,
            shared: self.shared.clone(),
        }
    }
}

/// Lets only so many exchanges in at once.
///
/// The inner service is cloned only for a call that waits.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Concurrency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, Req> Service<Req> for Concurrency<S>
where
    S: Service<Req> + Clone,
    S::Response: Follow<S::Error>,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    // Who is refused hears it at once, so a lack of permits does not show here.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let call = match self.shared.enter() {
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
                    shared: self.shared.clone(),
                }
            }
            Entry::Refused(rejection) => Call::Refused {
                rejection: Some(rejection),
            },
        };
        ResponseFuture { call }
    }
}

pin_project! {
    /// Response future of [`Concurrency`].
    pub struct ResponseFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        call: Call<S, Req>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<S, Req>
    where
        S: Service<Req>,
    {
        Called {
            // Before the permit, so that it is dropped before.
            #[pin]
            future: S::Future,
            permit: Option<OwnedSemaphorePermit>,
        },
        Waiting {
            wait: Wait,
            call: Option<(S, Req)>,
            shared: Arc<Shared>,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
{
    type Output = Result<<S::Response as Follow<S::Error>>::Followed, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.call.as_mut().project() {
                CallProj::Called { future, permit } => {
                    let answer = ready!(future.poll(cx));
                    let permit = permit.take();
                    // What the call held is free before its permit is.
                    this.call.set(Call::Refused { rejection: None });
                    // An error drops the permit here, and not with this future: its caller may be
                    // about to try again.
                    return Poll::Ready(answer.map(|answer| answer.follow(move |_| drop(permit))));
                }
                CallProj::Waiting { wait, call, shared } => {
                    let permit = ready!(wait.as_mut().poll(cx));
                    let (mut service, req) = call.take().expect("polled after completion");
                    match permit {
                        Some(permit) => Call::Called {
                            future: service.call(req),
                            permit: Some(permit),
                        },
                        None => Call::Refused {
                            rejection: Some(shared.refuse()),
                        },
                    }
                }
                CallProj::Refused { rejection } => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(Reject::reject(rejection));
                }
            };
            this.call.set(next);
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Waits for a permit. Boxed, for only those who wait pay for it.
type Wait = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

enum Entry {
    Permit(OwnedSemaphorePermit),
    Queue(Wait),
    Refused(Rejection),
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    permits: Arc<Semaphore>,
    queue: Option<Queue>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    len: usize,
    places: Arc<Semaphore>,
    max_wait: Duration,
}

impl Shared {
    /// Nobody overtakes the queue: a permit that comes free goes to the first who waits, and is not
    /// among those that can be taken at once.
    fn enter(&self) -> Entry {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Entry::Permit(permit);
        }
        let queue = self.queue.as_ref();
        let Some((place, max_wait)) = queue.and_then(|queue| {
            let place = queue.places.clone().try_acquire_owned().ok()?;
            Some((place, queue.max_wait))
        }) else {
            return Entry::Refused(self.refuse());
        };
        let permits = self.permits.clone();
        Entry::Queue(Box::pin(async move {
            let permit = timeout(max_wait, permits.acquire_owned()).await;
            drop(place);
            permit.ok()?.ok()
        }))
    }

    fn refuse(&self) -> Rejection {
        let turn = self.refused.fetch_add(1, Ordering::Relaxed) % 3;
        Rejection::new(Kind::Overloaded).with_retry_after(Duration::from_secs(1 + turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, BoxError};
    use std::future::{Ready, ready};
    use std::task::Waker;

    #[derive(Clone)]
    struct Broken;

    impl Service<()> for Broken {
        type Response = http::Response<Body>;
        type Error = BoxError;
        type Future = Ready<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: ()) -> Self::Future {
            ready(Err("broken".into()))
        }
    }

    #[test]
    fn an_error_frees_the_permit_though_its_future_is_kept() {
        let limit = ConcurrencyLayer::new(1);
        let mut future = Box::pin(limit.layer(Broken).call(()));
        assert_eq!(limit.available(), 0);
        let answer = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Err(_))));
        assert_eq!(limit.available(), 1);
        drop(future);
    }
}
