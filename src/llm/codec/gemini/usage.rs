//! What was used. The vendor counts thoughts apart from the answer, and what its own tools read apart
//! from the prompt; here each is a part of the whole.

use super::array;
use crate::llm::{
    Usage,
    codec::{Framing, plain::Once, skim, sse, translation::put},
};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Vendors are not believed: what is negative is nothing, and what is too large is as large as can be.
fn count(of: &Value, key: &str) -> Option<u64> {
    let number = of.get(key)?.as_number()?;
    number
        .as_u64()
        .or_else(|| number.as_f64().map(|float| float as u64))
}

/// The counts of `usageMetadata`, as they are told.
#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    /// What its own tools read.
    tools: Option<u64>,
    answered: Option<u64>,
    /// Vertex's name for it in streams of speech.
    spoken: Option<u64>,
    thoughts: Option<u64>,
    cached: Option<u64>,
    total: Option<u64>,
    audio_input: Option<u64>,
    audio_output: Option<u64>,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let sum =
            |one: Option<u64>, two: Option<u64>| one.unwrap_or(0).saturating_add(two.unwrap_or(0));
        let input = sum(counts.prompt, counts.tools);
        let answered = counts.answered.or(counts.spoken);
        let mut usage = Usage::new(input, sum(answered, counts.thoughts));
        usage.cache_read = counts.cached;
        usage.reasoning = counts.thoughts;
        usage.audio_input = counts.audio_input;
        usage.audio_output = counts.audio_output;
        // What is in the total and in neither part was used all the same.
        let total = counts.total.unwrap_or(0);
        usage.output = usage
            .output
            .saturating_add(total.saturating_sub(usage.total()));
        usage
    }
}

/// `usageMetadata`, read.
pub(super) fn read(told: &Value) -> Option<Usage> {
    if !told.is_object() {
        return None;
    }
    let audio = |details: &str| {
        let all = told.get(details)?.as_array()?;
        let mut audio = all
            .iter()
            .filter(|one| one.get("modality").is_some_and(|of| of == "AUDIO"));
        count(audio.next()?, "tokenCount")
    };
    let counts = Counts {
        prompt: count(told, "promptTokenCount"),
        tools: count(told, "toolUsePromptTokenCount"),
        answered: count(told, "candidatesTokenCount"),
        spoken: count(told, "responseTokenCount"),
        thoughts: count(told, "thoughtsTokenCount"),
        cached: count(told, "cachedContentTokenCount"),
        total: count(told, "totalTokenCount"),
        audio_input: audio("promptTokensDetails"),
        audio_output: audio("candidatesTokensDetails"),
    };
    Some(counts.into())
}

/// `usageMetadata` as it mostly is, and what follows it: each count once, as digits alone.
pub(super) fn plain(text: &[u8]) -> Option<(Usage, &[u8])> {
    let mut counts = Counts::default();
    let (mut input, mut output) = (Once::default(), Once::default());
    let rest = skim::fields(text, |name, text| {
        let count = match name {
            b"promptTokenCount" => &mut counts.prompt,
            b"toolUsePromptTokenCount" => &mut counts.tools,
            b"candidatesTokenCount" => &mut counts.answered,
            b"responseTokenCount" => &mut counts.spoken,
            b"thoughtsTokenCount" => &mut counts.thoughts,
            b"cachedContentTokenCount" => &mut counts.cached,
            b"totalTokenCount" => &mut counts.total,
            b"promptTokensDetails" => return input.read(text, audio),
            b"candidatesTokensDetails" => return output.read(text, audio),
            _ if text.starts_with(b"[") => return audio(text).map(|(_, rest)| rest),
            _ => return skim::scalar(text),
        };
        let (told, rest) = skim::digits(text)?;
        count.replace(told).is_none().then_some(rest)
    })?;
    counts.audio_input = input.get().flatten();
    counts.audio_output = output.get().flatten();
    Some((counts.into(), rest))
}

/// What of a list of counts is sound: `[{"modality":"AUDIO","tokenCount":3}]`.
fn audio(text: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let mut found = None;
    let rest = skim::elements(text, |text| {
        let (mut modality, mut count) = (Once::default(), Once::default());
        let rest = skim::fields(text, |name, text| match name {
            b"modality" => modality.read(text, skim::text),
            b"tokenCount" => count.read(text, skim::digits),
            _ => skim::scalar(text),
        })?;
        if modality.get().is_some_and(|modality| modality == "AUDIO") {
            found.get_or_insert(count.get());
        }
        Some(rest)
    })?;
    Some((found.flatten(), rest))
}

