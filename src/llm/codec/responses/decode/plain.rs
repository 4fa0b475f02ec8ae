//! A piece of an item, read in one pass: see [`plain`](crate::llm::codec::plain).

use crate::llm::codec::{plain::Once, skim};
use std::borrow::Cow;

/// What it says.
pub(super) struct Plain<'a> {
    /// Its kind, without what stands before all of them.
    pub(super) kind: Cow<'a, str>,
    /// Which item it is of.
    pub(super) at: u64,
    pub(super) delta: String,
}

/// Nothing, if it is not an event that tells of a piece of text alone.
pub(super) fn read(data: &[u8]) -> Option<Plain<'_>> {
    let (mut kind, mut at, mut delta) = (Once::default(), Once::default(), Once::default());
    let mut logprobs = Once::default();
    let rest = skim::fields(data, |name, text| match name {
        b"type" => kind.read(text, skim::text),
        b"output_index" => at.or_null(text, skim::digits),
        b"delta" => delta.read(text, skim::text),
        b"logprobs" => logprobs.or_null(text, |text| Some(((), text.strip_prefix(b"[]")?))),
        b"summary_index" | b"item" | b"annotation" | b"response" | b"error" => None,
        _ => skim::skip(text),
    })?;
    let kind = match kind.get()? {
        Cow::Borrowed(kind) => Cow::Borrowed(kind.strip_prefix("response.")?),
        Cow::Owned(_) => return None,
    };
    let plain = skim::is_blank(rest) && kind.ends_with(".delta");
    plain.then_some(Plain {
        kind,
        at: at.get().unwrap_or(0),
        delta: delta.get()?.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use crate::llm::{
        Event, Operation,
        codec::{
            Framing,
            plain::tests::{agree, object, of, outcome, said},
            sse::SseEvent,
        },
    };
    use proptest::prelude::*;
    use std::borrow::Cow;

    const FIRST: [&str; 4] = [
        r#"{"type":"response.created","response":{"id":"r","model":"m","created_at":1}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"a","name":"f"}}"#,
        r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"reasoning"}}"#,
    ];
    const LAST: [&str; 2] = [
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","call_id":"a","name":"f","arguments":"{}"}}"#,
        r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"all"}]}],"usage":{"input_tokens":1,"output_tokens":2}}}"#,
    ];

    fn event() -> impl Strategy<Value = String> {
        const KINDS: [&str; 9] = [
            "\"response.output_text.delta\"",
            "\"response.refusal.delta\"",
            "\"response.function_call_arguments.delta\"",
            "\"response.reasoning_summary_text.delta\"",
            "\"response.reasoning_text.delta\"",
            "\"response.nobody_knows.delta\"",
            "\"response.output_text.done\"",
            "\"response.failed\"",
            "\"output_text.delta\"",
        ];
        object(vec![
            ("type", of(&KINDS)),
            ("output_index", of(&["0", "1", "2", "3"])),
            ("delta", said()),
            ("logprobs", of(&["[]", "null", "[{\"token\":\"a\"}]"])),
            ("summary_index", of(&["0"])),
            ("sequence_number", of(&["7", "[1e5]"])),
            ("response", of(&["null", "{}"])),
        ])
    }

    /// What each of two readers makes of the same events.
    fn read(all: &[String], name: Option<&[u8]>, quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::Sse);
        let all = all.iter().map(|data| (name, data.as_str()));
        let unnamed = |data| (None, data);
        outcome(
            FIRST
                .map(unnamed)
                .into_iter()
                .chain(all)
                .chain(LAST.map(unnamed)),
            |(event, data), events| {
                let data = Cow::Borrowed(data.as_bytes());
                let event = SseEvent { event, data };
                match quick {
                    true => decoder.event(&event, &event.data, events),
                    false => decoder.any(&event, &event.data, events),
                }
            },
        )
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree() {
        for name in [
            None,
            Some(&b"response.output_text.delta"[..]),
            Some(b"error"),
        ] {
            agree(event(), |all, quick| read(all, name, quick));
        }
    }

    #[test]
    fn what_the_vendor_writes_is_read_quickly() {
        for data in [
            r#"{"type":"response.output_text.delta","sequence_number":7,"item_id":"m","output_index":0,"content_index":0,"delta":" word","logprobs":[],"obfuscation":"0123456789"}"#,
            r#"{"type":"response.function_call_arguments.delta","sequence_number":7,"item_id":"m","output_index":1,"delta":"{\"a\":","obfuscation":"0"}"#,
        ] {
            assert!(super::read(data.as_bytes()).is_some(), "{data}");
        }
    }
}
