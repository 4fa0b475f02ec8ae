//! The limits in time as a user meets them: over a mock, over bodies that stall, and over axum.

use crate::follow::Reply;
use axum::{Router, body::Body as AxumBody, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_gateway::{
    Body, Rejection, circuit_breaker::CircuitBreakerLayer, concurrency::ConcurrencyLayer,
    rejection::Kind, timeout::TimeoutLayer,
};
use tower_test::mock;

const SECOND: Duration = Duration::from_secs(1);

fn none() -> TimeoutLayer {
    TimeoutLayer::new().first_byte(None).idle(None)
}

/// Pieces with so many milliseconds before each, and then nothing, for good.
fn stalling(delays: &'static [u64]) -> Body {
    let pieces = stream::iter(delays).then(async |delay| {
        sleep(Duration::from_millis(*delay)).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from("x")))
    });
    let pieces: Pin<Box<dyn futures_util::Stream<Item = _> + Send>> = Box::pin(pieces);
    Body::new(StreamBody::new(pieces.chain(stream::pending())))
}

async fn answer(layer: TimeoutLayer, delays: &'static [u64]) -> Body {
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |delays| Ok::<_, Infallible>(Response::new(stalling(delays))));
    service.oneshot(delays).await.unwrap().into_body()
}

fn is_timeout(error: &BoxError) -> bool {
    let rejection = error.downcast_ref::<Rejection>();
    rejection.is_some_and(|rejection| rejection.kind() == Kind::Timeout)
}

/// How many pieces came, and after which time the answer was cut.
async fn until_cut(mut body: Body) -> (usize, Duration) {
    let start = Instant::now();
    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(_) => pieces += 1,
            Err(error) => {
                assert!(is_timeout(&error));
                return (pieces, start.elapsed());
            }
        }
    }
    panic!("it was not cut");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_begin_in_time_is_refused() {
    let layer = TimeoutLayer::new().first_byte(SECOND);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(layer);

    assert_ready_ok!(service.poll_ready());
    let mut slow = task::spawn(service.call("slow"));
    assert_pending!(slow.poll());
    let (_, sender) = upstream.next_request().await.unwrap();
    advance(SECOND - Duration::from_millis(1)).await;
    assert_pending!(slow.poll());
    advance(Duration::from_millis(1)).await;
    assert!(slow.is_woken());
    assert!(is_timeout(&assert_ready_err!(slow.poll())));
    sender.send_response(Reply("too late"));

    assert_ready_ok!(service.poll_ready());
    let mut late = task::spawn(service.call("late"));
    assert_pending!(late.poll());
    let (_, sender) = upstream.next_request().await.unwrap();
    advance(2 * SECOND).await;
    sender.send_response(Reply("late"));
    assert_eq!(
        assert_ready_ok!(late.poll()),
        Reply("late"),
        "it is there, after all"
    );
}

/// tokio's timers say nothing to a task that has used up its budget.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_busy_for_ever_is_ended_too() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new().first_byte(SECOND))
        .service_fn(async |_: ()| -> Result<Reply, BoxError> {
            loop {
                tokio::task::coop::consume_budget().await;
            }
        });
    let mut call = task::spawn(service.oneshot(()));
    assert_pending!(call.poll());
    advance(SECOND).await;
    assert!(is_timeout(&assert_ready_err!(call.poll())));
}

