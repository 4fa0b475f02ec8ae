//! The typed view of a request, read and written.

mod message;
mod tool;
mod write;

pub(in super::super) use self::write::reasons;
pub(super) use self::write::{Written, sound, write_chat, write_embed};

use crate::{
    Rejection,
    llm::{
        Chat, Content, Embed, EmbedInput, Message, Operation, Role, Sampling,
        codec::{
            peek::INCLUDE_USAGE,
            value::{Fields, Path, document},
        },
        request::Typed,
    },
};
use serde_json::Value;

/// Reads all of a request. Known fields must have their types; unknown ones are kept.
pub(super) fn parse(operation: Operation, body: &[u8]) -> Result<Typed, Rejection> {
    let mut fields = Fields::new(document(body)?, Path::Root)?;
    fields.take("model");
    match operation {
        Operation::Chat | Operation::CountTokens => chat(fields, false).map(Typed::Chat),
        Operation::Completions => completions(fields).map(Typed::Chat),
        Operation::Embeddings => embed(fields).map(Typed::Embed),
        Operation::Rerank | Operation::Passthrough(_) => {
            Err(crate::rejection::Kind::NotSupported.into())
        }
    }
}

/// Reads a conversation in which nothing needs to be said.
pub(super) fn parse_beside(body: &[u8]) -> Result<Chat, Rejection> {
    let mut fields = Fields::new(document(body)?, Path::Root)?;
    fields.take("model");
    chat(fields, true)
}

fn chat(mut fields: Fields<'_>, may_be_silent: bool) -> Result<Chat, Rejection> {
    let path = Path::Root;
    let path = path.key("messages");
    let messages = fields.array("messages")?;
    if messages.is_empty() && !may_be_silent {
        return Err(path.fault("At least one message is required."));
    }
    let messages = messages.into_iter().enumerate();
    let messages = messages
        .map(|(index, value)| message::read(value, path.index(index)))
        .collect::<Result<_, _>>()?;
    let path = Path::Root;
    let path = path.key("tools");
    let tools = fields.array("tools")?.into_iter().enumerate();
    let tools = tools
        .map(|(index, value)| tool::read(value, path.index(index)))
        .collect::<Result<_, _>>()?;
    let tool_choice = fields.take("tool_choice").map(tool::choice).transpose()?;
    let response_format = fields
        .take("response_format")
        .map(tool::response_format)
        .transpose()?;
    Ok(Chat {
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: fields.bool("parallel_tool_calls")?,
        response_format,
        effort: fields.string("reasoning_effort")?,
        sampling: sampling(&mut fields)?,
        extra: rest(fields)?,
    })
}

/// One text to continue is a conversation of one message.
fn completions(mut fields: Fields<'_>) -> Result<Chat, Rejection> {
    let path = Path::Root;
    let path = path.key("prompt");
    let fault = || path.fault("Expected one text.");
    let text = match fields.take("prompt") {
        Some(Value::String(text)) => text,
        Some(Value::Array(mut texts)) if texts.len() == 1 => match texts.pop() {
            Some(Value::String(text)) => text,
            _ => return Err(fault()),
        },
        _ => return Err(fault()),
    };
    Ok(Chat {
        messages: vec![Message::text(Role::User, text)],
        sampling: sampling(&mut fields)?,
        extra: rest(fields)?,
        ..Chat::default()
    })
}

fn sampling(fields: &mut Fields<'_>) -> Result<Sampling, Rejection> {
    let max_tokens = fields.count("max_tokens")?;
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        max_tokens: fields.count("max_completion_tokens")?.or(max_tokens),
        stop: stop(fields)?,
        seed: fields.integer("seed")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        n: fields.at_least_one("n", 128, "Expected a whole number from 1 to 128.")?,
    })
}

fn stop(fields: &mut Fields<'_>) -> Result<Vec<String>, Rejection> {
    let path = Path::Root;
    let path = path.key("stop");
    match fields.take("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(texts)) => {
            let texts = texts.into_iter().enumerate();
            texts
                .map(|(index, text)| path.index(index).string(text))
                .collect()
        }
        Some(_) => Err(path.fault("Expected a string or an array of strings.")),
    }
}

/// What is left when all that has a place of its own was taken. What the transport needs is not part
/// of the question.
fn rest(mut fields: Fields<'_>) -> Result<crate::llm::Extra, Rejection> {
    fields.bool("stream")?;
    let options = fields.take("stream_options");
    let mut extra = fields.rest()?;
    if let Some(options) = options {
        let path = Path::Root;
        let mut options = path.key("stream_options").object(options)?;
        options.remove(INCLUDE_USAGE);
        if !options.is_empty() {
            extra.insert("stream_options".into(), options.into());
        }
    }
    Ok(extra)
}

fn embed(mut fields: Fields<'_>) -> Result<Embed, Rejection> {
    let path = Path::Root;
    let path = path.key("input");
    let inputs = match fields.take("input") {
        Some(Value::String(text)) => vec![EmbedInput::Text(text)],
        Some(Value::Array(all)) if all.first().is_some_and(Value::is_number) => {
            vec![EmbedInput::Tokens(tokens(all, path)?)]
        }
        Some(Value::Array(all)) => {
            let input = |(index, value)| match value {
                Value::String(text) => Ok(EmbedInput::Text(text)),
                Value::Array(all) => tokens(all, path.index(index)).map(EmbedInput::Tokens),
                _ => Err(path.index(index).fault("Expected a string or tokens.")),
            };
            all.into_iter()
                .enumerate()
                .map(input)
                .collect::<Result<_, _>>()?
        }
        Some(_) => return Err(path.fault("Expected a string or an array.")),
        None => Vec::new(),
    };
    if inputs.is_empty() {
        return Err(path.fault("At least one input is required."));
    }
    let detail = "Expected a whole number from 1 to 1000000.";
    let dimensions = fields.at_least_one("dimensions", 1_000_000, detail)?;
    let extra = rest(fields)?;
    Ok(Embed {
        inputs,
        dimensions,
        extra,
    })
}

fn tokens(all: Vec<Value>, path: Path<'_>) -> Result<Vec<u32>, Rejection> {
    let token = |(index, value): (usize, Value)| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.ok_or_else(|| path.index(index).fault("Expected a token."))
    };
    all.into_iter().enumerate().map(token).collect()
}

/// The text of a conversation of one message.
fn only_text(chat: &Chat) -> Option<&str> {
    let [message] = &chat.messages[..] else {
        return None;
    };
    match &message.parts[..] {
        [part] => match &part.content {
            Content::Text(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
