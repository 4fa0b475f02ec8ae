//! Each layer around a service of bare hyper's, with hyper's own request body; and each that has
//! state where `Layer::layer` is called for each request, as axum does in a router without state.

use crate::telling::Told;
use axum::{Router, routing::get};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceExt};
use tower_gateway::{
    Body, BoxError, Exchange,
    access_log::AccessLogLayer,
    circuit_breaker::CircuitBreakerLayer,
    client_addr::{ClientAddr, ClientAddrLayer},
    concurrency::ConcurrencyLayer,
    route::NormalisePathLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

type Answer = Result<Response<Body>, Infallible>;

/// What hyper answers to `GET /a//b?wait` and the like, in small letters.
async fn served<L, B>(layer: &L, target: &str, answer: fn(Request<Incoming>) -> Answer) -> String
where
    L: Layer<Handler>,
    L::Service: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(layer.layer(Handler(answer)));
    let server =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = client.read_to_string(&mut text);
    let (served, read) = tokio::join!(server, read);
    served.unwrap();
    read.unwrap();
    text.to_ascii_lowercase()
}

/// Answers, or never does where the query says so.
#[derive(Clone, Copy)]
struct Handler(fn(Request<Incoming>) -> Answer);

impl Service<Request<Incoming>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Incoming>) -> Self::Future {
        let Self(answer) = *self;
        Box::pin(async move {
            if req.uri().query() == Some("wait") {
                pending::<()>().await;
            }
            answer(req)
        })
    }
}

fn hello(_: Request<Incoming>) -> Answer {
    Ok(Response::new("hello".into()))
}

