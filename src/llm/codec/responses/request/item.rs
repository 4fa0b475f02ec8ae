//! Items of `input`, read.

use super::{ITEM, kept, one};
use crate::{
    Rejection,
    llm::{
        Content, Extra, Media, Message, Part, Reasoning, Role, ToolCall,
        codec::value::{Fields, Path},
    },
};
use serde_json::{Map, Value};

/// Messages, made of items: those of the assistant that follow one another are one.
pub(super) struct Turns {
    messages: Vec<Message>,
    /// The last message is one that further items of the assistant belong to.
    open: bool,
}

impl Turns {
    pub(super) fn new(messages: Vec<Message>) -> Self {
        let open = false;
        Self { messages, open }
    }

    pub(super) fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    pub(super) fn item(&mut self, value: Value, path: Path<'_>) -> Result<(), Rejection> {
        let Some(fields) = value.as_object() else {
            return Err(path.fault("Expected an object."));
        };
        let kind = match fields.get("type") {
            None | Some(Value::Null) => None,
            Some(Value::String(kind)) => Some(&**kind),
            Some(_) => return Err(path.key("type").fault("Expected a string.")),
        };
        if kept::refers(kind, fields.contains_key("role"), fields.contains_key("id")) {
            return Err(kept::reference(path));
        }
        match kind {
            None | Some("message") => self.message(value, path),
            Some("reasoning") => {
                let part = reasoning(value, path)?;
                self.say([part]);
                Ok(())
            }
            Some("function_call") => {
                let part = call(value, path)?;
                self.say([part]);
                Ok(())
            }
            Some("function_call_output") => {
                let message = Message::new(Role::Tool, [output(value, path)?]);
                self.push(message);
                Ok(())
            }
            Some(kind) => {
                let kind = kind.to_owned();
                // What a tool of the vendor's own was answered is the client's.
                let answers = kind.ends_with("_output") || kind == "mcp_approval_response";
                // By its kind it is told from a part of a message.
                let extra = one(ITEM, one("type", kind));
                let content = Content::Other(value);
                let part = Part { content, extra };
                match answers {
                    true => self.push(Message::new(Role::User, [part])),
                    false => self.say([part]),
                }
                Ok(())
            }
        }
    }

    fn push(&mut self, message: Message) {
        self.open = message.role == Role::Assistant;
        self.messages.push(message);
    }

    /// More of the assistant's turn.
    fn say(&mut self, parts: impl IntoIterator<Item = Part>) {
        match self.messages.last_mut() {
            Some(last) if self.open => last.parts.extend(parts),
            _ => self.push(Message::new(Role::Assistant, parts)),
        }
    }

    fn message(&mut self, value: Value, path: Path<'_>) -> Result<(), Rejection> {
        let mut fields = Fields::new(value, path)?;
        fields.string("type")?;
        let role = match &*fields.required("role")? {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                let fault = "Expected system, developer, user or assistant.";
                return Err(path.key("role").fault(fault));
            }
        };
        let inside = path.key("content");
        let content = fields.take("content");
        let content = content.ok_or_else(|| inside.fault("A content is required."))?;
        let mut parts = content_of(content, inside)?;
        let mut item = present(fields.rest()?);
        if role == Role::System && self.messages.is_empty() {
            // It stands in the input, and not in the instructions.
            item.insert("type".to_owned(), "message".into());
        }
        if role != Role::Assistant {
            let mut message = Message::new(role, parts);
            if !item.is_empty() {
                message.extra = one(ITEM, item);
            }
            self.push(message);
            return Ok(());
        }
        // Where one message ends and the next begins is told by the fields of that.
        let said = self.messages.last().filter(|_| self.open);
        let said = said.and_then(|message| message.parts.last());
        let joined = said.is_some_and(is_said);
        if let Some(first) = parts.first_mut()
            && (joined || !item.is_empty())
        {
            first.extra.insert(ITEM.to_owned(), item.into());
        }
        self.say(parts);
        Ok(())
    }
}

/// Whether it stands in a message, and is no item by itself.
pub(super) fn is_said(part: &Part) -> bool {
    match part.content {
        Content::ToolCall(_) | Content::ToolResult { .. } | Content::Reasoning(_) => false,
        Content::Other(_) => part
            .extra
            .get(ITEM)
            .is_none_or(|item| item.get("type").is_none()),
        _ => true,
    }
}

/// Fields that say something.
fn present(mut extra: Extra) -> Extra {
    extra.retain(|_, value| !value.is_null());
    extra
}

/// The fields of an item that is a part, apart from those that only name it.
fn item(extra: Extra) -> Extra {
    let mut out = Extra::new();
    let mut item = Map::new();
    for (key, value) in present(extra) {
        match &*key {
            "id" | "status" => item.insert(key, value),
            _ => out.insert(key, value),
        };
    }
    if !item.is_empty() {
        out.insert(ITEM.to_owned(), item.into());
    }
    out
}

fn call(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let content = Content::ToolCall(ToolCall {
        id: fields.required("call_id")?,
        name: fields.required("name")?,
        arguments: fields.required("arguments")?,
    });
    let extra = item(fields.rest()?);
    Ok(Part { content, extra })
}

