//! A gateway for an organisation: tokens of its OpenID Connect issuer beside keys, and limits that all
//! processes share.
//!
//! | variable | what | default |
//! |---|---|---|
//! | `OIDC_ISSUER`, `AUDIENCE` | whose tokens are taken, and for whom they must be | keys alone |
//! | `REDIS_URL` | where calls are counted: `redis://…`, `rediss://…`; several, with commas: a cluster | in this process |
//!
//! Beside them those of every example (`ADDR`, `GATEWAY_KEY`, `RATE_PER_MINUTE`, `ADMIN_ADDR`), and the keys of
//! vendors; without any, the simulator answers.
//!
//! ```text
//! OIDC_ISSUER=https://issuer.example AUDIENCE=gateway REDIS_URL=redis://127.0.0.1 cargo run --all-features --example platform
//! ```

use std::env::var;
use tower_gateway::{
    BoxError,
    auth::{
        AnyOf, ApiKeys,
        jwt::{Issuer, Jwt},
    },
    gateway::{Env, Gateway, Server},
    llm::{Provider, Simulator},
    rate_limit::{OnStoreDown, Quota, RateLimitLayer, RedisStore},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let env = Env::read()?;
    let set = |name| var(name).ok().filter(|value| !value.trim().is_empty());

    let keys = ApiKeys::new().add("default", env.key());
    let mut gateway = match set("OIDC_ISSUER") {
        None => Gateway::builder().api_keys(keys),
        Some(issuer) => {
            let audience = set("AUDIENCE").ok_or("AUDIENCE: expected for whom tokens are")?;
            let issuer =
                Issuer::discover(issuer).map_err(|error| format!("OIDC_ISSUER: {error}"))?;
            let jwt = Jwt::new([issuer.audience(audience)])?;
            // What has the form of a token is one; all else is a key.
            Gateway::builder().auth(AnyOf::new(jwt, keys))
        }
    };

    let limit = RateLimitLayer::all([env.quota(), Quota::per_month(1_000_000)]);
    gateway = match set("REDIS_URL") {
        None => gateway.rate_limit(limit),
        Some(urls) => {
            let redis = match urls.split(',').collect::<Vec<_>>()[..] {
                [one] => RedisStore::new(one),
                ref nodes => RedisStore::cluster(nodes),
            };
            let redis = redis.map_err(|error| format!("REDIS_URL: {error}"))?;
            // Without Redis each process grants a half: no outage, and no flood.
            let down = OnStoreDown::LocalFallback { fraction: 0.5 };
            gateway.rate_limit(limit.shared("platform", redis, down))
        }
    };

    let vendors = Provider::from_env()?;
    if vendors.is_empty() {
        gateway = gateway.simulator(Simulator::new());
    }
    gateway = vendors
        .into_iter()
        .fold(gateway, |all, vendor| all.vendor(vendor));

    let gateway = gateway.build()?;
    println!("{}\n", gateway.describe());
    let server = env.admin(Server::bind(gateway, env.addr())?)?;
    println!("listening on http://{}/v1", server.local_addr()?);
    if env.key_is_made() {
        println!("the key of this run: {}", env.key());
    }
    server.run().await?;
    Ok(())
}
