//! Vendors with protocols of their own, Cohere and Ollama, called by clients of the others through the
//! plane of models.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;
use tower_gateway::{
    Body, Exchange, collect,
    exchange::Usage,
    llm::{ChatRequest, Protocol, Provider, VendorFault, serve::Serve},
    testing::{MockUpstream, MockVendor, Reply, Turn, Vendor},
};

const KEY: &str = "co-0123456789-canary";

fn cohere(vendor: &MockVendor) -> Provider {
    Provider::cohere(KEY).base_url(vendor.url()).unwrap()
}

fn ollama(vendor: &MockVendor) -> Provider {
    let provider = Provider::ollama().speaking(Protocol::Ollama);
    provider.base_url(vendor.url()).unwrap()
}

const BOTH: [fn(&MockVendor) -> Provider; 2] = [cohere, ollama];

fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

async fn call(provider: Provider, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let serve = Serve::new(provider);
    let (parts, body): (_, Body) = serve.oneshot(request).await.unwrap().into_parts();
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

fn chat(stream: bool) -> Value {
    json!({
        "model": "mock-chat", "stream": stream, "stream_options": {"include_usage": true}, "temperature": 0.5,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello"}],
    })
}

#[tokio::test]
async fn a_client_of_openai_is_answered_whole_and_streamed() {
    for provider in BOTH {
        let turn = Turn::text("Hello to you.").reasoning("They greet me.");
        let vendor = MockVendor::start(vec![turn.clone(), turn]).await.unwrap();
        let mut request = post("/v1/chat/completions", &chat(false));
        let exchange = Exchange::enter(&mut request);
        let whole = call(provider(&vendor), request).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        let whole = document(&whole);
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], "Hello to you.");
        assert_eq!(message["reasoning_content"], "They greet me.");
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        let mut told = exchange.facts().usage.unwrap();
        told.reasoning = vendor.truth()[0].reasoning;
        told.cache_read = None;
        assert_eq!(told, vendor.truth()[0]);
        let answer = call(provider(&vendor), post("/v1/chat/completions", &chat(true))).await;
        let chunks = data(&answer);
        let said = |key: &str| -> String {
            let deltas = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0]["delta"][key]);
            deltas.filter_map(Value::as_str).collect()
        };
        assert_eq!(said("content"), "Hello to you.");
        assert_eq!(said("reasoning_content"), "They greet me.");
        let last = chunks.last().unwrap();
        assert_eq!(
            last["usage"]["prompt_tokens"],
            whole["usage"]["prompt_tokens"]
        );
        assert!(answer.body().ends_with(b"data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn a_client_of_anthropic_calls_tools_and_comes_back_with_their_results() {
    for provider in BOTH {
        let calls = Turn::tool_calls([
            ("get-weather", json!({"city": "Paris"})),
            ("get-weather", json!({"city": "Rome"})),
        ]);
        let turns = vec![calls.reasoning("I will ask twice."), Turn::text("Sunny.")];
        let vendor = MockVendor::start(turns).await.unwrap();
        let tool = json!({"name": "get-weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}});
        let hello = json!({"role": "user", "content": "Weather in Paris and Rome?"});
        let mut body = json!({
            "model": "mock-chat", "max_tokens": 100, "stream": true, "tools": [tool], "messages": [hello],
        });
        // The mock says the names that it is scripted to say: as the vendor would know them.
        let answer = call(provider(&vendor), post("/v1/messages", &body)).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let sent = vendor.last().unwrap().json();
        let name = &sent["tools"][0]["function"]["name"];
        assert!(name == "get_weather" || name == "get-weather");
        let events = data(&answer);
        let starts = events
            .iter()
            .filter(|event| event["type"] == "content_block_start")
            .map(|event| event["content_block"].clone());
        let mut blocks: Vec<_> = starts.collect();
        let deltas = |at: usize, key: &str| -> String {
            let of = |event: &&Value| event["index"] == at;
            let pieces = events.iter().filter(of).map(|event| &event["delta"][key]);
            pieces.filter_map(Value::as_str).collect()
        };
        let mut results = Vec::new();
        for (at, block) in blocks.iter_mut().enumerate() {
            match block["type"].as_str().unwrap() {
                "thinking" => {
                    block["thinking"] = deltas(at, "thinking").into();
                    block["signature"] = deltas(at, "signature").into();
                }
                "tool_use" => {
                    block["input"] = serde_json::from_str(&deltas(at, "partial_json")).unwrap();
                    results.push(json!({"type": "tool_result", "tool_use_id": block["id"], "content": "sun"}));
                }
                other => panic!("{other}"),
            }
        }
        let kinds: Vec<_> = blocks.iter().map(|block| block["type"].clone()).collect();
        assert_eq!(kinds, ["thinking", "tool_use", "tool_use"]);
        assert_eq!(blocks[2]["input"], json!({"city": "Rome"}));
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
        body["stream"] = false.into();
        body["messages"] = json!([
            hello,
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": results},
        ]);
        let answer = call(provider(&vendor), post("/v1/messages", &body)).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.headers().get("x-gateway-loss"), None);
        assert_eq!(document(&answer)["content"][0]["text"], "Sunny.");
        let sent = vendor.last().unwrap().json();
        let model = &sent["messages"][1];
        // What it thought has come back, in the vendor's field for it.
        let thought = model["tool_plan"].as_str().or(model["thinking"].as_str());
        assert_eq!(thought, Some("I will ask twice."));
        assert_eq!(sent["messages"][3]["role"], "tool");
    }
}

#[tokio::test]
async fn a_form_is_held_and_vectors_are_made() {
    for provider in BOTH {
        let vendor = MockVendor::start(Turn::fitting).await.unwrap();
        let schema =
            json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 7}}});
        let mut body = chat(false);
        body["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        let answer = call(provider(&vendor), post("/v1/chat/completions", &body)).await;
        let text = document(&answer)["choices"][0]["message"]["content"].clone();
        assert_eq!(text, r#"{"age":7}"#);
        let embed = |format: &str| json!({"model": "mock-embed", "input": ["a b", "c"], "dimensions": 4, "encoding_format": format});
        let plain = call(provider(&vendor), post("/v1/embeddings", &embed("float"))).await;
        let plain = document(&plain);
        assert_eq!(plain["data"][1]["embedding"].as_array().unwrap().len(), 4);
        assert_eq!(
            plain["usage"],
            json!({"prompt_tokens": 3, "total_tokens": 3})
        );
        let coded = call(provider(&vendor), post("/v1/embeddings", &embed("base64"))).await;
        assert!(document(&coded)["data"][1]["embedding"].is_string());
        // Google's clients have theirs.
        let one = json!({"content": {"parts": [{"text": "a b"}]}, "outputDimensionality": 4});
        let path = "/v1beta/models/mock-embed:embedContent";
        let answer = call(provider(&vendor), post(path, &one)).await;
        let values = &document(&answer)["embedding"]["values"];
        assert_eq!(*values, plain["data"][0]["embedding"]);
        // Tokens mean something to their maker alone.
        let body = json!({"model": "mock-embed", "input": [[1, 2], [3]]});
        let answer = call(provider(&vendor), post("/v1/embeddings", &body)).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(document(&answer)["error"]["code"], "unsupported_parameter");
    }
}

