//! The settings of a request that its answer repeats.

use super::kept;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Their names. `input` is not among them.
const REPEATED: [&str; 17] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Those of a request, as the text of an object.
pub(super) fn of(bytes: &[u8]) -> Arc<str> {
    let mut out = String::from("{");
    for (name, value) in kept::fields(bytes) {
        let Ok(value) = std::str::from_utf8(value) else {
            continue;
        };
        if REPEATED.contains(&&*name) && value != "null" {
            out.push_str(if out.len() > 1 { ",\"" } else { "\"" });
            out.push_str(&name);
            out.push_str("\":");
            out.push_str(value);
        }
    }
    out.push('}');
    out.into()
}

/// A response in which nothing was said yet: all fields that clients expect, with what the request
/// says of them.
pub(super) fn response(repeated: Option<&str>) -> Map<String, Value> {
    let said = repeated.and_then(|text| serde_json::from_str(text).ok());
    let mut said: Map<String, Value> = said.unwrap_or_default();
    let inside = |said: &mut Map<String, Value>, key: &str, defaults: Value| {
        let place = said.entry(key).or_insert_with(|| json!({}));
        if let (Value::Object(fields), Value::Object(defaults)) = (place, defaults) {
            for (key, value) in defaults {
                fields.entry(key).or_insert(value);
            }
        }
    };
    inside(&mut said, "text", json!({"format": {"type": "text"}}));
    inside(
        &mut said,
        "reasoning",
        json!({"effort": null, "summary": null}),
    );
    let defaults = json!({
        "object": "response",
        "status": "in_progress",
        "background": false,
        "completed_at": null,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "safety_identifier": null,
        "service_tier": "default",
        "store": false,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": null,
        "user": null,
    });
    if let Value::Object(defaults) = defaults {
        for (key, value) in defaults {
            said.entry(key).or_insert(value);
        }
    }
    said
}

/// The names of tools that take any text, of those that it repeats.
pub(super) fn custom(response: &Map<String, Value>) -> Vec<Box<str>> {
    let tools = response.get("tools").and_then(Value::as_array);
    let tools = tools.into_iter().flatten();
    let custom = tools.filter(|tool| tool["type"] == "custom");
    let names = custom.filter_map(|tool| tool["name"].as_str());
    names.map(Box::from).collect()
}
