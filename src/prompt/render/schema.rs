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

/// How many regular expressions all schemas of a prompt have.
pub(super) const MOST_PATTERNS: usize = 64;

/// The largest regular expression, when it is compiled, in bytes.
pub(super) const LARGEST_PATTERN: usize = 512 << 10;

/// How many values are looked at for all that is wrong with them. Of more only the first thing is told: to
/// find all takes as much memory as there are faults.
const MOST_TO_EXPLAIN: usize = 500;

/// Compiles a schema that stands at this place, with so many regular expressions at the most.
pub(super) fn compile(
    schema: &Value,
    at: &str,
    patterns: &mut usize,
    faults: &mut Vec<Fault>,
) -> Option<Validator> {
    let before = faults.len();
    if schema.to_string().len() > LARGEST {
        faults.push(Fault::new(at, "The schema is larger than 64 KiB."));
        return None;
    }
    let mut weighing = Weighing {
        root: schema,
        within: Vec::new(),
        left: MOST_SCHEMAS,
        patterns,
        faults,
    };
    weighing.schema(schema, at, 0);
    if faults.len() > before {
        return None;
    }
    let built = jsonschema::options()
        .offline()
        // Whoever reads our document, or writes a schema, takes them for a promise.
        .should_validate_formats(true)
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
struct Weighing<'v, 'f> {
    root: &'v Value,
    /// Where references have led so far.
    within: Vec<&'v str>,
    left: usize,
    patterns: &'f mut usize,
    faults: &'f mut Vec<Fault>,
}

/// What a keyword of a schema holds.
enum Holds {
    /// A schema, or a list of them.
    Schemas,
    /// Schemas by names of any kind.
    Named,
    /// What is data, and not a schema.
    Data,
}

fn holds(keyword: &str) -> Holds {
    match keyword {
        "const" | "enum" | "default" | "examples" | "example" => Holds::Data,
        "properties" | "patternProperties" | "dependentSchemas" | "dependencies" | "$defs"
        | "definitions" => Holds::Named,
        _ => Holds::Schemas,
    }
}

impl<'v> Weighing<'v, '_> {
    fn fault(&mut self, at: &str, what: &'static str) {
        if self.faults.len() < MOST {
            self.faults.push(Fault::new(at, what));
        }
    }

    /// What would be told of all that follows.
    fn once(&mut self, at: &str, what: &'static str) {
        if self.faults.last().is_none_or(|last| last.what != what) {
            self.fault(at, what);
        }
    }

    /// Whether there is room for one more, and it is not too deep.
    fn enter(&mut self, at: &str, depth: usize) -> bool {
        if depth > DEEPEST {
            self.once(at, "The schema is more than 32 deep.");
            return false;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.once(at, "The schema consists of more than 10000 schemas."),
        }
        self.left > 0
    }

    fn pattern(&mut self, at: &str) {
        match self.patterns.checked_sub(1) {
            Some(left) => *self.patterns = left,
            None => self.once(at, "There are more than 64 regular expressions."),
        }
    }

    fn schema(&mut self, value: &'v Value, at: &str, depth: usize) {
        if !self.enter(at, depth) {
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    self.keyword(key, inner, &below(at, key), depth);
                }
            }
            Value::Array(all) => {
                for (nth, inner) in all.iter().enumerate() {
                    if inner.is_object() || inner.is_array() {
                        self.schema(inner, &format!("{at}/{nth}"), depth + 1);
                    }
                }
            }
            _ => {}
        }
    }

    fn keyword(&mut self, keyword: &str, value: &'v Value, at: &str, depth: usize) {
        match (keyword, value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                self.follow(to, at, depth);
            }
            ("$id" | "id" | "$anchor" | "$dynamicAnchor", Value::String(_)) => {
                let what = "A schema has no name here: refer to its parts by `#/…`.";
                self.fault(at, what);
            }
            ("pattern", Value::String(_)) => self.pattern(at),
            (_, Value::Object(map)) if matches!(holds(keyword), Holds::Named) => {
                for (name, inner) in map {
                    let at = below(at, name);
                    if keyword == "patternProperties" {
                        self.pattern(&at);
                    }
                    // Each of them must be well-formed, whoever refers to it.
                    self.schema(inner, &at, depth + 1);
                }
            }
            (_, Value::Object(_) | Value::Array(_)) if matches!(holds(keyword), Holds::Schemas) => {
                self.schema(value, at, depth + 1);
            }
            _ => {}
        }
    }

    fn follow(&mut self, to: &'v str, at: &str, depth: usize) {
        let what = match to.strip_prefix('#') {
            Some(pointer) if pointer.starts_with('/') => {
                if self.within.contains(&to) {
                    "A schema does not refer to itself, not even in a circle."
                } else if let Some(inner) = self.root.pointer(pointer) {
                    self.within.push(to);
                    self.schema(inner, at, depth + 1);
                    self.within.pop();
                    return;
                } else {
                    "The schema has no such part."
                }
            }
            Some("") => "A schema does not refer to itself, not even in a circle.",
            _ => "A schema refers to its own parts only, by `#/…`.",
        };
        self.fault(at, what);
    }
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
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                        if let Some(pointer) = to.strip_prefix('#') {
                            *to = format!("{place}{pointer}");
                        }
                    }
                    (keyword, inner) => match (holds(keyword), inner) {
                        (Holds::Data, _) => {}
                        (Holds::Named, Value::Object(map)) => {
                            map.values_mut().for_each(|inner| lead_into(inner, place));
                        }
                        (_, inner) => lead_into(inner, place),
                    },
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
    let mut left = MOST_TO_EXPLAIN;
    if !is_small(value, &mut left) {
        faults.extend(
            validator
                .validate(value)
                .err()
                .map(|error| told(&error, at)),
        );
        return;
    }
    let room = MOST.saturating_sub(faults.len());
    let all = validator.iter_errors(value).take(room);
    faults.extend(all.map(|error| told(&error, at)));
}

