//! One OpenAPI 3.1 document for all prompts.
//!
//! It is made of what the registry holds, when it is asked for: other prompts, other schemas. What is
//! derived from types when this is compiled knows none of them.

mod fixed;
mod names;
mod schemas;

use self::{names::Names, schemas::Components};
use super::{Settings, answer::is_json, asked::Query, describe::MOST, json};
use crate::{
    Body, Rejection,
    llm::ResponseFormat,
    prompt::{Found, Prompt},
};
use http::{Response, request::Parts};
use serde_json::{Map, Value, json as value};

impl Settings {
    pub(super) fn document(&self, parts: &Parts) -> Result<Response<Body>, Rejection> {
        Query::read(parts.uri.query(), &[])?;
        let (offered, _) = self.offered(None, MOST, parts);
        Ok(json(&document(&offered, self)))
    }
}

/// The document of these prompts.
fn document(offered: &[Found], settings: &Settings) -> Value {
    let root = &*settings.path();
    let names = Names::new(offered.iter().map(|found| &**found.version.name()));
    let mut components = Components::new(fixed::schemas());
    let mut paths = fixed::paths(root);
    for found in offered {
        let name = found.version.name();
        let item = path(found, &names, &mut components);
        paths.insert(format!("{root}/{name}"), item);
    }
    let mut document = value!({
        "openapi": "3.1.0",
        "info": {
            "title": &*settings.title,
            "description": "Each prompt is an endpoint: variables in, an answer out.",
            "version": "1",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": fixed::TAG, "description": "Prompts, each by its name."}],
        "paths": paths,
        "components": {
            "schemas": components.into_map(),
            "responses": fixed::responses(),
        },
    });
    if settings.has_security
        && let Some(map) = document.as_object_mut()
    {
        let scheme = value!({"bearer": {"type": "http", "scheme": "bearer"}});
        if let Some(components) = map.get_mut("components").and_then(Value::as_object_mut) {
            components.insert("securitySchemes".to_owned(), scheme);
        }
        map.insert("security".to_owned(), value!([{"bearer": []}]));
    }
    document
}

/// What can be done with a prompt.
fn path(found: &Found, names: &Names<'_>, components: &mut Components) -> Value {
    let (name, prompt) = (found.version.name(), found.version.prompt());
    let operation = names.operation(name);
    let schema = names.schema(name);
    let variables = components.add(&format!("{schema}Variables"), |components, own| {
        variables(prompt, own, components)
    });
    let answer = components.add(&format!("{schema}Answer"), |components, _| {
        answer(prompt, &schema, components)
    });
    let summary = format!("Calls the prompt {name}.");
    let told = prompt.description.as_deref().unwrap_or(&summary);
    let answered = value!({
        "description": "What the model said.",
        "headers": {
            "x-gateway-prompt": header("The version that was used, as `name@version`."),
            "x-gateway-prompt-call": header("By what name the call can be scored."),
        },
        "content": {
            "application/json": {"schema": answer},
            // Without a type: it is a text, of which some readers see each event as an object.
            "text/event-stream": {"schema": {
                "description": "Events: `text` with more of it, `done` with the answer, `error` with a problem.",
                "properties": {
                    "event": {"enum": ["text", "done", "error"]},
                    "data": {"type": "string", "contentMediaType": "application/json"},
                },
            }},
        },
    });
    let stream = value!({
        "name": "stream",
        "in": "query",
        "description": "Whether the answer comes piece by piece, as events. Without it that is up to `Accept`.",
        "schema": {"type": "boolean"},
    });
    let described = value!({
        "description": "What the prompt is.",
        "content": {"application/json": {"schema": fixed::schema("PromptDescription")}},
    });
    value!({
        "parameters": fixed::version_parameters(),
        "get": {
            "operationId": format!("describe_{operation}"),
            "tags": [fixed::TAG],
            "summary": format!("Describes the prompt {name}."),
            "responses": fixed::answers(described, &["400", "403", "404", "503"]),
        },
        "post": {
            "operationId": operation,
            "tags": [fixed::TAG],
            "summary": summary,
            "description": told,
            "parameters": [stream],
            "requestBody": {
                "required": true,
                "description": "The variables.",
                "content": {"application/json": {"schema": variables}},
            },
            "responses": fixed::answers(answered, &[
                "400", "403", "404", "408", "413", "415", "500", "502", "503", "504",
            ]),
        },
    })
}

fn header(description: &str) -> Value {
    value!({"description": description, "schema": {"type": "string"}})
}

fn variables(prompt: &Prompt, own: &str, components: &mut Components) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, variable) in &prompt.variables {
        let schema = components.embed(variable.schema(), &format!("{own}{}", names::pascal(name)));
        properties.insert(name.clone(), schema);
        if variable.is_required() {
            required.push(Value::from(name.as_str()));
        }
    }
    let mut schema = value!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let Some(map) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        map.insert("required".to_owned(), required.into());
    }
    schema
}

fn answer(prompt: &Prompt, prefix: &str, components: &mut Components) -> Value {
    let mut properties = value!({
        "prompt": {"type": "string"},
        "version": {"type": "integer", "minimum": 1},
        "label": {"type": "string"},
    });
    let mut required = vec!["prompt", "version", "attempts"];
    let has_tools = !prompt.tools.is_empty();
    let mut put = |name: &str, schema: Value| {
        if let Some(map) = properties.as_object_mut() {
            map.insert(name.to_owned(), schema);
        }
    };
    if is_json(prompt.output.as_ref()) {
        let schema = match &prompt.output {
            Some(ResponseFormat::JsonSchema {
                schema: Some(schema),
                ..
            }) => components.add(&format!("{prefix}Output"), |components, own| {
                components.embed(schema, own)
            }),
            Some(ResponseFormat::JsonObject) => value!({"type": "object"}),
            _ => value!({}),
        };
        put("output", schema);
        if !has_tools {
            required.push("output");
        }
    } else {
        put("text", value!({"type": "string"}));
        required.push("text");
    }
    if has_tools {
        let calls = value!({"type": "array", "items": fixed::schema("ToolCall")});
        put("tool_calls", calls);
    }
    put("finish_reason", fixed::finish_reason());
    put("usage", fixed::schema("Usage"));
    put(
        "attempts",
        value!({"type": "integer", "minimum": 1, "maximum": 2}),
    );
    value!({"type": "object", "properties": properties, "required": required})
}
