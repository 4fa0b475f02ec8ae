//! Streams in the manner of each vendor, after its documentation, with data of our own.

use super::*;

/// What a completion came to: text, thoughts, calls with their arguments, input and output.
#[derive(Debug, Default, PartialEq)]
struct Came {
    text: String,
    thought: String,
    calls: Vec<(String, String)>,
    usage: Option<(u64, u64)>,
    finish: Option<FinishReason>,
}

fn read(completion: &Completion) -> Came {
    let parts = &completion.choices[0].message.parts;
    let thoughts = parts.iter().filter_map(|part| match &part.content {
        Content::Reasoning(thought) => Some(&*thought.text),
        _ => None,
    });
    let calls = completion.tool_calls();
    let calls = calls.map(|call| (call.name.to_string(), call.arguments.to_string()));
    Came {
        text: completion.text(),
        thought: thoughts.collect(),
        calls: calls.collect(),
        usage: completion.usage.map(|usage| (usage.input, usage.output)),
        finish: completion.choices[0].finish.clone(),
    }
}

async fn came(vendor: &str, chunks: &[Value]) -> Came {
    let mut pieces: Vec<_> = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    pieces.push("data: [DONE]\n\n".to_owned());
    let reply = Reply::pieces("text/event-stream", pieces);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let provider = Provider::of(row(vendor)).base_url(upstream.url()).unwrap();
    let request = ChatRequest::new().for_model("asked").user("hi");
    read(&said(&provider, request).await)
}

fn delta(delta: Value) -> Value {
    chunk(delta, Value::Null)
}

fn chunk(delta: Value, finish: Value) -> Value {
    let mut chunk = json!({
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "up",
        "choices": [{"index": 0}],
    });
    chunk["choices"][0]["delta"] = delta;
    chunk["choices"][0]["finish_reason"] = finish;
    chunk
}

fn with(mut chunk: Value, key: &str, value: Value) -> Value {
    chunk[key] = value;
    chunk
}

fn usage(input: u64, output: u64) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

/// The extra chunk at the end that has no choices.
fn last(input: u64, output: u64) -> Value {
    let mut last = with(delta(json!({})), "usage", usage(input, output));
    last["choices"] = json!([]);
    last
}

fn text(text: &str, thought: &str, usage: (u64, u64)) -> Came {
    Came {
        text: text.into(),
        thought: thought.into(),
        usage: Some(usage),
        finish: Some(FinishReason::Stop),
        ..Came::default()
    }
}

/// <https://docs.mistral.ai/capabilities/reasoning>: content is a list where it holds thoughts.
#[tokio::test]
async fn mistral_thinks_in_parts_of_the_content() {
    let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]);
    let chunks = [
        delta(json!({"role": "assistant", "content": thinking})),
        delta(json!({"content": [{"type": "text", "text": "yes"}], "tool_calls": null})),
        with(
            chunk(json!({"content": ""}), json!("stop")),
            "usage",
            usage(4, 3),
        ),
    ];
    assert_eq!(came("mistral", &chunks).await, text("yes", "hm", (4, 3)));
}

/// <https://docs.mistral.ai/capabilities/function_calling>: whole calls, which may have no index.
#[tokio::test]
async fn mistral_gives_calls_without_an_index() {
    let call = |id: &str, name: &str| json!({"id": id, "function": {"name": name, "arguments": "{\"a\": 1}"}});
    let calls = json!([call("VB03LVVRm", "f"), call("VB03LVVRn", "g")]);
    let chunks = [
        delta(json!({"role": "assistant", "content": ""})),
        with(
            chunk(
                json!({"content": "", "tool_calls": calls}),
                json!("tool_calls"),
            ),
            "usage",
            usage(4, 3),
        ),
    ];
    let came = came("mistral", &chunks).await;
    let call = |name: &str| (name.to_owned(), "{\"a\": 1}".to_owned());
    assert_eq!(came.calls, [call("f"), call("g")]);
    assert_eq!(came.finish, Some(FinishReason::ToolCalls));
}

