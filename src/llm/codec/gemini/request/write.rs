//! The typed view of a request, written.

mod settings;

use super::{
    super::{
        model::{self, Ability},
        target,
    },
    config::{PLACE, THINKING},
    part::{MADE, guessed},
    schema, thinking,
    turns::{Answered, Turn, ordered, plain},
};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Extra, Media, Message, Operation, Part, ResponseFormat, Role,
        Tool, ToolChoice,
        catalog::Entry,
        codec::{
            Encoded, Maker, Names, allowed, literal,
            translation::{
                OPERATOR_FIRST, Object, Translation, UNKNOWN, object_of, put, spoken, with,
            },
        },
    },
};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

const MOST_NAME: usize = 64;
const MOST_STOPS: usize = 5;

/// What a call is sent with that this vendor did not make, where it wants to see the proof of a
/// thought. It is documented for histories of other vendors.
const SKIP: &str = "skip_thought_signature_validator";

/// The request for a vendor of this protocol.
pub(in super::super) fn encode(
    request: &ChatRequest,
    chat: &Chat,
    to: &Maker,
) -> Result<Encoded, Rejection> {
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    let called = parts.filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some((call.id.clone(), call.name.clone())),
        _ => None,
    });
    let known = to.facts(request);
    let facts = known.as_ref().map(Entry::facts);
    let mut writer = Writer {
        base: Translation::new(request, chat, to, MOST_NAME),
        ability: model::ability(request.model(), facts),
        called: called.collect(),
    };
    writer.base.names = Names::lettered(chat, MOST_NAME);
    let mut out = Object::new();
    writer.conversation(chat, &mut out);
    spoken(out.get("contents"))?;
    writer.tools(chat, &mut out);
    let config = writer.config(chat)?;
    if !config.is_empty() {
        out.insert("generationConfig".into(), config.into());
    }
    writer.extra(&chat.extra, &mut out);
    if request.operation() == Operation::CountTokens {
        out.remove("generationConfig");
        let name = target::bare(request.model());
        out.insert("model".into(), format!("models/{name}").into());
        out = Object::from_iter([("generateContentRequest".to_owned(), out.into())]);
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
    /// The names of the tools that were called, by the id of the call.
    called: HashMap<String, String>,
}

