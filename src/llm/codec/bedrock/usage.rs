//! What was used. The vendor counts what its cache held apart from the input; here it is part of it.

use super::frame::frames;
use crate::llm::{
    Usage,
    codec::{Framing, skim},
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Holder {
    usage: Option<Value>,
}

/// The counts of an answer.
pub(super) fn read(usage: &Value) -> Option<Usage> {
    let count = |key: &str| whole(usage.get(key)?);
    let (read, written) = (
        count("cacheReadInputTokens"),
        count("cacheWriteInputTokens"),
    );
    let input = count("inputTokens")?
        .saturating_add(read.unwrap_or(0))
        .saturating_add(written.unwrap_or(0));
    let mut usage = Usage::new(input, count("outputTokens").unwrap_or(0));
    usage.cache_read = read;
    usage.cache_write = written;
    Some(usage)
}

/// Vendors are not believed: what is negative is nothing, and what is too large is as large as can be.
fn whole(value: &Value) -> Option<u64> {
    let number = value.as_number()?;
    // Saturates.
    number
        .as_u64()
        .or_else(|| number.as_f64().map(|float| float as u64))
}

/// The usage in whole frames, or in a document.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Option<Usage> {
    if framing == Framing::EventStream {
        let told = frames(raw).filter(|frame| frame.header(":event-type") == Some("metadata"));
        return told.filter_map(|frame| in_document(frame.payload)).last();
    }
    in_document(raw)
}

/// The field of a document, without a parse of what the model said.
fn in_document(raw: &[u8]) -> Option<Usage> {
    let mut found = None;
    let skimmed = skim::object(raw, |name, value| {
        if name == b"usage" {
            found = Some(value);
        }
        Some(())
    });
    let usage: Value = match (skimmed, found) {
        (Some(_), found) => serde_json::from_slice(found?).ok()?,
        (None, _) => serde_json::from_slice::<Holder>(raw).ok()?.usage?,
    };
    read(&usage)
}
