//! Policies around a router that you already have. Then:
//!
//! ```text
//! curl -i localhost:8080/                                  # 401
//! curl -i localhost:8080/ -H 'Authorization: Bearer KEY'   # 200, and what is left of the quota
//! ```

use axum::{Router, extract::ConnectInfo, routing::get};
use std::net::SocketAddr;
use tower_gateway::{
    BoxError,
    auth::{ApiKeys, AuthLayer},
    circuit_breaker::CircuitBreakerLayer,
    client_addr::{ByClientAddr, ClientAddrLayer},
    gateway::Env,
    rate_limit::RateLimitLayer,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let env = Env::read()?;
    // axum knows who connected; the layer is told where to find it.
    let client_addr = ClientAddrLayer::new().peer(|extensions| {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(peer.0)
    });

    let app = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .layer(CircuitBreakerLayer::new())
        .layer(RateLimitLayer::new(env.quota()).key(ByClientAddr))
        .layer(AuthLayer::new(ApiKeys::new().add("alice", env.key())))
        .layer(client_addr);

    let listener = tokio::net::TcpListener::bind(env.addr()).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    if env.key_is_made() {
        println!("Key: {}", env.key());
    }
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
