//! From one protocol to another: each rule of what must become of what, as a test with its number.
//!
//! The numbers are those of the project's list of what translators get wrong most often.

mod answers;
mod bedrock;
mod carried;
mod catalog;
mod cohere;
mod google;
mod laws;
mod ollama;
mod recorded;
mod requests;
mod responses;
mod stored;
mod told;
mod tools;

use super::{
    reading::{asked, completion},
    *,
};
use crate::llm::{Completion, Delta};
use serde_json::json;

const OPENAI: Protocol = Protocol::OpenAi;
const ANTHROPIC: Protocol = Protocol::Anthropic;

const CLAUDE: &str = "claude-sonnet-4-5";

fn maker(protocol: Protocol, model: &str) -> Maker {
    Maker {
        protocol,
        vendor: "lab".into(),
        model: model.into(),
    }
}

/// A request as a client of this protocol sends it.
fn sent(protocol: Protocol, body: &Value) -> ChatRequest {
    let bytes = Bytes::from(body.to_string());
    let ask = Operation::Chat.into();
    of(protocol).peek(&ask, bytes).unwrap()
}

/// What a vendor of this protocol gets of it, and what is lost.
fn gets(protocol: Protocol, request: &ChatRequest) -> (Value, Vec<String>) {
    let to = maker(protocol, request.model());
    let encoded = encoded(request, &to).unwrap();
    let losses = encoded.losses.iter().map(|loss| loss.field.to_string());
    let body = serde_json::from_slice(&encoded.body).unwrap();
    (body, losses.collect())
}

/// A chat of these messages, from a client of OpenAI's, at Anthropic.
fn to_anthropic(body: Value) -> (Value, Vec<String>) {
    crossed(OPENAI, ANTHROPIC, CLAUDE, body)
}

/// The reverse.
fn to_openai(body: Value) -> (Value, Vec<String>) {
    crossed(ANTHROPIC, OPENAI, "gpt-5", body)
}

fn crossed(from: Protocol, to: Protocol, model: &str, mut body: Value) -> (Value, Vec<String>) {
    let hello = json!([{"role": "user", "content": "hi"}]);
    let fields = body.as_object_mut().unwrap();
    fields.entry("model").or_insert(model.into());
    fields.entry("messages").or_insert(hello);
    gets(to, &sent(from, &body))
}

fn said(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

fn call(index: u32, name: Option<&str>, arguments: &str) -> Event {
    said(Delta::ToolCall {
        index,
        id: name.map(|name| format!("call_{name}")),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    })
}

/// What a client of this protocol gets of an answer, in batches of this many events.
fn told(protocol: Protocol, framing: Framing, events: &[Event], batch: usize) -> String {
    let out = reading::written(of(protocol), asked(framing), events, batch);
    String::from_utf8(out.to_vec()).unwrap()
}

/// The documents of a stream.
fn documents(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

fn stream(protocol: Protocol, events: &[Event]) -> Vec<Value> {
    documents(&told(protocol, Framing::Sse, events, 1))
}

fn document(protocol: Protocol, events: &[Event]) -> Value {
    serde_json::from_str(&told(protocol, Framing::Json, events, 1)).unwrap()
}

/// What an answer means.
fn read(protocol: Protocol, framing: Framing, raw: &str) -> Result<Vec<Event>, Error> {
    let mut decoder = of(protocol).decoder(Operation::Chat, framing);
    let mut events = Vec::new();
    decoder.decode(raw.as_bytes(), &mut events)?;
    Ok(events)
}

/// An event stream of Anthropic's.
fn anthropic_stream(documents: &[Value]) -> String {
    let mut out = BytesMut::new();
    for document in documents {
        let name = document["type"].as_str();
        sse::write_event(&mut out, name, document.to_string().as_bytes());
    }
    String::from_utf8(out.to_vec()).unwrap()
}
