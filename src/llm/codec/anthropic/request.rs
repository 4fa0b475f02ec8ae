//! The typed view of a request, read.

mod block;
pub(crate) mod schema;
pub(crate) mod thinking;
mod turns;
mod write;

pub(super) use self::write::encode;

use crate::{
    Rejection,
    llm::{
        Chat, Extra, Message, ResponseFormat, Role, Sampling, Tool, ToolChoice,
        codec::{
            function,
            value::{Fields, Path, document},
        },
    },
};
use serde_json::Value;

/// Reads all of a request, in which something must be said, or may. Known fields must have their types;
/// unknown ones are kept.
pub(super) fn parse(body: &[u8], may_be_silent: bool) -> Result<Chat, Rejection> {
    let mut fields = Fields::new(document(body)?, Path::Root)?;
    fields.take("model");
    fields.bool("stream")?;
    let mut messages = system(fields.take("system"))?;
    let path = Path::Root;
    let path = path.key("messages");
    let said = fields.array("messages")?;
    if said.is_empty() && !may_be_silent {
        return Err(path.fault("At least one message is required."));
    }
    for (index, value) in said.into_iter().enumerate() {
        messages.push(message(value, path.index(index))?);
    }
    let path = Path::Root;
    let path = path.key("tools");
    let tools = fields.array("tools")?.into_iter().enumerate();
    let tools = tools
        .map(|(index, value)| tool(value, path.index(index)))
        .collect::<Result<_, _>>()?;
    let (tool_choice, parallel_tool_calls) = match fields.take("tool_choice") {
        Some(value) => choice(value)?,
        None => (None, None),
    };
    let mut chat = Chat {
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        sampling: sampling(&mut fields)?,
        ..Chat::default()
    };
    let older = fields.take("output_format");
    if let Some(config) = fields.take("output_config") {
        output_config(config, &mut chat)?;
    }
    // The word for it before it was put into the other.
    if let Some(format) = older
        && chat.response_format.is_none()
    {
        match response_format(&format) {
            Some(format) => chat.response_format = Some(format),
            None => {
                chat.extra.insert("output_format".into(), format);
            }
        }
    }
    chat.extra.extend(fields.rest()?);
    Ok(chat)
}

fn system(value: Option<Value>) -> Result<Vec<Message>, Rejection> {
    let path = Path::Root;
    let path = path.key("system");
    let parts = match value {
        None => return Ok(Vec::new()),
        value => block::content(value, path)?,
    };
    Ok(vec![Message::new(Role::System, parts)])
}

fn message(value: Value, path: Path<'_>) -> Result<Message, Rejection> {
    let mut fields = Fields::new(value, path)?;
    let role = match &*fields.required("role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(path.key("role").fault("Expected user or assistant.")),
    };
    let content = fields.take("content");
    if content.is_none() {
        return Err(path.key("content").fault("A content is required."));
    }
    Ok(Message {
        role,
        parts: block::content(content, path.key("content"))?,
        name: None,
        extra: fields.rest()?,
    })
}

fn sampling(fields: &mut Fields<'_>) -> Result<Sampling, Rejection> {
    let path = Path::Root;
    let path = path.key("stop_sequences");
    let stop = fields.array("stop_sequences")?.into_iter().enumerate();
    let stop = stop
        .map(|(index, text)| path.index(index).string(text))
        .collect::<Result<_, _>>()?;
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        max_tokens: fields.count("max_tokens")?,
        stop,
        ..Sampling::default()
    })
}

fn tool(value: Value, path: Path<'_>) -> Result<Tool, Rejection> {
    let kind = value.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "custom") {
        let mut tool = Tool::new("");
        tool.extra = path.object(value)?;
        return Ok(tool);
    }
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let mut tool = function::read(&mut fields, path, "input_schema")?;
    tool.extra = fields.rest()?;
    Ok(tool)
}

/// Which tool, and whether several at once.
fn choice(value: Value) -> Result<(Option<ToolChoice>, Option<bool>), Rejection> {
    let path = Path::Root;
    let path = path.key("tool_choice");
    let whole = value.clone();
    let mut fields = Fields::new(value, path)?;
    let kind = fields.required("type")?;
    let alone = fields.bool("disable_parallel_tool_use")?;
    let choice = match &*kind {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Tool(fields.required("name")?),
        _ => return Ok((Some(ToolChoice::Other(whole)), None)),
    };
    if !fields.rest()?.is_empty() {
        return Ok((Some(ToolChoice::Other(whole)), None));
    }
    Ok((Some(choice), alone.map(|alone| !alone)))
}

/// What of it has a place in the model of this crate; the rest is kept.
fn output_config(value: Value, chat: &mut Chat) -> Result<(), Rejection> {
    let path = Path::Root;
    let mut config: Extra = path.key("output_config").object(value)?;
    if let Some(Value::String(effort)) = config.get("effort") {
        chat.effort = Some(effort.clone());
        config.remove("effort");
    }
    if let Some(format) = config.get("format").and_then(response_format) {
        chat.response_format = Some(format);
        config.remove("format");
    }
    if !config.is_empty() {
        chat.extra.insert("output_config".into(), config.into());
    }
    Ok(())
}

/// Other dialects want a name for a schema.
pub(super) const SCHEMA: &str = "answer";

fn response_format(value: &Value) -> Option<ResponseFormat> {
    let fields = value.as_object()?;
    let plain = fields.len() == 2 && fields.get("type")?.as_str()? == "json_schema";
    let schema = fields.get("schema").filter(|_| plain)?;
    Some(ResponseFormat::JsonSchema {
        name: SCHEMA.into(),
        description: None,
        schema: Some(schema.clone()),
        strict: Some(true),
    })
}
