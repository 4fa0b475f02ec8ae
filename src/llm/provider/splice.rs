//! Edits of a JSON text where it stands: what no edit names stays as it came, to the byte.
//!
//! Numbers keep all of their digits, and what is megabytes of conversation is passed over, not read.

use crate::llm::codec::skim;
use bytes::{Bytes, BytesMut};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, mem, ops::Range};

/// Where something stands in a text.
pub(super) type Span = Range<usize>;

/// An object, as the fields that it has.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// Behind its brace.
    open: usize,
    fields: Vec<Field<'a>>,
}

#[derive(Debug)]
struct Field<'a> {
    name: Cow<'a, str>,
    /// The name in its quotes.
    token: Span,
    value: Span,
    gone: bool,
}

impl<'a> Object<'a> {
    /// The object that stands there, and nothing else.
    pub(super) fn read(text: &'a [u8], span: Span) -> Option<Self> {
        let part = text.get(span.clone())?;
        let brace = part.len() - part.trim_ascii_start().len();
        if part.get(brace) != Some(&b'{') {
            return None;
        }
        Some(Self {
            open: span.start + brace + 1,
            fields: quickly(text, part).or_else(|| wholly(text, part))?,
        })
    }

    /// Of a field that is there twice the last counts.
    fn last(&mut self, name: &str) -> Option<&mut Field<'a>> {
        let mut all = self.fields.iter_mut().rev();
        all.find(|field| !field.gone && field.name == name)
    }

    /// Where the value of a field stands.
    pub(super) fn get(&self, name: &str) -> Option<Span> {
        let mut all = self.fields.iter().rev();
        let field = all.find(|field| !field.gone && field.name == name)?;
        Some(field.value.clone())
    }

    /// The fields that are there, in order.
    #[cfg(test)]
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, Span)> {
        let all = self.fields.iter().filter(|field| !field.gone);
        all.map(|field| (&*field.name, field.value.clone()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Takes a field out, and gives its value.
    pub(super) fn remove(&mut self, name: &str) -> Option<Span> {
        let value = self.get(name)?;
        for field in &mut self.fields {
            field.gone |= field.name == name;
        }
        Some(value)
    }

    /// Gives a field another name, which nobody here has.
    pub(super) fn rename(&mut self, from: &str, to: &'static str, splices: &mut Splices<'_>) {
        let Some(field) = self.last(from) else {
            return;
        };
        splices.put(field.token.clone(), format!("\"{to}\"").into_bytes());
        field.name = to.into();
        // Of those that were there twice.
        self.remove(from);
    }

    /// Puts a field before all others.
    pub(super) fn begin(&self, field: &'static str, splices: &mut Splices<'_>) {
        let comma = if self.fields.iter().all(|field| field.gone) {
            ""
        } else {
            ","
        };
        splices.put(self.open..self.open, format!("{field}{comma}").into_bytes());
    }

    /// Cuts out what was removed.
    pub(super) fn close(self, splices: &mut Splices<'_>) {
        let first = self.fields.iter().position(|field| !field.gone);
        let (lost, kept) = self.fields.split_at(first.unwrap_or(self.fields.len()));
        if let (Some(from), Some(last)) = (lost.first(), lost.last()) {
            let to = kept.first().map_or(last.value.end, |kept| kept.token.start);
            splices.put(from.token.start..to, &b""[..]);
        }
        // With the comma before it.
        for pair in kept.windows(2) {
            if let [before, field] = pair
                && field.gone
            {
                splices.put(before.value.end..field.value.end, &b""[..]);
            }
        }
    }
}

/// Where the elements of an array stand.
pub(super) fn array(text: &[u8], span: Span) -> Option<Vec<Span>> {
    let part = text.get(span)?;
    if part.first() != Some(&b'[') {
        return None;
    }
    let mut all = Vec::new();
    let rest = skim::array(part, |element| {
        all.push(of(text, element));
        Some(())
    });
    if rest.is_some_and(skim::is_blank) {
        return Some(all);
    }
    let raw: Vec<&RawValue> = serde_json::from_slice(part).ok()?;
    Some(
        raw.iter()
            .map(|raw| of(text, raw.get().as_bytes()))
            .collect(),
    )
}

/// What a string says, unless something else stands there.
pub(super) fn string(text: &[u8], span: Span) -> Option<Cow<'_, str>> {
    let raw = text.get(span)?;
    let inside = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inside).is_none() {
        return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(raw).ok().map(Cow::Owned)
}

/// Where a part of a text stands in it.
fn of(text: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// The fields of an object in which nothing is unusual.
fn quickly<'a>(text: &'a [u8], part: &'a [u8]) -> Option<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    let rest = skim::object(part, |name, value| {
        let inside = of(text, name);
        fields.push(Field {
            name: std::str::from_utf8(name).ok()?.into(),
            token: inside.start - 1..inside.end + 1,
            value: of(text, value),
            gone: false,
        });
        Some(())
    })?;
    skim::is_blank(rest).then_some(fields)
}

