//! Around axum routers, with nothing else to make it fit.

use super::touchy;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response, StatusCode, header},
    routing::get,
};
use futures_util::stream;
use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Rejection,
    answer::Outcome,
    circuit_breaker::{CircuitBreakerLayer, State},
    concurrency::ConcurrencyLayer,
    rejection::Kind,
    timeout::TimeoutLayer,
};
use tower_http::trace::TraceLayer;

fn failing() -> Router {
    let broken = || stream::iter([Ok("a"), Err(io::Error::other("gone"))]);
    Router::new()
        .route("/", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/other", get(|| async {}))
        .route("/broken", get(async move || Body::from_stream(broken())))
}

async fn call(app: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

async fn status(app: &Router, path: &str) -> u16 {
    call(app, path).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn one_layer_alone_is_enough() {
    let app = failing().layer(touchy());
    assert_eq!(status(&app, "/").await, 502);

    let response = call(&app, "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers();
    assert_eq!(headers[header::RETRY_AFTER], "30");
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::CircuitOpen);
    let body = to_bytes(response.into_body(), 1000).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "upstream_unavailable");

    tokio::time::advance(super::COOL_DOWN / 3).await;
    let response = call(&app, "/").await;
    assert_eq!(
        response.headers()[header::RETRY_AFTER],
        "20",
        "what is left"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure() {
    let app = failing().layer(touchy());
    let response = call(&app, "/broken").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(status(&app, "/other").await, 200, "its head was a success");
    to_bytes(response.into_body(), 10).await.unwrap_err();
    assert_eq!(status(&app, "/other").await, 503, "one of two has failed");
}

#[tokio::test]
async fn a_body_that_the_client_drops_is_no_failure() {
    let layer = touchy();
    let app = failing().layer(layer.clone());
    drop(call(&app, "/broken").await);
    assert_eq!(layer.state(), State::Closed);
}

#[tokio::test]
async fn layers_come_in_any_order() {
    let app = failing()
        .layer(touchy())
        .layer(TraceLayer::new_for_http())
        .layer(touchy().minimum_calls(2));
    assert_eq!(status(&app, "/").await, 502);
    for _ in 0..3 {
        let response = call(&app, "/").await;
        assert!(response.extensions().get::<Rejection>().is_some());
    }
}

#[tokio::test]
async fn statuses_may_be_judged_whatever_the_body_is() {
    let odd = || {
        touchy().classify_status(|status| match status {
            StatusCode::OK => Outcome::Failure,
            _ => Outcome::Success,
        })
    };
    // Right over the router, over other layers of ours, over a foreign one.
    for app in [
        failing().layer(odd()),
        failing().layer(TimeoutLayer::new()).layer(odd()),
        failing().layer((odd(), ConcurrencyLayer::new(9), TraceLayer::new_for_http())),
    ] {
        assert_eq!(status(&app, "/").await, 502);
        assert_eq!(status(&app, "/other").await, 200);
        assert_eq!(status(&app, "/other").await, 503);
    }
}

#[tokio::test]
async fn what_a_policy_further_in_refused_is_not_judged_by_its_status() {
    let layer = touchy();
    let app = failing()
        .layer(ConcurrencyLayer::new(0))
        .layer(layer.clone().classify_status(|_| Outcome::Failure));
    for _ in 0..3 {
        let response = call(&app, "/other").await;
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(
            rejection.kind(),
            Kind::Overloaded,
            "the circuit stays closed"
        );
    }
}

#[tokio::test]
async fn a_closure_over_http_names_the_body() {
    let layer = touchy().classify(
        |answer: Result<&Response<Body>, &Infallible>| match answer {
            Ok(response) if response.status() == StatusCode::OK => Outcome::Failure,
            _ => Outcome::Success,
        },
    );
    let app = failing().layer(layer);
    assert_eq!(status(&app, "/other").await, 200);
    assert_eq!(status(&app, "/other").await, 503);
}

#[tokio::test]
async fn routes_under_one_layer_share_one_circuit() {
    let app = failing().route_layer(touchy());
    assert_eq!(status(&app, "/").await, 502);
    assert_eq!(status(&app, "/other").await, 503);
}

/// Counts how often it is applied.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl<S> Layer<S> for Counting {
    type Service = S;

    fn layer(&self, inner: S) -> S {
        self.0.fetch_add(1, Ordering::Relaxed);
        inner
    }
}

/// Why the state of a policy is made in its layer and not in `Layer::layer`.
#[tokio::test]
async fn a_lazy_router_applies_layers_for_each_request_and_the_circuit_outlives_them() {
    let counting = Counting::default();
    let stack = ServiceBuilder::new()
        .layer(counting.clone())
        .layer(touchy());
    let app: Router = failing().layer(stack);
    let before = counting.0.load(Ordering::Relaxed);
    assert_eq!(status(&app, "/").await, 502);
    assert_eq!(status(&app, "/").await, 503);
    assert_eq!(counting.0.load(Ordering::Relaxed) - before, 2);
}

/// Bare hyper: its bodies are not `From<Bytes>`, and need not be.
#[test]
fn bodies_of_hyper_can_be_guarded() {
    fn check<S>(_: S)
    where
        S: tower::Service<(), Response = Response<tower_gateway::Body>, Error = hyper::Error>,
    {
    }
    check(
        ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new())
            .layer(ConcurrencyLayer::new(1))
            .layer(TimeoutLayer::new())
            .service_fn(async |_: ()| {
                std::future::pending::<hyper::Result<Response<hyper::body::Incoming>>>().await
            }),
    );
}
