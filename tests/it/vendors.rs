//! The rows of the table: where each vendor's calls go, what is in them, and what is made of answers in
//! the vendor's own manner.

use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;
use tower_gateway::{
    Exchange, Extensible,
    llm::{
        ChatRequest, Completion, Content, FinishReason, Protocol, Provider,
        provider::{InvalidProvider, Vendor},
    },
    rejection::Kind,
    testing::{MockUpstream, Recorded, Reply},
};

mod errors;
mod manners;
mod media;

const KEY: &str = "canary-0123456789abcdef";

/// An answer of one word, in the words of whoever is asked.
fn hello(request: &Recorded) -> Reply {
    let body = match request.route() {
        path if path.ends_with("Predict") || path.ends_with("/messages") => json!({
            "id": "x", "type": "message", "role": "assistant", "model": "up",
            "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 2},
        }),
        path if path.ends_with(":generateContent") => json!({
            "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
        }),
        _ => json!({
            "id": "x", "object": "chat.completion", "created": 1, "model": "up",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }),
    };
    Reply::json(200, body)
}

fn row(name: &str) -> Vendor {
    *Vendor::ALL.iter().find(|row| row.name() == name).unwrap()
}

async fn said(provider: &Provider, request: ChatRequest) -> Completion {
    let answer = provider.clone().oneshot(request).await.unwrap();
    answer.completion().await.unwrap()
}

fn question() -> ChatRequest {
    ChatRequest::new().for_model("asked").user("hi").whole()
}

#[tokio::test]
async fn every_vendor_is_called_where_its_own_programs_call_it() {
    let upstream = MockUpstream::start(hello).await.unwrap();
    for (name, path) in [
        ("openai", "/chat/completions"),
        ("anthropic", "/v1/messages"),
        ("gemini", "/v1beta/models/asked:generateContent"),
        ("azure", "/openai/v1/chat/completions"),
        ("mistral", "/chat/completions"),
        ("groq", "/openai/v1/chat/completions"),
        ("deepseek", "/chat/completions"),
        ("xai", "/chat/completions"),
        ("openrouter", "/chat/completions"),
        ("together", "/v1/chat/completions"),
        ("fireworks", "/v1/chat/completions"),
        ("perplexity", "/chat/completions"),
        ("cerebras", "/v1/chat/completions"),
        ("huggingface", "/chat/completions"),
        ("nvidia", "/chat/completions"),
        ("ollama", "/v1/chat/completions"),
        ("vllm", "/chat/completions"),
        ("llamacpp", "/chat/completions"),
        ("lmstudio", "/chat/completions"),
        ("cloudflare", "/chat/completions"),
        ("databricks", "/serving-endpoints/chat/completions"),
        ("sambanova", "/chat/completions"),
    ] {
        let provider = Provider::of(row(name)).base_url(upstream.url()).unwrap();
        let completion = said(&provider.key(KEY), question()).await;
        assert_eq!(completion.text(), "Hello", "{name}");
        let usage = completion.usage.unwrap();
        assert_eq!((usage.input, usage.output), (3, 2), "{name}");
        let sent = upstream.last().unwrap();
        assert_eq!(sent.path, path, "{name}");
        let (header, value) = match name {
            "anthropic" => ("x-api-key", KEY.to_owned()),
            "gemini" => ("x-goog-api-key", KEY.to_owned()),
            "azure" => ("api-key", KEY.to_owned()),
            _ => ("authorization", format!("Bearer {KEY}")),
        };
        assert_eq!(sent.header(header), Some(&*value), "{name}");
        if header != "authorization" {
            assert_eq!(sent.header("authorization"), None, "{name}");
        }
    }
}

