//! Gemini, as it is served and as it is called, through the plane of models.

#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

mod counts;
mod paths;

use crate::served::{call, data, document, post};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Body, Exchange, collect,
    exchange::Usage,
    llm::{Provider, Simulator},
    testing::{MockUpstream, MockVendor, Recorded, Reply, Turn, Vendor},
};

const KEY: &str = "AIza-0123456789-canary";
const FLASH: &str = "/v1beta/models/gemini-2.5-flash";

const DOCUMENT: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"Hello"},{"functionCall":{"name":"get_weather","args":{"city":"Paris"}},"thoughtSignature":"cHJvb2Y="}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":15,"cachedContentTokenCount":5,"candidatesTokenCount":4,"thoughtsTokenCount":3,"totalTokenCount":22},"modelVersion":"gemini-2.5-flash","responseId":"r1"}"#;

const CHUNKS: [&str; 2] = [
    r#"{"candidates": [{"content": {"parts": [{"text": "Hel"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 15,"totalTokenCount": 15},"modelVersion": "gemini-2.5-flash","responseId": "r1"}"#,
    r#"{"candidates": [{"content": {"parts": [{"text": "lo"}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 15,"candidatesTokenCount": 7,"cachedContentTokenCount": 5,"totalTokenCount": 22},"modelVersion": "gemini-2.5-flash","responseId": "r1"}"#,
];

/// As the vendor frames them.
fn events() -> String {
    CHUNKS
        .map(|chunk| format!("data: {chunk}\r\n\r\n"))
        .concat()
}

fn array() -> String {
    format!("[{}\n,\r\n{}\n]\n", CHUNKS[0], CHUNKS[1])
}

async fn upstream(reply: Reply) -> MockUpstream {
    MockUpstream::start(reply).await.unwrap()
}

async fn vendor() -> MockVendor {
    Vendor::new(Turn::fitting).key(KEY).start().await.unwrap()
}

fn gemini(upstream: &MockUpstream) -> Provider {
    Provider::gemini(KEY).base_url(upstream.url()).unwrap()
}

/// The same mock, in the words of the others.
fn others(vendor: &MockVendor) -> [Provider; 2] {
    [
        Provider::openai(KEY).base_url(vendor.base_url()).unwrap(),
        Provider::anthropic(KEY).base_url(vendor.url()).unwrap(),
    ]
}