/// What a tool answered that takes any text, as if it were a function.
pub(in super::super::super) fn answer(value: Value) -> Option<Part> {
    output(value, Path::Root).ok()
}

fn output(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let inside = path.key("output");
    let output = fields.take("output");
    let output = output.ok_or_else(|| inside.fault("An output is required."))?;
    let content = Content::ToolResult {
        call_id: fields.required("call_id")?,
        parts: content_of(output, inside)?,
        is_error: None,
    };
    let extra = item(fields.rest()?);
    Ok(Part { content, extra })
}

/// What was thought. A thought that is shown has a summary, or the text itself; of one that is not,
/// there is only what the vendor can read.
fn reasoning(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let summary = fields.array("summary")?;
    let content = fields.array("content")?;
    let proof = fields
        .string("encrypted_content")?
        .filter(|proof| !proof.is_empty());
    let shown = !summary.is_empty() || !content.is_empty();
    let text = thought(&summary, &content);
    let mut extra = item(fields.rest()?);
    let mut whole = Map::new();
    // What is not to be had again from the text.
    let plain = |part: &Value, kind: &str| {
        part.as_object().is_some_and(|part| part.len() == 2)
            && part.get("type").is_some_and(|it| it == kind)
    };
    if summary.len() > 1 || !summary.iter().all(|part| plain(part, "summary_text")) {
        whole.insert("summary".to_owned(), summary.into());
    }
    if !content.is_empty() {
        whole.insert("content".to_owned(), content.into());
    }
    if !whole.is_empty()
        && let Value::Object(item) = extra.entry(ITEM).or_insert_with(|| Map::new().into())
    {
        item.extend(whole);
    }
    let (signature, redacted) = match shown {
        true => (proof, None),
        false => (None, proof),
    };
    let content = Content::Reasoning(Reasoning {
        text,
        signature,
        redacted,
    });
    Ok(Part { content, extra })
}

/// The text of a thought: of its summary, else of itself.
pub(in super::super) fn thought(summary: &[Value], content: &[Value]) -> String {
    let shown = if summary.is_empty() { content } else { summary };
    let texts = shown.iter().filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join("\n\n")
}

/// A text, or parts.
fn content_of(value: Value, path: Path<'_>) -> Result<Vec<Part>, Rejection> {
    match value {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(parts) => {
            let parts = parts.into_iter().enumerate();
            parts
                .map(|(index, value)| part(value, path.index(index)))
                .collect()
        }
        _ => Err(path.fault("Expected a string or an array of parts.")),
    }
}

fn part(value: Value, path: Path<'_>) -> Result<Part, Rejection> {
    let known = [
        "input_text",
        "output_text",
        "text",
        "refusal",
        "input_image",
        "input_file",
        "input_audio",
    ];
    let kind = match value.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        _ => return Err(path.key("type").fault("A string is required.")),
    };
    let whole = value.clone();
    if !known.contains(&&*kind) {
        return Ok(Content::Other(whole).into());
    }
    let mut fields = Fields::new(value, path)?;
    fields.string("type")?;
    let content = match &*kind {
        "input_text" | "output_text" | "text" => Some(Content::Text(fields.required("text")?)),
        "refusal" => Some(Content::Refusal(fields.required("refusal")?)),
        "input_image" => image(&mut fields, path)?,
        "input_audio" => audio(&mut fields, path)?,
        _ => Some(file(&mut fields, path)?),
    };
    let Some(content) = content else {
        return Ok(Content::Other(whole).into());
    };
    let extra = present(fields.rest()?);
    Ok(Part { content, extra })
}

fn image(fields: &mut Fields<'_>, path: Path<'_>) -> Result<Option<Content>, Rejection> {
    let detail = fields.string("detail")?;
    let source = match (fields.string("image_url")?, fields.string("file_id")?) {
        (Some(url), None) => media(url),
        (None, Some(id)) => Media::Id(id),
        (None, None) => return Err(path.key("image_url").fault("A string is required.")),
        (Some(_), Some(_)) => return Ok(None),
    };
    Ok(Some(Content::Image { source, detail }))
}

fn audio(fields: &mut Fields<'_>, path: Path<'_>) -> Result<Option<Content>, Rejection> {
    let path = path.key("input_audio");
    let value = fields.take("input_audio");
    let value = value.ok_or_else(|| path.fault("An object is required."))?;
    let mut inside = Fields::new(value, path)?;
    let source = Media::Data {
        mime: inside.required("format")?,
        base64: inside.required("data")?,
    };
    let plain = inside.rest()?.is_empty();
    Ok(plain.then_some(Content::Audio(source)))
}

fn file(fields: &mut Fields<'_>, path: Path<'_>) -> Result<Content, Rejection> {
    let name = fields.string("filename")?;
    let (id, url) = (fields.string("file_id")?, fields.string("file_url")?);
    let source = match (id, url, fields.string("file_data")?) {
        (Some(id), None, None) => Media::Id(id),
        (None, Some(url), None) => Media::Url(url),
        (None, None, Some(data)) => match media(data) {
            Media::Url(base64) => Media::Data {
                mime: String::new(),
                base64,
            },
            media => media,
        },
        _ => {
            let path = path.key("file_data");
            return Err(path.fault("One of file_data, file_id and file_url is required."));
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
