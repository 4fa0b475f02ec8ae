//! An answer, or a chunk of one, as vendors write it.

use super::usage;
use crate::llm::Extra;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use std::fmt;

#[derive(Deserialize)]
pub(super) struct Chunk {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) usage: Option<usage::Wire>,
    #[serde(default)]
    pub(super) x_groq: Option<usage::Groq>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
    /// `error`, where a vendor writes what is wrong at the top.
    #[serde(default)]
    pub(super) object: Option<String>,
}

impl Chunk {
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.object.as_deref() == Some("error")
    }
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) delta: Option<Said>,
    #[serde(default)]
    pub(super) message: Option<Said>,
    #[serde(default)]
    pub(super) text: Option<Text>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(flatten)]
    pub(super) extra: Extra,
}

/// A message, or what is added to one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    pub(super) role: Option<IgnoredAny>,
    pub(super) content: Option<Text>,
    pub(super) reasoning: Option<Text>,
    pub(super) reasoning_content: Option<Text>,
    pub(super) reasoning_details: Option<Value>,
    pub(super) refusal: Option<Text>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tool_calls: Vec<Call>,
    pub(super) function_call: Option<Function>,
    pub(super) audio: Option<Value>,
    #[serde(flatten)]
    pub(super) extra: Extra,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    pub(super) index: Option<i64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
    /// A tool whose input is any text.
    pub(super) custom: Option<Function>,
    /// What a vendor puts beside it.
    pub(super) extra_content: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    /// The text of an object, or, from some vendors, the object.
    #[serde(alias = "input")]
    pub(super) arguments: Option<Value>,
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A text, or a list of parts.
pub(super) enum Text {
    Plain(String),
    Parts(Vec<Value>),
}

impl Text {
    /// The text of it; thoughts among the parts are told apart.
    pub(super) fn read(self) -> (String, String) {
        let parts = match self {
            Self::Plain(text) => return (text, String::new()),
            Self::Parts(parts) => parts,
        };
        let (mut text, mut thoughts) = (String::new(), String::new());
        for part in &parts {
            match part.get("type").and_then(Value::as_str) {
                Some("thinking") => match part.get("thinking") {
                    Some(Value::Array(inside)) => {
                        thoughts.extend(inside.iter().filter_map(part_text));
                    }
                    Some(Value::String(inside)) => thoughts.push_str(inside),
                    _ => {}
                },
                _ => text.extend(part_text(part)),
            }
        }
        (text, thoughts)
    }
}

fn part_text(part: &Value) -> Option<&str> {
    part.get("text").unwrap_or(part).as_str()
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text::Plain(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text::Plain(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            parts.push(part);
        }
        Ok(Text::Parts(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
        let part = Value::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(Text::Parts(vec![part]))
    }
}
