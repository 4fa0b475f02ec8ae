//! The typed view of a request, written.

use super::{
    super::{
        model::{self, Ability},
        text_block,
    },
    block::shown,
    schema, thinking,
    turns::{Answered, Turn, ordered},
};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Extra, Media, Message, Operation, ResponseFormat, Role, Tool,
        ToolChoice,
        catalog::Entry,
        codec::{
            Encoded, Losses, Maker,
            gemini::BUDGET,
            literal,
            translation::{
                OPERATOR_FIRST, Object, Translation, UNKNOWN, object_of, put, spoken, with,
            },
        },
    },
    rejection::Kind,
};
use serde_json::{Value, json};
use std::collections::HashMap;

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
    let known = to.facts(request);
    let facts = known.as_ref().map(Entry::facts);
    let mut writer = Writer {
        base: Translation::new(request, chat, to, MOST_NAME),
        ability: model::ability(request.model(), facts),
        ids: HashMap::new(),
        lost_thought: false,
    };
    let mut out = Object::new();
    out.insert("model".into(), (**request.model()).into());
    writer.conversation(chat, &mut out);
    spoken(out.get("messages"))?;
    writer.tools(chat, &mut out);
    writer.settings(chat, &mut out)?;
    if request.streams() {
        out.insert("stream".into(), true.into());
    }
    writer.extra(&chat.extra, &mut out);
    if writer.base.own && writer.lost_thought {
        thinking::stop_between_calls(&mut out, &mut writer.base.losses);
    }
    if !writer.base.own {
        few_breakpoints(&mut out, &mut writer.base.losses);
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
        body: literal::document(&out, request),
        losses: writer.base.losses.into_vec(),
        names: writer.base.names,
    })
}

struct Writer<'a> {
    base: Translation<'a>,
    ability: Ability,
    /// Names of calls that the vendor would refuse, and what they are instead.
    ids: HashMap<String, String>,
    /// What another thought was left out.
    lost_thought: bool,
}

