//! Thoughts and what proves them. The protocol has no place for the latter; this is the form that
//! OpenRouter gave it: `reasoning_details`.

use crate::llm::Reasoning;
use serde_json::{Value, json};

/// One entry of `reasoning_details`.
#[derive(Debug, PartialEq)]
pub(super) enum Detail {
    Text {
        text: Option<String>,
        signature: Option<String>,
    },
    Encrypted(String),
}

/// The entries, if every one is such as [`write`] makes. Those of vendors have more to them, which
/// must come back as it was: they are not read, but kept.
pub(super) fn read(details: &Value) -> Option<Vec<Detail>> {
    let details = details.as_array()?;
    let all: Option<Vec<_>> = details.iter().map(detail).collect();
    all.filter(|all| !all.is_empty())
}

fn detail(value: &Value) -> Option<Detail> {
    let fields = value.as_object()?;
    let text = |key: &str| match fields.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (detail, count) = match fields.get("type")?.as_str()? {
        "reasoning.text" => {
            let (text, signature) = (text("text"), text("signature"));
            let count = usize::from(text.is_some()) + usize::from(signature.is_some());
            (Detail::Text { text, signature }, count)
        }
        "reasoning.encrypted" => (Detail::Encrypted(text("data")?), 1),
        _ => return None,
    };
    (fields.len() == count + 1).then_some(detail)
}

/// Whether the entries hold the text itself, so that it is not read a second time.
pub(super) fn have_text(details: &[Detail]) -> bool {
    let has = |detail: &Detail| matches!(detail, Detail::Text { text: Some(_), .. });
    details.iter().any(has)
}

/// The thoughts of a message: of its plain text, and of its details.
pub(super) fn join(text: Option<String>, details: Vec<Detail>) -> Vec<Reasoning> {
    let text = text.filter(|_| !have_text(&details));
    let mut all: Vec<_> = text.into_iter().map(plain).collect();
    for detail in details {
        match detail {
            Detail::Text {
                text: None,
                signature,
            } => match all.last_mut() {
                Some(last) if last.signature.is_none() && last.redacted.is_none() => {
                    last.signature = signature;
                }
                _ => all.push(Reasoning {
                    signature,
                    ..Reasoning::default()
                }),
            },
            Detail::Text { text, signature } => all.push(Reasoning {
                signature,
                ..plain(text.unwrap_or_default())
            }),
            Detail::Encrypted(data) => all.push(Reasoning {
                redacted: Some(data),
                ..Reasoning::default()
            }),
        }
    }
    all
}

fn plain(text: String) -> Reasoning {
    Reasoning {
        text,
        ..Reasoning::default()
    }
}

/// The plain text of thoughts, and the entries. Thoughts without proof need none.
pub(super) fn write<'a>(thoughts: impl Iterator<Item = &'a Reasoning>) -> (String, Vec<Value>) {
    let (mut text, mut details, mut proven) = (String::new(), Vec::new(), false);
    for thought in thoughts {
        text.push_str(&thought.text);
        if let Some(data) = &thought.redacted {
            details.push(encrypted(data));
            proven = true;
        } else if let Some(signature) = &thought.signature {
            details.push(json!({
                "type": "reasoning.text",
                "text": thought.text,
                "signature": signature,
            }));
            proven = true;
        } else {
            details.push(json!({"type": "reasoning.text", "text": thought.text}));
        }
    }
    if !proven {
        details.clear();
    }
    (text, details)
}

/// The proof of a thought whose text came before.
pub(super) fn signature(signature: &str) -> Value {
    json!({"type": "reasoning.text", "signature": signature})
}

/// A thought that only the vendor can read.
pub(super) fn encrypted(data: &str) -> Value {
    json!({"type": "reasoning.encrypted", "data": data})
}
