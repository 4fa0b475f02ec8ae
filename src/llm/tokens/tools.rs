//! What tools and schemas cost.
//!
//! For OpenAI's models after the count in OpenAI's cookbook, which covers flat schemas, carried on
//! into nested ones. Others are told the JSON.

use super::{
    TooLong,
    encoding::{Encoding, Work},
    model::{Family, ModelTokenizer},
};
use crate::llm::message::{Chat, Tool, ToolChoice};
use serde_json::{Value, json};

/// What stands around a call, and around its result.
pub(super) const AROUND_A_CALL: u64 = 6;
pub(super) const AROUND_A_RESULT: u64 = 2;
const AROUND_A_SCHEMA: u64 = 4;

/// Schemas that nest deeper count as if they ended here.
const DEEPEST: usize = 32;

pub(super) fn all(
    model: &ModelTokenizer<'_>,
    chat: &Chat,
    work: &mut Work,
) -> Result<u64, TooLong> {
    // Those that must not be called are told too.
    if chat.tools.is_empty() {
        return Ok(0);
    }
    let around = match (model.family(), &chat.tool_choice) {
        (Family::OpenAi | Family::Other, _) => 12,
        // The system prompt for the use of tools: as Anthropic publishes it, and as is recorded of
        // later models.
        (Family::Anthropic, choice) => {
            let early = ["claude-3", "-4-0", "-4-1", "-4-2"];
            let early = early.iter().any(|part| model.model().contains(part));
            match choice {
                _ if !early => 500,
                Some(ToolChoice::Required | ToolChoice::Tool(_)) => 313,
                _ => 346,
            }
        }
        (Family::Gemini, _) => 20,
        (Family::Mistral, _) => 10,
        (Family::DeepSeek, _) => 300,
        (Family::Llama | Family::Cohere | Family::Qwen, _) => 100,
    };
    chat.tools.iter().try_fold(around, |sum, tool| {
        let tokens = match model.family() {
            Family::OpenAi => function(model, tool, work)?,
            _ => json_of(model, tool, work)?,
        };
        Ok(sum + tokens)
    })
}

/// What the schema of an answer costs.
pub(super) fn schema(
    model: &ModelTokenizer<'_>,
    name: &str,
    schema: Option<&Value>,
    work: &mut Work,
) -> Result<u64, TooLong> {
    let name = model.measure(name, work)?;
    let schema = match schema {
        Some(schema) => model.measure(&schema.to_string(), work)?,
        None => 0,
    };
    Ok(AROUND_A_SCHEMA + name + schema)
}

fn json_of(model: &ModelTokenizer<'_>, tool: &Tool, work: &mut Work) -> Result<u64, TooLong> {
    let told = match tool.name.is_empty() {
        true => Value::Object(tool.extra.clone()),
        false => json!({
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        }),
    };
    model.measure(&told.to_string(), work)
}

/// 7 for each function, or 10 in the older encoding; 3 for having properties.
fn function(model: &ModelTokenizer<'_>, tool: &Tool, work: &mut Work) -> Result<u64, TooLong> {
    if tool.name.is_empty() {
        return json_of(model, tool, work);
    }
    let description = tool.description.as_deref().unwrap_or_default();
    let description = description.strip_suffix('.').unwrap_or(description);
    let line = format!("{}:{description}", tool.name);
    let around = match model.encoding() {
        Encoding::Cl100k => 10,
        Encoding::O200k => 7,
    };
    let tokens = around + model.measure(&line, work)?;
    match &tool.parameters {
        Some(parameters) => Ok(tokens + properties(model, parameters, DEEPEST, work)?),
        None => Ok(tokens),
    }
}

/// 3 for each property beside its line, and 3 for each value of an enumeration but the first.
fn properties(
    model: &ModelTokenizer<'_>,
    schema: &Value,
    deeper: usize,
    work: &mut Work,
) -> Result<u64, TooLong> {
    let (Some(schema), Some(deeper)) = (schema.as_object(), deeper.checked_sub(1)) else {
        return Ok(0);
    };
    let mut tokens = 0;
    if let Some(Value::Object(all)) = schema.get("properties").filter(|all| *all != &json!({})) {
        tokens += 3;
        for (name, property) in all {
            tokens += 3 + line(model, name, property, work)?;
            tokens += properties(model, property, deeper, work)?;
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner) {
            tokens += properties(model, inner, deeper, work)?;
        }
    }
    for several in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for inner in schema
            .get(several)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            tokens += properties(model, inner, deeper, work)?;
        }
    }
    for several in ["$defs", "definitions"] {
        for inner in schema
            .get(several)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            tokens += properties(model, inner.1, deeper, work)?;
        }
    }
    Ok(tokens)
}

/// `name:type:description`, and the values that it may have.
fn line(
    model: &ModelTokenizer<'_>,
    name: &str,
    property: &Value,
    work: &mut Work,
) -> Result<u64, TooLong> {
    let text = |field: &str| match property.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let description = text("description");
    let description = description.strip_suffix('.').unwrap_or(&description);
    let mut tokens = model.measure(&format!("{name}:{}:{description}", text("type")), work)?;
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        for value in values {
            tokens += 3 + match value {
                Value::String(text) => model.measure(text, work)?,
                value => model.measure(&value.to_string(), work)?,
            };
        }
        tokens = tokens.saturating_sub(3);
    }
    Ok(tokens)
}
