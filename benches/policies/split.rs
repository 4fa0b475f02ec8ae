//! Which variant, and which calls have a copy.

use crate::measure::both;
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{Body, BoxError, Principal, mirror::MirrorLayer, split::Split};

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
    black_box(response);
}

async fn row<S>(name: &str, mut service: S)
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let principal = Principal::new("bench");
    let mut base = plain();
    let (base, whole) = both(
        async || call(&mut base, &principal).await,
        async || call(&mut service, &principal).await,
    )
    .await;
    println!("{name:<44}{:>10.0}", whole - base);
}

pub(crate) async fn run() {
    let Ok(split) = Split::new("bench", [("a", 9_500, plain()), ("b", 500, plain())]) else {
        panic!("no split");
    };
    row("split by principal, header told", split.clone()).await;
    row("split by principal", split.header(None)).await;
    let mirror = MirrorLayer::new(plain(), 0);
    row("mirror, none of the share", mirror.layer(plain())).await;
}
