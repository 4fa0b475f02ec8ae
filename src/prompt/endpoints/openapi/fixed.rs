//! What the document says whatever prompts there are.

use crate::prompt::endpoints::asked::DOCUMENT;
use serde_json::{Map, Value, json};

pub(super) const TAG: &str = "prompts";

/// A reference to a schema of the document.
pub(super) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn finish_reason() -> Value {
    json!({
        "type": "string",
        "enum": ["stop", "length", "tool_calls", "content_filter", "paused"],
        "description": "Why the answer ended.",
    })
}

pub(super) fn schemas() -> Map<String, Value> {
    let all = [
        (
            "Problem",
            json!({
                "type": "object",
                "description": "What went wrong (RFC 9457).",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "detail": {"type": "string", "description": "A sentence for people."},
                    "code": {"type": "string", "description": "A name for programs."},
                    "param": {
                        "type": "string",
                        "description": "What is at fault: a JSON pointer into the body, or the name of a parameter or a header.",
                    },
                    "line": {"type": "integer"},
                    "column": {"type": "integer"},
                    "errors": {"type": "array", "items": schema("Fault")},
                    "violated-policies": {"type": "array", "items": {"type": "string"}},
                    "request_id": {"type": "string"},
                },
                "required": ["type", "title", "status", "detail", "code"],
            }),
        ),
        (
            "Fault",
            json!({
                "type": "object",
                "properties": {
                    "param": {"type": "string", "description": "Where: a JSON pointer."},
                    "detail": {"type": "string"},
                },
                "required": ["param", "detail"],
            }),
        ),
        (
            "Usage",
            json!({
                "type": "object",
                "description": "What was used, in tokens.",
                "properties": {
                    "input_tokens": {"type": "integer", "minimum": 0},
                    "output_tokens": {"type": "integer", "minimum": 0},
                },
                "required": ["input_tokens", "output_tokens"],
            }),
        ),
        (
            "ToolCall",
            json!({
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "name": {"type": "string"},
                    "arguments": {"type": "string", "description": "JSON, as the model wrote it."},
                },
                "required": ["id", "name", "arguments"],
            }),
        ),
        (
            "PromptList",
            json!({
                "type": "object",
                "properties": {
                    "prompts": {"type": "array", "items": schema("PromptSummary")},
                    "more": {"type": "boolean", "description": "Whether there are more after the last one."},
                },
                "required": ["prompts", "more"],
            }),
        ),
        ("PromptSummary", summary(&[])),
        (
            "PromptDescription",
            summary(&[
                (
                    "variables",
                    json!({
                        "type": "object",
                        "additionalProperties": schema("PromptVariable"),
                    }),
                ),
                (
                    "variables_schema",
                    object("The JSON schema of the object of variables."),
                ),
                (
                    "labels",
                    object(
                        "Where its labels point: at the number of a version, or at several with their shares.",
                    ),
                ),
            ]),
        ),
        (
            "PromptVariable",
            json!({
                "type": "object",
                "properties": {
                    "schema": object("Its JSON schema."),
                    "required": {"type": "boolean"},
                    "default": {"description": "What it is if nothing is said."},
                },
                "required": ["schema", "required"],
            }),
        ),
    ];
    all.into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn object(description: &str) -> Value {
    json!({"type": "object", "description": description})
}

/// What a list says of a prompt, and these.
fn summary(more: &[(&str, Value)]) -> Value {
    let mut properties = json!({
        "name": {"type": "string"},
        "version": {"type": "integer", "minimum": 1},
        "label": {"type": "string"},
        "description": {"type": "string"},
        "answers": {"type": "string", "enum": ["text", "json"]},
    });
    let mut required = vec!["name", "version", "answers"];
    if let Some(map) = properties.as_object_mut() {
        for (name, schema) in more {
            map.insert((*name).to_owned(), schema.clone());
            required.push(name);
        }
        if !more.is_empty() {
            let schema = object("The JSON schema of its output.");
            map.insert("output_schema".to_owned(), schema);
        }
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// Which version is asked for.
pub(super) fn version_parameters() -> Value {
    json!([
        {
            "name": "version",
            "in": "query",
            "description": "The number of the version. Beside `label`: only if that points at it.",
            "schema": {"type": "integer", "minimum": 1, "maximum": u32::MAX},
        },
        {
            "name": "label",
            "in": "query",
            "description": "The label of the version, or `latest`.",
            "schema": {"type": "string"},
        },
    ])
}

pub(super) fn paths(root: &str) -> Map<String, Value> {
    let list = json!({
        "get": {
            "operationId": "list_prompts",
            "tags": [TAG],
            "summary": "Lists the prompts that the caller may use.",
            "parameters": [
                {
                    "name": "after",
                    "in": "query",
                    "description": "The name after which the list begins.",
                    "schema": {"type": "string"},
                },
                {
                    "name": "limit",
                    "in": "query",
                    "description": "How many at the most.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                },
            ],
            "responses": answers(
                json!({
                    "description": "The prompts.",
                    "content": {"application/json": {"schema": schema("PromptList")}},
                }),
                &["400", "403"],
            ),
        },
    });
    let document = json!({
        "get": {
            "operationId": "get_openapi",
            "tags": [TAG],
            "summary": "This document.",
            "responses": answers(
                json!({
                    "description": "This document.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }),
                &["400", "403"],
            ),
        },
    });
    // A path begins with a slash.
    let at = if root.is_empty() { "/" } else { root };
    [
        (at.to_owned(), list),
        (format!("{root}/{DOCUMENT}"), document),
    ]
    .into_iter()
    .collect()
}

/// The answers of an operation: the good one, these, and those that any may have.
pub(super) fn answers(good: Value, more: &[&str]) -> Value {
    let mut all = Map::new();
    all.insert("200".to_owned(), good);
    let any = ["401", "405", "429", "default"];
    for status in more.iter().chain(&any) {
        let name = if *status == "default" {
            "Other"
        } else {
            status
        };
        let to = json!({"$ref": format!("#/components/responses/Problem{name}")});
        all.insert((*status).to_owned(), to);
    }
    Value::Object(all)
}

/// What each status says.
pub(super) fn responses() -> Map<String, Value> {
    let all = [
        (
            "400",
            "The request is not valid: `param` or `errors` say where.",
        ),
        ("401", "The credentials are missing or not valid."),
        ("403", "The credentials do not permit this."),
        (
            "404",
            "There is no such prompt, label, version or model for the caller.",
        ),
        ("405", "Another method is to be used: see `Allow`."),
        ("408", "The body did not arrive in time."),
        ("413", "The body, or what is made of it, is too large."),
        ("415", "The body is not JSON by its header."),
        ("429", "Too many calls in a short time: see `Retry-After`."),
        ("500", "A fault of the gateway."),
        (
            "502",
            "The model failed. `output_invalid`: it refused to answer, or answered twice what is not of the schema.",
        ),
        ("503", "Not for now: see `Retry-After`."),
        ("504", "The model did not answer in time."),
        ("Other", "Anything else that went wrong."),
    ];
    all.into_iter()
        .map(|(name, description)| {
            let response = json!({
                "description": description,
                "content": {"application/problem+json": {"schema": schema("Problem")}},
            });
            (format!("Problem{name}"), response)
        })
        .collect()
}
