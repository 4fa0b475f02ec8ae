//! A value that satisfies a JSON schema (2020-12, and what of older drafts is in use).

mod both;
mod range;

use self::{
    both::{common, merge},
    range::Range,
};
use super::pattern;
use serde_json::{Map, Number, Value, json};
use std::borrow::Cow;

type Schema = Map<String, Value>;

/// From this depth on only what must be there is.
const MODEST: usize = 4;
/// From this depth on, a schema that still asks for more gets `null`.
const DEEPEST: usize = 48;
/// The most values in all.
const MOST_VALUES: usize = 5000;
/// The most characters of one string. A value counts for every 64 of them.
const MOST_CHARS: usize = 65_536;

/// The most references that are followed for one value.
const MOST_HOPS_AT_ONCE: usize = 256;
/// The most references, and parts of schemas, that are followed for a whole answer.
pub(super) const MOST_HOPS: usize = 20_000;

/// A value that satisfies `schema`, made of what was heard where that fits. Those with another
/// `variation` are most often others. References are followed as long as there are `hops`.
pub(super) fn instance(schema: &Value, heard: &str, variation: usize, hops: &mut usize) -> Value {
    let mut maker = Maker {
        root: schema,
        hints: Hints::new(heard),
        left: MOST_VALUES,
        hops: 0,
        hops_left: hops,
    };
    maker.value(schema, "", 0, variation)
}

/// The same for arguments of a tool, which are always an object.
pub(super) fn arguments(schema: &Value, heard: &str, variation: usize, hops: &mut usize) -> Value {
    match instance(schema, heard, variation, hops) {
        object @ Value::Object(_) => object,
        _ => json!({}),
    }
}

/// What a text offers to fill in.
struct Hints {
    /// What is quoted, or else what has a capital letter inside a sentence.
    names: Vec<String>,
    numbers: Vec<f64>,
}

impl Hints {
    fn new(heard: &str) -> Self {
        let mut names: Vec<String> = heard
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|quoted| !quoted.is_empty() && quoted.len() <= 100)
            .map(str::to_owned)
            .collect();
        let mut numbers = Vec::new();
        let mut opens = true;
        for word in heard.split_whitespace() {
            let bare = word.trim_matches(|char: char| !char.is_alphanumeric());
            numbers.extend(bare.parse::<f64>().ok().filter(|number| number.is_finite()));
            let capital = bare.chars().next().is_some_and(char::is_uppercase);
            if capital && !opens && bare != "I" && bare.len() <= 100 {
                names.push(bare.to_owned());
            }
            opens = word.ends_with(['.', '!', '?', ':']);
        }
        names.truncate(100);
        numbers.truncate(100);
        Self { names, numbers }
    }
}

struct Maker<'a> {
    root: &'a Value,
    hints: Hints,
    left: usize,
    /// How many references were followed since the last value.
    hops: usize,
    /// How many may still be followed for the whole answer.
    hops_left: &'a mut usize,
}

impl<'a> Maker<'a> {
    fn value(&mut self, schema: &Value, name: &str, depth: usize, variation: usize) -> Value {
        if self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        if depth > DEEPEST {
            return Value::Null;
        }
        self.hops = 0;
        let schema = self.flat(schema, depth);
        if let Some(value) = schema.get("const") {
            return self.spent(value.clone());
        }
        if let Some(Value::Array(values)) = schema.get("enum")
            && !values.is_empty()
        {
            return self.spent(values[variation % values.len()].clone());
        }
        match kind(&schema, depth) {
            "object" => self.object(&schema, depth, variation),
            "array" => self.array(&schema, name, depth, variation),
            "integer" => self.number(&schema, true, variation),
            "number" => self.number(&schema, false, variation),
            "boolean" => Value::Bool(variation.is_multiple_of(2)),
            "null" => Value::Null,
            _ => {
                let text = self.string(&schema, name, variation);
                self.spent(Value::String(text))
            }
        }
    }

