//! Limits in a Redis server that is started for the test, killed, frozen and started again.

use crate::redis_server::RedisServer;
use bytes::Bytes;
use http::{Request, Response};
use std::{convert::Infallible, future::ready, time::Duration};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_gateway::{
    key::ByHeader,
    rate_limit::{OnStoreDown, Quota, RateLimitLayer, RedisStore, Stats},
};

type Answer = Result<Response<Bytes>, Infallible>;

/// One process of several: a layer, and a connection of its own.
fn process(
    server: &RedisServer,
    quota: Quota,
    down: OnStoreDown,
) -> (impl AsyncFn(&'static str) -> u16 + use<>, Stats) {
    let store = RedisStore::new(server.url()).unwrap();
    let layer = RateLimitLayer::new(quota)
        .key(ByHeader::new("x-user"))
        .shared("api", store, down)
        // As long as a busy machine may need.
        .timeout(Duration::from_secs(1))
        .pause(Duration::from_millis(50));
    let stats = layer.stats();
    let inner = service_fn(|_: Request<()>| ready(Answer::Ok(Response::new(Bytes::new()))));
    let service = layer.layer(inner);
    let call = async move |user: &'static str| {
        let request = Request::get("/").header("x-user", user).body(()).unwrap();
        let mut service = service.clone();
        let answer = service.ready().await.unwrap().call(request).await;
        answer.unwrap().status().as_u16()
    };
    (call, stats)
}

#[tokio::test]
async fn processes_share_a_quota() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = || Quota::per_day(10);
    let (one, _) = process(&server, quota(), OnStoreDown::Deny);
    let (two, _) = process(&server, quota(), OnStoreDown::Deny);
    let mut passed = 0;
    for _ in 0..10 {
        passed += u32::from(one("a").await == 200);
        passed += u32::from(two("a").await == 200);
    }
    assert_eq!(passed, 10);
    assert_eq!(two("b").await, 200);
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let (deny, stats) = process(&server, Quota::per_day(100), OnStoreDown::Deny);
    let fallback = OnStoreDown::LocalFallback { fraction: 0.5 };
    let (local, _) = process(&server, Quota::per_day(10), fallback);
    assert_eq!((deny("a").await, local("b").await), (200, 200));
    server.kill();
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(deny("a").await, 503);
    }
    let mut passed = 0;
    for _ in 0..10 {
        passed += u32::from(local("b").await == 200);
    }
    assert_eq!(passed, 4, "half of ten, less one that it knew of");
    assert!(stats.is_degraded());
    assert!(start.elapsed() < Duration::from_secs(10), "it is refused");
    assert!(server.restart());
    let back = async || {
        while deny("a").await != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back())
        .await
        .unwrap();
    assert!(!stats.is_degraded());
}

#[tokio::test]
async fn a_server_that_hangs_is_left_alone_and_another_connection_made() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).unwrap();
    let layer = RateLimitLayer::new(Quota::per_day(100))
        .key(ByHeader::new("x-user"))
        .shared("api", store, OnStoreDown::Allow)
        .timeout(Duration::from_millis(200))
        .pause(Duration::from_millis(50));
    let stats = layer.stats();
    let inner = service_fn(|_: Request<()>| ready(Answer::Ok(Response::new(Bytes::new()))));
    let service = layer.layer(inner);
    let call = async || {
        let request = Request::get("/").header("x-user", "a").body(()).unwrap();
        service.clone().oneshot(request).await.unwrap()
    };
    let tells = async || call().await.headers().contains_key("ratelimit");
    assert!(tells().await);
    server.freeze(true);
    for _ in 0..10 {
        assert!(!tells().await, "it passes, and nobody knows what is left");
    }
    assert!(stats.is_degraded());
    server.freeze(false);
    let back = async || {
        while !tells().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back())
        .await
        .unwrap();
}
