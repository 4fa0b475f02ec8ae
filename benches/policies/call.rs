//! One call of HTTP, and what a layer adds to it.

use crate::measure::both;
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{Body, BoxError, Principal};

/// A service that answers at once.
pub(crate) type Base = ServiceFn<fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>>;

pub(crate) fn plain() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::from("Hello")))))
}

/// One call by a principal, who is known.
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

/// What a service takes longer than a plain one.
pub(crate) async fn row<S>(name: &str, mut service: S)
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

/// What a layer adds to a call that is answered well.
pub(crate) async fn layer<L>(name: &str, layer: L)
where
    L: Layer<Base>,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    row(name, layer.layer(plain())).await;
}
