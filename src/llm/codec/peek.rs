//! What a gateway must know of a request before it sends it on, and the edits it makes to its bytes.

use super::{
    Ask, skim,
    value::{Path, not_json},
};
use crate::{
    Rejection,
    json::TWICE,
    llm::{ChatRequest, Operation, Protocol, Wire, prompted},
    rejection::Kind,
};
use bytes::{Bytes, BytesMut};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, fmt};

/// Reads the model's name, `stream` and `stream_options`, unless the path has told them. The rest is
/// only checked to be JSON, no field of which stands there twice.
pub(super) fn peek(protocol: Protocol, ask: &Ask, bytes: &Bytes) -> Result<ChatRequest, Rejection> {
    let found = match plain(bytes) {
        Some(found) => found,
        None => {
            let text = std::str::from_utf8(bytes);
            find(text.map_err(|error| not_utf8(bytes, error.valid_up_to()))?)?
        }
    };
    let span = |raw: &str| {
        let start = raw.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + raw.len()
    };
    let model: Cow<'_, str> = match (&ask.model, found.model) {
        (Some(model), _) => Cow::Borrowed(model),
        // The prompt may name one.
        (None, None | Some("null"))
            if found.prompt.is_some() && prompted::may_name(ask.operation) =>
        {
            Cow::Borrowed("")
        }
        (None, Some(raw)) => match without_escapes(raw) {
            Some(model) => Cow::Borrowed(model),
            None => serde_json::from_str(raw)
                .map_err(|_| Path::Root.key("model").fault("Expected a string."))?,
        },
        (None, None) => match ask.operation {
            Operation::Passthrough(asked) if asked.default_model().is_some() => {
                Cow::Borrowed(asked.default_model().unwrap_or_default())
            }
            _ => return Err(Path::Root.key("model").fault("A model is required.")),
        },
    };
    let stream = match (ask.stream, found.stream) {
        (Some(stream), _) => stream,
        (None, Some("true")) => true,
        (None, Some("false" | "null") | None) => false,
        (None, Some(_)) => return Err(Path::Root.key("stream").fault("Expected true or false.")),
    };
    let mut wire = Wire::new(protocol, bytes.clone());
    wire.query = ask.query;
    wire.names_others = found.others.is_some_and(|others| others != "null");
    if ask.model.is_none() {
        wire.model = found.model.map(span);
    }
    if prompted::may_name(ask.operation) {
        wire.prompt = found.prompt.map(span);
    }
    // Only one protocol has a stream without usage.
    let mut include_usage = true;
    if protocol == Protocol::OpenAi {
        let options = found.options.map(options).transpose()?;
        include_usage = options.is_some_and(|options| wants_usage(&options));
        wire.stream_options = found.options.map(span);
    }
    let streams = matches!(ask.operation, Operation::Chat | Operation::Completions);
    Ok(ChatRequest::from_wire(
        ask.operation,
        &model,
        stream && streams,
        include_usage,
        wire,
    ))
}

