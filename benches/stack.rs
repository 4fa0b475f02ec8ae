//! What each layer adds to a call, in process: no socket, no server, no subscriber for traces.
//!
//! ```sh
//! cargo bench --bench stack
//! ```
//!
//! Each figure is the best of many batches, so that other work on the machine disturbs it little.

mod measure;

use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use measure::nanos;
use std::{
    convert::Infallible,
    env,
    future::{Ready, poll_fn, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Body, BoxError,
    access_log::AccessLogLayer,
    auth::{ApiKeys, AuthLayer},
    circuit_breaker::CircuitBreakerLayer,
    client_addr::ClientAddrLayer,
    concurrency::ConcurrencyLayer,
    gateway::Gateway,
    llm::dialect::DialectLayer,
    metrics::{Metrics, MetricsLayer},
    rate_limit::{Quota, RateLimitLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

const KEY: &str = "bench-0123456789abcdef";
const EVENTS: usize = 50;

type Base = ServiceFn<fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>>;

fn plain() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::from("Hello")))))
}

fn stream() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::new(Events(EVENTS))))))
}

/// So many pieces, each there at once.
struct Events(usize);

impl HttpBody for Events {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data("data: {}\n\n".into()))))
    }
}

fn request() -> Request<Body> {
    Request::post("/api/hello?a=b")
        .header("host", "bench.test")
        .header(
            "authorization",
            concat!("Bearer ", "bench-0123456789abcdef"),
        )
        .header("content-type", "application/json")
        .header("user-agent", "bench/1")
        .body(Body::from("{}"))
        .unwrap_or_default()
}

/// One call, and its answer to the end.
async fn call<S>(service: &mut S)
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(response) = service.call(request()).await else {
        panic!("no answer");
    };
    assert_eq!(response.status(), 200);
    let mut body = pin!(response.into_body());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        black_box(frame.is_ok());
    }
}

async fn cost<S>(mut service: S) -> f64
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    nanos(async || call(&mut service).await).await
}

/// What a layer adds to the plain service, and to each event of the streaming one.
async fn row<L>(name: &str, base: (f64, f64), layer: L)
where
    L: Layer<Base>,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let plain = cost(layer.layer(plain())).await - base.0;
    let stream = cost(layer.layer(stream())).await - base.1;
    // The head costs what it costs a plain answer; the rest is for the events.
    let event = (stream - plain) / EVENTS as f64;
    println!("{name:<44}{plain:>10.0}{event:>12.1}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return;
    }
    let base = (cost(plain()).await, cost(stream()).await);
    println!("{:<44}{:>10}{:>12}", "added ns", "a call", "an event");
    println!(
        "{:<44}{:>10.0}{:>12.1}",
        "(the service itself)",
        base.0,
        base.1 / EVENTS as f64
    );

    let metrics = Metrics::new();
    let keys = || {
        (0..1000).fold(ApiKeys::new().add("bench", KEY), |keys, n| {
            keys.add(format!("caller-{n}"), format!("a-key-of-caller-{n:04}"))
        })
    };
    let quota = Quota::per_second(1_000_000_000);
    let limit = || RateLimitLayer::new(quota.clone());
    row("trace", base, TraceLayer::new()).await;
    row("metrics", base, MetricsLayer::new(&metrics)).await;
    row("access log", base, AccessLogLayer::new()).await;
    row("dialect", base, DialectLayer::new()).await;
    row("client address", base, ClientAddrLayer::new()).await;
    row("auth, 1001 keys", base, AuthLayer::new(keys())).await;
    row("rate limit, one quota", base, limit()).await;
    let two = [quota.clone(), Quota::per_minute(1_000_000_000_000)];
    row("rate limit, two quotas", base, RateLimitLayer::all(two)).await;
    row("concurrency", base, ConcurrencyLayer::new(1000)).await;
    row("timeout: first byte, idle", base, TimeoutLayer::llm()).await;
    let total = TimeoutLayer::new().total(Duration::from_secs(60));
    row("timeout: total", base, total).await;
    row("circuit breaker", base, CircuitBreakerLayer::new()).await;
    let five = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000));
    row("concurrency, five times", base, five).await;
    let all = ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(MetricsLayer::new(&metrics))
        .layer(AccessLogLayer::new())
        .layer(DialectLayer::new())
        .layer(ClientAddrLayer::new())
        .layer(AuthLayer::new(keys()))
        .layer(limit())
        .layer(ConcurrencyLayer::new(1000))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::llm());
    row("all of these, in one type", base, all).await;

    // The same, boxed at every slot, and routed.
    let whole = async |service: Base| {
        let gateway = Gateway::builder()
            .api_keys(keys())
            .rate_limit(quota.clone())
            .concurrency(1000)
            .route("/api/{*rest}", service)
            .build();
        match gateway {
            Ok(gateway) => cost(gateway).await,
            Err(error) => panic!("{error}"),
        }
    };
    let plain = whole(plain()).await - base.0;
    let stream = whole(stream()).await - base.1;
    let event = (stream - plain) / EVENTS as f64;
    println!(
        "{:<44}{plain:>10.0}{event:>12.1}",
        "a route of the gateway, whole"
    );
}
