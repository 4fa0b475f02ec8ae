//! Which name reaches which vendor, over mock vendors on real sockets.

use axum::body::to_bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_gateway::{
    Body,
    gateway::{Gateway, GatewayService},
    llm::Provider,
    testing::{ClosedPort, MockUpstream, MockVendor, Recorded, Reply, Script, Turn, Vendor},
};

const KEY: &str = "sk-canary-0123456789abcdef";

/// Status, headers and the whole body.
pub(crate) async fn call(
    gateway: &GatewayService,
    request: Request<Body>,
) -> (StatusCode, HeaderMap, String) {
    let response = gateway.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(axum::body::Body::new(body), 1 << 20);
    let body = String::from_utf8(body.await.unwrap().to_vec()).unwrap();
    (parts.status, parts.headers, body)
}

fn post(body: impl Into<String>) -> Request<Body> {
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(body.into()))
        .unwrap()
}

fn ask(model: &str) -> Request<Body> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    post(body.to_string())
}

async fn says(gateway: &GatewayService, model: &str) -> String {
    let (status, _, body) = call(gateway, ask(model)).await;
    assert_eq!(status, 200, "{model}: {body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let text = &answer["choices"][0]["message"]["content"];
    text.as_str().unwrap().to_owned()
}

/// The code of the error that is answered.
async fn error(gateway: &GatewayService, model: &str) -> (u16, Value) {
    let (status, _, body) = call(gateway, ask(model)).await;
    let mut error: Value = serde_json::from_str(&body).unwrap();
    (status.as_u16(), error["error"]["code"].take())
}

async fn listed(gateway: &GatewayService) -> Vec<String> {
    let request = Request::get("/v1/models").body(Body::empty()).unwrap();
    let (status, _, body) = call(gateway, request).await;
    assert_eq!(status, 200);
    let list: Value = serde_json::from_str(&body).unwrap();
    let models = list["data"].as_array().unwrap().iter();
    models
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A vendor that lists these names, and says its own.
async fn vendor(name: &'static str, models: &[&str]) -> MockVendor {
    let vendor = Vendor::new(Turn::text(format!("I am {name}")));
    let models = models.iter().copied();
    vendor.models(models).start().await.unwrap()
}

fn provider(name: &'static str, base_url: String) -> Provider {
    Provider::custom(name, base_url).unwrap().key(KEY)
}

fn gateway(vendors: impl IntoIterator<Item = (&'static str, String)>) -> GatewayService {
    let mut builder = Gateway::builder();
    for (name, url) in vendors {
        builder = builder.vendor(provider(name, url));
    }
    builder.build().unwrap()
}

/// Its list is answered by this, and all else by the vendor.
async fn odd(list: Reply) -> MockUpstream {
    let mut vendor = Vendor::new(Turn::text("I am odd"));
    MockUpstream::start(move |request: &Recorded| match request.route() {
        "/v1/models" => list.clone(),
        _ => vendor.next(request).unwrap(),
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn of_two_vendors_neither_gets_a_name_that_none_lists() {
    let (one, two) = (vendor("one", &["a"]).await, vendor("two", &["b"]).await);
    let gateway = gateway([("one", one.base_url()), ("two", two.base_url())]);
    assert_eq!(says(&gateway, "b").await, "I am two");
    assert_eq!(says(&gateway, "a").await, "I am one");
    let (one_before, two_before) = (one.count(), two.count());
    for unknown in ["c", "three/a", "", "one"] {
        let expected = match unknown {
            "" => (400, json!("invalid_request")),
            _ => (404, json!("model_not_found")),
        };
        assert_eq!(error(&gateway, unknown).await, expected, "{unknown}");
    }
    assert_eq!((one.count(), two.count()), (one_before, two_before));
}

#[tokio::test]
async fn the_only_vendor_is_asked_for_names_that_it_does_not_list() {
    let vendor = MockVendor::start(Turn::text("New")).await.unwrap();
    let gateway = gateway([("lab", vendor.base_url())]);
    assert_eq!(listed(&gateway).await, ["mock-chat", "mock-embed"]);
    assert_eq!(says(&gateway, "brand-new").await, "New");
    assert_eq!(vendor.last().unwrap().json()["model"], "brand-new");
    // Slashes that name no vendor belong to the name.
    assert_eq!(says(&gateway, "org/brand-new").await, "New");
    assert_eq!(vendor.last().unwrap().json()["model"], "org/brand-new");
}

#[tokio::test]
async fn the_name_of_a_vendor_is_taken_off_once() {
    let one = MockVendor::start(Turn::text("I am one")).await.unwrap();
    let two = MockVendor::start(Turn::text("I am two")).await.unwrap();
    let gateway = gateway([("one", one.base_url()), ("two", two.base_url())]);
    assert_eq!(says(&gateway, "two/brand-new").await, "I am two");
    assert_eq!(two.last().unwrap().json()["model"], "brand-new");
    assert_eq!(says(&gateway, "one/two/x").await, "I am one");
    assert_eq!(one.last().unwrap().json()["model"], "two/x");
    let lists = |vendor: &MockVendor| {
        let requests = vendor.requests();
        requests.iter().filter(|r| r.method == "GET").count()
    };
    assert_eq!((lists(&one), lists(&two)), (0, 0), "no list is needed");
}

#[tokio::test]
async fn who_sells_what_another_makes_is_found_by_the_whole_name() {
    let (one, two) = (
        vendor("one", &["a"]).await,
        vendor("two", &["one/open", "one/a"]).await,
    );
    let gateway = gateway([("one", one.base_url()), ("two", two.base_url())]);
    assert_eq!(
        listed(&gateway).await,
        ["a", "two/one/a", "one/open"],
        "plain where the plain name leads"
    );
    assert_eq!(says(&gateway, "one/open").await, "I am two");
    assert_eq!(two.last().unwrap().json()["model"], "one/open");
    assert_eq!(says(&gateway, "one/a").await, "I am one");
    assert_eq!(one.last().unwrap().json()["model"], "a");
    assert_eq!(says(&gateway, "two/one/a").await, "I am two");
}

#[tokio::test]
async fn a_name_that_both_list_stands_plain_once() {
    let one = vendor("one", &["shared", "a"]).await;
    let two = vendor("two", &["shared", "b"]).await;
    let gateway = gateway([("one", one.base_url()), ("two", two.base_url())]);
    assert_eq!(listed(&gateway).await, ["a", "shared", "b", "two/shared"]);
    assert_eq!(says(&gateway, "shared").await, "I am one");
    assert_eq!(says(&gateway, "two/shared").await, "I am two");
    for (id, status) in [("two%2Fshared", 200), ("two/shared", 200), ("two/a", 404)] {
        let request = Request::get(format!("/v1/models/{id}"));
        let request = request.body(Body::empty()).unwrap();
        assert_eq!(call(&gateway, request).await.0, status, "{id}");
    }
}

#[tokio::test]
async fn a_vendor_that_fails_to_list_does_not_stop_the_others() {
    let good = vendor("good", &["a"]).await;
    let odd = odd(Reply::html_502()).await;
    let closed = ClosedPort::new().unwrap();
    let gateway = gateway([
        ("closed", closed.url()),
        ("odd", odd.url() + "/v1"),
        ("good", good.base_url()),
    ]);
    assert_eq!(says(&gateway, "a").await, "I am good");
    assert_eq!(listed(&gateway).await, ["a"]);
    assert_eq!(says(&gateway, "odd/x").await, "I am odd");
    for _ in 0..5 {
        assert_eq!(listed(&gateway).await, ["a"]);
    }
    let requests = odd.requests();
    let lists = requests.iter().filter(|r| r.route() == "/v1/models");
    assert_eq!(lists.count(), 1, "it is left alone for a while");
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_hangs_holds_up_neither_the_start_nor_the_others() {
    let (odd, good) = (odd(Reply::silent()).await, vendor("good", &["a"]).await);
    let start = Instant::now();
    let gateway = gateway([("odd", odd.url() + "/v1"), ("good", good.base_url())]);
    assert_eq!(says(&gateway, "good/a").await, "I am good");
    assert_eq!(says(&gateway, "odd/x").await, "I am odd");
    assert_eq!(says(&gateway, "a").await, "I am good");
    assert!(start.elapsed() < Duration::from_secs(1), "nobody waits");

    // The list waits a while, and once.
    assert_eq!(listed(&gateway).await, ["a"]);
    assert!(start.elapsed() < Duration::from_secs(6));
    tokio::time::sleep(Duration::from_secs(10)).await;
    for pause in [0, 0, 31, 31] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let start = Instant::now();
        assert_eq!(listed(&gateway).await, ["a"]);
        assert!(start.elapsed() < Duration::from_secs(1), "after {pause} s");
    }
    assert_eq!(error(&gateway, "nobody").await.0, 404);
}

#[tokio::test]
async fn the_vendor_judges_what_it_gets_byte_for_byte() {
    let refusal = "'messages[0]' is not of type 'object'.";
    let turn = Turn::error(400, "invalid_request_error", "", refusal);
    let vendor = MockVendor::start(turn).await.unwrap();
    let gateway = gateway([("lab", vendor.base_url())]);
    let sent = |model: &str| {
        format!(r#"{{ "messages":[7], "model" : "{model}","x":1.50,"big":123456789012345678901 }}"#)
    };
    let (status, _, body) = call(&gateway, post(sent("lab/up"))).await;
    assert_eq!(vendor.last().unwrap().body, sent("up"));
    assert_eq!(status, 400);
    assert!(body.contains(refusal), "{body}");
    let (status, ..) = call(&gateway, post(sent("up"))).await;
    assert_eq!(vendor.last().unwrap().body, sent("up"));
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_key_that_the_vendor_refuses_is_no_matter_of_the_client() {
    let vendor = Vendor::new(Turn::text("Hello")).key("sk-another-one");
    let vendor = vendor.start().await.unwrap();
    let gateway = gateway([("lab", vendor.base_url())]);
    let (status, headers, body) = call(&gateway, ask("mock-chat")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["error"]["code"], "upstream_auth");
    let told = format!("{headers:?}{body}");
    for theirs in [
        "ncorrect",
        "invalid_api_key",
        "sk-",
        "cdef",
        "127.0.0.1",
        "lab",
    ] {
        assert!(!told.contains(theirs), "{theirs}: {told}");
    }
    assert_eq!(
        vendor.last().unwrap().header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
}