/// <https://docs.perplexity.ai>: the text so far stands beside each piece, and usage is told each time.
#[tokio::test]
async fn perplexity_repeats_the_whole_message_beside_the_delta() {
    let piece = |new: &str, all: &str, output: u64| {
        let mut piece = with(delta(json!({"content": new})), "usage", usage(5, output));
        piece["choices"][0]["message"] = json!({"role": "assistant", "content": all});
        piece["citations"] = json!(["https://example.com"]);
        piece
    };
    let mut end = piece("lo", "Hello", 2);
    end["choices"][0]["finish_reason"] = "stop".into();
    let chunks = [piece("Hel", "Hel", 1), end];
    assert_eq!(came("perplexity", &chunks).await, text("Hello", "", (5, 2)));
}

/// <https://api-docs.deepseek.com/guides/thinking_mode>: `content` is null while it thinks, and usage is in
/// the chunk that ends it.
#[tokio::test]
async fn deepseek_thinks_before_it_speaks() {
    let chunks = [
        delta(json!({"role": "assistant", "content": null, "reasoning_content": "h"})),
        delta(json!({"content": null, "reasoning_content": "m"})),
        delta(json!({"content": "yes", "reasoning_content": null})),
        with(
            chunk(
                json!({"content": "", "reasoning_content": null}),
                json!("stop"),
            ),
            "usage",
            usage(6, 4),
        ),
    ];
    assert_eq!(came("deepseek", &chunks).await, text("yes", "hm", (6, 4)));
}

