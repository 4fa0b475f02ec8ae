//! JSON schemas that come from outside.

use crate::prompt::fault::{Fault, MOST, below, what};
use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};

/// The largest schema, as text in bytes.
const LARGEST: usize = 64 << 10;

/// How deep it may be.
const DEEPEST: usize = 32;

/// How many schemas it may consist of, with those that it refers to counted each time.
const MOST_SCHEMAS: usize = 10_000;

/// The largest regular expression, when it is compiled.
const LARGEST_PATTERN: usize = 1 << 20;

/// Compiles a schema that stands at this place.
pub(super) fn compile(schema: &Value, at: &str, faults: &mut Vec<Fault>) -> Option<Validator> {
    let before = faults.len();
    if schema.to_string().len() > LARGEST {
        faults.push(Fault::new(at, "The schema is larger than 64 KiB."));
        return None;
    }
    let mut left = MOST_SCHEMAS;
    weigh(schema, schema, at, 0, &mut Vec::new(), &mut left, faults);
    if faults.len() > before {
        return None;
    }
    let built = jsonschema::options()
        .offline()
        .with_pattern_options(
            PatternOptions::regex()
                .size_limit(LARGEST_PATTERN)
                .dfa_size_limit(LARGEST_PATTERN),
        )
        .build(schema);
    match built {
        Ok(validator) => Some(validator),
        Err(error) => {
            let at = format!("{at}{}", error.instance_path());
            let about = error.masked().to_string();
            faults.push(Fault::new(at, "It is no JSON schema.").about(about));
            None
        }
    }
}

/// Counts what there is to do for one value: a schema that says twice "and what that says", thirty
/// deep, has a page of text and a billion checks.
fn weigh<'v>(
    root: &'v Value,
    value: &'v Value,
    at: &str,
    depth: usize,
    within: &mut Vec<&'v str>,
    left: &mut usize,
    faults: &mut Vec<Fault>,
) {
    let wrong = if depth > DEEPEST {
        "The schema is more than 32 deep."
    } else if *left == 0 {
        "The schema consists of more than 10000 schemas."
    } else {
        ""
    };
    if !wrong.is_empty() {
        // Once is enough.
        if faults.last().is_none_or(|last| last.what != wrong) {
            faults.push(Fault::new(at, wrong));
        }
        return;
    }
    *left -= 1;
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let at = below(at, key);
                match (key.as_str(), inner) {
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                        follow(root, to, &at, depth, within, left, faults);
                    }
                    ("$id" | "id" | "$anchor" | "$dynamicAnchor", Value::String(_)) => {
                        faults.push(Fault::new(
                            &*at,
                            "A schema has no name here: refer to its parts by `#/…`.",
                        ));
                    }
                    // What is data, and not a schema.
                    ("const" | "enum" | "default" | "examples" | "example", _) => {}
                    // These are counted where they are referred to.
                    ("$defs" | "definitions", Value::Object(defs)) => {
                        for (name, inner) in defs {
                            let at = below(&at, name);
                            // Each of them must be well-formed, whoever refers to it.
                            weigh(root, inner, &at, depth + 1, within, left, faults);
                        }
                    }
                    (_, Value::Object(_) | Value::Array(_)) => {
                        weigh(root, inner, &at, depth + 1, within, left, faults);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(all) => {
            for (nth, inner) in all.iter().enumerate() {
                if inner.is_object() || inner.is_array() {
                    let at = format!("{at}/{nth}");
                    weigh(root, inner, &at, depth + 1, within, left, faults);
                }
            }
        }
        _ => {}
    }
}

fn follow<'v>(
    root: &'v Value,
    to: &'v str,
    at: &str,
    depth: usize,
    within: &mut Vec<&'v str>,
    left: &mut usize,
    faults: &mut Vec<Fault>,
) {
    let wrong = match to.strip_prefix('#') {
        Some(pointer) if pointer.starts_with('/') => {
            if within.contains(&to) {
                "A schema does not refer to itself, not even in a circle."
            } else if let Some(inner) = root.pointer(pointer) {
                within.push(to);
                weigh(root, inner, at, depth + 1, within, left, faults);
                within.pop();
                return;
            } else {
                "The schema has no such part."
            }
        }
        Some("") => "A schema does not refer to itself, not even in a circle.",
        _ => "A schema refers to its own parts only, by `#/…`.",
    };
    faults.push(Fault::new(at, wrong));
}

/// The schema of an object of these, where references lead into it.
pub(super) fn object<'v>(parts: impl Iterator<Item = (&'v String, &'v Value, bool)>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, schema, is_required) in parts {
        let mut schema = schema.clone();
        lead_into(&mut schema, &below("#/properties", name));
        properties.insert(name.clone(), schema);
        if is_required {
            required.push(Value::from(name.as_str()));
        }
    }
    serde_json::json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn lead_into(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(map) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("const" | "enum" | "default" | "examples" | "example", _) => {}
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                        if let Some(pointer) = to.strip_prefix('#') {
                            *to = format!("{place}{pointer}");
                        }
                    }
                    (_, inner) => lead_into(inner, place),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|inner| lead_into(inner, place)),
        _ => {}
    }
}

