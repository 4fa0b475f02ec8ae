//! OpenAI Responses, as it is served and as it is called, through the plane of models.

#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

mod faults;

use crate::served::{call, data, document, post};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Exchange,
    llm::{ChatRequest, Protocol, Provider, Simulator, provider::Vendor as Row},
    testing::{MockUpstream, MockVendor, Reply, Turn, Vendor},
};

const DOCUMENT: &str = r#"{"id":"resp_1","object":"response","created_at":7,"status":"completed","error":null,"model":"gpt-5-2025-08-07","output":[{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"proof"},{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]},{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"get_weather","arguments":"{\"city\":\"Paris\"}"}],"store":false,"new":{"a" : 1},"usage":{"input_tokens":15,"input_tokens_details":{"cached_tokens":5},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":22}}"#;

const EVENTS: &[&str] = &[
    r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":7,"status":"in_progress","error":null,"model":"gpt-5-2025-08-07","output":[],"usage":null}}"#,
    r#"{"type":"response.hologram.delta","sequence_number":1,"beam" : 1}"#,
    r#"{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}"#,
    r#"{"type":"response.output_text.delta","sequence_number":3,"output_index":0,"item_id":"msg_1","content_index":0,"delta":"Hello","obfuscation":"xx"}"#,
    r#"{"type":"response.output_item.done","sequence_number":4,"output_index":0,"item":{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]}}"#,
    r#"{"type":"response.completed","sequence_number":5,"response":{"id":"resp_1","object":"response","created_at":7,"status":"completed","error":null,"model":"gpt-5-2025-08-07","output":[],"usage":{"input_tokens":15,"input_tokens_details":{"cached_tokens":5},"output_tokens":7,"total_tokens":22}}}"#,
];

fn events(all: &[&str]) -> Vec<String> {
    let event = |data: &&str| {
        let kind: Value = serde_json::from_str(data).unwrap();
        format!(
            "event: {}\ndata: {data}\n\n",
            kind["type"].as_str().unwrap()
        )
    };
    all.iter().map(event).collect()
}

fn stream() -> Reply {
    Reply::pieces("text/event-stream; charset=utf-8", events(EVENTS))
}

fn openai(upstream: &MockUpstream) -> Provider {
    let provider = Provider::openai("sk-0123456789-canary");
    provider.base_url(upstream.url() + "/v1").unwrap()
}

/// One that speaks nothing else.
fn chat_only(vendor: &MockVendor) -> Provider {
    let provider = Provider::openai("sk-mock").base_url(vendor.base_url());
    provider.unwrap().speaking_besides([])
}

/// One to whom all is said in this protocol.
fn responses_only(base: String) -> Provider {
    let provider = Provider::openai("sk-mock").base_url(base).unwrap();
    provider.speaking(Protocol::Responses)
}

