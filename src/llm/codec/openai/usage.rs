//! What was used: read with every vendor's arithmetic, found in passing, taken out again.

use super::super::{Framing, skim, sse};
use crate::llm::Usage;
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, json};
use std::{fmt, sync::LazyLock};

/// A number of tokens. Vendors are not believed: what is negative is nothing, what is no number is
/// not there, and what is too large is as large as can be.
#[derive(Clone, Copy, Debug, Default)]
struct Count(Option<u64>);

impl Count {
    /// Digits, given once, and what stands after them; `None` for what must be looked at more closely.
    fn read<'a>(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (count, rest) = skim::digits(text)?;
        self.0.replace(count).is_none().then_some(rest)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
        Ok(Count(Some(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Count, E> {
        Ok(Count(Some(value.try_into().unwrap_or(0))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Count, E> {
        // Saturates, and is zero for what is no number.
        Ok(Count(Some(value as u64)))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

/// `usage` on the wire.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// DeepSeek's name for it.
    prompt_cache_hit_tokens: Count,
    /// Where some have it, beside the details.
    reasoning_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    cache_write_tokens: Count,
    reasoning_tokens: Count,
    audio_tokens: Count,
}

impl From<Wire> for Usage {
    fn from(wire: Wire) -> Self {
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        let completion = wire.completion_tokens_details.unwrap_or_default();
        let input = wire.prompt_tokens.0.unwrap_or(0);
        let output = wire.completion_tokens.0.unwrap_or(0);
        let mut usage = Usage::new(input, output);
        usage.cache_read = prompt.cached_tokens.0.or(wire.prompt_cache_hit_tokens.0);
        usage.cache_write = prompt.cache_write_tokens.0;
        usage.reasoning = completion.reasoning_tokens.0.or(wire.reasoning_tokens.0);
        usage.audio_input = prompt.audio_tokens.0;
        usage.audio_output = completion.audio_tokens.0;
        // What is in the total and in neither part was used all the same. It is the audio where a
        // vendor counts that apart, and else what was thought, shown in a field or not.
        let total = wire.total_tokens.0.unwrap_or(0);
        let apart = total.saturating_sub(usage.total());
        if apart > 0 && usage.audio_input == Some(apart) && usage.reasoning != Some(apart) {
            usage.input += apart;
        } else {
            usage.output += apart;
        }
        usage
    }
}

/// `usage` as it is written.
pub(super) fn write(usage: &Usage) -> Value {
    let mut out = json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
    });
    let mut put = |details: &str, key: &str, count: Option<u64>| {
        if let Some(count) = count {
            out[details][key] = count.into();
        }
    };
    put("prompt_tokens_details", "cached_tokens", usage.cache_read);
    put(
        "prompt_tokens_details",
        "cache_write_tokens",
        usage.cache_write,
    );
    put("prompt_tokens_details", "audio_tokens", usage.audio_input);
    put(
        "completion_tokens_details",
        "reasoning_tokens",
        usage.reasoning,
    );
    put(
        "completion_tokens_details",
        "audio_tokens",
        usage.audio_output,
    );
    out
}

/// Where in a chunk, or in a document, usage stands.
#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    usage: Option<Wire>,
    #[serde(default)]
    x_groq: Option<Groq>,
    #[serde(default)]
    choices: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
pub(super) struct Groq {
    #[serde(default)]
    pub(super) usage: Option<Wire>,
}

static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Whether something stands under the name of usage somewhere. `null` does in every chunk of a stream
/// that will tell it. What a model says cannot look like this: its quotes are escaped.
fn may_have_usage(data: &[u8]) -> bool {
    KEY.find_iter(data).any(|at| {
        let value = data[at + KEY.needle().len()..].trim_ascii_start();
        let value = value.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| !value.starts_with(b"null"))
    })
}

fn holder(data: &[u8]) -> Option<Holder> {
    if !may_have_usage(data) {
        return None;
    }
    serde_json::from_slice(data).ok()
}

/// The usage of a document that has it near its end, as most vendors do: what stands before is not
/// read. It is a field of the document itself if what follows it closes the document and no more.
fn near_the_end(data: &[u8]) -> Option<Usage> {
    const TAIL: usize = 1024;
    let at = last_key(data)?;
    let value = data[at + KEY.needle().len()..].trim_ascii_start();
    let value = value.strip_prefix(b":")?;
    let (wire, tail) = plain(value).or_else(|| {
        let mut values = serde_json::Deserializer::from_slice(value).into_iter::<Wire>();
        let wire = values.next()?.ok()?;
        Some((wire, value.get(values.byte_offset()..)?))
    })?;
    if tail.len() > TAIL {
        return None;
    }
    let after = skim::rest_of_object(tail, |_, _| Some(())).or_else(|| {
        let whole = [b"{\"\":0", tail].concat();
        let whole: Result<IgnoredAny, _> = serde_json::from_slice(&whole);
        whole.ok().map(|_| &b""[..])
    })?;
    skim::is_blank(after).then(|| wire.into())
}

/// Where the key stands last, if that is not within a text: there its first quote is escaped.
fn last_key(data: &[u8]) -> Option<usize> {
    // Forwards it is found many bytes at a time.
    let near = data.len().saturating_sub(1024);
    let at = KEY.find_iter(&data[near..]).last().map(|at| near + at);
    let at = at.or_else(|| memchr::memmem::rfind(data, KEY.needle()))?;
    let escaped = at
        .checked_sub(1)
        .is_some_and(|before| data[before] == b'\\');
    (!escaped).then_some(at)
}

/// Usage as it mostly is, and what follows it: an object that gives each count once, as digits alone.
pub(super) fn plain(value: &[u8]) -> Option<(Wire, &[u8])> {
    let mut wire = Wire::default();
    let rest = skim::fields(value, |name, text| {
        let count = match name {
            b"prompt_tokens" => &mut wire.prompt_tokens,
            b"completion_tokens" => &mut wire.completion_tokens,
            b"total_tokens" => &mut wire.total_tokens,
            b"prompt_cache_hit_tokens" => &mut wire.prompt_cache_hit_tokens,
            b"reasoning_tokens" => &mut wire.reasoning_tokens,
            b"prompt_tokens_details" => {
                return details(&mut wire.prompt_tokens_details, text);
            }
            b"completion_tokens_details" => {
                return details(&mut wire.completion_tokens_details, text);
            }
            _ => return skim::skip(text),
        };
        count.read(text)
    })?;
    Some((wire, rest))
}

fn details<'a>(details: &mut Option<Details>, text: &'a [u8]) -> Option<&'a [u8]> {
    if details.is_some() {
        return None;
    }
    let found = details.insert(Details::default());
    skim::fields(text, |name, text| match name {
        b"cached_tokens" => found.cached_tokens.read(text),
        b"cache_write_tokens" => found.cache_write_tokens.read(text),
        b"reasoning_tokens" => found.reasoning_tokens.read(text),
        b"audio_tokens" => found.audio_tokens.read(text),
        _ => skim::skip(text),
    })
}

/// The last usage in whole events, or in a document.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Option<Usage> {
    let found = |data: &[u8]| {
        let holder = holder(data)?;
        let usage = holder.usage.or(holder.x_groq.and_then(|groq| groq.usage));
        usage.map(Usage::from)
    };
    match framing {
        Framing::Json
        | Framing::Array
        | Framing::EventStream
        | Framing::Ndjson
        | Framing::Opaque => near_the_end(raw).or_else(|| found(raw)),
        Framing::Sse if !may_have_usage(raw) => None,
        Framing::Sse => {
            let events = sse::events(raw);
            events.filter_map(|event| found(&event.data)).last()
        }
    }
}

/// Whole events without those that hold usage and no choice.
pub(super) fn without(raw: Bytes) -> Bytes {
    if !may_have_usage(&raw) {
        return raw;
    }
    let only_usage = |data: &[u8]| {
        let holder = holder(data);
        holder.is_some_and(|holder| {
            holder.usage.is_some() && holder.choices.is_some_and(|choices| choices.is_empty())
        })
    };
    let mut events = sse::events(&raw);
    let mut from = 0;
    let mut kept: Vec<std::ops::Range<usize>> = Vec::new();
    while let Some(event) = events.next() {
        let end = raw.len() - events.rest().len();
        if !only_usage(&event.data) {
            match kept.last_mut() {
                Some(last) if last.end == from => last.end = end,
                _ => kept.push(from..end),
            }
        }
        from = end;
    }
    if from < raw.len() {
        match kept.last_mut() {
            Some(last) if last.end == from => last.end = raw.len(),
            _ => kept.push(from..raw.len()),
        }
    }
    match &kept[..] {
        [] => Bytes::new(),
        [one] => raw.slice(one.clone()),
        kept => {
            let mut out = BytesMut::with_capacity(raw.len());
            kept.iter()
                .for_each(|span| out.extend_from_slice(&raw[span.clone()]));
            out.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader finds that reads all of it.
    fn read_whole(text: &str) -> Option<Usage> {
        let holder = serde_json::from_str::<Holder>(text).ok()?;
        holder.usage.map(Usage::from)
    }

    fn count() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => any::<u32>().prop_map(|count| count.to_string()),
            1 => prop::sample::select(vec!["null", "-1", "1.5", "1e3", "\"7\"", "[1]", "{}", "true", "99999999999999999999"])
                .prop_map(str::to_owned),
        ]
    }

    proptest! {
        #[test]
        fn the_quick_reader_of_usage_and_the_whole_one_agree(
            counts in prop::collection::vec((0..8_usize, count()), 0..6),
            details in prop::option::of(prop::collection::vec((0..4_usize, count()), 0..4)),
            tail in prop::sample::select(vec!["}", " }\n", ",\"x\":[\"}\"]}", ",\"x\":1", "}}", ",\"usage\":1}"]),
        ) {
            let names = ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens",
                "reasoning_tokens", "other", "prompt_tokens_details", "completion_tokens_details"];
            let inner = ["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens"];
            let mut fields: Vec<_> = counts.iter().map(|(name, count)| format!("\"{}\": {count}", names[*name])).collect();
            if let Some(details) = details {
                let details: Vec<_> = details.iter().map(|(name, count)| format!("\"{}\":{count}", inner[*name])).collect();
                fields.push(format!("\"prompt_tokens_details\":{{{}}}", details.join(",")));
            }
            let text = format!("{{\"id\":\"a\",\"usage\" : {{{}}}{tail}", fields.join(","));
            if let Some(quick) = near_the_end(text.as_bytes()) {
                prop_assert_eq!(Some(quick), read_whole(&text), "{}", text);
            }
        }
    }

    #[test]
    fn usual_usage_is_read_quickly() {
        let text = br#"{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,
            "prompt_tokens_details":{"cached_tokens":0,"other":null},"completion_tokens_details":{}},"service_tier":"default"}"#;
        let (wire, rest) = plain(text).unwrap();
        assert_eq!(Usage::from(wire).total(), 21);
        assert_eq!(rest, br#","service_tier":"default"}"#);
    }
}
