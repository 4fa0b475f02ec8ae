//! Answers, read.

mod plain;

use super::usage::Counts;
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start,
    codec::{Decode, Framing, fault, sse},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeMap};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_BLOCKS: usize = 4096;

/// Reads one answer.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    /// The stream has begun, and a byte order mark is none any more.
    begun: bool,
    told: bool,
    /// Blocks that have begun and not ended.
    blocks: BTreeMap<u64, Block>,
    /// How many calls of tools there were. Their count goes on where a vendor begins a message anew.
    calls: u32,
    counts: Counts,
}

/// A block that is not at its end.
enum Block {
    /// Every piece of it is told at once.
    Said,
    /// A call, and whether there was anything of its arguments.
    Call { index: u32, argued: bool },
    /// A block of a kind that is not known here, and the text of its input so far.
    Other { block: Value, input: String },
}

/// An event, or a message.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    delta: Option<Piece<'a>>,
    #[serde(default)]
    content_block: Option<Value>,
    #[serde(default)]
    message: Option<Value>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            begun: false,
            told: false,
            blocks: BTreeMap::new(),
            calls: 0,
            counts: Counts::default(),
        }
    }

    fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        match plain::read(data) {
            Some((at, piece)) => {
                self.piece(at, piece, events);
                Ok(())
            }
            None => self.any(data, events),
        }
    }

    /// Any event, whatever it is.
    fn any(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let wire: Wire<'_> = match serde_json::from_slice(data) {
            Ok(wire) => wire,
            // Of an event in a form that nobody knows, nothing is known.
            Err(error) => {
                serde_json::from_slice::<serde::de::IgnoredAny>(data)
                    .map_err(|_| fault::malformed(&error))?;
                return Ok(());
            }
        };
        match wire.kind.as_deref() {
            Some("message_start") => {
                self.blocks.clear();
                if let Some(message) = &wire.message {
                    self.head(message, events);
                    self.used(message.get("usage"), events);
                }
            }
            Some("content_block_start") => {
                if let Some(block) = wire.content_block {
                    self.start(wire.index, block, events);
                }
            }
            Some("content_block_delta") => {
                if let Some(piece) = wire.delta {
                    self.piece(wire.index, piece, events);
                }
            }
            Some("content_block_stop") => self.stop(wire.index, events),
            Some("message_delta") => {
                if let Some(delta) = &wire.delta {
                    finish(&delta.rest, events);
                }
                self.used(wire.usage.as_ref(), events);
            }
            Some("error") => {
                let whole = fault::told(data);
                return Err(fault::within(&whole).into());
            }
            _ => {}
        }
        Ok(())
    }

    fn document(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let mut whole: Value =
            serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        if whole.get("type").is_some_and(|kind| kind == "error") {
            return Err(fault::within(&whole).into());
        }
        if self.operation == Operation::CountTokens
            && let Some(tokens) = whole.get("input_tokens").and_then(Value::as_u64)
        {
            events.push(Event::Tokens(tokens));
            return Ok(());
        }
        let Some(Value::Array(content)) = whole.get_mut("content").map(Value::take) else {
            let fault = crate::llm::VendorFault::Malformed;
            return Err(crate::llm::VendorError::new(fault).into());
        };
        self.head(&whole, events);
        for (index, block) in (0..).zip(content) {
            self.start(index, block, events);
            self.stop(index, events);
        }
        if let Value::Object(fields) = &whole {
            finish(fields, events);
        }
        self.used(whole.get("usage"), events);
        Ok(())
    }

    /// The head is that of the first message.
    fn head(&mut self, message: &Value, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.told, true) {
            let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
            events.push(Event::Start(Start::new(text("id"), text("model"), 0)));
        }
    }

    fn used(&mut self, usage: Option<&Value>, events: &mut Vec<Event>) {
        if let Some(usage) = usage.filter(|usage| usage.is_object()) {
            self.counts.set(usage);
            events.push(Event::Usage(self.counts.usage()));
        }
    }

    fn start(&mut self, at: u64, mut block: Value, events: &mut Vec<Event>) {
        if self.blocks.len() >= MOST_BLOCKS {
            return;
        }
        let mut text = |key: &str| match block.get_mut(key).map(Value::take) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let state = match &*text("type") {
            "text" => {
                say(Delta::Text(text("text")), events);
                for citation in block["citations"].as_array().into_iter().flatten() {
                    say(beside("citations", citation.clone()), events);
                }
                Block::Said
            }
            "thinking" => {
                say(Delta::Reasoning(text("thinking")), events);
                say(Delta::Signature(text("signature")), events);
                Block::Said
            }
            "redacted_thinking" => {
                say(Delta::Redacted(text("data")), events);
                Block::Said
            }
            "tool_use" => {
                let index = self.calls;
                self.calls = self.calls.saturating_add(1);
                let (id, name) = (Some(text("id")), Some(text("name")));
                let input = block["input"].as_object().filter(|input| !input.is_empty());
                let arguments = input.map_or_else(String::new, |_| block["input"].to_string());
                let argued = !arguments.is_empty();
                say(
                    Delta::ToolCall {
                        index,
                        id,
                        name,
                        arguments,
                    },
                    events,
                );
                Block::Call { index, argued }
            }
            kind => {
                block["type"] = kind.into();
                let input = String::new();
                Block::Other { block, input }
            }
        };
        self.blocks.insert(at, state);
    }

    fn piece(&mut self, at: u64, piece: Piece<'_>, events: &mut Vec<Event>) {
        match (self.blocks.get_mut(&at), piece.kind.as_deref()) {
            (Some(Block::Call { index, argued }), Some("input_json_delta")) => {
                let arguments = piece.partial_json.unwrap_or_default();
                if arguments.is_empty() {
                    return;
                }
                *argued = true;
                let (index, id, name) = (*index, None, None);
                say(
                    Delta::ToolCall {
                        index,
                        id,
                        name,
                        arguments,
                    },
                    events,
                );
            }
            (Some(Block::Other { input, .. }), Some("input_json_delta")) => {
                input.push_str(&piece.partial_json.unwrap_or_default());
            }
            (Some(Block::Other { block, .. }), _) => {
                let texts = [
                    ("text", piece.text.map(Value::from)),
                    ("thinking", piece.thinking.map(Value::from)),
                ];
                let known = texts.into_iter();
                let known = known.filter_map(|(key, text)| Some((key.to_owned(), text?)));
                for (key, value) in known.chain(piece.rest) {
                    match (&mut block[&key], value) {
                        (Value::String(text), Value::String(more)) => text.push_str(&more),
                        (place, value) => *place = value,
                    }
                }
            }
            (_, Some("text_delta")) => {
                say(Delta::Text(piece.text.unwrap_or_default()), events);
            }
            (_, Some("thinking_delta")) => {
                say(Delta::Reasoning(piece.thinking.unwrap_or_default()), events);
            }
            (_, Some("signature_delta")) => {
                say(
                    Delta::Signature(piece.signature.unwrap_or_default()),
                    events,
                );
            }
            (_, Some("citations_delta")) => {
                let mut rest = piece.rest;
                if let Some(citation) = rest.remove("citation") {
                    say(beside("citations", citation), events);
                }
            }
            _ => {}
        }
    }

    fn stop(&mut self, at: u64, events: &mut Vec<Event>) {
        match self.blocks.remove(&at) {
            // A call without arguments streams none; clients of other protocols wait for an object.
            Some(Block::Call {
                index,
                argued: false,
            }) => say(
                Delta::ToolCall {
                    index,
                    id: None,
                    name: None,
                    arguments: "{}".into(),
                },
                events,
            ),
            Some(Block::Other { mut block, input }) => {
                if let Ok(input) = serde_json::from_str::<Value>(&input) {
                    block["input"] = input;
                }
                say(beside("content_blocks", block), events);
            }
            _ => {}
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
            // Some gateways end it as OpenAI does.
            if data.is_empty() || data == b"[DONE]" {
                continue;
            }
            if event.event == Some(b"error") {
                return Err(fault::within(&fault::told(data)).into());
            }
            self.event(data, events)?;
        }
        Ok(())
    }
}

