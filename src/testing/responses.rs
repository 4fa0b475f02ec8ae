//! A mock vendor in the words of OpenAI's Responses, written from the vendor's documentation.

use super::{
    Reply, embedding,
    turn::{Answer, Asked, error, fragments, tokens},
};
use crate::exchange::Usage;
use serde_json::{Map, Value, json};

/// Fields of a request that the vendor knows. It refuses any other.
const KNOWN: [&str; 29] = [
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];
/// It knows it still.
const USER: &str = "user";

/// What the vendor seals a thought with.
const SEALED: &str = "bW9jaw==";
const SEAL: &str = "reasoning.encrypted_content";

/// What the vendor would find fault with: the document that says so.
pub(super) fn fault(body: &Value) -> Option<Value> {
    let of = |code: &str, param: &str, message: &str| {
        let mut error = error("invalid_request_error", code, message);
        error["error"]["param"] = param.into();
        Some(error)
    };
    let mut keys = body.as_object().into_iter().flat_map(Map::keys);
    if let Some(key) = keys.find(|key| !KNOWN.contains(&&***key) && *key != USER) {
        let message = format!("Unknown parameter: '{key}'.");
        return of("unknown_parameter", key, &message);
    }
    if let Some(id) = body["previous_response_id"].as_str() {
        let message = format!("Previous response with id '{id}' not found.");
        return of(
            "previous_response_not_found",
            "previous_response_id",
            &message,
        );
    }
    if body["max_output_tokens"]
        .as_u64()
        .is_some_and(|most| most < 16)
    {
        let message = "Invalid 'max_output_tokens': integer below minimum value.";
        return of("integer_below_min_value", "max_output_tokens", message);
    }
    for (at, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let name = tool["name"].as_str().unwrap_or_default();
        let plain = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
        let fits = !name.is_empty() && name.len() <= 64 && name.chars().all(plain);
        if tool["type"] == "function" && !fits {
            let param = format!("tools[{at}].name");
            return of(
                "invalid_value",
                &param,
                "Invalid name: a pattern does not match.",
            );
        }
        if tool["type"] == "function" && tool["parameters"]["type"] != "object" {
            let param = format!("tools[{at}].parameters");
            let message = "Invalid schema for function: schema must be of type 'object'.";
            return of("invalid_function_parameters", &param, message);
        }
    }
    let mut open: Vec<&str> = Vec::new();
    for (at, item) in body["input"].as_array().into_iter().flatten().enumerate() {
        let param = format!("input[{at}]");
        let kind = item["type"].as_str().unwrap_or("message");
        let prefix = match kind {
            "message" => "msg",
            "function_call" => "fc",
            "reasoning" => "rs",
            _ => "",
        };
        let id = item["id"].as_str();
        if id.is_some_and(|id| !id.starts_with(prefix) || id.len() > 64) {
            let message =
                format!("Invalid '{param}.id': expected an ID that begins with '{prefix}'.");
            return of("invalid_value", &format!("{param}.id"), &message);
        }
        let call = item["call_id"].as_str().unwrap_or_default();
        match kind {
            "message" => {
                if let Some((param, message)) = message_fault(item, &param) {
                    return of("invalid_value", &param, &message);
                }
            }
            "reasoning" => {
                let sealed = &item["encrypted_content"];
                if item["summary"].as_array().is_none() {
                    let param = format!("{param}.summary");
                    return of(
                        "missing_required_parameter",
                        &param,
                        "A summary is required.",
                    );
                }
                if sealed.is_string() && sealed != SEALED {
                    let message = "The encrypted content could not be verified.";
                    return of("invalid_encrypted_content", "", message);
                }
            }
            "function_call" => {
                let arguments = item["arguments"].as_str();
                if arguments.is_none_or(|text| serde_json::from_str::<Value>(text).is_err()) {
                    let param = format!("{param}.arguments");
                    return of("invalid_value", &param, "Expected the text of an object.");
                }
                open.push(call);
            }
            "function_call_output" => {
                let Some(at) = open.iter().position(|open| *open == call) else {
                    let message =
                        format!("No tool call found for function call output with call_id {call}.");
                    return of("", "input", &message);
                };
                open.remove(at);
            }
            kind => {
                let message = format!("Invalid value: '{kind}'.");
                return of("invalid_value", &format!("{param}.type"), &message);
            }
        }
    }
    match open.first() {
        Some(call) => {
            let message = format!("No tool output found for function call {call}.");
            of("", "input", &message)
        }
        None => None,
    }
}

