//! Messages and their parts, read.

use super::super::thought;
use crate::{
    Rejection,
    llm::{
        Content, Media, Message, Part, Role, ToolCall,
        codec::value::{Fields, Path},
    },
};
use serde_json::Value;

pub(super) fn read(value: Value, path: Path<'_>) -> Result<Message, Rejection> {
    let mut fields = Fields::new(value, path)?;
    let role_path = path.key("role");
    let name = fields.required("role")?;
    let role = match &*name {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        // The older word, which knows its tool by name.
        "tool" | "function" => Role::Tool,
        _ => {
            return Err(role_path.fault("Expected system, developer, user, assistant or tool."));
        }
    };
    let mut parts = Vec::new();
    if role == Role::Assistant {
        parts.extend(thoughts(&mut fields)?);
    }
    let content = content(fields.take("content"), path.key("content"))?;
    match role {
        Role::Assistant => {
            parts.extend(content.unwrap_or_default());
            parts.extend(said(&mut fields, path)?);
        }
        Role::Tool => {
            let call_id = match &*name {
                "function" => String::new(),
                _ => fields.required("tool_call_id")?,
            };
            let result = Content::ToolResult {
                call_id,
                parts: content.ok_or_else(|| missing(path))?,
                is_error: None,
            };
            parts.push(result.into());
        }
        _ => parts.extend(content.ok_or_else(|| missing(path))?),
    }
    Ok(Message {
        role,
        parts,
        name: fields.string("name")?,
        extra: fields.rest()?,
    })
}

fn missing(path: Path<'_>) -> Rejection {
    path.key("content").fault("A content is required.")
}

/// What vendors that show thoughts want to see again.
fn thoughts(fields: &mut Fields<'_>) -> Result<Vec<Part>, Rejection> {
    // Both are known, whichever is read.
    fields.peek("reasoning");
    let key = match fields.peek("reasoning_content") {
        Some(_) => "reasoning_content",
        None => "reasoning",
    };
    // Some send an object under this name, which is theirs alone.
    let text = match fields.peek(key) {
        Some(Value::String(_)) => fields.string(key)?,
        _ => None,
    };
    let details = fields.peek("reasoning_details").and_then(thought::read);
    if details.is_some() {
        fields.take("reasoning_details");
    }
    let all = thought::join(text, details.unwrap_or_default()).into_iter();
    Ok(all
        .map(|thought| Content::Reasoning(thought).into())
        .collect())
}

/// What only the model says, beside its content.
fn said(fields: &mut Fields<'_>, path: Path<'_>) -> Result<Vec<Part>, Rejection> {
    let mut parts = Vec::new();
    if let Some(refusal) = fields.string("refusal")? {
        parts.push(Content::Refusal(refusal).into());
    }
    let audio = fields.peek("audio").and_then(Value::as_object);
    if let Some(audio) = audio.filter(|audio| audio.len() == 1)
        && let Some(Value::String(id)) = audio.get("id")
    {
        parts.push(Content::Audio(Media::Id(id.clone())).into());
        fields.take("audio");
    }
    let calls = path.key("tool_calls");
    for (index, value) in fields.array("tool_calls")?.into_iter().enumerate() {
        parts.push(call(value, calls.index(index))?);
    }
    if let Some(value) = fields.take("function_call") {
        let path = path.key("function_call");
        let mut function = Fields::new(value, path)?;
        let call = ToolCall {
            id: String::new(),
            name: function.required("name")?,
            arguments: function.required("arguments")?,
        };
        let content = Content::ToolCall(call);
        let extra = function.rest()?;
        parts.push(Part { content, extra });
    }
    Ok(parts)
}

