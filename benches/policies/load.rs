//! How many at once.

use crate::measure::both;
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Body, BoxError, Principal,
    answer::ByHealth,
    concurrency::{Aimd, ConcurrencyLayer, FromHeader, Gradient},
    key::ByPrincipal,
};

type Base = ServiceFn<fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>>;

fn plain() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::from("Hello")))))
}

async fn call<S>(service: &mut S, principal: &Principal)
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(principal.clone());
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(response) = service.call(request).await else {
        panic!("no answer");
    };
    assert_eq!(response.status(), 200);
    black_box(response);
}

/// What a layer adds to a call that finds room.
async fn row<L>(name: &str, layer: L)
where
    L: Layer<Base>,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let principal = Principal::new("bench");
    let (mut base, mut service) = (plain(), layer.layer(plain()));
    let (base, whole) = both(
        async || call(&mut base, &principal).await,
        async || call(&mut service, &principal).await,
    )
    .await;
    println!("{name:<44}{:>10.0}", whole - base);
}

pub(crate) async fn run() {
    let second = Duration::from_secs(1);
    let limit = || ConcurrencyLayer::new(1000);
    row("concurrency", limit()).await;
    let queue = limit()
        .queue(1000, second)
        .priority(FromHeader::new("x-priority"));
    row("concurrency, queue, priorities", queue).await;
    row("concurrency of each principal", limit().key(ByPrincipal)).await;
    let gradient = ConcurrencyLayer::adaptive(Gradient::new()).classify(ByHealth::default());
    row("concurrency, gradient", gradient).await;
    let aimd = ConcurrencyLayer::adaptive(Aimd::new(second));
    row("concurrency, AIMD", aimd).await;
}
