//! Anthropic Messages, as it is served and as it is called, through the plane of models.

#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

use crate::served::{call, data, document, post};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Exchange,
    exchange::Usage,
    llm::{ChatRequest, Protocol, Provider, Simulator},
    testing::{MockUpstream, Reply, Turn, Vendor},
};

const DOCUMENT: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"thinking","thinking":"hm","signature":"proof"},{"type":"text","text":"Hello"},{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"city":"Paris"}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":0,"output_tokens":7}}"#;

const EVENTS: &[(&str, &str)] = &[
    (
        "message_start",
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}"#,
    ),
    ("ping", r#"{"type": "ping"}"#),
    (
        "content_block_start",
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}     }"#,
    ),
    (
        "content_block_stop",
        r#"{"type":"content_block_stop","index":0}"#,
    ),
    (
        "message_delta",
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}"#,
    ),
    ("message_stop", r#"{"type":"message_stop"}"#),
];

fn events(all: &[(&str, &str)]) -> Vec<String> {
    let event = |(name, data): &(&str, &str)| format!("event: {name}\ndata: {data}\n\n");
    all.iter().map(event).collect()
}

fn stream() -> Reply {
    Reply::pieces("text/event-stream; charset=utf-8", events(EVENTS))
}

fn anthropic(upstream: &MockUpstream) -> Provider {
    let provider = Provider::anthropic("sk-ant-0123456789-canary");
    provider.base_url(upstream.url()).unwrap()
}

