use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn tokens_are_all_of_the_text() {
    for text in [
        "",
        "a",
        "  two  words ",
        "extraordinarily",
        "äöüäöüäöü\n\n日本語",
    ] {
        let cut: Vec<_> = tokens(text).collect();
        assert_eq!(cut.concat(), text);
        assert!(
            cut.iter()
                .all(|token| token.trim_start().chars().count() <= 8)
        );
    }
    assert_eq!(
        tokens("a simulator").collect::<Vec<_>>(),
        ["a", " simulato", "r"]
    );
}

#[test]
fn texts_that_share_words_are_near() {
    let near = |a: &str, b: &str| -> f32 {
        let (a, b) = (embedding::of_text(a, 256), embedding::of_text(b, 256));
        a.iter().zip(&b).map(|(a, b)| a * b).sum()
    };
    let cat = "The cat sits on the mat";
    assert!(
        near(cat, "A cat sat on the mat") > near(cat, "Interest rates rose by a quarter") + 0.3
    );
    assert!((near(cat, cat) - 1.0).abs() < 1e-5);
    assert!(near("run", "running") > near("run", "table"));
}

#[test]
fn patterns_are_met() {
    for (pattern, text) in [
        ("^[A-Z]{3}-\\d{4}$", "AAA-0000"),
        ("^(?:USD|EUR)$", "USD"),
        ("^\\+?[1-9]\\d{1,14}$", "10"),
        ("[^a-c]x+", "dx"),
        ("^#([0-9a-f]{6}|[0-9a-f]{3})$", "#000000"),
        ("^\\w+@\\w+\\.com$", "a@a.com"),
        ("^[\\w.-]+$", "a"),
        ("^[]a]b*$", "]"),
    ] {
        assert_eq!(
            pattern::text(pattern, 0).as_deref(),
            Some(text),
            "{pattern}"
        );
    }
    assert_eq!(pattern::text("^(?:USD|EUR)$", 1).as_deref(), Some("EUR"));
    assert_eq!(
        pattern::of_length("^[a-z]+$", 0, 5).as_deref(),
        Some("aaaaa")
    );
    for unknown in [
        "(?=a)",
        "(a",
        "a{3,1}",
        "*",
        "\\p{L}",
        "(a)\\1",
        "a{999999999}",
    ] {
        assert_eq!(pattern::text(unknown, 0), None, "{unknown}");
    }
}

/// Whether a value satisfies a schema, as far as the generator looks at it.
fn satisfies(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(words) = schema else {
        return *schema != Value::Bool(false);
    };
    let number = |word: &str| words.get(word).and_then(Value::as_f64);
    let at_least = |word: &str, size: usize| number(word).is_none_or(|least| size as f64 >= least);
    let at_most = |word: &str, size: usize| number(word).is_none_or(|most| size as f64 <= most);
    let all = |word: &str| {
        words
            .get(word)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => value.is_number(),
    };
    let kind = match words.get("type") {
        Some(Value::String(kind)) => is(kind),
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        _ => true,
    };
    let target = words.get("$ref").and_then(Value::as_str);
    let target = target.map(|path| root.pointer(&path[1..]).unwrap());
    let shape = match value {
        Value::Object(object) => {
            let none = serde_json::Map::new();
            let properties = words
                .get("properties")
                .and_then(Value::as_object)
                .unwrap_or(&none);
            let more = words
                .get("additionalProperties")
                .unwrap_or(&Value::Bool(true));
            let of = |(name, value): (&String, &Value)| {
                satisfies(root, properties.get(name).unwrap_or(more), value)
            };
            object.iter().all(of)
                && all("required")
                    .iter()
                    .all(|name| object.contains_key(name.as_str().unwrap()))
                && at_least("minProperties", object.len())
                && at_most("maxProperties", object.len())
        }
        Value::Array(array) => {
            let rest = words.get("items").unwrap_or(&Value::Bool(true));
            let first = all("prefixItems");
            let of = |(index, value)| satisfies(root, first.get(index).unwrap_or(rest), value);
            array.iter().enumerate().all(of)
                && at_least("minItems", array.len())
                && at_most("maxItems", array.len())
        }
        Value::String(text) => {
            let chars = text.chars().count();
            at_least("minLength", chars) && at_most("maxLength", chars)
        }
        Value::Number(own) => {
            let own = own.as_f64().unwrap();
            number("minimum").is_none_or(|least| own >= least)
                && number("maximum").is_none_or(|most| own <= most)
                && number("exclusiveMinimum").is_none_or(|least| own > least)
                && number("exclusiveMaximum").is_none_or(|most| own < most)
                && number("multipleOf").is_none_or(|step| own % step == 0.0)
        }
        Value::Bool(_) | Value::Null => true,
    };
    let some = |word: &str| {
        let branches = all(word);
        branches.is_empty() || branches.iter().any(|branch| satisfies(root, branch, value))
    };
    kind && shape
        && target.is_none_or(|target| satisfies(root, target, value))
        && words.get("const").is_none_or(|only| only == value)
        && (!words.contains_key("enum") || all("enum").contains(value))
        && all("allOf").iter().all(|one| satisfies(root, one, value))
        && some("anyOf")
        && some("oneOf")
}

