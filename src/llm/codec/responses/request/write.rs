//! The typed view of a request, written.

mod settings;

use super::{
    ITEM,
    item::{is_said, thought},
    shared::from_chat,
};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Extra, Media, Message, Operation, Part, Protocol, Reasoning,
        Role, Tool, ToolChoice,
        catalog::Entry,
        codec::{
            Encoded, Maker, literal,
            translation::{Object, Translation, put, spoken, with},
        },
    },
    rejection::Kind,
};
use serde_json::{Value, json};

const MOST_NAME: usize = 64;

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
    let mut writer = Writer {
        base: Translation::new(request, chat, to, MOST_NAME),
        to,
        known: to.facts(request),
        include: Vec::new(),
    };
    let mut out = Object::new();
    out.insert("model".into(), (**request.model()).into());
    writer.conversation(chat, &mut out);
    if writer.base.foreign {
        spoken(out.get("input"))?;
    }
    writer.tools(chat, &mut out);
    writer.settings(chat, &mut out);
    writer.extra(&chat.extra, &mut out);
    if request.streams() {
        out.insert("stream".into(), true.into());
    }
    // Nobody here keeps anything, unless the client of the protocol itself says so.
    out.entry("store").or_insert(false.into());
    if request.operation() == Operation::CountTokens {
        const COUNTED: [&str; 9] = [
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "text",
            "reasoning",
            "truncation",
        ];
        out.retain(|key, _| COUNTED.contains(&&**key));
    }
    Ok(Encoded {
        body: literal::document(&out, request),
        losses: writer.base.losses.into_vec(),
        names: writer.base.names,
    })
}

struct Writer<'a> {
    base: Translation<'a>,
    to: &'a Maker,
    known: Option<Entry>,
    /// What the answer shall hold beside what it always holds.
    include: Vec<&'static str>,
}

