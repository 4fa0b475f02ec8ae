//! Blocks of content, read and written.

use super::super::text_block;
use crate::{
    Rejection,
    llm::{
        Content, Media, Part, Reasoning, ToolCall,
        codec::{
            base64,
            translation::put,
            value::{Fields, Path},
        },
    },
};
use serde_json::{Map, Value, json};

/// A text, or an array of blocks.
pub(super) fn content(value: Option<Value>, path: Path<'_>) -> Result<Vec<Part>, Rejection> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(blocks)) => {
            let blocks = blocks.into_iter().enumerate();
            blocks
                .map(|(index, value)| read(value, path.index(index)))
                .collect()
        }
        Some(_) => Err(path.fault("Expected a string or an array of blocks.")),
    }
}

fn read(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let kind = value.get("type").and_then(Value::as_str);
    let known = [
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
    ];
    match kind {
        None => return Err(path.key("type").fault("A string is required.")),
        Some(kind) if !known.contains(&kind) => return Ok(Content::Other(value).into()),
        Some(_) => {}
    }
    let whole = value.clone();
    let mut fields = Fields::new(value, path)?;
    let content = match &*fields.required("type")? {
        "text" => Some(Content::Text(fields.required("text")?)),
        "image" => source(&mut fields, path)?.map(|source| Content::Image {
            source,
            detail: None,
        }),
        "document" => match source(&mut fields, path)? {
            Some(source) => Some(Content::File {
                source,
                name: fields.string("title")?,
            }),
            None => None,
        },
        "tool_use" => Some(Content::ToolCall(ToolCall {
            id: fields.required("id")?,
            name: fields.required("name")?,
            arguments: match fields.take("input") {
                Some(input @ Value::Object(_)) => input.to_string(),
                _ => return Err(path.key("input").fault("An object is required.")),
            },
        })),
        "tool_result" => Some(Content::ToolResult {
            call_id: fields.required("tool_use_id")?,
            parts: content(fields.take("content"), path.key("content"))?,
            is_error: fields.bool("is_error")?,
        }),
        "thinking" => Some(Content::Reasoning(Reasoning {
            text: fields.required("thinking")?,
            signature: fields
                .string("signature")?
                .filter(|signature| !signature.is_empty()),
            redacted: None,
        })),
        _ => Some(Content::Reasoning(Reasoning {
            redacted: Some(fields.required("data")?),
            ..Reasoning::default()
        })),
    };
    Ok(match content {
        Some(content) => Part {
            content,
            extra: fields.rest()?,
        },
        // A source that has more than we know of stays as it is.
        None => Content::Other(whole).into(),
    })
}

fn source(fields: &mut Fields<'_>, path: Path<'_>) -> Result<Option<Media>, Rejection> {
    let path = path.key("source");
    let value = fields.take("source");
    let value = value.ok_or_else(|| path.fault("An object is required."))?;
    let mut inside = Fields::new(value, path)?;
    let media = match &*inside.required("type")? {
        "base64" => Media::Data {
            mime: inside.required("media_type")?,
            base64: inside.required("data")?,
        },
        "text" => Media::Data {
            mime: inside.required("media_type")?,
            base64: base64::encode(inside.required("data")?.as_bytes()),
        },
        "url" => Media::Url(inside.required("url")?),
        "file" => Media::Id(inside.required("file_id")?),
        _ => return Ok(None),
    };
    Ok(inside.rest()?.is_empty().then_some(media))
}

/// Where a picture or a document is; `None` for what has no place here.
pub(super) fn source_of(media: &Media) -> Option<Value> {
    Some(match media {
        Media::Data { mime, base64 } if mime.starts_with("text/") => {
            let text = base64::decode(base64).and_then(|bytes| String::from_utf8(bytes).ok())?;
            json!({"type": "text", "media_type": "text/plain", "data": text})
        }
        Media::Data { mime, base64 } => {
            let mime = if mime.is_empty() {
                "application/pdf"
            } else {
                mime
            };
            json!({"type": "base64", "media_type": mime, "data": base64})
        }
        Media::Url(url) if url.starts_with("data:") => return None,
        Media::Url(url) => json!({"type": "url", "url": url}),
        Media::Id(id) => json!({"type": "file", "file_id": id}),
    })
}

/// A text, picture or document; `None` for anything else.
pub(super) fn shown(content: &Content) -> Option<Value> {
    match content {
        Content::Text(text) | Content::Refusal(text) => Some(text_block(text)),
        Content::Image { source, .. } => {
            Some(json!({"type": "image", "source": source_of(source)?}))
        }
        Content::File { source, name } => {
            let mut out = Map::new();
            out.insert("type".into(), "document".into());
            out.insert("source".into(), source_of(source)?);
            put(&mut out, "title", name.as_deref());
            Some(out.into())
        }
        _ => None,
    }
}
