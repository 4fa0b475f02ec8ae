//! The items of an answer that are open, and the events that each of them makes.

use crate::llm::codec::{literal, whole::Whole};
use bytes::BytesMut;
use serde_json::{Value, json};

/// A name, and the fields of an event.
pub(super) type Event = (&'static str, Value);

/// An item that goes on until another one begins.
pub(super) enum Open {
    Message(Message),
    Thought(Thought),
}

/// What a part of a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Text,
    Refusal,
}

/// What the model says.
pub(super) struct Message {
    id: String,
    pub(super) at: usize,
    parts: Vec<Part>,
}

/// A part of it. The last is the one that goes on.
pub(super) struct Part {
    said: Said,
    text: String,
    annotations: Vec<Value>,
    pub(super) logprobs: Vec<Value>,
}

/// More of an item: most events are this, and are written without a detour.
pub(super) struct More<'a> {
    name: &'static str,
    item: &'a str,
    at: usize,
    /// The list within the item, and the place in it.
    inner: Option<(&'static str, usize)>,
    delta: &'a str,
}

impl More<'_> {
    const TEXT: &'static str = "response.output_text.delta";
    const REFUSAL: &'static str = "response.refusal.delta";
    const THOUGHT: &'static str = "response.reasoning_summary_text.delta";
    const ARGUMENTS: &'static str = "response.function_call_arguments.delta";
    const INPUT: &'static str = "response.custom_tool_call_input.delta";

    /// Writes the event of this number.
    pub(super) fn write(&self, number: u64, out: &mut BytesMut) {
        let place = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b"\ndata: {\"item_id\":");
        literal::string(out, self.item);
        out.extend_from_slice(br#","output_index":"#);
        literal::number(out, place(self.at));
        if let Some((list, at)) = self.inner {
            out.extend_from_slice(b",");
            literal::string(out, list);
            out.extend_from_slice(b":");
            literal::number(out, place(at));
        }
        out.extend_from_slice(br#","delta":"#);
        literal::string(out, self.delta);
        if self.name == Self::TEXT {
            out.extend_from_slice(br#","logprobs":[]"#);
        }
        out.extend_from_slice(br#","type":"#);
        literal::string(out, self.name);
        out.extend_from_slice(br#","sequence_number":"#);
        literal::number(out, number);
        out.extend_from_slice(b"}\n\n");
    }
}

impl Part {
    fn value(&self) -> Value {
        match self.said {
            Said::Text => json!({
                "type": "output_text",
                "text": self.text,
                "annotations": self.annotations,
                "logprobs": self.logprobs,
            }),
            Said::Refusal => json!({"type": "refusal", "refusal": self.text}),
        }
    }
}

impl Message {
    pub(super) fn new(id: String, at: usize) -> Self {
        let parts = Vec::new();
        Self { id, at, parts }
    }

    pub(super) fn item(&self, status: &str) -> Value {
        let content: Vec<_> = self.parts.iter().map(Part::value).collect();
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        })
    }

    /// The part that goes on.
    pub(super) fn part(&mut self) -> Option<&mut Part> {
        self.parts.last_mut()
    }

    /// An event of the part that goes on.
    fn event(&self, name: &'static str, more: Value) -> Event {
        let mut fields = json!({
            "item_id": self.id,
            "output_index": self.at,
            "content_index": self.parts.len().saturating_sub(1),
        });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        (name, fields)
    }

    /// Begins a part of this kind, unless the one that goes on is of it.
    pub(super) fn enter(&mut self, said: Said, events: &mut Vec<Event>) {
        if self.parts.last().is_none_or(|part| part.said != said) {
            self.close(events);
            let part = Part {
                said,
                text: String::new(),
                annotations: Vec::new(),
                logprobs: Vec::new(),
            };
            let value = part.value();
            self.parts.push(part);
            events.push(self.event("response.content_part.added", json!({"part": value})));
        }
    }

    /// More of the part that goes on.
    pub(super) fn say<'a>(&'a mut self, text: &'a str) -> Option<More<'a>> {
        let at = self.parts.len().saturating_sub(1);
        let part = self.parts.last_mut()?;
        part.text.push_str(text);
        Some(More {
            name: match part.said {
                Said::Text => More::TEXT,
                Said::Refusal => More::REFUSAL,
            },
            item: &self.id,
            at: self.at,
            inner: Some(("content_index", at)),
            delta: text,
        })
    }

    /// What a text refers to.
    pub(super) fn annotate(&mut self, annotation: Value) -> Option<Event> {
        let part = self.parts.last_mut()?;
        if part.said != Said::Text {
            return None;
        }
        let index = part.annotations.len();
        let fields = json!({"annotation": annotation, "annotation_index": index});
        part.annotations.push(annotation);
        Some(self.event("response.output_text.annotation.added", fields))
    }

    /// Ends the part that goes on.
    pub(super) fn close(&mut self, events: &mut Vec<Event>) {
        let Some(part) = self.parts.last() else {
            return;
        };
        let value = part.value();
        events.push(match part.said {
            Said::Text => self.event(
                "response.output_text.done",
                json!({"text": part.text, "logprobs": part.logprobs}),
            ),
            Said::Refusal => self.event("response.refusal.done", json!({"refusal": part.text})),
        });
        events.push(self.event("response.content_part.done", json!({"part": value})));
    }
}

/// What the model thinks, as a summary of one part.
pub(super) struct Thought {
    id: String,
    pub(super) at: usize,
    text: String,
    begun: bool,
    /// What proves it.
    pub(super) proof: Option<String>,
}

impl Thought {
    pub(super) fn new(id: String, at: usize) -> Self {
        Self {
            id,
            at,
            text: String::new(),
            begun: false,
            proof: None,
        }
    }

    fn part(&self) -> Value {
        json!({"type": "summary_text", "text": self.text})
    }

    /// A thought that is proven has a summary, though it be empty: without one it is one that only its
    /// maker can read.
    pub(super) fn item(&self) -> Value {
        let shown = self.begun || self.proof.is_some();
        let summary = if shown { vec![self.part()] } else { vec![] };
        let mut item = json!({"id": self.id, "type": "reasoning", "summary": summary});
        if let Some(proof) = &self.proof {
            item["encrypted_content"] = (&**proof).into();
        }
        item
    }

    fn event(&self, name: &'static str, key: &str, value: impl Into<Value>) -> Event {
        let mut fields = json!({
            "item_id": self.id,
            "output_index": self.at,
            "summary_index": 0,
        });
        fields[key] = value.into();
        (name, fields)
    }

    /// Begins its text, once.
    pub(super) fn enter(&mut self, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.begun, true) {
            events.push(self.event("response.reasoning_summary_part.added", "part", self.part()));
        }
    }

    /// More of its text.
    pub(super) fn think<'a>(&'a mut self, text: &'a str) -> More<'a> {
        self.text.push_str(text);
        More {
            name: More::THOUGHT,
            item: &self.id,
            at: self.at,
            inner: Some(("summary_index", 0)),
            delta: text,
        }
    }

    pub(super) fn close(&mut self, events: &mut Vec<Event>) {
        if self.begun {
            let text = &*self.text;
            events.push(self.event("response.reasoning_summary_text.done", "text", text));
            events.push(self.event("response.reasoning_summary_part.done", "part", self.part()));
        }
    }
}

