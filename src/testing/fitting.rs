//! What a helpful vendor would answer to anything.

use super::{Recorded, Reply, Turn};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How deep a schema is followed.
const DEPTH: usize = 16;

impl Turn {
    /// A script for clients that are under test themselves: answers what the request asks for.
    ///
    /// Calls a tool when tools are offered and the last message is not a tool's result (every tool
    /// that is offered, if the message says `both` or `parallel`), answers JSON that fits a schema
    /// that is asked for, and else repeats the last text. A model named `mock-401`, `mock-429`,
    /// `mock-500`, `mock-503`, `mock-broken` (an error in mid-stream), `mock-cut` or `mock-silent`
    /// fails in that way; one named `mock-thinks` thinks first.
    ///
    /// ```
    /// # use tower_gateway::testing::{MockVendor, Turn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let vendor = MockVendor::start(Turn::fitting).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fitting(request: &Recorded) -> Self {
        let body = request.json();
        let empty = Value::Null;
        let last = body["messages"]
            .as_array()
            .and_then(|messages| messages.last())
            .unwrap_or(&empty);
        let text = text(if last.is_null() {
            &body["prompt"]
        } else {
            &last["content"]
        });
        match body["model"].as_str().unwrap_or_default() {
            "mock-401" => return Self::unauthorized("sk-mock-0000000000"),
            "mock-429" => return Self::rate_limited(Duration::from_secs(2)),
            "mock-500" => return Self::server_error(),
            "mock-503" => return Self::overloaded(),
            "mock-thinks" => return Self::text(text).reasoning("It thinks."),
            "mock-broken" => return Self::text(text).error_after(2),
            "mock-cut" => {
                return Self::text(text).on_wire(|reply| {
                    let most = reply.body().len() * 2 / 3;
                    reply.cut_after(most)
                });
            }
            "mock-silent" => return Self::reply(Reply::silent()),
            _ => {}
        }
        let tools = functions(&body);
        if !tools.is_empty() && last["role"] != "tool" && body["tool_choice"] != "none" {
            let many = ["both", "parallel"].iter().any(|word| text.contains(word));
            let named = &body["tool_choice"]["function"]["name"];
            let chosen = tools
                .into_iter()
                .filter(|(name, _)| named.is_null() || named.as_str() == Some(name));
            let calls = chosen.map(|(name, schema)| (name, example(&schema, &schema, 0)));
            return Self::tool_calls(calls.take(if many { usize::MAX } else { 1 }));
        }
        let format = &body["response_format"];
        match format["type"].as_str() {
            Some("json_schema") => {
                let schema = &format["json_schema"]["schema"];
                Self::text(example(schema, schema, 0).to_string())
            }
            Some("json_object") => Self::text(json!({ "answer": text }).to_string()),
            _ if text.is_empty() => Self::text("Hello from the mock vendor."),
            _ => Self::text(text),
        }
    }
}

/// The text of a message, or of a prompt.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn functions(body: &Value) -> Vec<(String, Value)> {
    let tools = body["tools"].as_array().into_iter().flatten();
    let functions = tools.filter_map(|tool| {
        let function = &tool["function"];
        Some((
            function["name"].as_str()?.to_owned(),
            function["parameters"].clone(),
        ))
    });
    functions.collect()
}

/// A value that fits a schema of the kind that tools have.
fn example(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH {
        return Value::Null;
    }
    let next = |schema: &Value| example(schema, root, depth + 1);
    if let Some(path) = schema["$ref"].as_str() {
        let target = path.strip_prefix('#').and_then(|path| root.pointer(path));
        return target.map_or(Value::Null, next);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for list in ["enum", "examples"] {
        if let Some(first) = schema[list].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
    }
    for list in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[list].as_array().and_then(|kinds| kinds.first()) {
            return next(first);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    let least = |name: &str| schema[name].as_u64().unwrap_or(0);
    match kind {
        Some("string") => {
            let length = usize::try_from(least("minLength").min(1_000)).unwrap_or(0);
            json!(format!("{:x<length$}", "text"))
        }
        Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(1)),
        Some("number") => json!(schema["minimum"].as_f64().unwrap_or(1.5)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let items = least("minItems").clamp(1, 100);
            (0..items).map(|_| next(&schema["items"])).collect()
        }
        _ => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields = fields.map(|(name, schema)| (name.clone(), next(schema)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_fits_its_schema() {
        let schema = json!({
            "type": "object",
            "$defs": { "unit": { "enum": ["celsius", "fahrenheit"] } },
            "properties": {
                "city": { "type": "string", "minLength": 6 },
                "days": { "type": "integer", "minimum": 3 },
                "unit": { "$ref": "#/$defs/unit" },
                "tags": { "type": "array", "items": { "type": "boolean" }, "minItems": 2 },
                "note": { "type": ["null", "string"] },
            },
        });
        assert_eq!(
            example(&schema, &schema, 0),
            json!({ "city": "textxx", "days": 3, "unit": "celsius", "tags": [true, true], "note": null })
        );
    }

    #[test]
    fn a_schema_within_itself_has_an_end() {
        let schema = json!({ "type": "object", "properties": { "next": { "$ref": "#" } } });
        assert!(example(&schema, &schema, 0).is_object());
    }
}
