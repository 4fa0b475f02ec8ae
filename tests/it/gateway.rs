//! The gateway as a whole, in process and over sockets.

use axum::{Router, body::Body, body::to_bytes, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
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
    gateway::{Gateway, GatewayBuilder, GatewayService, Server, Slot},
    llm::{Simulator, VendorFault, simulator},
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

#[tokio::test]
async fn bad_input_gets_a_clear_error() {
    let gateway = builder().body_limit(1 << 20).build().unwrap();
    let model = simulator::CHAT_MODEL;
    let deep = format!(r#"{{"model":"{model}","messages":{}"#, "[".repeat(100_000));
    let post = |body: String| post("/v1/chat/completions", body);
    let typed = |content_type: Option<&'static str>| {
        let mut request = chat(false);
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(value) = content_type {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, value.parse().unwrap());
        }
        request
    };
    let many = format!(
        r#"{{"model":"{model}","n":1000000000,"messages":[{{"role":"user","content":"x"}}]}}"#
    );
    for (name, request, status, param, code) in [
        (
            "broken",
            post("{\"model\": \"a\",".into()),
            400,
            None,
            "invalid_request",
        ),
        ("deep", post(deep), 400, None, "invalid_request"),
        (
            "empty body",
            post(String::new()),
            400,
            None,
            "invalid_request",
        ),
        ("an array", post("[]".into()), 400, None, "invalid_request"),
        (
            "no model",
            post(r#"{"messages":[]}"#.into()),
            400,
            Some("model"),
            "invalid_request",
        ),
        (
            "model of a wrong type",
            post(r#"{"model":7}"#.into()),
            400,
            Some("model"),
            "invalid_request",
        ),
        (
            "no messages",
            post(format!(r#"{{"model":"{model}","messages":[]}}"#)),
            400,
            Some("messages"),
            "invalid_request",
        ),
        (
            "role of a wrong type",
            post(format!(
                r#"{{"model":"{model}","messages":[{{"role":7,"content":"x"}}]}}"#
            )),
            400,
            Some("messages[0].role"),
            "invalid_request",
        ),
        ("n", post(many), 400, Some("n"), "invalid_request"),
        (
            "no content type",
            typed(None),
            415,
            Some("content-type"),
            "unsupported_media_type",
        ),
        (
            "text",
            typed(Some("text/plain")),
            415,
            Some("content-type"),
            "unsupported_media_type",
        ),
        (
            "large",
            post(" ".repeat((1 << 20) + 1)),
            413,
            None,
            "request_too_large",
        ),
        (
            "method",
            get_with_key("/v1/chat/completions"),
            405,
            None,
            "method_not_allowed",
        ),
        (
            "path",
            get_with_key("/v1/assistants"),
            404,
            None,
            "not_supported",
        ),
    ] {
        let response = call(&gateway, request).await;
        assert_eq!(response.status(), status, "{name}");
        let error = json_of(response).await["error"].take();
        assert_eq!(error["code"], code, "{name}: {error}");
        assert_eq!(error["param"].as_str(), param, "{name}: {error}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_and_bombs_are_not() {
    use std::io::Write;
    let gateway = builder().body_limit(64 << 10).build().unwrap();
    let gzip = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let body =
        json!({"model": simulator::CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]});
    let good = gzip(body.to_string().as_bytes());
    let bomb = gzip(&vec![b' '; 10 << 20]);
    for (encoding, body, status) in [
        ("gzip", good.clone(), 200),
        ("gzip", bomb, 413),
        ("gzip", b"not gzip".to_vec(), 400),
        ("br", good.clone(), 415),
        ("gzip, gzip", good, 415),
    ] {
        let mut request = post("/v1/chat/completions", body);
        request
            .headers_mut()
            .insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        assert_eq!(call(&gateway, request).await.status(), status, "{encoding}");
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let error = Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", "short"))
        .model("empty", Vec::<Simulator>::new())
        .model("twice", [Simulator::new()])
        .model("twice", [Simulator::new()])
        .cors(["example.com"])
        .route("no-slash", get(|| async {}))
        .route("/v1/mine", get(|| async {}))
        .build()
        .unwrap_err();
    let at: Vec<_> = error.faults().map(|(at, _)| at.to_owned()).collect();
    assert_eq!(
        at,
        [
            "api_keys",
            "model(\"empty\")",
            "model(\"twice\")",
            "cors",
            "route(\"/v1/mine\")",
            "route(\"no-slash\")"
        ],
        "{error}"
    );
    let nothing = Gateway::builder().build().unwrap_err();
    assert!(nothing.to_string().contains(".model("));
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
http  Trace        TraceLayer
http  Tell         MetricsLayer
http  Tell         AccessLogLayer
http  Drain        HealthLayer
http  Edge         CompressionLayer
http  Edge         CorsLayer
http  Dialect      DialectLayer
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

/// Starts a server, and returns its address and what stops it.
fn started(
    server: impl FnOnce(Server) -> Server,
) -> (
    std::net::SocketAddr,
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let server = server(Server::bind(slow().build().unwrap(), "127.0.0.1:0").unwrap());
    let addr = server.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(server.run_until(async move {
        let _ = stopped.await;
    }));
    (addr, stop, run)
}

/// A gateway whose streams take a minute.
fn slow() -> GatewayBuilder {
    Gateway::builder()
        .route(
            "/hello",
            tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from("hello")))),
        )
        .simulator(Simulator::new().pace(Duration::from_secs(20)))
}

async fn ask(addr: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is let go with bytes unread is reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn it_serves_on_a_socket_and_drains() {
    let (addr, stop, run) = started(|server| server.drain_time(Duration::from_millis(200)));
    let answer = ask(
        addr,
        "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );

    // A stream that would go on for long is cut at the deadline.
    let body = format!(
        r#"{{"model":"{}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}"#,
        simulator::CHAT_MODEL
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let long = tokio::spawn(async move { ask(addr, &request).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), run)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let long = long.await.unwrap();
    assert!(long.starts_with("HTTP/1.1 200"), "{long}");
    assert!(
        long.contains("\"draining\"") && !long.contains("[DONE]"),
        "{long}"
    );
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "no longer listening"
    );
}

#[tokio::test(start_paused = true)]
async fn what_begins_when_the_drain_is_over_ends_too() {
    let gateway = slow().build().unwrap();
    gateway.drain().end_streams();
    let ask = |stream: bool| {
        let body = serde_json::json!({
            "model": simulator::CHAT_MODEL,
            "stream": stream,
            "messages": [{"role": "user", "content": "Hello"}],
        });
        Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    for stream in [true, false] {
        let start = tokio::time::Instant::now();
        let text = bytes(call(&gateway, ask(stream)).await).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("\"draining\""), "{text}");
        assert!(start.elapsed() < Duration::from_secs(20), "{text}");
    }
    // What needs no waiting is still answered.
    let hello = Request::get("/hello").body(Body::empty());
    assert_eq!(bytes(call(&gateway, hello.unwrap()).await).await, "hello");
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

#[tokio::test]
async fn whoever_connects_and_says_nothing_is_let_go() {
    let (addr, _stop, _run) = started(|server| server.header_time(Duration::from_millis(100)));
    for said in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let answer = tokio::time::timeout(Duration::from_secs(5), ask(addr, said)).await;
        assert_eq!(answer.unwrap(), "", "after {said:?}");
    }
}

#[tokio::test]
async fn the_name_of_a_model_is_bounded() {
    let gateway = builder().build().unwrap();
    let body = json!({"model": "m".repeat(1000), "messages": []});
    let response = call(&gateway, post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json_of(response).await["error"]["param"], "model");
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let (addr, _stop, _run) = started(|server| server);
    let request = format!(
        "GET /hello HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let answer = ask(addr, &request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[test]
fn a_gateway_can_be_written_down_and_shared() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    check(&builder().build().unwrap());
    let rejection = Rejection::new(Kind::Internal);
    check(&rejection);
}
