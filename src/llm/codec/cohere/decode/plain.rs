//! A piece of a text, read in one pass: see [`plain`](crate::llm::codec::plain).

use crate::llm::codec::{
    plain::{Once, Read},
    skim,
};
use std::borrow::Cow;

/// What it says.
#[derive(Default)]
pub(super) struct Plain<'a> {
    pub(super) thought: Option<Cow<'a, str>>,
    pub(super) text: Option<Cow<'a, str>>,
}

/// Nothing, if it is any other event.
pub(super) fn read(data: &[u8]) -> Option<Plain<'_>> {
    let (mut kind, mut said) = (Once::default(), Once::default());
    let rest = skim::fields(data, |name, text| match name {
        b"type" => kind.read(text, skim::text),
        b"delta" => said.read(text, |text| only(text, b"message", message)),
        b"error" => None,
        _ => skim::scalar(text),
    })?;
    let plain = skim::is_blank(rest) && kind.get()? == "content-delta";
    said.get().filter(|_| plain)
}

fn message(text: &[u8]) -> Read<'_, Plain<'_>> {
    only(text, b"content", content)
}

/// What is in one field of an object. What else may be there is nothing to anybody.
fn only<'a>(
    text: &'a [u8],
    field: &[u8],
    read: fn(&'a [u8]) -> Read<'a, Plain<'a>>,
) -> Read<'a, Plain<'a>> {
    let mut only = Once::default();
    let rest = skim::fields(text, |name, text| match name == field {
        true => only.read(text, read),
        false => skim::scalar(text),
    })?;
    Some((only.get()?, rest))
}

fn content(text: &[u8]) -> Read<'_, Plain<'_>> {
    let (mut thought, mut said) = (Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"thinking" => thought.or_null(text, skim::text),
        b"text" => said.or_null(text, skim::text),
        _ => skim::scalar(text),
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

    const LAST: &str = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":9,"output_tokens":2}}}}"#;

    fn event() -> impl Strategy<Value = String> {
        const KINDS: [&str; 5] = [
            "\"content-delta\"",
            "\"content-delta\"",
            "\"content-start\"",
            "\"tool-plan-delta\"",
            "\"message-start\"",
        ];
        let content = object(vec![
            ("type", of(&["\"text\""])),
            ("text", said()),
            ("thinking", of(&["null", "\"so\""])),
        ]);
        let message = object(vec![
            ("content", content),
            ("tool_plan", of(&["\"first\"", "\"\""])),
            ("role", of(&["\"assistant\""])),
        ]);
        let delta = object(vec![("message", message)]);
        object(vec![
            ("type", of(&KINDS)),
            ("index", of(&["0", "1"])),
            ("id", of(&["\"a\""])),
            ("delta", delta),
            ("error", of(&["null", "null", "\"no\""])),
            ("logprobs", of(&["null", "{\"a\":[1e5]}"])),
        ])
    }

    /// What each of two readers makes of the same events.
    fn read(all: &[String], quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::Sse);
        outcome(
            all.iter().map(String::as_str).chain([LAST]),
            |data, events| match quick {
                true => decoder.data(data.as_bytes(), events),
                false => decoder.any(data.as_bytes(), events),
            },
        )
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree() {
        agree(event(), read);
    }

    #[test]
    fn what_the_vendor_writes_is_read_quickly() {
        for data in [
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":" word"}}}}"#,
            r#"{"id":"a","type":"content-delta","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":"so\n"}}}}"#,
        ] {
            assert!(super::read(data.as_bytes()).is_some(), "{data}");
        }
    }
}
