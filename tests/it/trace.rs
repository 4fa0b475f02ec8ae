//! See the module of the same name.

use crate::telling::{Call, Failed, Reply, Told};
use axum::{Router, extract::MatchedPath, routing::get};
use http::{Request, Response};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Body, Exchange, Extensible, Reject, collect, exchange::Usage, rejection::Kind,
    trace::TraceLayer,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What stands further in sees: id of the exchange, `x-request-id`, `traceparent`.
async fn seen(layer: TraceLayer, request: Request<()>) -> ([String; 3], Response<Body>) {
    let (send, mut receive) = tokio::sync::mpsc::channel(1);
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |req: Request<()>| {
            let header = |name| req.headers()[name].to_str().unwrap().to_owned();
            let id = Exchange::of(&req).unwrap().id().to_owned();
            let seen = [id, header("x-request-id"), header("traceparent")];
            send.send(seen).await.unwrap();
            // A vendor has an id of its own.
            let response = Response::builder().header("x-request-id", "vendor");
            Ok::<_, Infallible>(response.body(Body::empty()).unwrap())
        });
    let response = service.oneshot(request).await.unwrap();
    (receive.try_recv().unwrap(), response)
}

fn request(id: &str) -> Request<()> {
    let request = Request::get("/").header("x-request-id", id);
    request.header("traceparent", PARENT).body(()).unwrap()
}

#[tokio::test]
async fn a_strangers_request_id_is_replaced() {
    let ([id, sent, parent], response) = seen(TraceLayer::new(), request("order-7")).await;
    assert_eq!((id.len(), &sent), (32, &id));
    assert_eq!(response.headers()["x-request-id"], *id);
    assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
    assert_eq!(parent[..36], PARENT[..36]);
    assert_ne!(parent[36..52], PARENT[36..52]);
    assert_eq!(parent[52..], PARENT[52..]);
}

#[tokio::test]
async fn a_trusted_request_id_is_taken_if_it_is_plain() {
    let layer = TraceLayer::new().trust_request_id(true);
    let ([id, sent, _], response) = seen(layer.clone(), request("order-7")).await;
    assert_eq!((&*id, &*sent), ("order-7", "order-7"));
    assert_eq!(response.headers()["x-request-id"], "order-7");

    let ([id, ..], _) = seen(layer, request("order 7; drop")).await;
    assert_eq!(id.len(), 32);
}

#[tokio::test]
async fn a_new_trace_has_the_id_of_the_request() {
    let layer = TraceLayer::new().trust_traceparent(false);
    let ([id, _, parent], _) = seen(layer, request("a")).await;
    assert_eq!(parent[..36], format!("00-{id}-"));
}

#[tokio::test]
async fn an_exchange_that_has_begun_goes_on() {
    let mut request = request("a");
    request.extensions_mut().insert(Exchange::with_id("begun"));
    let layer = TraceLayer::new().trust_request_id(true);
    let ([id, sent, _], _) = seen(layer, request).await;
    assert_eq!((&*id, &*sent), ("begun", "begun"));
}

#[tokio::test]
async fn a_refusal_has_the_request_id_too() {
    let service = TraceLayer::new().layer(tower::service_fn(async |_: Request<()>| {
        let refused: Result<_, Infallible> = Response::<Body>::reject(Kind::RateLimited.into());
        refused
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 32);
}

#[test]
fn the_span_lasts_to_the_end_of_the_body_and_knows_it_all() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let service = TraceLayer::new().layer(tower::service_fn(async |req: Request<()>| {
            Exchange::of(&req).unwrap().update(|facts| {
                facts.route = Some("/v1/chat/completions".into());
                facts.principal = Some("alice".into());
                facts.client = Some([192, 0, 2, 1].into());
                facts.model = Some("fast".into());
                facts.upstream = Some("anthropic".into());
                facts.attempts = 1;
                facts.first_content = Some(Duration::from_millis(1500));
                let mut usage = Usage::new(7, 11);
                usage.cache_read = Some(3);
                facts.usage = Some(usage);
            });
            Ok::<_, Infallible>(Response::new(Body::from("hello")))
        }));
        let request = Request::post("/v1/chat/completions?key=secret")
            .header("authorization", "Bearer secret")
            .header("traceparent", PARENT)
            .body(())
            .unwrap();
        let response = tokio_test::block_on(service.oneshot(request)).unwrap();
        assert_eq!(told.open().0, 1, "the body is not out");
        tokio_test::block_on(collect(response.into_body(), 100)).unwrap();
    });
    assert_eq!(told.open(), (0, 2), "entered for the call and for one poll");
    let [span] = told.closed().try_into().unwrap();
    let lines: Vec<_> = span
        .iter()
        .filter(|(name, _)| !name.ends_with("_id"))
        .collect();
    let lines: Vec<_> = lines
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        lines,
        [
            "client.address=192.0.2.1",
            "enduser.id=alice",
            "gateway.attempts=1",
            "gateway.upstream=anthropic",
            "gen_ai.provider.name=anthropic",
            "gen_ai.request.model=fast",
            "gen_ai.response.time_to_first_chunk=1.5",
            "gen_ai.usage.cache_read.input_tokens=3",
            "gen_ai.usage.input_tokens=7",
            "gen_ai.usage.output_tokens=11",
            "http.request.method=POST",
            "http.response.status_code=200",
            "http.route=/v1/chat/completions",
            "otel.kind=server",
            "otel.name=POST /v1/chat/completions",
            "outcome=complete",
        ]
    );
    assert_eq!(span["trace_id"], PARENT[3..35]);
    assert_eq!(span["parent_span_id"], PARENT[36..52]);
    assert_eq!(span["request_id"].len(), 32);
    assert!(!format!("{span:?}").contains("secret"));
}

#[test]
fn a_call_that_is_dropped_closes_its_span() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let mut service = TraceLayer::new().layer(tower::service_fn(async |_: Request<()>| {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
        let mut call = tokio_test::task::spawn(service.call(Request::new(())));
        assert!(call.poll().is_pending());
    });
    let [span] = told.closed().try_into().unwrap();
    assert_eq!(span["outcome"], "client_gone");
    assert_eq!(span["http.response.status_code"], "499");
}

#[test]
fn over_an_answer_of_its_own() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let service = TraceLayer::new().layer(tower::service_fn(async |call: Call| {
            assert!(call.headers().contains_key("traceparent"));
            if call.headers().contains_key("fail") {
                return Err(Failed::Broken);
            }
            Ok(Reply::new("hello"))
        }));
        let reply = tokio_test::block_on(service.clone().oneshot(Call::default())).unwrap();
        assert!(reply.headers().contains_key("x-request-id"));
        let mut call = Call::default();
        call.headers_mut()
            .insert("fail", http::HeaderValue::from_static("1"));
        tokio_test::block_on(service.oneshot(call)).unwrap_err();
    });
    let [first, second] = told.closed().try_into().unwrap();
    assert_eq!(
        (&*first["outcome"], &*first["otel.name"]),
        ("complete", "call")
    );
    assert_eq!(
        (&*second["outcome"], &*second["error.type"]),
        ("failed", "broken")
    );
    assert_eq!(second["otel.status_code"], "ERROR");
}

#[tokio::test]
async fn over_axum() {
    let app: Router = Router::new()
        .route("/users/{id}", get(async || "hello"))
        .layer(
            TraceLayer::new()
                .route(|extensions| Some(extensions.get::<MatchedPath>()?.as_str().into())),
        );
    let request = Request::get("/users/7").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 32);
    assert_eq!(collect(response.into_body(), 100).await.unwrap(), "hello");
}