/// Before anything is tried again, or let in in its place.
#[tokio::test(start_paused = true)]
async fn a_call_that_timed_out_is_gone_before_its_answer_is_given() {
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new().first_byte(SECOND))
        .service_fn(async |gone: Gone| {
            pending::<()>().await;
            drop(gone);
            Ok::<_, BoxError>(Reply(""))
        });
    let mut call = task::spawn(service.ready().await.unwrap().call(Gone(gone.clone())));
    assert_pending!(call.poll());
    advance(SECOND).await;
    assert_ready_err!(call.poll());
    assert!(
        gone.load(Ordering::Relaxed),
        "while the future that answered is still here"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_is_cut() {
    let body = answer(none().idle(SECOND), &[0, 900, 900, 900]).await;
    let (pieces, after) = until_cut(body).await;
    assert_eq!((pieces, after.as_millis()), (4, 3 * 900 + 1000));

    let body = answer(none().idle(SECOND), &[]).await;
    let (pieces, after) = until_cut(body).await;
    assert_eq!((pieces, after), (0, SECOND), "it never began");

    let body = answer(none().idle(SECOND), &[900, 1100]).await;
    let (pieces, after) = until_cut(body).await;
    assert_eq!((pieces, after.as_millis()), (1, 1900));
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_for_the_head_leaves_a_shorter_one_for_the_rest() {
    let layer = none().first_byte(600 * SECOND).idle(SECOND);
    let service = ServiceBuilder::new().layer(layer).service_fn(async |()| {
        sleep(400 * SECOND).await;
        Ok::<_, Infallible>(Response::new(stalling(&[500])))
    });
    let body = service.oneshot(()).await.unwrap().into_body();
    let (pieces, after) = until_cut(body).await;
    assert_eq!((pieces, after.as_millis()), (1, 1500));
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_not_an_idle_upstream() {
    let mut body = answer(none().idle(SECOND), &[0, 0, 0, 500]).await;
    for _ in 0..4 {
        body.frame().await.unwrap().unwrap();
        // The client takes its time. Meanwhile nobody asks for more.
        advance(10 * SECOND).await;
    }
    let (pieces, after) = until_cut(body).await;
    assert_eq!((pieces, after.as_millis()), (0, 1000));
}

#[tokio::test(start_paused = true)]
async fn all_of_it_may_have_a_limit_before_the_head_and_after() {
    let body = answer(none().total(2 * SECOND), &[900; 9]).await;
    let (pieces, after) = until_cut(body).await;
    assert_eq!((pieces, after.as_millis()), (2, 2000));

    let never = ServiceBuilder::new()
        .layer(none().total(2 * SECOND))
        .service_fn(async |_: ()| pending::<Result<Reply, BoxError>>().await);
    assert!(is_timeout(&never.oneshot(()).await.unwrap_err()));

    // The time that its head took is part of it.
    let service = ServiceBuilder::new()
        .layer(none().total(2 * SECOND))
        .service_fn(async |()| {
            sleep(SECOND).await;
            Ok::<_, Infallible>(Response::new(stalling(&[])))
        });
    let body = service.oneshot(()).await.unwrap().into_body();
    assert_eq!(until_cut(body).await.1, SECOND);
}

#[tokio::test(start_paused = true)]
async fn defaults_are_as_documented() {
    for (layer, head) in [(TimeoutLayer::default(), 15), (TimeoutLayer::llm(), 600)] {
        let never = ServiceBuilder::new()
            .layer(layer)
            .service_fn(async |_: ()| pending::<Result<Reply, BoxError>>().await);
        let start = Instant::now();
        never.oneshot(()).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), head);

        let body = answer(layer, &[200_000, 200_000]).await;
        let (pieces, after) = until_cut(body).await;
        assert_eq!((pieces, after.as_secs()), (2, 700), "no total");
    }
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_too_long_to_be_asked_for() {
    for limit in [
        Duration::MAX,
        Duration::from_secs(u64::MAX / 2),
        400 * 86_400 * SECOND,
    ] {
        let layer = none().first_byte(limit).idle(limit).total(limit);
        assert_eq!(layer, none());
    }
    let most = 364 * 86_400 * SECOND;
    let layer = none().first_byte(most).idle(most).total(most);
    let mut body = task::spawn(answer(layer, &[0]).await);
    assert_ready!(body.enter(|cx, body| body.poll_frame(cx)))
        .unwrap()
        .unwrap();
    assert_pending!(body.enter(|cx, body| body.poll_frame(cx)));
}

/// Without a runtime a timer panics, so none was made.
#[test]
fn what_is_there_at_once_needs_no_timer() {
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new().total(SECOND))
        .service_fn(async |_: ()| Ok::<_, Infallible>(Response::new(AxumBody::from("x"))));
    let answer = assert_ready_ok!(task::spawn(service.call(())).poll());
    let mut body = task::spawn(answer.into_body());
    assert_ready!(body.enter(|cx, body| body.poll_frame(cx)))
        .unwrap()
        .unwrap();
    assert!(assert_ready!(body.enter(|cx, body| body.poll_frame(cx))).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_further_out_counts_what_was_cut_and_a_limit_further_in_is_freed() {
    let limit = ConcurrencyLayer::new(1);
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new().minimum_calls(1))
        .layer(none().idle(SECOND))
        .layer(limit.clone())
        .service_fn(async |()| Ok::<_, Infallible>(Response::new(stalling(&[0]))));
    let answer = service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(limit.available(), 0);
    assert_eq!(until_cut(answer.into_body()).await.0, 1);
    assert_eq!(limit.available(), 1);
    let refused = service.call(()).await.unwrap();
    let rejection = refused.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::CircuitOpen);
}

#[tokio::test(start_paused = true)]
async fn readiness_within_is_respected_and_freed_by_a_timeout() {
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new().first_byte(SECOND))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(async |_: ()| pending::<Result<Reply, BoxError>>().await);
    for _ in 0..2 {
        let mut call = task::spawn(service.ready().await.unwrap().call(()));
        assert_pending!(call.poll());
        let mut ready = task::spawn(poll_fn(|cx| Service::<()>::poll_ready(&mut service, cx)));
        assert_pending!(ready.poll());
        advance(SECOND).await;
        assert_ready_err!(call.poll());
        assert!(
            ready.is_woken(),
            "though the call that timed out was not dropped"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_half_way_leaves_nothing_behind() {
    let limit = ConcurrencyLayer::new(1);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new())
        .layer(limit.clone())
        .service_fn(async |()| Ok::<_, Infallible>(Response::new(stalling(&[0]))));
    let answer = service.ready().await.unwrap().call(()).await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(limit.available(), 1);
    drop(service.ready().await.unwrap().call(()));
    assert_eq!(limit.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn in_axum_one_layer_answers_and_cuts() {
    let app: Router = Router::new()
        .route("/never", get(pending::<()>))
        .route("/stalls", get(async || AxumBody::new(stalling(&[0]))))
        .layer(TimeoutLayer::new());
    let call = async |path| {
        let request = Request::get(path).body(AxumBody::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    };
    let response = call("/never").await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );

    let response = call("/stalls").await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap_err();
}

#[test]
fn types_are_send_and_sync() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    check(&TimeoutLayer::new());
    check(&tower::Layer::layer(&TimeoutLayer::new(), ()));
}
