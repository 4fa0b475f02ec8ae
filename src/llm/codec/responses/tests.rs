#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

mod answers;
mod errors;
mod recordings;
mod requests;

use super::*;
use crate::llm::{
    Completion, Delta, Event, FinishReason,
    codec::{
        self,
        reading::{self, asked, completion},
    },
};
use bytes::BytesMut;
use serde_json::json;
use std::collections::BTreeMap;

fn read<'a>(framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    tried(framing, chunks).unwrap()
}

/// Reads an answer whose chunks are cut as given.
fn tried<'a>(
    framing: Framing,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, Error> {
    match reading::read(&Responses, Operation::Chat, framing, chunks) {
        (events, None) => Ok(events),
        (_, Some(error)) => Err(error),
    }
}

/// Writes events, in batches of this many.
fn write(asked: Asked, events: &[Event], batch: usize) -> BytesMut {
    reading::written(&Responses, asked, events, batch)
}

/// The documents of a stream, each of which has the name of its kind.
fn documents(stream: &[u8]) -> Vec<Value> {
    let events = codec::sse::events(stream);
    events
        .map(|event| {
            let document: Value = serde_json::from_slice(&event.data).unwrap();
            let name = event.event.map(|name| std::str::from_utf8(name).unwrap());
            assert_eq!(name, document["type"].as_str());
            document
        })
        .collect()
}

fn peeked(body: &Value) -> Result<ChatRequest, Rejection> {
    let ask = Operation::Chat.into();
    Responses.peek(&ask, Bytes::from(body.to_string()))
}

fn maker(model: &str) -> Maker {
    Maker {
        protocol: Protocol::Responses,
        vendor: "openai".into(),
        model: model.into(),
    }
}

/// The order that the protocol promises, and what each event must say.
fn assert_order(stream: &[Value]) {
    // By their index: the name of an item, and its part that is open.
    let mut open: BTreeMap<u64, (Value, Option<u64>)> = BTreeMap::new();
    let mut next = 0;
    let last = stream.len() - 1;
    for (at, event) in stream.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
        let part = event["content_index"].as_u64();
        let kind = event["type"].as_str().unwrap();
        let Some(index) = event["output_index"].as_u64() else {
            match kind {
                "response.created" => assert_eq!(at, 0),
                "response.in_progress" => assert_eq!(at, 1),
                "response.completed" | "response.incomplete" => {
                    assert_eq!((at, open.len()), (last, 0));
                    let output = event["response"]["output"].as_array().unwrap();
                    assert_eq!(output.len() as u64, next);
                }
                "response.failed" => assert_eq!(at, last),
                other => panic!("{other}"),
            }
            continue;
        };
        if kind == "response.output_item.added" {
            assert_eq!(index, next);
            next += 1;
            open.insert(index, (event["item"]["id"].clone(), None));
            continue;
        }
        let (id, inner) = open.get_mut(&index).unwrap();
        assert_eq!(event.get("item_id").unwrap_or(&event["item"]["id"]), id);
        match kind {
            "response.output_item.done" => {
                assert_eq!(*inner, None, "{event}");
                open.remove(&index);
            }
            "response.content_part.added" => *inner = part,
            "response.content_part.done" => assert_eq!(inner.take(), part),
            _ => assert_eq!(*inner, part),
        }
    }
    assert_eq!(stream[last]["response"]["id"], stream[0]["response"]["id"]);
}

fn said(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

fn text(text: &str) -> Event {
    said(Delta::Text(text.into()))
}

fn call(index: u32, name: Option<&str>, arguments: &str) -> Event {
    said(Delta::ToolCall {
        index,
        id: name.map(|name| format!("call_{name}")),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    })
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason }
}

fn stream(events: &[Event]) -> Vec<Value> {
    let stream = documents(&write(asked(Framing::Sse), events, 1));
    assert_order(&stream);
    stream
}

fn document(events: &[Event]) -> Value {
    serde_json::from_slice(&write(asked(Framing::Json), events, 1)).unwrap()
}

/// A stream of these events, numbered.
fn vendors(events: &[Value]) -> String {
    let mut out = BytesMut::new();
    for (at, event) in events.iter().enumerate() {
        let mut event = event.clone();
        event["sequence_number"] = at.into();
        let name = event["type"].as_str().unwrap().to_owned();
        codec::sse::write_event(&mut out, Some(&name), event.to_string().as_bytes());
    }
    String::from_utf8(out.to_vec()).unwrap()
}

fn kinds(stream: &[Value]) -> Vec<&str> {
    let kinds = stream.iter().map(|event| event["type"].as_str().unwrap());
    kinds
        .map(|kind| kind.trim_start_matches("response."))
        .collect()
}

/// The names of fields that the vendor's own package declares as required, or that its clients read
/// without asking.
const FIELDS: [&str; 24] = [
    "id",
    "object",
    "created_at",
    "status",
    "background",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "output",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "metadata",
];
