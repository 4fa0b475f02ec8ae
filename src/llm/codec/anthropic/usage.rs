//! What was used. The vendor counts what its cache held apart from the input; here it is part of it.

use crate::llm::{
    Usage,
    codec::{Framing, skim, sse},
};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The counts as they were told: those of a later event take the place of earlier ones, and what it
/// leaves out stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    /// The part of it that is kept for an hour.
    for_an_hour: Option<u64>,
    output: u64,
    thinking: Option<u64>,
}

impl Counts {
    /// Takes in what an event tells.
    pub(super) fn set(&mut self, usage: &Value) {
        let count = |key: &str| whole(usage.get(key)?);
        let set = |place: &mut Option<u64>, told: Option<u64>| *place = told.or(*place);
        self.input = count("input_tokens").unwrap_or(self.input);
        self.output = count("output_tokens").unwrap_or(self.output);
        set(&mut self.cache_read, count("cache_read_input_tokens"));
        set(&mut self.cache_write, count("cache_creation_input_tokens"));
        let written = usage.get("cache_creation");
        let for_an_hour = written.and_then(|all| whole(all.get("ephemeral_1h_input_tokens")?));
        set(&mut self.for_an_hour, for_an_hour.filter(|all| *all > 0));
        let details = usage.get("output_tokens_details");
        let thinking = details.and_then(|details| whole(details.get("thinking_tokens")?));
        set(&mut self.thinking, thinking);
    }

    pub(super) fn usage(&self) -> Usage {
        let input = self
            .input
            .saturating_add(self.cache_read.unwrap_or(0))
            .saturating_add(self.cache_write.unwrap_or(0));
        let mut usage = Usage::new(input, self.output);
        usage.cache_read = self.cache_read;
        usage.cache_write = self.cache_write;
        usage.cache_write_1h = self.for_an_hour;
        usage.reasoning = self.thinking;
        usage
    }
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        // Some vendors tell of more in the cache than there was to read. A part is no more than the whole.
        let read = usage.cache_read.map(|count| count.min(usage.input));
        let left = usage.input - read.unwrap_or(0);
        let write = usage.cache_write.map(|count| count.min(left));
        Self {
            input: left - write.unwrap_or(0),
            cache_read: read,
            cache_write: write,
            for_an_hour: usage
                .cache_write_1h
                .map(|count| count.min(write.unwrap_or(0))),
            output: usage.output,
            thinking: usage.reasoning,
        }
    }
}

/// Vendors are not believed: what is negative is nothing, and what is too large is as large as can be.
fn whole(value: &Value) -> Option<u64> {
    let number = value.as_number()?;
    // Saturates.
    number
        .as_u64()
        .or_else(|| number.as_f64().map(|float| float as u64))
}

/// `usage` as it is written.
pub(super) fn write(usage: &Usage) -> Value {
    let counts = Counts::from(*usage);
    let mut out = json!({
        "input_tokens": counts.input,
        "cache_creation_input_tokens": counts.cache_write.unwrap_or(0),
        "cache_read_input_tokens": counts.cache_read.unwrap_or(0),
        "output_tokens": counts.output,
    });
    if let (Some(all), Some(hour)) = (counts.cache_write, counts.for_an_hour) {
        out["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": all.saturating_sub(hour),
            "ephemeral_1h_input_tokens": hour,
        });
    }
    if let Some(thinking) = counts.thinking {
        out["output_tokens_details"] = json!({"thinking_tokens": thinking});
    }
    out
}

/// The last usage in whole events, or in a document, with what was told `before`.
pub(super) fn scan(raw: &[u8], framing: Framing, before: Option<Usage>) -> Option<Usage> {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    // What a model says cannot look like this: its quotes are escaped.
    KEY.find(raw)?;
    if framing == Framing::Json {
        let usage = in_document(raw)?;
        let mut counts = Counts::default();
        counts.set(&usage);
        return Some(counts.usage());
    }
    let mut counts = before.map(Counts::from);
    for event in sse::events(raw) {
        if KEY.find(&event.data).is_none() {
            continue;
        }
        if let Some(usage) = in_event(&event.data) {
            counts.get_or_insert_default().set(&usage);
        }
    }
    counts.map(|counts| counts.usage())
}

/// The field of a document, without a parse of what the model said.
fn in_document(raw: &[u8]) -> Option<Value> {
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
    usage.is_object().then_some(usage)
}

#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    message: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    usage: Option<Value>,
}

fn in_event(data: &[u8]) -> Option<Value> {
    let holder: Holder = serde_json::from_slice(data).ok()?;
    let inner = holder.message.and_then(|message| message.usage);
    holder.usage.or(inner).filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_an_hour_is_told_apart() {
        let told = json!({
            "input_tokens": 3, "cache_creation_input_tokens": 10, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
        });
        let mut counts = Counts::default();
        counts.set(&told);
        let usage = counts.usage();
        let written = (usage.input, usage.cache_write, usage.cache_write_1h);
        assert_eq!(written, (13, Some(10), Some(6)));
        assert_eq!(write(&usage)["cache_creation"], told["cache_creation"]);
        // A later event that does not tell it leaves it as it was.
        counts.set(&json!({"output_tokens": 5}));
        assert_eq!(counts.usage().cache_write_1h, Some(6));
    }
}
