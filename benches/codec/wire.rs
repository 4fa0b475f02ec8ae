//! Requests and answers as clients and vendors of each protocol send them.

use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};
use tower_gateway::llm::Protocol;

pub(crate) const ALL: [Protocol; 7] = [
    Protocol::OpenAi,
    Protocol::Responses,
    Protocol::Anthropic,
    Protocol::Gemini,
    Protocol::Bedrock,
    Protocol::Cohere,
    Protocol::Ollama,
];

/// Those that clients speak.
pub(crate) const SERVED: [Protocol; 4] = [
    Protocol::OpenAi,
    Protocol::Responses,
    Protocol::Anthropic,
    Protocol::Gemini,
];

const PROSE: &str = "The quick brown fox jumps over the lazy dog, and all of it counts.\n";
const ID: &str = "9xYz0123456789abcdef";
const MODEL: &str = "some-model-2026-01-01";

/// Where a client asks for a chat.
pub(crate) fn path(protocol: Protocol, stream: bool) -> &'static str {
    match (protocol, stream) {
        (Protocol::Responses, _) => "/v1/responses",
        (Protocol::Anthropic, _) => "/v1/messages",
        (Protocol::Gemini, true) => "/v1beta/models/m:streamGenerateContent?alt=sse",
        (Protocol::Gemini, false) => "/v1beta/models/m:generateContent",
        _ => "/v1/chat/completions",
    }
}

