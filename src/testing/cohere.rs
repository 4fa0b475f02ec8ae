//! A mock vendor in Cohere's words, written from the vendor's documentation and recorded traffic.

use super::{
    Reply,
    embedding::vectors,
    turn::{Answer, Asked, fragments, tokens},
};
use crate::exchange::Usage;
use serde_json::{Value, json};

/// Fields of a conversation that the vendor knows. It refuses any other.
const KNOWN: [&str; 20] = [
    "model",
    "messages",
    "stream",
    "tools",
    "strict_tools",
    "tool_choice",
    "documents",
    "citation_options",
    "response_format",
    "safety_mode",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "thinking",
    "priority",
];

/// What the vendor would find fault with.
pub(super) fn fault(body: &Value) -> Option<String> {
    let fields = body.as_object()?;
    if let Some(key) = fields.keys().find(|key| !KNOWN.contains(&&***key)) {
        return Some(format!(
            "unknown field: parameter '{key}' is not a valid field"
        ));
    }
    for (field, least, most) in [
        ("p", 0.01, 0.99),
        ("k", 0.0, 500.0),
        ("frequency_penalty", 0.0, 1.0),
        ("presence_penalty", 0.0, 1.0),
    ] {
        let value = body[field].as_f64();
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            return Some(format!(
                "invalid request: {field} must be between {least} and {most}"
            ));
        }
    }
    let tools = body["tools"].as_array();
    if tools.is_some() && body["response_format"]["type"] == "json_object" {
        return Some("invalid request: cannot use `response_format` with tools".to_owned());
    }
    for tool in tools.into_iter().flatten() {
        let function = &tool["function"];
        let name = function["name"].as_str().unwrap_or_default();
        let plain = |char: char| char.is_ascii_alphanumeric() || char == '_';
        if name.is_empty() || !name.chars().all(plain) || !function["parameters"].is_object() {
            return Some(format!("invalid tool: '{name}'"));
        }
    }
    let mut open: Vec<&str> = Vec::new();
    let mut last = "";
    for message in body["messages"].as_array()? {
        last = message["role"].as_str().unwrap_or_default();
        let calls = message["tool_calls"].as_array();
        if last == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = open.iter().position(|call| *call == id) else {
                return Some(format!("invalid request: tool call id '{id}' not found"));
            };
            open.remove(at);
            continue;
        }
        if !open.is_empty() {
            return Some("invalid request: all tool calls must have results".to_owned());
        }
        if !["user", "assistant", "system"].contains(&last) {
            return Some(format!("invalid role '{last}' provided in messages"));
        }
        if message["content"] == "" || message["content"].is_null() && calls.is_none() {
            return Some("invalid request: message must be at least 1 token long".to_owned());
        }
        let calls = calls.into_iter().flatten();
        open.extend(calls.filter_map(|call| call["id"].as_str()));
    }
    let waits = last == "assistant" || !open.is_empty();
    waits.then(|| "invalid request: the last message must be a user or tool message".to_owned())
}

/// As much of a request in OpenAI's words as scripts look at.
pub(super) fn as_chat(body: &Value) -> Value {
    let mut chat = json!({"model": body["model"], "messages": body["messages"]});
    if body["tools"].is_array() {
        chat["tools"] = body["tools"].clone();
    }
    if body["tool_choice"] == "NONE" {
        chat["tool_choice"] = "none".into();
    }
    let format = &body["response_format"];
    if format["type"] == "json_object" {
        chat["response_format"] = match format.get("schema").or(format.get("json_schema")) {
            Some(schema) => json!({"type": "json_schema", "json_schema": {"schema": schema}}),
            None => json!({"type": "json_object"}),
        };
    }
    chat
}

/// An error of OpenAI's as one of this vendor's.
pub(super) fn refused(reply: Reply) -> Reply {
    reply.reworded(|status, body| {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = match status {
            401 => "invalid api token".into(),
            404 => "model not found, make sure the correct model ID was used".into(),
            _ => error["error"]["message"].clone(),
        };
        (
            status,
            json!({"id": "mock", "message": message}).to_string(),
        )
    })
}