fn is_small(value: &Value, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else {
        return false;
    };
    *left = rest;
    match value {
        Value::Array(all) => all.iter().all(|value| is_small(value, left)),
        Value::Object(map) => map.values().all(|value| is_small(value, left)),
        _ => true,
    }
}

fn told(error: &ValidationError<'_>, at: &str) -> Fault {
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
    Fault::new(here, sentence(error)).about(error.kind().keyword())
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
        compile(
            schema,
            "/variables/x",
            &mut MOST_PATTERNS.clone(),
            &mut faults,
        );
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
    fn a_name_of_a_property_is_no_keyword() {
        // What it refers to is looked at, wherever it stands.
        let circle = json!({"properties": {"default": {"$ref": "#/properties/default"}}});
        assert_ne!(faults(&circle), []);
        let far = json!({"$defs": {"enum": {"$ref": "file:///etc/passwd"}}});
        assert_ne!(faults(&far), []);
        let data = json!({"default": {"$ref": "file:///etc/passwd"}, "properties": {"$ref": {}, "$id": {}}});
        assert_eq!(faults(&data), []);
        let name = "x".to_owned();
        let schema = json!({"properties": {"const": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}});
        let all = object([(&name, &schema, true)].into_iter());
        let led = &all["properties"]["x"]["properties"]["const"]["$ref"];
        assert_eq!(led, "#/properties/x/$defs/a");
    }

    #[test]
    fn there_are_not_many_regular_expressions() {
        let many = |count: usize| {
            let all = (0..count).map(|nth| json!({"pattern": format!("^{nth}$")}));
            json!({"anyOf": all.collect::<Vec<_>>()})
        };
        assert_eq!(faults(&many(MOST_PATTERNS)), []);
        assert_ne!(faults(&many(MOST_PATTERNS + 1)), []);
        let mut patterns = MOST_PATTERNS;
        compile(&many(40), "", &mut patterns, &mut Vec::new()).unwrap();
        assert_eq!(patterns, 24, "all schemas of a prompt share them");
        let named = json!({"patternProperties": {"^a": {}, "^b": {}}});
        compile(&named, "", &mut patterns, &mut Vec::new()).unwrap();
        assert_eq!(patterns, 22);
    }

    #[test]
    fn of_many_faults_in_many_values_one_is_told() {
        let schema = json!({"items": {"required": ["a", "b", "c"]}});
        let mut faults = Vec::new();
        let validator = compile(&schema, "", &mut MOST_PATTERNS.clone(), &mut faults).unwrap();
        let values = |count| Value::Array(vec![json!({}); count]);
        check(&validator, &values(9), "/x", &mut faults);
        assert_eq!(faults.len(), 27);
        faults.clear();
        check(&validator, &values(9_000), "/x", &mut faults);
        let places: Vec<_> = faults.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(places, ["/x/0/a"]);
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
        let validator = compile(&schema, "", &mut MOST_PATTERNS.clone(), &mut all).unwrap();
        let value = json!({"a/b": [1, "canary"], "c": "canary", "f": "canary"});
        check(&validator, &value, "/x", &mut all);
        let mut places: Vec<_> = all.iter().map(|fault| &*fault.pointer).collect();
        places.sort_unstable();
        assert_eq!(places, ["/x/a~1b/1", "/x/c", "/x/e", "/x/f"]);
        assert!(!format!("{all:?}").contains("canary"));
    }

    #[test]
    fn a_format_is_held() {
        for (format, good, bad) in [
            ("date-time", "2026-11-22T10:48:00Z", "noon"),
            ("uuid", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "1"),
            ("email", "ada@example.com", "ada"),
            ("of-mine", "anything", ""),
        ] {
            let schema = json!({"type": "string", "format": format});
            let mut faults = Vec::new();
            let validator = compile(&schema, "", &mut MOST_PATTERNS.clone(), &mut faults).unwrap();
            assert!(validator.is_valid(&json!(good)), "{format}");
            check(&validator, &json!(bad), "/x", &mut faults);
            // One that nobody knows says nothing.
            assert_eq!(faults.len(), usize::from(!bad.is_empty()), "{format}");
        }
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
        let validator = compile(&all, "", &mut MOST_PATTERNS.clone(), &mut faults).unwrap();
        assert!(validator.is_valid(&json!({"x": ["a"]})));
        assert!(!validator.is_valid(&json!({"x": [1]})));
    }
}
