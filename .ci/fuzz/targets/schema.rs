//! What the simulator makes for a schema satisfies it, if it can be satisfied, and any JSON is a schema
//! that comes to an end.
#![no_main]

use boon::{Compiler, Draft, Schemas};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tower::ServiceExt;
use tower_gateway::llm::{ChatRequest, ResponseFormat, Simulator, Tool};
use tower_gateway_fuzz::block_on;

fuzz_target!(|input: &[u8]| {
    let [kind, rest @ ..] = input else {
        return;
    };
    if kind & 1 == 1 {
        // A format that is no object is refused.
        if let Ok(schema) = serde_json::from_slice::<Value>(rest)
            && (schema.is_object() || kind & 2 == 2)
        {
            let made = made(&schema, kind & 2 == 2);
            assert!(made.len() < 4 << 20, "{} bytes", made.len());
        }
        return;
    }
    let schema = Source(rest).root(kind & 2 == 2);
    let made = made(&schema, kind & 2 == 2);
    let value: Value = serde_json::from_str(&made).expect("JSON");
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.add_resource("schema:it", schema.clone()).unwrap();
    let index = compiler.compile("schema:it", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&value, index) {
        panic!("{schema}\nhas {value}\n{error:#}");
    }
});

fn made(schema: &Value, tool: bool) -> String {
    let mut request = ChatRequest::new()
        .for_model("m")
        .user("In \"Paris\" at 7, both");
    let chat = request.chat_mut().unwrap();
    if tool {
        let mut tool = Tool::new("f");
        tool.parameters = Some(schema.clone());
        chat.tools.push(tool);
    } else {
        chat.response_format = Some(ResponseFormat::JsonSchema {
            name: "it".into(),
            description: None,
            schema: Some(schema.clone()),
            strict: None,
        });
    }
    block_on(async {
        let answer = Simulator::new().oneshot(request).await.unwrap();
        let completion = answer.completion().await.unwrap();
        match tool {
            false => completion.text(),
            true => {
                let calls = completion.tool_calls();
                calls
                    .map(|call| call.arguments.clone())
                    .last()
                    .expect("a call")
            }
        }
    })
}

