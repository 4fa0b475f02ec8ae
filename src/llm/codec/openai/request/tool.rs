//! Tools, the choice of one, and the form of the answer, read.

use crate::{
    Rejection,
    llm::{
        ResponseFormat, Tool, ToolChoice,
        codec::{
            function,
            value::{Fields, Path},
        },
    },
};
use serde_json::Value;

pub(super) fn read(value: Value, path: Path<'_>) -> Result<Tool, Rejection> {
    let kind = value.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "function") {
        let mut tool = Tool::new("");
        tool.extra = path.object(value)?;
        return Ok(tool);
    }
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let path = path.key("function");
    let function = fields.take("function");
    let function = function.ok_or_else(|| path.fault("A function is required."))?;
    let mut inside = Fields::new(function, path)?;
    let mut tool = function::read(&mut inside, path, "parameters")?;
    tool.extra = fields.rest()?;
    let more = inside.rest()?;
    if !more.is_empty() {
        tool.extra.insert("function".into(), more.into());
    }
    Ok(tool)
}

pub(super) fn choice(value: Value) -> Result<ToolChoice, Rejection> {
    let path = Path::Root;
    let path = path.key("tool_choice");
    match value.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        Some(_) => return Ok(ToolChoice::Other(value)),
        None => {}
    }
    let Some(fields) = value.as_object() else {
        return Err(path.fault("Expected a string or an object."));
    };
    // What has more to say than a name is kept whole.
    let function = fields.get("function").and_then(Value::as_object);
    let name = function.and_then(|function| function.get("name"));
    let plain = fields.len() == 2
        && fields.get("type").and_then(Value::as_str) == Some("function")
        && function.is_some_and(|function| function.len() == 1);
    match name {
        Some(Value::String(name)) if plain => Ok(ToolChoice::Tool(name.clone())),
        _ => Ok(ToolChoice::Other(value)),
    }
}

pub(super) fn response_format(value: Value) -> Result<ResponseFormat, Rejection> {
    let path = Path::Root;
    let path = path.key("response_format");
    let whole = value.clone();
    let mut fields = Fields::new(value, path)?;
    let kind = fields.required("type")?;
    let format = match &*kind {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => {
            let path = path.key("json_schema");
            let value = fields.take("json_schema");
            let value = value.ok_or_else(|| path.fault("A schema is required."))?;
            let mut inside = Fields::new(value, path)?;
            let format = ResponseFormat::JsonSchema {
                name: inside.required("name")?,
                description: inside.string("description")?,
                schema: inside.take("schema"),
                strict: inside.bool("strict")?,
            };
            if !inside.rest()?.is_empty() {
                return Ok(ResponseFormat::Other(whole));
            }
            format
        }
        _ => return Ok(ResponseFormat::Other(whole)),
    };
    match fields.rest()?.is_empty() {
        true => Ok(format),
        false => Ok(ResponseFormat::Other(whole)),
    }
}
