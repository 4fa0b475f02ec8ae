#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

mod answers;
mod recordings;
mod requests;

use super::*;
use crate::llm::{Completion, Event, codec};
use bytes::BytesMut;
use serde_json::json;

fn read<'a>(framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    tried(framing, chunks).unwrap()
}

/// Reads an answer whose chunks are cut as given.
fn tried<'a>(
    framing: Framing,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, Error> {
    let mut decoder = Responses.decoder(Operation::Chat, framing);
    let mut framer = codec::sse::Framer::new();
    let mut events = Vec::new();
    let mut pieces = Vec::new();
    for chunk in chunks {
        let chunk = Bytes::copy_from_slice(chunk);
        match framing {
            Framing::Sse => pieces.extend(framer.push(chunk).unwrap()),
            _ => pieces.push(chunk),
        }
    }
    pieces.extend(framer.finish());
    for piece in pieces {
        decoder.decode(&piece, &mut events)?;
    }
    Ok(events)
}

fn completion(events: Vec<Event>) -> Completion {
    let mut completion = Completion::default();
    completion.extend(events);
    completion
}

fn asked(framing: Framing) -> Asked {
    Asked {
        operation: Operation::Chat,
        model: "m".into(),
        framing,
        include_usage: true,
        base64: false,
        single: false,
        repeated: None,
    }
}

/// Writes events, in batches of this many.
fn write(asked: Asked, events: &[Event], batch: usize) -> BytesMut {
    let mut encoder = Responses.encoder(asked);
    let mut out = BytesMut::new();
    for events in events.chunks(batch) {
        encoder.events(events.to_vec(), &mut out);
    }
    encoder.finish(&mut out);
    out
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
    let mut open: std::collections::BTreeMap<u64, (Value, Option<u64>)> = Default::default();
    let mut next = 0;
    let last = stream.len() - 1;
    for (at, event) in stream.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
        let index = event["output_index"].as_u64();
        let part = event["content_index"].as_u64();
        let kind = event["type"].as_str().unwrap();
        if kind != "response.output_item.added" && index.is_some() {
            let id = event.get("item_id").unwrap_or(&event["item"]["id"]);
            assert_eq!(open[&index.unwrap()].0, *id, "{event}");
        }
        match kind {
            "response.created" => assert_eq!(at, 0),
            "response.in_progress" => assert_eq!(at, 1),
            "response.output_item.added" => {
                assert_eq!(index, Some(next));
                next += 1;
                open.insert(index.unwrap(), (event["item"]["id"].clone(), None));
            }
            "response.output_item.done" => {
                let (_, part) = open.remove(&index.unwrap()).unwrap();
                assert_eq!(part, None, "{event}");
            }
            "response.content_part.added" => open.get_mut(&index.unwrap()).unwrap().1 = part,
            "response.content_part.done" => {
                assert_eq!(open[&index.unwrap()].1, part);
                open.get_mut(&index.unwrap()).unwrap().1 = None;
            }
            "response.output_text.delta"
            | "response.output_text.done"
            | "response.output_text.annotation.added"
            | "response.refusal.delta"
            | "response.refusal.done" => assert_eq!(open[&index.unwrap()].1, part),
            "response.completed" | "response.incomplete" => {
                assert_eq!((at, open.len()), (last, 0));
                assert_eq!(
                    event["response"]["output"].as_array().unwrap().len() as u64,
                    next
                );
            }
            "response.failed" => assert_eq!(at, last),
            _ => {}
        }
    }
    assert!(stream[last]["response"]["id"] == stream[0]["response"]["id"]);
}
