//! The typed view of a request, written.

mod content;
mod document;
mod media;
mod settings;

use self::document::Titles;
use super::model::{self, Model};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Message, Operation, Role, Tool, ToolChoice,
        catalog::Entry,
        codec::{
            Encoded, Maker, literal,
            translation::{OPERATOR_FIRST, Object, Translation, UNKNOWN, spoken, with},
            turns::{Form, ordered},
        },
    },
    rejection::Kind,
};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

const MOST_NAME: usize = 64;
const MOST_CACHED: usize = 4;

const FORM: Form = Form {
    stub: |call, _| {
        json!({"toolResult": {
            "toolUseId": call,
            "content": [{"text": "No result was given."}],
            "status": "error",
        }})
    },
    first: || json!({"text": "."}),
};

/// The request for a vendor of this protocol.
pub(super) fn encode(request: &ChatRequest, chat: &Chat, to: &Maker) -> Result<Encoded, Rejection> {
    if chat.sampling.n.is_some_and(|n| n > 1) {
        return Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param("n")
            .with_detail("The provider gives one answer to a request."));
    }
    let known = to.facts(request);
    let mut writer = Writer {
        base: Translation::new(request, chat, to, MOST_NAME),
        model: Model::of(request.model(), known.as_ref().map(Entry::facts)),
        ids: HashMap::new(),
        titles: Titles::default(),
    };
    let mut out = Object::new();
    writer.conversation(chat, &mut out)?;
    spoken(out.get("messages"))?;
    writer.tools(chat, &mut out);
    writer.settings(chat, &mut out)?;
    few_cache_points(&mut out, &mut writer.base);
    if request.operation() == Operation::CountTokens {
        out.retain(|key, _| ["messages", "system", "toolConfig"].contains(&&**key));
        out = Object::from_iter([("input".to_owned(), json!({"converse": out}))]);
    }
    Ok(Encoded {
        body: literal::document(&out, request),
        losses: writer.base.losses.into_vec(),
        names: writer.base.names,
    })
}

struct Writer<'a> {
    base: Translation<'a>,
    model: Model,
    /// Names of calls that the vendor would refuse, and what they are instead.
    ids: HashMap<String, String>,
    titles: Titles,
}