impl Writer<'_> {
    fn conversation(&mut self, chat: &Chat, out: &mut Object) {
        let mut input = Vec::with_capacity(chat.messages.len());
        let last = chat.messages.len().checked_sub(1);
        for (index, message) in chat.messages.iter().enumerate() {
            let place = format!("messages[{index}]");
            if index == 0
                && let Some(text) = self.instructions(message, &place)
            {
                out.insert("instructions".into(), text.into());
                continue;
            }
            if Some(index) == last && message.role == Role::Assistant && self.base.foreign {
                let why = "The provider does not go on where the last turn ends.";
                self.base.losses.add(&place, why);
            }
            self.message(message, &place, &mut input);
        }
        if input.is_empty()
            && let Some(Value::String(text)) = out.remove("instructions")
        {
            let why = "The provider wants a user's turn: it is what the operator says.";
            self.base.losses.add("messages", why);
            input.push(json!({"role": "user", "content": text}));
        }
        out.insert("input".into(), input.into());
    }

    /// What the operator says before all else, if it is one text. Several are a message, for their
    /// bounds are told by nothing else.
    fn instructions(&mut self, message: &Message, place: &str) -> Option<String> {
        let [part] = &message.parts[..] else {
            return None;
        };
        let plain = message.extra.is_empty() && part.extra.is_empty();
        if message.role != Role::System || !(plain || self.base.foreign) {
            return None;
        }
        let text = part.as_text()?.to_owned();
        self.base.message(message, place);
        self.fields(&part.extra, &format!("{place}.content[0]"));
        Some(text)
    }

    fn message(&mut self, message: &Message, place: &str, input: &mut Vec<Value>) {
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let mut fields = Extra::new();
        match self.base.foreign {
            true => self.base.message(message, place),
            false => {
                fields.extend(inside(&message.extra));
                let rest = message.extra.iter().filter(|(key, _)| *key != ITEM);
                fields.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        // The parts of the message that is open.
        let mut said: Vec<Value> = Vec::new();
        let mut shown: Vec<Value> = Vec::new();
        for (at, part) in message.parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            if is_said(part) && !matches!(part.content, Content::Other(_) if self.base.foreign) {
                if part.extra.contains_key(ITEM) && !self.base.foreign {
                    close(role, &mut said, &mut fields, input);
                    fields.extend(inside(&part.extra));
                }
                let extra = self.fields(&part.extra, &place);
                let written = self.said(&part.content, message.role, &place);
                said.extend(written.map(|part| with(part, extra)));
                continue;
            }
            close(role, &mut said, &mut fields, input);
            let item = match &part.content {
                Content::ToolCall(call) => {
                    let arguments = match call.arguments.trim().is_empty() {
                        true => "{}",
                        false => &call.arguments,
                    };
                    Some(json!({
                        "type": "function_call",
                        "call_id": call.id,
                        "name": self.base.names.sent(&call.name),
                        "arguments": arguments,
                    }))
                }
                Content::ToolResult {
                    call_id,
                    parts,
                    is_error,
                } => {
                    if *is_error == Some(true) {
                        let why = "Only the text of the result tells it.";
                        self.base.losses.add(format_args!("{place}.is_error"), why);
                    }
                    let output = self.output(parts, &place, &mut shown);
                    Some(json!({
                        "type": "function_call_output",
                        "call_id": call_id,
                        "output": output,
                    }))
                }
                Content::Reasoning(thought) => self.thought(thought, &inside(&part.extra), &place),
                Content::Other(item) if !self.base.foreign => {
                    input.extend(self.own(item, &place));
                    continue;
                }
                _ => {
                    self.base.lost_kind(&place);
                    None
                }
            };
            let extra = self.fields(&part.extra, &place);
            if let Some(item) = item {
                let mut fields = match self.base.foreign {
                    true => Extra::new(),
                    false => inside(&part.extra),
                };
                if let Content::Reasoning(_) = part.content {
                    fields.retain(|key, _| !["summary", "content"].contains(&&**key));
                }
                input.push(with(with(item, fields), extra));
            }
        }
        said.extend(shown);
        close(role, &mut said, &mut fields, input);
    }

    /// Fields of a part, a tool or an item that go along.
    fn fields(&mut self, extra: &Extra, place: &str) -> Extra {
        let mut kept = self.base.fields(extra, place);
        kept.remove(ITEM);
        kept
    }

    /// A part of a message.
    fn said(&mut self, content: &Content, role: Role, place: &str) -> Option<Value> {
        let assistant = role == Role::Assistant;
        let lost = match content {
            Content::Other(part) => return Some(part.clone()),
            Content::Text(text) if text.is_empty() && self.base.foreign => return None,
            Content::Text(text) if assistant => {
                return Some(json!({"type": "output_text", "text": text}));
            }
            Content::Text(text) => return Some(json!({"type": "input_text", "text": text})),
            Content::Refusal(text) if assistant => {
                return Some(json!({"type": "refusal", "refusal": text}));
            }
            Content::Refusal(text) => return Some(json!({"type": "input_text", "text": text})),
            // What the other one shows has no form.
            _ if assistant && self.base.foreign => None,
            content => self.shown(content),
        };
        if lost.is_none() {
            self.base.lost_kind(place);
        }
        lost
    }

    /// A picture, sound or document.
    fn shown(&self, content: &Content) -> Option<Value> {
        let mut out = Object::new();
        match content {
            Content::Image { source, detail } => {
                out.insert("type".into(), "input_image".into());
                match source {
                    Media::Id(_) if self.base.foreign => return None,
                    Media::Id(id) => out.insert("file_id".into(), (&**id).into()),
                    source => out.insert("image_url".into(), url(source).into()),
                };
                put(&mut out, "detail", detail.as_deref());
            }
            Content::Audio(Media::Data { mime, base64 }) => {
                let format = mime.strip_prefix("audio/").unwrap_or(mime);
                out.insert("type".into(), "input_audio".into());
                let audio = json!({"data": base64, "format": format});
                out.insert("input_audio".into(), audio);
            }
            Content::File { source, name } => {
                out.insert("type".into(), "input_file".into());
                match source {
                    Media::Id(_) if self.base.foreign => return None,
                    Media::Id(id) => out.insert("file_id".into(), (&**id).into()),
                    Media::Url(url) => out.insert("file_url".into(), (&**url).into()),
                    Media::Data { mime, base64 } => {
                        let data = match (&**mime, self.base.own) {
                            ("", true) => base64.clone(),
                            ("", false) => format!("data:application/pdf;base64,{base64}"),
                            _ => url(source),
                        };
                        out.insert("file_data".into(), data.into())
                    }
                };
                // The vendor wants a name for what it gets.
                let made = matches!(source, Media::Data { .. }) && !self.base.own;
                let name = name.as_deref().or(made.then_some("document.pdf"));
                put(&mut out, "filename", name);
            }
            _ => return None,
        }
        Some(out.into())
    }

    /// What a tool answered: a text, or parts.
    fn output(&mut self, parts: &[Part], place: &str, shown: &mut Vec<Value>) -> Value {
        let mut out = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            let extra = self.fields(&part.extra, &place);
            let written = match &part.content {
                Content::Other(part) if !self.base.foreign => Some(part.clone()),
                Content::Other(_) => {
                    self.base.lost_kind(&place);
                    None
                }
                // It has no place in an output, but in a user's turn.
                Content::Audio(_) => {
                    let audio = self.shown(&part.content);
                    let why = "It is shown by the user, behind the result.";
                    self.base.losses.add(&place, why);
                    shown.extend(audio);
                    None
                }
                content => self.said(content, Role::Tool, &place),
            };
            out.extend(written.map(|part| with(part, extra)));
        }
        match &mut out[..] {
            [] => "".into(),
            [one] if is_plain(one) => one["text"].take(),
            _ => out.into(),
        }
    }

    /// An item of the vendor's own. What a conversation was compacted to is for whoever sealed it.
    fn own(&mut self, item: &Value, place: &str) -> Option<Value> {
        let mut item = item.clone();
        if let Some(Value::String(sealed)) = item.get_mut("encrypted_content") {
            match self.base.proof(Some(sealed)) {
                Some(opened) => *sealed = opened,
                None => {
                    self.base.lost_thought(place);
                    return None;
                }
            }
        }
        Some(item)
    }

    /// A thought goes to its maker alone, in the form in which it was shown.
    fn thought(&mut self, thought: &Reasoning, item: &Extra, place: &str) -> Option<Value> {
        let proof = thought.redacted.as_deref().or(thought.signature.as_deref());
        let opened = self.base.proof(proof);
        if opened.is_none() && (self.base.foreign || proof.is_some()) {
            self.base.lost_thought(place);
            return None;
        }
        let mut out = Object::new();
        out.insert("type".into(), "reasoning".into());
        let text = |kind: &str| json!([{"type": kind, "text": thought.text}]);
        match (opened.filter(|proof| !proof.is_empty()), &thought.text) {
            (Some(proof), shown) => {
                out.insert("encrypted_content".into(), proof.into());
                let none = shown.is_empty() || thought.redacted.is_some();
                let summary = if none {
                    json!([])
                } else {
                    text("summary_text")
                };
                out.insert("summary".into(), summary);
            }
            (None, _) if !self.base.foreign && item.get("content").is_none() => {
                out.insert("summary".into(), text("summary_text"));
            }
            // It was never sealed: the text is the thought.
            (None, _) => {
                out.insert("summary".into(), json!([]));
                out.insert("content".into(), text("reasoning_text"));
            }
        }
        // As it came, where it still says the same.
        let array = |key: &str| item.get(key).and_then(Value::as_array);
        let (summary, content) = (array("summary"), array("content"));
        let none = Vec::new();
        if !self.base.foreign
            && (summary.is_some() || content.is_some())
            && self::thought(summary.unwrap_or(&none), content.unwrap_or(&none)) == thought.text
        {
            for key in ["summary", "content"] {
                out.remove(key);
            }
            out.insert(
                "summary".into(),
                summary.cloned().unwrap_or_default().into(),
            );
            put(&mut out, "content", content.cloned());
        }
        Some(out.into())
    }

    fn tools(&mut self, chat: &Chat, out: &mut Object) {
        let mut tools = Vec::with_capacity(chat.tools.len());
        for (index, tool) in chat.tools.iter().enumerate() {
            tools.extend(self.tool(tool, &format!("tools[{index}]")));
        }
        let shared = match &chat.tool_choice {
            Some(ToolChoice::Other(choice)) if self.base.origin() == Some(Protocol::OpenAi) => {
                from_chat(choice)
            }
            _ => None,
        };
        if let Some(choice) = shared.filter(|_| !tools.is_empty()) {
            out.insert("tool_choice".into(), choice);
            return self.offer(chat, tools, out);
        }
        let choice = self.base.choice(chat, !tools.is_empty());
        let choice = choice.map(|choice| match choice {
            ToolChoice::Auto => "auto".into(),
            ToolChoice::None => "none".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Tool(name) => {
                json!({"type": "function", "name": self.base.names.sent(name)})
            }
            ToolChoice::Other(choice) => choice.clone(),
        });
        put(out, "tool_choice", choice);
        self.offer(chat, tools, out);
    }

    fn offer(&self, chat: &Chat, tools: Vec<Value>, out: &mut Object) {
        let parallel = chat.parallel_tool_calls;
        let parallel = parallel.filter(|_| self.base.own || !tools.is_empty());
        put(out, "parallel_tool_calls", parallel);
        if !tools.is_empty() {
            out.insert("tools".into(), tools.into());
        }
    }

    fn tool(&mut self, tool: &Tool, place: &str) -> Option<Value> {
        if tool.name.is_empty() {
            return self.base.vendors_tool(tool, place);
        }
        let mut out = Object::new();
        out.insert("type".into(), "function".into());
        out.insert("name".into(), self.base.names.sent(&tool.name).into());
        put(&mut out, "description", tool.description.as_deref());
        let mut parameters = tool.parameters.clone();
        if !self.base.own {
            let schema = parameters.get_or_insert_with(|| json!({"properties": {}}));
            if let Some(schema) = schema.as_object_mut() {
                schema.entry("type").or_insert("object".into());
            }
        }
        put(&mut out, "parameters", parameters);
        // Here a tool is strict unless it says otherwise, and elsewhere the reverse.
        let strict = tool.strict.or((!self.base.own).then_some(false));
        put(&mut out, "strict", strict);
        let extra = self.fields(&tool.extra, place);
        Some(with(out.into(), extra))
    }
}

/// What is kept of an item in a part of it.
fn inside(extra: &Extra) -> Extra {
    let item = extra.get(ITEM).and_then(Value::as_object);
    item.cloned().unwrap_or_default()
}

/// Ends the message that is open.
fn close(role: &str, said: &mut Vec<Value>, fields: &mut Extra, input: &mut Vec<Value>) {
    let fields = std::mem::take(fields);
    if said.is_empty() {
        return;
    }
    let mut said = std::mem::take(said);
    let content = match &mut said[..] {
        [one] if is_plain(one) && fields.is_empty() => one["text"].take(),
        _ => said.into(),
    };
    let mut message = json!({"role": role, "content": content});
    if !fields.is_empty() {
        message["type"] = "message".into();
    }
    input.push(with(message, fields));
}

fn is_plain(part: &Value) -> bool {
    let text = part["type"] == "input_text" || part["type"] == "output_text";
    text && part.as_object().is_some_and(|part| part.len() == 2)
}

fn url(source: &Media) -> String {
    match source {
        Media::Data { mime, base64 } => format!("data:{mime};base64,{base64}"),
        Media::Url(url) | Media::Id(url) => url.clone(),
    }
}