/// A request of about this many bytes: turns of a sentence each, and a tool.
pub(crate) fn request(protocol: Protocol, size: usize, stream: bool) -> Bytes {
    let text = Value::from(PROSE);
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;
    let (start, turn) = match protocol {
        Protocol::Responses => (
            format!(
                r#"{{"model":"m","stream":{stream},"temperature":0.7,"instructions":"You are terse.","tools":[{{"type":"function","name":"weather","parameters":{schema}}}],"input":["#
            ),
            format!(r#"{{"role":"user","content":{text}}}"#),
        ),
        Protocol::Anthropic => (
            format!(
                r#"{{"model":"m","max_tokens":1000,"stream":{stream},"temperature":0.7,"system":"You are terse.","tools":[{{"name":"weather","input_schema":{schema}}}],"messages":["#
            ),
            format!(r#"{{"role":"user","content":{text}}}"#),
        ),
        Protocol::Gemini => (
            format!(
                r#"{{"generationConfig":{{"temperature":0.7}},"systemInstruction":{{"parts":[{{"text":"You are terse."}}]}},"tools":[{{"functionDeclarations":[{{"name":"weather","parameters":{schema}}}]}}],"contents":["#
            ),
            format!(r#"{{"role":"user","parts":[{{"text":{text}}}]}}"#),
        ),
        _ => (
            format!(
                r#"{{"model":"m","stream":{stream},"temperature":0.7,"tools":[{{"type":"function","function":{{"name":"weather","parameters":{schema}}}}}],"messages":[{{"role":"system","content":"You are terse."}},"#
            ),
            format!(r#"{{"role":"user","content":{text}}}"#),
        ),
    };
    let mut document = start + &turn;
    while document.len() + turn.len() + 3 < size {
        document.push(',');
        document.push_str(&turn);
    }
    document.push_str("]}");
    document.into()
}

/// An answer in one piece, of about this many bytes.
pub(crate) fn answer(protocol: Protocol, size: usize) -> Bytes {
    let text = PROSE.repeat(size / PROSE.len());
    let document = match protocol {
        Protocol::Responses => response("completed", &json!([item("completed", &text)])),
        Protocol::Anthropic => json!({
            "id": format!("msg_{ID}"), "type": "message", "role": "assistant", "model": MODEL,
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 2000},
        }),
        Protocol::Gemini => json!({
            "candidates": [{"content": {"parts": [{"text": text}], "role": "model"},
                "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2000, "totalTokenCount": 2009},
            "modelVersion": MODEL, "responseId": ID,
        }),
        Protocol::Bedrock => json!({
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn", "metrics": {"latencyMs": 500},
            "usage": {"inputTokens": 9, "outputTokens": 2000, "totalTokens": 2009},
        }),
        Protocol::Cohere => json!({
            "id": ID, "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
            "usage": {"tokens": {"input_tokens": 9, "output_tokens": 2000}},
        }),
        Protocol::Ollama => json!({
            "model": MODEL, "created_at": "2026-01-01T00:00:00.000000Z",
            "message": {"role": "assistant", "content": text}, "done": true, "done_reason": "stop",
            "total_duration": 1, "prompt_eval_count": 9, "eval_count": 2000,
        }),
        _ => json!({
            "id": format!("chatcmpl-{ID}"), "object": "chat.completion", "created": 1_731_000_000,
            "model": MODEL, "service_tier": "default", "system_fingerprint": "fp_0123456789",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text,
                "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2000, "total_tokens": 2009},
        }),
    };
    document.to_string().into()
}

fn response(status: &str, output: &Value) -> Value {
    let usage = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2000, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2009});
    json!({
        "id": format!("resp_{ID}"), "object": "response", "created_at": 1_731_000_000,
        "status": status, "model": MODEL, "output": output, "parallel_tool_calls": true,
        "tool_choice": "auto", "tools": [], "store": false,
        "usage": if status == "completed" { usage } else { Value::Null },
    })
}

fn item(status: &str, text: &str) -> Value {
    let part = json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    json!({"id": format!("msg_{ID}"), "type": "message", "status": status, "role": "assistant",
        "content": if status == "completed" { json!([part]) } else { json!([]) }})
}

/// An answer that streams a word an event, so many of them, and what each of its events is.
pub(crate) fn stream(protocol: Protocol, words: usize) -> Vec<Vec<u8>> {
    let all = (0..words).map(|n| format!(" word{n}"));
    let data = |event: Value| format!("data: {event}\n\n").into_bytes();
    let named = |event: Value| {
        let name = event["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n").into_bytes()
    };
    match protocol {
        Protocol::Responses => {
            let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
            let at = |kind: &str| json!({"type": format!("response.{kind}"), "sequence_number": 7, "item_id": format!("msg_{ID}"), "output_index": 0, "content_index": 0});
            let with = |mut event: Value, key: &str, value: Value| {
                event[key] = value;
                event
            };
            let whole: String = all.clone().collect();
            let deltas = all.map(|word| {
                let event = with(at("output_text.delta"), "delta", word.into());
                let event = with(event, "logprobs", json!([]));
                with(event, "obfuscation", "0123456789".into())
            });
            let first = [
                json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress", &json!([]))}),
                json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item("in_progress", "")}),
                with(at("content_part.added"), "part", part("")),
            ];
            let last = [
                with(at("output_text.done"), "text", (&*whole).into()),
                with(at("content_part.done"), "part", part(&whole)),
                json!({"type": "response.output_item.done", "sequence_number": 8, "output_index": 0, "item": item("completed", &whole)}),
                json!({"type": "response.completed", "sequence_number": 9, "response": response("completed", &json!([item("completed", &whole)]))}),
            ];
            let events = first.into_iter().chain(deltas).chain(last);
            events.map(named).collect()
        }
        Protocol::Anthropic => {
            let first = [
                json!({"type": "message_start", "message": {"id": format!("msg_{ID}"), "type": "message",
                    "role": "assistant", "model": MODEL, "content": [], "stop_reason": null,
                    "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            ];
            let deltas = all.map(|word| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}));
            let last = [
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 2000}}),
                json!({"type": "message_stop"}),
            ];
            let events = first.into_iter().chain(deltas).chain(last);
            events.map(named).collect()
        }
        Protocol::Gemini => {
            let event = |word: &str, n: usize| {
                json!({"candidates": [{"content": {"parts": [{"text": word}], "role": "model"}, "index": 0}],
                    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": n, "totalTokenCount": 9 + n},
                    "modelVersion": MODEL, "responseId": ID})
            };
            let mut last = event("", words);
            last["candidates"][0]["finishReason"] = "STOP".into();
            let events = all.enumerate().map(|(n, word)| event(&word, n + 1));
            events.chain([last]).map(data).collect()
        }
        Protocol::Bedrock => {
            let first = [("messageStart", json!({"p": "abcdef", "role": "assistant"}))];
            let deltas = all.map(|word| {
                let delta =
                    json!({"contentBlockIndex": 0, "delta": {"text": word}, "p": "abcdefghijkl"});
                ("contentBlockDelta", delta)
            });
            let last = [
                (
                    "contentBlockStop",
                    json!({"contentBlockIndex": 0, "p": "abc"}),
                ),
                ("messageStop", json!({"p": "abc", "stopReason": "end_turn"})),
                (
                    "metadata",
                    json!({"metrics": {"latencyMs": 500}, "p": "abc",
                        "usage": {"inputTokens": 9, "outputTokens": 2000, "totalTokens": 2009}}),
                ),
            ];
            let events = first.into_iter().chain(deltas).chain(last);
            events
                .map(|(kind, payload)| frame(kind, &payload))
                .collect()
        }
        Protocol::Cohere => {
            let first = [
                json!({"type": "message-start", "id": ID, "delta": {"message": {"role": "assistant",
                    "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}}),
                json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
            ];
            let deltas = all.map(|word| json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}));
            let last = [
                json!({"type": "content-end", "index": 0}),
                json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE",
                    "usage": {"tokens": {"input_tokens": 9, "output_tokens": 2000}}}}),
            ];
            let events = first.into_iter().chain(deltas).chain(last);
            let events = events.map(named);
            events.chain([b"data: [DONE]\n\n".to_vec()]).collect()
        }
        Protocol::Ollama => {
            let line = |word: &str| {
                json!({"model": MODEL, "created_at": "2026-01-01T00:00:00.000000Z",
                    "message": {"role": "assistant", "content": word}, "done": false})
            };
            let mut last = line("");
            last["done"] = true.into();
            last["done_reason"] = "stop".into();
            last["prompt_eval_count"] = 9.into();
            last["eval_count"] = 2000.into();
            let lines = all.map(|word| line(&word)).chain([last]);
            lines.map(|line| format!("{line}\n").into_bytes()).collect()
        }
        _ => {
            let chunk = |choices: Value, usage: Value| {
                json!({"id": format!("chatcmpl-{ID}"), "object": "chat.completion.chunk", "created": 1_731_000_000,
                    "model": MODEL, "service_tier": "default", "system_fingerprint": "fp_0123456789",
                    "choices": choices, "usage": usage})
            };
            let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
            let said =
                all.map(|word| chunk(choice(json!({"content": word}), Value::Null), Value::Null));
            let first = json!({"role": "assistant", "content": "", "refusal": null});
            let first = [chunk(choice(first, Value::Null), Value::Null)];
            let usage =
                json!({"prompt_tokens": 9, "completion_tokens": 2000, "total_tokens": 2009});
            let last = [
                chunk(choice(json!({}), "stop".into()), Value::Null),
                chunk(json!([]), usage),
            ];
            let events = first.into_iter().chain(said).chain(last).map(data);
            events.chain([b"data: [DONE]\n\n".to_vec()]).collect()
        }
    }
}

/// An answer of HTTP with each of these in a chunk of its own, as they come where nobody holds them.
pub(crate) fn chunked(protocol: Protocol, events: &[Vec<u8>]) -> Bytes {
    let content_type = match protocol {
        Protocol::Bedrock => "application/vnd.amazon.eventstream",
        Protocol::Ollama => "application/x-ndjson",
        _ => "text/event-stream",
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut all = head.into_bytes();
    for event in events {
        all.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
        all.extend_from_slice(event);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all.into()
}

fn frame(kind: &str, payload: &Value) -> Vec<u8> {
    let message = Message::new(payload.to_string().into_bytes());
    let headers = [
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    let message = headers.into_iter().fold(message, |message, (name, value)| {
        let value = HeaderValue::String(value.to_owned().into());
        message.add_header(Header::new(name.to_owned(), value))
    });
    let mut out = Vec::new();
    aws_smithy_eventstream::frame::write_message_to(&message, &mut out)
        .unwrap_or_else(|error| panic!("{error}"));
    out
}
