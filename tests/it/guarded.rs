//! All that guards one call, each alone over bare hyper and axum, and all of them in one stack.

use axum::{Router, body::Body as AxumBody, routing::any};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn,
    util::BoxCloneSyncService,
};
use tower_gateway::{
    Body,
    circuit_breaker::CircuitBreakerLayer,
    deadline::{Deadline, DeadlineLayer},
    fallback::{AnswerLayer, Fallback},
    hedge::HedgeLayer,
    retry::RetryLayer,
};

type Http = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

const SECOND: Duration = Duration::from_secs(1);

/// Answers all calls with this status, or none, and counts them.
fn upstream(status: Option<u16>) -> (Http, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let service = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let Some(status) = status else {
                return pending().await;
            };
            let answer = Response::builder().status(status);
            Ok(answer.body(Body::empty()).unwrap())
        }
    });
    (Http::new(service), calls)
}

fn get() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

/// The first line of what bare hyper answers.
async fn served<S>(service: S) -> String
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let service = ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(Body::new))
        .service(service);
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let (served, read) = tokio::join!(serving, client.read_to_string(&mut text));
    served.unwrap();
    read.unwrap();
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn each_stands_alone_in_bare_hyper() {
    let (failing, _) = upstream(Some(503));
    let instead = AnswerLayer::new(StatusCode::OK).body("closed for today");
    assert_eq!(served(instead.layer(failing)).await, "HTTP/1.1 200 OK");

    let (stuck, _) = upstream(None);
    let hurried = DeadlineLayer::new().within(SECOND).layer(stuck);
    assert_eq!(served(hurried).await, "HTTP/1.1 504 Gateway Timeout");

    let calls: &'static AtomicU32 = Box::leak(Box::default());
    let first_hangs = service_fn(async |_: Request<Body>| {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let hedged = HedgeLayer::after(SECOND).budget(None).layer(first_hangs);
    assert_eq!(served(hedged).await, "HTTP/1.1 200 OK");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_wraps_for_each_request_is_hedged() {
    let calls: &'static AtomicU32 = Box::leak(Box::default());
    let layer = HedgeLayer::after(SECOND).budget(None);
    let app: Router = Router::new()
        .route(
            "/",
            any(async || {
                if calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    pending::<()>().await;
                }
                "in time"
            }),
        )
        .layer(layer.clone());
    for _ in 0..3 {
        let start = Instant::now();
        let request = Request::get("/").body(AxumBody::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!((answer.status(), start.elapsed()), (StatusCode::OK, SECOND));
    }
    assert_eq!((layer.stats().hedges(), layer.stats().won()), (3, 3));
}

#[tokio::test]
async fn a_limit_inside_is_shared_by_all_that_answer_in_its_place() {
    let (service, calls) = upstream(None);
    let limited = ServiceBuilder::new()
        .layer(DeadlineLayer::new())
        .layer(AnswerLayer::new(StatusCode::OK))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service);
    let mut first = task::spawn(limited.clone().oneshot(get()));
    assert_pending!(first.poll());
    let mut second = task::spawn(limited.clone().oneshot(get()));
    assert_pending!(second.poll());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the second waits");
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    drop(second);
    let mut ready = limited.clone();
    assert!(assert_ready!(task::spawn(ready.ready()).poll()).is_ok());
}

/// Three retries in two hedges in a fallback to the same: 2 × 2 × 3 × 2 calls, if nobody counted them together.
#[tokio::test(start_paused = true)]
async fn all_that_ask_again_together_never_ask_more_often_than_the_exchange_may() {
    for attempts in 1..=8 {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let failing = service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {
                sleep(2 * SECOND).await;
                let answer = Response::builder().status(503);
                Ok::<_, Infallible>(answer.body(Body::empty()).unwrap())
            }
        });
        let guarded = ServiceBuilder::new()
            .layer(RetryLayer::new().retries(2).budget(None))
            .layer(HedgeLayer::after(SECOND).budget(None))
            .service(failing);
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new().attempts(attempts))
            .service(Fallback::new(guarded.clone()).or(guarded));
        let answer = service.oneshot(get()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let made = calls.load(Ordering::SeqCst);
        assert_eq!(made, attempts, "all of them, and no more");
    }
}

/// A retry with a key opens the circuit: what comes of its last attempt was not sent, and what came of the first
/// was.
#[tokio::test(start_paused = true)]
async fn what_was_sent_once_is_sent_to_nobody_else_whatever_comes_of_the_last_attempt() {
    let (failing, first) = upstream(Some(503));
    let (well, second) = upstream(Some(200));
    let guarded = ServiceBuilder::new()
        .layer(RetryLayer::new().idempotency_keys())
        .layer(CircuitBreakerLayer::new().minimum_calls(1))
        .service(failing);
    let services = Fallback::new(Http::new(guarded)).or(well);
    let mut post = Request::post("/").body(Body::empty()).unwrap();
    let key = HeaderValue::from_static("k");
    post.headers_mut().insert("idempotency-key", key);
    let answer = services.oneshot(post).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let calls = [first, second].map(|calls| calls.load(Ordering::SeqCst));
    assert_eq!(calls, [1, 0]);
}

/// What is dropped while it waits has made no attempt.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_gives_its_attempt_back() {
    let (failing, calls) = upstream(Some(503));
    let service = RetryLayer::new()
        .backoff(100 * SECOND, 100 * SECOND)
        .layer(failing);
    let mut request = get();
    let deadline = Deadline::new();
    request.extensions_mut().insert(deadline.clone());
    let mut call = task::spawn(service.oneshot(request));
    assert_pending!(call.poll());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(deadline.left(), Deadline::ATTEMPTS - 2, "kept for it");
    advance(Duration::from_millis(1)).await;
    drop(call);
    assert_eq!(deadline.left(), Deadline::ATTEMPTS - 1);
}
