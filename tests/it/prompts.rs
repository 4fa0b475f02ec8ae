//! Calls that name a prompt, through a gateway, in all dialects.

mod hostile;
mod locked;
mod records;
mod rights;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    gateway::{Gateway, GatewayBuilder, GatewayService},
    llm::{Protocol, Provider},
    prompt::{Actor, Assignment, Change, Prompt, Registry},
    testing::{MockVendor, Turn},
};

fn translate() -> Prompt {
    Prompt::new()
        .model("fast")
        .system("Translate for {{ who }}.")
        .user("Text: {{ text }}")
        .variable("who", json!({"type": "string", "default": "me"}))
        .variable("text", json!({"type": "string", "maxLength": 1000}))
}

async fn create(registry: &Registry, name: &str, prompt: Prompt) {
    let code = Actor::code("test");
    registry
        .create(&code, name, prompt, Change::new())
        .await
        .unwrap();
    let latest = Assignment::to(registry.head(name).unwrap().latest);
    registry
        .move_label(&code, name, "production", Some(latest), Change::new())
        .await
        .unwrap();
}

async fn registry() -> Registry {
    let registry = Registry::in_memory();
    create(&registry, "translate", translate()).await;
    registry
}

fn gateway(registry: &Registry, provider: Provider) -> GatewayBuilder {
    Gateway::builder()
        .prompts(registry.clone())
        .model("fast", [provider])
}

fn openai(vendor: &MockVendor) -> Provider {
    Provider::custom("lab", vendor.base_url()).unwrap()
}

fn responses(vendor: &MockVendor) -> Provider {
    openai(vendor).speaking(Protocol::Responses)
}

fn anthropic(vendor: &MockVendor) -> Provider {
    let provider = Provider::anthropic("sk-mock").model("claude-haiku-4-5");
    provider.base_url(vendor.url()).unwrap()
}

fn gemini(vendor: &MockVendor) -> Provider {
    let provider = Provider::gemini("sk-mock").model("gemini-2.5-flash");
    provider.base_url(vendor.url()).unwrap()
}

const VENDORS: [fn(&MockVendor) -> Provider; 4] = [openai, responses, anthropic, gemini];

/// A dialect: where a conversation is asked for, whole or streamed, and what it must say besides.
struct Dialect {
    name: &'static str,
    whole: &'static str,
    streamed: &'static str,
    besides: fn() -> Value,
    /// What the person says.
    said: fn(&str) -> Value,
}

const DIALECTS: [Dialect; 4] = [
    Dialect {
        name: "openai",
        whole: "/v1/chat/completions",
        streamed: "/v1/chat/completions",
        besides: || json!({}),
        said: |text| json!({"messages": [{"role": "user", "content": text}]}),
    },
    Dialect {
        name: "responses",
        whole: "/v1/responses",
        streamed: "/v1/responses",
        besides: || json!({}),
        said: |text| json!({"input": text}),
    },
    Dialect {
        name: "anthropic",
        whole: "/v1/messages",
        streamed: "/v1/messages",
        besides: || json!({"max_tokens": 100}),
        said: |text| json!({"messages": [{"role": "user", "content": text}]}),
    },
    Dialect {
        name: "gemini",
        whole: "/v1beta/models/-:generateContent",
        streamed: "/v1beta/models/-:streamGenerateContent?alt=sse",
        besides: || json!({}),
        said: |text| json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
    },
];

fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

impl Dialect {
    fn ask(&self, prompt: Value, more: Value, stream: bool) -> Request<Full<Bytes>> {
        let mut body = with((self.besides)(), more);
        body["prompt"] = prompt;
        if stream && self.name != "gemini" {
            body["stream"] = true.into();
        }
        let path = if stream { self.streamed } else { self.whole };
        post(path, &body)
    }
}

fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    bytes_to(path, body.to_string().into())
}

fn bytes_to(path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}

