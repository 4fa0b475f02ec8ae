//! One call, guarded.

use crate::measure::both;
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Body, BoxError,
    circuit_breaker::CircuitBreakerLayer,
    fallback::{AnswerLayer, FallbackLayer},
};

type Base = ServiceFn<fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>>;

fn plain() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::from("Hello")))))
}

async fn call<S>(service: &mut S)
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(response) = service.call(Request::new(Body::empty())).await else {
        panic!("no answer");
    };
    assert_eq!(response.status(), 200);
    black_box(response);
}

/// What a layer adds to a call that is answered well.
async fn row<L>(name: &str, layer: L)
where
    L: Layer<Base>,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let (mut base, mut service) = (plain(), layer.layer(plain()));
    let (base, whole) = both(
        async || call(&mut base).await,
        async || call(&mut service).await,
    )
    .await;
    println!("{name:<44}{:>10.0}", whole - base);
}

pub(crate) async fn run() {
    row("breaker, closed, 100 calls", CircuitBreakerLayer::new()).await;
    row(
        "breaker, closed, 10 seconds",
        CircuitBreakerLayer::gateway(),
    )
    .await;
    let keyed = CircuitBreakerLayer::gateway();
    let keyed = keyed.key(|req: &Request<Body>| Some(req.uri().path().to_owned()));
    row("breaker of each path, closed, 10 seconds", keyed).await;
    row("fallback, the first answers", FallbackLayer::new(plain())).await;
    let fixed = AnswerLayer::new(http::StatusCode::SERVICE_UNAVAILABLE);
    row("fixed answer, the service answers", fixed).await;
}
