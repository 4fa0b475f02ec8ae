//! The typed view of a request, written.

use super::{super::thought, only_text};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Embed, EmbedInput, Extra, Media, Message, Operation, Part,
        ResponseFormat, Role, Tool, ToolCall, ToolChoice,
        codec::{
            literal,
            peek::INCLUDE_USAGE,
            translation::{self, Object, put},
            value::Path,
        },
    },
};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

/// A request of which most is its messages. Those are text as soon as each is made: of a long conversation
/// nobody needs to hold all of it in pieces.
pub(in super::super) struct Written {
    /// In the place of the messages, if there are any, stands nothing.
    pub(in super::super) fields: Object,
    messages: Option<BytesMut>,
}

const MESSAGES: &str = "messages";
const DETAILS: &str = "reasoning_details";

impl Written {
    /// All of it.
    pub(in super::super) fn bytes(&self) -> Bytes {
        let messages = self.messages.as_ref();
        let mut out = BytesMut::with_capacity(messages.map_or(0, BytesMut::len) + 1024);
        for (index, (key, value)) in self.fields.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{" } else { b"," });
            literal::string(&mut out, key);
            out.extend_from_slice(b":");
            match messages.filter(|_| key == MESSAGES) {
                Some(messages) => out.extend_from_slice(messages),
                // Only what is no string can fail as a key, and there is none.
                None => drop(serde_json::to_writer((&mut out).writer(), value)),
            }
        }
        out.extend_from_slice(b"}");
        out.freeze()
    }
}

/// A conversation, as a chat or as an older completion.
pub(in super::super) fn write_chat(
    request: &ChatRequest,
    chat: &Chat,
) -> Result<Written, Rejection> {
    let mut out = Object::new();
    let mut said = None;
    out.insert("model".into(), (**request.model()).into());
    if request.operation() == Operation::Completions {
        let text = only_text(chat).ok_or_else(|| {
            let path = Path::Root;
            path.key("prompt").fault("Only one text can be continued.")
        })?;
        out.insert("prompt".into(), text.into());
    } else {
        out.insert(MESSAGES.into(), Value::Null);
        said = Some(messages(&chat.messages, literal::about(request))?);
    }
    if !chat.tools.is_empty() {
        let tools: Vec<_> = chat.tools.iter().map(tool).collect();
        out.insert("tools".into(), tools.into());
    }
    let choice = chat.tool_choice.as_ref().map(tool_choice);
    put(&mut out, "tool_choice", choice);
    put(&mut out, "parallel_tool_calls", chat.parallel_tool_calls);
    let format = chat.response_format.as_ref().map(response_format);
    put(&mut out, "response_format", format);
    put(&mut out, "reasoning_effort", chat.effort.as_deref());
    let sampling = &chat.sampling;
    put(&mut out, "temperature", sampling.temperature);
    put(&mut out, "top_p", sampling.top_p);
    put(&mut out, "top_k", sampling.top_k);
    put(&mut out, max_tokens(request.model()), sampling.max_tokens);
    put(&mut out, "seed", sampling.seed);
    put(&mut out, "frequency_penalty", sampling.frequency_penalty);
    put(&mut out, "presence_penalty", sampling.presence_penalty);
    put(&mut out, "n", sampling.n);
    if !sampling.stop.is_empty() {
        out.insert("stop".into(), sampling.stop.clone().into());
    }
    merge(&mut out, &chat.extra);
    if request.streams() {
        out.insert("stream".into(), true.into());
        let options = out.entry("stream_options").or_insert_with(|| json!({}));
        if !options.is_object() {
            *options = json!({});
        }
        options[INCLUDE_USAGE] = true.into();
    } else {
        out.remove("stream_options");
    }
    Ok(Written {
        fields: out,
        messages: said,
    })
}

/// Texts to embed.
pub(in super::super) fn write_embed(request: &ChatRequest, embed: &Embed) -> Value {
    let inputs = embed.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => Value::from(&**text),
        EmbedInput::Tokens(tokens) => tokens.clone().into(),
    });
    let mut inputs: Vec<Value> = inputs.collect();
    let input = match &mut inputs[..] {
        [one] if one.is_string() => one.take(),
        _ => inputs.into(),
    };
    let mut out = Object::new();
    out.insert("model".into(), (**request.model()).into());
    out.insert("input".into(), input);
    put(&mut out, "dimensions", embed.dimensions);
    merge(&mut out, &embed.extra);
    out.into()
}

/// What the most tokens are called. OpenAI's models that reason know only the newer name; other
/// vendors, some of which refuse what they do not know, all know the older one.
fn max_tokens(model: &str) -> &'static str {
    match reasons(model) {
        true => "max_completion_tokens",
        false => "max_tokens",
    }
}

/// Whether it is one of OpenAI's models that reason.
pub(in super::super::super) fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix('o')
        .is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()))
        || name
            .strip_prefix("gpt-")
            .and_then(|rest| rest.split(['.', '-']).next()?.parse::<u32>().ok())
            // Azure's `gpt-35-turbo` is 3.5.
            .is_some_and(|major| (5..30).contains(&major))
}