async fn call(gateway: &GatewayService, request: Request<Full<Bytes>>) -> Response<String> {
    let answer = gateway.clone().oneshot(request).await.unwrap();
    let (parts, body): (_, Body) = answer.into_parts();
    let body = collect(body, 1 << 20).await.unwrap();
    Response::from_parts(parts, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_said_besides_follows_and_settings_are_the_callers() {
    let registry = Registry::in_memory();
    let mut prompt = translate();
    prompt.settings.temperature = Some(0.25);
    prompt.settings.max_tokens = Some(77);
    create(&registry, "translate", prompt).await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = gateway(&registry, openai(&vendor)).build().unwrap();
    for dialect in &DIALECTS {
        let prompt = || json!({"id": "translate", "version": "1", "variables": {"text": "Hello"}});
        let more = with((dialect.said)("And now?"), json!({"temperature": 1.0}));
        let more = match dialect.name {
            "gemini" => with(
                (dialect.said)("And now?"),
                json!({"generationConfig": {"temperature": 1.0}}),
            ),
            _ => more,
        };
        let answer = call(&gateway, dialect.ask(prompt(), more, false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        let sent = vendor.last().unwrap().json();
        let said: Vec<_> = sent["messages"].as_array().unwrap().iter().collect();
        let text = |nth: usize| said[nth]["content"].to_string();
        assert_eq!(said[0]["role"], "system");
        assert!(text(0).contains("Translate for me."), "{sent}");
        assert!(text(1).contains("Text: Hello"), "{sent}");
        assert!(
            said.last().unwrap()["content"]
                .to_string()
                .contains("And now?")
        );
        assert_eq!(sent["temperature"], 1.0, "{sent}");
        let most = if dialect.name == "anthropic" { 100 } else { 77 };
        assert_eq!(sent["max_tokens"], most, "{sent}");
        assert_eq!(sent["model"], "fast");
    }
}

#[tokio::test]
async fn answers_stream_and_name_the_model_of_the_prompt() {
    let registry = registry().await;
    for provider in VENDORS {
        let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
        let gateway = gateway(&registry, provider(&vendor)).build().unwrap();
        for dialect in &DIALECTS {
            let prompt = || json!({"name": "translate", "variables": {"text": "Hello"}});
            let answer = call(&gateway, dialect.ask(prompt(), json!({}), true)).await;
            assert_eq!(answer.status(), 200, "{}", answer.body());
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            assert_eq!(answer.headers()["x-gateway-prompt"], "translate@1");
            assert!(
                !answer.body().contains("\"model\":\"\""),
                "{}",
                answer.body()
            );
            let whole = call(&gateway, dialect.ask(prompt(), json!({}), false)).await;
            let whole: Value = serde_json::from_str(whole.body()).unwrap();
            let model = whole.get("model").or(whole.get("modelVersion")).unwrap();
            assert!(
                model.as_str().is_some_and(|model| model.len() > 1),
                "{whole}"
            );
        }
        // Gemini's other form of a stream.
        let body = json!({"prompt": {"name": "translate", "variables": {"text": "Hello"}}});
        let request = post("/v1beta/models/-:streamGenerateContent", &body);
        let answer = call(&gateway, request).await;
        let array: Vec<Value> = serde_json::from_str(answer.body()).unwrap();
        assert!(!array.is_empty());
    }
    let calls = registry.results("translate")[0].calls;
    assert_eq!(calls, 4 * (4 * 2 + 1));
}

#[tokio::test]
async fn faults_are_told_in_the_clients_words_with_their_places() {
    let registry = registry().await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = gateway(&registry, openai(&vendor)).build().unwrap();
    for dialect in &DIALECTS {
        let ask = async |prompt: Value| {
            let answer = call(&gateway, dialect.ask(prompt, json!({}), false)).await;
            let body: Value = serde_json::from_str(answer.body()).unwrap();
            (answer.status().as_u16(), body["error"].clone())
        };
        let wrong = json!({"text": 7, "whom": "me"});
        let (status, error) = ask(json!({"name": "translate", "variables": wrong})).await;
        let told = error["message"].as_str().unwrap();
        assert_eq!(status, 400, "{error}");
        for place in ["/prompt/variables/text", "/prompt/variables/whom"] {
            assert!(told.contains(place), "{error}");
        }
        let (status, error) = ask(json!({"name": "translate"})).await;
        assert_eq!(status, 400);
        assert!(
            error.to_string().contains("/prompt/variables/text"),
            "{error}"
        );
        for (prompt, place) in [
            (json!({"name": "other"}), "/prompt/name"),
            (
                json!({"name": "translate", "version": 2}),
                "/prompt/version",
            ),
            (
                json!({"name": "translate", "label": "staging"}),
                "/prompt/label",
            ),
        ] {
            let (status, error) = ask(prompt).await;
            assert_eq!(status, 404, "{error}");
            assert!(
                error["message"].as_str().unwrap().contains(place),
                "{error}"
            );
            if dialect.name == "openai" || dialect.name == "responses" {
                assert_eq!(error["code"], "prompt_not_found");
                assert_eq!(error["param"], place);
            }
        }
    }
    assert_eq!(vendor.count(), 0);
    assert_eq!(registry.results("translate").len(), 0);
}

#[tokio::test]
async fn a_request_without_a_prompt_goes_on_to_the_byte() {
    let registry = registry().await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let built = |builder: GatewayBuilder| builder.vendor(openai(&vendor)).build().unwrap();
    let gateway = built(Gateway::builder().prompts(registry.clone()));
    let chat = r#"{ "messages":[{"content":"Hello","role":"user"}] ,"model":"m", "prompt":"Once", "x":1e2}"#;
    let old = r#"{ "model":"m",  "prompt":["Once upon a time"],"max_tokens":5}"#;
    let told = |answer: &Response<String>| answer.headers().contains_key("x-gateway-prompt");
    for (path, body) in [("/v1/chat/completions", chat), ("/v1/completions", old)] {
        let answer = call(
            &gateway,
            bytes_to(path, Bytes::from_static(body.as_bytes())),
        )
        .await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        assert_eq!(vendor.last().unwrap().body, body);
        assert!(!told(&answer));
    }
    // Without the layer the field is the vendor's, and a model is required as ever.
    let gateway = built(Gateway::builder());
    let theirs = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"prompt":{"name":"translate"}}"#;
    let request = bytes_to(
        "/v1/chat/completions",
        Bytes::from_static(theirs.as_bytes()),
    );
    let answer = call(&gateway, request).await;
    assert_eq!((answer.status().as_u16(), told(&answer)), (200, false));
    assert_eq!(vendor.last().unwrap().body, theirs);
    for without in [
        json!({"prompt": {"name": "translate"}}),
        json!({"model": null, "prompt": {"name": "translate"}}),
        json!({"model": "", "prompt": {"name": "translate"}}),
    ] {
        let answer = call(&gateway, post("/v1/chat/completions", &without)).await;
        assert_eq!(answer.status(), 400, "{without}");
        assert!(
            answer.body().contains("A model is required."),
            "{}",
            answer.body()
        );
    }
}