/// Makes schemas that can be satisfied out of bytes.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn next(&mut self, below: u64) -> u64 {
        let Some((byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        u64::from(*byte) % below
    }

    fn root(&mut self, object: bool) -> Value {
        let of = match object {
            true => self.object(0),
            false => self.schema(0),
        };
        json!({
            "$ref": "#/$defs/root",
            "$defs": {
                "root": of,
                "a/b": { "type": "integer", "minimum": 3 },
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
        })
    }

    fn schema(&mut self, depth: usize) -> Value {
        let kinds = if depth < 3 { 18 } else { 13 };
        match self.next(kinds) {
            0 => json!({}),
            1 => json!(true),
            2 => json!({ "const": self.value() }),
            3 => json!({ "enum": [self.value(), self.value()] }),
            4 => {
                let kinds = ["string", "null", "integer", "boolean", "object", "array"];
                let (one, other) = (self.next(6), self.next(5) + 1);
                json!({ "type": [kinds[one as usize], kinds[((one + other) % 6) as usize]] })
            }
            5 => {
                let least = self.next(20);
                json!({ "type": "string", "minLength": least, "maxLength": least + self.next(20) })
            }
            6 => {
                const PATTERNS: [&str; 12] = [
                    "^[a-z]+$",
                    "^\\d{3}-\\d{4}$",
                    "^(foo|bar)+$",
                    "a.c",
                    "^[^x]$",
                    "^\\w+@\\w+\\.com$",
                    "^$",
                    "^(a(b|c){2,3}){1,2}$",
                    "[A-Z]{2,}",
                    "^\\S+\\s\\S+$",
                    "^[\\-+]?[0-9]+$",
                    "x{0,3}$",
                ];
                json!({ "type": "string", "pattern": PATTERNS[self.next(12) as usize] })
            }
            7 => {
                const FORMATS: [&str; 8] = [
                    "date-time",
                    "date",
                    "time",
                    "email",
                    "hostname",
                    "uri",
                    "uuid",
                    "ipv6",
                ];
                json!({ "type": "string", "format": FORMATS[self.next(8) as usize] })
            }
            8 => self.integer(),
            9 => self.number(),
            10 => json!({ "$ref": "#/$defs/node" }),
            11 => json!({ "$ref": "#/$defs/a~1b" }),
            12 => json!({ "oneOf": [
                { "type": "string", "minLength": self.next(9) },
                self.integer(),
                { "type": "null" },
            ] }),
            13 => {
                let all: Vec<_> = (0..=self.next(3)).map(|_| self.schema(depth + 1)).collect();
                json!({ "anyOf": all })
            }
            14 => json!({ "allOf": [self.schema(depth + 1), {}] }),
            15 => {
                let (mut one, mut other) = (self.object(depth), self.object(depth));
                for (part, name) in [(&mut one, "left"), (&mut other, "right")] {
                    let properties = part["properties"].take();
                    let words = part.as_object_mut().unwrap();
                    words.retain(|word, _| {
                        !matches!(
                            &**word,
                            "additionalProperties" | "minProperties" | "maxProperties"
                        )
                    });
                    part["required"] = json!([]);
                    let renamed = properties.as_object().unwrap().iter();
                    part["properties"] = renamed
                        .map(|(key, value)| (format!("{name}{key}"), value.clone()))
                        .collect::<Map<_, _>>()
                        .into();
                }
                json!({ "allOf": [one, other] })
            }
            16 => self.array(depth),
            _ => self.object(depth),
        }
    }

    fn value(&mut self) -> Value {
        match self.next(7) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(self.next(200)),
            3 => json!("text"),
            4 => json!([1, { "a": null }]),
            5 => json!({ "a": { "b": [] } }),
            _ => json!(self.next(200) as f64 / 8.0),
        }
    }

    fn integer(&mut self) -> Value {
        let least = self.next(250) as i64 - 125;
        let most = least + self.next(100) as i64;
        match self.next(5) {
            0 => json!({ "type": "integer", "minimum": least, "maximum": most }),
            1 => {
                json!({ "type": "integer", "exclusiveMinimum": least, "exclusiveMaximum": most + 2 })
            }
            2 => json!({ "type": "integer", "minimum": least, "multipleOf": self.next(9) + 1 }),
            3 => json!({ "type": "integer", "maximum": most, "multipleOf": self.next(9) + 1 }),
            _ => {
                json!({ "type": "integer", "minimum": least as f64 + 0.5, "maximum": least as f64 + 1.5 })
            }
        }
    }

    fn number(&mut self) -> Value {
        let least = (self.next(250) as f64 - 125.0) / 4.0;
        let more = self.next(100) as f64 / 8.0;
        match self.next(4) {
            0 => json!({ "type": "number", "minimum": least, "maximum": least + more }),
            1 => {
                json!({ "type": "number", "exclusiveMinimum": least, "exclusiveMaximum": least + more + 0.125 })
            }
            2 => json!({ "minimum": least, "multipleOf": (self.next(9) + 1) as f64 / 4.0 }),
            _ => json!({ "exclusiveMaximum": least }),
        }
    }

    fn array(&mut self, depth: usize) -> Value {
        let least = self.next(4);
        match self.next(4) {
            0 => {
                let all: Vec<_> = (0..=self.next(3)).map(|_| self.schema(depth + 1)).collect();
                json!({ "type": "array", "prefixItems": all, "items": false })
            }
            1 => json!({ "type": "array", "minItems": least, "maxItems": least }),
            2 => json!({ "items": self.schema(depth + 1), "minItems": least }),
            _ => {
                let items = self.schema(depth + 1);
                json!({ "type": "array", "items": items, "minItems": least, "maxItems": least + self.next(3) })
            }
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let names = ["a", "city", "na me", "", "é", "key1"];
        let count = self.next(5) as usize;
        let mut properties = Map::new();
        let mut required = Vec::new();
        for name in &names[..count] {
            let of = self.schema(depth + 1);
            properties.insert((*name).into(), of);
            if self.next(2) == 1 {
                required.push(*name);
            }
        }
        let mut object =
            json!({ "type": "object", "properties": properties, "required": required });
        match self.next(5) {
            0 => object["additionalProperties"] = false.into(),
            1 => object["minProperties"] = (count as u64 + self.next(3)).into(),
            2 => object["maxProperties"] = (required.len() as u64 + self.next(3)).into(),
            3 => {
                object["additionalProperties"] = self.schema(depth + 1);
                object["minProperties"] = (count + 1).into();
            }
            _ => {}
        }
        object
    }
}