fn hello(more: Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// The parts of the first candidate in all of these.
fn parts(documents: &[Value]) -> Vec<Value> {
    let candidates = documents.iter().map(|one| &one["candidates"][0]);
    let parts = candidates.filter_map(|one| one["content"]["parts"].as_array());
    parts.flatten().cloned().collect()
}

fn said(documents: &[Value]) -> String {
    let parts = parts(documents);
    let texts = parts.iter().filter(|part| part["thought"] != true);
    texts.filter_map(|part| part["text"].as_str()).collect()
}

fn usage(input: u64, output: u64) -> Usage {
    let mut usage = Usage::new(input, output);
    usage.cache_read = Some(5);
    usage
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_a_vendor_of_it_untouched() {
    // Fields that nobody here knows, either spelling of others, and white space of its own.
    let body = r#"{ "contents":[{"role":"user","parts":[{"text":"hi"}]}],"new":{"a" : 1},"generation_config":{"topK":40} }"#;
    let sse = || Reply::pieces("text/event-stream", [events()]);
    let whole = || Reply::bytes(200, "application/json; charset=UTF-8", array());
    for (query, reply, sent, target) in [
        ("?alt=sse", sse(), events(), "?alt=sse"),
        (
            "?key=secret&alt=sse",
            sse().split_every(7),
            events(),
            "?alt=sse",
        ),
        ("", whole(), array(), ""),
        (
            "?key=secret&$prettyPrint=1",
            whole().split_every(5),
            array(),
            "",
        ),
    ] {
        let upstream = upstream(reply).await;
        let path = format!("{FLASH}:streamGenerateContent");
        let mut request = post(&format!("{path}{query}"), body);
        let headers = request.headers_mut();
        headers.insert("x-goog-api-key", "of-the-client".parse().unwrap());
        let exchange = Exchange::enter(&mut request);
        let answer = call(gemini(&upstream), request).await;
        assert_eq!(answer.status(), 200, "{query}");
        assert_eq!(*answer.body(), sent);
        let asked = upstream.last().unwrap();
        assert_eq!(asked.path, format!("{path}{target}"));
        assert_eq!(asked.body, body);
        assert_eq!(asked.header("x-goog-api-key"), Some(KEY));
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(exchange.facts().usage, Some(usage(15, 7)));
        assert!(!answer.headers().contains_key("x-gateway-loss"));
        let kind = answer.headers()["content-type"].to_str().unwrap();
        let expected = if target.is_empty() {
            "application/json"
        } else {
            "text/event-stream"
        };
        assert!(kind.starts_with(expected), "{kind}");
    }
}

#[tokio::test]
async fn a_client_of_openais_reaches_it_streamed_or_not() {
    let ask = |stream: bool| {
        let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]);
        let body = json!({"model": "gemini-2.5-flash", "stream": stream, "logit_bias": {"1": 1},
            "max_completion_tokens": 99, "messages": messages});
        post("/v1/chat/completions", body)
    };
    let to = upstream(Reply::json(200, DOCUMENT)).await;
    let mut request = ask(false);
    let exchange = Exchange::enter(&mut request);
    let answer = call(gemini(&to), request).await;
    let choice = &document(&answer)["choices"][0];
    let message = &choice["message"];
    assert_eq!(message["content"], "Hello");
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        r#"{"city":"Paris"}"#
    );
    assert_eq!(choice["finish_reason"], "tool_calls");
    let sealed = message["reasoning_details"].to_string();
    assert!(
        sealed.contains("tg1:gemini:gemini:gemini-2.5-flash:cHJvb2Y="),
        "{sealed}"
    );
    // What was thought is part of the output, and what the cache held of the input.
    let told = &document(&answer)["usage"];
    assert_eq!(
        (&told["prompt_tokens"], &told["completion_tokens"]),
        (&json!(15), &json!(7))
    );
    assert_eq!(answer.headers()["x-gateway-loss"], "logit_bias");
    let mut expected = usage(15, 7);
    expected.reasoning = Some(3);
    assert_eq!(exchange.facts().usage, Some(expected));
    let asked = to.last().unwrap();
    assert_eq!(asked.path, format!("{FLASH}:generateContent"));
    assert_eq!(
        asked.json()["systemInstruction"]["parts"],
        json!([{"text": "Be brief."}])
    );
    assert_eq!(asked.json()["generationConfig"]["maxOutputTokens"], 99);
    assert_eq!(asked.json().get("model"), None);

    let to = upstream(Reply::pieces("text/event-stream", [events()]).split_every(11)).await;
    let answer = call(gemini(&to), ask(true)).await;
    let chunks = data(&answer);
    let texts = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["content"]);
    assert_eq!(texts.filter_map(Value::as_str).collect::<String>(), "Hello");
    assert!(answer.body().ends_with(b"data: [DONE]\n\n"));
    assert_eq!(
        to.last().unwrap().path,
        format!("{FLASH}:streamGenerateContent?alt=sse")
    );
    // Nobody asked for usage.
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_any_model() {
    let vendor = vendor().await;
    let declared = json!([{"functionDeclarations": [{"name": "get_weather", "parameters": {
        "type": "OBJECT", "properties": {"city": {"type": "STRING", "min_length": 2}}, "required": ["city"],
    }}]}]);
    let config = json!({"functionCallingConfig": {"mode": "ANY"}});
    for (path, framed) in [
        ("generateContent", "{"),
        ("streamGenerateContent", "["),
        ("streamGenerateContent?alt=sse", "data: {"),
    ] {
        let ask = |more| post(&format!("/v1beta/models/mock-chat:{path}"), hello(more));
        let tools = json!({"tools": declared, "toolConfig": config});
        let mut answers = vec![
            call(Simulator::new(), ask(tools.clone())).await,
            call(gemini(&vendor), ask(tools.clone())).await,
        ];
        for other in others(&vendor) {
            answers.push(call(other.clone(), ask(tools.clone())).await);
            let answer = call(other, ask(json!({}))).await;
            let documents = match path {
                "generateContent" => vec![document(&answer)],
                _ => data(&answer),
            };
            assert_eq!(said(&documents), "Hello", "{path}");
        }
        for answer in answers {
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            assert!(
                answer.body().starts_with(framed.as_bytes()),
                "{:?}",
                answer.body()
            );
            let documents = match path {
                "generateContent" => vec![document(&answer)],
                _ => data(&answer),
            };
            let parts = parts(&documents);
            let call = parts
                .iter()
                .find_map(|part| part.get("functionCall"))
                .unwrap();
            assert_eq!(call["name"], "get_weather");
            assert!(call["args"]["city"].as_str().unwrap().len() >= 2, "{call}");
            let last = documents.last().unwrap();
            assert_eq!(last["candidates"][0]["finishReason"], "STOP");
            assert!(last["usageMetadata"]["candidatesTokenCount"].as_u64() > Some(0));
            assert_eq!(documents[0]["responseId"], last["responseId"]);
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_told_in_the_words_of_the_client() {
    let vendor = vendor().await;
    let ask = |model: &str, query: &str| {
        let body =
            json!({"contents": [{"role": "user", "parts": [{"text": "one two three four"}]}]});
        post(
            &format!("/v1beta/models/{model}:streamGenerateContent{query}"),
            body,
        )
    };
    for model in ["mock-broken", "mock-cut"] {
        for query in ["?alt=sse", ""] {
            let [openai, anthropic] = others(&vendor);
            for provider in [gemini(&vendor), openai, anthropic] {
                let answer = call(provider, ask(model, query)).await;
                assert_eq!(answer.status(), 200);
                // An array is closed, so that it can be read at all.
                let all = data(&answer);
                let error = &all.last().unwrap()["error"];
                assert!(
                    error["code"].as_u64() >= Some(500),
                    "{model}{query}: {all:?}"
                );
                assert!(!said(&all).is_empty());
            }
        }
        let body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "one two three four"}]});
        let answer = call(gemini(&vendor), post("/v1/chat/completions", &body)).await;
        assert!(data(&answer).pop().unwrap()["error"]["code"].is_string());
        assert!(!answer.body().ends_with(b"[DONE]\n\n"));
    }
    // Before the head it has its own status, and says when to come back.
    for (model, status, name) in [
        ("mock-429", 429, "RESOURCE_EXHAUSTED"),
        ("mock-503", 503, "UNAVAILABLE"),
        ("mock-401", 502, "INTERNAL"),
    ] {
        let [openai, anthropic] = others(&vendor);
        for provider in [gemini(&vendor), openai, anthropic] {
            let answer = call(provider, ask(model, "?alt=sse")).await;
            assert_eq!(answer.status().as_u16(), status, "{model}");
            let error = &document(&answer)["error"];
            assert_eq!(
                (&error["code"], &error["status"]),
                (&json!(status), &json!(name))
            );
            let delay = error["details"].as_array().unwrap().iter();
            let delay = delay.filter_map(|one| one["retryDelay"].as_str()).next();
            assert_eq!(delay.is_some(), status == 429, "{error}");
            let own = String::from_utf8_lossy(answer.body()).contains("canary");
            assert!(!own, "the key is echoed");
        }
    }
}

