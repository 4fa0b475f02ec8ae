//! What is known of models, where it is used: by providers, by a gateway, in lists.

use http::{Request, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    gateway::{Gateway, GatewayService},
    llm::{
        ChatRequest, Protocol, Provider,
        catalog::{Catalog, ModelFacts},
    },
    testing::{MockVendor, Turn, Vendor},
};

async fn vendor(models: &[&str]) -> MockVendor {
    let vendor = Vendor::new(Turn::text("Hello"));
    let models = models.iter().copied();
    vendor.models(models).start().await.unwrap()
}

fn lab(vendor: &MockVendor) -> Provider {
    let provider = Provider::custom("lab", vendor.base_url()).unwrap();
    provider.speaking(Protocol::Anthropic)
}

fn known(most: u64) -> Catalog {
    let facts = ModelFacts::new("lab", "tiny").max_output(most);
    let mut facts = facts.window(9_999);
    facts.name = Some("Tiny".into());
    Catalog::builtin().with(facts)
}

async fn call(gateway: &GatewayService, request: Request<Body>) -> (StatusCode, Value) {
    let response = gateway.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = collect(body, 1 << 20).await.unwrap();
    (parts.status, serde_json::from_slice(&bytes).unwrap())
}

fn ask(model: &str) -> Request<Body> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/v1/chat/completions")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// The most tokens that the vendor was asked for last.
fn asked(vendor: &MockVendor) -> Value {
    let last = vendor.requests().pop().unwrap();
    let body: Value = serde_json::from_slice(&last.body).unwrap();
    body["max_tokens"].clone()
}

#[tokio::test]
async fn a_provider_writes_by_its_own_catalog() {
    let vendor = vendor(&["tiny"]).await;
    for (provider, most) in [(lab(&vendor), 8192), (lab(&vendor).catalog(known(55)), 55)] {
        let request = ChatRequest::new().for_model("tiny").user("hi");
        let answer = provider.oneshot(request).await.unwrap();
        answer.text().await.unwrap();
        assert_eq!(asked(&vendor), most);
    }
}

#[tokio::test]
async fn a_gateway_gives_its_catalog_to_all_who_have_none() {
    let vendor = vendor(&["tiny"]).await;
    let own = [lab(&vendor).model("tiny").catalog(known(77))];
    let gateway = Gateway::builder()
        .catalog(known(66))
        .vendor(lab(&vendor))
        .model("shared", [lab(&vendor).model("tiny")])
        .model("own", own)
        .build()
        .unwrap();
    for (model, most) in [("tiny", 66), ("lab/tiny", 66), ("shared", 66), ("own", 77)] {
        let (status, body) = call(&gateway, ask(model)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(asked(&vendor), most, "{model}");
    }
}

#[tokio::test]
async fn lists_of_models_tell_what_is_known() {
    let vendor = vendor(&["tiny", "else"]).await;
    let builder = Gateway::builder().catalog(known(66)).vendor(lab(&vendor));
    let gateway = builder.build().unwrap();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (_, gemini) = call(&gateway, get("/v1beta/models/tiny")).await;
    assert_eq!(gemini["displayName"], "Tiny");
    assert_eq!(gemini["inputTokenLimit"], 9_999);
    assert_eq!(gemini["outputTokenLimit"], 66);
    let (_, gemini) = call(&gateway, get("/v1beta/models/else")).await;
    assert_eq!(gemini["displayName"], "else");
    assert_eq!(gemini.get("inputTokenLimit"), None);
    let mut request = get("/v1/models/tiny");
    let version = http::HeaderValue::from_static("2023-06-01");
    request.headers_mut().insert("anthropic-version", version);
    let (_, anthropic) = call(&gateway, request).await;
    assert_eq!(anthropic["display_name"], "Tiny");
    assert_eq!(anthropic["max_input_tokens"], 9_999);
    assert_eq!(anthropic["max_tokens"], 66);
}