/// What a JSON text says that is a string of plain characters.
fn without_escapes(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// The client's own bytes, with the model's name and the wish for usage put in their places.
pub(super) fn splice(request: &ChatRequest, wire: &Wire) -> Result<Bytes, Rejection> {
    let name = json(&**request.model());
    let rename = wire
        .model
        .clone()
        .filter(|span| wire.bytes.get(span.clone()) != Some(&name[..]))
        .map(|span| (span, Cow::Owned(name)));
    let ask = match &wire.stream_options {
        _ if !request.streams() || request.includes_usage() => None,
        Some(span) => {
            let raw = wire.bytes.get(span.clone()).unwrap_or(b"null");
            let mut options: Map<String, Value> = serde_json::from_slice::<Option<_>>(raw)
                .map_err(|error| not_json(&error))?
                .unwrap_or_default();
            options.insert(INCLUDE_USAGE.into(), true.into());
            Some((span.clone(), Cow::Owned(json(&options))))
        }
        None => {
            let text = br#","stream_options":{"include_usage":true}"#;
            let after = wire.model.as_ref().map(|model| model.end..model.end);
            after.map(|at| (at, Cow::Borrowed(&text[..])))
        }
    };
    let decided = wire.decided.clone();
    let decided = decided.map(|(span, text)| (span, Cow::Borrowed(text.as_bytes())));
    if rename.is_none() && ask.is_none() && decided.is_none() {
        return Ok(wire.bytes.clone());
    }
    let mut edits = [rename, ask, decided];
    edits.sort_by_key(|edit| edit.as_ref().map(|(span, _)| span.start));
    let whole = edits
        .iter()
        .flatten()
        .fold(wire.bytes.len(), |whole, (span, text)| {
            (whole + text.len()).saturating_sub(span.len())
        });
    // As much as it takes: what has room left over is put in another box when it is shared.
    let mut out = BytesMut::with_capacity(whole);
    let mut from = 0;
    for (span, text) in edits.into_iter().flatten() {
        let (Some(kept), true) = (wire.bytes.get(from..span.start), span.start <= span.end) else {
            return Err(Kind::Internal.into());
        };
        out.extend_from_slice(kept);
        out.extend_from_slice(&text);
        from = span.end;
    }
    out.extend_from_slice(wire.bytes.get(from..).unwrap_or_default());
    Ok(out.freeze())
}

pub(super) const INCLUDE_USAGE: &str = "include_usage";

/// Whether these `stream_options` ask for usage.
pub(super) fn wants_usage(options: &Map<String, Value>) -> bool {
    options.get(INCLUDE_USAGE) == Some(&Value::Bool(true))
}

/// Whether vectors are asked for in base64.
pub(super) fn asks_base64(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Format<'a> {
        #[serde(borrow)]
        encoding_format: Option<Cow<'a, str>>,
    }
    memchr::memmem::find(bytes, b"\"base64\"").is_some()
        && serde_json::from_slice::<Format<'_>>(bytes)
            .is_ok_and(|format| format.encoding_format.as_deref() == Some("base64"))
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn options(raw: &str) -> Result<Map<String, Value>, Rejection> {
    let path = Path::Root;
    let path = path.key("stream_options");
    let value = super::value::document(raw.as_bytes())
        .map_err(|_| path.fault("Expected an object that gives each field once."))?;
    match value {
        Value::Null => Ok(Map::new()),
        value => path.object(value),
    }
}

fn not_utf8(bytes: &[u8], at: usize) -> Rejection {
    let before = &bytes[..at];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = at - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1) + 1;
    Rejection::new(Kind::InvalidRequest)
        .with_detail("The body is not valid UTF-8.")
        .with_position(line, column)
}

/// What stands at the top of the document.
#[derive(Default)]
struct Found<'a> {
    model: Option<&'a str>,
    stream: Option<&'a str>,
    options: Option<&'a str>,
    /// Other models that may answer, in the words of some vendors.
    others: Option<&'a str>,
    /// An object that names a prompt. Any other value of that field is a text for a vendor.
    prompt: Option<&'a str>,
}

impl<'a> Found<'a> {
    /// Where a field is kept; `None` if nobody asks for it.
    fn place(&mut self, name: &[u8]) -> Option<&mut Option<&'a str>> {
        match name {
            b"model" => Some(&mut self.model),
            b"stream" => Some(&mut self.stream),
            b"stream_options" => Some(&mut self.options),
            b"models" => Some(&mut self.others),
            _ => None,
        }
    }
}

/// The same as [`find`], of a document in which nothing is unusual. Whatever is, and whatever is
/// wrong, is left to that.
fn plain(text: &[u8]) -> Option<Found<'_>> {
    let mut found = Found::default();
    let (mut seen, mut count) = ([&b""[..]; 32], 0);
    let rest = skim::object(text, |name, value| {
        if seen[..count].contains(&name) {
            return None;
        }
        *seen.get_mut(count)? = name;
        count += 1;
        match found.place(name) {
            Some(place) => *place = Some(std::str::from_utf8(value).ok()?),
            None if name == PROMPT && value.starts_with(b"{") => {
                found.prompt = Some(std::str::from_utf8(value).ok()?);
            }
            None if is_misspelt(name) => return None,
            None => {}
        }
        Some(())
    })?;
    skim::is_blank(rest).then_some(found)
}

