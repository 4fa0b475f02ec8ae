//! Messages and their parts.

use super::fields::{Faults, Fields, put};
use crate::{
    llm::{Content, Extra, Media, Message, Part, Reasoning, Role, ToolCall},
    prompt::fault::below,
};
use serde_json::{Map, Value};

/// Roles by their names.
const ROLES: [(&str, Role); 5] = [
    ("system", Role::System),
    ("developer", Role::Developer),
    ("user", Role::User),
    ("assistant", Role::Assistant),
    ("tool", Role::Tool),
];

pub(super) fn message(value: &Value, at: &str, faults: &Faults) -> Option<Message> {
    let mut of = Fields::new(faults.object(value, at)?, at, faults);
    let role = of.needed("role", |value, at| {
        let role = value.as_str();
        let role = role.and_then(|role| ROLES.iter().find(|(name, _)| *name == role));
        let role = role.map(|&(_, role)| role);
        role.or_else(|| {
            faults.add(
                at,
                "Expected `system`, `developer`, `user`, `assistant` or `tool`.",
            )
        })
    });
    let parts = of.needed("content", |value, at| parts(value, at, faults, 0));
    let name = of.text("name");
    let extra = of.extra();
    of.finish();
    Some(Message {
        role: role?,
        parts: parts?,
        name,
        extra,
    })
}

/// A text, or a list of parts.
fn parts(value: &Value, at: &str, faults: &Faults, depth: usize) -> Option<Vec<Part>> {
    match value {
        Value::String(text) => Some(vec![Part::text(text.as_str())]),
        Value::Array(all) => {
            let all = all.iter().enumerate();
            let all =
                all.filter_map(|(nth, value)| part(value, &format!("{at}/{nth}"), faults, depth));
            Some(all.collect())
        }
        _ => faults.add(at, "Expected a string or a list of parts."),
    }
}

fn part(value: &Value, at: &str, faults: &Faults, depth: usize) -> Option<Part> {
    let mut of = Fields::new(faults.object(value, at)?, at, faults);
    let kind = of.needed_text("type")?;
    let content = match kind.as_str() {
        "text" => of.needed_text("text").map(Content::Text),
        "image" => {
            let detail = of.text("detail");
            media(&mut of, at, faults).map(|source| Content::Image { source, detail })
        }
        "audio" => media(&mut of, at, faults).map(Content::Audio),
        "file" => {
            let name = of.text("name");
            media(&mut of, at, faults).map(|source| Content::File { source, name })
        }
        "tool_call" => {
            let (id, name) = (of.needed_text("id"), of.needed_text("name"));
            let arguments = of.text("arguments").unwrap_or_default();
            id.zip(name).map(|(id, name)| {
                Content::ToolCall(ToolCall {
                    id,
                    name,
                    arguments,
                })
            })
        }
        "tool_result" if depth > 0 => {
            return faults.add(at, "The result of a tool holds no other result.");
        }
        "tool_result" => {
            let call_id = of.needed_text("call_id");
            let parts = of.needed("content", |value, at| parts(value, at, faults, depth + 1));
            let is_error = of.flag("is_error");
            call_id
                .zip(parts)
                .map(|(call_id, parts)| Content::ToolResult {
                    call_id,
                    parts,
                    is_error,
                })
        }
        "reasoning" => Some(Content::Reasoning(Reasoning {
            text: of.text("text").unwrap_or_default(),
            signature: of.text("signature"),
            redacted: of.text("redacted"),
        })),
        "refusal" => of.needed_text("text").map(Content::Refusal),
        "other" => of.needed("value", |value, _| Some(Content::Other(value.clone()))),
        _ => {
            return faults.add(
                &below(at, "type"),
                "Expected `text`, `image`, `audio`, `file`, `tool_call`, `tool_result`, `reasoning`, `refusal` or `other`.",
            );
        }
    };
    let extra = of.extra();
    of.finish();
    Some(Part {
        content: content?,
        extra,
    })
}

/// One of `url`, `id`, or `data` with `mime`.
fn media(of: &mut Fields<'_, '_>, at: &str, faults: &Faults) -> Option<Media> {
    let (url, id) = (of.text("url"), of.text("id"));
    let (data, mime) = (of.text("data"), of.text("mime"));
    match (url, id, data, mime) {
        (Some(url), None, None, None) => Some(Media::Url(url)),
        (None, Some(id), None, None) => Some(Media::Id(id)),
        (None, None, Some(base64), Some(mime)) => Some(Media::Data { mime, base64 }),
        _ => faults.add(
            at,
            "Expected one of `url`, `id`, and `data` with its `mime` type.",
        ),
    }
}

pub(super) fn write_message(message: &Message) -> Value {
    let mut map = Map::new();
    let role = ROLES.iter().find(|(_, role)| *role == message.role);
    put(&mut map, "role", role.map(|&(name, _)| name));
    put(&mut map, "name", message.name.as_deref());
    map.insert("content".into(), write_parts(&message.parts));
    put_extra(&mut map, &message.extra);
    Value::Object(map)
}

fn write_parts(parts: &[Part]) -> Value {
    match parts {
        [
            Part {
                content: Content::Text(text),
                extra,
            },
        ] if extra.is_empty() => text.as_str().into(),
        _ => parts.iter().map(write_part).collect(),
    }
}

fn write_part(part: &Part) -> Value {
    let mut map = Map::new();
    let kind = match &part.content {
        Content::Text(_) => "text",
        Content::Image { .. } => "image",
        Content::Audio(_) => "audio",
        Content::File { .. } => "file",
        Content::ToolCall(_) => "tool_call",
        Content::ToolResult { .. } => "tool_result",
        Content::Reasoning(_) => "reasoning",
        Content::Refusal(_) => "refusal",
        Content::Other(_) => "other",
    };
    put(&mut map, "type", Some(kind));
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => put(&mut map, "text", Some(text.as_str())),
        Content::Image { source, detail } => {
            put_media(&mut map, source);
            put(&mut map, "detail", detail.as_deref());
        }
        Content::Audio(source) => put_media(&mut map, source),
        Content::File { source, name } => {
            put_media(&mut map, source);
            put(&mut map, "name", name.as_deref());
        }
        Content::ToolCall(call) => {
            put(&mut map, "id", Some(call.id.as_str()));
            put(&mut map, "name", Some(call.name.as_str()));
            put(&mut map, "arguments", Some(call.arguments.as_str()));
        }
        Content::ToolResult {
            call_id,
            parts,
            is_error,
        } => {
            put(&mut map, "call_id", Some(call_id.as_str()));
            map.insert("content".into(), write_parts(parts));
            put(&mut map, "is_error", *is_error);
        }
        Content::Reasoning(reasoning) => {
            put(&mut map, "text", Some(reasoning.text.as_str()));
            put(&mut map, "signature", reasoning.signature.as_deref());
            put(&mut map, "redacted", reasoning.redacted.as_deref());
        }
        Content::Other(value) => put(&mut map, "value", Some(value.clone())),
    }
    put_extra(&mut map, &part.extra);
    Value::Object(map)
}

fn put_media(map: &mut Map<String, Value>, media: &Media) {
    match media {
        Media::Url(url) => put(map, "url", Some(url.as_str())),
        Media::Id(id) => put(map, "id", Some(id.as_str())),
        Media::Data { mime, base64 } => {
            put(map, "mime", Some(mime.as_str()));
            put(map, "data", Some(base64.as_str()));
        }
    }
}

pub(super) fn put_extra(map: &mut Map<String, Value>, extra: &Extra) {
    if !extra.is_empty() {
        map.insert("extra".into(), Value::Object(extra.clone()));
    }
}
