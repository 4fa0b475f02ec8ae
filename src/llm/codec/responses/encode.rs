//! Answers, written: as an event stream, or as one document.
//!
//! Both come of one list of items. An item begins, goes on and ends before the next; a call of a tool
//! whose arguments are not whole when something else is said stays open beside it. Pieces of a call
//! that come while another one is open are held back.

mod item;

use self::item::{Call, Open, Part, Said};
use super::{error, repeated, usage};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start, Usage,
    codec::{Asked, Encode, Framing},
};
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CALLS: usize = 1024;

/// Writes one answer.
pub(super) struct Encoder {
    asked: Asked,
    start: Option<Start>,
    /// Events are written. A document is written at the end alone.
    streams: bool,
    /// The response without its output, from the first event on.
    response: Option<Map<String, Value>>,
    /// The number of the next event.
    number: u64,
    /// What all ids of items have in them.
    seed: Box<str>,
    /// Items in order; those that are open are `null`.
    output: Vec<Value>,
    open: Option<Open>,
    calls: Vec<Call>,
    /// Tools that take any text.
    custom: Vec<Box<str>>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    tokens: Option<u64>,
}

impl Encoder {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            streams: asked.framing == Framing::Sse,
            asked,
            start: None,
            response: None,
            number: 0,
            seed: crate::exchange::fresh_id(),
            output: Vec::new(),
            open: None,
            calls: Vec::new(),
            custom: Vec::new(),
            finish: None,
            usage: None,
            tokens: None,
        }
    }

    /// Writes an event.
    fn event(&mut self, name: &str, mut fields: Value, out: &mut BytesMut) {
        if !self.streams {
            return;
        }
        fields["type"] = name.into();
        fields["sequence_number"] = self.number.into();
        self.number += 1;
        write(out, name, &fields);
    }

    fn all(&mut self, events: Vec<item::Event>, out: &mut BytesMut) {
        for (name, fields) in events {
            self.event(name, fields, out);
        }
    }

    /// The response as it is now.
    fn begin(&mut self, out: &mut BytesMut) -> &mut Map<String, Value> {
        if self.response.is_none() {
            let response = self.head();
            for name in ["response.created", "response.in_progress"] {
                self.event(name, json!({"response": response}), out);
            }
            self.response = Some(response);
        }
        self.response.get_or_insert_default()
    }

    fn head(&mut self) -> Map<String, Value> {
        let start = self.start.take().unwrap_or_default();
        let mut response = repeated::response(self.asked.repeated.as_deref());
        let plain = |char: char| match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => char,
            _ => '_',
        };
        let id = match &*start.id {
            "" => format!("resp_{}", self.seed),
            id if id.starts_with("resp_") => id.to_owned(),
            id => format!("resp_{}", id.chars().map(plain).collect::<String>()),
        };
        let model = match start.model.is_empty() {
            true => (*self.asked.model).to_owned(),
            false => start.model,
        };
        let created = match start.created {
            0 => now(),
            created => created,
        };
        self.custom = repeated::custom(&response);
        response.insert("id".into(), id.into());
        response.insert("model".into(), model.into());
        response.insert("created_at".into(), created.into());
        response
    }

    /// A name for an item, of which there is one in this place.
    fn name(&self, kind: &str, at: usize) -> String {
        format!("{kind}_{}{at:02x}", self.seed)
    }

    /// Takes a place for an item, and says that it begins.
    fn add(&mut self, item: &Value, out: &mut BytesMut) {
        self.begin(out);
        let at = self.output.len();
        self.output.push(Value::Null);
        let fields = json!({"output_index": at, "item": item});
        self.event("response.output_item.added", fields, out);
    }

    fn end(&mut self, at: usize, item: Value, out: &mut BytesMut) {
        let fields = json!({"output_index": at, "item": item});
        self.event("response.output_item.done", fields, out);
        if let Some(place) = self.output.get_mut(at) {
            *place = item;
        }
    }

    /// Whether the answer is cut off: what is open then is not whole.
    fn status(&self) -> &'static str {
        match self.finish {
            Some(FinishReason::Length | FinishReason::ContentFilter) => "incomplete",
            _ => "completed",
        }
    }

    fn delta(&mut self, delta: Delta, out: &mut BytesMut) {
        match delta {
            Delta::Text(text) if !text.is_empty() => self.say(Said::Text, &text, out),
            Delta::Refusal(text) if !text.is_empty() => self.say(Said::Refusal, &text, out),
            Delta::Reasoning(text) if !text.is_empty() => self.think(&text, out),
            // It is the last of a thought.
            Delta::Signature(proof) => {
                self.think("", out);
                if let Some(Open::Thought(thought)) = &mut self.open {
                    thought.proof = Some(proof);
                }
                self.close("completed", out);
            }
            Delta::Redacted(proof) => {
                self.close("completed", out);
                let at = self.output.len();
                let id = self.name("rs", at);
                let item = json!({
                    "id": id, "type": "reasoning", "summary": [], "encrypted_content": proof,
                });
                self.add(&item, out);
                self.end(at, item, out);
            }
            Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            } => {
                let at = index as usize;
                if at >= MOST_CALLS {
                    return;
                }
                if self.calls.len() <= at {
                    self.calls.resize_with(at + 1, Call::default);
                }
                self.calls[at].push(id, name, &arguments);
                self.advance(false, out);
            }
            Delta::Extra(extra) => self.extra(extra, out),
            _ => {}
        }
    }

    /// More of a message.
    fn say(&mut self, said: Said, text: &str, out: &mut BytesMut) {
        if !matches!(self.open, Some(Open::Message(_))) {
            self.close("completed", out);
            self.finish_whole_calls(out);
            let at = self.output.len();
            let message = item::Message::new(self.name("msg", at), at);
            self.add(&message.item("in_progress"), out);
            self.open = Some(Open::Message(message));
        }
        let Some(Open::Message(message)) = &mut self.open else {
            return;
        };
        let mut events = Vec::new();
        message.enter(said, &mut events);
        self.all(events, out);
        if let Some(Open::Message(message)) = &mut self.open
            && let Some(more) = message.say(text)
            && self.streams
        {
            more.write(self.number, out);
            self.number += 1;
        }
    }

    /// More of a thought.
    fn think(&mut self, text: &str, out: &mut BytesMut) {
        if !matches!(self.open, Some(Open::Thought(_))) {
            self.close("completed", out);
            self.finish_whole_calls(out);
            let at = self.output.len();
            let thought = item::Thought::new(self.name("rs", at), at);
            self.add(&thought.item(), out);
            self.open = Some(Open::Thought(thought));
        }
        if text.is_empty() {
            return;
        }
        let Some(Open::Thought(thought)) = &mut self.open else {
            return;
        };
        let mut events = Vec::new();
        thought.enter(&mut events);
        self.all(events, out);
        if let Some(Open::Thought(thought)) = &mut self.open {
            let more = thought.think(text);
            if self.streams {
                more.write(self.number, out);
                self.number += 1;
            }
        }
    }

    /// Ends the message or thought that is open.
    fn close(&mut self, status: &str, out: &mut BytesMut) {
        let Some(open) = self.open.take() else {
            return;
        };
        let mut events = Vec::new();
        let (at, item) = match open {
            Open::Message(mut message) => {
                message.close(&mut events);
                (message.at, message.item(status))
            }
            Open::Thought(mut thought) => {
                thought.close(&mut events);
                (thought.at, thought.item())
            }
        };
        self.all(events, out);
        self.end(at, item, out);
    }

    /// Writes what can be written of calls: more of the one that is open, and the next one when that has
    /// all of its arguments. What comes of others is held back; at the `end` nothing is.
    fn advance(&mut self, end: bool, out: &mut BytesMut) {
        loop {
            let next = self.calls.iter().position(|call| call.may_begin(end));
            if let Some(at) = self.calls.iter().position(Call::is_open) {
                self.call(at, out);
                if next.is_some() && (end || self.calls[at].is_whole()) {
                    self.end_call(at, "completed", out);
                } else {
                    return;
                }
            }
            let Some(next) = next else {
                return;
            };
            self.close("completed", out);
            self.begin(out);
            let at = self.output.len();
            let name = self.calls[next].name();
            let custom = self.custom.iter().any(|custom| **custom == *name);
            let id = self.name(if custom { "ctc" } else { "fc" }, at);
            let call_id = format!("call_{}{next:02x}", self.seed);
            let call = &mut self.calls[next];
            call.begin(id, call_id, at, custom);
            let item = call.item("in_progress", "");
            self.add(&item, out);
        }
    }

    /// What else is said begins behind a call that is whole.
    fn finish_whole_calls(&mut self, out: &mut BytesMut) {
        let whole = |call: &mut Call| call.is_open() && call.is_whole();
        if let Some(at) = self.calls.iter_mut().position(whole) {
            self.end_call(at, "completed", out);
        }
    }

    /// More of the arguments of a call.
    fn call(&mut self, at: usize, out: &mut BytesMut) {
        if let Some(more) = self.calls[at].advance()
            && self.streams
        {
            more.write(self.number, out);
            self.number += 1;
        }
    }

    fn end_call(&mut self, at: usize, status: &str, out: &mut BytesMut) {
        self.call(at, out);
        let call = &mut self.calls[at];
        let mut events = Vec::new();
        call.close(&mut events);
        let (place, item) = (call.at(), call.item(status, call.arguments()));
        self.all(events, out);
        self.end(place, item, out);
    }

    fn extra(&mut self, mut extra: Extra, out: &mut BytesMut) {
        if let Some(Value::Object(mut logprobs)) = extra.remove("logprobs")
            && let Some(Value::Array(tokens)) = logprobs.remove("content")
            && let Some(part) = self.part()
        {
            part.logprobs.extend(tokens);
        }
        let Some(Value::Object(mut message)) = extra.remove("message") else {
            return;
        };
        if let Some(Value::Array(all)) = message.remove("annotations") {
            for annotation in all {
                let event = match &mut self.open {
                    Some(Open::Message(message)) => message.annotate(item::annotation(annotation)),
                    _ => None,
                };
                if let Some((name, fields)) = event {
                    self.event(name, fields, out);
                }
            }
        }
        if let Some(Value::Array(items)) = message.remove("output_items") {
            for item in items {
                self.close("completed", out);
                self.finish_whole_calls(out);
                let at = self.output.len();
                self.add(&item, out);
                self.end(at, item, out);
            }
        }
    }

    fn part(&mut self) -> Option<&mut Part> {
        match &mut self.open {
            Some(Open::Message(message)) => message.part(),
            _ => None,
        }
    }

    /// Ends all that is open.
    fn end_all(&mut self, out: &mut BytesMut) {
        let status = self.status();
        self.close(status, out);
        self.advance(true, out);
        if let Some(at) = self.calls.iter().position(Call::is_open) {
            self.end_call(at, status, out);
        }
    }

    fn whole(&mut self, out: &mut BytesMut) -> (&'static str, Map<String, Value>) {
        self.begin(out);
        self.end_all(out);
        let status = self.status();
        let mut response = self.response.take().unwrap_or_default();
        response.insert("status".into(), status.into());
        response.insert("output".into(), std::mem::take(&mut self.output).into());
        let used = self.usage.as_ref().map(usage::write);
        response.insert("usage".into(), used.into());
        let name = match &self.finish {
            Some(FinishReason::Length) => {
                let why = json!({"reason": "max_output_tokens"});
                response.insert("incomplete_details".into(), why);
                "response.incomplete"
            }
            Some(FinishReason::ContentFilter) => {
                let why = json!({"reason": "content_filter"});
                response.insert("incomplete_details".into(), why);
                "response.incomplete"
            }
            _ => {
                response.insert("completed_at".into(), now().into());
                "response.completed"
            }
        };
        (name, response)
    }
}