fn find(text: &str) -> Result<Found<'_>, Rejection> {
    // Skipping has no limit of its own. A document with fewer brackets than the limit of the reader
    // is no deeper than that, and most are.
    let open = |byte| memchr::memchr_iter(byte, text.as_bytes()).count();
    let deep = open(b'[') + open(b'{') > 127;
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Finder { deep });
    let found = found.and_then(|found| reader.end().map(|()| found));
    found.map_err(|error| {
        let rejection = not_json(&error);
        if error.to_string().starts_with(CASE) {
            return rejection.with_detail(CASE);
        }
        rejection
    })
}

const PROMPT: &[u8] = prompted::FIELD.as_bytes();

const CASE: &str = "A field differs from a known one in upper and lower case only.";

/// Whether this is the name of a field in other letters: a reader that is not as strict takes it for
/// that field.
fn is_misspelt(name: &[u8]) -> bool {
    let alike = |known: &&str| {
        let known = known.as_bytes();
        name.eq_ignore_ascii_case(known) && name != known
    };
    KNOWN.iter().any(alike)
}

const KNOWN: [&str; 17] = [
    "models",
    "store",
    "background",
    "conversation",
    "previous_response_id",
    "instructions",
    "model",
    "system",
    "max_tokens",
    "stream",
    "stream_options",
    "messages",
    "prompt",
    "input",
    "tools",
    "functions",
    "n",
];

struct Finder {
    deep: bool,
}

impl<'de> Visitor<'de> for Finder {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::default();
        let mut seen = Seen::default();
        while let Some(Name(key)) = map.next_key::<Name<'de>>()? {
            let place = found.place(key.as_bytes());
            if place.is_none() && is_misspelt(key.as_bytes()) {
                return Err(de::Error::custom(CASE));
            }
            match place {
                Some(place) => *place = Some(map.next_value::<&RawValue>()?.get()),
                None if key.as_bytes() == PROMPT => {
                    let raw = map.next_value::<&RawValue>()?.get();
                    if self.deep {
                        // What is passed over has no limit of its own.
                        serde_json::from_str::<Skip>(raw).map_err(de::Error::custom)?;
                    }
                    found.prompt = raw.starts_with('{').then_some(raw);
                }
                None if self.deep => {
                    map.next_value::<Skip>()?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if !seen.insert(key) {
                return Err(de::Error::custom(TWICE));
            }
        }
        Ok(found)
    }
}

/// Names that were seen: few, or very many.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: std::collections::HashSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.len() < 32 {
            let new = !self.few.contains(&key);
            self.few.push(key);
            return new;
        }
        !self.few.contains(&key) && self.many.insert(key)
    }
}

/// The name of a field, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Skips a value of any kind, level by level, so that the reader counts them.
struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(found: &Found<'_>) -> [Option<String>; 4] {
        let all = [found.model, found.stream, found.options, found.prompt];
        all.map(|raw| raw.map(str::to_owned))
    }

    proptest! {
        /// Two readers of one text must not differ in what they make of it.
        #[test]
        fn the_quick_reader_finds_what_the_whole_one_finds_or_leaves_it_to_that(
            fields in prop::collection::vec((
                prop::sample::select(vec!["model", "stream", "stream_options", "Model", "messages", "prompt", "x", "\\u006dodel"]),
                prop::sample::select(vec!["\"m\"", "true", "false", "null", "1", "[{}]", "{\"include_usage\":true}", "nul", "[", "\"\\ud800\""]),
            ), 0..6),
            tail in prop::sample::select(vec!["", " \n", "}", "x"]),
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
            let text = format!("{{{}}}{tail}", fields.join(", "));
            if let Some(quick) = plain(text.as_bytes()) {
                let whole = find(&text);
                prop_assert!(whole.is_ok(), "{text}");
                prop_assert_eq!(found(&quick), found(&whole.unwrap_or_default()), "{}", text);
            }
        }
    }

    #[test]
    fn a_usual_request_is_read_quickly() {
        let text = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"h\u00e9\n"}],"n":1}"#;
        assert!(plain(text).is_some());
    }
}
