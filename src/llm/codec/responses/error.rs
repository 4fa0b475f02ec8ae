//! Errors: in the form of OpenAI's other protocol, in an answer or in place of one.

use super::repeated;
use crate::llm::{
    Error, VendorError,
    codec::{Framing, fault, sse},
};
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::LazyLock};

/// What is looked at of an event that may tell of an error.
#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

/// An error in the middle of a stream, or inside a 200.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Option<Box<VendorError>> {
    if !may_tell(raw) {
        return None;
    }
    match framing {
        Framing::Sse => sse::events(raw).find_map(|event| {
            let data = event.data.trim_ascii();
            of_event(event.event, data)
        }),
        _ => fault::scan(raw, framing),
    }
}

fn may_tell(raw: &[u8]) -> bool {
    static WORDS: LazyLock<[memmem::Finder<'static>; 4]> = LazyLock::new(|| {
        ["error\"", "event: error", "event:error", "response.failed"].map(memmem::Finder::new)
    });
    WORDS.iter().any(|word| word.find(raw).is_some())
}

/// The error that an event tells, if it does.
pub(super) fn of_event(name: Option<&[u8]>, data: &[u8]) -> Option<Box<VendorError>> {
    if data.is_empty() || name != Some(b"error") && !may_tell(data) {
        return None;
    }
    let top = serde_json::from_slice::<Top<'_>>(data).ok();
    let kind = top.as_ref().and_then(|top| top.kind.as_deref());
    match kind {
        Some("response.failed") => {
            let mut whole: Value = serde_json::from_slice(data).ok()?;
            Some(Box::new(fault::within(&whole["response"].take())))
        }
        _ if kind == Some("error")
            || name == Some(b"error")
            || top.as_ref().is_some_and(|top| top.error.is_some()) =>
        {
            Some(Box::new(fault::within(&fault::told(data))))
        }
        _ => None,
    }
}

/// What a response says of an error.
pub(super) fn within(error: &Error) -> Value {
    let told = fault::Told::of(error);
    json!({"code": told.code, "message": told.message})
}

/// The last event of a stream.
pub(super) fn write_failed(
    out: &mut BytesMut,
    mut response: Map<String, Value>,
    error: &Error,
    number: u64,
) {
    response.insert("status".into(), "failed".into());
    response.insert("error".into(), within(error));
    let event = json!({
        "type": "response.failed",
        "sequence_number": number,
        "response": response,
    });
    sse::write_event(out, Some("response.failed"), event.to_string().as_bytes());
}

/// The same of a stream of which nothing is known.
pub(super) fn write_event(error: &Error) -> Bytes {
    Trail::default().failed(error)
}

/// What must be known of a stream that goes out as it came, to end it if it breaks off.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// The events in which the response was first shown.
    head: Option<Bytes>,
    /// The last number of an event.
    number: Option<u64>,
}

impl Trail {
    /// Takes note of whole events.
    pub(crate) fn see(&mut self, raw: &[u8]) {
        const NUMBER: &[u8] = b"\"sequence_number\":";
        if self.head.is_none() && memmem::find(raw, b"\"response\"").is_some() {
            self.head = Some(Bytes::copy_from_slice(raw));
        }
        if let Some(at) = memmem::rfind(raw, NUMBER) {
            let digits = raw[at + NUMBER.len()..].trim_ascii_start().iter();
            let digits = digits.take_while(|byte| byte.is_ascii_digit()).take(18);
            let number = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            self.number = Some(number);
        }
    }

    /// The last event.
    pub(crate) fn failed(&self, error: &Error) -> Bytes {
        let shown = self.head.as_deref().and_then(|head| {
            sse::events(head).find_map(|event| {
                let mut whole: Value = serde_json::from_slice(&event.data).ok()?;
                match whole["response"].take() {
                    Value::Object(response) => Some(response),
                    _ => None,
                }
            })
        });
        let response = shown.unwrap_or_else(|| {
            let mut response = repeated::response(None);
            let id = format!("resp_{}", crate::exchange::fresh_id());
            response.insert("id".into(), id.into());
            response.insert("created_at".into(), 0.into());
            response.insert("model".into(), "".into());
            response
        });
        let mut out = BytesMut::new();
        let number = self.number.map_or(0, |number| number.saturating_add(1));
        write_failed(&mut out, response, error, number);
        out.freeze()
    }
}