/// Whether an event without a name is the last.
pub(super) fn is_stop(data: &[u8]) -> bool {
    serde_json::from_slice::<Wire<'_>>(data)
        .is_ok_and(|wire| wire.kind.as_deref() == Some("message_stop"))
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

/// A field of the message that has no place in the model of this crate.
fn beside(key: &str, value: Value) -> Delta {
    let message = Extra::from_iter([(key.to_owned(), vec![value].into())]);
    Delta::Extra(Extra::from_iter([("message".to_owned(), message.into())]))
}

/// Why it ended, from the fields of a message or of the event that tells it.
fn finish(fields: &Map<String, Value>, events: &mut Vec<Event>) {
    let Some(Value::String(told)) = fields.get("stop_reason") else {
        return;
    };
    let (reason, plain) = match &**told {
        "end_turn" | "stop_sequence" => (FinishReason::Stop, true),
        "max_tokens" => (FinishReason::Length, true),
        "tool_use" => (FinishReason::ToolCalls, true),
        "refusal" => (FinishReason::ContentFilter, true),
        "model_context_window_exceeded" => (FinishReason::Length, false),
        "pause_turn" => (FinishReason::Paused, false),
        // What nobody knows is an end like any other.
        _ => (FinishReason::Stop, false),
    };
    let details = fields.get("stop_details");
    if let Some(Value::String(words)) = details.and_then(|details| details.get("explanation")) {
        say(Delta::Refusal(words.clone()), events);
    }
    let mut extra = Extra::new();
    if let Some(text @ Value::String(_)) = fields.get("stop_sequence") {
        extra.insert("stop_sequence".into(), text.clone());
    }
    if !plain {
        extra.insert("native_finish_reason".into(), told.clone().into());
    }
    if !extra.is_empty() {
        say(Delta::Extra(extra), events);
    }
    events.push(Event::Finish { choice: 0, reason });
}