fn messages(more: Value) -> Value {
    let mut body = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_a_vendor_of_it_untouched() {
    let upstream = MockUpstream::start(stream()).await.unwrap();
    // Fields that nobody here knows, and white space of its own.
    let body = r#"{ "model": "claude-sonnet-4-5","stream":true, "max_tokens":9,"new":{"a" : 1},"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}"#;
    let mut request = post("/v1/messages?beta=true&key=secret", body);
    let headers = request.headers_mut();
    headers.insert("anthropic-version", "2024-01-01".parse().unwrap());
    headers.insert("anthropic-beta", "a-1,b-2".parse().unwrap());
    headers.insert("x-api-key", "of-the-client".parse().unwrap());
    let exchange = Exchange::enter(&mut request);
    let answer = call(anthropic(&upstream), request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(*answer.body(), events(EVENTS).concat());
    let asked = upstream.last().unwrap();
    assert_eq!(asked.path, "/v1/messages?beta=true");
    assert_eq!(asked.body, body);
    assert_eq!(asked.header("anthropic-version"), Some("2024-01-01"));
    assert_eq!(asked.header("anthropic-beta"), Some("a-1,b-2"));
    assert_eq!(asked.header("x-api-key"), Some("sk-ant-0123456789-canary"));
    assert_eq!(asked.header("authorization"), None);
    let mut expected = Usage::new(15, 7);
    expected.cache_read = Some(5);
    assert_eq!(exchange.facts().usage, Some(expected));
    assert!(!answer.headers().contains_key("x-gateway-loss"));
}

#[tokio::test]
async fn a_client_of_openais_reaches_it_streamed_or_not() {
    let ask = |stream: bool| {
        post(
            "/v1/chat/completions",
            json!({"model": "claude-sonnet-4-5", "stream": stream, "seed": 1,
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]}),
        )
    };
    let upstream = MockUpstream::start(Reply::json(200, DOCUMENT))
        .await
        .unwrap();
    let mut request = ask(false);
    let exchange = Exchange::enter(&mut request);
    let answer = call(anthropic(&upstream), request).await;
    let choice = &document(&answer)["choices"][0];
    assert_eq!(choice["message"]["content"], "Hello");
    assert_eq!(choice["message"]["tool_calls"][0]["id"], "toolu_1");
    assert_eq!(choice["finish_reason"], "tool_calls");
    let sealed = "tg1:anthropic:anthropic:claude-sonnet-4-5:proof";
    assert_eq!(
        choice["message"]["reasoning_details"][0]["signature"],
        sealed
    );
    assert_eq!(document(&answer)["usage"]["prompt_tokens"], 15);
    assert_eq!(answer.headers()["x-gateway-loss"], "seed");
    assert_eq!(&*exchange.facts().losses[0].field, "seed");
    let asked = upstream.last().unwrap();
    assert_eq!(asked.path, "/v1/messages");
    assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(asked.json()["system"], "Be brief.");
    assert_eq!(asked.json()["max_tokens"], 64_000);

    let upstream = MockUpstream::start(stream().split_every(11)).await.unwrap();
    let answer = call(anthropic(&upstream), ask(true)).await;
    let chunks = data(&answer);
    let said: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "Hello");
    assert!(answer.body().ends_with(b"data: [DONE]\n\n"));
    // Nobody asked for usage.
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_any_model() {
    let tools = json!([{"name": "get_weather", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}]);
    for stream in [false, true] {
        let ask =
            messages(json!({"stream": stream, "tools": tools, "tool_choice": {"type": "any"}}));
        let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
        let openai = Provider::openai("sk-mock")
            .base_url(vendor.base_url())
            .unwrap();
        let answers = [
            call(Simulator::new(), post("/v1/messages", &ask)).await,
            call(openai, post("/v1/messages", &ask)).await,
        ];
        for answer in answers {
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            let (name, reason) = match stream {
                true => {
                    let all = data(&answer);
                    let start = all.iter().find(|one| one["type"] == "content_block_start");
                    let end = all
                        .iter()
                        .find(|one| one["type"] == "message_delta")
                        .unwrap();
                    assert_eq!(all.last().unwrap()["type"], "message_stop");
                    assert!(end["usage"]["output_tokens"].as_u64() > Some(0));
                    (
                        start.unwrap()["content_block"]["name"].clone(),
                        end["delta"]["stop_reason"].clone(),
                    )
                }
                false => {
                    let whole = document(&answer);
                    let block = &whole["content"][0];
                    assert!(block["input"].is_object(), "{whole}");
                    (block["name"].clone(), whole["stop_reason"].clone())
                }
            };
            assert_eq!((name, reason), (json!("get_weather"), json!("tool_use")));
        }
    }
}

#[tokio::test]
async fn nothing_is_left_out_where_that_is_forbidden() {
    let upstream = MockUpstream::start(Reply::json(200, DOCUMENT))
        .await
        .unwrap();
    let body = json!({"model": "claude-sonnet-4-5", "seed": 1, "logit_bias": {"1": 1},
        "messages": [{"role": "user", "content": "Hello"}]});
    let strict = anthropic(&upstream).strict(true);
    let answer = call(strict.clone(), post("/v1/chat/completions", body)).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let error = &document(&answer)["error"];
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("unsupported_parameter"), &json!("seed"))
    );
    assert!(error["message"].as_str().unwrap().contains("logit_bias: "));
    assert_eq!(upstream.count(), 0);
    let own = messages(json!({"container": "c", "top_k": 3}));
    let answer = call(strict, post("/v1/messages", own)).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn tokens_are_counted_by_a_vendor_that_can() {
    let upstream = MockUpstream::start(Reply::json(200, r#"{"input_tokens":42}"#))
        .await
        .unwrap();
    let mut request = post("/v1/messages/count_tokens?beta=true", messages(json!({})));
    let exchange = Exchange::enter(&mut request);
    let answer = call(anthropic(&upstream), request).await;
    assert_eq!(*answer.body(), r#"{"input_tokens":42}"#);
    assert_eq!(
        upstream.last().unwrap().path,
        "/v1/messages/count_tokens?beta=true"
    );
    // To count is to use nothing.
    assert_eq!(exchange.facts().usage, None);
    let answer = call(
        Simulator::new(),
        post("/v1/messages/count_tokens", messages(json!({}))),
    )
    .await;
    assert!(document(&answer)["input_tokens"].as_u64() > Some(0));
    // A vendor that has no counter is not asked.
    let other = Provider::custom("lab", upstream.url()).unwrap();
    let request = post("/v1/messages/count_tokens", messages(json!({})));
    let answer = call(other, request).await;
    if cfg!(feature = "tokens") {
        assert!(document(&answer)["input_tokens"].as_u64() > Some(0));
        assert_eq!(answer.headers()["x-gateway-estimate"], "tokens");
    } else {
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(document(&answer)["error"]["code"], "not_supported");
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_client_of_the_protocol_is_told_the_id_of_its_request() {
    let answered = async |path: &str, body: Value| {
        let mut request = post(path, body);
        let id = Exchange::enter(&mut request).id().to_owned();
        let answer = call(Simulator::new(), request).await;
        let told = answer.headers().get("request-id");
        let told = told.map(|told| told.to_str().unwrap().to_owned());
        (answer, told, id)
    };
    let (answer, told, id) = answered("/v1/messages", messages(json!({}))).await;
    assert_eq!((answer.status().as_u16(), told), (200, Some(id)));
    let wrong = messages(json!({"messages": []}));
    let (answer, told, id) = answered("/v1/messages", wrong.clone()).await;
    assert_eq!((answer.status().as_u16(), told), (400, Some(id.clone())));
    assert_eq!(document(&answer)["request_id"], id);
    // And in the middle of a stream, where a header is long gone.
    let all = [&EVENTS[..4], &[("error", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_of_the_vendor"}"#)]].concat();
    let reply = Reply::pieces("text/event-stream", events(&all));
    let upstream = MockUpstream::start(reply).await.unwrap();
    let mut request = post("/v1/messages", messages(json!({"stream": true})));
    let id = Exchange::enter(&mut request).id().to_owned();
    let answer = call(anthropic(&upstream), request).await;
    let last = data(&answer).pop().unwrap();
    assert_eq!(
        (&last["type"], &last["request_id"]),
        (&json!("error"), &json!(id))
    );
    // Others look elsewhere.
    let (answer, told, _) = answered("/v1/chat/completions", wrong).await;
    assert_eq!((answer.status().as_u16(), told), (400, None));
    assert!(document(&answer).get("request_id").is_none());
}

#[tokio::test]
async fn a_conversation_without_a_word_is_refused_here() {
    let upstream = MockUpstream::start(Reply::json(200, "{}")).await.unwrap();
    let body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": ""}]});
    let providers = [
        anthropic(&upstream),
        Provider::gemini("k").base_url(upstream.url()).unwrap(),
        Provider::custom("lab", upstream.url())
            .unwrap()
            .speaking(Protocol::Cohere),
        Provider::custom("lab", upstream.url())
            .unwrap()
            .speaking(Protocol::Ollama),
    ];
    for provider in providers {
        let answer = call(provider, post("/v1/chat/completions", &body)).await;
        let error = &document(&answer)["error"];
        assert_eq!(
            (answer.status().as_u16(), &error["param"]),
            (400, &json!("messages"))
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn paths_answer_in_their_dialect() {
    let get = |path: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = Request::get(path).body(Full::default()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let own: &[_] = &[("anthropic-version", "2023-06-01")];
    let key: &[_] = &[("x-api-key", "k")];
    let both: &[_] = &[("x-api-key", "k"), ("authorization", "Bearer k")];
    for (headers, anthropic) in [(own, true), (key, true), (both, false), (&[], false)] {
        let list = document(&call(Simulator::new(), get("/v1/models", headers)).await);
        assert_eq!(list["data"][0]["type"] == "model", anthropic);
        assert_eq!(list["has_more"] == false, anthropic);
        assert_eq!(list["object"] == "list", !anthropic);
        let one = document(&call(Simulator::new(), get("/v1/models/b%2Fc", headers)).await);
        assert_eq!(one["id"], "b/c");
        assert_eq!(one["type"] == "model", anthropic);
        for path in ["/v1/files", "/v1/models/no"] {
            let answer = call(Simulator::new(), get(path, headers)).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert_eq!(document(&answer)["type"] == "error", anthropic, "{path}");
        }
    }
    let batches = call(Simulator::new(), get("/v1/messages/batches", &[])).await;
    assert_eq!(document(&batches)["error"]["type"], "not_found_error");
    let mut wrong = get("/v1/messages", &[]);
    *wrong.method_mut() = Method::PUT;
    let wrong = call(Simulator::new(), wrong).await;
    assert_eq!(
        (wrong.status().as_u16(), &wrong.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    let faulty = call(
        Simulator::new(),
        post(
            "/v1/messages",
            r#"{"model":"m","messages":[{"role":"user"}]}"#,
        ),
    )
    .await;
    let error = &document(&faulty)["error"];
    assert_eq!(
        (faulty.status().as_u16(), &error["type"]),
        (400, &json!("invalid_request_error"))
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("messages[0].content: ")
    );
}

#[tokio::test]
async fn an_error_in_the_middle_is_told_in_the_words_of_the_client() {
    let broken = || {
        let mut all = EVENTS[..4].to_vec();
        all.push((
            "error",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ));
        Reply::pieces("text/event-stream", events(&all))
    };
    let upstream = MockUpstream::start(broken()).await.unwrap();
    let answer = call(
        anthropic(&upstream),
        post("/v1/messages", messages(json!({"stream": true}))),
    )
    .await;
    let last = data(&answer).pop().unwrap();
    assert_eq!(
        (&last["type"], &last["error"]["type"]),
        (&json!("error"), &json!("overloaded_error"))
    );
    let body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let answer = call(anthropic(&upstream), post("/v1/chat/completions", body)).await;
    assert_eq!(
        data(&answer).pop().unwrap()["error"]["code"],
        "upstream_overloaded"
    );
    assert!(!answer.body().ends_with(b"[DONE]\n\n"));
    // Before the head it has its own status.
    let refusal = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let upstream = MockUpstream::start(Reply::json(529, refusal))
        .await
        .unwrap();
    for (path, status) in [("/v1/messages", 529), ("/v1/chat/completions", 503)] {
        let answer = call(anthropic(&upstream), post(path, messages(json!({})))).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn names_that_the_vendor_refuses_come_back_as_they_were() {
    let reply = DOCUMENT.replace("get_weather", "get_weather_v2");
    let upstream = MockUpstream::start(Reply::json(200, reply)).await.unwrap();
    let function = json!({"name": "get.weather/v2", "parameters": {"type": "object"}});
    let body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": function}]});
    let answer = call(anthropic(&upstream), post("/v1/chat/completions", body)).await;
    assert_eq!(
        upstream.last().unwrap().json()["tools"][0]["name"],
        "get_weather_v2"
    );
    let calls = &document(&answer)["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["name"], "get.weather/v2");
}

#[tokio::test]
async fn thoughts_of_another_vendor_come_back_to_it_and_go_nowhere_else() {
    let thinking = r#"{"id":"c","object":"chat.completion","created":1,"model":"r1","choices":[{"index":0,"message":{"role":"assistant","reasoning_content":"hm","content":"Hello"},"finish_reason":"stop"}]}"#;
    let upstream = MockUpstream::start(Reply::json(200, thinking))
        .await
        .unwrap();
    let lab = Provider::custom("lab", upstream.url()).unwrap();
    let answer = call(lab.clone(), post("/v1/messages", messages(json!({})))).await;
    let content = document(&answer)["content"].clone();
    assert_eq!(content[0]["thinking"], "hm");
    let next = messages(json!({"messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "And?"},
    ]}));
    call(lab, post("/v1/messages", &next)).await;
    let history = &upstream.last().unwrap().json()["messages"];
    assert_eq!(history[1]["reasoning_content"], "hm");
    let upstream = MockUpstream::start(Reply::json(200, DOCUMENT))
        .await
        .unwrap();
    let answer = call(anthropic(&upstream), post("/v1/messages", &next)).await;
    let history = &upstream.last().unwrap().json()["messages"];
    assert_eq!(history[1], json!({"role": "assistant", "content": "Hello"}));
    assert_eq!(answer.headers()["x-gateway-loss"], "messages[1].content[0]");
}

#[tokio::test]
async fn a_stream_that_is_rewritten_keeps_its_order() {
    use tower_gateway::llm::{Delta, Event};
    let upstream = MockUpstream::start(stream()).await.unwrap();
    let provider = anthropic(&upstream);
    let rewriting = tower::service_fn(move |request: ChatRequest| {
        let provider = provider.clone();
        async move {
            let answer = provider.oneshot(request).await?;
            Ok::<_, tower_gateway::llm::Error>(answer.map(|event| match event {
                Event::Delta {
                    choice,
                    delta: Delta::Text(text),
                } => Event::Delta {
                    choice,
                    delta: Delta::Text(text.replace("Hello", "Bye")),
                },
                event => event,
            }))
        }
    });
    let request = post("/v1/messages", messages(json!({"stream": true})));
    let answer = call(rewriting, request).await;
    let all = data(&answer);
    let kinds: Vec<_> = all
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(all[0]["message"]["usage"]["cache_read_input_tokens"], 5);
    assert_eq!(all[2]["delta"]["text"], "Bye");
    assert_eq!(all[4]["usage"]["output_tokens"], 7);
}

/// The mock refuses what the vendor would: an unknown field, an empty text, turns that do not
/// alternate, calls without results.
#[tokio::test]
async fn what_is_written_for_the_vendor_is_taken_by_it() {
    let vendor = Vendor::new(Turn::fitting).key("sk-ant-0123456789-canary");
    let vendor = vendor.start().await.unwrap();
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "a.b", "arguments": ""}});
    for stream in [false, true] {
        let body = json!({
            "model": "claude-sonnet-4-5",
            "stream": stream,
            "stream_options": {"include_usage": true},
            "temperature": 1.7,
            "seed": 1,
            "user": "u",
            "parallel_tool_calls": false,
            "reasoning_effort": "high",
            "tools": [function("a.b"), function("a_b")],
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
        let answer = self::call(anthropic(&vendor), post("/v1/chat/completions", body)).await;
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
            .filter_map(|said| said["tool_calls"].as_array())
            .flatten();
        let names: Vec<_> = calls
            .filter_map(|call| call["function"]["name"].as_str())
            .collect();
        assert_eq!(names, ["a.b", "a_b"]);
        let usage = match stream {
            true => data(&answer).pop().unwrap()["usage"].clone(),
            false => document(&answer)["usage"].clone(),
        };
        let truth = vendor.truth()[before];
        assert_eq!(usage["completion_tokens"], truth.output);
        assert_eq!(usage["prompt_tokens"], truth.input);
    }
    let error = json!({"model": "mock-503", "messages": [{"role": "user", "content": "Hello"}]});
    let answer = call_it(&vendor, error).await;
    assert_eq!(
        (
            answer.status().as_u16(),
            &document(&answer)["error"]["code"]
        ),
        (503, &json!("upstream_overloaded"))
    );
    let broken = json!({"model": "mock-broken", "stream": true, "messages": [{"role": "user", "content": "one two three"}]});
    let answer = call_it(&vendor, broken).await;
    assert_eq!(data(&answer).pop().unwrap()["error"]["code"], "bad_gateway");
}

async fn call_it(vendor: &MockUpstream, body: Value) -> Response<Bytes> {
    call(anthropic(vendor), post("/v1/chat/completions", body)).await
}