#[tokio::test]
async fn errors_are_in_the_words_of_the_client() {
    for provider in BOTH {
        let turns = vec![
            Turn::rate_limited(Duration::from_secs(20)),
            Turn::overloaded(),
            Turn::server_error(),
            Turn::text("one two three").error_after(3),
        ];
        let vendor = MockVendor::start(turns).await.unwrap();
        for (status, kind) in [
            (429, "rate_limit_error"),
            (529, "overloaded_error"),
            (502, "api_error"),
        ] {
            let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
            let answer = call(provider(&vendor), post("/v1/messages", &body)).await;
            assert_eq!(answer.status(), status, "{answer:?}");
            assert_eq!(document(&answer)["error"]["type"], kind);
        }
        let answer = call(provider(&vendor), post("/v1/chat/completions", &chat(true))).await;
        let chunks = data(&answer);
        assert!(chunks.last().unwrap()["error"]["message"].is_string());
        assert!(chunks[0]["choices"][0]["delta"].is_object());
        assert!(!answer.body().ends_with(b"[DONE]\n\n"));
        // A model that it does not have.
        let vendor = Vendor::new(Turn::fitting)
            .models(["own"])
            .start()
            .await
            .unwrap();
        let answer = call(
            provider(&vendor),
            post("/v1/chat/completions", &chat(false)),
        )
        .await;
        assert_eq!(answer.status(), 404);
        assert_eq!(document(&answer)["error"]["code"], "model_not_found");
    }
    let vendor = Vendor::new(Turn::fitting)
        .key("another-key")
        .start()
        .await
        .unwrap();
    let answer = call(cohere(&vendor), post("/v1/chat/completions", &chat(false))).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(document(&answer)["error"]["code"], "upstream_auth");
}

#[cfg(feature = "tokens")]
#[tokio::test]
async fn tokens_are_counted_here_for_who_has_no_counter() {
    for provider in BOTH {
        let vendor = MockVendor::start(Turn::fitting).await.unwrap();
        let body =
            json!({"model": "mock-chat", "messages": [{"role": "user", "content": "Hello"}]});
        let answer = call(provider(&vendor), post("/v1/messages/count_tokens", &body)).await;
        assert!(document(&answer)["input_tokens"].as_u64().unwrap() > 0);
        assert_eq!(vendor.count(), 0);
    }
}

