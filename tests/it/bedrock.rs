//! Bedrock behind the plane of models: clients of every dialect, calls that are signed, and streams of
//! frames however they are cut.

#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tower::ServiceExt;
use tower_gateway::{
    Body, BoxError, Exchange, collect,
    llm::{ChatRequest, Provider, provider::AwsCredentials, serve::Serve},
    testing::{MockUpstream, MockVendor, Reply, Turn, Vendor},
};

const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const SECRET: &str = "canary/secret+0123456789";
const REGION: &str = "eu-central-1";

fn keys() -> AwsCredentials {
    AwsCredentials::new("AKIDEXAMPLE", SECRET)
}

fn signing(url: impl AsRef<str>) -> Provider {
    let credentials = || ready(Ok::<_, BoxError>(keys()));
    let provider = Provider::bedrock(REGION, credentials).unwrap();
    provider.base_url(url).unwrap()
}

async fn vendor(turns: impl tower_gateway::testing::Script<Turn>) -> MockVendor {
    let vendor = Vendor::new(turns).aws_keys("AKIDEXAMPLE", SECRET, REGION);
    vendor.start().await.unwrap()
}

fn post(path: &str, body: impl ToString) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

async fn call(provider: Provider, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let answer = Serve::new(provider).oneshot(request).await.unwrap();
    let (parts, body): (_, Body) = answer.into_parts();
    Response::from_parts(parts, collect(body, 1 << 20).await.unwrap())
}

fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn data(answer: &Response<Bytes>) -> Vec<Value> {
    let text = std::str::from_utf8(answer.body()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

/// A question in each dialect, with a tool.
fn questions(stream: bool) -> [(String, Value); 3] {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let method = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    [
        (
            "/v1/chat/completions".to_owned(),
            json!({"model": CLAUDE, "stream": stream,
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How is the weather?"}],
                "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]}),
        ),
        (
            "/v1/messages".to_owned(),
            json!({"model": CLAUDE, "stream": stream, "max_tokens": 100, "system": "Be brief.",
                "messages": [{"role": "user", "content": "How is the weather?"}],
                "tools": [{"name": "get_weather", "input_schema": schema}]}),
        ),
        (
            format!("/v1beta/models/{}:{method}", CLAUDE.replace(':', "%3A")),
            json!({"systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [{"role": "user", "parts": [{"text": "How is the weather?"}]}],
                "tools": [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": schema}]}]}),
        ),
    ]
}

#[tokio::test]
async fn a_client_of_any_dialect_calls_tools_by_calls_that_are_signed() {
    for stream in [false, true] {
        for (path, body) in questions(stream) {
            let vendor = vendor(Turn::fitting).await;
            let mut request = post(&path, &body);
            let exchange = Exchange::enter(&mut request);
            let answer = call(signing(vendor.url()), request).await;
            assert_eq!(answer.status(), 200, "{path}: {:?}", answer.body());
            let text = String::from_utf8(answer.body().to_vec()).unwrap();
            assert!(text.contains("get_weather"), "{text}");
            assert_eq!(stream, !data(&answer).is_empty(), "{path}: {text}");
            let asked = vendor.last().unwrap();
            let operation = if stream {
                "converse-stream"
            } else {
                "converse"
            };
            let name = CLAUDE.replace(':', "%3A");
            assert_eq!(asked.path, format!("/model/{name}/{operation}"));
            assert_eq!(asked.json()["system"], json!([{"text": "Be brief."}]));
            let accept = if stream {
                "application/vnd.amazon.eventstream"
            } else {
                "application/json"
            };
            assert_eq!(asked.header("accept"), Some(accept));
            assert_eq!(exchange.facts().usage, vendor.truth().pop());
            assert_eq!(answer.headers()["x-upstream-request-id"], "req_mock000001");
        }
    }
}

#[tokio::test]
async fn what_a_tool_answered_goes_back_and_the_model_goes_on() {
    let vendor = vendor(Turn::fitting).await;
    let (path, mut body) = questions(false)[0].clone();
    let answer = call(signing(vendor.url()), post(&path, &body)).await;
    let message = document(&answer)["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    assert!(id.as_str().unwrap().starts_with("tooluse_"));
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(message);
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "It rains."}));
    let answer = call(signing(vendor.url()), post(&path, &body)).await;
    assert_eq!(
        document(&answer)["choices"][0]["message"]["content"],
        "It rains."
    );
}

#[tokio::test]
async fn thoughts_come_back_to_the_model_with_their_proof() {
    for stream in [false, true] {
        let vendor = vendor(Turn::text("It is so.").reasoning("Is it so?")).await;
        let ask = |messages: Value| {
            let body =
                json!({"model": CLAUDE, "max_tokens": 9, "stream": stream, "messages": messages});
            post("/v1/messages", body)
        };
        let user = json!({"role": "user", "content": "?"});
        let answer = call(signing(vendor.url()), ask(json!([user]))).await;
        let signature = match stream {
            true => {
                let all = data(&answer);
                let mut proofs = all
                    .iter()
                    .filter_map(|one| one["delta"]["signature"].as_str());
                proofs.next().unwrap().to_owned()
            }
            false => document(&answer)["content"][0]["signature"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        assert!(signature.starts_with("tg1:bedrock:bedrock:"), "{signature}");
        let thought = json!({"type": "thinking", "thinking": "Is it so?", "signature": signature});
        let said = json!({"role": "assistant", "content": [thought, {"type": "text", "text": "It is so."}]});
        let answer = call(signing(vendor.url()), ask(json!([user, said, user]))).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        let back = &vendor.last().unwrap().json()["messages"][1]["content"][0];
        assert_eq!(
            back["reasoningContent"]["reasoningText"]["text"],
            "Is it so?"
        );
    }
}

#[tokio::test]
async fn a_stream_says_the_same_wherever_its_frames_are_cut() {
    let text = "Seven words, in frames of any size.";
    for size in [1, 2, 3, 5, 11, 64, 100, 10_000] {
        let turn = Turn::text(text).on_wire(move |reply| reply.split_every(size));
        let vendor = vendor(turn).await;
        let request = ChatRequest::new().for_model(CLAUDE).user("hi");
        let answer = signing(vendor.url()).oneshot(request).await.unwrap();
        let whole = answer.completion().await.unwrap();
        assert_eq!(whole.text(), text);
        assert_eq!(whole.usage, vendor.truth().pop(), "{size}");
    }
}

#[tokio::test]
async fn an_exception_in_the_middle_is_told_in_the_words_of_the_client() {
    for (path, body) in questions(true) {
        for size in [1, 50, 10_000] {
            let turn = Turn::text("one two three").error_after(2);
            let vendor = vendor(turn.on_wire(move |reply| reply.split_every(size))).await;
            let answer = call(signing(vendor.url()), post(&path, &body)).await;
            assert_eq!(answer.status(), 200);
            let last = data(&answer).pop().unwrap();
            assert!(last.get("error").is_some(), "{path}: {last}");
            let text = String::from_utf8(answer.body().to_vec()).unwrap();
            assert!(text.contains("two") && !text.contains("three"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_garbled_or_cut_is_no_answer() {
    let told = async |change: fn(Reply) -> Reply| {
        let vendor = vendor(Turn::text("one two three").on_wire(change)).await;
        let request = ChatRequest::new().for_model(CLAUDE).user("hi");
        let answer = signing(vendor.url()).oneshot(request).await.unwrap();
        answer.completion().await.unwrap_err().kind()
    };
    use tower_gateway::rejection::Kind;
    assert_eq!(told(|reply| reply.cut_after(300)).await, Kind::BadGateway);
    let ended = |reply: Reply| {
        let body = reply.body();
        Reply::pieces("application/vnd.amazon.eventstream", [body.slice(..300)])
    };
    assert_eq!(told(ended).await, Kind::BadGateway);
    let flipped = |reply: Reply| {
        let mut body = reply.body().to_vec();
        body[200] ^= 1;
        Reply::pieces("application/vnd.amazon.eventstream", [body])
    };
    assert_eq!(told(flipped).await, Kind::UpstreamMalformed);
    let long = |_: Reply| {
        let mut prelude = vec![0x7f, 0, 0, 0, 0, 0, 0, 0];
        prelude.extend([0x10, 0x52, 0x5c, 0x55]);
        Reply::pieces("application/vnd.amazon.eventstream", [prelude])
    };
    assert_eq!(told(long).await, Kind::UpstreamTooLarge);
    let document = |_: Reply| {
        Reply::bytes(
            200,
            "application/vnd.amazon.eventstream",
            r#"{"message":"no"}"#,
        )
    };
    assert_eq!(told(document).await, Kind::UpstreamMalformed);
}

#[tokio::test]
async fn credentials_are_asked_for_once_and_again_when_they_are_refused() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let credentials = move || {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            // The first are wrong.
            let secret = if first { "wrong-secret-canary" } else { SECRET };
            let keys = AwsCredentials::new("AKIDEXAMPLE", secret).session_token("token");
            Ok::<_, BoxError>(keys.expires_in(Duration::from_secs(3600)))
        }
    };
    let vendor = vendor(Turn::fitting).await;
    let provider = Provider::bedrock(REGION, credentials).unwrap();
    let provider = provider.base_url(vendor.url()).unwrap();
    let (path, body) = questions(false)[0].clone();
    let ask = || call(provider.clone(), post(&path, &body));
    let refused = ask().await;
    assert_eq!(refused.status(), 502);
    assert_eq!(document(&refused)["error"]["code"], "upstream_auth");
    let text = String::from_utf8(refused.body().to_vec()).unwrap();
    assert!(
        !text.contains("canary") && !text.contains("signature"),
        "{text}"
    );
    assert_eq!(ask().await.status(), 502, "they are quite new");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(ask().await.status(), 502);
    let (one, two) = tokio::join!(ask(), ask());
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(
        vendor
            .last()
            .unwrap()
            .header("x-amz-security-token")
            .is_some()
    );
}

#[tokio::test]
async fn an_api_key_is_a_bearers() {
    let vendor = Vendor::new(Turn::fitting).key("bedrock-api-key-0123");
    let vendor = vendor.start().await.unwrap();
    let provider = Provider::bedrock_with_key(REGION, "bedrock-api-key-0123").unwrap();
    let provider = provider.base_url(vendor.url()).unwrap();
    let (path, body) = questions(false)[1].clone();
    let answer = call(provider.clone(), post(&path, &body)).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    let mut models = provider.models().await.unwrap();
    models.sort();
    assert_eq!(
        models,
        ["mock-chat", "mock-embed", "us.mock-chat", "us.mock-embed"]
    );
    let count = post("/v1/messages/count_tokens", &body);
    let counted = document(&call(provider, count).await);
    assert!(counted["input_tokens"].as_u64() > Some(0), "{counted}");
    let path = vendor.last().unwrap().path;
    assert_eq!(
        path,
        "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/count-tokens"
    );
}

#[tokio::test]
async fn errors_of_the_vendor_have_the_status_that_clients_know() {
    for (name, status, told, code) in [
        ("ThrottlingException", 429, 429, "upstream_rate_limited"),
        ("ModelNotReadyException", 429, 503, "upstream_overloaded"),
        (
            "ServiceUnavailableException",
            503,
            503,
            "upstream_overloaded",
        ),
        ("ModelTimeoutException", 408, 504, "timeout"),
        ("ExpiredTokenException", 403, 502, "upstream_auth"),
        ("AccessDeniedException", 403, 502, "upstream_auth"),
        ("ResourceNotFoundException", 404, 404, "model_not_found"),
        ("ValidationException", 400, 400, "ValidationException"),
    ] {
        let error = Reply::json(status, r#"{"message":"It is so."}"#);
        let error = error.header("x-amzn-errortype", &format!("{name}:http://x/"));
        let upstream = MockUpstream::start(error).await.unwrap();
        let (path, body) = questions(true)[0].clone();
        let answer = call(signing(upstream.url()), post(&path, body)).await;
        assert_eq!(answer.status().as_u16(), told, "{name}");
        let error = &document(&answer)["error"];
        assert_eq!(error["code"], code, "{name}");
        let words = error["message"] == "It is so.";
        assert_eq!(words, matches!(status, 400 | 404), "{name}");
    }
}

#[tokio::test]
async fn the_environment_of_amazons_own_programs_is_enough() {
    let vendor = vendor(Turn::fitting).await;
    let url = vendor.url();
    let variable = |name: &str| {
        let value = match name {
            "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY" => SECRET,
            "AWS_DEFAULT_REGION" => REGION,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" => &url,
            _ => return None,
        };
        Some(value.to_owned())
    };
    let mut providers = Provider::from_variables(variable).unwrap();
    let provider = providers.remove(0);
    assert!(providers.is_empty() && provider.name() == "bedrock");
    assert!(!format!("{provider:?}").contains("canary"));
    let (path, body) = questions(true)[1].clone();
    let answer = call(provider.clone(), post(&path, body)).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    assert!(
        provider
            .models()
            .await
            .unwrap()
            .contains(&"us.mock-chat".to_owned())
    );
}
