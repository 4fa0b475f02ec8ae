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
use measure::both;
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

/// What a call costs more than one of the service itself, and what that costs.
async fn added<S>(mut base: Base, mut service: S) -> (f64, f64)
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    let calls = both(
        async || call(&mut base).await,
        async || call(&mut service).await,
    );
    let (base, whole) = calls.await;
    (whole - base, base)
}

/// What a layer adds to the plain service, and to each event of the streaming one.
async fn row<L>(name: &str, layer: L)
where
    L: Layer<Base>,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let (plain, _) = added(plain(), layer.layer(plain())).await;
    let (stream, _) = added(stream(), layer.layer(stream())).await;
    print(name, plain, stream);
}

fn print(name: &str, plain: f64, stream: f64) {
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
    println!("{:<44}{:>10}{:>12}", "added ns", "a call", "an event");
    let (_, head) = added(plain(), plain()).await;
    let (_, events) = added(stream(), stream()).await;
    print("(the service itself)", head, events);

    let metrics = Metrics::new();
    let keys = || {
        (0..1000).fold(ApiKeys::new().add("bench", KEY), |keys, n| {
            keys.add(format!("caller-{n}"), format!("a-key-of-caller-{n:04}"))
        })
    };
    let quota = Quota::per_second(1_000_000_000);
    let limit = || RateLimitLayer::new(quota.clone());
    row("trace", TraceLayer::new()).await;
    row("metrics", MetricsLayer::new(&metrics)).await;
    row("access log", AccessLogLayer::new()).await;
    row("dialect", DialectLayer::new()).await;
    row("client address", ClientAddrLayer::new()).await;
    row("auth, 1001 keys", AuthLayer::new(keys())).await;
    row("rate limit, one quota", limit()).await;
    let two = [quota.clone(), Quota::per_minute(1_000_000_000_000)];
    row("rate limit, two quotas", RateLimitLayer::all(two)).await;
    row("concurrency", ConcurrencyLayer::new(1000)).await;
    row("timeout: first byte, idle", TimeoutLayer::llm()).await;
    let total = TimeoutLayer::new().total(Duration::from_secs(60));
    row("timeout: total", total).await;
    row("circuit breaker", CircuitBreakerLayer::new()).await;
    let five = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000))
        .layer(ConcurrencyLayer::new(1000));
    row("concurrency, five times", five).await;
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
    row("all of these, in one type", all).await;

    // The same, boxed at every slot, and routed.
    let whole = async |service: Base| {
        let base = service;
        let gateway = Gateway::builder()
            .api_keys(keys())
            .rate_limit(quota.clone())
            .concurrency(1000)
            .route("/api/{*rest}", service)
            .build();
        match gateway {
            Ok(gateway) => added(base, gateway).await.0,
            Err(error) => panic!("{error}"),
        }
    };
    let (plain, stream) = (whole(plain()).await, whole(stream()).await);
    print("a route of the gateway, whole", plain, stream);
}