impl Writer<'_> {
    fn conversation(&mut self, chat: &Chat, out: &mut Object) {
        let mut system = Vec::new();
        let mut turns = Vec::with_capacity(chat.messages.len());
        for (index, message) in chat.messages.iter().enumerate() {
            let place = format!("messages[{index}]");
            self.base.message(message, &place);
            if matches!(message.role, Role::System | Role::Developer) {
                if !turns.is_empty() {
                    self.base.losses.add(&place, OPERATOR_FIRST);
                }
                for (at, part) in message.parts.iter().enumerate() {
                    let place = format!("{place}.content[{at}]");
                    match &part.content {
                        Content::Text(text) if text.trim().is_empty() => {}
                        Content::Text(text) => {
                            let extra = self.fields(&part.extra, &place);
                            system.push(with(text_block(text), extra));
                        }
                        _ => self.base.lost_kind(&place),
                    }
                }
                continue;
            }
            turns.push(self.turn(message, &place));
        }
        let mut messages = ordered(turns, &mut self.base.losses);
        if messages.is_empty() && !system.is_empty() {
            let why = "The provider wants a user's turn: it is what the operator says.";
            self.base.losses.add("messages", why);
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

    /// Fields of a part or a tool that go along.
    fn fields(&mut self, extra: &Extra, place: &str) -> Extra {
        self.base.fields_and(extra, place, |key, value| {
            key == "cache_control" && value.is_object()
        })
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
                    turn.results.push(Answered {
                        call,
                        parts: vec![block],
                        beside: Vec::new(),
                        place,
                    });
                    continue;
                }
                Content::ToolCall(call) => {
                    let (input, fits) = object_of(&call.arguments);
                    if !fits {
                        self.base.wrapped_arguments(&place);
                    }
                    Some(json!({
                        "type": "tool_use",
                        "id": self.id(&call.id),
                        "name": self.base.names.sent(&call.name),
                        "input": input,
                    }))
                }
                Content::Reasoning(_) => self.thought(&part.content, &place),
                Content::Image { .. } | Content::File { .. }
                    if turn.assistant && !self.base.own =>
                {
                    self.base.lost_kind(&place);
                    None
                }
                content => self.shown(content, &place),
            };
            if let Some(block) = block {
                let extra = self.fields(&part.extra, &place);
                turn.parts.push(with(block, extra));
            }
        }
        turn
    }

    fn thought(&mut self, content: &Content, place: &str) -> Option<Value> {
        let Content::Reasoning(thought) = content else {
            return None;
        };
        let opened = |proof: &Option<String>| {
            let proof = self.base.proof(proof.as_deref())?;
            Some(proof).filter(|proof| !proof.is_empty())
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
            self.base.lost_thought(place);
            self.lost_thought = true;
        }
        block
    }

    /// A text, picture or document. An empty text says nothing, and the vendor refuses it.
    fn shown(&mut self, content: &Content, place: &str) -> Option<Value> {
        let kept = match content {
            Content::Other(block) if !self.base.foreign => return Some(block.clone()),
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => return None,
            Content::Image {
                source: Media::Id(_),
                ..
            }
            | Content::File {
                source: Media::Id(_),
                ..
            } if self.base.foreign => false,
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
            self.base
                .losses
                .add(format_args!("{place}.detail"), UNKNOWN);
        }
        let block = shown(content).filter(|_| kept);
        if block.is_none() {
            self.base.lost_kind(place);
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
        let kind = match self.base.choice(chat, !tools.is_empty()) {
            Some(ToolChoice::Other(choice)) => {
                out.insert("tool_choice".into(), choice.clone());
                None
            }
            Some(ToolChoice::None) => Some("none"),
            Some(ToolChoice::Required | ToolChoice::Tool(_))
                if !self.base.own && !self.ability.forced =>
            {
                let why = "The model cannot be made to call a tool.";
                self.base.losses.add("tool_choice", why);
                Some("auto")
            }
            Some(ToolChoice::Required) => Some("any"),
            Some(ToolChoice::Tool(_)) => Some("tool"),
            Some(ToolChoice::Auto) => Some("auto"),
            None => (alone && chat.tool_choice.is_none() && !tools.is_empty()).then_some("auto"),
        };
        if let Some(kind) = kind {
            let mut choice = json!({"type": kind});
            if let Some(ToolChoice::Tool(name)) = &chat.tool_choice
                && kind == "tool"
            {
                choice["name"] = self.base.names.sent(name).into();
            }
            if let Some(parallel) = chat.parallel_tool_calls
                && kind != "none"
                && (alone || self.base.own)
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
            return self.base.vendors_tool(tool, place);
        }
        let mut out = Object::new();
        out.insert("name".into(), self.base.names.sent(&tool.name).into());
        put(&mut out, "description", tool.description.as_deref());
        let mut schema = tool.parameters.clone().unwrap_or_else(|| json!({}));
        if let Some(schema) = schema.as_object_mut().filter(|_| !self.base.own) {
            schema.entry("type").or_insert("object".into());
        }
        out.insert("input_schema".into(), schema);
        match tool.strict {
            Some(true) if !self.base.own && !self.ability.schemas => {
                let why = "The model cannot be held to a schema.";
                self.base.losses.add(format_args!("{place}.strict"), why);
            }
            Some(strict) if strict || self.base.own => {
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
        if self.base.own {
            put(out, "temperature", sampling.temperature);
            put(out, "top_p", sampling.top_p);
            put(out, "top_k", sampling.top_k);
            if let Some(effort) = &chat.effort {
                out.insert("output_config".into(), json!({"effort": effort}));
            }
        } else {
            let said = chat.extra.get("thinking");
            let thinks = said.is_some_and(|said| {
                said.as_object().is_none_or(|all| !all.is_empty())
                    && !matches!(said, Value::Null | Value::Bool(false))
            });
            let (ability, losses) = (self.ability, &mut self.base.losses);
            let thinks = thinks || thinking::write(chat, ability, max_tokens, out, losses);
            thinking::sampling(chat, ability, thinks, out, losses);
        }
        let mut stop = sampling.stop.clone();
        if !self.base.own {
            stop.retain(|text| !text.trim().is_empty());
            if stop.len() < sampling.stop.len() {
                self.base
                    .losses
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
            }) if self.base.own || self.ability.schemas => {
                let schema = match self.base.own {
                    true => wanted.clone(),
                    false => schema::closed(wanted, &mut self.base.losses)?,
                };
                let config = out.entry("output_config").or_insert_with(|| json!({}));
                config["format"] = json!({"type": "json_schema", "schema": schema});
            }
            Some(_) => {
                let why = "The provider cannot hold the answer to this form.";
                self.base.losses.add("response_format", why);
            }
        }
        Ok(())
    }

    /// Fields at the top that the view does not know.
    fn extra(&mut self, extra: &Extra, out: &mut Object) {
        self.base.top(extra, out, |key, value, out| match key {
            "thinking" | "cache_control" if value.is_object() => {
                out.insert(key.to_owned(), value.clone());
                true
            }
            "user" | "safety_identifier" if value.is_string() => {
                out.insert("metadata".into(), json!({"user_id": value}));
                true
            }
            "service_tier" => value == "auto",
            // It was told in its place.
            BUDGET => out
                .get("thinking")
                .is_some_and(|thinking| thinking.get("budget_tokens").is_some()),
            _ => false,
        });
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
