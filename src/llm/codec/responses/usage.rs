//! What was used.

use crate::llm::{
    Usage,
    codec::{Framing, skim, sse},
};
use memchr::memmem::Finder;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Vendors are not believed: what is negative is nothing, and what is too large is as large as can be.
fn count(of: &Value, key: &str) -> Option<u64> {
    let number = of.get(key)?.as_number()?;
    number
        .as_u64()
        .or_else(|| number.as_f64().map(|float| float as u64))
}

/// `usage` as it is on the wire; `None` if it says nothing.
pub(super) fn read(usage: &Value) -> Option<Usage> {
    usage.as_object()?;
    let input = count(usage, "input_tokens").unwrap_or(0);
    let output = count(usage, "output_tokens").unwrap_or(0);
    let mut read = Usage::new(input, output);
    if let Some(details) = usage.get("input_tokens_details") {
        read.cache_read = count(details, "cached_tokens");
        read.cache_write = count(details, "cache_write_tokens");
        read.audio_input = count(details, "audio_tokens");
    }
    if let Some(details) = usage.get("output_tokens_details") {
        read.reasoning = count(details, "reasoning_tokens");
        read.audio_output = count(details, "audio_tokens");
    }
    // What is in the total and in neither part was used all the same.
    let total = count(usage, "total_tokens").unwrap_or(0);
    read.output += total.saturating_sub(read.total());
    Some(read)
}

/// `usage` as it is written: with details, which clients expect.
pub(super) fn write(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read.unwrap_or(0),
            "cache_write_tokens": usage.cache_write.unwrap_or(0),
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning.unwrap_or(0)},
        "total_tokens": usage.total(),
    })
}

/// The last usage in whole events, or in a document.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Option<Usage> {
    if !may_have(raw) {
        return None;
    }
    match framing {
        Framing::Sse => {
            let events = sse::events(raw);
            let found = |data: &[u8]| {
                let response = may_have(data).then(|| field(data, b"response"))??;
                in_response(&response)
            };
            events.filter_map(|event| found(&event.data)).last()
        }
        _ => in_response(raw),
    }
}

/// Whether something stands under the name of usage somewhere. In the first events of a stream that is
/// `null`. What a model says cannot look like this: its quotes are escaped.
fn may_have(data: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    KEY.find_iter(data).any(|at| {
        let value = data[at + KEY.needle().len()..].trim_ascii_start();
        let value = value.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| !value.starts_with(b"null"))
    })
}

fn in_response(response: &[u8]) -> Option<Usage> {
    let usage = field(response, b"usage")?;
    read(&serde_json::from_slice(&usage).ok()?)
}

/// A field of an object, without a parse of what else is in it.
fn field<'a>(object: &'a [u8], key: &[u8]) -> Option<std::borrow::Cow<'a, [u8]>> {
    let mut found = None;
    let plain = skim::object(object, |name, value| {
        if name == key {
            found = Some(value);
        }
        Some(())
    });
    if plain.is_some() {
        return found.map(Into::into);
    }
    let whole: Value = serde_json::from_slice(object).ok()?;
    let value = whole.get(std::str::from_utf8(key).ok()?)?;
    Some(value.to_string().into_bytes().into())
}
