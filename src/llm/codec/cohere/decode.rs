//! Answers, read.

mod plain;

use super::{PLAN, embed, usage};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start,
    codec::{Decode, Framing, fault, rerank, sse},
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CALLS: usize = 1024;

/// Reads one answer. There is one choice.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    /// The stream has begun, and a byte order mark is none any more.
    begun: bool,
    /// The head was told.
    headed: bool,
    /// A plan was told, and not yet that it was one.
    plans: bool,
    /// Whether any arguments came, call by call.
    calls: Vec<bool>,
    finished: bool,
}

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            begun: false,
            headed: false,
            plans: false,
            calls: Vec::new(),
            finished: false,
        }
    }

    fn data(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let chats = !matches!(self.operation, Operation::Embeddings | Operation::Rerank);
        if chats
            && self.framing == Framing::Sse
            && let Some(plain::Plain { thought, text }) = plain::read(data)
        {
            self.piece(thought, text, events);
            return Ok(());
        }
        self.any(data, events)
    }

    /// Any event, or a document.
    fn any(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let whole: Value =
            serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        if whole.get("error").is_some_and(|error| !error.is_null()) {
            return Err(match usage::end(&whole) {
                Some(Err(error)) => error.into(),
                _ => fault::within(&whole).into(),
            });
        }
        match (self.operation, self.framing) {
            (Operation::Embeddings, _) => embed::decode(&whole, events),
            (Operation::Rerank, _) => rerank::decode(whole, events),
            (_, Framing::Sse) => self.event(whole, events),
            _ => self.document(whole, events),
        }
    }

    fn document(&mut self, whole: Value, events: &mut Vec<Event>) -> Result<(), Error> {
        let Value::Object(mut fields) = whole else {
            return Ok(());
        };
        let message = fields.remove("message");
        let end = Value::from(Map::from_iter(
            ["finish_reason", "usage", "error", "error_type"]
                .into_iter()
                .filter_map(|key| Some((key.to_owned(), fields.remove(key)?))),
        ));
        self.head(fields, events);
        if let Some(Value::Object(mut message)) = message {
            message.remove("role");
            if let Some(content) = message.remove("content") {
                match content {
                    Value::String(text) => self.say(Delta::Text(text), events),
                    Value::Array(parts) => {
                        parts.iter().for_each(|part| self.part(part, events));
                    }
                    _ => {}
                }
            }
            if let Some(Value::String(plan)) = message.remove("tool_plan") {
                self.plan(plan, events);
            }
            if let Some(Value::Array(calls)) = message.remove("tool_calls") {
                for (index, call) in calls.iter().enumerate() {
                    self.call(index, call, events);
                    self.called(index, events);
                }
            }
            message.retain(|_, value| !value.is_null());
            self.beside_message(message, events);
        }
        self.end(&end, events)
    }

    fn event(&mut self, mut whole: Value, events: &mut Vec<Event>) -> Result<(), Error> {
        let delta = whole.get_mut("delta").map(Value::take).unwrap_or_default();
        let index = whole.get("index").and_then(Value::as_u64);
        let index = index.map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX));
        let message = &delta["message"];
        match whole["type"].as_str().unwrap_or_default() {
            "message-start" => {
                if let Value::Object(mut fields) = whole {
                    fields.remove("type");
                    fields.remove("delta");
                    self.head(fields, events);
                }
            }
            "content-start" | "content-delta" => self.part(&message["content"], events),
            "tool-plan-delta" => {
                if let Some(plan) = message["tool_plan"].as_str() {
                    self.plan(plan.to_owned(), events);
                }
            }
            "tool-call-start" | "tool-call-delta" => {
                self.call(index, &message["tool_calls"], events);
            }
            "tool-call-end" => self.called(index, events),
            "citation-start" => {
                let citation = &message["citations"];
                if citation.is_object() {
                    let citations = json!([citation]);
                    let fields = Extra::from_iter([("citations".to_owned(), citations)]);
                    self.beside_message(fields, events);
                }
            }
            "message-end" => return self.end(&delta, events),
            _ => {}
        }
        Ok(())
    }

    /// The head is told once, before anything else. The vendor does not name its model.
    fn head(&mut self, mut fields: Map<String, Value>, events: &mut Vec<Event>) {
        if std::mem::replace(&mut self.headed, true) {
            return;
        }
        let mut text = |key: &str| match fields.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let mut start = Start::new(text("id"), text("model"), 0);
        fields.retain(|_, value| !value.is_null());
        start.extra = fields;
        events.push(Event::Start(start));
    }

    fn part(&mut self, part: &Value, events: &mut Vec<Event>) {
        let text = |key: &str| part.get(key).and_then(Value::as_str).map(Cow::Borrowed);
        self.piece(text("thinking"), text("text"), events);
    }

    fn piece(
        &mut self,
        thought: Option<Cow<'_, str>>,
        text: Option<Cow<'_, str>>,
        events: &mut Vec<Event>,
    ) {
        if let Some(thought) = thought {
            self.say(Delta::Reasoning(thought.into_owned()), events);
        }
        if let Some(text) = text {
            self.say(Delta::Text(text.into_owned()), events);
        }
    }

    fn plan(&mut self, plan: String, events: &mut Vec<Event>) {
        if !plan.is_empty() {
            self.head(Map::new(), events);
            self.plans = true;
            events.push(said(Delta::Reasoning(plan)));
        }
    }

    /// Says something that is no plan. The plan before it is at its end.
    fn say(&mut self, delta: Delta, events: &mut Vec<Event>) {
        let says = match &delta {
            Delta::Text(text) | Delta::Reasoning(text) => !text.is_empty(),
            _ => true,
        };
        if says {
            self.head(Map::new(), events);
            self.planned(events);
            events.push(said(delta));
        }
    }

    fn planned(&mut self, events: &mut Vec<Event>) {
        if std::mem::take(&mut self.plans) {
            events.push(said(Delta::Signature(PLAN.to_owned())));
        }
    }

    fn call(&mut self, at: usize, call: &Value, events: &mut Vec<Event>) {
        let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
        let function = &call["function"];
        if at >= MOST_CALLS {
            return;
        }
        if self.calls.len() <= at {
            self.calls.resize(at + 1, false);
        }
        let arguments = match &function["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.calls[at] |= !arguments.is_empty();
        let Ok(index) = u32::try_from(at) else {
            return;
        };
        let delta = Delta::ToolCall {
            index,
            id: text(call, "id"),
            name: text(function, "name"),
            arguments,
        };
        self.say(delta, events);
    }

    /// A call without arguments has an empty object of them.
    fn called(&mut self, at: usize, events: &mut Vec<Event>) {
        if self.calls.get(at) != Some(&false) {
            return;
        }
        self.calls[at] = true;
        if let Ok(index) = u32::try_from(at) {
            let arguments = "{}".to_owned();
            let (id, name) = (None, None);
            events.push(said(Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            }));
        }
    }

    fn beside_message(&mut self, fields: Extra, events: &mut Vec<Event>) {
        if !fields.is_empty() {
            let extra = Extra::from_iter([("message".to_owned(), fields.into())]);
            events.push(said(Delta::Extra(extra)));
        }
    }

    fn end(&mut self, told: &Value, events: &mut Vec<Event>) -> Result<(), Error> {
        self.head(Map::new(), events);
        self.planned(events);
        let used = &told["usage"];
        let mut extra = Extra::new();
        if let Some(Value::Object(beside)) = usage::beside(used) {
            extra = beside;
        }
        let end = usage::end(told);
        if let Some(Ok((_, false))) = end {
            extra.insert("native_finish_reason".into(), told["finish_reason"].clone());
        }
        if !extra.is_empty() {
            events.push(said(Delta::Extra(extra)));
        }
        let finished = std::mem::replace(&mut self.finished, true);
        let failed = match end {
            Some(Err(error)) => Some(error),
            Some(Ok((reason, _))) if !finished => {
                let reason = match reason {
                    // It says that it is complete where it waits for tools, too.
                    FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
                    reason => reason,
                };
                events.push(Event::Finish { choice: 0, reason });
                None
            }
            _ => None,
        };
        events.extend(usage::read(used).map(Event::Usage));
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn said(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let first = !std::mem::replace(&mut self.begun, true);
        let raw = if first { sse::without_bom(raw) } else { raw };
        if self.framing != Framing::Sse {
            return self.data(raw, events);
        }
        for event in sse::events(raw) {
            let data = event.data.trim_ascii();
            if data.is_empty() || data == b"[DONE]" {
                continue;
            }
            if event.event == Some(b"error") {
                return Err(fault::within(&fault::told(data)).into());
            }
            self.data(data, events)?;
        }
        Ok(())
    }
}
