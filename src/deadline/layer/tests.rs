use super::*;
use crate::{Body, CollectError, collect};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::{convert::Infallible, future::pending, sync::Arc};
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

const SECOND: Duration = Duration::from_secs(1);

fn asking(name: &'static str, value: &'static str) -> Request<Body> {
    let request = Request::post("/").header(name, value);
    request.body(Body::empty()).unwrap()
}

/// After how long the deadline is that a service sees behind the layer.
async fn seen(layer: &DeadlineLayer, request: Request<Body>) -> Option<Duration> {
    let (tell, told) = std::sync::mpsc::channel();
    let service = layer.layer(tower::service_fn(move |request: Request<Body>| {
        let at = Deadline::of(&request).unwrap().at();
        tell.send(at.map(|at| at - Instant::now())).unwrap();
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    }));
    service.oneshot(request).await.unwrap();
    told.recv().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_caller_can_shorten_the_time_and_not_lengthen_it() {
    let layer = DeadlineLayer::new().within(10 * SECOND);
    let named = layer.clone().header(HeaderName::from_static("x-time"));
    for (layer, name, value, millis) in [
        (&layer, "grpc-timeout", "2S", 2_000),
        (&layer, "grpc-timeout", "1H", 10_000),
        (&layer, "grpc-timeout", "junk", 10_000),
        (&layer, "x-time", "250", 10_000),
        (&named, "x-time", "250", 250),
        (&named, "x-time", "99999", 10_000),
        (&named, "x-time", "-1", 10_000),
        (&named, "grpc-timeout", "40m", 40),
    ] {
        let seen = seen(layer, asking(name, value)).await;
        assert_eq!(seen, Some(Duration::from_millis(millis)), "{name}: {value}");
    }
    let none = DeadlineLayer::new();
    assert_eq!(seen(&none, Request::new(Body::empty())).await, None);
    assert_eq!(
        seen(&none.within(NEVER), Request::new(Body::empty())).await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn under_an_outer_deadline_the_earlier_end_holds_and_its_budget() {
    let layer = DeadlineLayer::new().within(5 * SECOND).attempts(9);
    for (outer, within) in [(2 * SECOND, 2 * SECOND), (8 * SECOND, 5 * SECOND)] {
        let mut request = Request::new(Body::empty());
        let outer = Deadline::new().attempts(2).until(Instant::now() + outer);
        request.extensions_mut().insert(outer.clone());
        assert_eq!(seen(&layer, request).await, Some(within));

        let service = layer.layer(tower::service_fn(async |request: Request<Body>| {
            let deadline = Deadline::of(&request).unwrap();
            assert!(deadline.take() && !deadline.take());
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(outer.clone());
        service.oneshot(request).await.unwrap();
        assert!(!outer.take(), "one budget");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_late_is_a_timeout_and_frees_what_it_held() {
    let held = Arc::new(());
    let holds = held.clone();
    let layer = DeadlineLayer::new().within(SECOND);
    let mut service = layer.layer(tower::service_fn(move |_: Request<Body>| {
        let holds = holds.clone();
        async move {
            let answer = pending::<Result<Response<Body>, Infallible>>().await;
            drop(holds);
            answer
        }
    }));
    let before = Arc::strong_count(&held);
    let start = Instant::now();
    let mut call = tokio_test::task::spawn(service.call(Request::new(Body::empty())));
    tokio_test::assert_pending!(call.poll());
    assert_eq!(Arc::strong_count(&held), before + 1);
    tokio::time::advance(SECOND).await;
    let answer = tokio_test::assert_ready!(call.poll()).unwrap();
    assert_eq!((answer.status().as_u16(), start.elapsed()), (504, SECOND));
    let after = Arc::strong_count(&held);
    assert_eq!(after, before, "though the future is kept");
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert!(rejection.kind() == Kind::Timeout && !rejection.is_unsent());
}

#[tokio::test]
async fn a_caller_without_time_is_refused_without_a_call() {
    let layer = DeadlineLayer::new();
    let called = Arc::new(());
    let calls = called.clone();
    let service = layer.layer(tower::service_fn(move |_: Request<Body>| {
        std::mem::forget(calls.clone());
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    }));
    let answer = service.oneshot(asking("grpc-timeout", "0n")).await.unwrap();
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert!(rejection.kind() == Kind::Timeout && rejection.is_unsent());
    assert_eq!(
        Arc::strong_count(&called),
        1,
        "the service is gone, and was not called"
    );
}

/// A piece each 400 milliseconds, or without a pause.
fn endless(pause: bool) -> Response<Body> {
    let pieces = stream::unfold((), move |()| async move {
        if pause {
            sleep(Duration::from_millis(400)).await;
        }
        let piece = Frame::data(bytes::Bytes::from_static(b"x"));
        Some((Ok::<_, Infallible>(piece), ()))
    });
    Response::new(Body::new(StreamBody::new(Box::pin(pieces))))
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_is_left_alone_unless_all_of_it_is_meant() {
    let limited = |layer: DeadlineLayer, pause| {
        let service =
            layer
                .within(SECOND)
                .layer(tower::service_fn(move |_: Request<Body>| async move {
                    Ok::<_, Infallible>(endless(pause))
                }));
        service.oneshot(Request::new(Body::empty()))
    };
    let answer = limited(DeadlineLayer::new(), true).await.unwrap();
    let reading = tokio::time::timeout(60 * SECOND, collect(answer.into_body(), usize::MAX));
    assert!(reading.await.is_err(), "it goes on");

    let start = Instant::now();
    let answer = limited(DeadlineLayer::new().whole(), true).await.unwrap();
    let cut = collect(answer.into_body(), usize::MAX).await.unwrap_err();
    assert_eq!(start.elapsed(), SECOND);
    assert!(matches!(cut, CollectError::Broken(error) if error.is::<Rejection>()));

    let mut answer = limited(DeadlineLayer::new().whole(), false)
        .await
        .unwrap()
        .into_body();
    tokio::time::advance(SECOND).await;
    let piece = http_body_util::BodyExt::frame(&mut answer).await.unwrap();
    assert!(piece.is_err(), "though there always is a next piece");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_is_told_what_is_left() {
    let layer = DeadlineLayer::new().header(HeaderName::from_static("x-time"));
    let service = layer.layer(tower::service_fn(async |request: Request<Body>| {
        sleep(Duration::from_millis(1500)).await;
        let (mut head, _) = request.into_parts();
        Deadline::tell(&head.extensions, &mut head.headers);
        let mut answer = Response::new(Body::empty());
        *answer.headers_mut() = head.headers;
        Ok::<_, Infallible>(answer)
    }));
    let mut request = asking("grpc-timeout", "4S");
    request.headers_mut().insert("x-time", 3000.into());
    let told = service.clone().oneshot(request).await.unwrap();
    assert_eq!(told.headers()["grpc-timeout"], "1500000u");
    assert_eq!(told.headers()["x-time"], "1500");
    let told = service.oneshot(Request::new(Body::empty())).await.unwrap();
    assert!(told.headers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_limit_further_in_keeps_its_places() {
    let limit = ConcurrencyLimitLayer::new(1);
    let mut service = ServiceBuilder::new()
        .layer(DeadlineLayer::new().within(SECOND))
        .layer(limit)
        .service_fn(async |_: Request<Body>| pending::<Result<Response<Body>, Infallible>>().await);
    for _ in 0..3 {
        let ready = service.ready().await.unwrap();
        let answer = ready.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 504);
    }
}