impl Writer<'_> {
    fn conversation(&mut self, chat: &Chat, out: &mut Object) -> Result<(), Rejection> {
        let mut system = Vec::new();
        let mut turns = Vec::with_capacity(chat.messages.len());
        for (index, message) in chat.messages.iter().enumerate() {
            let place = format!("messages[{index}]");
            self.base.message(message, &place);
            if matches!(message.role, Role::System | Role::Developer) {
                if !turns.is_empty() {
                    self.base.losses.add(&place, OPERATOR_FIRST);
                }
                self.operator(message, &place, &mut system);
            } else {
                turns.push(self.turn(message, &place)?);
            }
        }
        let mut form = FORM;
        if !self.model.takes_status() {
            form.stub = |call, name| {
                let mut stub = (FORM.stub)(call, name);
                if let Some(result) = stub["toolResult"].as_object_mut() {
                    result.remove("status");
                }
                stub
            };
        }
        let turns = ordered(turns, &form, &mut self.base.losses);
        let last = turns.len().checked_sub(1);
        let mut messages = Vec::with_capacity(turns.len());
        for (index, turn) in turns.into_iter().enumerate() {
            let assistant = turn.assistant;
            let mut content = turn.into_parts();
            if assistant && Some(index) == last {
                self.prefill(&mut content);
            }
            document::accompany(&mut content, &mut self.base.losses);
            let role = if assistant { "assistant" } else { "user" };
            messages.push(json!({"role": role, "content": content}));
        }
        if messages.is_empty() && !system.is_empty() {
            let why = "The provider wants a user's turn: it is what the operator says.";
            self.base.losses.add("messages", why);
            messages.push(json!({"role": "user", "content": std::mem::take(&mut system)}));
        }
        if !system.is_empty() {
            out.insert("system".into(), system.into());
        }
        out.insert("messages".into(), messages.into());
        Ok(())
    }

    fn operator(&mut self, message: &Message, place: &str, system: &mut Vec<Value>) {
        for (at, part) in message.parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            let written = match &part.content {
                Content::Text(text) if text.trim().is_empty() => continue,
                Content::Text(text) => json!({"text": text}),
                Content::Other(block) if !self.base.foreign => block.clone(),
                _ => {
                    self.base.lost_kind(&place);
                    continue;
                }
            };
            let (extra, mark) = self.marked(&part.extra, &place, &[]);
            system.push(with(written, extra));
            system.extend(mark);
        }
    }

    /// The model goes on where the last turn ends, and that must not be white space.
    fn prefill(&mut self, content: &mut [Value]) {
        if self.model.maker != model::Maker::Anthropic {
            let why = "The provider does not go on where the last turn ends.";
            self.base.losses.add("messages", why);
        } else if let Some(Value::String(text)) =
            content.last_mut().and_then(|last| last.get_mut("text"))
        {
            let end = text.trim_end().len();
            if end < text.len() {
                let why = "White space at the end of the last turn is left out.";
                self.base.losses.add("messages", why);
                text.truncate(end);
            }
        }
    }

    fn tools(&mut self, chat: &Chat, out: &mut Object) {
        let mut tools = Vec::with_capacity(chat.tools.len());
        for (index, tool) in chat.tools.iter().enumerate() {
            self.tool(tool, &format!("tools[{index}]"), &mut tools);
        }
        let spoken_of = speaks_of_tools(out);
        let choice = self.base.choice(chat, !tools.is_empty());
        if choice == Some(&ToolChoice::None) && !tools.is_empty() {
            if !spoken_of {
                // What is not offered is not called.
                return;
            }
            let why = "The provider takes no such choice where tools were called before.";
            self.base.losses.add("tool_choice", why);
        }
        if tools.is_empty() && spoken_of {
            // It wants to see what was offered when they were called. Nothing is lost.
            let parts = chat.messages.iter().flat_map(|message| &message.parts);
            let (mut names, mut seen) = (Vec::<&str>::new(), HashSet::new());
            for part in parts {
                if let Content::ToolCall(call) = &part.content {
                    let name = self.base.names.sent(&call.name);
                    if seen.insert(name) {
                        names.push(name);
                    }
                }
            }
            tools.extend(names.into_iter().map(|name| {
                json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}})
            }));
        }
        if tools.is_empty() {
            return;
        }
        let mut config = json!({"tools": tools});
        let choice = match choice {
            Some(ToolChoice::Auto) => Some(json!({"auto": {}})),
            Some(ToolChoice::Required | ToolChoice::Tool(_)) if !self.model.ability.forced => {
                let why = "The model cannot be made to call a tool.";
                self.base.losses.add("tool_choice", why);
                Some(json!({"auto": {}}))
            }
            Some(ToolChoice::Required) => Some(json!({"any": {}})),
            Some(ToolChoice::Tool(name)) => {
                Some(json!({"tool": {"name": self.base.names.sent(name)}}))
            }
            Some(ToolChoice::Other(choice)) => Some(choice.clone()),
            _ => None,
        };
        if let Some(choice) = choice {
            config["toolChoice"] = choice;
        }
        if chat.parallel_tool_calls == Some(false) {
            self.base.losses.add("parallel_tool_calls", UNKNOWN);
        }
        out.insert("toolConfig".into(), config);
    }

    fn tool(&mut self, tool: &Tool, place: &str, tools: &mut Vec<Value>) {
        if tool.name.is_empty() {
            tools.extend(self.base.vendors_tool(tool, place));
            return;
        }
        let mut spec = Object::new();
        spec.insert("name".into(), self.base.names.sent(&tool.name).into());
        if let Some(described) = tool.description.as_deref().filter(|it| !it.is_empty()) {
            spec.insert("description".into(), described.into());
        }
        let mut schema = tool.parameters.clone().unwrap_or_else(|| json!({}));
        if let Some(schema) = schema.as_object_mut() {
            schema.entry("type").or_insert("object".into());
        }
        spec.insert("inputSchema".into(), json!({"json": schema}));
        if tool.strict == Some(true) {
            if self.model.ability.schemas {
                spec.insert("strict".into(), true.into());
            } else {
                let why = "The model cannot be held to a schema.";
                self.base.losses.add(format_args!("{place}.strict"), why);
            }
        }
        let (extra, mark) = self.marked(&tool.extra, place, &[]);
        let spec = with(spec.into(), extra);
        tools.push(json!({"toolSpec": spec}));
        if let model::Maker::Nova(_) = self.model.maker
            && mark.is_some()
        {
            let why = "The model caches what is said, and not its tools.";
            self.base
                .losses
                .add(format_args!("{place}.cache_control"), why);
        } else {
            tools.extend(mark);
        }
    }
}

/// Whether tools were called, or answered.
fn speaks_of_tools(out: &Object) -> bool {
    let messages = out.get("messages").and_then(Value::as_array);
    let mut blocks = messages
        .into_iter()
        .flatten()
        .filter_map(|message| message["content"].as_array())
        .flatten();
    blocks.any(|block| block.get("toolUse").is_some() || block.get("toolResult").is_some())
}

/// The vendor takes four marks of what it shall cache.
fn few_cache_points(out: &mut Object, base: &mut Translation<'_>) {
    let mut count = 0;
    if let Some(all) = out
        .get_mut("toolConfig")
        .and_then(|config| config.get_mut("tools"))
    {
        limited(all, &mut count);
    }
    for key in ["system", "messages"] {
        if let Some(all) = out.get_mut(key) {
            limited(all, &mut count);
        }
    }
    for _ in MOST_CACHED..count {
        let why = "The provider takes four at the most.";
        base.losses.add("cache_control", why);
    }
}

fn limited(value: &mut Value, count: &mut usize) {
    let Value::Array(all) = value else {
        return;
    };
    all.retain_mut(|one| {
        for inside in ["content", "toolResult"] {
            match one.get_mut(inside) {
                Some(Value::Object(result)) => {
                    if let Some(content) = result.get_mut("content") {
                        limited(content, count);
                    }
                }
                Some(content) => limited(content, count),
                None => {}
            }
        }
        if one.get("cachePoint").is_none() {
            return true;
        }
        *count += 1;
        *count <= MOST_CACHED
    });
}