/// <https://docs.x.ai/docs/guides/reasoning>: reasoning is told of beside the output, and a call comes whole.
#[tokio::test]
async fn xai_counts_reasoning_beside_the_output() {
    let call = json!([{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let used = json!({
        "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35,
        "completion_tokens_details": {"reasoning_tokens": 20},
    });
    let chunks = [
        delta(json!({"role": "assistant", "reasoning_content": "hm"})),
        chunk(json!({"tool_calls": call}), json!("tool_calls")),
        with(last(0, 0), "usage", used),
    ];
    let came = came("xai", &chunks).await;
    assert_eq!(came.usage, Some((10, 25)));
    assert_eq!(came.calls, [("f".to_owned(), "{}".to_owned())]);
    assert_eq!(came.thought, "hm");
}

/// <https://inference-docs.cerebras.ai>, <https://docs.ollama.com>, <https://console.groq.com/docs>: thoughts
/// are in `reasoning`.
#[tokio::test]
async fn cerebras_ollama_and_groq_think_in_reasoning() {
    for vendor in ["cerebras", "ollama", "groq"] {
        let time = json!({"total_time": 0.1});
        let chunks = [
            delta(json!({"role": "assistant", "reasoning": "hm"})),
            delta(json!({"content": "yes"})),
            with(chunk(json!({}), json!("stop")), "time_info", time),
            last(7, 3),
        ];
        let expected = text("yes", "hm", (7, 3));
        assert_eq!(came(vendor, &chunks).await, expected, "{vendor}");
    }
}

/// <https://docs.fireworks.ai/api-reference/post-chatcompletions>: usage is in the last chunk that has a
/// choice, and there may be speculation metrics.
#[tokio::test]
async fn fireworks_tells_the_usage_in_the_chunk_that_ends_it() {
    let chunks = [
        delta(json!({"role": "assistant"})),
        delta(json!({"reasoning_content": "hm"})),
        delta(json!({"content": "yes"})),
        with(
            with(chunk(json!({}), json!("stop")), "usage", usage(8, 3)),
            "perf_metrics",
            json!({"server-time-to-first-token": 0.2}),
        ),
    ];
    assert_eq!(came("fireworks", &chunks).await, text("yes", "hm", (8, 3)));
}

/// <https://docs.nvidia.com/nim/large-language-models>, <https://docs.vllm.ai> (on which it is built): unknown
/// fields, thoughts in `reasoning_content`, later in `reasoning`, and `stop_reason` beside.
#[tokio::test]
async fn nvidia_and_vllm_say_more_than_the_protocol_knows() {
    for (vendor, field) in [("nvidia", "reasoning_content"), ("vllm", "reasoning")] {
        let first = with(
            delta(json!({"role": "assistant", "content": ""})),
            "prompt_token_ids",
            Value::Null,
        );
        let mut end = chunk(json!({"content": ""}), json!("stop"));
        end["choices"][0]["stop_reason"] = Value::Null;
        end["choices"][0]["token_ids"] = Value::Null;
        let thought = delta(json!({field: "hm"}));
        let chunks = [
            first,
            thought,
            delta(json!({"content": "yes"})),
            end,
            last(9, 4),
        ];
        let expected = text("yes", "hm", (9, 4));
        assert_eq!(came(vendor, &chunks).await, expected, "{vendor}");
    }
}

/// <https://lmstudio.ai/docs/developer/openai-compat>, <https://github.com/ggml-org/llama.cpp> `tools/server`.
#[tokio::test]
async fn servers_at_home_add_figures_of_their_own() {
    for vendor in ["lmstudio", "llamacpp"] {
        let figures = json!({"predicted_per_second": 42.5});
        let call = json!([{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]);
        let more = json!([{"index": 0, "function": {"arguments": "}"}}]);
        let chunks = [
            with(
                delta(json!({"role": "assistant", "tool_calls": call})),
                "system_fingerprint",
                json!("up"),
            ),
            delta(json!({"tool_calls": more})),
            with(chunk(json!({}), json!("tool_calls")), "timings", figures),
            with(last(11, 6), "stats", json!({})),
        ];
        let came = came(vendor, &chunks).await;
        assert_eq!(came.calls, [("f".to_owned(), "{}".to_owned())], "{vendor}");
        assert_eq!(came.usage, Some((11, 6)), "{vendor}");
    }
}

/// <https://ai.google.dev/gemini-api/docs/openai>: calls have no id, and their signature is to come back.
#[tokio::test]
async fn geminis_address_for_openais_clients_gives_calls_without_an_id() {
    let call = json!([{
        "index": 0, "type": "function",
        "function": {"name": "f", "arguments": "{\"a\":1}"},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }]);
    let chunks = [
        delta(json!({"role": "assistant", "tool_calls": call})),
        with(chunk(json!({}), json!("stop")), "usage", usage(2, 1)),
    ];
    let came = came("openai", &chunks).await;
    assert_eq!(came.calls, [("f".to_owned(), "{\"a\":1}".to_owned())]);
}

/// <https://docs.together.ai>: a finish reason of its own.
#[tokio::test]
async fn together_ends_with_eos() {
    let chunks = [
        delta(json!({"role": "assistant", "content": "yes", "token_id": 7})),
        with(
            chunk(json!({"content": ""}), json!("eos")),
            "usage",
            usage(3, 1),
        ),
    ];
    assert_eq!(came("together", &chunks).await, text("yes", "", (3, 1)));
}

/// <https://openrouter.ai/docs/api-reference/streaming>: comments while it waits.
#[tokio::test]
async fn openrouter_keeps_the_line_warm_with_comments() {
    let pieces = [
        ": OPENROUTER PROCESSING\n\n".to_owned(),
        format!(
            "data: {}\n\n: OPENROUTER PROCESSING\n\n",
            delta(json!({"content": "yes"}))
        ),
        format!(
            "data: {}\n\n",
            with(
                chunk(json!({"content": ""}), json!("stop")),
                "usage",
                usage(3, 1)
            )
        ),
    ];
    let reply = Reply::pieces("text/event-stream", pieces);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let provider = Provider::of(row("openrouter")).base_url(upstream.url());
    let completion = said(&provider.unwrap(), ChatRequest::new().user("hi")).await;
    assert_eq!(read(&completion), text("yes", "", (3, 1)));
}
