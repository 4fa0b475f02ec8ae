#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

mod answers;
mod errors;
mod laws;
mod recordings;
mod requests;

use super::*;
use crate::llm::{Completion, Event, codec};
use bytes::BytesMut;

/// Reads an answer whose chunks are cut as given.
fn read<'a>(
    operation: Operation,
    framing: Framing,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, Error> {
    let mut decoder = OpenAi.decoder(operation, framing);
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

fn maker() -> Maker {
    Maker {
        protocol: Protocol::OpenAi,
        vendor: "lab".into(),
        model: "m".into(),
    }
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
    let mut encoder = OpenAi.encoder(asked);
    let mut out = BytesMut::new();
    for events in events.chunks(batch) {
        encoder.events(events.to_vec(), &mut out);
    }
    encoder.finish(&mut out);
    out
}

/// The stream of these chunks.
fn stream(chunks: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for chunk in chunks {
        codec::sse::write_event(&mut out, None, chunk.to_string().as_bytes());
    }
    out.to_vec()
}
