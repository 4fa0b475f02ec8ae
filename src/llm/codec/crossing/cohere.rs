//! To Cohere, and its answers to clients of the others: the rules that concern it.

mod answers;
mod requests;

use super::*;

const COHERE: Protocol = Protocol::Cohere;
const COMMAND: &str = "command-a-03-2025";
const REASONER: &str = "command-a-reasoning-08-2025";

/// What Cohere gets of a chat of OpenAI's.
fn to_cohere(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, COHERE, COMMAND, body)
}

/// The same for a model that thinks.
fn to_reasoner(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, COHERE, REASONER, body)
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn tool_call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

/// An event stream of Cohere's.
fn stream_of(documents: &[Value]) -> String {
    anthropic_stream(documents)
}

fn text_delta(text: &str) -> Value {
    json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}})
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is called"
)]
fn end(fields: Value) -> Value {
    json!({"type": "message-end", "delta": fields})
}
