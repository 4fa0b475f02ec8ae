//! A mock vendor in Anthropic's words, written from the vendor's documentation.

use super::{
    Reply, embedding,
    turn::{Answer, Asked, fragments, tokens},
};
use crate::exchange::Usage;
use serde_json::{Value, json};

/// Fields of a request that the vendor knows. It refuses any other.
const KNOWN: [&str; 16] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "service_tier",
    "cache_control",
];

/// What the vendor would find fault with.
pub(super) fn fault(body: &Value) -> Option<String> {
    let fields = body.as_object()?;
    if let Some(key) = fields.keys().find(|key| !KNOWN.contains(&&***key)) {
        return Some(format!("{key}: Extra inputs are not permitted"));
    }
    if body["max_tokens"].as_u64().is_none_or(|most| most == 0) {
        return Some("max_tokens: Field required".to_owned());
    }
    if body["temperature"].as_f64().is_some_and(|it| it > 1.0) {
        return Some("temperature: range: 0..1".to_owned());
    }
    for (at, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let name = tool["name"].as_str().unwrap_or_default();
        if name.is_empty() || !name.chars().all(is_plain) {
            return Some(format!(
                "tools.{at}.custom.name: String should match pattern"
            ));
        }
        if tool["input_schema"]["type"] != "object" {
            return Some(format!(
                "tools.{at}.custom.input_schema.type: Field required"
            ));
        }
    }
    let mut open: Vec<&str> = Vec::new();
    let mut last = "assistant";
    for (at, message) in body["messages"].as_array()?.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["user", "assistant"].contains(&role) || role == last {
            return Some(format!(
                "messages.{at}: roles must alternate, the user first"
            ));
        }
        last = role;
        let of = |kind: &str, key: &str| -> Vec<&str> {
            let blocks = message["content"].as_array().into_iter().flatten();
            let blocks = blocks.filter(|block| block["type"] == kind);
            blocks.filter_map(|block| block[key].as_str()).collect()
        };
        let blocks = message["content"].as_array().into_iter().flatten();
        for block in blocks.clone() {
            let text = block.get("text").filter(|_| block["type"] == "text");
            if text.is_some_and(|text| !text.is_string()) {
                return Some(format!(
                    "messages.{at}.content.0.text.text: Input should be a valid string"
                ));
            }
            let source = &block["source"];
            let data = source["data"]
                .as_str()
                .filter(|_| source["type"] == "base64");
            if data.is_some_and(|data| embedding::decode(data).is_none()) {
                return Some(format!(
                    "messages.{at}.content.0.image.source.base64: invalid base64 data"
                ));
            }
        }
        let empty = |text: &&str| text.trim().is_empty();
        if of("text", "text").iter().any(&empty)
            || message["content"].as_str().as_ref().is_some_and(empty)
        {
            return Some(format!(
                "messages.{at}: text content blocks must be non-empty"
            ));
        }
        if let Some(proof) = of("thinking", "signature")
            .iter()
            .find(|it| **it != SIGNATURE)
        {
            return Some(format!(
                "messages.{at}: Invalid `signature` in `thinking` block: {proof}"
            ));
        }
        let results = of("tool_result", "tool_use_id");
        if open.iter().any(|id| !results.contains(id)) {
            return Some(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after"
            ));
        }
        if results.iter().any(|id| !open.contains(id)) {
            return Some(format!(
                "messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks"
            ));
        }
        open = of("tool_use", "id");
        if let Some(id) = open.iter().find(|id| !id.chars().all(is_plain)) {
            return Some(format!(
                "messages.{at}: tool_use.id {id}: String should match pattern"
            ));
        }
    }
    (!open.is_empty()).then(|| "messages: `tool_use` without `tool_result`".to_owned())
}

fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-')
}

/// As much of a request in OpenAI's words as scripts look at.
pub(super) fn as_chat(body: &Value) -> Value {
    let messages = body["messages"].as_array().into_iter().flatten();
    let messages = messages.map(|message| {
        let blocks = message["content"].as_array();
        let last = blocks.and_then(|blocks| blocks.last());
        match last {
            Some(result) if result["type"] == "tool_result" => {
                json!({"role": "tool", "content": result["content"]})
            }
            _ => json!({"role": message["role"], "content": message["content"]}),
        }
    });
    let mut chat = json!({"model": body["model"], "messages": messages.collect::<Vec<_>>()});
    let tools = body["tools"].as_array().into_iter().flatten().map(|tool| {
        json!({"type": "function", "function": {
            "name": tool["name"], "parameters": tool["input_schema"],
        }})
    });
    let tools: Vec<_> = tools.collect();
    if !tools.is_empty() {
        chat["tools"] = tools.into();
    }
    let choice = &body["tool_choice"];
    match choice["type"].as_str() {
        Some("none") => chat["tool_choice"] = "none".into(),
        Some("tool") => chat["tool_choice"] = json!({"function": {"name": choice["name"]}}),
        _ => {}
    }
    let format = &body["output_config"]["format"];
    if format["type"] == "json_schema" {
        chat["response_format"] =
            json!({"type": "json_schema", "json_schema": {"schema": format["schema"]}});
    }
    chat
}

