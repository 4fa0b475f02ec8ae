//! Whom to call.

use crate::measure::{nanos, within};
use http::{Request, Response};
use std::{convert::Infallible, future::ready, hint::black_box};
use tower::{Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Body,
    balance::{Balance, Endpoint, Endpoints, Strategy},
    key::ByHeader,
};

const MOST_NANOS: f64 = 300.0;

type Base = ServiceFn<fn(Request<Body>) -> std::future::Ready<Result<Response<Body>, Infallible>>>;

fn plain() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::from("Hello")))))
}

/// What it takes to choose an endpoint, to count a call out at it and in again: the future of the call is
/// made and dropped.
async fn pick(strategy: Strategy, endpoints: usize) -> f64 {
    let set = Endpoints::new(strategy);
    set.replace((0..endpoints).map(|at| {
        let weight = 1 + at as u32 % 3;
        let name = format!("10.0.{}.{}:80", at / 256, at % 256);
        (Endpoint::new(name).weight(weight), plain())
    }));
    let mut balance = Balance::new(set).key(ByHeader::new("x-session"));
    // So that peak EWMA knows them.
    for call in 0..endpoints * 20 {
        let request = request(call as u64);
        let Ok(service) = balance.ready().await;
        let _ = black_box(service.call(request).await);
    }
    let mut turn = 0;
    let both = nanos(async || {
        turn += 1;
        drop(black_box(balance.call(request(turn))));
    })
    .await;
    let alone = nanos(async || {
        turn += 1;
        drop(black_box(request(turn)));
    })
    .await;
    both - alone
}

fn request(turn: u64) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request
        .headers_mut()
        .insert("x-session", (turn % 1000).into());
    request
}

/// Whether each is fast enough.
pub(crate) async fn run() -> bool {
    let mut good = true;
    for strategy in [
        Strategy::RoundRobin,
        Strategy::SmoothWeighted,
        Strategy::LeastOutstanding,
        Strategy::PeakEwma,
        Strategy::RingHash,
        Strategy::Random,
    ] {
        for endpoints in [3, 30, 300] {
            let cost = pick(strategy, endpoints).await;
            let name = format!("balance, {strategy:?} of {endpoints}");
            println!("{name:<44}{cost:>10.0}");
            good &= within(cost, MOST_NANOS);
        }
    }
    good
}
