//! Asking again: what that costs where nobody has to.

use crate::measure::both;
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    time::Duration,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Body, BoxError,
    circuit_breaker::CircuitBreakerLayer,
    deadline::{Budget, DeadlineLayer},
    hedge::HedgeLayer,
    retry::RetryLayer,
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

/// What a layer adds to a call that is answered well at once.
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
    let deadline = || DeadlineLayer::new().within(Duration::from_secs(30));
    row("deadline", deadline()).await;
    row("retry", RetryLayer::new()).await;
    let concurrent = RetryLayer::new().budget(Budget::concurrent());
    row("retry, budget of what is under way", concurrent).await;
    row("hedge after a percentile", HedgeLayer::new()).await;
    let stack = ServiceBuilder::new()
        .layer(deadline())
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new());
    row("deadline, retry, circuit breaker", stack.into_inner()).await;
}
