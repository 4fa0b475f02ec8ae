//! A chunk that adds text to one choice, read in one pass: see [`plain`](crate::llm::codec::plain).

use crate::llm::{
    Usage,
    codec::{
        openai::usage,
        plain::{Nulls, Once, Read},
        skim,
    },
};
use std::borrow::Cow;

/// What it says.
#[derive(Default)]
pub(super) struct Plain<'a> {
    pub(super) choice: u32,
    pub(super) said: Said<'a>,
    pub(super) usage: Option<Usage>,
}

/// What is added to a message, in the order in which it is told.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) thought: Option<Cow<'a, str>>,
    pub(super) text: Option<Cow<'a, str>>,
    pub(super) refusal: Option<Cow<'a, str>>,
}

/// Nothing, if it says anything else.
pub(super) fn read(data: &[u8]) -> Option<Plain<'_>> {
    let (mut choice, mut count, mut object) = (Once::default(), Once::default(), Once::default());
    let mut nulls = Nulls::default();
    let rest = skim::fields(data, |name, text| match name {
        b"choices" => choice.read(text, |text| {
            let mut only = Once::default();
            let rest = skim::elements(text, |text| only.read(text, one))?;
            Some((only.get()?, rest))
        }),
        b"object" => object.read(text, skim::text),
        b"usage" => count.or_null(text, usage::plain),
        b"error" | b"x_groq" => nulls.skip(&["error", "x_groq"], name, text),
        _ => skim::skip(text),
    })?;
    if !skim::is_blank(rest) || object.get().is_some_and(|object| object == "error") {
        return None;
    }
    let (choice, said) = choice.get()?;
    Some(Plain {
        choice,
        said,
        usage: count.get().map(Into::into),
    })
}

/// A choice.
fn one(text: &[u8]) -> Read<'_, (u32, Said<'_>)> {
    const KNOWN: [&str; 3] = ["finish_reason", "message", "text"];
    let (mut index, mut said) = (Once::default(), Once::default());
    let mut nulls = Nulls::default();
    let rest = skim::fields(text, |name, text| match name {
        b"index" => index.or_null(text, skim::digits),
        b"delta" => said.read(text, delta),
        // Of all else, what says something is kept.
        _ => nulls.skip(&KNOWN, name, text),
    })?;
    let choice = u32::try_from(index.get().unwrap_or(0)).ok()?;
    Some(((choice, said.get()?), rest))
}

fn delta(text: &[u8]) -> Read<'_, Said<'_>> {
    const KNOWN: [&str; 4] = ["tool_calls", "function_call", "audio", "reasoning_details"];
    let (mut content, mut refusal) = (Once::default(), Once::default());
    let (mut thought, mut other) = (Once::default(), Once::default());
    let (mut role, mut nulls) = (Once::default(), Nulls::default());
    let rest = skim::fields(text, |name, text| match name {
        b"content" => content.or_null(text, skim::text),
        b"reasoning_content" => thought.or_null(text, skim::text),
        b"reasoning" => other.or_null(text, skim::text),
        b"refusal" => refusal.or_null(text, skim::text),
        b"role" => role.read(text, |text| Some(((), skim::scalar(text)?))),
        _ => nulls.skip(&KNOWN, name, text),
    })?;
    let said = Said {
        // The same thought may stand in several places. It is read in one.
        thought: thought.get().or(other.get()),
        text: content.get(),
        refusal: refusal.get(),
    };
    Some((said, rest))
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

    const FIRST: &[u8] = br#"{"id":"c","model":"m","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;

    fn chunk() -> impl Strategy<Value = String> {
        let delta = object(vec![
            ("content", said()),
            ("role", of(&["\"assistant\"", "null"])),
            ("reasoning_content", said()),
            ("reasoning", said()),
            ("refusal", of(&["null", "\"no\""])),
            (
                "tool_calls",
                of(&[
                    "null",
                    "[]",
                    r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
                ]),
            ),
        ]);
        let choice = object(vec![
            ("index", of(&["0", "1"])),
            ("delta", delta),
            ("logprobs", of(&["null", "null", r#"{"content":[]}"#])),
            ("finish_reason", of(&["null", "null", "null", "\"stop\""])),
        ]);
        let choices = (choice.clone(), prop::option::weighted(0.1, choice)).prop_map(
            |(one, two)| match two {
                Some(two) => format!("[{one}, {two}]"),
                None => format!("[ {one} ]"),
            },
        );
        object(vec![
            ("id", of(&["\"c\""])),
            (
                "object",
                of(&["\"chat.completion.chunk\"", "\"error\"", "null"]),
            ),
            ("created", of(&["1"])),
            ("choices", choices.boxed()),
            (
                "usage",
                of(&[
                    "null",
                    "null",
                    r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}"#,
                ]),
            ),
            ("obfuscation", of(&["\"x\"", "[{\"a\":[1e5]}]"])),
        ])
    }

    /// What each of two readers makes of the same chunks.
    fn read(chunks: &[String], quick: bool) -> (Vec<Event>, String) {
        let mut decoder = Decoder::new(Operation::Chat, Framing::Sse);
        outcome(
            [FIRST]
                .into_iter()
                .chain(chunks.iter().map(String::as_bytes)),
            |data, events| match quick {
                true => decoder.data(data, events),
                false => decoder.chunk(data, events),
            },
        )
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree() {
        agree(chunk(), read);
    }

    #[test]
    fn what_vendors_write_is_read_quickly() {
        for data in [
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":null,"reasoning_content":"so"},"logprobs":null,"finish_reason":null}]}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"a\n"}}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        ] {
            assert!(super::read(data.as_bytes()).is_some(), "{data}");
        }
    }
}
