//! A line that adds text, read in one pass: see [`plain`](crate::llm::codec::plain).

use crate::llm::codec::{plain::Once, skim};
use std::borrow::Cow;

/// What it says.
pub(super) struct Plain<'a> {
    pub(super) thought: Option<Cow<'a, str>>,
    pub(super) text: Option<Cow<'a, str>>,
}

/// Nothing, if it says anything else.
pub(super) fn read(line: &[u8]) -> Option<Plain<'_>> {
    let mut said = Once::default();
    let rest = skim::fields(line, |name, text| match name {
        b"model" | b"created_at" => skim::scalar(text),
        b"message" => said.read(text, message),
        b"done" => text.strip_prefix(b"false"),
        // Times, counts, and what nobody knows, are kept.
        _ => None,
    })?;
    said.get().filter(|_| skim::is_blank(rest))
}

fn message(text: &[u8]) -> Option<(Plain<'_>, &[u8])> {
    let (mut thought, mut said) = (Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"role" => skim::scalar(text),
        b"thinking" => thought.or_null(text, skim::text),
        b"content" => said.or_null(text, skim::text),
        _ => None,
    })?;
    let plain = Plain {
        thought: thought.get(),
        text: said.get(),
    };
    Some((plain, rest))
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use crate::llm::{
        Event, Operation,
        codec::{
            Framing,
            plain::tests::{agree, object, of, outcome, said},
        },
    };
    use proptest::prelude::*;

    const LAST: &str =
        r#"{"model":"m","done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":2}"#;

    fn line() -> impl Strategy<Value = String> {
        let message = object(vec![
            ("role", of(&["\"assistant\""])),
            ("content", said()),
            ("thinking", said()),
        ]);
        let calls = of(&[r#"{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}"#]);
        object(vec![
            ("model", of(&["\"m\""])),
            ("created_at", of(&["\"2026-01-01T00:00:00.000000Z\""])),
            ("message", prop_oneof![8 => message, 1 => calls].boxed()),
            ("done", of(&["false", "false", "false", "true"])),
        ])
    }

    /// What each of two readers makes of the same lines.
    fn read(all: &[String], quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::Ndjson);
        outcome(
            all.iter().map(String::as_str).chain([LAST]),
            |data, events| match quick {
                true => decoder.document(data.as_bytes(), events),
                false => decoder.any(data.as_bytes(), events),
            },
        )
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree() {
        agree(line(), read);
    }

    #[test]
    fn what_the_server_writes_is_read_quickly() {
        for line in [
            r#"{"model":"m","created_at":"2026-01-01T00:00:00.0Z","message":{"role":"assistant","content":" word"},"done":false}"#,
            r#"{"model":"m","created_at":"2026-01-01T00:00:00.0Z","message":{"role":"assistant","content":"","thinking":"so\n"},"done":false}"#,
        ] {
            assert!(super::read(line.as_bytes()).is_some(), "{line}");
        }
    }
}
