//! Schemas of prompts among the components of the document.

use super::names::pascal;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// How deep schemas refer to one another, which do not in a circle.
const DEEPEST: usize = 64;

/// The schemas of the document.
pub(super) struct Components {
    all: Map<String, Value>,
    depth: usize,
}

impl Components {
    pub(super) fn new(fixed: Map<String, Value>) -> Self {
        Self {
            all: fixed,
            depth: 0,
        }
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.all
    }

    /// Adds a schema under this name, or one like it that is free, and refers to it.
    pub(super) fn add(&mut self, name: &str, make: impl FnOnce(&mut Self, &str) -> Value) -> Value {
        let mut own = name.to_owned();
        let mut nth = 2;
        while self.all.contains_key(&own) {
            own = format!("{name}{nth}");
            nth += 1;
        }
        // It is taken before what it is made of looks for names.
        self.all.insert(own.clone(), Value::Null);
        let schema = make(self, &own);
        self.all.insert(own.clone(), schema);
        super::fixed::schema(&own)
    }

    /// A schema as it can stand here: what it refers to in itself is among the components, where
    /// generators look for it.
    pub(super) fn embed(&mut self, root: &Value, prefix: &str) -> Value {
        let mut known = HashMap::new();
        self.schema(root, root, prefix, &mut known)
    }

    fn schema(
        &mut self,
        root: &Value,
        schema: &Value,
        prefix: &str,
        known: &mut HashMap<String, Value>,
    ) -> Value {
        let map = match schema {
            Value::Bool(true) => return json!({}),
            Value::Bool(false) => return json!({"not": {}}),
            Value::Object(map) => map,
            other => return other.clone(),
        };
        let mut out = Map::new();
        for (key, inner) in map {
            let value = match (key.as_str(), inner) {
                // There is one dialect in the document, and definitions are where they are referred to.
                ("$schema" | "$defs" | "definitions" | "$comment", _) => continue,
                ("const" | "enum" | "default" | "examples" | "example" | "required", _) => {
                    inner.clone()
                }
                ("$ref", Value::String(to)) => {
                    let target = self.target(root, to, prefix, known);
                    match target.get("$ref") {
                        Some(to) => to.clone(),
                        None => continue,
                    }
                }
                (
                    "properties" | "patternProperties" | "dependentSchemas",
                    Value::Object(schemas),
                ) => {
                    let all = schemas.iter().map(|(name, inner)| {
                        (name.clone(), self.schema(root, inner, prefix, known))
                    });
                    Value::Object(all.collect())
                }
                (_, Value::Array(list)) => {
                    let all = list.iter();
                    all.map(|inner| self.item(root, inner, prefix, known))
                        .collect()
                }
                (
                    "additionalProperties" | "unevaluatedProperties" | "additionalItems",
                    Value::Bool(_),
                ) => inner.clone(),
                // Some generators know no schema that is a word.
                (
                    "items" | "contains" | "propertyNames" | "not" | "if" | "then" | "else",
                    Value::Bool(_),
                )
                | (_, Value::Object(_)) => self.schema(root, inner, prefix, known),
                _ => inner.clone(),
            };
            out.insert(key.clone(), value);
        }
        Value::Object(out)
    }

    /// One of a list, which is of schemas or of words.
    fn item(
        &mut self,
        root: &Value,
        item: &Value,
        prefix: &str,
        known: &mut HashMap<String, Value>,
    ) -> Value {
        match item {
            Value::Object(_) | Value::Bool(_) => self.schema(root, item, prefix, known),
            other => other.clone(),
        }
    }

    /// What a reference leads to, as a component.
    fn target(
        &mut self,
        root: &Value,
        to: &str,
        prefix: &str,
        known: &mut HashMap<String, Value>,
    ) -> Value {
        if let Some(known) = known.get(to) {
            return known.clone();
        }
        let pointer = to.strip_prefix('#').unwrap_or(to);
        let Some(schema) = root.pointer(pointer).filter(|_| self.depth < DEEPEST) else {
            return json!({});
        };
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let name = format!("{prefix}{}", pascal(last));
        self.depth += 1;
        let target = self.add(&name, |components, _| {
            components.schema(root, schema, prefix, known)
        });
        self.depth -= 1;
        known.insert(to.to_owned(), target.clone());
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_refers_to_is_a_component() {
        let mut components = Components::new(Map::new());
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "from": {"$ref": "#/$defs/a-place"},
                "to": {"$ref": "#/$defs/a-place", "description": "Where to."},
                "any": true,
                "pair": {"prefixItems": [true], "items": false, "uniqueItems": true},
                "$ref": {"type": "string"},
            },
            "required": ["from"],
            "additionalProperties": false,
            "default": {"$ref": "#/none"},
            "$defs": {"a-place": {"type": "object", "properties": {"name": {"$ref": "#/$defs/word"}}}, "word": {"type": "string"}},
        });
        let embedded = components.embed(&schema, "Trip");
        assert_eq!(
            embedded,
            json!({
                "type": "object",
                "properties": {
                    "from": {"$ref": "#/components/schemas/TripAPlace"},
                    "to": {"$ref": "#/components/schemas/TripAPlace", "description": "Where to."},
                    "any": {},
                    "pair": {"prefixItems": [{}], "items": {"not": {}}, "uniqueItems": true},
                    "$ref": {"type": "string"},
                },
                "required": ["from"],
                "additionalProperties": false,
                "default": {"$ref": "#/none"},
            })
        );
        let all = components.into_map();
        assert_eq!(
            all["TripAPlace"]["properties"]["name"],
            json!({"$ref": "#/components/schemas/TripWord"})
        );
        assert_eq!(all.len(), 2);
    }
}