impl Writer<'_> {
    fn conversation(&mut self, chat: &Chat, out: &mut Object) {
        let mut system = Vec::new();
        let mut turns = Vec::with_capacity(chat.messages.len());
        for (index, message) in chat.messages.iter().enumerate() {
            let place = format!("messages[{index}]");
            self.base.message(message, &place);
            if !matches!(message.role, Role::System | Role::Developer) {
                turns.push(self.turn(message, &place));
                continue;
            }
            if !turns.is_empty() {
                self.base.losses.add(&place, OPERATOR_FIRST);
            }
            for (at, part) in message.parts.iter().enumerate() {
                let place = format!("{place}.content[{at}]");
                match &part.content {
                    Content::Text(text) if text.is_empty() => {}
                    Content::Text(text) => {
                        let extra = self.base.fields(&part.extra, &place);
                        system.push(with(json!({"text": text}), extra));
                    }
                    Content::Other(part) if !self.base.foreign => system.push(part.clone()),
                    _ => self.base.lost_kind(&place),
                }
            }
        }
        let mut contents = match self.base.own {
            true => plain(turns),
            false => ordered(turns, &mut self.base.losses),
        };
        if contents.is_empty() && !system.is_empty() {
            let why = "The provider wants a user's turn: it is what the operator says.";
            self.base.losses.add("messages", why);
            contents.push(json!({"role": "user", "parts": std::mem::take(&mut system)}));
        }
        if !system.is_empty() {
            out.insert("systemInstruction".into(), json!({"parts": system}));
        }
        out.insert("contents".into(), contents.into());
    }

    fn turn(&mut self, message: &Message, place: &str) -> Turn {
        let mut turn = Turn::new(message.role == Role::Assistant);
        let mut proofs = Proofs::default();
        let calls = |part: &Part| matches!(part.content, Content::ToolCall(_));
        let mut calls_left = message.parts.iter().filter(|part| calls(part)).count();
        for (at, part) in message.parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            let mut extra = self.base.fields(&part.extra, &place);
            let written = match &part.content {
                Content::Reasoning(_) => {
                    self.thought(part, &place, &mut proofs, &mut turn.parts);
                    continue;
                }
                Content::ToolResult { .. } => {
                    let Some(answer) = self.result(part, extra, &place) else {
                        continue;
                    };
                    match self.base.own {
                        true => turn
                            .parts
                            .extend(answer.parts.into_iter().chain(answer.beside)),
                        false => turn.results.push(answer),
                    }
                    continue;
                }
                Content::ToolCall(call) => {
                    calls_left -= 1;
                    let (args, fits) = object_of(&call.arguments);
                    if !fits {
                        self.base.wrapped_arguments(&place);
                    }
                    let mut function = Object::new();
                    put(&mut function, "id", sent_id(&call.id));
                    function.insert("name".into(), self.base.names.sent(&call.name).into());
                    function.insert("args".into(), args);
                    inside(&mut function, &mut extra, "functionCall");
                    let mut part = json!({"functionCall": function});
                    let first = turn.calls.is_empty();
                    let proof = proofs.for_call(first);
                    let foreign = !self.base.own || proofs.lost;
                    let skip = first && foreign && self.ability.third;
                    if let Some(proof) = proof.or_else(|| skip.then(|| SKIP.to_owned())) {
                        part["thoughtSignature"] = proof.into();
                    }
                    let name = self.base.names.sent(&call.name).to_owned();
                    turn.calls.push((call.id.clone(), name));
                    Some(part)
                }
                Content::Other(part) if !self.base.foreign => Some(proofs.on(part.clone())),
                content => self.shown(content, &place, &mut extra).map(|part| {
                    match calls_left > 0 && !self.base.own {
                        // What is proven last is the call's.
                        true => proofs.before_calls(part),
                        false => proofs.on(part),
                    }
                }),
            };
            turn.parts.extend(written.map(|part| with(part, extra)));
        }
        let rest = proofs.open.drain(..);
        let rest = rest.map(|proof| json!({"text": "", "thoughtSignature": proof}));
        turn.parts.extend(rest);
        turn
    }

    /// A thought goes to its maker alone. Its proof stands with what follows it.
    fn thought(&mut self, part: &Part, place: &str, proofs: &mut Proofs, out: &mut Vec<Value>) {
        let Content::Reasoning(thought) = &part.content else {
            return;
        };
        let unproven = thought.signature.is_none() && thought.redacted.is_none();
        let opened = self.base.proof(thought.signature.as_deref());
        if opened.is_none() && (self.base.foreign || !unproven) {
            self.base.lost_thought(place);
            proofs.lost = true;
            return;
        }
        let proof = opened.filter(|proof| !proof.is_empty());
        if thought.text.is_empty() {
            proofs.open.extend(proof);
            return;
        }
        let mut written = json!({"text": thought.text, "thought": true});
        match (self.base.own, proof) {
            (true, Some(proof)) => written["thoughtSignature"] = proof.into(),
            (_, proof) => proofs.open.extend(proof),
        }
        out.push(written);
    }

    /// A text, picture, sound or document. An empty text says nothing.
    fn shown(&mut self, content: &Content, place: &str, extra: &mut Extra) -> Option<Value> {
        let mut name = None;
        let source = match content {
            Content::Text(text) | Content::Refusal(text) if text.is_empty() && !self.base.own => {
                return None;
            }
            Content::Text(text) | Content::Refusal(text) => return Some(json!({"text": text})),
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.base
                        .losses
                        .add(format_args!("{place}.detail"), UNKNOWN);
                }
                source
            }
            Content::Audio(source) => source,
            Content::File { source, name: said } => {
                name = said.as_deref();
                source
            }
            _ => {
                self.base.lost_kind(place);
                return None;
            }
        };
        let mut out = Object::new();
        let key = match source {
            Media::Data { mime, base64 } => {
                let mime = match (&**mime, content) {
                    ("", _) => "application/pdf".to_owned(),
                    // Names of formats.
                    (mime, Content::Audio(_)) if !mime.contains('/') => format!("audio/{mime}"),
                    (mime, _) => mime.to_owned(),
                };
                out.insert("mimeType".into(), mime.into());
                out.insert("data".into(), (&**base64).into());
                "inlineData"
            }
            Media::Id(_) if self.base.foreign => {
                self.base
                    .losses
                    .add(place, "The provider cannot see where it is.");
                return None;
            }
            Media::Url(uri) | Media::Id(uri) => {
                let mime = match extra.remove("mimeType") {
                    Some(Value::String(mime)) => Some(mime),
                    _ => guessed(uri).map(str::to_owned),
                };
                put(&mut out, "mimeType", mime);
                out.insert("fileUri".into(), (&**uri).into());
                "fileData"
            }
        };
        match self.base.foreign {
            false => put(&mut out, "displayName", name),
            true if name.is_some() => self.base.losses.add(format_args!("{place}.name"), UNKNOWN),
            true => {}
        }
        inside(&mut out, extra, key);
        Some(json!({key: out}))
    }

    fn result(&mut self, part: &Part, mut extra: Extra, place: &str) -> Option<Answered> {
        let Content::ToolResult {
            call_id,
            parts,
            is_error,
        } = &part.content
        else {
            return None;
        };
        let name = match (self.called.get(call_id), extra.remove("name")) {
            (_, Some(Value::String(name))) => name,
            (Some(name), _) => self.base.names.sent(name).to_owned(),
            (None, _) => {
                self.base
                    .losses
                    .add(place, "It answers no call of the turn before.");
                return None;
            }
        };
        let texts: Vec<_> = parts.iter().filter_map(Part::as_text).collect();
        let text = texts.join("\n");
        let response = match serde_json::from_str(&text) {
            Ok(Value::Object(response)) if *is_error != Some(true) => Value::from(response),
            _ if *is_error == Some(true) => json!({"error": text}),
            _ => json!({"output": text}),
        };
        let mut function = Object::new();
        put(&mut function, "id", sent_id(call_id));
        function.insert("name".into(), name.into());
        function.insert("response".into(), response);
        let mut shown = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            let mut extra = self.base.fields(&part.extra, &place);
            if part.as_text().is_some() {
                continue;
            }
            shown.extend(
                self.shown(&part.content, &place, &mut extra)
                    .map(|part| with(part, extra)),
            );
        }
        if (self.base.own || self.ability.third) && !shown.is_empty() {
            function.insert("parts".into(), std::mem::take(&mut shown).into());
        } else if !shown.is_empty() {
            self.base.losses.add(
                place,
                "What it shows is shown by the user, behind the results.",
            );
        }
        inside(&mut function, &mut extra, "functionResponse");
        Some(Answered {
            call: call_id.clone(),
            parts: vec![with(json!({"functionResponse": function}), extra)],
            beside: shown,
            place: place.to_owned(),
        })
    }

    fn tools(&mut self, chat: &Chat, out: &mut Object) {
        let (mut declared, mut others) = (Vec::new(), Vec::new());
        // Where the functions stand among the vendor's own tools.
        let mut place_of_declared = 0;
        for (index, tool) in chat.tools.iter().enumerate() {
            let place = format!("tools[{index}]");
            if !tool.name.is_empty() {
                if declared.is_empty() {
                    place_of_declared = others.len();
                }
                declared.extend(self.tool(tool, &place));
            } else {
                others.extend(self.base.vendors_tool(tool, &place));
            }
        }
        if chat.parallel_tool_calls == Some(false) && !declared.is_empty() {
            let why = "The provider calls as many tools at once as it sees fit.";
            self.base.losses.add("parallel_tool_calls", why);
        }
        let mode = |mode: &str| json!({"mode": mode});
        let some = allowed::required(chat).filter(|_| self.base.foreign);
        let some = some.map(|names| {
            let names: Vec<_> = names.map(|name| self.base.names.sent(name)).collect();
            json!({"mode": "ANY", "allowedFunctionNames": names})
        });
        let choice = match some {
            Some(_) => None,
            None => self.base.choice(chat, !declared.is_empty()),
        };
        let choice = choice.map(|choice| match choice {
            ToolChoice::Other(choice) => choice.clone(),
            ToolChoice::Auto => mode("AUTO"),
            ToolChoice::None => mode("NONE"),
            ToolChoice::Required => mode("ANY"),
            ToolChoice::Tool(name) => json!({
                "mode": "ANY",
                "allowedFunctionNames": [self.base.names.sent(name)],
            }),
        });
        if let Some(choice) = some.or(choice) {
            out.insert(
                "toolConfig".into(),
                json!({"functionCallingConfig": choice}),
            );
        }
        if !declared.is_empty() {
            others.insert(place_of_declared, json!({"functionDeclarations": declared}));
        }
        if !others.is_empty() {
            out.insert("tools".into(), others.into());
        }
    }

    fn tool(&mut self, tool: &Tool, place: &str) -> Option<Value> {
        let mut out = Object::new();
        out.insert("name".into(), self.base.names.sent(&tool.name).into());
        put(&mut out, "description", tool.description.as_deref());
        if let Some(schema) = &tool.parameters {
            let place = format!("{place}.parameters");
            if self.ability.json_schema {
                let mut schema = schema.clone();
                if let Some(schema) = schema.as_object_mut() {
                    schema.entry("type").or_insert("object".into());
                }
                out.insert("parametersJsonSchema".into(), schema);
            } else {
                match schema::subset(schema, &place, &mut self.base.losses) {
                    // An object without properties is none to these models.
                    Ok(schema) if schema.get("properties").is_none_or(|all| all == &json!({})) => {}
                    Ok(schema) => {
                        out.insert("parameters".into(), schema);
                    }
                    Err(_) => self
                        .base
                        .losses
                        .add(place, "The provider does not take such a schema."),
                }
            }
        }
        if tool.strict == Some(true) {
            let why = "The provider does not hold arguments to the letter.";
            self.base.losses.add(format_args!("{place}.strict"), why);
        }
        let extra = self.base.fields(&tool.extra, place);
        Some(with(out.into(), extra))
    }

    /// Fields at the top that the view does not know.
    fn extra(&mut self, extra: &Extra, out: &mut Object) {
        if self.base.foreign {
            return self.base.top(extra, out, |key, value, _| match key {
                // It was looked at before.
                "thinking" => true,
                "service_tier" => value == "auto",
                "modalities" => *value == json!(["text"]),
                _ => false,
            });
        }
        for (key, value) in extra {
            if key.starts_with(THINKING) {
                continue;
            }
            match key.split_once('.') {
                Some((place @ (PLACE | "toolConfig"), key)) => {
                    out.entry(place).or_insert_with(|| json!({}))[key] = value.clone();
                }
                _ => {
                    out.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        }
    }
}

/// Proofs that wait for the part that they stand with.
#[derive(Default)]
struct Proofs {
    open: VecDeque<String>,
    /// That of another was left out.
    lost: bool,
}

impl Proofs {
    fn on(&mut self, mut part: Value) -> Value {
        if let Some(proof) = self.open.pop_front() {
            part["thoughtSignature"] = proof.into();
        }
        part
    }

    /// On a part before calls: the last is theirs.
    fn before_calls(&mut self, part: Value) -> Value {
        if self.open.len() > 1 {
            self.on(part)
        } else {
            part
        }
    }

    /// Of calls that are made at once only the first has one, unless more are there.
    fn for_call(&mut self, first: bool) -> Option<String> {
        match first {
            true => self.open.pop_back(),
            false => self.open.pop_front(),
        }
    }
}

/// Fields of this inner object that nobody here knows.
fn inside(out: &mut Object, extra: &mut Extra, key: &str) {
    if let Some(Value::Object(more)) = extra.remove(key) {
        for (key, value) in more {
            out.entry(key).or_insert(value);
        }
    }
}

/// The name of a call, unless it was made up here.
fn sent_id(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty() && !id.starts_with(MADE))
}
