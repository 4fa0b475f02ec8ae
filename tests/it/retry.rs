//! Asking again, as a user meets it: over axum, bare hyper, a model, a vendor and an upstream.

#[cfg(feature = "llm")]
mod chat;
#[cfg(all(feature = "client", feature = "testing"))]
mod upstream;

use axum::{Router, body::Body as AxumBody, http::StatusCode, routing::any};
use http::{Request, Response};
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
    time::{Instant, sleep},
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_gateway::{
    Body,
    circuit_breaker::{CircuitBreakerLayer, State},
    concurrency::ConcurrencyLayer,
    deadline::DeadlineLayer,
    hedge::HedgeLayer,
    retry::{On, RetryLayer},
};

const SECOND: Duration = Duration::from_secs(1);

/// A service that always fails, and how often it was called.
fn failing() -> (Router, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let handler = any(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { (StatusCode::SERVICE_UNAVAILABLE, "busy") }
    });
    (Router::new().route("/", handler), calls)
}

fn asking(method: &str, body: &'static str) -> Request<AxumBody> {
    let request = Request::builder().method(method).uri("/");
    request.body(AxumBody::from(body)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn over_a_router_what_is_idempotent_and_kept_is_asked_again() {
    let unknown = || {
        let body = AxumBody::from_stream(futures_util::stream::iter([Ok::<_, Infallible>("x")]));
        Request::put("/").body(body).unwrap()
    };
    for (request, expected) in [
        (asking("PUT", "some"), 3),
        (asking("POST", "some"), 1),
        (unknown(), 1),
    ] {
        let (router, calls) = failing();
        let app: Router = router.layer(RetryLayer::new());
        assert_eq!(app.oneshot(request).await.unwrap().status(), 503);
        assert_eq!(calls.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_wraps_for_each_request_has_one_budget_and_one_count() {
    let (router, calls) = failing();
    let layer = RetryLayer::new().when(On::new().gateway_errors());
    // Without `with_state` it applies its layers for each request.
    let app: Router = router.layer(layer.clone());
    for _ in 0..3 {
        app.clone().oneshot(asking("GET", "")).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 9);
    assert_eq!(layer.stats().retries(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_a_half_open_circuit_is_one_call() {
    let (router, calls) = failing();
    let breaker = CircuitBreakerLayer::new()
        .minimum_calls(1)
        .probes(1)
        .cool_down(SECOND);
    let app: Router = router.layer(breaker.clone()).layer(RetryLayer::new());
    for probe in 1..4 {
        // Asked again, it is refused by the circuit, and that stands.
        assert_eq!(
            app.clone()
                .oneshot(asking("GET", ""))
                .await
                .unwrap()
                .status(),
            503
        );
        assert_eq!(calls.load(Ordering::Relaxed), probe);
        assert_eq!(breaker.state(), State::Open);
        sleep(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_further_in_is_free_before_the_next_attempt() {
    let (router, calls) = failing();
    let limit = ConcurrencyLayer::new(1);
    let app: Router = router.layer(limit.clone()).layer(RetryLayer::new());
    let answer = app.oneshot(asking("GET", "")).await.unwrap();
    assert_eq!(
        calls.load(Ordering::Relaxed),
        3,
        "none was refused for want of a place"
    );
    assert_eq!(limit.available(), 0);
    drop(answer);
    assert_eq!(limit.available(), 1);
}

#[tokio::test]
async fn over_bare_hyper_its_body_is_made_ours_first() {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let calls: &'static AtomicU32 = Box::leak(Box::default());
    let service = RetryLayer::new().layer(service_fn(async |request: Request<Body>| {
        let body = tower_gateway::collect(request.into_body(), 9)
            .await
            .unwrap();
        assert_eq!(body, "some");
        let status = match calls.fetch_add(1, Ordering::Relaxed) {
            2 => 200,
            _ => 502,
        };
        Ok::<_, Infallible>(
            Response::builder()
                .status(status)
                .body(Body::empty())
                .unwrap(),
        )
    }));
    let service = ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(Body::new))
        .service(service);
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    let request = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsome";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let (served, read) = tokio::join!(serving, client.read_to_string(&mut text));
    served.unwrap();
    read.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_lost_is_nobodys_failure_to_a_breaker() {
    let breaker = CircuitBreakerLayer::new()
        .minimum_calls(1)
        .failure_percent(1);
    let hedge = HedgeLayer::after(SECOND).budget(None);
    let calls: &'static AtomicU32 = Box::leak(Box::default());
    let service = ServiceBuilder::new()
        .layer(hedge.clone())
        .layer(breaker.clone())
        .service_fn(async |_: Request<Body>| {
            if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
    for _ in 0..10 {
        let start = Instant::now();
        service
            .clone()
            .oneshot(Request::new(Body::empty()))
            .await
            .unwrap();
        assert_eq!(start.elapsed(), SECOND);
    }
    assert_eq!((breaker.state(), hedge.stats().won()), (State::Closed, 10));
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_patience_opens_no_circuit() {
    let breaker = CircuitBreakerLayer::new().minimum_calls(1);
    let app: Router = Router::new()
        .route("/", any(pending::<()>))
        .layer(breaker.clone())
        .layer(DeadlineLayer::new());
    for _ in 0..9 {
        let mut hasty = asking("GET", "");
        let time = http::HeaderValue::from_static("1u");
        hasty.headers_mut().insert("grpc-timeout", time);
        assert_eq!(app.clone().oneshot(hasty).await.unwrap().status(), 504);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_attempts_and_waits() {
    let (router, calls) = failing();
    let app: Router = router
        .layer(
            RetryLayer::new()
                .retries(100)
                .budget(None)
                .backoff(SECOND, SECOND),
        )
        .layer(DeadlineLayer::new().within(2 * SECOND).attempts(100));
    let start = Instant::now();
    assert_eq!(app.oneshot(asking("GET", "")).await.unwrap().status(), 503);
    assert!(start.elapsed() < 2 * SECOND && calls.load(Ordering::Relaxed) > 2);
}