impl Encode for Encoder {
    fn events(&mut self, events: Vec<Event>, out: &mut BytesMut) {
        for event in events {
            match event {
                Event::Start(start) if self.response.is_none() => {
                    self.start = Some(start);
                    self.begin(out);
                }
                // There is one answer to a request.
                Event::Delta { choice: 0, delta } => self.delta(delta, out),
                Event::Finish { choice: 0, reason } => {
                    self.finish.get_or_insert(reason);
                }
                Event::Usage(usage) => self.usage = Some(usage),
                Event::Tokens(tokens) => self.tokens = Some(tokens),
                _ => {}
            }
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if self.asked.operation == Operation::CountTokens {
            let tokens = self.tokens.unwrap_or(0);
            let count = json!({"object": "response.input_tokens", "input_tokens": tokens});
            // Only what is no string can fail as a key, and there is none.
            let _ = serde_json::to_writer(out.writer(), &count);
            return;
        }
        let (name, response) = self.whole(out);
        if self.streams {
            self.event(name, json!({"response": response}), out);
        } else {
            let _ = serde_json::to_writer(out.writer(), &response);
        }
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        if !self.streams {
            return;
        }
        self.begin(out);
        let mut response = self.response.take().unwrap_or_default();
        // Items that are open have no end.
        let output = std::mem::take(&mut self.output).into_iter();
        let output: Vec<_> = output.filter(|item| !item.is_null()).collect();
        response.insert("output".into(), output.into());
        let used = self.usage.as_ref().map(usage::write);
        response.insert("usage".into(), used.into());
        error::write_failed(out, response, error, self.number);
    }
}

/// Writes an event. JSON has no line breaks outside of its strings, nor within them unescaped.
fn write(out: &mut BytesMut, name: &str, data: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    if serde_json::to_writer((&mut *out).writer(), data).is_err() {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\n\n");
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
