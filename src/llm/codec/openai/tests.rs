#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

mod answers;
mod errors;
mod laws;
mod recordings;
mod requests;
mod usage;

use super::*;
use crate::llm::{
    Completion, Event,
    codec::{
        self,
        reading::{self, asked, completion},
    },
};
use bytes::BytesMut;

/// Reads an answer whose chunks are cut as given.
fn read<'a>(
    operation: Operation,
    framing: Framing,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, Error> {
    match reading::read(&OpenAi, operation, framing, chunks) {
        (events, None) => Ok(events),
        (_, Some(error)) => Err(error),
    }
}

/// Writes events, in batches of this many.
fn write(asked: Asked, events: &[Event], batch: usize) -> BytesMut {
    reading::written(&OpenAi, asked, events, batch)
}

fn maker() -> Maker {
    Maker {
        protocol: Protocol::OpenAi,
        vendor: "lab".into(),
        model: "m".into(),
    }
}

/// The stream of these chunks.
fn stream(chunks: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for chunk in chunks {
        codec::sse::write_event(&mut out, None, chunk.to_string().as_bytes());
    }
    out.to_vec()
}
