//! Schemas: the vendor's dialect of them, and JSON Schema.

use crate::{Rejection, llm::codec::Losses, rejection::Kind};
use serde_json::{Map, Value};

/// The vendor's dialect as JSON Schema: types in lower case, and null as one of them.
pub(super) fn plain(mut schema: Value) -> Value {
    simplify(&mut schema);
    schema
}

const SNAKE: [(&str, &str); 10] = [
    ("any_of", "anyOf"),
    ("min_items", "minItems"),
    ("max_items", "maxItems"),
    ("min_length", "minLength"),
    ("max_length", "maxLength"),
    ("min_properties", "minProperties"),
    ("max_properties", "maxProperties"),
    ("prefix_items", "prefixItems"),
    ("property_ordering", "propertyOrdering"),
    ("additional_properties", "additionalProperties"),
];

fn simplify(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    // The vendor takes either spelling, and its own client sends this one.
    if fields.keys().any(|key| key.contains('_')) {
        let all = std::mem::take(fields).into_iter();
        fields.extend(all.map(|(key, value)| {
            let known = SNAKE.iter().find(|(snake, _)| *snake == key);
            (known.map_or(key, |(_, camel)| (*camel).to_owned()), value)
        }));
    }
    let nullable = fields.remove("nullable") == Some(Value::Bool(true));
    if let Some(Value::String(kind)) = fields.get_mut("type") {
        *kind = kind.to_ascii_lowercase();
        match &**kind {
            "type_unspecified" => {
                fields.remove("type");
            }
            kind if nullable => {
                let kinds = vec![kind.to_owned(), "null".to_owned()];
                fields.insert("type".into(), kinds.into());
            }
            _ => {}
        }
    }
    // Whole numbers may be written as text.
    for key in [
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
    ] {
        if let Some(Value::String(text)) = fields.get(key)
            && let Ok(number) = text.parse::<u64>()
        {
            fields.insert(key.into(), number.into());
        }
    }
    for (key, value) in fields.iter_mut() {
        match (&**key, value) {
            ("items" | "additionalProperties", inner) => simplify(inner),
            ("properties" | "$defs" | "defs", Value::Object(all)) => {
                all.values_mut().for_each(simplify);
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(all)) => {
                all.iter_mut().for_each(simplify);
            }
            _ => {}
        }
    }
}

/// JSON Schema in the dialect, for models that know no other: references are written out, and what it
/// has no word for is left out and told.
pub(super) fn subset(schema: &Value, place: &str, losses: &mut Losses) -> Result<Value, Rejection> {
    let mut writer = Writer {
        root: schema,
        within: Vec::new(),
        left: MOST,
        lost: Vec::new(),
    };
    let written = writer.write(schema).map_err(|detail| {
        Rejection::new(Kind::UnsupportedParameter)
            .with_param(place)
            .with_detail(detail)
    })?;
    for key in writer.lost {
        losses.add(
            format_args!("{place}.{key}"),
            "The provider's schemas have no such word.",
        );
    }
    Ok(written)
}

/// References to references can make a schema very large.
const MOST: usize = 10_000;
/// So many words are told of that are lost.
const MOST_LOST: usize = 256;

const KEPT: [&str; 17] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "required",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minProperties",
    "maxProperties",
    "propertyOrdering",
];

/// What says nothing that the vendor would not do anyway.
const PASSED: [&str; 7] = [
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "$comment",
    "examples",
    "default",
];

struct Writer<'a> {
    root: &'a Value,
    /// The references that are being written out.
    within: Vec<&'a str>,
    left: usize,
    lost: Vec<String>,
}