#[tokio::test]
async fn azure_has_paths_of_deployments_for_a_version() {
    let upstream = MockUpstream::start(hello).await.unwrap();
    let azure = Provider::azure(upstream.url(), KEY).unwrap();
    let dated = azure.clone().api_version("2024-10-21").unwrap();
    said(&dated, question().for_model("my deployment/../x")).await;
    assert_eq!(
        upstream.last().unwrap().path,
        "/openai/deployments/my%20deployment%2F..%2Fx/chat/completions?api-version=2024-10-21"
    );
    assert!(azure.clone().api_version("1&x=y").is_err());
    // It lists what could be deployed, and not what is.
    assert!(azure.models().await.unwrap().is_empty());
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_vendor_without_an_address_is_not_reached() {
    let azure = Provider::of(row("azure")).key(KEY);
    assert!(azure.vendor().is_some_and(Vendor::needs_address));
    let error = azure.oneshot(question()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadGateway);
    let vertex = Provider::of(row("vertex"));
    let error = vertex.oneshot(question()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamAuth);
}

/// Credentials for a token service. The key is one of the crate's own tests.
fn credentials(tokens: &str) -> String {
    let key = include_str!("../../src/llm/provider/google/tests.pem");
    json!({
        "type": "service_account", "private_key": key, "private_key_id": "k",
        "client_email": "gateway@p.iam.gserviceaccount.com", "token_uri": tokens,
    })
    .to_string()
}

#[tokio::test]
async fn vertex_gets_one_token_for_many_calls() {
    let google = MockUpstream::start(|request: &Recorded| match request.route() {
        "/token" => Reply::json(
            200,
            json!({"access_token": "ya29.canary-token", "expires_in": 3599, "token_type": "Bearer"}),
        )
        .delay(Duration::from_millis(30)),
        _ => hello(request),
    })
    .await
    .unwrap();
    let file = credentials(&format!("{}/token", google.url()));
    let gemini = Provider::vertex("project", "us-central1", &file).unwrap();
    let gemini = gemini.base_url(google.url()).unwrap();
    let request = || question().for_model("gemini-2.5-flash");
    tokio::join!(
        said(&gemini, request()),
        said(&gemini, request()),
        said(&gemini, request())
    );
    said(&gemini, request()).await;
    let all = google.requests();
    let tokens: Vec<_> = all.iter().filter(|one| one.path == "/token").collect();
    assert_eq!((tokens.len(), all.len()), (1, 5));
    let form = String::from_utf8(tokens[0].body.to_vec()).unwrap();
    assert!(form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"));
    let sent = all.last().unwrap();
    assert_eq!(
        sent.path,
        "/v1/projects/project/locations/us-central1/publishers/google/models/\
         gemini-2.5-flash:generateContent"
    );
    let token = Some("Bearer ya29.canary-token");
    assert_eq!(sent.header("authorization"), token);
    assert!(!format!("{gemini:?}").contains("canary"));

    let anthropic = Provider::vertex_anthropic("project", "global", &file).unwrap();
    let anthropic = anthropic.base_url(google.url()).unwrap();
    let request = question().for_model("claude-haiku-4-5@20251001");
    assert_eq!(said(&anthropic, request).await.text(), "Hello");
    let sent = google.last().unwrap();
    assert_eq!(
        sent.path,
        "/v1/projects/project/locations/global/publishers/anthropic/models/\
         claude-haiku-4-5@20251001:rawPredict"
    );
    let body = sent.json();
    assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
    assert!(body.get("model").is_none());
}

#[tokio::test]
async fn a_token_service_that_refuses_is_the_fault_of_the_gateway() {
    let refused = json!({"error": "invalid_grant", "error_description": "canary"});
    let google = MockUpstream::start(Reply::json(400, refused))
        .await
        .unwrap();
    let file = credentials(&format!("{}/token", google.url()));
    let vertex = Provider::vertex("p", "global", file).unwrap();
    let error = vertex.oneshot(question()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamAuth);
    let shown = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
    assert!(!shown.contains("canary"), "{shown}");
}

fn configured(all: &[(&str, &str)]) -> Result<Vec<Provider>, InvalidProvider> {
    Provider::from_variables(|name| {
        let value = all.iter().find(|(own, _)| *own == name);
        value.map(|(_, value)| (*value).to_owned())
    })
}

fn names(all: &[(&str, &str)]) -> Vec<String> {
    let all = configured(all).unwrap();
    all.iter().map(|one| one.name().to_owned()).collect()
}

#[test]
fn every_key_in_the_environment_makes_its_vendor() {
    for vendor in Vendor::ALL {
        // Those want to know more than a key and an address.
        if vendor.name().starts_with("vertex") || vendor.name() == "bedrock" {
            continue;
        }
        let address = match vendor.name() {
            "cloudflare" => "0123abcd",
            _ => "https://example.com",
        };
        let variables = [vendor.key_variable(), vendor.url_variable()];
        let made = names(&[(variables[0], KEY), (variables[1], address)]);
        assert_eq!(made, [vendor.name()]);
        if let Some(other) = vendor.other_key_variable() {
            assert_eq!(names(&[(other, KEY)]), [vendor.name()]);
        }
        let wrong = configured(&[(variables[0], KEY), (variables[1], "ftp://canary")]);
        let wrong = wrong.unwrap_err();
        assert_eq!(wrong.variable(), Some(variables[1]));
        assert!(!wrong.to_string().contains("canary"));
    }
}

#[test]
fn a_key_that_opens_other_doors_says_nothing_by_itself() {
    let tokens = [
        ("CLOUDFLARE_API_TOKEN", KEY),
        ("DATABRICKS_TOKEN", KEY),
        ("SCW_SECRET_KEY", KEY),
        ("VLLM_API_KEY", KEY),
        ("LLAMA_API_KEY", KEY),
        ("GITHUB_TOKEN", KEY),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/canary.json"),
    ];
    assert!(names(&tokens).is_empty());
    let wrong = configured(&[("AZURE_OPENAI_API_KEY", KEY)]).unwrap_err();
    assert_eq!(wrong.variable(), Some("AZURE_OPENAI_ENDPOINT"));
}

#[test]
fn azure_is_one_of_deployments_if_its_version_is_a_date() {
    let with = |version: &str| {
        let all = configured(&[
            ("AZURE_OPENAI_API_KEY", KEY),
            ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com"),
            ("OPENAI_API_VERSION", version),
        ]);
        all.map(|all| format!("{:?}", all[0]))
    };
    assert!(with("2024-10-21").unwrap().contains("2024-10-21"));
    assert!(!with("preview").unwrap().contains("preview"));
    let wrong = with("2024&canary").unwrap_err();
    assert_eq!(wrong.variable(), Some("OPENAI_API_VERSION"));
    assert!(!wrong.to_string().contains("canary"));
}

#[test]
fn vertex_is_taken_where_its_file_and_its_project_are_named() {
    let path = std::env::temp_dir().join(format!("tower-gateway-{}.json", std::process::id()));
    std::fs::write(&path, credentials("https://example.com/token")).unwrap();
    let file = ("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap());
    let project = ("GOOGLE_CLOUD_PROJECT", "p");
    let all = configured(&[file, project, ("GOOGLE_CLOUD_LOCATION", "eu")]).unwrap();
    assert!(format!("{all:?}").contains("https://aiplatform.eu.rep.googleapis.com/v1"));
    let anthropic = ("ANTHROPIC_VERTEX_PROJECT_ID", "p");
    let region = ("CLOUD_ML_REGION", "us-east5");
    let all = configured(&[file, anthropic, region]).unwrap();
    assert_eq!(all[0].protocol(), Protocol::Anthropic);
    assert!(format!("{all:?}").contains("https://us-east5-aiplatform.googleapis.com/v1"));
    let wrong = |variables: &[(&str, &str)]| configured(variables).unwrap_err().variable();
    assert_eq!(
        wrong(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere"), project]),
        Some("GOOGLE_APPLICATION_CREDENTIALS")
    );
    assert_eq!(
        wrong(&[file, project, ("GOOGLE_CLOUD_LOCATION", "x.y")]),
        Some("GOOGLE_CLOUD_LOCATION")
    );
    assert_eq!(
        wrong(&[file, ("GOOGLE_CLOUD_PROJECT", "../p")]),
        Some("GOOGLE_CLOUD_PROJECT")
    );
    assert_eq!(wrong(&[anthropic]), Some("GOOGLE_APPLICATION_CREDENTIALS"));
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn what_a_vendor_does_not_take_is_told_as_lost() {
    let upstream = MockUpstream::start(hello).await.unwrap();
    let groq = Provider::of(row("groq")).base_url(upstream.url()).unwrap();
    let mut request = question();
    let bias = json!({"1": 1});
    let chat = request.chat_mut().unwrap();
    chat.extra.insert("logit_bias".to_owned(), bias);
    let mut traced = request.clone();
    let exchange = Exchange::enter(&mut traced);
    let answer = groq.clone().oneshot(traced).await.unwrap();
    assert_eq!(answer.headers()["x-gateway-loss"], "logit_bias");
    assert_eq!(&*exchange.facts().losses[0].field, "logit_bias");
    assert!(upstream.last().unwrap().json().get("logit_bias").is_none());
    let error = groq.clone().strict(true).oneshot(request).await;
    assert_eq!(error.unwrap_err().kind(), Kind::UnsupportedParameter);
    // One answer where more were asked for is not the answer.
    let mut several = question();
    several.chat_mut().unwrap().sampling.n = Some(2);
    let error = groq.oneshot(several).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UnsupportedParameter);
    assert_eq!(upstream.count(), 1);
}
