//! Answers, read.

mod plain;

use super::{error, request::thought, usage};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start, VendorError, VendorFault,
    codec::{
        Decode, Framing, fault,
        sse::{self, SseEvent},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeMap};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_ITEMS: usize = 4096;

/// Reads one answer.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    /// The stream has begun, and a byte order mark is none any more.
    begun: bool,
    /// The last word was said, or something that is no part of the protocol.
    done: bool,
    told: bool,
    items: BTreeMap<u64, Item>,
    /// How many calls of tools there were.
    calls: u32,
}

/// What was told of an item.
#[derive(Default)]
struct Item {
    /// Its call, if it is one.
    call: Option<u32>,
    /// Its texts, refusals, or arguments came in pieces.
    said: bool,
    /// The field whose pieces tell a thought, where several do.
    thought: Option<&'static str>,
    /// It is complete.
    done: bool,
}

/// An event. What it holds beside is in one field or another, by its kind.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(default)]
    summary_index: Option<u64>,
    #[serde(default)]
    delta: Option<Value>,
    #[serde(default)]
    item: Option<Value>,
    #[serde(default)]
    annotation: Option<Value>,
    #[serde(default)]
    logprobs: Option<Value>,
    #[serde(default)]
    response: Option<Value>,
}

const SUMMARY: &str = "summary";
const CONTENT: &str = "content";

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            begun: false,
            done: false,
            told: false,
            items: BTreeMap::new(),
            calls: 0,
        }
    }

    fn event(
        &mut self,
        event: &SseEvent<'_>,
        data: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        // Whatever is in an event of this name, it is no piece of text.
        let plain = match event.event {
            Some(b"error") => None,
            _ => plain::read(data),
        };
        match plain {
            Some(piece) => {
                self.piece(&piece.kind, piece.at, piece.delta, events);
                Ok(())
            }
            None => self.any(event, data, events),
        }
    }

    /// Any event, whatever it is.
    fn any(
        &mut self,
        event: &SseEvent<'_>,
        data: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        if let Some(error) = error::of_event(event.event, data) {
            return Err((*error).into());
        }
        let wire: Wire<'_> = match serde_json::from_slice(data) {
            Ok(wire) => wire,
            // Of an event in a form that nobody knows, nothing is known.
            Err(error) => {
                serde_json::from_slice::<serde::de::IgnoredAny>(data)
                    .map_err(|_| fault::malformed(&error))?;
                return Ok(());
            }
        };
        let Some(kind) = wire.kind.as_deref() else {
            return Ok(());
        };
        let Some(kind) = kind.strip_prefix("response.") else {
            return Ok(());
        };
        let at = wire.output_index.unwrap_or(0);
        let delta = match wire.delta {
            Some(Value::String(delta)) => delta,
            _ => String::new(),
        };
        self.piece(kind, at, delta, events);
        match kind {
            "created" | "in_progress" | "queued" => {
                if let Some(response) = &wire.response {
                    self.head(response, events);
                }
            }
            "output_item.added" => {
                if let Some(item) = &wire.item {
                    self.begin(at, item, events);
                }
            }
            "output_item.done" => {
                if let Some(item) = wire.item {
                    self.end(at, item, events);
                }
            }
            "output_text.delta" => logprobs(wire.logprobs, events),
            "output_text.annotation.added" => {
                if let Some(annotation) = wire.annotation {
                    say(beside("annotations", chat_annotation(annotation)), events);
                }
            }
            "reasoning_summary_part.added" if wire.summary_index.unwrap_or(0) > 0 => {
                self.thought(at, SUMMARY, "\n\n".into(), events);
            }
            "completed" | "incomplete" => {
                self.done = true;
                if let Some(response) = wire.response {
                    self.response(response, events)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A piece of an item, if it is one.
    fn piece(&mut self, kind: &str, at: u64, delta: String, events: &mut Vec<Event>) {
        match kind {
            "output_text.delta" => {
                self.said(at);
                say(Delta::Text(delta), events);
            }
            "refusal.delta" => {
                self.said(at);
                say(Delta::Refusal(delta), events);
            }
            "function_call_arguments.delta" => {
                if let Some(index) = self.items.get(&at).and_then(|item| item.call) {
                    self.said(at);
                    arguments(index, &delta, events);
                }
            }
            "reasoning_summary_text.delta" => self.thought(at, SUMMARY, delta, events),
            "reasoning_text.delta" => self.thought(at, CONTENT, delta, events),
            _ => {}
        }
    }

    fn document(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let whole: Value =
            serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        let failed = whole.get("status").is_some_and(|status| status == "failed");
        if failed || whole.get("error").is_some_and(|error| !error.is_null()) {
            return Err(fault::within(&whole).into());
        }
        if self.operation == Operation::CountTokens
            && let Some(tokens) = whole.get("input_tokens").and_then(Value::as_u64)
        {
            events.push(Event::Tokens(tokens));
            return Ok(());
        }
        if !whole.get("output").is_some_and(Value::is_array) {
            return Err(VendorError::new(VendorFault::Malformed).into());
        }
        self.response(whole, events)
    }

    /// A whole response: what of it was not told before.
    fn response(&mut self, mut response: Value, events: &mut Vec<Event>) -> Result<(), Error> {
        self.head(&response, events);
        let calls = |response: &Value| {
            let mut output = response["output"].as_array().into_iter().flatten();
            output.any(|item| item["type"] == "function_call")
        };
        let waits = self.calls > 0 || calls(&response);
        if let Some(Value::Array(output)) = response.get_mut("output").map(Value::take) {
            for (at, item) in (0..).zip(output) {
                if !self.items.get(&at).is_some_and(|item| item.done) {
                    self.end(at, item, events);
                }
            }
        }
        let details = response.get("incomplete_details");
        let why = details.and_then(|details| details.get("reason")?.as_str());
        let status = response.get("status").and_then(Value::as_str);
        let reason = match (status, why) {
            (Some("incomplete"), Some("max_output_tokens")) => FinishReason::Length,
            (Some("incomplete"), Some("content_filter")) => FinishReason::ContentFilter,
            // What nobody knows is an end like any other.
            _ if waits => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        events.push(Event::Finish { choice: 0, reason });
        let used = response.get("usage").and_then(usage::read);
        events.extend(used.map(Event::Usage));
        Ok(())
    }

    fn head(&mut self, response: &Value, events: &mut Vec<Event>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let text = |key: &str| {
            response
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let created = response.get("created_at").and_then(Value::as_f64);
        let created = created.map_or(0, |created| created as u64);
        events.push(Event::Start(Start::new(text("id"), text("model"), created)));
    }

    fn item(&mut self, at: u64) -> Option<&mut Item> {
        if self.items.len() >= MOST_ITEMS && !self.items.contains_key(&at) {
            return None;
        }
        Some(self.items.entry(at).or_default())
    }

    fn said(&mut self, at: u64) {
        if let Some(item) = self.item(at) {
            item.said = true;
        }
    }

    fn thought(&mut self, at: u64, field: &'static str, more: String, events: &mut Vec<Event>) {
        let item = self.item(at);
        // Whoever tells both a thought and its summary is heard once.
        if item.is_some_and(|item| *item.thought.get_or_insert(field) == field) {
            say(Delta::Reasoning(more), events);
        }
    }

    fn begin(&mut self, at: u64, item: &Value, events: &mut Vec<Event>) {
        if item["type"] != "function_call" {
            self.item(at);
            return;
        }
        let index = self.calls;
        let Some(state) = self.item(at).filter(|state| state.call.is_none()) else {
            return;
        };
        state.call = Some(index);
        let arguments = item["arguments"].as_str().unwrap_or_default();
        state.said |= !arguments.is_empty();
        self.calls = self.calls.saturating_add(1);
        let text = |key: &str| item[key].as_str().map(str::to_owned);
        // Some have one id for both.
        let id = text("call_id").or_else(|| text("id"));
        let delta = Delta::ToolCall {
            index,
            id: Some(id.unwrap_or_default()),
            name: Some(text("name").unwrap_or_default()),
            arguments: arguments.to_owned(),
        };
        say(delta, events);
    }

    fn end(&mut self, at: u64, mut item: Value, events: &mut Vec<Event>) {
        let kind = item["type"].as_str().unwrap_or_default().to_owned();
        if kind == "function_call" {
            self.begin(at, &item, events);
        }
        let Some(state) = self.item(at) else {
            return;
        };
        if std::mem::replace(&mut state.done, true) {
            return;
        }
        let told = state.said || state.thought.is_some();
        match &*kind {
            "message" => {
                let parts = item["content"].as_array_mut().map(std::mem::take);
                for part in parts.into_iter().flatten().filter(|_| !told) {
                    message_part(part, events);
                }
            }
            "function_call" => {
                let (call, said) = (state.call, state.said);
                let text = item["arguments"].as_str().unwrap_or_default();
                // A call without arguments may stream none; clients of other protocols wait for an
                // object.
                let text = if text.trim().is_empty() { "{}" } else { text };
                if let Some(index) = call.filter(|_| !said) {
                    arguments(index, text, events);
                }
            }
            "reasoning" => {
                let array = |key: &str| item[key].as_array().map_or(&[][..], Vec::as_slice);
                let (summary, content) = (array(SUMMARY), array(CONTENT));
                if !told {
                    say(Delta::Reasoning(thought(summary, content)), events);
                }
                let shown = told || !summary.is_empty() || !content.is_empty();
                if let Some(Value::String(proof)) = item.get("encrypted_content") {
                    let proof = proof.clone();
                    say(
                        match shown {
                            true => Delta::Signature(proof),
                            false => Delta::Redacted(proof),
                        },
                        events,
                    );
                }
            }
            _ => say(beside("output_items", item), events),
        }
    }
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let first = !std::mem::replace(&mut self.begun, true);
        let raw = if first { sse::without_bom(raw) } else { raw };
        if self.framing == Framing::Json {
            return self.document(raw, events);
        }
        for event in sse::events(raw) {
            let data = event.data.trim_ascii();
            // Some gateways end it as the vendor's other protocol does.
            if data.is_empty() || data == b"[DONE]" || self.done {
                continue;
            }
            self.event(&event, data, events)?;
        }
        Ok(())
    }
}

/// Whether the last word of a stream is in these events.
pub(super) fn has_end(raw: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    const ENDS: [&str; 3] = [
        "response.completed",
        "response.incomplete",
        "response.failed",
    ];
    let is_end = |data: &[u8]| {
        let kind = serde_json::from_slice::<Kind<'_>>(data);
        kind.is_ok_and(|it| ENDS.contains(&&*it.kind))
    };
    ENDS.iter()
        .any(|end| memchr::memmem::rfind(raw, end.as_bytes()).is_some())
        && sse::events(raw).any(|event| is_end(&event.data))
}

fn say(delta: Delta, events: &mut Vec<Event>) {
    let says = match &delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Signature(text) => !text.is_empty(),
        Delta::Refusal(text) | Delta::Redacted(text) => !text.is_empty(),
        _ => true,
    };
    if says {
        events.push(Event::Delta { choice: 0, delta });
    }
}

fn arguments(index: u32, more: &str, events: &mut Vec<Event>) {
    let delta = Delta::ToolCall {
        index,
        id: None,
        name: None,
        arguments: more.to_owned(),
    };
    if !more.is_empty() {
        say(delta, events);
    }
}

fn message_part(mut part: Value, events: &mut Vec<Event>) {
    let text = |part: &Value, key: &str| part[key].as_str().unwrap_or_default().to_owned();
    match part["type"].as_str() {
        Some("refusal") => say(Delta::Refusal(text(&part, "refusal")), events),
        Some("output_text" | "text") => {
            say(Delta::Text(text(&part, "text")), events);
            logprobs(part.get_mut("logprobs").map(Value::take), events);
            if let Some(Value::Array(all)) = part.get_mut("annotations").map(Value::take) {
                for annotation in all {
                    say(beside("annotations", chat_annotation(annotation)), events);
                }
            }
        }
        _ => say(beside("output_parts", part), events),
    }
}

/// How likely each token was, in the form of the vendor's other protocol.
fn logprobs(tokens: Option<Value>, events: &mut Vec<Event>) {
    if let Some(Value::Array(tokens)) = tokens
        && !tokens.is_empty()
    {
        let all = json!({"content": tokens});
        let extra = Extra::from_iter([("logprobs".to_owned(), all)]);
        say(Delta::Extra(extra), events);
    }
}

/// A field of the message that has no place in the model of this crate.
fn beside(key: &str, value: Value) -> Delta {
    let message = Extra::from_iter([(key.to_owned(), vec![value].into())]);
    Delta::Extra(Extra::from_iter([("message".to_owned(), message.into())]))
}

/// What a text refers to, in the form of the vendor's other protocol.
fn chat_annotation(annotation: Value) -> Value {
    match annotation {
        Value::Object(mut fields)
            if fields
                .get("type")
                .is_some_and(|kind| kind == "url_citation") =>
        {
            fields.remove("type");
            json!({"type": "url_citation", "url_citation": fields})
        }
        annotation => annotation,
    }
}
