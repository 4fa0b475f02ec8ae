//! Schemas of answers, as far as the vendor takes them.

use crate::{Rejection, llm::codec::Losses, rejection::Kind};
use serde_json::Value;

/// A schema that the vendor takes: objects are closed, and bounds are not held.
pub(crate) fn closed(schema: &Value, losses: &mut Losses) -> Result<Value, Rejection> {
    const PLACE: &str = "response_format.json_schema.schema";
    let mut schema = schema.clone();
    let mut told = Simplified::default();
    simplify(&mut schema, &mut told);
    if told.recursive {
        return Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param(PLACE)
            .with_detail("The provider takes no schema that refers to itself."));
    }
    if told.closed {
        let why = "Objects have no properties but those that are named.";
        losses.add(PLACE, why);
    }
    for key in told.bounds {
        let why = "The provider does not hold the answer to it.";
        losses.add(format_args!("{PLACE}.{key}"), why);
    }
    Ok(schema)
}

/// What became of a schema.
#[derive(Default)]
struct Simplified {
    closed: bool,
    recursive: bool,
    bounds: Vec<&'static str>,
}

/// What the vendor refuses within a schema.
const BOUNDS: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "maxProperties",
];

fn simplify(schema: &mut Value, told: &mut Simplified) {
    let all: Vec<&mut Value> = match schema {
        Value::Object(fields) => {
            if fields.get("$ref").is_some_and(|to| to == "#") {
                told.recursive = true;
            }
            for key in BOUNDS {
                if fields.get(key).is_some_and(|bound| !bound.is_object()) {
                    fields.remove(key);
                    if !told.bounds.contains(&key) {
                        told.bounds.push(key);
                    }
                }
            }
            let is_object = fields.get("type").is_some_and(|kind| kind == "object");
            if is_object && fields.get("additionalProperties") != Some(&Value::Bool(false)) {
                fields.insert("additionalProperties".into(), false.into());
                told.closed = true;
            }
            let data = ["enum", "const", "default", "examples"];
            let inner = fields.iter_mut();
            inner
                .filter(|(key, _)| !data.contains(&&***key))
                .map(|(_, value)| value)
                .collect()
        }
        Value::Array(all) => all.iter_mut().collect(),
        _ => return,
    };
    for one in all {
        simplify(one, told);
    }
}
