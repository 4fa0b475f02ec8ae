//! A chunk that adds text to one choice, read in one pass: see [`plain`](crate::llm::codec::plain).

use crate::llm::{
    Usage,
    codec::{
        gemini::usage,
        plain::{Once, Read},
        skim,
    },
};
use std::borrow::Cow;

/// What it says.
pub(super) struct Plain<'a> {
    pub(super) choice: u32,
    /// Nothing, if the only part says nothing.
    pub(super) part: Option<Part<'a>>,
    pub(super) usage: Option<Usage>,
}

/// A part.
pub(super) struct Part<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether it is a thought.
    pub(super) thought: bool,
}

/// Nothing, if it says anything else.
pub(super) fn read(data: &[u8]) -> Option<Plain<'_>> {
    let (mut choice, mut count) = (Once::default(), Once::default());
    let rest = skim::fields(data, |name, text| match name {
        b"candidates" => choice.read(text, |text| only(text, candidate)),
        b"usageMetadata" => count.read(text, usage::plain),
        b"error" | b"promptFeedback" => None,
        _ => skim::scalar(text),
    })?;
    let (choice, part) = choice.get().filter(|_| skim::is_blank(rest))?;
    Some(Plain {
        choice,
        part,
        usage: count.get(),
    })
}

/// The one element of an array.
fn only<'a, T>(text: &'a [u8], read: fn(&'a [u8]) -> Read<'a, T>) -> Read<'a, T> {
    let mut only = Once::default();
    let rest = skim::elements(text, |text| only.read(text, read))?;
    Some((only.get()?, rest))
}

fn candidate(text: &[u8]) -> Read<'_, (u32, Option<Part<'_>>)> {
    let (mut index, mut said) = (Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"index" => index.read(text, skim::digits),
        b"content" => said.read(text, content),
        // Why it ended, and what is kept.
        _ => None,
    })?;
    let choice = u32::try_from(index.get().unwrap_or(0)).ok()?;
    Some(((choice, said.get()?), rest))
}

fn content(text: &[u8]) -> Read<'_, Option<Part<'_>>> {
    let mut parts = Once::default();
    let rest = skim::fields(text, |name, text| match name {
        b"parts" => parts.read(text, |text| only(text, part)),
        _ => skim::scalar(text),
    })?;
    Some((parts.get()?, rest))
}

fn part(text: &[u8]) -> Read<'_, Option<Part<'_>>> {
    let (mut said, mut thought) = (Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| match name {
        b"text" => said.read(text, skim::text),
        b"thought" => thought.read(text, |text| {
            let thought = text.starts_with(b"true");
            Some((thought, skim::scalar(text)?))
        }),
        // Its proof, and what is no text.
        _ => None,
    })?;
    let (text, thought) = (said.get()?, thought.get().unwrap_or(false));
    let part = (!text.is_empty()).then_some(Part { text, thought });
    Some((part, rest))
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

    const FIRST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"index":1,"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}],"responseId":"r","modelVersion":"m"}"#;
    const LAST: &str =
        r#"{"candidates":[{"finishReason":"STOP"},{"index":1,"finishReason":"STOP"}]}"#;

    fn usage() -> BoxedStrategy<String> {
        let counts = || of(&["0", "9", "200"]);
        let details = || {
            let one = object(vec![
                ("modality", of(&["\"TEXT\"", "\"AUDIO\""])),
                ("tokenCount", counts()),
            ]);
            let all = prop::collection::vec(one, 0..3);
            all.prop_map(|all| format!("[{}]", all.join(","))).boxed()
        };
        object(vec![
            ("promptTokenCount", counts()),
            ("candidatesTokenCount", counts()),
            ("totalTokenCount", counts()),
            ("thoughtsTokenCount", counts()),
            ("cachedContentTokenCount", counts()),
            ("responseTokenCount", counts()),
            ("promptTokensDetails", details()),
            ("candidatesTokensDetails", details()),
            ("cacheTokensDetails", details()),
            ("trafficType", of(&["\"ON_DEMAND\""])),
        ])
    }

    fn chunk() -> impl Strategy<Value = String> {
        let part = object(vec![
            ("text", said()),
            ("thought", of(&["true", "false"])),
            ("thoughtSignature", of(&["\"proof\"", "\"\""])),
        ]);
        let plain = said().prop_map(|text| format!(r#"{{"text":{text}}}"#));
        let part = prop_oneof![1 => part, 3 => plain];
        let parts =
            prop::collection::vec(part, 1..3).prop_map(|parts| format!("[{}]", parts.join(",")));
        let content = object(vec![("parts", parts.boxed()), ("role", of(&["\"model\""]))]);
        let candidate = object(vec![("content", content), ("index", of(&["0", "1", "2"]))]);
        let last = object(vec![("finishReason", of(&["\"STOP\"", "\"OTHER\"", "1"]))]);
        let candidate = prop_oneof![6 => candidate, 1 => last];
        let candidates =
            prop::collection::vec(candidate, 1..3).prop_map(|all| format!("[{}]", all.join(" , ")));
        object(vec![
            ("candidates", candidates.boxed()),
            ("usageMetadata", usage()),
            ("modelVersion", of(&["\"m\""])),
            ("responseId", of(&["\"r\""])),
        ])
    }

    /// What each of two readers makes of the same chunks.
    fn read(all: &[String], quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::Sse);
        let all = all.iter().map(String::as_str);
        outcome(
            [FIRST].into_iter().chain(all).chain([LAST]),
            |data, events| match quick {
                true => decoder.chunk(data.as_bytes(), events),
                false => decoder.any(data.as_bytes(), events),
            },
        )
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree() {
        agree(chunk(), read);
    }

    #[test]
    fn what_the_vendor_writes_is_read_quickly() {
        for data in [
            r#"{"candidates":[{"content":{"parts":[{"text":" word"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11,"promptTokensDetails":[{"modality":"TEXT","tokenCount":9}]},"modelVersion":"m","responseId":"r"}"#,
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"so\n","thought":true}]}}],"usageMetadata":{"promptTokenCount":9,"trafficType":"ON_DEMAND"},"modelVersion":"m","createTime":"2026","responseId":"r"}"#,
        ] {
            assert!(super::read(data.as_bytes()).is_some(), "{data}");
        }
    }
}
