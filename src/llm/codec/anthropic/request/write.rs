//! The typed view of a request, written.

use super::{
    super::{
        model::{self, Ability},
        put, text_block,
    },
    block::{input, shown, with},
    schema, thinking,
    turns::{Answered, Turn, ordered},
};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Extra, Media, Message, Operation, Protocol, ResponseFormat,
        Role, Tool, ToolChoice,
        catalog::Entry,
        codec::{Encoded, Losses, Maker, Names},
    },
    rejection::Kind,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

type Object = Map<String, Value>;

const UNKNOWN: &str = "The provider's protocol has no such field.";
const NO_KIND: &str = "The provider's protocol has no such content.";
const MOST_NAME: usize = 128;
const MOST_CACHED: usize = 4;

/// The request for a vendor of this protocol.
pub(in super::super) fn encode(
    request: &ChatRequest,
    chat: &Chat,
    to: &Maker,
) -> Result<Encoded, Rejection> {
    if chat.sampling.n.is_some_and(|n| n > 1) {
        return Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param("n")
            .with_detail("The provider gives one answer to a request."));
    }
    let origin = request.origin();
    let known = to.facts(request);
    let facts = known.as_ref().map(Entry::facts);
    let mut writer = Writer {
        to,
        origin,
        foreign: origin.is_some_and(|origin| origin != Protocol::Anthropic),
        own: origin == Some(Protocol::Anthropic),
        names: Names::of(chat, MOST_NAME),
        ability: model::ability(request.model(), facts),
        ids: HashMap::new(),
        losses: Losses::default(),
    };
    let mut out = Object::new();
    out.insert("model".into(), (**request.model()).into());
    writer.conversation(chat, &mut out);
    writer.tools(chat, &mut out);
    writer.settings(chat, &mut out)?;
    if request.streams() {
        out.insert("stream".into(), true.into());
    }
    writer.extra(&chat.extra, &mut out);
    if !writer.own {
        few_breakpoints(&mut out, &mut writer.losses);
    }
    if request.operation() == Operation::CountTokens {
        for key in [
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop_sequences",
            "metadata",
        ] {
            out.remove(key);
        }
    }
    Ok(Encoded {
        body: Bytes::from(Value::from(out).to_string()),
        losses: writer.losses.into_vec(),
        names: writer.names,
    })
}

struct Writer<'a> {
    to: &'a Maker,
    origin: Option<Protocol>,
    /// It came in another protocol: what this one does not know of it is not sent.
    foreign: bool,
    /// It came in this protocol: it is sent as it is.
    own: bool,
    names: Names,
    ability: Ability,
    /// Names of calls that the vendor would refuse, and what they are instead.
    ids: HashMap<String, String>,
    losses: Losses,
}