fn message_fault(item: &Value, param: &str) -> Option<(String, String)> {
    let role = item["role"].as_str().unwrap_or_default();
    if !["system", "developer", "user", "assistant"].contains(&role) {
        return Some((format!("{param}.role"), format!("Invalid value: '{role}'.")));
    }
    for (at, part) in item["content"].as_array().into_iter().flatten().enumerate() {
        let kind = part["type"].as_str().unwrap_or_default();
        let known: &[&str] = match role {
            "assistant" => &["output_text", "refusal"],
            _ => &["input_text", "input_image", "input_file"],
        };
        let param = format!("{param}.content[{at}]");
        if !known.contains(&kind) {
            return Some((param, format!("Invalid value: '{kind}'.")));
        }
        let text = part.get("text").filter(|_| kind.ends_with("_text"));
        if text.is_some_and(|text| !text.is_string()) {
            let message = "Invalid type: expected a string.".to_owned();
            return Some((format!("{param}.text"), message));
        }
        let url = part["image_url"].as_str();
        let data = url.and_then(|url| url.split_once(";base64,"));
        if data.is_some_and(|(_, data)| embedding::decode(data).is_none()) {
            let message = "Invalid base64 image_url.".to_owned();
            return Some((format!("{param}.image_url"), message));
        }
    }
    None
}

/// As much of a request in the words of the vendor's other protocol as scripts look at.
pub(super) fn as_chat(body: &Value) -> Value {
    let mut messages = Vec::new();
    if let Some(text) = body["instructions"].as_str() {
        messages.push(json!({"role": "system", "content": text}));
    }
    match &body["input"] {
        Value::Array(items) => {
            messages.extend(items.iter().map(|item| match item["type"].as_str() {
                Some("function_call_output") => json!({"role": "tool", "content": item["output"]}),
                Some("reasoning" | "function_call") => {
                    json!({"role": "assistant", "content": null})
                }
                _ => json!({"role": item["role"], "content": item["content"]}),
            }))
        }
        text => messages.push(json!({"role": "user", "content": text})),
    }
    let mut chat = json!({"model": body["model"], "messages": messages, "stream": body["stream"]});
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools = tools.filter(|tool| tool["type"] == "function").map(|tool| {
        json!({"type": "function", "function": {
            "name": tool["name"], "parameters": tool["parameters"],
        }})
    });
    let tools: Vec<_> = tools.collect();
    if !tools.is_empty() {
        chat["tools"] = tools.into();
    }
    match &body["tool_choice"] {
        Value::Object(named) => {
            chat["tool_choice"] = json!({"function": {"name": named.get("name")}});
        }
        choice => chat["tool_choice"] = choice.clone(),
    }
    let format = &body["text"]["format"];
    match format["type"].as_str() {
        Some("json_schema") => {
            chat["response_format"] =
                json!({"type": "json_schema", "json_schema": {"schema": format["schema"]}});
        }
        Some("json_object") => chat["response_format"] = json!({"type": "json_object"}),
        _ => {}
    }
    chat
}

fn usage(billed: Usage) -> Value {
    json!({
        "input_tokens": billed.input,
        "input_tokens_details": {
            "cache_write_tokens": billed.cache_write.unwrap_or(0),
            "cached_tokens": billed.cache_read.unwrap_or(0),
        },
        "output_tokens": billed.output,
        "output_tokens_details": {"reasoning_tokens": billed.reasoning.unwrap_or(0)},
        "total_tokens": billed.total(),
    })
}

