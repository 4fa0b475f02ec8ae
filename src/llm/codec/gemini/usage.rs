//! What was used. The vendor counts thoughts apart from the answer, and what its own tools read apart
//! from the prompt; here each is a part of the whole.

use super::array;
use crate::llm::{
    Usage,
    codec::{Framing, skim, sse, translation::put},
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

/// `usageMetadata`, read.
pub(super) fn read(told: &Value) -> Option<Usage> {
    if !told.is_object() {
        return None;
    }
    let sum =
        |one: Option<u64>, two: Option<u64>| one.unwrap_or(0).saturating_add(two.unwrap_or(0));
    let thoughts = count(told, "thoughtsTokenCount");
    let input = sum(
        count(told, "promptTokenCount"),
        count(told, "toolUsePromptTokenCount"),
    );
    // Vertex's name for it in streams of speech.
    let answered = count(told, "candidatesTokenCount").or(count(told, "responseTokenCount"));
    let mut usage = Usage::new(input, sum(answered, thoughts));
    usage.cache_read = count(told, "cachedContentTokenCount");
    usage.reasoning = thoughts;
    let audio = |details: &str| {
        let all = told.get(details)?.as_array()?;
        let mut audio = all
            .iter()
            .filter(|one| one.get("modality").is_some_and(|of| of == "AUDIO"));
        count(audio.next()?, "tokenCount")
    };
    usage.audio_input = audio("promptTokensDetails");
    usage.audio_output = audio("candidatesTokensDetails");
    // What is in the total and in neither part was used all the same.
    let total = count(told, "totalTokenCount").unwrap_or(0);
    usage.output = usage
        .output
        .saturating_add(total.saturating_sub(usage.total()));
    Some(usage)
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

/// The last usage in whole events or elements, or in a document.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Option<Usage> {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usageMetadata\""));
    // What a model says cannot look like this: its quotes are escaped.
    KEY.find(raw)?;
    let found = |data: &[u8]| {
        KEY.find(data)?;
        of_document(data)
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
        (Some(_), found) => serde_json::from_slice(found?).ok()?,
        (None, _) => serde_json::from_slice::<Holder>(raw).ok()?.usage_metadata?,
    };
    read(&told)
}