fn broken(_: Request<Incoming>) -> Answer {
    Ok(Response::builder().status(503).body(Body::empty()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn in_hyper_an_answer_that_does_not_come_is_given_up() {
    let layer = TimeoutLayer::new().first_byte(Duration::from_secs(5));
    assert!(served(&layer, "/", hello).await.ends_with("hello"));
    let late = served(&layer, "/?wait", hello).await;
    assert!(late.starts_with("http/1.1 504 "), "{late}");
}

#[tokio::test(start_paused = true)]
async fn in_hyper_a_circuit_opens_over_connections() {
    let layer = CircuitBreakerLayer::new().minimum_calls(2).window(2);
    for _ in 0..2 {
        assert!(
            !served(&layer, "/", broken)
                .await
                .contains("not called for now")
        );
    }
    let refused = served(&layer, "/", hello).await;
    assert!(
        refused.starts_with("http/1.1 503 ") && refused.contains("not called for now"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn in_hyper_a_limit_holds_over_connections() {
    let layer = ConcurrencyLayer::new(1);
    let waits = served(&layer, "/?wait", hello);
    tokio::select! {
        biased;
        _ = waits => panic!("it waits for ever"),
        refused = served(&layer, "/", hello) => {
            assert!(refused.starts_with("http/1.1 503 "), "{refused}");
        }
    }
    // The first one hung up.
    assert!(served(&layer, "/", hello).await.ends_with("hello"));
}

#[tokio::test]
async fn in_hyper_a_request_has_an_id_and_a_client() {
    let answer = |req: Request<Incoming>| {
        let client = req.extensions().get().map(ClientAddr::to_string);
        let id = Exchange::of(&req).unwrap().id();
        Ok(Response::new(format!("{client:?} {id}").into()))
    };
    let layers = (
        TraceLayer::new(),
        ClientAddrLayer::new().peer(|_| Some(([192, 0, 2, 1], 7).into())),
    );
    let text = served(&layers, "/", answer).await;
    let id = text.rsplit(' ').next().unwrap();
    assert!(text.contains(&format!("x-request-id: {id}")), "{text}");
    assert!(text.contains("some(\"192.0.2.1\")"), "{text}");
}

#[tokio::test]
async fn in_hyper_a_path_has_one_form() {
    let answer = |req: Request<Incoming>| Ok(Response::new(req.uri().to_string().into()));
    let layer = NormalisePathLayer::new();
    let text = served(&layer, "/a//%62/../c", answer).await;
    assert!(text.ends_with("\r\n\r\n/a/c"), "{text}");
    let refused = served(&layer, "/a/%2e%2e%2f", answer).await;
    assert!(refused.starts_with("http/1.1 400 "), "{refused}");
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn in_hyper_calls_are_counted() {
    use tower_gateway::metrics::{Metrics, MetricsLayer};
    let metrics = Metrics::new();
    let layer = MetricsLayer::new(&metrics);
    for _ in 0..2 {
        assert!(served(&layer, "/", hello).await.ends_with("hello"));
    }
    let text = metrics.encode();
    assert!(
        text.contains("method=\"GET\",status=\"200\"} 2\n"),
        "{text}"
    );
}

#[cfg(feature = "auth")]
#[tokio::test]
async fn in_hyper_nobody_gets_in_without_a_key() {
    use tower_gateway::auth::{ApiKeys, AuthLayer};
    let layer = AuthLayer::new(ApiKeys::new().add("alice", "0123456789abcdef"));
    let refused = served(&layer, "/", hello).await;
    assert!(refused.starts_with("http/1.1 401 "), "{refused}");
}

/// axum applies a layer anew for each request of a router that has no state yet.
fn lazy(layer: impl LazyLayer) -> Router {
    layer.around(Router::new().route("/", get(async || "hello")))
}

/// The bounds of `Router::layer` for each of the layers below, without writing them out.
trait LazyLayer {
    fn around(self, app: Router) -> Router;
}

macro_rules! lazy_layer {
    ($($layer:ty),*) => {$(
        impl LazyLayer for $layer {
            fn around(self, app: Router) -> Router {
                app.layer(self)
            }
        }
    )*};
}

lazy_layer!(TraceLayer, AccessLogLayer, ClientAddrLayer, TimeoutLayer);

async fn ask(app: &Router) -> Response<axum::body::Body> {
    let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_trace_layer_applied_for_each_request_gives_each_an_id() {
    let app = lazy(TraceLayer::new());
    let id = |response: Response<_>| response.headers()["x-request-id"].clone();
    assert_ne!(id(ask(&app).await), id(ask(&app).await));
}

#[tokio::test]
async fn an_access_log_applied_for_each_request_has_one_sink() {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let sink = lines.clone();
    let layer = AccessLogLayer::new().sink(move |line| sink.lock().unwrap().push(line.to_string()));
    let app = lazy(layer);
    for _ in 0..3 {
        drop(ask(&app).await);
    }
    assert_eq!(lines.lock().unwrap().len(), 3);
}

#[test]
fn a_layer_applied_for_each_request_warns_once() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let app = lazy(ClientAddrLayer::new());
        for _ in 0..3 {
            drop(tokio_test::block_on(ask(&app)));
        }
    });
    assert_eq!(told.events("tower_gateway::client_addr").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_applied_for_each_request_is_each_ones_own() {
    let layer = TimeoutLayer::new().first_byte(Duration::from_secs(5));
    let slow = Router::new().route(
        "/",
        get(async || tokio::time::sleep(Duration::from_secs(4)).await),
    );
    let app = layer.around(slow);
    for _ in 0..3 {
        assert_eq!(ask(&app).await.status(), 200);
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics_applied_for_each_request_count_together() {
    use tower_gateway::metrics::{Metrics, MetricsLayer};
    let metrics = Metrics::new();
    let app: Router = Router::new().route("/", get(async || "hello"));
    let app = app.layer(MetricsLayer::new(&metrics));
    for _ in 0..3 {
        drop(ask(&app).await);
    }
    let text = metrics.encode();
    assert!(text.contains("status=\"200\"} 3\n"), "{text}");
}
