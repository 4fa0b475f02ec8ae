//! A piece of a block, read in one pass: see [`plain`](crate::llm::codec::plain).

use super::Piece;
use crate::llm::codec::{
    plain::{Once, Read},
    skim,
};
use serde_json::Map;
use std::borrow::Cow;

/// Which block it is of, and what it adds. Nothing, if the event is any other.
pub(super) fn read(data: &[u8]) -> Option<(u64, Piece<'_>)> {
    let (mut kind, mut at, mut piece) = (Once::default(), Once::default(), Once::default());
    let rest = skim::fields(data, |name, text| match name {
        b"type" => kind.read(text, skim::text),
        b"index" => at.read(text, skim::digits),
        b"delta" => piece.read(text, delta),
        b"content_block" | b"message" | b"usage" => None,
        _ => skim::skip(text),
    })?;
    let plain = skim::is_blank(rest) && kind.get()? == "content_block_delta";
    plain.then_some((at.get().unwrap_or(0), piece.get()?))
}

fn delta(text: &[u8]) -> Read<'_, Piece<'_>> {
    let (mut kind, mut said, mut thinking) = (Once::default(), Once::default(), Once::default());
    let (mut signature, mut input) = (Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"type" => kind.read(text, skim::text),
        b"text" => said.read(text, skim::text),
        b"thinking" => thinking.read(text, skim::text),
        b"signature" => signature.read(text, skim::text),
        b"partial_json" => input.read(text, skim::text),
        _ => None,
    })?;
    let owned = |text: Once<Cow<'_, str>>| text.get().map(Cow::into_owned);
    let piece = Piece {
        kind: Some(kind.get()?),
        text: owned(said),
        thinking: owned(thinking),
        signature: owned(signature),
        partial_json: owned(input),
        rest: Map::new(),
    };
    Some((piece, rest))
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

    const FIRST: [&str; 5] = [
        r#"{"type":"message_start","message":{"id":"m","model":"m","usage":{"input_tokens":9,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"s","name":"search","input":{}}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"thinking","thinking":""}}"#,
    ];
    const STOPS: [&str; 3] = [
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#,
    ];

    fn event() -> impl Strategy<Value = String> {
        const KINDS: [&str; 6] = [
            "\"text_delta\"",
            "\"thinking_delta\"",
            "\"signature_delta\"",
            "\"input_json_delta\"",
            "\"citations_delta\"",
            "\"other_delta\"",
        ];
        let delta = object(vec![
            ("type", of(&KINDS)),
            ("text", said()),
            ("thinking", said()),
            ("signature", of(&["\"proof\""])),
            ("partial_json", of(&["\"{\\\"a\\\":\"", "\"1}\"", "\"\""])),
            ("citation", of(&["null", "{\"a\":1}"])),
        ]);
        // A piece that is only text is the usual one.
        let plain = said().prop_map(|text| format!(r#"{{"type":"text_delta","text":{text}}}"#));
        object(vec![
            (
                "type",
                of(&[
                    "\"content_block_delta\"",
                    "\"content_block_delta\"",
                    "\"ping\"",
                ]),
            ),
            ("index", of(&["0", "1", "2", "3", "4"])),
            ("delta", prop_oneof![delta, plain].boxed()),
            ("usage", of(&["null"])),
            ("p", of(&["\"abc\"", "[1e5]"])),
        ])
    }

    /// What each of two readers makes of the same events.
    fn read(all: &[String], quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::Sse);
        let all = all.iter().map(String::as_str);
        outcome(
            FIRST.into_iter().chain(all).chain(STOPS),
            |data, events| match quick {
                true => decoder.event(data.as_bytes(), events),
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
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}      }"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"so\n"}}"#,
        ] {
            assert!(super::read(data.as_bytes()).is_some(), "{data}");
        }
    }
}