impl Writer<'_> {
    fn conversation(&mut self, chat: &Chat, out: &mut Object) {
        let mut system = Vec::new();
        let mut turns = Vec::with_capacity(chat.messages.len());
        for (index, message) in chat.messages.iter().enumerate() {
            let place = format!("messages[{index}]");
            self.message_fields(message, &place);
            if matches!(message.role, Role::System | Role::Developer) {
                if !turns.is_empty() {
                    let why = "What the operator says stands before all turns.";
                    self.losses.add(&place, why);
                }
                for (at, part) in message.parts.iter().enumerate() {
                    let place = format!("{place}.content[{at}]");
                    match &part.content {
                        Content::Text(text) if text.trim().is_empty() => {}
                        Content::Text(text) => {
                            let extra = self.fields(&part.extra, &place);
                            system.push(with(text_block(text), extra));
                        }
                        _ => self.losses.add(place, NO_KIND),
                    }
                }
                continue;
            }
            turns.push(self.turn(message, &place));
        }
        let mut messages = ordered(turns, &mut self.losses);
        if messages.is_empty() && !system.is_empty() {
            let why = "The provider wants a user's turn: it is what the operator says.";
            self.losses.add("messages", why);
            messages.push(json!({"role": "user", "content": std::mem::take(&mut system)}));
        }
        match &mut system[..] {
            [] => {}
            [one] if one.as_object().is_some_and(|block| block.len() == 2) => {
                out.insert("system".into(), one["text"].take());
            }
            _ => {
                out.insert("system".into(), system.into());
            }
        }
        out.insert("messages".into(), messages.into());
    }

    fn message_fields(&mut self, message: &Message, place: &str) {
        if message.name.is_some() && message.role != Role::Tool {
            self.losses.add(format_args!("{place}.name"), UNKNOWN);
        }
        for (key, value) in &message.extra {
            if says(value) {
                self.losses.add(format_args!("{place}.{key}"), UNKNOWN);
            }
        }
    }

    /// Fields of a part or a tool that go along.
    fn fields(&mut self, extra: &Extra, place: &str) -> Extra {
        if !self.foreign {
            return extra.clone();
        }
        let mut kept = Extra::new();
        for (key, value) in extra {
            if key == "cache_control" && value.is_object() {
                kept.insert(key.clone(), value.clone());
            } else if says(value) {
                self.losses.add(format_args!("{place}.{key}"), UNKNOWN);
            }
        }
        kept
    }

    fn turn(&mut self, message: &Message, place: &str) -> Turn {
        let mut turn = Turn::new(message.role == Role::Assistant);
        for (at, part) in message.parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            let block = match &part.content {
                Content::ToolResult {
                    call_id,
                    parts,
                    is_error,
                } => {
                    let call = self.id(call_id);
                    let inside = parts.iter().enumerate().filter_map(|(at, part)| {
                        let place = format!("{place}.content[{at}]");
                        let block = self.shown(&part.content, &place)?;
                        let extra = self.fields(&part.extra, &place);
                        Some(with(block, extra))
                    });
                    let mut inside: Vec<_> = inside.collect();
                    let mut block = Object::new();
                    block.insert("type".into(), "tool_result".into());
                    block.insert("tool_use_id".into(), (&*call).into());
                    match &mut inside[..] {
                        [] => {}
                        [one] if parts.len() == 1 && is_plain(one) => {
                            block.insert("content".into(), one["text"].take());
                        }
                        _ => {
                            block.insert("content".into(), inside.into());
                        }
                    }
                    put(&mut block, "is_error", *is_error);
                    let extra = self.fields(&part.extra, &place);
                    let block = with(block.into(), extra);
                    turn.results.push(Answered { call, block, place });
                    continue;
                }
                Content::ToolCall(call) => {
                    let (input, fits) = input(&call.arguments);
                    if !fits {
                        let why = "Arguments that are no JSON object are wrapped in one.";
                        self.losses.add(format_args!("{place}.arguments"), why);
                    }
                    Some(json!({
                        "type": "tool_use",
                        "id": self.id(&call.id),
                        "name": self.names.sent(&call.name),
                        "input": input,
                    }))
                }
                Content::Reasoning(_) => self.thought(&part.content, &place),
                Content::Image { .. } | Content::File { .. } if turn.assistant && !self.own => {
                    self.losses.add(&place, NO_KIND);
                    None
                }
                content => self.shown(content, &place),
            };
            if let Some(block) = block {
                let extra = self.fields(&part.extra, &place);
                turn.blocks.push(with(block, extra));
            }
        }
        turn
    }

    fn thought(&mut self, content: &Content, place: &str) -> Option<Value> {
        let Content::Reasoning(thought) = content else {
            return None;
        };
        let opened = |proof: &Option<String>| {
            let proof = self.to.open(proof.as_deref()?, self.origin)?;
            (!proof.is_empty()).then(|| proof.to_owned())
        };
        let block = match (opened(&thought.redacted), opened(&thought.signature)) {
            (Some(data), _) => Some(json!({"type": "redacted_thinking", "data": data})),
            (None, Some(signature)) => Some(json!({
                "type": "thinking",
                "thinking": thought.text,
                "signature": signature,
            })),
            (None, None) => None,
        };
        if block.is_none() {
            let why = "A thought goes to the model that made it and no other.";
            self.losses.add(place, why);
        }
        block
    }

    /// A text, picture or document. An empty text says nothing, and the vendor refuses it.
    fn shown(&mut self, content: &Content, place: &str) -> Option<Value> {
        let kept = match content {
            Content::Other(block) if !self.foreign => return Some(block.clone()),
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => return None,
            Content::Image {
                source: Media::Id(_),
                ..
            }
            | Content::File {
                source: Media::Id(_),
                ..
            } if self.foreign => false,
            Content::File {
                source: Media::Data { mime, .. },
                ..
            } => mime.is_empty() || mime == "application/pdf" || mime.starts_with("text/"),
            _ => true,
        };
        if let Content::Image {
            detail: Some(detail),
            ..
        } = content
            && detail != "auto"
        {
            self.losses.add(format_args!("{place}.detail"), UNKNOWN);
        }
        let block = shown(content).filter(|_| kept);
        if block.is_none() {
            self.losses.add(place, NO_KIND);
        }
        block
    }

    /// The name of a call: letters, digits, `_` and `-`.
    fn id(&mut self, id: &str) -> String {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
        if !id.is_empty() && id.chars().all(plain) {
            return id.to_owned();
        }
        let count = self.ids.len();
        self.ids
            .entry(id.to_owned())
            .or_insert_with(|| {
                let same = id.chars().map(|char| if plain(char) { char } else { '_' });
                format!("{}_{count}", same.collect::<String>())
            })
            .clone()
    }

    fn tools(&mut self, chat: &Chat, out: &mut Object) {
        let mut tools = Vec::with_capacity(chat.tools.len());
        for (index, tool) in chat.tools.iter().enumerate() {
            tools.extend(self.tool(tool, &format!("tools[{index}]")));
        }
        let alone = chat.parallel_tool_calls == Some(false);
        let kind = match &chat.tool_choice {
            Some(ToolChoice::Other(choice)) if !self.foreign => {
                out.insert("tool_choice".into(), choice.clone());
                None
            }
            Some(ToolChoice::Other(_)) => {
                self.losses.add("tool_choice", UNKNOWN);
                None
            }
            Some(ToolChoice::Required | ToolChoice::Tool(_)) if tools.is_empty() => {
                self.losses
                    .add("tool_choice", "There is no tool to choose.");
                None
            }
            Some(_) | None if tools.is_empty() => None,
            Some(ToolChoice::None) => Some("none"),
            Some(ToolChoice::Required | ToolChoice::Tool(_))
                if !self.own && !self.ability.forced =>
            {
                let why = "The model cannot be made to call a tool.";
                self.losses.add("tool_choice", why);
                Some("auto")
            }
            Some(ToolChoice::Required) => Some("any"),
            Some(ToolChoice::Tool(_)) => Some("tool"),
            Some(ToolChoice::Auto) => Some("auto"),
            None => alone.then_some("auto"),
        };
        if let Some(kind) = kind {
            let mut choice = json!({"type": kind});
            if let Some(ToolChoice::Tool(name)) = &chat.tool_choice
                && kind == "tool"
            {
                choice["name"] = self.names.sent(name).into();
            }
            if let Some(parallel) = chat.parallel_tool_calls
                && kind != "none"
                && (alone || self.own)
            {
                choice["disable_parallel_tool_use"] = (!parallel).into();
            }
            out.insert("tool_choice".into(), choice);
        }
        if !tools.is_empty() {
            out.insert("tools".into(), tools.into());
        }
    }

    fn tool(&mut self, tool: &Tool, place: &str) -> Option<Value> {
        if tool.name.is_empty() {
            if self.foreign {
                self.losses.add(place, "The provider has no such tool.");
                return None;
            }
            return Some(tool.extra.clone().into());
        }
        let mut out = Object::new();
        out.insert("name".into(), self.names.sent(&tool.name).into());
        put(&mut out, "description", tool.description.as_deref());
        let mut schema = tool.parameters.clone().unwrap_or_else(|| json!({}));
        if let Some(schema) = schema.as_object_mut().filter(|_| !self.own) {
            schema.entry("type").or_insert("object".into());
        }
        out.insert("input_schema".into(), schema);
        match tool.strict {
            Some(true) if !self.own && !self.ability.schemas => {
                let why = "The model cannot be held to a schema.";
                self.losses.add(format_args!("{place}.strict"), why);
            }
            Some(strict) if strict || self.own => {
                out.insert("strict".into(), strict.into());
            }
            _ => {}
        }
        let extra = self.fields(&tool.extra, place);
        Some(with(out.into(), extra))
    }

    fn settings(&mut self, chat: &Chat, out: &mut Object) -> Result<(), Rejection> {
        let sampling = &chat.sampling;
        let max_tokens = sampling.max_tokens.unwrap_or(self.ability.most_output);
        out.insert("max_tokens".into(), max_tokens.into());
        if self.own {
            put(out, "temperature", sampling.temperature);
            put(out, "top_p", sampling.top_p);
            put(out, "top_k", sampling.top_k);
            if let Some(effort) = &chat.effort {
                out.insert("output_config".into(), json!({"effort": effort}));
            }
        } else {
            let thinks = chat.extra.get("thinking").is_some_and(says);
            let (ability, losses) = (self.ability, &mut self.losses);
            let thinks = thinks || thinking::write(chat, ability, max_tokens, out, losses);
            thinking::sampling(chat, ability, thinks, out, losses);
        }
        let mut stop = sampling.stop.clone();
        if !self.own {
            stop.retain(|text| !text.trim().is_empty());
            if stop.len() < sampling.stop.len() {
                self.losses
                    .add("stop", "The provider does not stop at white space.");
            }
        }
        if !stop.is_empty() {
            out.insert("stop_sequences".into(), stop.into());
        }
        match &chat.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonSchema {
                schema: Some(wanted),
                ..
            }) if self.own || self.ability.schemas => {
                let schema = match self.own {
                    true => wanted.clone(),
                    false => schema::closed(wanted, &mut self.losses)?,
                };
                let config = out.entry("output_config").or_insert_with(|| json!({}));
                config["format"] = json!({"type": "json_schema", "schema": schema});
            }
            Some(_) => {
                let why = "The provider cannot hold the answer to this form.";
                self.losses.add("response_format", why);
            }
        }
        Ok(())
    }

    /// Fields at the top that the view does not know.
    fn extra(&mut self, extra: &Extra, out: &mut Object) {
        for (key, value) in extra {
            if !self.foreign {
                merge(out, key, value);
                continue;
            }
            match &**key {
                "thinking" | "cache_control" if value.is_object() => {
                    out.insert(key.clone(), value.clone());
                }
                "user" | "safety_identifier" if value.is_string() => {
                    out.insert("metadata".into(), json!({"user_id": value}));
                }
                "service_tier" if value == "auto" => {}
                _ if says(value) => self.losses.add(key, UNKNOWN),
                _ => {}
            }
        }
    }
}

