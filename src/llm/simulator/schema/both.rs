//! Two schemas as one: `allOf`, a chosen branch, and what stands beside a reference.

use super::Schema;
use serde_json::{Value, json};

/// Both schemas at once, as far as one can say so in one.
pub(super) fn merge(into: &mut Schema, from: &Schema) {
    for (word, new) in from {
        let Some(old) = into.get_mut(word) else {
            into.insert(word.clone(), new.clone());
            continue;
        };
        match (&**word, old, new) {
            ("properties" | "patternProperties", Value::Object(old), Value::Object(new)) => {
                for (name, new) in new {
                    match old.get_mut(name) {
                        Some(old) => both(old, new),
                        None => {
                            old.insert(name.clone(), new.clone());
                        }
                    }
                }
            }
            ("required", Value::Array(old), Value::Array(new)) => old.extend(new.iter().cloned()),
            ("enum", Value::Array(old), Value::Array(new)) => {
                old.retain(|value| new.contains(value));
            }
            ("type", old, new) => {
                if let Some(both) = common(old, new) {
                    *old = both;
                }
            }
            ("items" | "additionalProperties", old, new) => both(old, new),
            (word, old, new) => {
                let (Some(a), Some(b)) = (old.as_f64(), new.as_f64()) else {
                    continue;
                };
                let stricter = match word {
                    _ if word.starts_with("min") || word == "exclusiveMinimum" => b > a,
                    _ if word.starts_with("max") || word == "exclusiveMaximum" => b < a,
                    _ => false,
                };
                if stricter {
                    *old = new.clone();
                }
            }
        }
    }
}

fn both(old: &mut Value, new: &Value) {
    match (&*old, new) {
        (old, new) if old == new => {}
        (Value::Bool(false), _) | (_, Value::Bool(true)) => {}
        (Value::Bool(true), _) | (_, Value::Bool(false)) => *old = new.clone(),
        _ => *old = json!({ "allOf": [old.take(), new] }),
    }
}

/// The types that both allow.
pub(super) fn common(a: &Value, b: &Value) -> Option<Value> {
    let all = |value: &Value| -> Vec<String> {
        let one = std::slice::from_ref(value);
        let all = value.as_array().map_or(one, |all| all);
        all.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let (a, b) = (all(a), all(b));
    let both = a.iter().filter_map(|kind| match &**kind {
        "number" if b.iter().any(|kind| kind == "integer") => Some("integer"),
        "integer" if b.iter().any(|kind| kind == "number") => Some("integer"),
        kind => b.iter().any(|other| other == kind).then_some(kind),
    });
    let both: Vec<_> = both.collect();
    (!both.is_empty()).then(|| json!(both))
}