/// Another end than that all was said.
fn cut(answer: &Answer) -> Option<&str> {
    match answer.finish.as_deref() {
        Some("length") => Some("max_output_tokens"),
        Some("content_filter") => Some("content_filter"),
        _ => None,
    }
}

fn response(asked: &Asked<'_>, body: &Value, status: &str, output: &[Value]) -> Value {
    let said = |key: &str, default: Value| match &body[key] {
        Value::Null => default,
        said => said.clone(),
    };
    json!({
        "id": asked.id, "object": "response", "created_at": asked.created, "status": status,
        "background": false, "error": null, "incomplete_details": null,
        "instructions": body["instructions"], "max_output_tokens": body["max_output_tokens"],
        "max_tool_calls": null, "model": asked.model, "output": output,
        "parallel_tool_calls": said("parallel_tool_calls", json!(true)),
        "previous_response_id": null, "prompt_cache_key": body["prompt_cache_key"],
        "reasoning": said("reasoning", json!({"effort": null, "summary": null})),
        "safety_identifier": body["safety_identifier"], "service_tier": "default",
        "store": said("store", json!(true)), "temperature": said("temperature", json!(1.0)),
        "text": said("text", json!({"format": {"type": "text"}})),
        "tool_choice": said("tool_choice", json!("auto")), "tools": said("tools", json!([])),
        "top_logprobs": 0, "top_p": said("top_p", json!(1.0)), "truncation": "disabled",
        "usage": null, "user": body["user"], "metadata": said("metadata", json!({})),
    })
}

/// The response as it ends.
fn ended(answer: &Answer, asked: &Asked<'_>, body: &Value, billed: Usage) -> Value {
    let output: Vec<_> = items(answer, asked, body)
        .into_iter()
        .map(|(item, _)| item)
        .collect();
    let why = cut(answer);
    let status = if why.is_some() {
        "incomplete"
    } else {
        "completed"
    };
    let mut response = response(asked, body, status, &output);
    if let Some(why) = why {
        response["incomplete_details"] = json!({"reason": why});
    }
    response["usage"] = usage(billed);
    response
}

/// The items of an answer, and the events that stand between the beginning and the end of each. A
/// thought is sealed where that is asked for.
fn items(answer: &Answer, asked: &Asked<'_>, body: &Value) -> Vec<(Value, Vec<Value>)> {
    let mut items = Vec::new();
    let id =
        |kind: &str, at: usize| format!("{kind}_{}_{at}", asked.id.trim_start_matches("resp_"));
    let pieces = |text: &str| answer.batches(&tokens(text));
    if !answer.reasoning.is_empty() {
        let text = &answer.reasoning;
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        let mut item = json!({"id": id("rs", 0), "type": "reasoning", "summary": [part(text)]});
        let include = body["include"].as_array().into_iter().flatten();
        if include.clone().any(|one| one == SEAL) {
            item["encrypted_content"] = SEALED.into();
        }
        let on = |kind: &str, more: Value| event(kind, &item["id"], 0, "summary_index", more);
        let mut events = vec![on(
            "reasoning_summary_part.added",
            json!({"part": part("")}),
        )];
        events.extend(pieces(text).into_iter().map(|piece| {
            on(
                "reasoning_summary_text.delta",
                json!({"delta": piece, "obfuscation": "xxxx"}),
            )
        }));
        events.push(on("reasoning_summary_text.done", json!({"text": text})));
        events.push(on(
            "reasoning_summary_part.done",
            json!({"part": part(text)}),
        ));
        items.push((item, events));
    }
    let refuses = !answer.refusal.is_empty();
    if refuses || !answer.text.is_empty() {
        let at = items.len();
        let part = |said: &str| match refuses {
            true => json!({"type": "refusal", "refusal": said}),
            false => {
                json!({"type": "output_text", "annotations": [], "logprobs": [], "text": said})
            }
        };
        let (said, name, key) = match refuses {
            true => (&answer.refusal, "refusal", "refusal"),
            false => (&answer.text, "output_text", "text"),
        };
        let status = if cut(answer).is_some() {
            "incomplete"
        } else {
            "completed"
        };
        let item = json!({
            "id": id("msg", at), "type": "message", "status": status, "role": "assistant",
            "content": [part(said)],
        });
        let on = |kind: &str, more: Value| event(kind, &item["id"], at, "content_index", more);
        let mut events = vec![on("content_part.added", json!({"part": part("")}))];
        events.extend(pieces(said).into_iter().map(|piece| {
            let more = json!({"delta": piece, "logprobs": [], "obfuscation": "xxxx"});
            on(&format!("{name}.delta"), more)
        }));
        events.push(on(
            &format!("{name}.done"),
            json!({key: said, "logprobs": []}),
        ));
        events.push(on("content_part.done", json!({"part": part(said)})));
        items.push((item, events));
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let at = items.len();
        let item = json!({
            "id": id("fc", at), "type": "function_call", "status": "completed", "name": name,
            "call_id": id("call", n), "arguments": arguments,
        });
        let on = |kind: &str, more: Value| event(kind, &item["id"], at, "", more);
        let fragments = fragments(arguments);
        let fragments: Vec<&str> = fragments.iter().map(String::as_str).collect();
        let mut events: Vec<_> = answer
            .batches(&fragments)
            .into_iter()
            .map(|piece| on("function_call_arguments.delta", json!({"delta": piece})))
            .collect();
        events.push(on(
            "function_call_arguments.done",
            json!({"arguments": arguments}),
        ));
        items.push((item, events));
    }
    items
}