#[tokio::test]
async fn models_are_listed_in_either_way() {
    let vendor = MockVendor::start(Turn::fitting).await.unwrap();
    for provider in BOTH {
        let provider = provider(&vendor);
        assert_eq!(
            provider.models().await.unwrap(),
            ["mock-chat", "mock-embed"]
        );
    }
    let listed = json!({"models": [{"name": "command-a-03-2025", "endpoints": ["chat"]}], "next_page_token": ""});
    let upstream = MockUpstream::start(Reply::json(200, listed)).await.unwrap();
    let provider = Provider::cohere(KEY).base_url(upstream.url()).unwrap();
    assert_eq!(provider.models().await.unwrap(), ["command-a-03-2025"]);
    let asked = upstream.last().unwrap();
    assert_eq!(asked.path, "/v1/models?page_size=1000");
    assert_eq!(
        asked.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
}

#[tokio::test]
async fn ollama_speaks_both_wherever_its_base_is_told() {
    let vendor = MockVendor::start(Turn::fitting).await.unwrap();
    let ask = || ChatRequest::new().for_model("m").user("Hello");
    let native = Protocol::Ollama;
    for (provider, path) in [
        (
            Provider::ollama().base_url(vendor.url()),
            "/v1/chat/completions",
        ),
        (
            Provider::ollama().speaking(native).base_url(vendor.url()),
            "/api/chat",
        ),
        (
            Provider::ollama()
                .base_url(vendor.url())
                .map(|it| it.speaking(native)),
            "/api/chat",
        ),
        (
            Provider::custom("own", vendor.base_url()).map(|it| it.speaking(native)),
            "/api/chat",
        ),
    ] {
        let answer = provider.unwrap().oneshot(ask()).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "Hello");
        assert_eq!(vendor.last().unwrap().route(), path);
    }
    let back = Provider::ollama()
        .speaking(native)
        .speaking(Protocol::OpenAi);
    let back = back.base_url(vendor.url()).unwrap();
    back.oneshot(ask()).await.unwrap().text().await.unwrap();
    assert_eq!(vendor.last().unwrap().route(), "/v1/chat/completions");
}

#[tokio::test]
async fn lines_are_read_at_every_chunking_and_half_a_line_is_no_end() {
    let line = |text: &str| json!({"model": "m", "created_at": "2026-08-04T19:58:20Z", "message": {"role": "assistant", "content": text}, "done": false});
    let last = json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 2});
    let whole = format!("{}\n{}\n{last}", line("Gr\u{fc}"), line("\u{df}"));
    for (size, content_type) in [
        (1, "application/x-ndjson"),
        (7, "application/json"),
        (1000, "text/plain"),
    ] {
        let reply = Reply::bytes(200, content_type, whole.clone()).split_every(size);
        let upstream = MockUpstream::start(reply).await.unwrap();
        let provider = Provider::ollama().speaking(Protocol::Ollama);
        let provider = provider.base_url(upstream.url()).unwrap();
        let answer = provider
            .oneshot(ChatRequest::new().user("hi"))
            .await
            .unwrap();
        let all = answer.completion().await.unwrap();
        assert_eq!(
            (all.text(), all.usage),
            ("Gr\u{fc}\u{df}".to_owned(), Some(Usage::new(7, 2)))
        );
    }
    let half = &whole[..whole.len() - 9];
    let reply = Reply::bytes(200, "application/x-ndjson", half.to_owned());
    let upstream = MockUpstream::start(reply).await.unwrap();
    let provider = Provider::ollama().speaking(Protocol::Ollama);
    let provider = provider.base_url(upstream.url()).unwrap();
    let answer = provider
        .oneshot(ChatRequest::new().user("hi"))
        .await
        .unwrap();
    assert!(answer.completion().await.is_err());
}

#[tokio::test]
async fn an_error_on_a_line_ends_the_answer_and_what_stood_before_it_was_said() {
    let said =
        json!({"model": "m", "message": {"role": "assistant", "content": "a"}, "done": false});
    let text = format!(
        "{said}\n{}\n",
        json!({"error": "llama runner process has terminated"})
    );
    let upstream = MockUpstream::start(Reply::bytes(200, "application/x-ndjson", text))
        .await
        .unwrap();
    let provider = Provider::ollama().speaking(Protocol::Ollama);
    let provider = provider.base_url(upstream.url()).unwrap();
    let mut answer = provider
        .oneshot(ChatRequest::new().user("hi"))
        .await
        .unwrap();
    let mut said = String::new();
    let error = loop {
        let batch = std::future::poll_fn(|cx| answer.poll_batch(cx))
            .await
            .unwrap();
        match batch {
            Ok(batch) => said += std::str::from_utf8(batch.raw().unwrap()).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(said.contains("\"a\"") && !said.contains("error"));
    let tower_gateway::llm::Error::Vendor(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.fault(), VendorFault::Failed);
}
