//! What a client sent, as far as a path leads through it: what is in its texts is not kept.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value.
#[derive(Debug)]
pub(super) enum Shape<'a> {
    /// `null`, which is as good as nothing.
    Nothing,
    /// A number, or `false`.
    Plain,
    /// `true`.
    Yes,
    /// A text. One with escapes is a backslash: no word that is looked for has any.
    Text(&'a str),
    List(Vec<Self>),
    Fields(Vec<(Text<'a>, Self)>),
}

/// The name of a field.
#[derive(Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Owned(Box<str>),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl<'a> Shape<'a> {
    /// Of these bytes, if they are JSON.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// A field that is not `null`, in the client's spelling of its name. Gemini takes names of two
    /// spellings.
    pub(super) fn field(&self, name: &str, either: bool) -> Option<(&str, &Self)> {
        let Self::Fields(fields) = self else {
            return None;
        };
        let mut fields = fields.iter().map(|(key, value)| (key.as_str(), value));
        fields
            .find(|(key, value)| !value.is_nothing() && (*key == name || either && same(key, name)))
    }

    /// The same for who does not ask how it is spelt.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.field(name, true).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(all) => all,
            _ => &[],
        }
    }

    /// The elements of a list, or the one that would be in it.
    pub(super) fn listed(&self) -> &[Self] {
        match self {
            Self::List(all) => all,
            Self::Fields(_) => std::slice::from_ref(self),
            _ => &[],
        }
    }

    /// Its fields that are not `null`.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        let all = match self {
            Self::Fields(all) => &all[..],
            _ => &[],
        };
        let all = all.iter().map(|(key, value)| (key.as_str(), value));
        all.filter(|(_, value)| !value.is_nothing())
    }
}

/// Whether a name is this one with its words apart.
fn same(spelt: &str, name: &str) -> bool {
    let mut upper = false;
    let mut letters = name.chars();
    let fits = spelt.chars().all(|char| match char {
        '_' => !std::mem::replace(&mut upper, true),
        char if std::mem::take(&mut upper) => letters.next() == Some(char.to_ascii_uppercase()),
        char => letters.next() == Some(char),
    });
    fits && !upper && letters.next().is_none()
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text::Owned(text.into()))
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visit)
    }
}

struct Visit;

impl<'de> Visitor<'de> for Visit {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Shape::Nothing)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Self::Value, E> {
        Ok(if yes { Shape::Yes } else { Shape::Plain })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Shape::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Shape::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Shape::Plain)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Shape::Text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Shape::Text(if text.is_empty() { "" } else { "\\" }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = seq.next_element()? {
            all.push(value);
        }
        Ok(Shape::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            all.push((key, map.next_value()?));
        }
        Ok(Shape::Fields(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_either_spelling() {
        let said = br#"{"stop_sequences":["a"],"topK":1,"a":null,"x_1":"\u0061"}"#;
        let said = Shape::of(said).unwrap();
        let found = |name| said.field(name, true).map(|(key, _)| key);
        assert_eq!(found("stopSequences"), Some("stop_sequences"));
        assert_eq!(found("topK"), Some("topK"));
        assert_eq!(found("a"), None, "null says nothing");
        assert_eq!(found("stopSequence"), None);
        assert_eq!(said.field("stopSequences", false).map(|(key, _)| key), None);
        assert_eq!(said.get("x_1").and_then(Shape::text), Some("\\"));
    }
}