fn event(kind: &str, item: &Value, at: usize, inner: &str, more: Value) -> Value {
    let mut event = json!({
        "type": format!("response.{kind}"), "item_id": item, "output_index": at,
    });
    if !inner.is_empty() {
        event[inner] = 0.into();
    }
    if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
        event.extend(more);
    }
    event
}

/// An item of which nothing is told yet.
fn begun(item: &Value) -> Value {
    let mut item = item.clone();
    for key in ["content", "summary"] {
        if item.get(key).is_some() {
            item[key] = json!([]);
        }
    }
    if item.get("arguments").is_some() {
        item["arguments"] = "".into();
    }
    if item.get("status").is_some() {
        item["status"] = "in_progress".into();
    }
    item
}

pub(super) fn whole(answer: &Answer, asked: &Asked<'_>, body: &Value, billed: Usage) -> Reply {
    Reply::json(200, ended(answer, asked, body, billed))
}

pub(super) fn stream(answer: &Answer, asked: &Asked<'_>, body: &Value, billed: Usage) -> Reply {
    let start = response(asked, body, "in_progress", &[]);
    let mut events = vec![
        json!({"type": "response.created", "response": start}),
        json!({"type": "response.in_progress", "response": start}),
    ];
    for (at, (item, inner)) in items(answer, asked, body).into_iter().enumerate() {
        let added = begun(&item);
        events.push(json!({
            "type": "response.output_item.added", "output_index": at, "item": added,
        }));
        events.extend(inner);
        events.push(json!({
            "type": "response.output_item.done", "output_index": at, "item": item,
        }));
    }
    let last = ended(answer, asked, body, billed);
    let kind = format!("response.{}", last["status"].as_str().unwrap_or_default());
    events.push(json!({"type": kind, "response": last}));
    if let Some(after) = answer.fails_after {
        // Four events come before the first that says anything.
        events.truncate(after + 4);
        let mut failed = response(asked, body, "failed", &[]);
        failed["error"] = json!({"code": "server_error", "message": "The server had an error."});
        events.push(json!({"type": "response.failed", "response": failed}));
    }
    let events = events.into_iter().enumerate().map(|(at, mut event)| {
        event["sequence_number"] = at.into();
        let name = event["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n")
    });
    Reply::pieces("text/event-stream; charset=utf-8", events)
}
