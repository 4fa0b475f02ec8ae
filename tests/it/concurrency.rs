//! The limit as a user meets it: over a mock, a response of its own, and axum.

use crate::follow::Reply;
use axum::{Router, body::Body, routing::get};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_gateway::{Rejection, concurrency::ConcurrencyLayer, rejection::Kind};
use tower_test::{assert_request_eq, mock};

const SECOND: Duration = Duration::from_secs(1);

fn rejection(error: &BoxError) -> &Rejection {
    error.downcast_ref().unwrap()
}

#[tokio::test]
async fn one_too_many_is_refused_at_once() {
    let limit = ConcurrencyLayer::new(1);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(limit.clone());

    assert_ready_ok!(service.poll_ready());
    let first = service.call("one");
    let request = upstream.next_request().await.unwrap();
    assert_eq!(limit.available(), 0);

    assert_ready_ok!(service.poll_ready(), "a full limit is still ready");
    let error = assert_ready_err!(task::spawn(service.call("two")).poll());
    assert_eq!(rejection(&error).kind(), Kind::Overloaded);
    assert_pending!(upstream.poll_request());

    request.1.send_response(Reply("done"));
    assert_eq!(first.await.unwrap(), Reply("done"));
    assert_eq!(limit.available(), 1, "the answer was whole");
}

#[tokio::test]
async fn those_refused_together_are_not_told_to_come_back_together() {
    let mut service = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(0))
        .service_fn(async |_: ()| Ok::<Reply, BoxError>(Reply("never")));
    let mut told = Vec::new();
    for _ in 0..6 {
        let error = service.ready().await.unwrap().call(()).await.unwrap_err();
        told.push(rejection(&error).retry_after().unwrap());
    }
    let in_turn = [1, 2, 3, 1, 2, 3].map(Duration::from_secs);
    assert_eq!(told, in_turn);
}