fn call(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let kind = value.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "function") {
        return Ok(Content::Other(value).into());
    }
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let id = fields.string("id")?.unwrap_or_default();
    let path = path.key("function");
    let function = fields.take("function");
    let function = function.ok_or_else(|| path.fault("A function is required."))?;
    let mut function = Fields::new(function, path)?;
    let call = ToolCall {
        id,
        name: function.required("name")?,
        arguments: function.required("arguments")?,
    };
    let mut extra = fields.rest()?;
    let more = function.rest()?;
    if !more.is_empty() {
        extra.insert("function".into(), more.into());
    }
    let content = Content::ToolCall(call);
    Ok(Part { content, extra })
}

/// A text, or an array of parts. `None` if there is none.
fn content(value: Option<Value>, path: Path<'_>) -> Result<Option<Vec<Part>>, Rejection> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(vec![Part::text(text)])),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            parts
                .map(|(index, value)| part(value, path.index(index)))
                .collect::<Result<_, _>>()
                .map(Some)
        }
        Some(_) => Err(path.fault("Expected a string or an array of parts.")),
    }
}

fn part(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let whole = value.clone();
    let mut fields = Fields::new(value, path)?;
    let kind = fields.required("type")?;
    // An object within that has more than we know of stays as it is.
    let content = match &*kind {
        "text" => Some(Content::Text(fields.required("text")?)),
        "refusal" => Some(Content::Refusal(fields.required("refusal")?)),
        "image_url" => image(&mut fields, path)?,
        "input_audio" => inner(&mut fields, path, "input_audio", |fields| {
            Ok(Content::Audio(Media::Data {
                mime: fields.required("format")?,
                base64: fields.required("data")?,
            }))
        })?,
        "file" => inner(&mut fields, path, "file", file)?,
        _ => None,
    };
    match content {
        Some(content) => Ok(Part {
            content,
            extra: fields.rest()?,
        }),
        None => Ok(Content::Other(whole).into()),
    }
}

fn image(fields: &mut Fields<'_>, path: Path<'_>) -> Result<Option<Content>, Rejection> {
    if let Some(Value::String(_)) = fields.peek("image_url") {
        let source = media(fields.required("image_url")?);
        let detail = None;
        return Ok(Some(Content::Image { source, detail }));
    }
    inner(fields, path, "image_url", |fields| {
        Ok(Content::Image {
            source: media(fields.required("url")?),
            detail: fields.string("detail")?,
        })
    })
}

fn inner(
    fields: &mut Fields<'_>,
    path: Path<'_>,
    key: &'static str,
    read: impl FnOnce(&mut Fields<'_>) -> Result<Content, Rejection>,
) -> Result<Option<Content>, Rejection> {
    let path = path.key(key);
    let value = fields.take(key);
    let value = value.ok_or_else(|| path.fault("An object is required."))?;
    if value.is_string() {
        // Some vendors have a plain text here.
        return Ok(None);
    }
    let mut inside = Fields::new(value, path)?;
    let content = read(&mut inside)?;
    Ok(inside.rest()?.is_empty().then_some(content))
}

fn file(fields: &mut Fields<'_>) -> Result<Content, Rejection> {
    let name = fields.string("filename")?;
    let source = match fields.string("file_id")? {
        Some(id) => Media::Id(id),
        None => {
            let data = fields.required("file_data")?;
            match media(data) {
                Media::Url(url) if !url.contains("://") && !url.starts_with("data:") => {
                    Media::Data {
                        mime: String::new(),
                        base64: url,
                    }
                }
                media => media,
            }
        }
    };
    Ok(Content::File { source, name })
}

/// A URL is data if it is one of the plain form `data:image/png;base64,…`.
fn media(url: String) -> Media {
    let plain = url.strip_prefix("data:").and_then(|rest| {
        let (mime, base64) = rest.split_once(";base64,")?;
        (!mime.is_empty() && !mime.contains([';', ','])).then_some((mime, base64))
    });
    match plain {
        Some((mime, base64)) => Media::Data {
            mime: mime.to_owned(),
            base64: base64.to_owned(),
        },
        None => Media::Url(url),
    }
}
