//! To OpenAI's Responses, and from there: the rules that concern it.

mod answers;
mod settings;
mod turns;

use super::{
    google::{FLASH, GEMINI},
    *,
};
const RESPONSES: Protocol = Protocol::Responses;
const GPT: &str = "gpt-5";

/// A request as a client of Responses sends it.
fn from_responses(model: &str, mut body: Value) -> ChatRequest {
    let fields = body.as_object_mut().unwrap();
    fields.insert("model".into(), model.into());
    fields.entry("input").or_insert("hi".into());
    sent(RESPONSES, &body)
}

/// What a vendor of this protocol gets of it.
fn to(protocol: Protocol, body: Value) -> (Value, Vec<String>) {
    let model = match protocol {
        ANTHROPIC => CLAUDE,
        GEMINI => FLASH,
        _ => GPT,
    };
    gets(protocol, &from_responses(model, body))
}

/// A chat of OpenAI's, as Responses.
fn of_openai(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, RESPONSES, GPT, body)
}

fn of_anthropic(body: Value) -> (Value, Vec<String>) {
    crossed(ANTHROPIC, RESPONSES, GPT, body)
}

fn none() -> Vec<String> {
    Vec::new()
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn function_call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "f", "arguments": arguments})
}

fn output(id: &str, output: impl Into<Value>) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": output.into()})
}

fn sorted(mut losses: Vec<String>) -> Vec<String> {
    losses.sort();
    losses
}