/// A call of a tool.
#[derive(Default)]
pub(super) struct Call {
    id: String,
    call_id: String,
    name: String,
    at: usize,
    arguments: String,
    /// How much of the arguments was written.
    written: usize,
    whole: Whole,
    state: State,
    /// Its tool takes any text: the arguments are that.
    custom: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Held back.
    #[default]
    Waiting,
    Open,
    Done,
}

impl Call {
    pub(super) fn push(&mut self, id: Option<String>, name: Option<String>, arguments: &str) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.call_id = id;
        }
        self.name.push_str(&name.unwrap_or_default());
        self.arguments.push_str(arguments);
    }

    pub(super) fn may_begin(&self, end: bool) -> bool {
        self.state == State::Waiting && (end || !self.name.is_empty())
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether nothing but space can come.
    pub(super) fn is_whole(&mut self) -> bool {
        !self.custom && self.whole.is(&self.arguments)
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// No arguments are an empty object.
    pub(super) fn arguments(&self) -> &str {
        match self.arguments.trim().is_empty() && !self.custom {
            true => "{}",
            false => &self.arguments,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn begin(&mut self, id: String, call_id: String, at: usize, custom: bool) {
        self.state = State::Open;
        self.custom = custom;
        self.id = id;
        self.at = at;
        if self.call_id.is_empty() {
            self.call_id = call_id;
        }
    }

    pub(super) fn item(&self, status: &str, arguments: &str) -> Value {
        if self.custom {
            return json!({
                "id": self.id,
                "type": "custom_tool_call",
                "status": status,
                "call_id": self.call_id,
                "name": self.name,
                "input": arguments,
            });
        }
        json!({
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": arguments,
        })
    }

    fn event(&self, name: &'static str, key: &str, value: &str) -> Event {
        let mut fields = json!({"item_id": self.id, "output_index": self.at});
        fields[key] = value.into();
        (name, fields)
    }

    /// More of its arguments, if more came.
    pub(super) fn advance(&mut self) -> Option<More<'_>> {
        let from = std::mem::replace(&mut self.written, self.arguments.len());
        let delta = self.arguments.get(from..).filter(|more| !more.is_empty())?;
        Some(More {
            name: match self.custom {
                true => More::INPUT,
                false => More::ARGUMENTS,
            },
            item: &self.id,
            at: self.at,
            inner: None,
            delta,
        })
    }

    /// Ends it, when all of its arguments are written.
    pub(super) fn close(&mut self, events: &mut Vec<Event>) {
        self.state = State::Done;
        if self.custom {
            let name = "response.custom_tool_call_input.done";
            events.push(self.event(name, "input", &self.arguments));
            return;
        }
        let mut done = self.event(
            "response.function_call_arguments.done",
            "arguments",
            self.arguments(),
        );
        done.1["name"] = (&*self.name).into();
        events.push(done);
    }
}

/// What a text refers to: `url_citation` has its fields in an object of their own in the vendor's other
/// protocol.
pub(super) fn annotation(annotation: Value) -> Value {
    match annotation {
        Value::Object(mut fields) => match fields.remove("url_citation") {
            Some(Value::Object(mut inside)) => {
                inside.insert("type".into(), "url_citation".into());
                inside.into()
            }
            Some(other) => {
                fields.insert("url_citation".into(), other);
                fields.into()
            }
            None => fields.into(),
        },
        annotation => annotation,
    }
}
