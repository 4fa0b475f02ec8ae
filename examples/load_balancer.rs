//! A load balancer: `UPSTREAMS=http://127.0.0.1:9001,http://127.0.0.1:9002 cargo run --example load_balancer`.
//!
//! Without `UPSTREAMS` it starts two small ones of its own. `ADDR` is where it listens, 127.0.0.1:8080 by
//! default; `HEALTH_PATH` what each upstream is asked for every few seconds, `/health` by default.
//!
//! Of two upstreams each call goes to the one that answers sooner (peak EWMA). One that fails, or does not
//! say that it is well, gets no calls until it does; a call that it failed is sent to another one, if that
//! does no harm. `/health` says whether there is any left, and `/upstreams`, on this machine, how each is.

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode, header};
use serde_json::json;
use std::{convert::Infallible, env, future::ready, time::Duration};
use tokio::net::TcpListener;
use tower::{Layer, Service, service_fn};
use tower_gateway::{
    Body, BoxError,
    balance::{Checks, Rules, SlowStart, State, Strategy, Watcher},
    client_addr::ClientAddr,
    gateway::{Env, Gateway, Server},
    metrics::Metrics,
    proxy::{HttpCheck, Proxy},
    retry::RetryLayer,
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let env = Env::read()?;
    let given = env::var("UPSTREAMS").unwrap_or_default();
    let upstreams = match given.trim() {
        "" => vec![own_upstream("one").await?, own_upstream("two").await?],
        given => given.split(',').map(|url| url.trim().to_owned()).collect(),
    };
    let path = env::var("HEALTH_PATH").unwrap_or_else(|_| "/health".to_owned());
    let check = HttpCheck::get(&path).map_err(|error| format!("HEALTH_PATH: {error}"))?;
    let checks = Checks::new()
        .interval(Duration::from_secs(2))
        .timeout(Duration::from_secs(1));
    let rules = Rules::new(Strategy::PeakEwma).slow_start(SlowStart::new(Duration::from_secs(10)));
    let pool = Proxy::pool(upstreams)
        .map_err(|error| format!("UPSTREAMS: {error}"))?
        .rules(rules)
        .check(check.every(checks))
        .build()?;

    let watcher = pool.endpoints().watcher();
    let metrics = Metrics::new();
    let counted = watcher.clone();
    metrics.gauge("upstreams_up", "Upstreams that are called", move || {
        up(&counted)
    });
    let balanced = RetryLayer::new().elsewhere().layer(pool);
    let gateway = Gateway::builder()
        .metrics(metrics)
        .route("/health", health(watcher.clone()))
        .route("/upstreams", view(watcher))
        .route("/", balanced.clone())
        .route("/{*path}", balanced)
        .build()?;
    println!("{}\n", gateway.describe());
    let server = env.admin(Server::bind(gateway, env.addr())?)?;
    let url = format!("http://{}", server.local_addr()?);
    println!("listening on {url}\n\ncurl -i {url}/hello\ncurl {url}/upstreams\n");
    server.run().await?;
    Ok(())
}

/// How many upstreams are called.
fn up(watcher: &Watcher) -> i64 {
    let upstreams = watcher.statuses();
    let up = upstreams
        .iter()
        .filter(|upstream| upstream.state == State::Up);
    i64::try_from(up.count()).unwrap_or(i64::MAX)
}

/// Whether any upstream is.
fn health(
    watcher: Watcher,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |_: Request<Body>| {
        let (status, text) = match up(&watcher) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, "down"),
            _ => (StatusCode::OK, "up"),
        };
        ready(Ok(answer(status, &json!({ "status": text }))))
    })
}

/// How each upstream is, for whoever asks from this machine.
fn view(
    watcher: Watcher,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |request: Request<Body>| {
        let client = request.extensions().get::<ClientAddr>();
        if !client.is_some_and(|client| client.0.is_loopback()) {
            return ready(Ok(answer(StatusCode::NOT_FOUND, &json!({}))));
        }
        let upstreams = watcher.statuses().into_iter().map(|upstream| {
            json!({
                "name": &*upstream.name,
                "state": upstream.state.as_str(),
                "in_flight": upstream.in_flight,
                "calls": upstream.calls,
                "failures": upstream.failures,
                "ejections": upstream.ejections,
                "latency_ms": upstream.latency.map(|latency| latency.as_secs_f64() * 1000.0),
                "check": upstream.last_check.map(|(_, well)| if well { "well" } else { "unwell" }),
            })
        });
        let upstreams: Vec<_> = upstreams.collect();
        ready(Ok(answer(
            StatusCode::OK,
            &json!({ "upstreams": upstreams }),
        )))
    })
}

fn answer(status: StatusCode, json: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{json:#}\n")));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Something to balance where there is nothing else.
async fn own_upstream(name: &'static str) -> Result<String, BoxError> {
    let app = Router::new()
        .route("/health", get(async || "well\n"))
        .fallback(async move || format!("Hello from upstream {name}\n"));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an upstream ended"
            );
        }
    });
    Ok(url)
}
