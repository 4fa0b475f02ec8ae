//! To Ollama, and its answers to clients of the others: the rules that concern it.

mod answers;
mod requests;

use super::*;

const OLLAMA: Protocol = Protocol::Ollama;
const QWEN: &str = "qwen3:4b";

/// What Ollama gets of a chat of OpenAI's.
fn to_ollama(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, OLLAMA, QWEN, body)
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

/// A line of a stream.
fn line(message: &Value, done: bool) -> Value {
    json!({"model": QWEN, "created_at": "2026-08-04T19:58:20.563117Z", "message": message, "done": done})
}

fn last(reason: &str) -> Value {
    let mut last = line(&json!({"role": "assistant", "content": ""}), true);
    last["done_reason"] = reason.into();
    last["prompt_eval_count"] = 7.into();
    last["eval_count"] = 3.into();
    last
}

fn lines_of(documents: &[Value]) -> String {
    documents
        .iter()
        .map(|document| format!("{document}\n"))
        .collect()
}