/// What is billed is less than what the model saw: the vendor's own preamble is not.
fn usage(billed: Usage) -> Value {
    let mut tokens = json!({"input_tokens": billed.input, "output_tokens": billed.output});
    if let Some(reasoning) = billed.reasoning {
        tokens["reasoning_tokens"] = reasoning.into();
    }
    json!({
        "billed_units": {"input_tokens": billed.input / 2, "output_tokens": billed.output},
        "tokens": tokens,
        "cached_tokens": billed.cache_read.unwrap_or(0),
    })
}

fn reason(answer: &Answer) -> &str {
    match answer.finish.as_deref() {
        Some("length") => "MAX_TOKENS",
        Some(reason) => reason,
        None if answer.calls.is_empty() => "COMPLETE",
        None => "TOOL_CALL",
    }
}

fn call(asked: &Asked<'_>, n: usize, name: &str, arguments: &str) -> Value {
    let id = format!("{name}_{}_{n}", asked.id);
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

pub(super) fn whole(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let mut message = json!({"role": "assistant"});
    let mut content = Vec::new();
    // A model that calls tools plans before.
    match (answer.reasoning.is_empty(), answer.calls.is_empty()) {
        (false, true) => content.push(json!({"type": "thinking", "thinking": answer.reasoning})),
        (false, false) => message["tool_plan"] = json!(answer.reasoning),
        _ => {}
    }
    if !answer.words().is_empty() {
        content.push(json!({"type": "text", "text": answer.words()}));
    }
    if !content.is_empty() {
        message["content"] = content.into();
    }
    let calls = answer.calls.iter().enumerate();
    let calls: Vec<_> = calls
        .map(|(n, (name, arguments))| call(asked, n, name, arguments))
        .collect();
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let body = json!({
        "id": asked.id, "message": message, "finish_reason": reason(answer), "usage": usage(billed),
    });
    Reply::json(200, body)
}

pub(super) fn stream(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let empty = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
    let mut events =
        vec![json!({"type": "message-start", "id": asked.id, "delta": {"message": empty}})];
    let mut block = |index: usize, kind: &str, text: &str| {
        if text.is_empty() {
            return;
        }
        let content = json!({"type": kind, kind: ""});
        let delta = |content: Value| json!({"message": {"content": content}});
        events.push(json!({"type": "content-start", "index": index, "delta": delta(content)}));
        for token in tokens(text) {
            let content = json!({kind: token});
            events.push(json!({"type": "content-delta", "index": index, "delta": delta(content)}));
        }
        events.push(json!({"type": "content-end", "index": index}));
    };
    let plans = !answer.calls.is_empty();
    if !plans {
        block(0, "thinking", &answer.reasoning);
    }
    block(1, "text", answer.words());
    if plans {
        for token in tokens(&answer.reasoning) {
            let delta = json!({"message": {"tool_plan": token}});
            events.push(json!({"type": "tool-plan-delta", "delta": delta}));
        }
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let event = |kind: &str, call: Value| {
            let delta = json!({"message": {"tool_calls": call}});
            json!({"type": kind, "index": n, "delta": delta})
        };
        events.push(event("tool-call-start", call(asked, n, name, "")));
        for piece in fragments(arguments) {
            let call = json!({"function": {"arguments": piece}});
            events.push(event("tool-call-delta", call));
        }
        events.push(json!({"type": "tool-call-end", "index": n}));
    }
    let mut end = json!({"finish_reason": reason(answer), "usage": usage(billed)});
    if let Some(after) = answer.fails_after {
        // Two events come before the first that says anything.
        events.truncate(after + 2);
        end = json!({"finish_reason": "ERROR", "usage": {}, "error": "internal server error"});
    }
    events.push(json!({"type": "message-end", "delta": end}));
    let events = events.into_iter().map(|event| {
        let name = event["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n")
    });
    let done = ["data: [DONE]\n\n".to_owned()];
    Reply::pieces("text/event-stream", events.chain(done))
}

/// Vectors, and the tokens of their texts.
pub(super) fn embedded(body: &Value) -> (Value, u64) {
    let asked = json!({"input": body["texts"], "dimensions": body["output_dimension"]});
    let (rows, input) = vectors(&asked);
    let rows: Vec<_> = rows.iter().map(|row| row["embedding"].clone()).collect();
    let answer = json!({
        "id": "mock", "embeddings": {"float": rows}, "texts": body["texts"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": input}},
        "response_type": "embeddings_by_type",
    });
    (answer, input)
}
