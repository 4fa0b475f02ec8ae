//! A mock vendor in Ollama's own words, written from the vendor's documentation and recorded traffic.

use super::{
    Reply,
    embedding::vectors,
    turn::{Answer, Asked, tokens},
};
use crate::exchange::Usage;
use serde_json::{Value, json};

/// What the vendor would find fault with. Fields that it does not know it passes over.
pub(super) fn fault(body: &Value) -> Option<String> {
    for message in body["messages"].as_array()? {
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let objects = calls
            .map(|call| &call["function"]["arguments"])
            .all(Value::is_object);
        let content = &message["content"];
        if !objects || !(content.is_string() || content.is_null()) {
            return Some("json: cannot unmarshal into Go struct field ChatRequest".to_owned());
        }
        let images = message["images"].as_array().into_iter().flatten();
        let bytes = |image: &Value| super::embedding::decode(image.as_str()?);
        if images.map(bytes).any(|image| image.is_none()) {
            return Some("illegal base64 data at input byte 0".to_owned());
        }
    }
    None
}

/// As much of a request in OpenAI's words as scripts look at.
pub(super) fn as_chat(body: &Value) -> Value {
    let mut chat = json!({"model": body["model"], "messages": body["messages"]});
    if body["tools"].is_array() {
        chat["tools"] = body["tools"].clone();
    }
    match &body["format"] {
        Value::String(word) if word == "json" => {
            chat["response_format"] = json!({"type": "json_object"});
        }
        schema @ Value::Object(_) => {
            chat["response_format"] =
                json!({"type": "json_schema", "json_schema": {"schema": schema}});
        }
        _ => {}
    }
    chat
}

/// An error of OpenAI's as one of this vendor's.
pub(super) fn refused(reply: Reply) -> Reply {
    reply.reworded(|status, body| {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = match status {
            401 => "unauthorized".into(),
            404 => "model not found, try pulling it first".into(),
            _ => error["error"]["message"].clone(),
        };
        (status, json!({"error": message}).to_string())
    })
}

fn line(asked: &Asked<'_>, message: &Value) -> Value {
    let created = format!("2023-11-14T22:13:{:02}.5Z", 20 + asked.created % 40);
    json!({"model": asked.model, "created_at": created, "message": message, "done": false})
}

fn end(mut line: Value, answer: &Answer, billed: Usage) -> Value {
    line["done"] = true.into();
    line["done_reason"] = json!(answer.finish.as_deref().unwrap_or("stop"));
    line["total_duration"] = 1_000_000.into();
    line["prompt_eval_count"] = billed.input.into();
    line["eval_count"] = billed.output.into();
    line
}

fn calls(answer: &Answer) -> Vec<Value> {
    let calls = answer.calls.iter();
    calls
        .map(|(name, arguments)| {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({"function": {"name": name, "arguments": arguments}})
        })
        .collect()
}

pub(super) fn whole(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let mut message = json!({"role": "assistant", "content": answer.words()});
    if !answer.reasoning.is_empty() {
        message["thinking"] = json!(answer.reasoning);
    }
    if !answer.calls.is_empty() {
        message["tool_calls"] = calls(answer).into();
    }
    Reply::json(200, end(line(asked, &message), answer, billed))
}

pub(super) fn stream(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let thoughts = tokens(&answer.reasoning).into_iter();
    let thoughts =
        thoughts.map(|text| json!({"role": "assistant", "content": "", "thinking": text}));
    let texts = tokens(answer.words()).into_iter();
    let texts = texts.map(|text| json!({"role": "assistant", "content": text}));
    let calls = calls(answer).into_iter();
    let calls = calls.map(|call| json!({"role": "assistant", "content": "", "tool_calls": [call]}));
    let mut lines: Vec<_> = thoughts
        .chain(texts)
        .chain(calls)
        .map(|message| line(asked, &message))
        .collect();
    match answer.fails_after {
        Some(after) => {
            lines.truncate(after);
            let words = "an error was encountered while running the model";
            lines.push(json!({"error": words}));
        }
        None => {
            let empty = json!({"role": "assistant", "content": ""});
            lines.push(end(line(asked, &empty), answer, billed));
        }
    }
    let lines = lines.into_iter().map(|line| format!("{line}\n"));
    Reply::pieces("application/x-ndjson", lines)
}

/// Vectors, and the tokens of their texts.
pub(super) fn embedded(body: &Value) -> (Value, u64) {
    let (rows, input) = vectors(body);
    let rows: Vec<_> = rows.iter().map(|row| row["embedding"].clone()).collect();
    let answer = json!({
        "model": body["model"], "embeddings": rows, "prompt_eval_count": input, "total_duration": 1,
    });
    (answer, input)
}
