//! Answers, as the tests of all codecs read and write them.

use super::{Asked, Codec, Framing, bedrock::frame, gemini, lines, sse};
use crate::llm::{Completion, Error, Event, request::Operation};
use bytes::{Bytes, BytesMut};

/// The pieces that a decoder gets of these chunks.
fn pieces<'a>(framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let (mut framer, mut cutter) = (sse::Framer::new(), gemini::Cutter::default());
    let (mut frames, mut lines) = (frame::Cutter::default(), lines::Cutter::default());
    let mut out = Vec::new();
    for chunk in chunks {
        let chunk = Bytes::copy_from_slice(chunk);
        match framing {
            Framing::Sse => out.extend(framer.push(chunk).unwrap()),
            Framing::Array => out.extend(cutter.push(chunk).unwrap()),
            Framing::Ndjson => out.extend(lines.push(chunk).unwrap()),
            Framing::EventStream => {
                let (whole, on) = frames.push(chunk);
                out.extend(whole);
                assert!(on.is_ok(), "a frame whose sum is wrong");
            }
            _ => out.push(chunk),
        }
    }
    out.extend(framer.finish());
    let (rest, closed) = cutter.finish();
    assert!(closed, "an array without an end");
    out.extend(rest);
    out.extend(frames.finish());
    out.extend(lines.finish());
    out
}

/// All events of an answer whose bytes come in these chunks, and the error that it ends with.
pub(crate) fn read<'a>(
    codec: &dyn Codec,
    operation: Operation,
    framing: Framing,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<Error>) {
    let mut decoder = codec.decoder(operation, framing);
    let mut events = Vec::new();
    for piece in pieces(framing, chunks) {
        if let Err(error) = decoder.decode(&piece, &mut events) {
            return (events, Some(error));
        }
    }
    (events, None)
}

/// The events of an answer that is whole, in chunks of this size. A document comes in one.
pub(crate) fn events(
    codec: &dyn Codec,
    operation: Operation,
    framing: Framing,
    raw: &[u8],
    size: usize,
) -> Vec<Event> {
    let size = match framing {
        Framing::Json => raw.len(),
        _ => size,
    };
    let (events, error) = read(codec, operation, framing, raw.chunks(size.max(1)));
    assert!(error.is_none(), "{error:?}");
    events
}

pub(crate) fn completion(events: impl IntoIterator<Item = Event>) -> Completion {
    let mut completion = Completion::default();
    completion.extend(events);
    completion
}

/// What a client of the model `m` asked for.
pub(crate) fn asked(framing: Framing) -> Asked {
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
pub(crate) fn written(codec: &dyn Codec, asked: Asked, events: &[Event], batch: usize) -> BytesMut {
    let mut encoder = codec.encoder(asked);
    let mut out = BytesMut::new();
    for events in events.chunks(batch) {
        encoder.events(events.to_vec(), &mut out);
    }
    encoder.finish(&mut out);
    out
}
