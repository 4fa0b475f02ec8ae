//! What browsers need, and what goes over the wire.

use crate::directory::call;
use axum::routing::get;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::BodyExt;
use serde_json::json;
use std::{io::Read, time::Duration};
use tokio::time::Instant;
use tower::ServiceExt;
use tower_gateway::{
    Body,
    auth::ApiKeys,
    gateway::{Gateway, GatewayBuilder, GatewayService},
    llm::{Simulator, simulator},
};

const KEY: &str = "a-secret-of-alice";
const PAGE: &str = "https://app.example.com";

fn builder() -> GatewayBuilder {
    Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", KEY))
        .simulator(Simulator::new())
}

fn of_page(method: Method, path: &str, origin: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("origin", origin)
}

fn list(key: &str, origin: &str) -> Request<Body> {
    of_page(Method::GET, "/v1/models", origin)
        .header("authorization", format!("Bearer {key}"))
        .body(Body::empty())
        .unwrap()
}

fn preflight(origin: &str) -> Request<Body> {
    of_page(Method::OPTIONS, "/v1/chat/completions", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        )
        .body(Body::empty())
        .unwrap()
}

/// The items of a header, small.
fn items(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let items = values.flat_map(|value| value.to_str().unwrap().split(','));
    items.map(|item| item.trim().to_lowercase()).collect()
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_lets_a_key_be_sent() {
    for origins in [PAGE, "*"] {
        let gateway = builder().cors([origins]).build().unwrap();
        let (status, headers, _) = call(&gateway, preflight(PAGE)).await;
        assert!(status.is_success(), "{status}");
        assert_eq!(headers["access-control-allow-origin"], origins);
        // A star would not name it: Fetch standard, "CORS non-wildcard request-header name".
        let allowed = items(&headers, "access-control-allow-headers");
        for name in ["authorization", "content-type"] {
            assert!(allowed.iter().any(|item| item == name), "{allowed:?}");
        }
        let methods = items(&headers, "access-control-allow-methods");
        assert!(
            methods.iter().any(|m| m == "post" || m == "*"),
            "{methods:?}"
        );
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_allowed_nothing() {
    let gateway = builder().cors([PAGE]).build().unwrap();
    for request in [
        preflight("https://other.example.com"),
        list(KEY, "https://other.example.com"),
    ] {
        let (_, headers, _) = call(&gateway, request).await;
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_page_can_read_a_refusal() {
    let gateway = builder().cors([PAGE]).build().unwrap();
    for (key, expected) in [(KEY, 200), ("not-the-right-key", 401)] {
        let (status, headers, _) = call(&gateway, list(key, PAGE)).await;
        assert_eq!(status, expected);
        assert_eq!(headers["access-control-allow-origin"], PAGE);
        let exposed = items(&headers, "access-control-expose-headers");
        for name in [
            "x-request-id",
            "request-id",
            "retry-after",
            "x-should-retry",
            "x-ratelimit-remaining-requests",
            "x-gateway-loss",
        ] {
            assert!(exposed.iter().any(|item| item == name), "{exposed:?}");
        }
        assert!(items(&headers, "vary").contains(&"origin".to_owned()));
    }
}

#[tokio::test]
async fn security_headers_stand_on_good_answers_and_on_refusals() {
    let framed = get(|| async { ([("x-frame-options", "SAMEORIGIN")], "framed") });
    let gateway = builder().security_headers().route("/framed", framed);
    let gateway = gateway.build().unwrap();
    for (key, path, expected, frames) in [
        (KEY, "/v1/models", 200, "DENY"),
        ("not-the-right-key", "/v1/models", 401, "DENY"),
        (KEY, "/nothing", 404, "DENY"),
        (KEY, "/framed", 200, "SAMEORIGIN"),
    ] {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        let (status, headers, _) = call(&gateway, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, expected);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], frames);
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
}

async fn answer(gateway: &GatewayService, request: Request<Body>) -> Response<Body> {
    gateway.clone().oneshot(request).await.unwrap()
}

async fn bytes(response: Response<Body>) -> Bytes {
    let body = axum::body::Body::new(response.into_body());
    axum::body::to_bytes(body, 1 << 20).await.unwrap()
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let large = json!({ "data": vec!["the same again"; 1000] }).to_string();
    let sent = large.clone();
    let gateway = Gateway::builder()
        .compression()
        .simulator(Simulator::new().answer("the same again ".repeat(500)))
        .route(
            "/large",
            get(move || async move { ([("content-type", "application/json")], sent) }),
        )
        .build()
        .unwrap();
    let body =
        json!({"model": simulator::CHAT_MODEL, "messages": [{"role": "user", "content": "Hello"}]});
    let asked = |path: &str, encoding: &str| {
        let request = match path {
            "/large" => Request::get(path),
            _ => Request::post(path),
        };
        request
            .header("content-type", "application/json")
            .header("accept-encoding", encoding)
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    for path in ["/large", "/v1/chat/completions"] {
        let plain = answer(&gateway, asked(path, "identity")).await;
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        let plain = bytes(plain).await;
        let packed = answer(&gateway, asked(path, "gzip")).await;
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(!packed.headers().contains_key(header::CONTENT_LENGTH));
        assert!(items(packed.headers(), "vary").contains(&"accept-encoding".to_owned()));
        let packed = bytes(packed).await;
        assert!(packed.len() < plain.len() / 5, "{}", packed.len());
        let mut text = String::new();
        GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
        match path {
            "/large" => assert_eq!(text, large),
            _ => assert!(text.contains("the same again the same again")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn event_streams_are_neither_compressed_nor_held_back() {
    let pace = Duration::from_secs(20);
    let simulator = Simulator::new().answer("one two three four").pace(pace);
    let gateway = Gateway::builder().compression().security_headers();
    let gateway = gateway.simulator(simulator).build().unwrap();
    let body = json!({
        "model": simulator::CHAT_MODEL,
        "stream": true,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip, br")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = answer(&gateway, request).await;
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut body = response.into_body();
    let (mut text, mut moments) = (String::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        text += std::str::from_utf8(&data).unwrap();
        assert!(text.ends_with("\n\n"), "whole events: {text}");
        moments.push(Instant::now());
    }
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    moments.dedup();
    assert!(moments.len() >= 4, "{moments:?}");
}
