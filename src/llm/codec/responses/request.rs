//! The typed view of a request, read and written.

mod item;
mod shared;
mod tool;
mod write;

pub(in super::super) use self::item::answer;
pub(in super::super) use self::shared::shared;
pub(super) use self::{item::thought, write::encode};

use super::kept;
use crate::{
    Rejection,
    llm::{
        Chat, Extra, Message, Role, Sampling,
        codec::value::{Fields, Path, document},
    },
    rejection::Kind,
};
use serde_json::{Map, Value};

/// The least number of tokens that an answer may be bounded to.
const LEAST_OUTPUT: u64 = 16;

/// Under this name a part keeps the fields of the item that it stands for or begins: its `id` and
/// `status`, and what nobody here knows.
pub(in super::super) const ITEM: &str = "item";

/// Reads all of a request, in which something must be said, or may. Known fields must have their types;
/// unknown ones are kept.
pub(super) fn parse(body: &[u8], may_be_silent: bool) -> Result<Chat, Rejection> {
    let root = Path::Root;
    let mut fields = Fields::new(document(body)?, root)?;
    fields.take("model");
    fields.bool("stream")?;
    if fields.peek("prompt").is_some() {
        return Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param("prompt")
            .with_detail("A prompt that the vendor keeps cannot be read here."));
    }
    let mut messages = Vec::new();
    if let Some(text) = fields.string("instructions")? {
        messages.push(Message::text(Role::System, text));
    }
    let path = root.key("input");
    match fields.take("input") {
        Some(Value::String(text)) => messages.push(Message::text(Role::User, text)),
        Some(Value::Array(items)) => {
            let mut turns = item::Turns::new(messages);
            for (index, value) in items.into_iter().enumerate() {
                turns.item(value, path.index(index))?;
            }
            messages = turns.into_messages();
        }
        Some(_) => return Err(path.fault("Expected a string or an array of items.")),
        None if may_be_silent => {}
        None => return Err(path.fault("A string or an array of items is required.")),
    }
    let path = root.key("tools");
    let tools = fields.array("tools")?.into_iter().enumerate();
    let tools = tools
        .map(|(index, value)| tool::read(value, path.index(index)))
        .collect::<Result<_, _>>()?;
    let tool_choice = fields.take("tool_choice").map(tool::choice).transpose()?;
    let parallel_tool_calls = fields.bool("parallel_tool_calls")?;
    let mut extra = Extra::new();
    let mut response_format = None;
    if let Some(value) = fields.take("text") {
        let path = root.key("text");
        let mut text = Fields::new(value, path)?;
        let format = text.take("format");
        response_format = format
            .map(|format| tool::format(format, path.key("format")))
            .transpose()?;
        keep(&mut extra, "text", text.rest()?);
    }
    let mut effort = None;
    if let Some(value) = fields.take("reasoning") {
        let mut reasoning = Fields::new(value, root.key("reasoning"))?;
        effort = reasoning.string("effort")?;
        keep(&mut extra, "reasoning", reasoning.rest()?);
    }
    let max_tokens = fields.count("max_output_tokens")?;
    if max_tokens.is_some_and(|most| most < LEAST_OUTPUT) {
        let path = root.key("max_output_tokens");
        return Err(path.fault("Expected a whole number of 16 or more."));
    }
    let sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        max_tokens,
        ..Sampling::default()
    };
    let kept = [
        ("store", fields.bool("store")?),
        ("background", fields.bool("background")?),
    ];
    for (key, _) in kept.into_iter().filter(|(_, said)| *said == Some(true)) {
        extra.insert(key.to_owned(), true.into());
    }
    extra.extend(fields.rest()?);
    Ok(Chat {
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        sampling,
        effort,
        extra,
    })
}

fn keep(extra: &mut Extra, key: &str, mut rest: Extra) {
    rest.retain(|_, value| !value.is_null());
    if !rest.is_empty() {
        extra.insert(key.to_owned(), rest.into());
    }
}

/// Whether a field of a client of this protocol asks for nothing but what any answer has: defaults
/// that are written out, and what the gateway does by itself.
pub(in super::super) fn says_nothing(key: &str, value: &Value) -> bool {
    match key {
        // The answer repeats it, and nothing else ever reads it.
        "metadata" => true,
        // Thoughts come sealed whether or not it is asked for.
        "include" => value.as_array().is_some_and(|all| {
            let sealed = |one: &Value| one == "reasoning.encrypted_content";
            all.iter().all(sealed)
        }),
        "truncation" => value == "disabled",
        "service_tier" => value == "auto" || value == "default",
        "top_logprobs" => value == 0,
        "stream_options" => only(value, "include_obfuscation", |_| true),
        // Thoughts are shown where they are made.
        "reasoning" => only(value, "summary", |word| word == "auto"),
        // The vendor's packages put there what they read in the text beside it.
        "parsed" | "parsed_arguments" => true,
        ITEM => only_bookkeeping(value),
        _ => false,
    }
}

fn only(value: &Value, key: &str, fits: impl Fn(&Value) -> bool) -> bool {
    let fields = value.as_object();
    fields.is_some_and(|fields| {
        fields
            .iter()
            .all(|(name, value)| name == key && fits(value))
    })
}

/// What names an item, and how far it came.
fn only_bookkeeping(item: &Value) -> bool {
    let fields = item.as_object().into_iter().flatten();
    let mut fields = fields.filter(|(key, value)| crate::llm::codec::says(key, value));
    // The text of a thought is read, whatever else it stands in.
    let known = ["id", "status", "type", "summary", "content"];
    fields.all(|(key, _)| known.contains(&&**key))
}

/// An object of one field.
fn one(key: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value.into())])
}
