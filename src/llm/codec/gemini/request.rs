//! The typed view of a request, read.

mod config;
mod part;
mod schema;
mod thinking;
mod turns;
mod write;

pub(super) use self::write::encode;

use self::part::Calls;
use crate::{
    Rejection,
    llm::{
        Chat, Extra, Message, Role, Tool, ToolChoice,
        codec::value::{Fields, Path, document},
    },
};
use serde_json::{Map, Value};

/// Reads all of a request, in which something must be said, or may. Known fields must have their types;
/// unknown ones are kept.
pub(super) fn parse(body: &[u8], may_be_silent: bool) -> Result<Chat, Rejection> {
    let root = Path::Root;
    let mut whole = camel(document(body)?, root)?;
    // What is counted may stand a level deeper.
    let inner = root.key("generateContentRequest");
    let mut path = root;
    if let Some(deeper) = whole.get_mut("generateContentRequest")
        && !deeper.is_null()
    {
        whole = camel(deeper.take(), inner)?;
        path = inner;
    }
    let mut fields = Fields::new(whole, path)?;
    fields.take("model");
    let mut calls = Calls::default();
    let mut messages = Vec::new();
    let at = path.key("systemInstruction");
    match fields.take("systemInstruction") {
        None => {}
        Some(Value::String(text)) => messages.push(Message::text(Role::System, text)),
        Some(value) => {
            let mut message = content(value, at, &mut calls)?;
            message.role = Role::System;
            messages.push(message);
        }
    }
    let at = path.key("contents");
    let said = listed(fields.take("contents"), at)?;
    if said.is_empty() && !may_be_silent {
        return Err(at.fault("At least one content is required."));
    }
    for (index, value) in said.into_iter().enumerate() {
        messages.push(content(value, at.index(index), &mut calls)?);
    }
    let mut chat = Chat {
        messages,
        ..Chat::default()
    };
    let at = path.key("tools");
    for (index, value) in listed(fields.take("tools"), at)?.into_iter().enumerate() {
        tools(value, at.index(index), &mut chat.tools)?;
    }
    if let Some(value) = fields.take("toolConfig") {
        let at = path.key("toolConfig");
        let mut config = Fields::new(camel(value, at)?, at)?;
        if let Some(value) = config.take("functionCallingConfig") {
            chat.tool_choice = Some(choice(value, at.key("functionCallingConfig"))?);
        }
        under("toolConfig", config.rest()?, &mut chat.extra);
    }
    if let Some(value) = fields.take("generationConfig") {
        config::read(value, path.key("generationConfig"), &mut chat)?;
    }
    chat.extra.extend(fields.rest()?);
    Ok(chat)
}

/// Fields that have no place in the model of this crate, each under its path.
fn under(place: &str, fields: Extra, out: &mut Extra) {
    for (key, value) in fields {
        if !value.is_null() {
            out.insert(format!("{place}.{key}"), value);
        }
    }
}

/// An object with the names of its fields in the one spelling. The vendor takes either.
pub(super) fn camel(value: Value, path: Path<'_>) -> Result<Value, Rejection> {
    let fields = path.object(value)?;
    if !fields.keys().any(|key| key.contains('_')) {
        return Ok(fields.into());
    }
    let mut out = Map::with_capacity(fields.len());
    for (key, value) in fields {
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        let mut name = String::with_capacity(key.len());
        match key.starts_with('_') || !key.chars().all(plain) {
            true => name.push_str(&key),
            false => {
                let mut upper = false;
                for char in key.chars() {
                    match char {
                        '_' => upper = true,
                        char if std::mem::take(&mut upper) => name.push(char.to_ascii_uppercase()),
                        char => name.push(char),
                    }
                }
            }
        }
        if out.insert(name, value).is_some() {
            return Err(path
                .key(&key)
                .fault("A field is given in both of its spellings."));
        }
    }
    Ok(out.into())
}

/// An array, or the one that would be in it.
fn listed(value: Option<Value>, path: Path<'_>) -> Result<Vec<Value>, Rejection> {
    match value {
        None => Ok(Vec::new()),
        Some(one @ Value::Object(_)) => Ok(vec![one]),
        Some(value) => path.array(value),
    }
}

fn content(value: Value, path: Path<'_>, calls: &mut Calls) -> Result<Message, Rejection> {
    let mut fields = Fields::new(camel(value, path)?, path)?;
    let role = match fields.string("role")?.as_deref() {
        None | Some("user" | "function" | "tool" | "system" | "") => Role::User,
        Some("model") => Role::Assistant,
        Some(_) => return Err(path.key("role").fault("Expected user or model.")),
    };
    let at = path.key("parts");
    let mut parts = Vec::new();
    for (index, value) in listed(fields.take("parts"), at)?.into_iter().enumerate() {
        part::read(value, at.index(index), calls, &mut parts)?;
    }
    let mut message = Message::new(role, parts);
    message.extra = fields.rest()?;
    Ok(message)
}

/// The functions that are declared, and in one entry the tools of the vendor itself.
fn tools(value: Value, path: Path<'_>, out: &mut Vec<Tool>) -> Result<(), Rejection> {
    let mut fields = Fields::new(camel(value, path)?, path)?;
    let at = path.key("functionDeclarations");
    let declared = listed(fields.take("functionDeclarations"), at)?;
    for (index, value) in declared.into_iter().enumerate() {
        let at = at.index(index);
        let mut fields = Fields::new(camel(value, at)?, at)?;
        let name = fields.required("name")?;
        if name.is_empty() {
            return Err(at.key("name").fault("A name is required."));
        }
        let own = fields.take("parameters");
        let parameters = match fields.take("parametersJsonSchema") {
            Some(schema) => Some(schema),
            None => own.map(schema::plain),
        };
        if parameters
            .as_ref()
            .is_some_and(|schema| !schema.is_object())
        {
            return Err(at.key("parameters").fault("Expected an object."));
        }
        out.push(Tool {
            description: fields
                .string("description")?
                .filter(|text| !text.is_empty()),
            parameters,
            strict: None,
            extra: fields.rest()?,
            name,
        });
    }
    let rest = fields.rest()?;
    if !rest.is_empty() {
        let mut tool = Tool::new("");
        tool.extra = rest;
        out.push(tool);
    }
    Ok(())
}

fn choice(value: Value, path: Path<'_>) -> Result<ToolChoice, Rejection> {
    let whole = camel(value, path)?;
    let mut fields = Fields::new(whole.clone(), path)?;
    let mode = fields
        .string("mode")?
        .unwrap_or_default()
        .to_ascii_uppercase();
    let mut allowed = fields.array("allowedFunctionNames")?;
    if !fields.rest()?.is_empty() {
        return Ok(ToolChoice::Other(whole));
    }
    Ok(match (&*mode, allowed.len()) {
        ("AUTO" | "MODE_UNSPECIFIED" | "", 0) => ToolChoice::Auto,
        ("NONE", _) => ToolChoice::None,
        ("ANY", 0) => ToolChoice::Required,
        ("ANY", 1) => match allowed.pop() {
            Some(Value::String(name)) => ToolChoice::Tool(name),
            _ => return Err(path.key("allowedFunctionNames").fault("Expected strings.")),
        },
        _ => ToolChoice::Other(whole),
    })
}