/// Adds what is not there yet, also within an object.
fn merge(out: &mut Object, key: &str, value: &Value) {
    match (out.get_mut(key), value) {
        (None, _) => {
            out.insert(key.to_owned(), value.clone());
        }
        (Some(Value::Object(inside)), Value::Object(more)) => {
            for (key, value) in more {
                inside.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        (Some(_), _) => {}
    }
}

/// Whether a field says anything.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => true,
    }
}

fn is_plain(block: &Value) -> bool {
    block["type"] == "text" && block.as_object().is_some_and(|block| block.len() == 2)
}

/// The vendor takes four marks of what it shall cache.
fn few_breakpoints(out: &mut Object, losses: &mut Losses) {
    let mut count = 0;
    let mut lost = 0;
    for key in ["tools", "system", "messages"] {
        if let Some(all) = out.get_mut(key) {
            limited(all, &mut count, &mut lost);
        }
    }
    for _ in 0..lost {
        losses.add("cache_control", "The provider takes four at the most.");
    }
}

fn limited(value: &mut Value, count: &mut usize, lost: &mut usize) {
    let Value::Array(all) = value else {
        return;
    };
    for one in all {
        if let Some(content) = one.get_mut("content") {
            limited(content, count, lost);
        }
        if let Some(fields) = one.as_object_mut()
            && fields.contains_key("cache_control")
        {
            *count += 1;
            if *count > MOST_CACHED {
                fields.remove("cache_control");
                *lost += 1;
            }
        }
    }
}