/// Those of any.
fn wholly<'a>(text: &'a [u8], part: &'a [u8]) -> Option<Vec<Field<'a>>> {
    let Fields(all) = serde_json::from_slice(part).ok()?;
    let mut from = of(text, part).start;
    let mut fields = Vec::with_capacity(all.len());
    for (name, value) in all {
        let value = of(text, value.get().as_bytes());
        // Nothing else stands there that has quotes.
        let between = text.get(from..value.start)?;
        let token = memchr::memchr(b'"', between)?..memchr::memrchr(b'"', between)? + 1;
        fields.push(Field {
            name,
            token: from + token.start..from + token.end,
            value: value.clone(),
            gone: false,
        });
        from = value.end;
    }
    Some(fields)
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// The name of a field, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    all.push((name, value));
                }
                Ok(Fields(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// What is put in place of what. No two overlap.
#[derive(Debug, Default)]
pub(super) struct Splices<'a>(Vec<(Span, Cow<'a, [u8]>)>);

impl<'a> Splices<'a> {
    /// Puts something in a place; two that are put in one place that is empty stand in their order.
    pub(super) fn put(&mut self, span: Span, with: impl Into<Cow<'a, [u8]>>) {
        self.0.push((span, with.into()));
    }

    /// The text as it is then; `None` if that is what it was.
    pub(super) fn applied(&mut self, text: &[u8]) -> Option<Bytes> {
        let mut all = mem::take(&mut self.0);
        if all.is_empty() {
            return None;
        }
        all.sort_by_key(|(span, _)| (span.start, span.end));
        let more: usize = all.iter().map(|(_, with)| with.len()).sum();
        let mut out = BytesMut::with_capacity(text.len() + more);
        let mut from = 0;
        for (span, with) in &all {
            debug_assert!(
                from <= span.start,
                "{span:?} overlaps what stands before it"
            );
            out.extend_from_slice(text.get(from..span.start).unwrap_or_default());
            out.extend_from_slice(with);
            from = span.end;
        }
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        Some(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str, names: &[&str]) -> String {
        let mut object = Object::read(text.as_bytes(), 0..text.len()).unwrap();
        for name in names {
            object.remove(name);
        }
        let mut splices = Splices::default();
        object.close(&mut splices);
        let out = splices.applied(text.as_bytes());
        out.map_or(text.to_owned(), |out| {
            String::from_utf8(out.into()).unwrap()
        })
    }

    #[test]
    fn what_is_cut_out_leaves_the_rest_as_it_was() {
        let text = r#" { "a" : 1 , "b":[ 2] ,"c" :{"a":3}, "a": 4 } "#;
        for (names, left) in [
            (&[][..], text),
            (&["x"], text),
            (&["a"], r#" { "b":[ 2] ,"c" :{"a":3} } "#),
            (&["b"], r#" { "a" : 1 ,"c" :{"a":3}, "a": 4 } "#),
            (&["b", "c"], r#" { "a" : 1, "a": 4 } "#),
            (&["a", "b"], r#" { "c" :{"a":3} } "#),
            (&["a", "b", "c"], r#" {  } "#),
        ] {
            assert_eq!(without(text, names), left, "{names:?}");
        }
    }

    #[test]
    fn both_readers_find_the_same() {
        for text in [
            r#" { "a" : 1 , "b":[ 2] ,"c" :{"a":"}"}, "a": "\"" } "#,
            r#"{"a":12345678901234567890123.50}"#,
            "{}",
            " {\n} ",
        ] {
            let text = text.as_bytes();
            let (quick, whole) = (quickly(text, text).unwrap(), wholly(text, text).unwrap());
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"));
        }
        let escaped = r#"{"\u0061":1,"b":2}"#;
        assert!(quickly(escaped.as_bytes(), escaped.as_bytes()).is_none());
        assert_eq!(without(escaped, &["a"]), r#"{"b":2}"#);
        assert_eq!(without(escaped, &["b"]), r#"{"\u0061":1}"#);
    }

    #[test]
    fn what_is_no_object_is_not_read() {
        for text in ["", "[]", "1", "{", "{\"a\":}", "{}{}", "{\"a\":1}x"] {
            assert!(
                Object::read(text.as_bytes(), 0..text.len()).is_none(),
                "{text}"
            );
        }
        assert_eq!(array(b"x[1, [2] ]", 1..10), Some(vec![2..3, 5..8]));
        for text in ["", "{}", "[", "[1,]"] {
            assert_eq!(array(text.as_bytes(), 0..text.len()), None, "{text}");
        }
    }

    #[test]
    fn a_field_may_be_put_first_or_have_another_name() {
        let text = br#"{ "a":1,"b":2}"#;
        let mut object = Object::read(text, 0..text.len()).unwrap();
        let mut splices = Splices::default();
        object.remove("a");
        object.rename("b", "c", &mut splices);
        assert!(object.has("c") && !object.has("b"));
        object.begin(r#""v":0"#, &mut splices);
        object.close(&mut splices);
        assert_eq!(splices.applied(text).unwrap(), &br#"{"v":0, "c":2}"#[..]);
        let alone = Object::read(b"{}", 0..2).unwrap();
        alone.begin(r#""v":0"#, &mut splices);
        assert_eq!(splices.applied(b"{}").unwrap(), &br#"{"v":0}"#[..]);
    }
}
