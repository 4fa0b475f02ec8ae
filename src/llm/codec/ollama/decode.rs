//! Answers, read.

mod plain;

use super::{embed, usage};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start,
    codec::{Decode, Framing, fault, lines, sse},
};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CALLS: u32 = 1024;

/// Reads one answer. There is one choice.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    /// The stream has begun, and a byte order mark is none any more.
    begun: bool,
    /// Names of calls are made of it. `None`: the head was not told.
    seed: Option<u64>,
    calls: u32,
    finished: bool,
}

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            begun: false,
            seed: None,
            calls: 0,
            finished: false,
        }
    }

    fn document(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        if self.seed.is_some()
            && self.operation != Operation::Embeddings
            && let Some(plain::Plain { thought, text }) = plain::read(data)
        {
            piece(Delta::Reasoning, thought, events);
            piece(Delta::Text, text, events);
            return Ok(());
        }
        self.any(data, events)
    }

    /// Any line, or a document.
    fn any(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let whole: Value =
            serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        if whole.get("error").is_some_and(|error| !error.is_null()) {
            return Err(fault::within(&whole).into());
        }
        let Value::Object(mut fields) = whole else {
            return Ok(());
        };
        if self.operation == Operation::Embeddings {
            return embed::decode(fields, events);
        }
        self.head(&mut fields, events);
        if let Some(Value::Object(message)) = fields.remove("message") {
            self.message(message, events);
        }
        let done = fields.remove("done") == Some(Value::Bool(true));
        let reason = fields.remove("done_reason");
        let used = usage::take(&mut fields);
        if done && !std::mem::replace(&mut self.finished, true) {
            let reason = match reason.as_ref().and_then(Value::as_str) {
                Some("length") => FinishReason::Length,
                word => {
                    // What nobody knows is an end like any other.
                    if let Some(word) = word.filter(|word| !["stop", ""].contains(word)) {
                        fields.insert("native_finish_reason".into(), word.into());
                    }
                    // It says that it stops where it waits for tools.
                    match self.calls {
                        0 => FinishReason::Stop,
                        _ => FinishReason::ToolCalls,
                    }
                }
            };
            self.beside(fields, events);
            events.push(Event::Finish { choice: 0, reason });
        } else {
            self.beside(fields, events);
        }
        events.extend(used.map(Event::Usage));
        Ok(())
    }

    /// The head is that of the first line.
    fn head(&mut self, fields: &mut Map<String, Value>, events: &mut Vec<Event>) {
        let mut text = |key: &str| match fields.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (model, created) = (text("model"), text("created_at"));
        if self.seed.is_some() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        (&model, &created).hash(&mut hasher);
        self.seed = Some(hasher.finish());
        let seconds = seconds(&created).unwrap_or(0);
        events.push(Event::Start(Start::new("", model, seconds)));
    }

    fn message(&mut self, mut message: Map<String, Value>, events: &mut Vec<Event>) {
        message.remove("role");
        for (key, delta) in [
            ("thinking", Delta::Reasoning as fn(String) -> Delta),
            ("content", Delta::Text),
        ] {
            if let Some(Value::String(text)) = message.remove(key) {
                piece(delta, Some(text.into()), events);
            }
        }
        if let Some(Value::Array(calls)) = message.remove("tool_calls") {
            calls.iter().for_each(|call| self.call(call, events));
        }
        message.retain(|_, value| !value.is_null());
        if !message.is_empty() {
            let extra = Extra::from_iter([("message".to_owned(), message.into())]);
            events.push(said(Delta::Extra(extra)));
        }
    }

    /// A call is always whole. Their numbers in the answer are not believed: older servers give none.
    fn call(&mut self, call: &Value, events: &mut Vec<Event>) {
        let index = self.calls;
        let function = &call["function"];
        let Some(name) = function["name"].as_str().filter(|_| index < MOST_CALLS) else {
            return;
        };
        self.calls += 1;
        let arguments = match &function["arguments"] {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text.clone(),
            arguments => arguments.to_string(),
        };
        let id = call["id"].as_str().filter(|id| !id.is_empty());
        let id = id.map(str::to_owned).unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            (self.seed.unwrap_or(0), index).hash(&mut hasher);
            format!("call_{:016x}", hasher.finish())
        });
        events.push(said(Delta::ToolCall {
            index,
            id: Some(id),
            name: Some(name.to_owned()),
            arguments,
        }));
    }

    /// Times, and what nobody knows.
    fn beside(&mut self, mut fields: Extra, events: &mut Vec<Event>) {
        fields.retain(|_, value| !value.is_null());
        if !fields.is_empty() {
            events.push(said(Delta::Extra(fields)));
        }
    }
}

fn piece(delta: fn(String) -> Delta, text: Option<Cow<'_, str>>, events: &mut Vec<Event>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        events.push(said(delta(text.into_owned())));
    }
}

fn said(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

/// Seconds since 1970 of a time as RFC 3339 has it. Parts of a second do not count.
fn seconds(text: &str) -> Option<u64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = text.get(19..)?.trim_start_matches(['.', ','].as_slice());
    let zone = zone.trim_start_matches(|char: char| char.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digits = [h1, h2, m1, m2].map(|digit| i64::from(digit.wrapping_sub(b'0')));
            let seconds = (digits[0] * 10 + digits[1]) * 3600 + (digits[2] * 10 + digits[3]) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => 0,
    };
    // Howard Hinnant, "chrono-compatible low-level date algorithms": days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let total = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(total).ok()
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let first = !std::mem::replace(&mut self.begun, true);
        let raw = if first { sse::without_bom(raw) } else { raw };
        match self.framing {
            Framing::Ndjson => lines::of(raw).try_for_each(|line| self.document(line, events)),
            _ => self.document(raw, events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_seconds() {
        for (text, told) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:34:56.789Z", Some(1_709_210_096)),
            ("2026-08-04T21:58:20.56+02:00", Some(1_785_873_500)),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), told, "{text}");
        }
    }
}