    /// A long value counts for several.
    fn spent(&mut self, value: Value) -> Value {
        let size = match &value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => value.to_string().len(),
            _ => 0,
        };
        self.left = self.left.saturating_sub(size / 64);
        value
    }

    /// The schema without references, `allOf`, `anyOf` and `oneOf`.
    fn flat<'b>(&mut self, schema: &'b Value, depth: usize) -> Cow<'b, Schema>
    where
        'a: 'b,
    {
        let Value::Object(schema) = schema else {
            return Cow::Owned(match schema {
                Value::Bool(false) => Schema::from_iter([("const".to_owned(), Value::Null)]),
                _ => Schema::new(),
            });
        };
        let mut flat = Cow::Borrowed(schema);
        self.hops += 1;
        if self.hops > MOST_HOPS_AT_ONCE || *self.hops_left == 0 {
            return flat;
        }
        *self.hops_left -= 1;
        for word in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(path)) = schema.get(word)
                && let Some(target) = self.find(path)
            {
                if schema.len() == 1 {
                    return self.flat(target, depth);
                }
                merge(flat.to_mut(), &self.flat(target, depth));
            }
        }
        for one in list(schema, "allOf") {
            merge(flat.to_mut(), &self.flat(one, depth));
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(branch) = self.branch(list(schema, word), &flat, depth) {
                merge(flat.to_mut(), &self.flat(branch, depth));
            }
        }
        flat
    }

    /// The first branch that is not null and fits the type that is asked for beside it; deep down one
    /// that comes to an end.
    fn branch<'b>(
        &self,
        branches: &'b [Value],
        beside: &Schema,
        depth: usize,
    ) -> Option<&'b Value> {
        let fits = |branch: &&Value| {
            let (Some(asked), Some(own)) = (beside.get("type"), branch.get("type")) else {
                return **branch != Value::Bool(false);
            };
            common(asked, own).is_some()
        };
        let mut fitting = branches.iter().filter(fits);
        if depth >= MODEST
            && let Some(end) = fitting.clone().find(|branch| ends(branch))
        {
            return Some(end);
        }
        let first = fitting.clone().next();
        fitting.find(|branch| !is_null(branch)).or(first)
    }

    fn find(&self, path: &str) -> Option<&'a Value> {
        let root = self.root;
        let path = path.strip_prefix('#')?;
        if path.is_empty() {
            return Some(root);
        }
        if !path.starts_with('/') {
            let definitions = [root.get("$defs"), root.get("definitions")];
            let mut all = definitions
                .into_iter()
                .flatten()
                .filter_map(Value::as_object)
                .flat_map(Map::values);
            let anchor = |schema: &&Value| {
                ["$anchor", "$dynamicAnchor"]
                    .iter()
                    .any(|word| schema.get(word).is_some_and(|own| own == path))
            };
            return all.find(anchor);
        }
        // Names such as `Page%5BUser%5D` come from generators.
        let decoded = percent_decoded(path);
        root.pointer(path).or_else(|| root.pointer(&decoded))
    }

    fn object(&mut self, schema: &Schema, depth: usize, variation: usize) -> Value {
        let none = Schema::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let patterns = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let more = schema
            .get("additionalProperties")
            .unwrap_or(&Value::Bool(true));
        let most = size(schema, "maxProperties").unwrap_or(usize::MAX);
        let least = size(schema, "minProperties").unwrap_or(0).min(1000);
        let mut object = Map::new();
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .map_or(&[][..], |names| names);
        for name in required.iter().filter_map(Value::as_str) {
            if self.left == 0 {
                break;
            }
            let of = properties.get(name).or_else(|| {
                let mut all = patterns.iter();
                all.find(|(pattern, _)| pattern::matches_plainly(pattern, name))
                    .map(|(_, of)| of)
            });
            let value = self.value(of.unwrap_or(more), name, depth + 1, variation);
            object.insert(name.to_owned(), value);
        }
        for (name, of) in properties {
            let wanted = self.left > 0 && (depth < MODEST || object.len() < least);
            if !wanted
                || object.len() >= most
                || object.contains_key(name)
                || *of == Value::Bool(false)
            {
                continue;
            }
            let value = self.value(of, name, depth + 1, variation);
            object.insert(name.clone(), value);
        }
        let mut count = 0;
        while object.len() < least && count < 2 * least && self.left > 0 {
            count += 1;
            let (name, of) = match patterns.iter().next() {
                Some((pattern, of)) if *more == Value::Bool(false) => {
                    (pattern::text(pattern, count).unwrap_or_default(), of)
                }
                _ => (format!("key{count}"), more),
            };
            let value = self.value(of, &name, depth + 1, count);
            object.insert(name, value);
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Schema, name: &str, depth: usize, variation: usize) -> Value {
        // Before 2020-12, `items` had this meaning if it was an array.
        let items = schema.get("items");
        let first = schema
            .get("prefixItems")
            .or(items)
            .and_then(Value::as_array);
        let first = first.map_or(&[][..], |all| all);
        let rest = match items {
            Some(Value::Array(_)) => schema.get("additionalItems"),
            other => other,
        };
        let contained = schema.get("contains");
        let none = rest == Some(&Value::Bool(false));
        let any = Value::Bool(true);
        let rest = rest.or(contained).unwrap_or(&any);
        let least = size(schema, "minItems").unwrap_or(0);
        let modest = usize::from(depth < MODEST || contained.is_some());
        let wanted = least.max(modest).max(first.len());
        let most = size(schema, "maxItems")
            .unwrap_or(usize::MAX)
            .min(MOST_VALUES);
        let most = if none { most.min(first.len()) } else { most };
        let mut array = Vec::new();
        for index in 0..wanted.min(most) {
            if self.left == 0 {
                break;
            }
            array.push(match first.get(index) {
                Some(of) => self.value(of, name, depth + 1, variation),
                None => self.value(rest, name, depth + 1, variation + index),
            });
        }
        Value::Array(array)
    }

    fn number(&self, schema: &Schema, whole: bool, variation: usize) -> Value {
        let (range, step) = Range::of(schema, whole);
        let hinted = self.hints.numbers.get(variation).copied();
        let fits =
            |number: &f64| range.holds(*number) && step.is_none_or(|step| number % step == 0.0);
        let number = hinted
            .filter(|number| !whole || number.fract() == 0.0)
            .filter(fits)
            .unwrap_or_else(|| range.pick(step, variation as f64 + 1.0));
        if whole || number.fract() == 0.0 && number.abs() < 9e15 {
            Value::from(number as i64)
        } else {
            Number::from_f64(number).map_or(Value::Null, Value::Number)
        }
    }

    fn string(&self, schema: &Schema, name: &str, variation: usize) -> String {
        let format = schema.get("format").and_then(Value::as_str);
        if let Some(text) = format.and_then(|format| formatted(format, variation)) {
            return text;
        }
        let least = size(schema, "minLength").unwrap_or(0).min(MOST_CHARS);
        let most = size(schema, "maxLength").unwrap_or(usize::MAX);
        let pattern = schema.get("pattern").and_then(Value::as_str);
        if let Some(text) =
            pattern.and_then(|pattern| pattern::of_length(pattern, variation, least))
        {
            return text;
        }
        let mut text = match self.hints.names.get(variation) {
            Some(hint) => hint.clone(),
            None if name.is_empty() => "simulated".to_owned(),
            None => name.to_owned(),
        };
        if variation > 0 && self.hints.names.get(variation).is_none() {
            text = format!("{}{text}", variation + 1);
        }
        let chars = text.chars().count();
        if chars > most {
            text = text.chars().take(most).collect();
        }
        text.extend(std::iter::repeat_n('x', least.saturating_sub(chars)));
        text
    }
}

