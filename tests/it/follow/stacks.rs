//! Layers that hold an answer until its end, stacked: over axum, around foreign layers, within one
//! another.

use axum::{Router, body::Body as AxumBody, routing::get};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use std::{convert::Infallible, io};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Body, Rejection, circuit_breaker::CircuitBreakerLayer, concurrency::ConcurrencyLayer,
    timeout::TimeoutLayer,
};
use tower_http::{map_response_body::MapResponseBodyLayer, trace::TraceLayer};

fn streaming() -> Router {
    let parts = || stream::iter([Ok::<_, io::Error>("a"), Ok("b")]);
    Router::new().route("/", get(async move || AxumBody::from_stream(parts())))
}

async fn call(app: &Router) -> Response<AxumBody> {
    let request = Request::new(AxumBody::empty());
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn layers_that_hold_nest_in_any_order_and_around_foreign_ones() {
    let (one, two) = (ConcurrencyLayer::new(1), ConcurrencyLayer::new(2));
    let (breaker, timeout) = (CircuitBreakerLayer::new, TimeoutLayer::new);
    let apps = [
        streaming()
            .layer(one.clone())
            .layer(breaker())
            .layer(timeout())
            .layer(two.clone()),
        streaming()
            .layer(timeout())
            .layer(breaker())
            .layer(one.clone())
            .layer(two.clone()),
        streaming()
            .layer(breaker())
            .layer(one.clone())
            .layer(timeout())
            .layer(two.clone()),
        streaming().layer((two.clone(), timeout(), one.clone(), breaker())),
        // A body that is of another type in every place, and no layer to make them one.
        streaming().layer(
            ServiceBuilder::new()
                .layer(two.clone())
                .layer(TraceLayer::new_for_http())
                .layer(breaker())
                .layer(one.clone())
                .layer(timeout())
                .layer(TraceLayer::new_for_http()),
        ),
    ];
    for app in apps {
        let first = call(&app).await;
        assert_eq!((one.available(), two.available()), (0, 1));
        let second = call(&app).await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(second.extensions().get::<Rejection>().is_some());
        drop(second);
        let body = axum::body::to_bytes(first.into_body(), 10).await.unwrap();
        assert_eq!(
            (&body[..], one.available(), two.available()),
            (&b"ab"[..], 1, 2)
        );
    }
}

/// `option_layer` has one response type whether the layer is there or not. A layer that holds makes
/// `Response<Body>` of whatever it wraps, so what it wraps must be that already: without the third
/// line this does not compile (`tests/ui/option_layer.rs`).
#[tokio::test]
async fn an_optional_layer_wants_our_body_further_in() {
    for limit in [Some(ConcurrencyLayer::new(1)), None] {
        let app = streaming().layer(
            ServiceBuilder::new()
                .option_layer(limit.clone())
                .layer(MapResponseBodyLayer::new(Body::new)),
        );
        let first = call(&app).await;
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(limit.map_or(0, |limit| limit.available()), 0);
    }
}

#[tokio::test]
async fn the_type_of_an_answer_does_not_grow() {
    let mut service = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(1))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new())
        .layer(ConcurrencyLayer::new(1))
        .layer(TimeoutLayer::llm())
        .service_fn(async |()| Ok::<_, Infallible>(Response::new(AxumBody::from("x"))));
    let answer: Response<Body> = service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(
        tower_gateway::collect(answer.into_body(), 1).await.unwrap(),
        "x"
    );
}
