//! The gateway as a whole, in process and over sockets.

mod bad_input;
mod socket;

use axum::{Router, body::Body, body::to_bytes, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_gateway::{
    Rejection,
    auth::ApiKeys,
    circuit_breaker::CircuitBreakerLayer,
    client_addr::PeerAddr,
    gateway::{Gateway, GatewayBuilder, GatewayService, Server, Slot},
    llm::{Simulator, VendorFault, pool::Pool, simulator},
    rate_limit::Quota,
    rejection::Kind,
    timeout::TimeoutLayer,
};

const KEY: &str = "a-secret-of-alice";

fn builder() -> GatewayBuilder {
    Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", KEY))
        .rate_limit(Quota::per_minute(600))
        .simulator(Simulator::new())
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

fn get_with_key(path: &str) -> Request<Body> {
    Request::get(path)
        .header("authorization", format!("Bearer {KEY}"))
        .body(Body::empty())
        .unwrap()
}

fn chat(stream: bool) -> Request<Body> {
    let body = json!({
        "model": simulator::CHAT_MODEL,
        "stream": stream,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    post("/v1/chat/completions", body.to_string())
}

async fn call(gateway: &GatewayService, request: Request<Body>) -> Response<tower_gateway::Body> {
    gateway.clone().oneshot(request).await.unwrap()
}

async fn bytes(response: Response<tower_gateway::Body>) -> Bytes {
    to_bytes(Body::new(response.into_body()), 1 << 20)
        .await
        .unwrap()
}

async fn json_of(response: Response<tower_gateway::Body>) -> Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
}

#[tokio::test]
async fn a_conversation_is_answered() {
    let gateway = builder().build().unwrap();
    let response = call(&gateway, chat(false)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("x-request-id"));
    assert!(response.headers().contains_key("ratelimit"));
    let answer = json_of(response).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], simulator::CHAT_MODEL);
    assert!(
        !answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_stream_ends_with_done_and_shows_usage_only_if_asked() {
    let gateway = builder().build().unwrap();
    let response = call(&gateway, chat(true)).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let plain = String::from_utf8(bytes(response).await.to_vec()).unwrap();
    assert!(
        plain.ends_with("data: [DONE]\n\n") && !plain.contains("\"usage\":{"),
        "{plain}"
    );

    let body = json!({
        "model": simulator::CHAT_MODEL,
        "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let response = call(&gateway, post("/v1/chat/completions", body.to_string())).await;
    let asked = String::from_utf8(bytes(response).await.to_vec()).unwrap();
    assert!(asked.contains("\"usage\":{"), "{asked}");
}

#[tokio::test]
async fn errors_of_every_layer_are_in_the_words_of_the_client() {
    let gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", KEY))
        .rate_limit(Quota::per_minute(2))
        .simulator(Simulator::new())
        .build()
        .unwrap();
    let wrong = Request::get("/v1/models")
        .header("authorization", "Bearer not-the-right-key")
        .body(Body::empty())
        .unwrap();
    let missing = Request::get("/v1/models").body(Body::empty()).unwrap();
    for (request, status, code) in [
        (missing, 401, "missing_api_key"),
        (wrong, 401, "invalid_api_key"),
        (
            post(
                "/v1/chat/completions",
                r#"{"model":"nobody","messages":[]}"#,
            ),
            404,
            "model_not_found",
        ),
        (post("/v1/chat/completions", "{"), 400, "invalid_request"),
        (get_with_key("/v1/models"), 429, "rate_limit_exceeded"),
    ] {
        let response = call(&gateway, request).await;
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(
            response.headers().contains_key(header::RETRY_AFTER),
            status == 429
        );
        assert!(response.extensions().get::<Rejection>().is_some());
        assert_eq!(json_of(response).await["error"]["code"], code);
    }
}

#[tokio::test]
async fn elsewhere_an_error_is_a_problem_document_with_the_request_id() {
    let gateway = builder()
        .route("/hello", get(|| async { "hello" }))
        .build()
        .unwrap();
    let response = call(&gateway, get_with_key("/nothing")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let problem = json_of(response).await;
    assert_eq!(
        (&problem["code"], &problem["request_id"]),
        (&json!("not_found"), &json!(id))
    );
    let response = call(&gateway, get_with_key("/hello")).await;
    assert_eq!(bytes(response).await, "hello");
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let gateway = builder().model("fast", [Simulator::new()]).build().unwrap();
    let list = json_of(call(&gateway, get_with_key("/v1/models")).await).await;
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids[0], "fast");
    assert!(ids.contains(&simulator::CHAT_MODEL));
    for (id, status) in [("fast", 200), ("nobody", 404)] {
        let response = call(&gateway, get_with_key(&format!("/v1/models/{id}"))).await;
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn a_vendor_can_always_be_named() {
    let gateway = builder().build().unwrap();
    let name = format!("simulator/{}", simulator::CHAT_MODEL);
    let body = json!({"model": name, "messages": [{"role": "user", "content": "Hello"}]});
    let response = call(&gateway, post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_next_one_answers_when_the_first_is_down() {
    let down = Simulator::new().faults(u64::MAX, VendorFault::Overloaded);
    let gateway = builder()
        .model("fast", [down, Simulator::new()])
        .build()
        .unwrap();
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "Hello"}]});
    let response = call(&gateway, post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn health_needs_no_key_and_knows_of_the_end() {
    let gateway = builder().build().unwrap();
    for (drained, path, status) in [
        (false, "/health/live", 200),
        (false, "/health/ready", 200),
        (true, "/health/live", 200),
        (true, "/health/ready", 503),
    ] {
        if drained {
            gateway.drain().start();
        }
        let response = call(&gateway, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let error = Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", "short"))
        .model("empty", Vec::<Simulator>::new())
        .pool("twice", Pool::from_iter([Simulator::new()]))
        .pool("twice", Pool::from_iter([Simulator::new()]))
        .cors(["example.com"])
        .route("no-slash", get(|| async {}))
        .route("/v1/mine", get(|| async {}))
        .route("/health/live", get(|| async {}))
        .api_keys(ApiKeys::new().add("bob", "0123456789abcdef"))
        .rate_limit(Quota::per_minute(1))
        .rate_limit(Quota::per_minute(2))
        .build()
        .unwrap_err();
    let at: Vec<_> = error.faults().map(|(at, _)| at.to_owned()).collect();
    assert_eq!(
        at,
        [
            "api_keys",
            "model(\"empty\")",
            "pool(\"twice\")",
            "cors",
            "route(\"/v1/mine\")",
            "route(\"/health/live\")",
            "api_keys",
            "rate_limit",
            "route(\"no-slash\")"
        ],
        "{error}"
    );
    let nothing = Gateway::builder().build().unwrap_err();
    assert!(nothing.to_string().contains(".model("));
}

#[test]
fn vendors_that_nobody_has_seen_answer_are_named_as_such() {
    use tower_gateway::llm::{Provider, provider::Vendor};
    let row = |name: &str| *Vendor::ALL.iter().find(|row| row.name() == name).unwrap();
    let with = |names: &[&str]| {
        let builder = Gateway::builder();
        let add = |builder: GatewayBuilder, name: &&str| builder.vendor(Provider::of(row(name)));
        let gateway = names.iter().fold(builder, add).build().unwrap();
        gateway.describe().to_owned()
    };
    assert!(with(&["groq", "mistral"]).contains("llm   models\n"));
    let line = "llm   models (of unverified vendors: nscale, venice)\n";
    assert!(with(&["nscale", "groq", "venice"]).contains(line));
}

#[test]
fn the_order_is_described() {
    let gateway = builder()
        .concurrency(10)
        .compression()
        .cors(["https://app.example.com"])
        .layer(CircuitBreakerLayer::new())
        .chat_layer(TimeoutLayer::llm())
        .build()
        .unwrap();
    let expected = "\
http  Trace        QueryKeyLayer
http  Trace        IdentityLayer
http  Trace        TraceLayer
http  Tell         MetricsLayer
http  Tell         AccessLogLayer
http  Drain        HealthLayer
http  Edge         CompressionLayer
http  Edge         CorsLayer
http  Dialect      DialectLayer
http  Dialect      ServerNameLayer
http  Dialect      NormalisePathLayer
http  ClientAddr   ClientAddrLayer
http  Auth         AuthLayer
http  RateLimit    RateLimitLayer
http  Concurrency  ConcurrencyLayer
http  Inner        CircuitBreakerLayer
http  routes
llm   DrainLayer
llm   TimeoutLayer
llm   models
llm   each service: CircuitBreakerLayer";
    assert_eq!(gateway.describe(), expected);
}

/// A foreign layer whose service dies.
#[derive(Clone)]
struct Dying<S>(S);

impl<S: Service<Request<tower_gateway::Body>>> Service<Request<tower_gateway::Body>> for Dying<S>
where
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = futures_util::future::ErrInto<
        futures_util::future::BoxFuture<'static, Result<S::Response, BoxError>>,
        BoxError,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("dead-canary".into()))
    }

    fn call(&mut self, _: Request<tower_gateway::Body>) -> Self::Future {
        unreachable!("not ready")
    }
}

#[derive(Clone)]
struct DyingLayer;

impl<S> Layer<S> for DyingLayer {
    type Service = Dying<S>;

    fn layer(&self, inner: S) -> Dying<S> {
        Dying(inner)
    }
}

#[tokio::test]
async fn a_foreign_layer_that_dies_is_an_answer() {
    let gateway = builder().layer(DyingLayer).build().unwrap();
    for _ in 0..2 {
        let response = call(&gateway, chat(false)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = bytes(response).await;
        assert!(!String::from_utf8_lossy(&body).contains("canary"));
    }
}

#[tokio::test]
async fn any_tower_layer_fits() {
    let limit = tower::limit::ConcurrencyLimitLayer::new(1);
    let gateway = builder()
        .layer(limit)
        .layer_at(Slot::Limits, tower_http::trace::TraceLayer::new_for_http())
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(5)))
        .chat_layer(tower::limit::ConcurrencyLimitLayer::new(2))
        .build()
        .unwrap();
    for _ in 0..3 {
        let response = call(&gateway, chat(false)).await;
        assert_eq!(response.status(), StatusCode::OK);
        bytes(response).await;
    }
}

#[tokio::test]
async fn it_mounts_in_axum() {
    let gateway = builder().build().unwrap();
    let app = Router::new()
        .route("/own", get(|| async { "own" }))
        .nest_service("/ai", gateway.clone())
        .fallback_service(gateway);
    for (path, status) in [
        ("/own", 200),
        ("/ai/v1/models", 200),
        ("/v1/models", 200),
        ("/ai/none", 404),
    ] {
        let response = app.clone().oneshot(get_with_key(path)).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn usage_reaches_metrics() {
    let gateway = builder().build().unwrap();
    bytes(call(&gateway, chat(true)).await).await;
    let text = gateway.metrics().encode();
    let counted = text.lines().any(|line| {
        line.starts_with("gateway_tokens_total")
            && line.contains(simulator::CHAT_MODEL)
            && !line.ends_with(" 0")
    });
    assert!(counted, "{text}");
    assert!(text.contains("route=\"/v1/chat/completions\""), "{text}");
}

#[tokio::test]
async fn what_is_kept_in_memory_is_among_the_metrics() {
    let gateway = builder().build().unwrap();
    bytes(call(&gateway, chat(false)).await).await;
    let mut wrong = chat(false);
    let key = HeaderValue::from_static("Bearer wrong-0123456789");
    wrong.headers_mut().insert(header::AUTHORIZATION, key);
    let peer = PeerAddr(([192, 0, 2, 1], 7).into());
    wrong.extensions_mut().insert(peer);
    assert_eq!(call(&gateway, wrong).await.status(), 401);
    let text = gateway.metrics().encode();
    for line in [
        "gateway_rate_limit_keys 1",
        "gateway_auth_failing_addresses 1",
        "gateway_auth_known_credentials 1",
        "gateway_rate_limit_degraded 0",
        "gateway_rate_limit_without_store 0",
        "gateway_circuits_open 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_guard_sees_the_path_that_is_served() {
    let guard = tower::util::MapRequestLayer::new(|request: Request<tower_gateway::Body>| {
        assert!(!request.uri().path().contains("//"), "{}", request.uri());
        request
    });
    let gateway = builder()
        .layer_at(Slot::Authorize, guard)
        .route(
            "/{*rest}",
            get(|uri: http::Uri| async move { uri.path().to_owned() }),
        )
        .build()
        .unwrap();
    for (path, served) in [("/a/%61dmin", "/a/admin"), ("/x/../admin", "/admin")] {
        let response = call(&gateway, get_with_key(path)).await;
        if response.status() == StatusCode::OK {
            assert_eq!(bytes(response).await, served);
        } else {
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        }
    }
    let response = call(&gateway, get_with_key("//v1/models")).await;
    assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let id = format!("simulator%2F{}", simulator::CHAT_MODEL);
    let response = call(&gateway, get_with_key(&format!("/v1/models/{id}"))).await;
    assert_ne!(
        response.status(),
        StatusCode::BAD_REQUEST,
        "a name may hold a slash"
    );
}

#[test]
fn a_gateway_can_be_written_down_and_shared() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    check(&builder().build().unwrap());
    let rejection = Rejection::new(Kind::Internal);
    check(&rejection);
}