fn ask(more: Value) -> Request<Full<Bytes>> {
    let mut body = json!({"model": "gpt-5", "input": "Hello"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    post("/v1/responses", body)
}

/// The response of an answer, streamed or not.
fn response(answer: &Response<Bytes>) -> Value {
    match answer.headers()["content-type"].to_str().unwrap() {
        "text/event-stream" => data(answer).pop().unwrap()["response"].take(),
        _ => document(answer),
    }
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_a_vendor_of_it_untouched() {
    for (stream, reply, body) in [
        (true, stream(), events(EVENTS).concat()),
        (false, Reply::json(200, DOCUMENT), DOCUMENT.to_owned()),
    ] {
        for size in [1_000_000, 7] {
            let upstream = MockUpstream::start(reply.clone().split_every(size))
                .await
                .unwrap();
            let sent = format!(
                r#"{{ "model": "gpt-5","stream":{stream}, "new":{{"a" : 1}},"input":[{{"type":"hologram","beam":1}}]}}"#
            );
            let mut request = post("/v1/responses", &sent);
            let headers = request.headers_mut();
            headers.insert("authorization", "Bearer of-the-client".parse().unwrap());
            let exchange = Exchange::enter(&mut request);
            let answer = call(openai(&upstream), request).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(*answer.body(), body);
            let asked = upstream.last().unwrap();
            assert_eq!(asked.path, "/v1/responses");
            // What the client left open is decided, and nothing else is touched.
            let expected = sent.replacen("\"gpt-5\"", "\"gpt-5\",\"store\":false", 1);
            assert_eq!(asked.body, expected);
            assert_eq!(
                asked.header("authorization"),
                Some("Bearer sk-0123456789-canary")
            );
            let facts = exchange.facts();
            assert_eq!(facts.route.as_deref(), Some("/v1/responses"));
            let used = facts.usage.unwrap();
            assert_eq!((used.input, used.output, used.cache_read), (15, 7, Some(5)));
            assert!(!answer.headers().contains_key("x-gateway-loss"));
        }
    }
}

#[tokio::test]
async fn a_vendor_is_asked_in_its_other_protocol_only_by_its_clients() {
    let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
    let both = Provider::openai("sk-mock")
        .base_url(vendor.base_url())
        .unwrap();
    assert_eq!(both.besides(), [Protocol::Responses]);
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    let message =
        json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]});
    for (provider, path, body, asked) in [
        (
            both.clone(),
            "/v1/responses",
            json!({"model": "m", "input": "Hello"}),
            "/v1/responses",
        ),
        (
            both.clone(),
            "/v1/chat/completions",
            chat.clone(),
            "/v1/chat/completions",
        ),
        (
            both.clone(),
            "/v1/messages",
            message,
            "/v1/chat/completions",
        ),
        (
            chat_only(&vendor),
            "/v1/responses",
            json!({"model": "m", "input": "Hello"}),
            "/v1/chat/completions",
        ),
        (
            responses_only(vendor.base_url()),
            "/v1/chat/completions",
            chat,
            "/v1/responses",
        ),
    ] {
        let answer = call(provider, post(path, body)).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        assert_eq!(vendor.last().unwrap().path, asked, "{path}");
    }
    // An edit does not change whose words they are.
    let editing = tower::service_fn(move |mut request: ChatRequest| {
        let both = both.clone();
        async move {
            request.chat_mut().unwrap();
            both.oneshot(request).await
        }
    });
    let answer = call(
        editing,
        ask(json!({"new": 1, "text": {"verbosity": "low"}, "store": null})),
    )
    .await;
    assert_eq!(answer.status(), 400, "the vendor judges what nobody knows");
    let asked = vendor.last().unwrap();
    assert_eq!(asked.path, "/v1/responses");
    assert_eq!(asked.json()["store"], false);
    let speak: Vec<_> = Row::ALL
        .iter()
        .filter(|row| !row.besides().is_empty())
        .collect();
    assert!(speak.iter().all(|row| row.protocol() == Protocol::OpenAi));
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_any_model() {
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}]);
    let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
    let anthropic = Provider::anthropic("sk-mock")
        .base_url(vendor.url())
        .unwrap();
    let gemini = Provider::gemini("sk-mock").base_url(vendor.url()).unwrap();
    for stream in [false, true] {
        let more = json!({"stream": stream, "tools": tools, "tool_choice": "required",
            "metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"], "max_output_tokens": 99});
        let answers = [
            call(Simulator::new(), ask(more.clone())).await,
            call(chat_only(&vendor), ask(more.clone())).await,
            call(responses_only(vendor.base_url()), ask(more.clone())).await,
            call(anthropic.clone(), ask(more.clone())).await,
            call(gemini.clone(), ask(more)).await,
        ];
        for answer in answers {
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            assert!(
                !answer.headers().contains_key("x-gateway-loss"),
                "{:?}",
                answer.headers()
            );
            let response = response(&answer);
            let item = &response["output"][0];
            assert_eq!(
                (&item["type"], &item["name"]),
                (&json!("function_call"), &json!("get_weather"))
            );
            assert!(
                serde_json::from_str::<Value>(item["arguments"].as_str().unwrap())
                    .unwrap()
                    .is_object()
            );
            assert_eq!(
                (&response["status"], &response["store"]),
                (&json!("completed"), &json!(false))
            );
            assert_eq!(
                (&response["metadata"], &response["tool_choice"]),
                (&json!({"a": "b"}), &json!("required"))
            );
            assert!(response["usage"]["output_tokens"].as_u64() > Some(0));
            if stream {
                for (at, event) in data(&answer).iter().enumerate() {
                    assert_eq!(event["sequence_number"], at);
                }
            }
            // The call and its result go back.
            let history = json!({"tools": tools, "input": [{"role": "user", "content": "Hello"}, item,
                {"type": "function_call_output", "call_id": item["call_id"], "output": "Rain"}]});
            let providers = [
                chat_only(&vendor),
                anthropic.clone(),
                gemini.clone(),
                responses_only(vendor.base_url()),
            ];
            for provider in providers {
                let answer = call(provider, ask(history.clone())).await;
                assert_eq!(answer.status(), 200, "{:?}", answer.body());
                let text = &document(&answer)["output"][0]["content"][0]["text"];
                assert!(text.as_str().unwrap().contains("Rain"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn clients_of_other_protocols_reach_a_vendor_of_this_one() {
    let upstream = MockUpstream::start(Reply::json(200, DOCUMENT))
        .await
        .unwrap();
    let provider = responses_only(upstream.url() + "/v1");
    let chat = json!({"model": "gpt-5", "seed": 1, "stop": "x", "reasoning_effort": "low", "max_tokens": 5,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]});
    let answer = call(provider.clone(), post("/v1/chat/completions", chat)).await;
    let choice = &document(&answer)["choices"][0];
    assert_eq!(choice["message"]["content"], "Hello");
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    assert_eq!(choice["message"]["tool_calls"][0]["id"], "call_1");
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(document(&answer)["usage"]["prompt_tokens"], 15);
    assert_eq!(answer.headers()["x-gateway-loss"], "max_tokens, seed, stop");
    let asked = upstream.last().unwrap().json();
    assert_eq!(asked["instructions"], "Be brief.");
    assert_eq!(
        asked["input"],
        json!([{"role": "user", "content": "Hello"}])
    );
    assert_eq!(
        (&asked["store"], &asked["max_output_tokens"]),
        (&json!(false), &json!(16))
    );
    assert_eq!(asked["reasoning"], json!({"effort": "low"}));
    assert_eq!(asked["include"], json!(["reasoning.encrypted_content"]));
    // Thoughts come back to who made them, sealed in between.
    let sealed = "tg1:responses:openai:gpt-5:proof";
    let details = &choice["message"]["reasoning_details"];
    assert_eq!(details[0]["signature"], sealed);
    let mut message = choice["message"].clone();
    message.as_object_mut().unwrap().remove("tool_calls");
    let chat = json!({"model": "gpt-5", "messages": [
        {"role": "user", "content": "Hello"}, message, {"role": "user", "content": "And?"}]});
    call(provider.clone(), post("/v1/chat/completions", chat)).await;
    let asked = upstream.last().unwrap().json();
    let thought = json!({"type": "reasoning", "encrypted_content": "proof",
        "summary": [{"type": "summary_text", "text": "hm"}]});
    assert_eq!(asked["input"][1], thought);
    let message = json!({"model": "gpt-5", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]});
    let answer = call(provider, post("/v1/messages", message)).await;
    let content = &document(&answer)["content"];
    assert_eq!(
        content[0],
        json!({"type": "thinking", "thinking": "hm", "signature": sealed})
    );
    assert_eq!(
        (&content[1]["text"], &content[2]["input"]),
        (&json!("Hello"), &json!({"city": "Paris"}))
    );
    assert_eq!(document(&answer)["usage"]["cache_read_input_tokens"], 5);
}

#[tokio::test]
async fn thoughts_of_other_vendors_come_back_to_them_through_items() {
    let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
    let anthropic = Provider::anthropic("sk-mock")
        .base_url(vendor.url())
        .unwrap();
    let gemini = Provider::gemini("sk-mock").base_url(vendor.url()).unwrap();
    let providers = [anthropic, gemini, responses_only(vendor.base_url())];
    for (provider, other) in [(0, 1), (1, 2), (2, 0)].map(|(a, b)| (&providers[a], &providers[b])) {
        for stream in [false, true] {
            let more = json!({"model": "mock-thinks", "stream": stream, "include": ["reasoning.encrypted_content"]});
            let answer = call(provider.clone(), ask(more)).await;
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            let output = response(&answer)["output"].clone();
            assert_eq!(output[0]["summary"][0]["text"], "It thinks.", "{output}");
            let mut input = vec![json!({"role": "user", "content": "Hello"})];
            input.extend(output.as_array().unwrap().iter().cloned());
            input.push(json!({"role": "user", "content": "And?"}));
            let more = json!({"model": "mock-thinks", "input": input});
            // The vendor refuses what it did not sign.
            let answer = call(provider.clone(), ask(more.clone())).await;
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            assert!(!answer.headers().contains_key("x-gateway-loss"));
            assert!(String::from_utf8_lossy(&vendor.last().unwrap().body).contains("It thinks."));
            let answer = call(other.clone(), ask(more)).await;
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            assert!(!String::from_utf8_lossy(&vendor.last().unwrap().body).contains("It thinks."));
        }
    }
}

#[tokio::test]
async fn tokens_are_counted() {
    let counted = |service: Simulator| async move {
        let request = post(
            "/v1/responses/input_tokens",
            json!({"model": "sim-chat", "input": "Hello there"}),
        );
        document(&call(service, request).await)
    };
    let count = counted(Simulator::new()).await;
    assert_eq!(count["object"], "response.input_tokens");
    assert!(count["input_tokens"].as_u64() > Some(0));
    if cfg!(feature = "tokens") {
        let upstream = MockUpstream::start(Reply::status(500)).await.unwrap();
        let request = post(
            "/v1/responses/input_tokens",
            json!({"model": "gpt-5", "input": "Hello there"}),
        );
        let count = document(&call(openai(&upstream), request).await);
        assert!(count["input_tokens"].as_u64() > Some(0));
        assert_eq!(upstream.count(), 0);
    }
}

/// The mock refuses what the vendor would: an unknown field, a name that does not fit, calls without
/// results and results without calls, parts of the wrong role.
#[tokio::test]
async fn what_is_written_for_the_vendor_is_taken_by_it() {
    let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let call_of = |id: &str| json!({"id": id, "type": "function", "function": {"name": "a.b", "arguments": ""}});
    for stream in [false, true] {
        let body = json!({
            "model": "gpt-5", "stream": stream, "stream_options": {"include_usage": true},
            "temperature": 1.7, "seed": 1, "user": "u", "parallel_tool_calls": false, "n": 1, "logprobs": true,
            "verbosity": "low", "metadata": {"a": "b"}, "response_format": {"type": "text"}, "store": false,
            "tools": [function("a.b"), function("a_b")],
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "Welcome."},
                {"role": "user", "content": [{"type": "text", "text": "Hello"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}]},
                {"role": "assistant", "content": "", "tool_calls": [call_of("c.1"), call_of("c.2")]},
                {"role": "tool", "tool_call_id": "c.2", "content": "two"},
                {"role": "tool", "tool_call_id": "c.1", "content": [{"type": "text", "text": "one"}]},
                {"role": "user", "content": "And both?"},
            ],
        });
        let before = vendor.truth().len();
        let provider = responses_only(vendor.base_url());
        let answer = call(provider, post("/v1/chat/completions", body)).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        assert_eq!(answer.headers()["x-gateway-loss"], "seed");
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
        assert_eq!(
            (&usage["completion_tokens"], &usage["prompt_tokens"]),
            (&json!(truth.output), &json!(truth.input))
        );
    }
}