/// `usageMetadata`, written.
pub(super) fn write(usage: &Usage) -> Value {
    let thoughts = usage.reasoning.unwrap_or(0).min(usage.output);
    let mut out = Map::new();
    out.insert("promptTokenCount".into(), usage.input.into());
    out.insert(
        "candidatesTokenCount".into(),
        (usage.output - thoughts).into(),
    );
    out.insert("totalTokenCount".into(), usage.total().into());
    put(&mut out, "cachedContentTokenCount", usage.cache_read);
    put(
        &mut out,
        "thoughtsTokenCount",
        usage.reasoning.map(|_| thoughts),
    );
    let audio = |count| serde_json::json!([{"modality": "AUDIO", "tokenCount": count}]);
    put(
        &mut out,
        "promptTokensDetails",
        usage.audio_input.map(audio),
    );
    put(
        &mut out,
        "candidatesTokensDetails",
        usage.audio_output.map(audio),
    );
    out.into()
}

static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usageMetadata\""));

/// The last usage in whole events or elements, or in a document.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Option<Usage> {
    let found = |data: &[u8]| {
        // What a model says cannot look like this: its quotes are escaped.
        let at = KEY.find(data)?;
        near_the_end(data, at).or_else(|| of_document(data))
    };
    match framing {
        Framing::Json | Framing::EventStream | Framing::Ndjson | Framing::Opaque => found(raw),
        Framing::Array => array::elements(raw).filter_map(found).last(),
        Framing::Sse => {
            let events = sse::events(sse::without_bom(raw));
            events.filter_map(|event| found(&event.data)).last()
        }
    }
}

/// The usage of a document that has it behind all that is long, as the vendor does: what stands before is
/// not read. It is a field of the document itself if what follows it closes the document and no more.
fn near_the_end(data: &[u8], at: usize) -> Option<Usage> {
    let value = data[at + KEY.needle().len()..].strip_prefix(b":")?;
    let (usage, rest) = plain(value.trim_ascii_start())?;
    let end = skim::rest_of_object(rest, |name, _| (name != b"usageMetadata").then_some(()))?;
    skim::is_blank(end).then_some(usage)
}

/// The field of a document, without a parse of what the model said.
fn of_document(raw: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Holder {
        #[serde(default)]
        usage_metadata: Option<Value>,
    }
    let mut found = None;
    let skimmed = skim::object(raw, |name, value| {
        if name == b"usageMetadata" {
            found = Some(value);
        }
        Some(())
    });
    let told: Value = match (skimmed, found) {
        (Some(_), found) => match plain(found?) {
            Some((usage, [])) => return Some(usage),
            _ => serde_json::from_slice(found?).ok()?,
        },
        (None, _) => serde_json::from_slice::<Holder>(raw).ok()?.usage_metadata?,
    };
    read(&told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::codec::plain::tests::{object, of};
    use proptest::prelude::*;

    fn document() -> impl Strategy<Value = String> {
        let usage = object(vec![
            ("promptTokenCount", of(&["9", "0"])),
            ("candidatesTokenCount", of(&["200", "1.5"])),
            (
                "promptTokensDetails",
                of(&[r#"[{"modality":"AUDIO","tokenCount":3}]"#]),
            ),
        ]);
        let said = of(&[
            r#"[{"content":{"parts":[{"text":"\"usageMetadata\":{\"promptTokenCount\":1}}"}]}}]"#,
            r#"[{"usageMetadata":{"promptTokenCount":7}}]"#,
            "[]",
        ]);
        object(vec![
            ("candidates", said),
            ("usageMetadata", usage),
            ("modelVersion", of(&["\"m\""])),
            ("responseId", of(&["\"r\"", "[{\"usageMetadata\":{}}]"])),
        ])
    }

    proptest! {
        /// Of what is JSON: the quick one does not look at what stands before.
        #[test]
        fn the_quick_reader_of_usage_and_the_whole_one_agree(text in document()) {
            if serde_json::from_str::<Value>(&text).is_ok()
                && let Some(at) = KEY.find(text.as_bytes())
                && let Some(quick) = near_the_end(text.as_bytes(), at)
            {
                prop_assert_eq!(Some(quick), of_document(text.as_bytes()), "{}", text);
            }
        }
    }

    #[test]
    fn usual_usage_is_read_quickly() {
        let text =
            br#"{"candidates":[],"usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 11,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]}, "modelVersion": "m"}"#;
        let at = KEY.find(text).unwrap();
        assert_eq!(near_the_end(text, at).map(|usage| usage.total()), Some(11));
    }
}
