//! A piece of a block, read in one pass: see [`plain`](crate::llm::codec::plain).

use super::{Input, Piece, Thought};
use crate::llm::codec::{
    plain::{Once, Read},
    skim,
};
use serde_json::Map;
use std::borrow::Cow;

/// Which block it is of, and what it adds. Nothing, if the payload says anything else.
pub(super) fn read(data: &[u8]) -> Option<(u64, Piece)> {
    let (mut at, mut piece) = (Once::default(), Once::default());
    let rest = skim::fields(data, |name, text| match name {
        b"contentBlockIndex" => at.read(text, skim::digits),
        b"delta" => piece.read(text, delta),
        b"start" => None,
        _ => skim::skip(text),
    })?;
    let piece = piece.get().filter(|_| skim::is_blank(rest))?;
    Some((at.get().unwrap_or(0), piece))
}

fn delta(text: &[u8]) -> Read<'_, Piece> {
    let (mut said, mut thought, mut call) = (Once::default(), Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"text" => said.or_null(text, owned),
        b"reasoningContent" => thought.or_null(text, reasoning),
        b"toolUse" => call.or_null(text, input),
        // What nobody knows is kept.
        _ => None,
    })?;
    let piece = Piece {
        text: said.get(),
        tool_use: call.get(),
        reasoning_content: thought.get(),
        citation: None,
        rest: Map::new(),
    };
    Some((piece, rest))
}

fn reasoning(text: &[u8]) -> Read<'_, Thought> {
    let (mut said, mut proof, mut redacted) = (Once::default(), Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"text" => said.or_null(text, owned),
        b"signature" => proof.or_null(text, owned),
        b"redactedContent" => redacted.or_null(text, owned),
        b"reasoningText" => None,
        _ => skim::skip(text),
    })?;
    let thought = Thought {
        text: said.get(),
        signature: proof.get(),
        redacted_content: redacted.get(),
        reasoning_text: None,
    };
    Some((thought, rest))
}

fn input(text: &[u8]) -> Read<'_, Input> {
    let mut input = Once::default();
    let rest = skim::fields(text, |name, text| match name {
        b"input" => input.read(text, owned),
        _ => skim::skip(text),
    })?;
    let input = input.get().unwrap_or_default();
    Some((Input { input }, rest))
}

fn owned(text: &[u8]) -> Read<'_, String> {
    skim::text(text).map(|(text, rest)| (Cow::into_owned(text), rest))
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

    const FIRST: [(&str, &str); 3] = [
        ("messageStart", r#"{"role":"assistant"}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#,
        ),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":2,"start":{"toolResult":{"toolUseId":"s"}}}"#,
        ),
    ];
    const LAST: [(&str, &str); 2] = [
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
    ];
    const DELTA: &str = "contentBlockDelta";

    fn event() -> impl Strategy<Value = String> {
        let thought = object(vec![
            ("text", said()),
            ("signature", of(&["\"proof\""])),
            ("redactedContent", of(&["\"AAAA\"", "null"])),
        ]);
        let delta = object(vec![
            ("text", said()),
            ("reasoningContent", thought),
            (
                "toolUse",
                of(&[r#"{"input":"{\"a\":"}"#, r#"{"input":"1}","x":[]}"#, "{}"]),
            ),
            ("citation", of(&["null", r#"{"title":"t"}"#])),
        ]);
        let plain = said().prop_map(|text| format!(r#"{{"text":{text}}}"#));
        object(vec![
            ("contentBlockIndex", of(&["0", "1", "2", "3"])),
            ("delta", prop_oneof![delta, plain].boxed()),
            ("start", of(&["null"])),
            ("p", of(&["\"abc\"", "[1e5]"])),
        ])
    }

    /// What each of two readers makes of the same events.
    fn read(all: &[String], quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::EventStream);
        let all = all.iter().map(|data| (DELTA, data.as_str()));
        outcome(
            FIRST.into_iter().chain(all).chain(LAST),
            |(kind, data), events| match quick {
                true => decoder.event(kind, data.as_bytes(), events),
                false => decoder.any(kind, data.as_bytes(), events),
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
            r#"{"contentBlockIndex":0,"delta":{"text":" word"},"p":"abcdefghijkl"}"#,
            r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"so\n"}},"p":"abc"}"#,
            r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"a\":"}},"p":"abc"}"#,
        ] {
            assert!(super::read(data.as_bytes()).is_some(), "{data}");
        }
    }
}
