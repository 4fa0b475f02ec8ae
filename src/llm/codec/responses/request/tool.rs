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
    let kind = match value.get("type") {
        Some(Value::String(kind)) => kind,
        _ => return Err(path.key("type").fault("A string is required.")),
    };
    if kind != "function" {
        let mut tool = Tool::new("");
        tool.extra = path.object(value)?;
        return Ok(tool);
    }
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let mut tool = function::read(&mut fields, path, "parameters")?;
    tool.extra = fields.rest()?;
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
    let plain = fields.len() == 2 && fields.get("type").is_some_and(|kind| kind == "function");
    match fields.get("name") {
        Some(Value::String(name)) if plain => Ok(ToolChoice::Tool(name.clone())),
        _ => Ok(ToolChoice::Other(value)),
    }
}

pub(super) fn format(value: Value, path: Path<'_>) -> Result<ResponseFormat, Rejection> {
    let whole = value.clone();
    let mut fields = Fields::new(value, path)?;
    let format = match &*fields.required("type")? {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => ResponseFormat::JsonSchema {
            name: fields.required("name")?,
            description: fields.string("description")?,
            schema: fields.take("schema"),
            strict: fields.bool("strict")?,
        },
        _ => return Ok(ResponseFormat::Other(whole)),
    };
    match fields.rest()?.is_empty() {
        true => Ok(format),
        false => Ok(ResponseFormat::Other(whole)),
    }
}