/// The mock refuses what the vendor would: an unknown field, an empty turn, calls without results, a
/// proof that it did not sign.
#[tokio::test]
async fn what_is_written_for_the_vendor_is_taken_by_it() {
    let vendor = vendor().await;
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "1 b", "arguments": ""}});
    for (stream, model) in [(false, "gemini-2.5-flash"), (true, "gemini-3-pro-preview")] {
        let body = json!({
            "model": model,
            "stream": stream,
            "stream_options": {"include_usage": true},
            "temperature": 1.7,
            "seed": 1,
            "user": "u",
            "parallel_tool_calls": false,
            "reasoning_effort": "high",
            "tools": [function("1 b"), function("1_b")],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "assistant", "content": "Welcome."},
                {"role": "user", "content": ""},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "", "tool_calls": [call("c.1"), call("c.2")]},
                {"role": "tool", "tool_call_id": "c.2", "content": "two"},
                {"role": "tool", "tool_call_id": "c.9", "content": "nobody's"},
                {"role": "user", "content": "And both?"},
            ],
        });
        let before = vendor.truth().len();
        let answer = self::call(gemini(&vendor), post("/v1/chat/completions", body)).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        let choices: Vec<_> = match stream {
            true => data(&answer)
                .iter()
                .map(|chunk| chunk["choices"][0]["delta"].clone())
                .collect(),
            false => vec![document(&answer)["choices"][0]["message"].clone()],
        };
        let calls = choices
            .iter()
            .filter_map(|said| said["tool_calls"].as_array());
        let names = calls.flatten().map(|call| &call["function"]["name"]);
        let names: Vec<_> = names.filter_map(Value::as_str).collect();
        assert_eq!(names, ["1 b", "1_b"]);
        let told = match stream {
            true => data(&answer).pop().unwrap()["usage"].clone(),
            false => document(&answer)["usage"].clone(),
        };
        let truth = vendor.truth()[before];
        assert_eq!(told["completion_tokens"], truth.output);
        assert_eq!(told["prompt_tokens"], truth.input);
    }
}

