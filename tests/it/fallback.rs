//! The fallback as a user meets it: over axum, over bare hyper, and over connections.

use axum::{
    Router,
    body::Body as AxumBody,
    routing::{get, post},
};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_gateway::{
    Body,
    circuit_breaker::{CircuitBreakerLayer, State},
    concurrency::ConcurrencyLayer,
    fallback::{AnswerLayer, Fallback, FallbackLayer},
    timeout::TimeoutLayer,
};

fn spare() -> Router {
    Router::new().route(
        "/",
        get(async || "the spare").post(async |body: String| body),
    )
}

fn request(method: &str, body: impl Into<AxumBody>) -> Request<AxumBody> {
    Request::builder()
        .method(method)
        .uri("/")
        .body(body.into())
        .unwrap()
}

async fn told(app: &Router, request: Request<AxumBody>) -> (u16, String) {
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn one_layer_alone_around_a_router_is_enough() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let down = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::SERVICE_UNAVAILABLE }
    };
    let app: Router = Router::new()
        .route("/", get(down.clone()).post(down.clone()))
        .layer(FallbackLayer::new(spare()));
    assert_eq!(
        told(&app, request("GET", "")).await,
        (200, "the spare".into())
    );
    let refused = told(&app, request("POST", "once")).await;
    assert_eq!(
        (refused.0, calls.load(Ordering::SeqCst)),
        (503, 2),
        "it was sent"
    );

    let app: Router = Router::new()
        .route("/", get(down.clone()).post(down))
        .layer(FallbackLayer::new(spare()).any_method());
    assert_eq!(
        told(&app, request("POST", "twice")).await,
        (200, "twice".into())
    );
}

#[tokio::test]
async fn with_a_breaker_further_in_a_service_that_is_down_is_left_alone() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let breaker = CircuitBreakerLayer::new().minimum_calls(2);
    let down = post(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        StatusCode::BAD_GATEWAY
    });
    // Layers that follow an answer to its end have made its body another.
    let spare = ServiceBuilder::new()
        .map_response(|answer: Response<AxumBody>| answer.map(Body::new))
        .service(spare());
    let app: Router = Router::new().route("/", down).layer((
        FallbackLayer::new(spare),
        ConcurrencyLayer::new(9),
        breaker.clone(),
        TimeoutLayer::new(),
    ));
    for _ in 0..2 {
        assert_eq!(told(&app, request("POST", "text")).await.0, 502);
    }
    assert_eq!(breaker.state(), State::Open);
    // What the circuit refuses was not sent: the spare may have it.
    for _ in 0..3 {
        assert_eq!(
            told(&app, request("POST", "text")).await,
            (200, "text".into())
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_fixed_answer_stands_behind_the_last() {
    let sorry = AnswerLayer::new(StatusCode::SERVICE_UNAVAILABLE)
        .header(header::RETRY_AFTER, 120.into())
        .body("Back soon.");
    let down = || Router::new().route("/", get(async || StatusCode::BAD_GATEWAY));
    let app: Router = down().layer((sorry, FallbackLayer::new(down())));
    assert_eq!(
        told(&app, request("GET", "")).await,
        (503, "Back soon.".into())
    );
    assert_eq!(told(&app, request("DELETE", "")).await.0, 405);
}

#[tokio::test]
async fn a_limit_within_has_room_for_as_many_calls_as_it_says() {
    let limited = || {
        let inner = service_fn(async |_: Request<Body>| {
            tokio::task::yield_now().await;
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            Ok::<_, Infallible>(answer)
        });
        ServiceBuilder::new()
            .layer(ConcurrencyLimitLayer::new(1))
            .service(inner)
    };
    let both = Fallback::new(limited()).or(limited());
    let calls = (0..20).map(|_| {
        let both = both.clone();
        tokio::spawn(both.oneshot(Request::new(Body::empty())))
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(
            call.await.unwrap().unwrap().status(),
            StatusCode::BAD_GATEWAY
        );
    }
}

/// A request as it is written, answered by hyper around two services: one that is down, and one that says
/// what it was sent.
async fn served(request: &str) -> String {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let down = service_fn(async |_: Request<Body>| {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok::<_, Infallible>(answer)
    });
    let echo = service_fn(async |req: Request<Body>| Ok(Response::new(req.into_body())));
    let service = ServiceBuilder::new()
        // hyper's own body cannot be made of bytes.
        .map_request(|req: Request<Incoming>| req.map(Body::new))
        .layer(FallbackLayer::new(echo))
        .service(down);
    let service = TowerToHyperService::new(service);
    let http1 = hyper::server::conn::http1::Builder::new();
    let server = http1.serve_connection(TokioIo::new(server), service);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let (served, read) = tokio::join!(server, client.read_to_string(&mut text));
    served.unwrap();
    read.unwrap();
    text
}

#[tokio::test]
async fn in_hyper_what_says_its_length_falls_over_and_what_does_not_is_sent_once() {
    let head = "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    let answer = served(&format!("{head}content-length: 5\r\n\r\nhello")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"),
        "{answer}"
    );
    let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = served(&format!("{head}{chunked}")).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[cfg(feature = "client")]
#[tokio::test]
async fn what_never_had_a_connection_is_asked_of_another_whatever_its_method() {
    use tower_gateway::proxy::Proxy;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = |to: &tokio::net::TcpListener| {
        Proxy::to(format!("http://{}", to.local_addr().unwrap())).unwrap()
    };
    let both = Fallback::new(proxy(&gone)).or(proxy(&there));
    drop(gone);
    tokio::spawn(async move { axum::serve(there, spare()).await });
    let request = Request::post("/").header("host", "a");
    let request = request.body(Body::from("once")).unwrap();
    let answer = both.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = tower_gateway::collect(answer.into_body(), 99)
        .await
        .unwrap();
    assert_eq!(body, "once");
}
