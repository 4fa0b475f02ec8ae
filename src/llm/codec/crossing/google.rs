//! To Gemini, and from there: the rules that concern it.

mod answers;
mod limits;
mod requests;

use super::*;

pub(super) const GEMINI: Protocol = Protocol::Gemini;
pub(super) const FLASH: &str = "gemini-2.5-flash";
const THIRD: &str = "gemini-3-pro-preview";

fn ask(model: &str, operation: Operation) -> Ask {
    Ask {
        operation,
        model: Some(model.to_owned()),
        stream: Some(false),
        query: None,
    }
}

/// A request as a client of Gemini's sends it.
fn from_gemini(body: Value) -> ChatRequest {
    from_gemini_for(FLASH, body)
}

fn from_gemini_for(model: &str, mut body: Value) -> ChatRequest {
    let hello = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    let fields = body.as_object_mut().unwrap();
    fields.entry("contents").or_insert(hello);
    let bytes = Bytes::from(body.to_string());
    of(GEMINI)
        .peek(&ask(model, Operation::Chat), bytes)
        .unwrap()
}

/// What Gemini gets of a chat of OpenAI's.
fn to_gemini(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, GEMINI, FLASH, body)
}

fn to_third(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, GEMINI, THIRD, body)
}

/// The same request, edited, for a vendor of the protocol itself.
fn edited(mut request: ChatRequest) -> (Value, Vec<String>) {
    request.chat_mut().unwrap();
    gets(GEMINI, &request)
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn tool_call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

fn events(documents: &[Value]) -> String {
    let mut out = String::new();
    for document in documents {
        out += &format!("data: {document}\r\n\r\n");
    }
    out
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is called"
)]
fn candidate(parts: Value, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    json!({"candidates": [candidate], "modelVersion": FLASH, "responseId": "r1"})
}