impl<'a> Writer<'a> {
    fn write(&mut self, schema: &'a Value) -> Result<Value, &'static str> {
        self.left = self.left.checked_sub(1).ok_or("The schema is too large.")?;
        let Value::Object(fields) = schema else {
            return Ok(Map::new().into());
        };
        let mut out = Map::new();
        if let Some(Value::String(to)) = fields.get("$ref") {
            if self.within.contains(&&**to) {
                return Err("The provider takes no schema that refers to itself.");
            }
            let found = to.strip_prefix('#').and_then(|to| self.root.pointer(to));
            let found = found.ok_or("A reference leads nowhere.")?;
            self.within.push(to);
            if let Value::Object(written) = self.write(found)? {
                out.extend(written);
            }
            self.within.pop();
        }
        if let Some(Value::Array(all)) = fields.get("allOf") {
            for one in all {
                if let Value::Object(written) = self.write(one)? {
                    merge(&mut out, written);
                }
            }
        }
        for (key, value) in fields {
            self.field(key, value, &mut out)?;
        }
        Ok(out.into())
    }

    fn field(
        &mut self,
        key: &str,
        value: &'a Value,
        out: &mut Map<String, Value>,
    ) -> Result<(), &'static str> {
        match (key, value) {
            ("$ref" | "allOf", _) => {}
            ("type", Value::Array(kinds)) => {
                let some: Vec<_> = kinds.iter().filter(|kind| *kind != "null").collect();
                if some.len() < kinds.len() {
                    out.insert("nullable".into(), true.into());
                }
                match &some[..] {
                    [one] => {
                        out.insert("type".into(), (*one).clone());
                    }
                    some => {
                        let of = |kind: &&Value| serde_json::json!({"type": kind});
                        let all: Vec<_> = some.iter().map(of).collect();
                        out.insert("anyOf".into(), all.into());
                    }
                }
            }
            ("const", Value::String(_)) => {
                out.insert("enum".into(), vec![value.clone()].into());
                out.entry("type").or_insert("string".into());
            }
            ("enum", Value::Array(all))
                if !all.iter().all(|one| one.is_string() || one.is_null()) =>
            {
                self.lost("enum");
            }
            ("enum", Value::Array(all)) => {
                let texts: Vec<_> = all.iter().filter(|one| one.is_string()).cloned().collect();
                if texts.len() < all.len() {
                    out.insert("nullable".into(), true.into());
                }
                out.insert("enum".into(), texts.into());
            }
            ("anyOf" | "oneOf", Value::Array(all)) => {
                let is_null = |one: &&Value| one.get("type").is_some_and(|kind| kind == "null");
                if all.iter().any(|one| is_null(&one)) {
                    out.insert("nullable".into(), true.into());
                }
                let some: Vec<_> = all.iter().filter(|one| !is_null(one)).collect();
                let mut written = Vec::with_capacity(some.len());
                for one in some {
                    written.push(self.write(one)?);
                }
                match written.len() {
                    1 => {
                        if let Some(Value::Object(one)) = written.pop() {
                            merge(out, one);
                        }
                    }
                    _ => {
                        out.insert("anyOf".into(), written.into());
                    }
                }
            }
            ("items", value) => {
                out.insert("items".into(), self.write(value)?);
            }
            ("properties", Value::Object(all)) => {
                let mut written = Map::with_capacity(all.len());
                for (name, one) in all {
                    written.insert(name.clone(), self.write(one)?);
                }
                out.insert("properties".into(), written.into());
            }
            ("additionalProperties", Value::Bool(_)) => {}
            (key, value) if KEPT.contains(&key) => {
                out.insert(key.into(), value.clone());
            }
            (key, _) if PASSED.contains(&key) => {}
            (key, _) => self.lost(key),
        }
        Ok(())
    }

    fn lost(&mut self, key: &str) {
        // What is told has an end, and each is compared with all before it.
        if self.lost.len() < MOST_LOST && !self.lost.iter().any(|lost| lost == key) {
            self.lost.push(key.to_owned());
        }
    }
}

/// Of objects all fields, of arrays all elements, and else what was there before.
fn merge(out: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match (out.get_mut(&key), value) {
            (Some(Value::Object(inside)), Value::Object(more)) => merge(inside, more),
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (Some(_), _) => {}
            (None, value) => {
                out.insert(key, value);
            }
        }
    }
}