/// Adds what is not there yet, also within objects.
fn merge(out: &mut Object, extra: &Extra) {
    for (key, value) in extra {
        translation::merge(out, key, value);
    }
}

fn with_extra(value: Value, extra: &Extra) -> Value {
    match value {
        Value::Object(mut out) => {
            merge(&mut out, extra);
            out.into()
        }
        value => value,
    }
}

/// The text of their list.
fn messages(all: &[Message], about: usize) -> Result<BytesMut, Rejection> {
    let path = Path::Root;
    let path = path.key(MESSAGES);
    let mut out = BytesMut::with_capacity(about);
    let mut made = Vec::new();
    for (index, one) in all.iter().enumerate() {
        if let Some(text) = plain(one) {
            out.extend_from_slice(if out.is_empty() { b"[" } else { b"," });
            out.extend_from_slice(br#"{"role":"#);
            literal::string(&mut out, role(one));
            out.extend_from_slice(br#","content":"#);
            literal::string(&mut out, text);
            out.extend_from_slice(b"}");
            continue;
        }
        message(one, path.index(index), &mut made)?;
        for message in made.drain(..) {
            out.extend_from_slice(if out.is_empty() { b"[" } else { b"," });
            // Only what is no string can fail as a key, and there is none.
            let _ = serde_json::to_writer((&mut out).writer(), &message);
        }
    }
    out.extend_from_slice(if out.is_empty() { b"[]" } else { b"]" });
    Ok(out)
}

/// The text of a message that is nothing else, as most are.
fn plain(message: &Message) -> Option<&str> {
    match &message.parts[..] {
        [part] if part.extra.is_empty() && message.name.is_none() && message.extra.is_empty() => {
            part.as_text()
        }
        _ => None,
    }
}

fn role(message: &Message) -> &'static str {
    match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    }
}

/// Results of tools are messages of their own here, and come before what else is said.
fn message(message: &Message, path: Path<'_>, out: &mut Vec<Value>) -> Result<(), Rejection> {
    let mut own = Vec::new();
    let mut results = 0;
    for (index, part) in message.parts.iter().enumerate() {
        let Content::ToolResult { call_id, parts, .. } = &part.content else {
            own.push((index, part));
            continue;
        };
        results += 1;
        let inside: Vec<_> = parts.iter().enumerate().collect();
        let mut object = Object::new();
        let legacy = call_id.is_empty() && message.name.is_some();
        let role = if legacy { "function" } else { "tool" };
        object.insert("role".into(), role.into());
        if !legacy {
            object.insert("tool_call_id".into(), (&**call_id).into());
        }
        let content = content(&inside, path)?.unwrap_or_else(|| "".into());
        object.insert("content".into(), content);
        merge(&mut object, &part.extra);
        if message.role == Role::Tool {
            put(&mut object, "name", message.name.as_deref());
            merge(&mut object, &message.extra);
        }
        out.push(object.into());
    }
    if own.is_empty() && results > 0 {
        return Ok(());
    }
    let mut object = Object::new();
    object.insert("role".into(), role(message).into());
    if message.role == Role::Assistant {
        assistant(&own, path, &mut object)?;
    } else {
        let content = content(&own, path)?.unwrap_or_else(|| "".into());
        object.insert("content".into(), content);
    }
    put(&mut object, "name", message.name.as_deref());
    // Those of a vendor may stand beside those that are made here.
    let details = message.extra.get(DETAILS).and_then(Value::as_array);
    if let (Some(Value::Array(all)), Some(details)) = (object.get_mut(DETAILS), details) {
        all.extend(details.iter().cloned());
    }
    merge(&mut object, &message.extra);
    out.push(object.into());
    Ok(())
}

fn assistant(
    parts: &[(usize, &Part)],
    path: Path<'_>,
    object: &mut Object,
) -> Result<(), Rejection> {
    let (mut said, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    let refusals = parts
        .iter()
        .filter(|(_, part)| matches!(part.content, Content::Refusal(_)))
        .count();
    for &(index, part) in parts {
        match &part.content {
            Content::ToolCall(call) if call.id.is_empty() && part.extra.is_empty() => {
                let function = json!({"name": call.name, "arguments": arguments(call)});
                object.insert("function_call".into(), function);
            }
            Content::ToolCall(call) => {
                calls.push(with_extra(tool_call(call), &part.extra));
            }
            Content::Other(value) if value.get("type").is_some_and(|kind| kind == "custom") => {
                calls.push(value.clone());
            }
            Content::Reasoning(thought) => thoughts.push(thought),
            Content::Refusal(text) if refusals == 1 && part.extra.is_empty() => {
                object.insert("refusal".into(), (&**text).into());
            }
            Content::Audio(Media::Id(id)) => {
                object.insert("audio".into(), json!({"id": id}));
            }
            _ => said.push((index, part)),
        }
    }
    // A thought that is empty is told too, for some vendors miss it.
    let thinks = !thoughts.is_empty();
    let (text, details) = thought::write(thoughts.into_iter());
    if !text.is_empty() || (thinks && details.is_empty()) {
        object.insert("reasoning_content".into(), text.into());
    }
    if !details.is_empty() {
        object.insert(DETAILS.into(), details.into());
    }
    let content = content(&said, path)?.unwrap_or(Value::Null);
    object.insert("content".into(), content);
    if !calls.is_empty() {
        object.insert("tool_calls".into(), calls.into());
    }
    Ok(())
}

/// No arguments are an empty object.
fn arguments(call: &ToolCall) -> &str {
    match call.arguments.trim().is_empty() {
        true => "{}",
        false => &call.arguments,
    }
}

fn tool_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments(call)},
    })
}