#[tokio::test]
async fn a_call_that_fails_or_is_dropped_gives_its_permit_back() {
    let limit = ConcurrencyLayer::new(1);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(limit.clone());

    assert_ready_ok!(service.poll_ready());
    let failed = service.call("one");
    assert_request_eq!(upstream, "one").send_error("down");
    failed.await.unwrap_err();
    assert_eq!(limit.available(), 1);

    assert_ready_ok!(service.poll_ready());
    let mut dropped = task::spawn(service.call("two"));
    assert_pending!(dropped.poll());
    assert_eq!(limit.available(), 0);
    drop(dropped);
    assert_eq!(limit.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_served_in_order_and_bounded() {
    let limit = ConcurrencyLayer::new(1).queue(2, SECOND);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(limit.clone());
    let mut calls = Vec::new();
    for name in ["one", "two", "three", "four"] {
        assert_ready_ok!(service.poll_ready());
        calls.push(task::spawn(service.call(name)));
    }
    let mut four = calls.pop().unwrap();
    let error = assert_ready_err!(four.poll(), "the queue has two places");
    assert_eq!(rejection(&error).kind(), Kind::Overloaded);
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!((limit.available(), limit.waiting()), (0, 2));

    for (call, name) in calls.iter_mut().zip(["one", "two", "three"]) {
        assert_pending!(call.poll());
        assert_request_eq!(upstream, name).send_response(Reply(name));
        assert_pending!(upstream.poll_request(), "one at a time");
        assert_eq!(assert_ready_ok!(call.poll()), Reply(name));
    }
    assert_eq!((limit.available(), limit.waiting()), (1, 0));
}

#[tokio::test]
async fn nobody_overtakes_the_queue() {
    let limit = ConcurrencyLayer::new(1).queue(2, SECOND);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(limit.clone());
    assert_ready_ok!(service.poll_ready());
    let first = task::spawn(service.call("first"));
    assert_ready_ok!(service.poll_ready());
    let mut waiting = task::spawn(service.call("waiting"));
    assert_pending!(waiting.poll());

    drop(first);
    let _ = upstream.next_request().await;
    assert_ready_ok!(service.poll_ready());
    let mut late = task::spawn(service.call("late"));
    assert_pending!(late.poll());
    assert_pending!(waiting.poll());
    assert_request_eq!(upstream, "waiting").send_response(Reply(""));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_refused() {
    let limit = ConcurrencyLayer::new(1).queue(1, SECOND);
    let mut service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(async |_: ()| pending::<Result<Reply, BoxError>>().await);
    let mut first = task::spawn(service.ready().await.unwrap().call(()));
    assert_pending!(first.poll());

    let mut second = task::spawn(service.ready().await.unwrap().call(()));
    assert_pending!(second.poll());
    assert_eq!(limit.waiting(), 1);
    tokio::time::advance(SECOND).await;
    let error = assert_ready_err!(second.poll());
    assert_eq!(rejection(&error).kind(), Kind::Overloaded);
    assert_eq!(limit.waiting(), 0);
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_queue() {
    let limit = ConcurrencyLayer::new(1).queue(1, Duration::MAX);
    let mut service =
        ServiceBuilder::new()
            .layer(limit.clone())
            .service_fn(async |name| match name {
                "hang" => pending().await,
                name => Ok::<_, BoxError>(Reply(name)),
            });
    let mut first = task::spawn(service.ready().await.unwrap().call("hang"));
    assert_pending!(first.poll());
    // Dropped before it was ever polled, and after.
    drop(service.ready().await.unwrap().call("never"));
    let mut second = task::spawn(service.ready().await.unwrap().call("never"));
    assert_pending!(second.poll());
    drop(second);
    assert_eq!(limit.waiting(), 0);

    let mut third = task::spawn(service.ready().await.unwrap().call("third"));
    assert_pending!(third.poll());
    drop(first);
    assert!(third.is_woken());
    assert_eq!(assert_ready_ok!(third.poll()), Reply("third"));
    assert_eq!(limit.available(), 1);
}

/// A permit that was handed to someone who is gone must not be lost with them.
#[tokio::test]
async fn a_permit_on_its_way_to_a_dropped_call_is_given_back() {
    let limit = ConcurrencyLayer::new(1).queue(1, SECOND);
    let mut service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(async |_: ()| pending::<Result<Reply, BoxError>>().await);
    let first = task::spawn(service.ready().await.unwrap().call(()));
    let mut second = task::spawn(service.ready().await.unwrap().call(()));
    assert_pending!(second.poll());
    drop(first);
    assert!(second.is_woken());
    drop(second);
    assert_eq!((limit.available(), limit.waiting()), (1, 0));
}

#[tokio::test]
async fn nothing_is_let_in_at_zero_and_nothing_overflows() {
    let none = ConcurrencyLayer::new(0);
    let all = ConcurrencyLayer::new(usize::MAX).queue(usize::MAX, Duration::MAX);
    assert_eq!(all.waiting(), 0);
    for (limit, answer) in [(none, false), (all, true)] {
        let service = ServiceBuilder::new()
            .layer(limit)
            .service_fn(async |_: ()| Ok::<_, BoxError>(Reply("")));
        assert_eq!(service.oneshot(()).await.is_ok(), answer);
    }
}

#[derive(Default)]
struct Count {
    running: AtomicUsize,
    most: AtomicUsize,
}

/// One of those that run at once.
struct Running(Arc<Count>);

impl Running {
    fn new(count: Arc<Count>) -> Self {
        let running = count.running.fetch_add(1, Ordering::SeqCst) + 1;
        count.most.fetch_max(running, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_contention_no_more_run_than_may_and_no_permit_is_lost() {
    const LIMIT: usize = 3;
    let limit = ConcurrencyLayer::new(LIMIT).queue(50, Duration::MAX);
    let count = Arc::new(Count::default());
    let service = {
        let count = count.clone();
        ServiceBuilder::new()
            .layer(limit.clone())
            .service_fn(move |turns| {
                let running = Running::new(count.clone());
                async move {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                    drop(running);
                    Ok::<_, BoxError>(Reply(""))
                }
            })
    };
    let calls: Vec<_> = (0..500)
        .map(|turn| {
            let call = tokio::spawn(service.clone().oneshot(turn % 7));
            if turn % 5 == 0 {
                call.abort();
            }
            call
        })
        .collect();
    let mut answered = 0;
    for call in calls {
        match call.await {
            Ok(Ok(_)) => answered += 1,
            Ok(Err(error)) => assert_eq!(rejection(&error).kind(), Kind::Overloaded),
            Err(aborted) => assert!(aborted.is_cancelled()),
        }
    }
    assert!(answered > LIMIT);
    assert!(count.most.load(Ordering::SeqCst) <= LIMIT);
    assert_eq!((limit.available(), limit.waiting()), (LIMIT, 0));
}

/// What was made ready is what is called, and what is called is what was made ready.
#[tokio::test]
async fn a_limit_within_that_needs_readiness_is_respected() {
    let limit = ConcurrencyLayer::new(2).queue(2, SECOND);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(
        ServiceBuilder::new()
            .layer(limit.clone())
            .layer(ConcurrencyLimitLayer::new(1))
            .into_inner(),
    );
    for name in ["one", "two"] {
        assert_ready_ok!(service.poll_ready());
        let mut call = task::spawn(service.call(name));
        assert_pending!(service.poll_ready(), "the inner limit holds");
        assert_pending!(call.poll());
        assert_request_eq!(upstream, name).send_response(Reply(name));
        assert_ready_ok!(call.poll());
        drop(call);
        assert_eq!(limit.available(), 2);
    }
}

/// One that waits has the readiness of the inner service with it, and gives it up when it goes.
#[tokio::test]
async fn one_that_waits_holds_the_service_that_was_ready() {
    let limit = ConcurrencyLayer::new(1).queue(1, SECOND);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(
        ServiceBuilder::new()
            .layer(limit.clone())
            .layer(ConcurrencyLimitLayer::new(2))
            .into_inner(),
    );
    assert_ready_ok!(service.poll_ready());
    let mut first = task::spawn(service.call("first"));
    assert_ready_ok!(service.poll_ready());
    let mut second = task::spawn(service.call("second"));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_pending!(service.poll_ready(), "both inner permits are out");

    assert_request_eq!(upstream, "first").send_response(Reply("first"));
    assert_ready_ok!(first.poll());
    assert_pending!(second.poll());
    assert_request_eq!(upstream, "second").send_response(Reply("second"));
    assert_ready_ok!(second.poll());
    drop((first, second));
    assert_ready_ok!(service.poll_ready());
}

fn streaming() -> Router {
    let parts = || stream::iter([Ok::<_, Infallible>("a"), Ok("b")]);
    Router::new().route("/", get(async move || Body::from_stream(parts())))
}

async fn call(app: &Router) -> Response<Body> {
    app.clone()
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap()
}

/// A router without state applies its layers for each request, so this is about where state lives.
#[tokio::test]
async fn in_axum_a_permit_lasts_until_the_body_ends() {
    let limit = ConcurrencyLayer::new(1);
    let app = streaming().layer(limit.clone());
    let first = call(&app).await;
    assert_eq!(limit.available(), 0, "its head is here, its body is not");

    let second = call(&app).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "1");

    axum::body::to_bytes(first.into_body(), 10).await.unwrap();
    assert_eq!(limit.available(), 1);
    let third = call(&app).await;
    assert_eq!(limit.available(), 0);
    drop(third);
    assert_eq!(limit.available(), 1, "dropped half-way");
}

/// Applies another layer, and counts how often.
#[derive(Clone)]
struct Applied<L>(L, Arc<AtomicUsize>);

impl<S, L: Layer<S>> Layer<S> for Applied<L> {
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.layer(inner)
    }
}

#[tokio::test]
async fn a_layer_that_is_applied_for_each_request_counts_all_of_them() {
    let applied = Arc::new(AtomicUsize::new(0));
    let limit = ConcurrencyLayer::new(2).queue(1, SECOND);
    let app = streaming().layer(Applied(limit, applied.clone()));
    let before = applied.load(Ordering::SeqCst);
    let (first, _second) = (call(&app).await, call(&app).await);
    assert!(applied.load(Ordering::SeqCst) >= before + 2, "or this shows nothing");
    let mut third = task::spawn(call(&app));
    assert_pending!(third.poll(), "the limit is one for all");
    let fourth = call(&app).await;
    assert_eq!(fourth.status(), StatusCode::SERVICE_UNAVAILABLE, "and the queue");
    drop(first);
    assert_eq!(assert_ready!(third.poll()).status(), StatusCode::OK);
}

#[tokio::test]
async fn in_axum_the_queue_holds_a_call_until_a_body_ends() {
    let app = streaming().layer(ConcurrencyLayer::new(1).queue(1, SECOND));
    let first = call(&app).await;
    let mut second = task::spawn(call(&app));
    assert_pending!(second.poll());
    drop(first);
    assert_eq!(assert_ready!(second.poll()).status(), StatusCode::OK);
}

#[test]
fn types_are_send_and_sync() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    let layer = ConcurrencyLayer::new(1).queue(1, SECOND);
    check(&layer);
    check(&tower::Layer::layer(&layer, ()));
}