/// What is wrong with a value, which stands at this place.
pub(super) fn check(validator: &Validator, value: &Value, at: &str, faults: &mut Vec<Fault>) {
    // Most often nothing is wrong, and to say so is cheaper.
    if validator.is_valid(value) {
        return;
    }
    for error in validator.iter_errors(value) {
        if faults.len() >= MOST {
            return;
        }
        let here = format!("{at}{}", error.instance_path());
        let here = match error.kind() {
            ValidationErrorKind::Required {
                property: Value::String(name),
            } => below(&here, name),
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .first()
                .map_or(here.clone(), |name| below(&here, name)),
            _ => here,
        };
        let fault = Fault::new(here, sentence(&error));
        faults.push(fault.about(error.kind().keyword()));
    }
}

/// What a keyword says, without a value.
fn sentence(error: &ValidationError<'_>) -> &'static str {
    match error.kind().keyword() {
        "type" => "It is not of the type that the schema says.",
        "required" => "This is missing.",
        "additionalProperties" | "unevaluatedProperties" => what::NO_FIELD,
        "enum" | "const" => "It is not one of the values that there are.",
        "minLength" => "It is too short.",
        "maxLength" => "It is too long.",
        "minimum" | "exclusiveMinimum" => "It is too small.",
        "maximum" | "exclusiveMaximum" => "It is too large.",
        "minItems" | "minProperties" | "contains" | "minContains" => "There are too few.",
        "maxItems" | "maxProperties" | "maxContains" | "additionalItems" => "There are too many.",
        "uniqueItems" => "Some are the same.",
        "pattern" => "It does not match the pattern.",
        "format" => "It does not have the format.",
        "multipleOf" => "It is not a multiple of what the schema says.",
        _ => "It is not what the schema says.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(schema: &Value) -> Vec<Fault> {
        let mut faults = Vec::new();
        compile(schema, "/variables/x", &mut faults);
        faults
    }

    #[test]
    fn a_schema_reaches_nothing_but_its_own_parts() {
        for (schema, place) in [
            (
                json!({"$ref": "https://example.com/schema.json"}),
                "/variables/x/$ref",
            ),
            (json!({"$ref": "file:///etc/passwd"}), "/variables/x/$ref"),
            (json!({"$ref": "#"}), "/variables/x/$ref"),
            (json!({"$ref": "#/$defs/none"}), "/variables/x/$ref"),
            (
                json!({"$id": "https://example.com/", "items": {}}),
                "/variables/x/$id",
            ),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}),
                "/variables/x/$defs/a/items/$ref",
            ),
        ] {
            let faults = faults(&schema);
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.pointer.starts_with(place)
                        || place.starts_with(&*fault.pointer)),
                "{schema} {faults:?}"
            );
        }
        let good = json!({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "string"}}});
        assert_eq!(faults(&good), []);
    }

    #[test]
    fn a_schema_cannot_be_a_billion_checks() {
        let mut defs = Map::new();
        for nth in 0..24 {
            let next = json!({"$ref": format!("#/$defs/d{}", nth + 1)});
            defs.insert(format!("d{nth}"), json!({"allOf": [next, next]}));
        }
        defs.insert("d24".into(), json!({"type": "string"}));
        let laughs = json!({"$ref": "#/$defs/d0", "$defs": defs});
        assert_ne!(faults(&laughs), []);
        let mut deep = json!({});
        for _ in 0..40 {
            deep = json!({"items": deep});
        }
        assert_ne!(faults(&deep), []);
        assert_ne!(faults(&json!({"description": "x".repeat(70_000)})), []);
        assert_ne!(faults(&json!({"pattern": "(a{1000}){1000}"})), []);
        assert_ne!(faults(&json!({"type": "text"})), []);
    }

    #[test]
    fn a_fault_of_a_value_has_a_place_and_no_value() {
        let schema = json!({
            "type": "object",
            "properties": {"a/b": {"type": "array", "items": {"type": "integer"}}, "c": {"enum": ["d"]}},
            "required": ["e"],
            "additionalProperties": false,
        });
        let mut all = Vec::new();
        let validator = compile(&schema, "", &mut all).unwrap();
        let value = json!({"a/b": [1, "canary"], "c": "canary", "f": "canary"});
        check(&validator, &value, "/x", &mut all);
        let mut places: Vec<_> = all.iter().map(|fault| &*fault.pointer).collect();
        places.sort_unstable();
        assert_eq!(places, ["/x/a~1b/1", "/x/c", "/x/e", "/x/f"]);
        assert!(!format!("{all:?}").contains("canary"));
    }

    #[test]
    fn references_lead_into_the_object_of_all() {
        let (name, schema) = (
            "x".to_owned(),
            json!({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "string"}}}),
        );
        let all = object([(&name, &schema, true)].into_iter());
        assert_eq!(
            all["properties"]["x"]["items"]["$ref"],
            "#/properties/x/$defs/a"
        );
        let mut faults = Vec::new();
        let validator = compile(&all, "", &mut faults).unwrap();
        assert!(validator.is_valid(&json!({"x": ["a"]})));
        assert!(!validator.is_valid(&json!({"x": [1]})));
    }
}