/// One plain text, or an array. `None` if nothing is said.
fn content(parts: &[(usize, &Part)], path: Path<'_>) -> Result<Option<Value>, Rejection> {
    match parts {
        [] => Ok(None),
        [(_, part)] if part.extra.is_empty() && part.as_text().is_some() => {
            Ok(part.as_text().map(Value::from))
        }
        parts => {
            let path = path.key("content");
            parts
                .iter()
                .map(|(index, part)| {
                    let value = one_part(&part.content, path.index(*index))?;
                    Ok(with_extra(value, &part.extra))
                })
                .collect::<Result<Vec<_>, _>>()
                .map(|parts| Some(parts.into()))
        }
    }
}

fn one_part(content: &Content, path: Path<'_>) -> Result<Value, Rejection> {
    Ok(match content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Refusal(text) => json!({"type": "refusal", "refusal": text}),
        Content::Image { source, detail } => {
            let mut image = json!({"url": url(source, path)?});
            if let Some(detail) = detail {
                image["detail"] = (&**detail).into();
            }
            json!({"type": "image_url", "image_url": image})
        }
        Content::Audio(Media::Data { mime, base64 }) => {
            let format = sound(mime);
            json!({"type": "input_audio", "input_audio": {"data": base64, "format": format}})
        }
        Content::File { source, name } => {
            let mut file = match source {
                Media::Id(id) => json!({"file_id": id}),
                Media::Data { mime, base64 } if mime.is_empty() => json!({"file_data": base64}),
                source => json!({"file_data": url(source, path)?}),
            };
            if let Some(name) = name {
                file["filename"] = (&**name).into();
            }
            json!({"type": "file", "file": file})
        }
        Content::Other(value) => value.clone(),
        Content::Audio(_)
        | Content::ToolCall(_)
        | Content::ToolResult { .. }
        | Content::Reasoning(_) => return Err(inexpressible(path)),
    })
}

fn inexpressible(path: Path<'_>) -> Rejection {
    path.fault("The provider's protocol cannot express this.")
}

fn url(source: &Media, path: Path<'_>) -> Result<String, Rejection> {
    match source {
        Media::Url(url) => Ok(url.clone()),
        Media::Data { mime, base64 } => Ok(format!("data:{mime};base64,{base64}")),
        Media::Id(_) => Err(inexpressible(path)),
    }
}

fn tool(tool: &Tool) -> Value {
    if tool.name.is_empty() {
        return tool.extra.clone().into();
    }
    let mut function = Object::new();
    function.insert("name".into(), (&*tool.name).into());
    put(&mut function, "description", tool.description.as_deref());
    put(&mut function, "parameters", tool.parameters.clone());
    put(&mut function, "strict", tool.strict);
    with_extra(
        json!({"type": "function", "function": function}),
        &tool.extra,
    )
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
        ToolChoice::Other(value) => value.clone(),
    }
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::Text => json!({"type": "text"}),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut inside = Object::new();
            inside.insert("name".into(), (&**name).into());
            put(&mut inside, "description", description.as_deref());
            put(&mut inside, "schema", schema.clone());
            put(&mut inside, "strict", *strict);
            json!({"type": "json_schema", "json_schema": inside})
        }
        ResponseFormat::Other(value) => value.clone(),
    }
}

/// The name of a sound's format, of which the vendor itself knows `mp3` and `wav`.
pub(in super::super) fn sound(mime: &str) -> &str {
    match mime.strip_prefix("audio/").unwrap_or(mime) {
        "mpeg" | "mpeg3" | "x-mp3" => "mp3",
        "wave" | "x-wav" | "vnd.wave" => "wav",
        format => format,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_alone_is_written_as_any_message() {
        let (mut all, mut made) = (Vec::new(), Vec::new());
        for role in [
            Role::System,
            Role::Developer,
            Role::User,
            Role::Tool,
            Role::Assistant,
        ] {
            for text in ["", "a", "\"\n\u{e9}"] {
                all.push(Message::new(role, [Part::text(text)]));
            }
        }
        for one in &all {
            assert!(plain(one).is_some());
            message(one, Path::Root, &mut made).unwrap();
        }
        let text = messages(&all, 0).unwrap();
        assert_eq!(text, serde_json::to_vec(&made).unwrap());
        assert_eq!(messages(&[], 0).unwrap(), &b"[]"[..]);
        all[0].name = Some("n".into());
        assert_eq!(plain(&all[0]), None);
    }
}