/// Schemas that can be satisfied, three deep.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!({ "const": [1, "a"] })),
        Just(json!({ "enum": ["a", 2, null] })),
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({ "$ref": "#/$defs/node" })),
        (0..20_u64, 0..20_u64).prop_map(|(least, more)| {
            json!({ "type": "string", "minLength": least, "maxLength": least + more })
        }),
        (-100..100_i64, 0..100_i64).prop_map(|(least, more)| {
            json!({ "type": "integer", "minimum": least, "maximum": least + more })
        }),
        (-100..100_i64, 2..100_i64).prop_map(|(least, more)| {
            json!({ "type": "integer", "exclusiveMinimum": least, "exclusiveMaximum": least + more })
        }),
        (-100..100_i64, 1..100_i64).prop_map(|(least, more)| {
            json!({ "exclusiveMinimum": least, "exclusiveMaximum": least + more })
        }),
        (-100..100_i64, 1..9_i64).prop_map(|(least, step)| {
            json!({ "type": "integer", "minimum": least, "multipleOf": step })
        }),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            (inner.clone(), 0..4_u64, 0..4_u64).prop_map(|(items, least, more)| {
                json!({ "type": "array", "items": items, "minItems": least, "maxItems": least + more })
            }),
            some.clone().prop_map(|first| {
                json!({ "type": "array", "prefixItems": first, "items": false })
            }),
            some.clone().prop_map(|all| json!({ "anyOf": all })),
            some.clone().prop_map(|all| json!({ "oneOf": all })),
            inner.clone().prop_map(|one| json!({ "allOf": [one, {}] })),
            (some, any::<bool>(), 0..6_u64).prop_map(|(all, required, least)| {
                let names: Vec<_> = (0..all.len()).map(|at| format!("p{at}")).collect();
                let properties: serde_json::Map<_, _> = names.iter().cloned().zip(all).collect();
                let names = if required { names } else { Vec::new() };
                json!({ "type": "object", "properties": properties, "required": names, "minProperties": least })
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_made_satisfies_its_schema(schema in schemas(), variation in 0..3_usize) {
        let root = json!({
            "allOf": [{ "$ref": "#/$defs/root" }],
            "$defs": {
                "root": schema,
                "node": {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string" },
                        "next": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] },
                        "children": { "type": "array", "items": { "$ref": "#/$defs/node" } },
                    },
                    "required": ["name", "next", "children"],
                    "additionalProperties": false,
                },
            },
        });
        let made = schema::instance(&root, "In \"Paris\" at 7", variation, &mut { schema::MOST_HOPS });
        prop_assert!(satisfies(&root, &root, &made), "{root} has {made}");
    }

    #[test]
    fn any_json_is_a_schema_that_comes_to_an_end(text in "[\\[\\]{}\":,a-z0-9$#/ ]{0,80}") {
        for word in ["type", "pattern", "$ref", "items", "allOf", "minLength"] {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text.clone()));
            let _ = schema::instance(&json!({ word: value }), &text, 1, &mut { schema::MOST_HOPS });
        }
        let _ = pattern::of_length(&text, 1, 10);
    }
}

#[test]
fn a_schema_that_asks_for_itself_comes_to_an_end() {
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "type": "object", "properties": { "a": { "$ref": "#" } }, "required": ["a"] }),
        json!({ "type": "array", "items": { "$ref": "#" }, "minItems": 100_000 }),
        json!({ "anyOf": [{ "$ref": "#" }, { "anyOf": [{ "$ref": "#" }] }] }),
        json!({ "type": "string", "minLength": u64::MAX }),
        json!({ "type": "array", "minItems": 5000, "items": { "type": "string", "minLength": 60_000 } }),
        json!({ "type": "string", "pattern": "((((a{0,1000}){1000}){1000}){1000}){1000}" }),
        json!({ "type": "integer", "minimum": 1e300 }),
    ] {
        let text = schema::instance(&schema, "", 0, &mut { schema::MOST_HOPS }).to_string();
        assert!(text.len() < 2_000_000, "{schema} has {}", text.len());
    }
}

#[test]
fn strings_and_numbers_come_from_what_was_said() {
    let schema = json!({ "properties": {
        "city": { "type": "string" },
        "days": { "type": "integer", "minimum": 1 },
        "start": { "type": "string", "format": "date" },
        "code": { "type": "string", "pattern": "^[A-Z]{2}$" },
    } });
    let made = schema::instance(
        &schema,
        "What will the weather be in Oslo for 3 days?",
        0,
        &mut { schema::MOST_HOPS },
    );
    let expected = json!({ "city": "Oslo", "days": 3, "start": "2025-01-01", "code": "AA" });
    assert_eq!(made, expected);
}

#[test]
fn references_are_followed_so_often_and_no_oftener_in_a_whole_answer() {
    let schema = json!({
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "integer"}},
        "type": "array", "minItems": 50, "items": {"$ref": "#/$defs/a"},
    });
    let mut hops = schema::MOST_HOPS;
    let first = schema::instance(&schema, "", 0, &mut hops);
    assert!(first[0].is_number() && hops < schema::MOST_HOPS);
    let mut hops = 10;
    let _ = schema::instance(&schema, "", 0, &mut hops);
    assert_eq!(hops, 0);
}