#[tokio::test]
async fn a_client_of_the_protocol_reaches_vendors_that_are_only_called() {
    let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
    let cohere = Provider::cohere("co-mock").base_url(vendor.url()).unwrap();
    let ollama = Provider::ollama().speaking(Protocol::Ollama);
    let ollama = ollama.base_url(vendor.url()).unwrap();
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}]);
    for provider in [cohere, ollama] {
        for stream in [false, true] {
            let more = json!({"stream": stream, "tools": tools, "metadata": {"a": "b"}, "instructions": "Be brief.",
                "include": ["reasoning.encrypted_content"], "text": {"format": {"type": "text"}}});
            let answer = call(provider.clone(), ask(more)).await;
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            assert!(
                !answer.headers().contains_key("x-gateway-loss"),
                "{:?}",
                answer.headers()
            );
            let item = response(&answer)["output"]
                .as_array()
                .unwrap()
                .last()
                .unwrap()
                .clone();
            assert_eq!(item["name"], "get_weather");
            let input = json!([{"role": "user", "content": "Hello"}, item,
                {"type": "function_call_output", "call_id": item["call_id"], "output": "Rain"}]);
            let answer = call(
                provider.clone(),
                ask(json!({"tools": tools, "input": input, "stream": stream})),
            )
            .await;
            assert_eq!(answer.status(), 200, "{:?}", answer.body());
            let said = response(&answer)["output"].to_string();
            assert!(said.contains("Rain"), "{said}");
        }
    }
}