/// What is to be made.
fn kind(schema: &Schema, depth: usize) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            if depth >= MODEST && kinds.clone().any(|kind| kind == "null") {
                return "null";
            }
            kinds.clone().find(|kind| *kind != "null").unwrap_or("null")
        }
        _ => {
            let says = |words: &[&str]| words.iter().any(|word| schema.contains_key(*word));
            if says(&[
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
            ]) {
                "object"
            } else if says(&["items", "prefixItems", "minItems", "contains"]) {
                "array"
            } else if says(&[
                "minimum",
                "maximum",
                "exclusiveMinimum",
                "exclusiveMaximum",
                "multipleOf",
            ]) {
                "number"
            } else {
                "string"
            }
        }
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
        || schema.get("const").is_some_and(Value::is_null)
}

/// Whether a schema asks for nothing below it.
fn ends(schema: &Value) -> bool {
    let deep = [
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
        "properties",
        "items",
        "prefixItems",
    ];
    schema
        .as_object()
        .is_none_or(|schema| deep.iter().all(|word| !schema.contains_key(*word)))
}

fn size(schema: &Schema, word: &str) -> Option<usize> {
    let size = schema.get(word)?.as_f64()?;
    (size >= 0.0).then_some(size as usize)
}

fn list<'a>(schema: &'a Schema, word: &str) -> &'a [Value] {
    schema
        .get(word)
        .and_then(Value::as_array)
        .map_or(&[], |all| all)
}

fn formatted(format: &str, variation: usize) -> Option<String> {
    let day = variation % 28 + 1;
    Some(match format {
        "date-time" => format!("2025-01-{day:02}T09:00:00Z"),
        "date" => format!("2025-01-{day:02}"),
        "time" => "09:00:00Z".to_owned(),
        "duration" => format!("P{day}D"),
        "email" | "idn-email" => format!("user{day}@example.com"),
        "hostname" | "idn-hostname" => format!("host{day}.example.com"),
        "uri" | "url" | "iri" => format!("https://example.com/{day}"),
        "uri-reference" | "iri-reference" => format!("/{day}"),
        "uuid" => format!("00000000-0000-4000-8000-{variation:012x}"),
        "ipv4" => format!("192.0.2.{day}"),
        "ipv6" => format!("2001:db8::{day}"),
        "json-pointer" => format!("/{day}"),
        "byte" => "c2ltdWxhdGVk".to_owned(),
        _ => return None,
    })
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