/// An error of OpenAI's as one of this vendor's.
pub(super) fn refused(reply: Reply) -> Reply {
    reply.reworded(|status, body| {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let (status, kind) = match status {
            401 => (401, "authentication_error"),
            404 => (404, "not_found_error"),
            429 => (429, "rate_limit_error"),
            503 => (529, "overloaded_error"),
            500.. => (500, "api_error"),
            status => (status, "invalid_request_error"),
        };
        let error = json!({"type": kind, "message": error["error"]["message"]});
        let body = json!({"type": "error", "error": error, "request_id": "req_mock"});
        (status, body.to_string())
    })
}

fn usage(billed: Usage, output: u64) -> Value {
    let read = billed.cache_read.unwrap_or(0);
    let written = billed.cache_write.unwrap_or(0);
    json!({
        "input_tokens": billed.input.saturating_sub(read).saturating_sub(written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": output,
    })
}

/// What is told at the end: the thoughts among it.
fn last_usage(billed: Usage) -> Value {
    let mut usage = usage(billed, billed.output);
    if let Some(thinking) = billed.reasoning {
        usage["output_tokens_details"] = json!({"thinking_tokens": thinking});
    }
    usage
}

fn message(asked: &Asked<'_>, content: &[Value], reason: Option<&str>, usage: &Value) -> Value {
    json!({
        "id": asked.id, "type": "message", "role": "assistant", "model": asked.model,
        "content": content, "stop_reason": reason, "stop_sequence": null, "usage": usage,
    })
}

/// What is said of a refusal, beside it.
fn details(answer: &Answer) -> Value {
    match answer.refusal.is_empty() {
        true => Value::Null,
        false => json!({"type": "refusal", "category": null, "explanation": answer.refusal}),
    }
}

fn reason(answer: &Answer) -> &str {
    match answer.finish.as_deref() {
        Some("length") => "max_tokens",
        Some("content_filter") => "refusal",
        Some(reason) => reason,
        None if !answer.refusal.is_empty() => "refusal",
        None if answer.calls.is_empty() => "end_turn",
        None => "tool_use",
    }
}

fn call_id(asked: &Asked<'_>, n: usize) -> String {
    format!("toolu_{}_{n}", asked.id)
}

const SIGNATURE: &str = "bW9jaw==";

pub(super) fn whole(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content.push(
            json!({"type": "thinking", "thinking": answer.reasoning, "signature": SIGNATURE}),
        );
    }
    if !answer.text.is_empty() {
        content.push(json!({"type": "text", "text": answer.text}));
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let input: Value = serde_json::from_str(arguments).unwrap_or_default();
        let id = call_id(asked, n);
        content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
    }
    let mut message = message(asked, &content, Some(reason(answer)), &last_usage(billed));
    message["stop_details"] = details(answer);
    Reply::json(200, message)
}

pub(super) fn stream(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let start = message(asked, &[], None, &usage(billed, 1));
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "ping"}),
    ];
    let mut index = 0;
    let mut block = |start: Value, deltas: Vec<Value>| {
        let begin = json!({"type": "content_block_start", "index": index, "content_block": start});
        let deltas = deltas
            .into_iter()
            .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        let end = json!({"type": "content_block_stop", "index": index});
        events.extend([begin].into_iter().chain(deltas).chain([end]));
        index += 1;
    };
    if !answer.reasoning.is_empty() {
        let pieces = tokens(&answer.reasoning).into_iter();
        let pieces = pieces.map(|text| json!({"type": "thinking_delta", "thinking": text}));
        let proof = json!({"type": "signature_delta", "signature": SIGNATURE});
        let start = json!({"type": "thinking", "thinking": "", "signature": ""});
        block(start, pieces.chain([proof]).collect());
    }
    if !answer.text.is_empty() {
        let pieces = tokens(&answer.text).into_iter();
        let pieces = pieces.map(|text| json!({"type": "text_delta", "text": text}));
        block(json!({"type": "text", "text": ""}), pieces.collect());
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let id = call_id(asked, n);
        let start = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let pieces = fragments(arguments).into_iter();
        let pieces = pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        block(start, pieces.collect());
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {
            "stop_reason": reason(answer), "stop_sequence": null, "stop_details": details(answer),
        },
        "usage": last_usage(billed),
    }));
    events.push(json!({"type": "message_stop"}));
    if let Some(after) = answer.fails_after {
        // The start, the ping and the start of a block come before the first that says anything.
        events.truncate(after + 3);
        let error = json!({"type": "api_error", "message": "Internal server error"});
        events.push(json!({"type": "error", "error": error}));
    }
    let events = events.into_iter().map(|event| {
        let name = event["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n")
    });
    Reply::pieces("text/event-stream; charset=utf-8", events)
}
