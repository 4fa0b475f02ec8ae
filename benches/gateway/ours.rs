//! What this crate puts between a caller and the mock.

use crate::{Fallible, load::KEY};
use axum::serve::ListenerExt;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tower_gateway::{
    auth::{ApiKeys, AuthLayer},
    gateway::{Gateway, GatewayBuilder},
    llm::Provider,
    proxy::Proxy,
    rate_limit::{Quota, RateLimitLayer},
};
use tracing_subscriber::EnvFilter;

/// More than a machine can do: what is measured is the counting.
fn quota() -> Quota {
    Quota::per_second(1_000_000)
}

fn keys() -> ApiKeys {
    // A table of one key would be a kind one.
    let many = (0..1000).map(|n| (format!("caller-{n}"), format!("a-key-of-caller-{n:04}")));
    let keys = many.fold(ApiKeys::new(), |keys, (who, key)| keys.add(who, key));
    keys.add("bench", KEY)
}

fn proxy(upstream: SocketAddr) -> Fallible<Proxy> {
    Ok(Proxy::to(format!("http://{upstream}"))?)
}

pub(crate) async fn axum(address: SocketAddr, upstream: SocketAddr) -> Fallible {
    let app = axum::Router::new()
        .fallback_service(proxy(upstream)?)
        .layer(RateLimitLayer::new(quota()))
        .layer(AuthLayer::new(keys()));
    // axum leaves Nagle's delay on.
    let listener = TcpListener::bind(address).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}

pub(crate) async fn route(address: SocketAddr, upstream: SocketAddr) -> Fallible {
    let route = proxy(upstream)?.strip_prefix("/api");
    serve(Gateway::builder().route("/api/{*rest}", route), address).await
}

pub(crate) async fn gateway(address: SocketAddr, upstream: SocketAddr) -> Fallible {
    let provider = Provider::custom("bench", format!("http://{upstream}/v1"))?;
    let provider = provider.key("sk-bench-0123456789").model("gpt-5-mini");
    serve(Gateway::builder().model("m", [provider]), address).await
}

async fn serve(builder: GatewayBuilder, address: SocketAddr) -> Fallible {
    let gateway = builder.api_keys(keys()).rate_limit(quota()).build()?;
    Ok(gateway.serve(address).await?)
}

/// As a program would in production: JSON, from `info` on. Standard output is nowhere here.
pub(crate) fn log() {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new("info"))
        .init();
}
