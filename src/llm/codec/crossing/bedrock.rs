//! To Bedrock, and from there: the rules that concern it.

mod answers;
mod requests;

use super::*;
use crate::llm::codec::bedrock::frame;

const BEDROCK: Protocol = Protocol::Bedrock;
const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const THREE: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const NOVA: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "us.meta.llama4-scout-17b-instruct-v1:0";

/// What a model behind Bedrock gets of a chat of OpenAI's.
fn to_model(model: &str, body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, BEDROCK, model, body)
}

fn to_haiku(body: Value) -> (Value, Vec<String>) {
    to_model(HAIKU, body)
}

/// The same of a message to Anthropic.
fn from_anthropic(body: Value) -> (Value, Vec<String>) {
    crossed(ANTHROPIC, BEDROCK, HAIKU, body)
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn said_by(role: &str, content: impl Into<Value>) -> Value {
    json!({"role": role, "content": content.into()})
}

fn tool_call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

/// One frame, as the vendor writes it.
fn framed(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    let message = Message::new(payload.to_string().into_bytes());
    let message = headers.iter().fold(message, |message, (name, value)| {
        let value = HeaderValue::String((*value).to_owned().into());
        message.add_header(Header::new((*name).to_owned(), value))
    });
    let mut out = Vec::new();
    aws_smithy_eventstream::frame::write_message_to(&message, &mut out).unwrap();
    out
}

fn event(kind: &str, payload: &Value) -> Vec<u8> {
    framed(
        &[(":event-type", kind), (":message-type", "event")],
        payload,
    )
}

fn frames(all: &[(&str, Value)]) -> Vec<u8> {
    let all = all.iter().map(|(kind, payload)| event(kind, payload));
    all.collect::<Vec<_>>().concat()
}

fn streamed(raw: &[u8]) -> Result<Vec<Event>, Error> {
    let mut cutter = frame::Cutter::default();
    let mut decoder = of(BEDROCK).decoder(Operation::Chat, Framing::EventStream);
    let mut events = Vec::new();
    for chunk in raw.chunks(5) {
        let (whole, on) = cutter.push(Bytes::copy_from_slice(chunk));
        on.unwrap();
        if let Some(whole) = whole {
            decoder.decode(&whole, &mut events)?;
        }
    }
    Ok(events)
}

fn answered(body: &Value) -> Vec<Event> {
    read(BEDROCK, Framing::Json, &body.to_string()).unwrap()
}

fn answer(content: impl Into<Value>, reason: &str) -> Value {
    json!({
        "output": {"message": {"role": "assistant", "content": content.into()}},
        "stopReason": reason,
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
        "metrics": {"latencyMs": 1},
    })
}