#[tokio::test]
async fn what_the_model_thought_goes_back_to_it_through_any_client() {
    let vendor = vendor().await;
    let user = |text: &str| json!({"role": "user", "content": text});
    // The mock's one signature, wherever it stood.
    let signed = |recorded: &Recorded| {
        let text = recorded.json()["contents"].to_string();
        text.matches("\"thoughtSignature\":\"bW9jaw==\"").count()
    };
    for (path, message) in [
        ("/v1/chat/completions", "/choices/0/message"),
        ("/v1/messages", ""),
    ] {
        let ask = |messages: Value| json!({"model": "mock-thinks", "max_tokens": 99, "messages": messages});
        let answer = call(gemini(&vendor), post(path, ask(json!([user("one")])))).await;
        let answer = document(&answer);
        let answer = match message {
            "" => json!({"role": "assistant", "content": answer["content"]}),
            at => answer.pointer(at).unwrap().clone(),
        };
        assert!(answer.to_string().contains("It thinks."), "{answer}");
        let messages = json!([user("one"), answer, user("two")]);
        let again = call(gemini(&vendor), post(path, ask(messages))).await;
        assert_eq!(again.status(), 200, "{:?}", again.body());
        assert_eq!(signed(&vendor.last().unwrap()), 1, "{path}");
        assert!(!again.headers().contains_key("x-gateway-loss"));
    }
}

#[cfg(all(feature = "gateway", feature = "auth"))]
mod keys {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tower_gateway::{
        access_log::AccessLogLayer, auth::ApiKeys, gateway::Gateway, metrics::Metrics,
    };

    const SECRET: &str = "a-secret-of-alice-0123456789";

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Older clients send their key in the query, where every log sees it.
    #[tokio::test]
    async fn a_key_in_the_query_opens_the_door_and_is_told_nowhere() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let lines = log.clone();
        let access = AccessLogLayer::new().paths(true).sink(move |line| {
            let mut lines = lines.clone();
            io::Write::write_all(&mut lines, line.to_string().as_bytes()).unwrap();
        });
        let metrics = Metrics::new();
        let vendor = vendor().await;
        let gateway = Gateway::builder()
            .api_keys(ApiKeys::new().add("alice", SECRET))
            .access_log(access)
            .metrics(metrics.clone())
            .vendor(gemini(&vendor))
            .build()
            .unwrap();
        let ask = async |path: &str, body: Value| {
            let request = post(path, body).map(Body::new);
            let response = gateway.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = collect(body, 1 << 20).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            (parts.status.as_u16(), format!("{:?}", parts.headers), body)
        };
        for (method, body) in [
            ("generateContent", hello(json!({}))),
            ("streamGenerateContent", hello(json!({}))),
            ("countTokens", hello(json!({}))),
            (
                "embedContent",
                json!({"content": {"parts": [{"text": "a"}]}}),
            ),
            ("nothing", hello(json!({}))),
        ] {
            for query in [
                "key=KEY",
                "alt=sse&key=KEY",
                "key=KEY&alt=sse&%24prettyPrint=0",
            ] {
                for key in [SECRET, "another-secret-0123456789"] {
                    let query = query.replace("KEY", key);
                    let path = format!("/v1beta/models/mock-chat:{method}?{query}");
                    let (status, headers, answer) = ask(&path, body.clone()).await;
                    let expected = match (key == SECRET, method) {
                        (false, _) => 401,
                        (true, "nothing") => 404,
                        (true, _) => 200,
                    };
                    assert_eq!(status, expected, "{method}: {answer}");
                    assert!(!answer.contains(key) && !headers.contains(key), "{answer}");
                }
            }
        }
        let requests = vendor.requests();
        assert!(requests.len() >= 12);
        for request in requests {
            let head = String::from_utf8_lossy(&request.head).into_owned();
            assert!(!head.contains("secret") && !head.contains("key="), "{head}");
        }
        let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(told.contains("mock-chat"), "nothing is logged: {told}");
        for secret in ["secret-of-alice", "another-secret", "canary"] {
            assert!(!told.contains(secret), "{told}");
            assert!(!metrics.encode().contains(secret));
        }
    }
}
