//! In which form an answer comes: as its head says, or else its first byte.

use super::{Inner, answer, refusal::malformed};
use crate::{
    Body, CollectError, Rejection, collect,
    llm::{Error, Framing, Protocol, codec::bedrock::EVENT_STREAM},
    rejection::Kind,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body as _;
use std::{future::poll_fn, pin::Pin};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SSE: HeaderValue = HeaderValue::from_static("text/event-stream");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

pub(super) const MOST_ANSWER: usize = 64 << 20;

/// What is asked for.
pub(super) fn accepted(protocol: Protocol, streams: bool) -> HeaderValue {
    match streams {
        true if protocol == Protocol::Ollama => NDJSON,
        true => SSE,
        false => JSON,
    }
}

/// The form of an answer, and what had to be read of it to know.
pub(super) async fn of(
    provider: &Inner,
    headers: &HeaderMap,
    body: &mut Body,
    protocol: Protocol,
    streams: bool,
) -> Result<(Framing, Option<Bytes>), Error> {
    if is_encoded(headers) {
        return Err(malformed(
            provider,
            "an answer in an encoding that was not asked for",
        ));
    }
    let by_lines = streams && protocol == Protocol::Ollama;
    // Only one protocol has frames for a stream.
    let framed = protocol == Protocol::Bedrock;
    Ok(match (content(headers), streams) {
        (Some(Framing::Sse), true) => (Framing::Sse, None),
        (Some(Framing::Json), false) => (Framing::Json, None),
        (Some(Framing::EventStream), true) if framed => (Framing::EventStream, None),
        (Some(Framing::Json | Framing::Ndjson), true) if by_lines => (Framing::Ndjson, None),
        _ => {
            let (told, first) = sniffed(body).await?;
            // The first line is a document, and may be all.
            let told = match told {
                Some(Framing::Json) if by_lines => Some(Framing::Ndjson),
                told => told,
            };
            let told = told.filter(|told| match told {
                // Likewise an array.
                Framing::Array => streams && protocol == Protocol::Gemini,
                Framing::EventStream => streams && framed,
                Framing::Sse => !framed,
                Framing::Json | Framing::Ndjson | Framing::Opaque => true,
            });
            match told {
                Some(told) => (told, first),
                None => return Err(malformed(provider, "neither JSON nor an event stream")),
            }
        }
    })
}

pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(super) fn content(headers: &HeaderMap) -> Option<Framing> {
    let content = headers.get(CONTENT_TYPE)?;
    if content == JSON {
        return Some(Framing::Json);
    }
    let content = content.to_str().ok()?;
    let content = content.split(';').next().unwrap_or_default().trim();
    if content.eq_ignore_ascii_case("text/event-stream") {
        Some(Framing::Sse)
    } else if content.eq_ignore_ascii_case("application/json") {
        Some(Framing::Json)
    } else if content.eq_ignore_ascii_case(EVENT_STREAM) {
        Some(Framing::EventStream)
    } else if content.eq_ignore_ascii_case("application/x-ndjson") {
        Some(Framing::Ndjson)
    } else {
        None
    }
}

/// What an answer is by its first byte, and the bytes that were read to see it.
async fn sniffed(body: &mut Body) -> Result<(Option<Framing>, Option<Bytes>), Error> {
    let mut read = Vec::new();
    loop {
        let start = read
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(&read)
            .trim_ascii_start();
        let framing = match start.first() {
            // A kilobyte of white space is a beginning of nothing.
            None if read.len() < 1024 => None,
            Some(b'{') => Some(Some(Framing::Json)),
            Some(b'[') => Some(Some(Framing::Array)),
            // The length of a frame.
            Some(0) => Some(Some(Framing::EventStream)),
            // The fields of an event, and comments.
            Some(b'd' | b'e' | b'i' | b'r' | b':') => Some(Some(Framing::Sse)),
            _ => Some(None),
        };
        if let Some(framing) = framing {
            return Ok((framing, Some(read.into())));
        }
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok((None, None)),
            Some(Err(error)) => return Err(answer::broken(error).into()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
        }
    }
}

pub(super) async fn collected(
    body: Body,
    first: Option<Bytes>,
    most: usize,
) -> Result<Bytes, Error> {
    let collected = collect(body, most).await.map_err(|error| match error {
        CollectError::TooLarge => Rejection::new(Kind::UpstreamTooLarge),
        CollectError::Broken(error) => answer::broken(error),
    })?;
    Ok(match first {
        Some(first) if collected.is_empty() => first,
        Some(first) => [first, collected].concat().into(),
        None => collected,
    })
}
