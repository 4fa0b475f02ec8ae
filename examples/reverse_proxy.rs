//! A reverse proxy: `UPSTREAM=http://127.0.0.1:3000 cargo run --example reverse_proxy`.
//!
//! `ADDR` is where it listens, 127.0.0.1:8080 by default; `GATEWAY_KEY` what callers show, which is not sent
//! on; `RATE_PER_MINUTE` how often they may call. Any layer of the gateway could stand before it: see what [`describe`](tower_gateway::gateway::GatewayService::describe) prints.

use tower_gateway::{
    BoxError,
    auth::ApiKeys,
    gateway::{Env, Gateway, Server},
    proxy::Proxy,
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let env = Env::read()?;
    let upstream = std::env::var("UPSTREAM")
        .map_err(|_| "UPSTREAM: expected a URL, such as http://127.0.0.1:3000")?;
    let proxy = Proxy::to(upstream).map_err(|error| format!("UPSTREAM: {error}"))?;

    let gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add("caller", env.key()))
        .rate_limit(env.quota())
        .route("/", proxy.clone())
        .route("/{*path}", proxy)
        .build()?;
    println!("{}\n", gateway.describe());
    let server = env.admin(Server::bind(gateway, env.addr())?)?;
    println!("listening on http://{}", server.local_addr()?);
    if env.key_is_made() {
        println!("the key of this run: {}", env.key());
    }
    server.run().await?;
    Ok(())
}
