//! Answers, read.

mod plain;

use super::{citation, error, frame::frames, usage};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start, VendorError, VendorFault,
    codec::{Decode, Framing, fault},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_BLOCKS: usize = 4096;
const MOST_CITATIONS: usize = 1024;

/// Where what has no place in the model of this crate is kept in a message.
const FOREIGN: &str = "bedrock_content";

/// Reads one answer.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    told: bool,
    /// Blocks that have begun and not ended.
    blocks: BTreeMap<u64, Block>,
    calls: u32,
}

/// A block that is not at its end.
enum Block {
    /// What is said, of which every piece is told at once, and what proves it, which follows it.
    Said(Vec<Value>),
    /// A call, and whether there was anything of its arguments.
    Call { index: u32, argued: bool },
    /// A block of a kind that is not known here: its name and itself, and the text of its input so far.
    Other {
        kind: String,
        block: Value,
        input: String,
    },
}

/// What an event holds; `p` is padding.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    content_block_index: u64,
    #[serde(default)]
    start: Option<Map<String, Value>>,
    #[serde(default)]
    delta: Option<Piece>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    text: Option<String>,
    tool_use: Option<Input>,
    reasoning_content: Option<Thought>,
    citation: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
    reasoning_text: Option<Box<Thought>>,
}

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            told: false,
            blocks: BTreeMap::new(),
            calls: 0,
        }
    }

    fn event(&mut self, kind: &str, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        if kind == "contentBlockDelta"
            && let Some((at, piece)) = plain::read(data)
        {
            self.head(events);
            self.piece(at, piece, events);
            return Ok(());
        }
        self.any(kind, data, events)
    }

    /// Any event, whatever it is.
    fn any(&mut self, kind: &str, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        match kind {
            "messageStart" => self.head(events),
            "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" => {
                // Of an event in a form that nobody knows, nothing is known.
                let Ok(wire) = serde_json::from_slice::<Wire>(data) else {
                    value(data)?;
                    return Ok(());
                };
                self.head(events);
                let at = wire.content_block_index;
                if kind == "contentBlockStop" {
                    self.stop(at, events);
                }
                for (kind, block) in wire.start.into_iter().flatten() {
                    self.start(at, kind, block, events);
                }
                if let Some(piece) = wire.delta {
                    self.piece(at, piece, events);
                }
            }
            "messageStop" => {
                self.head(events);
                let open: Vec<_> = self.blocks.keys().copied().collect();
                for at in open {
                    self.stop(at, events);
                }
                finish(&mut value(data)?, events)?;
            }
            "metadata" => {
                let mut told = value(data)?;
                if let Some(usage) = told.get("usage").and_then(usage::read) {
                    events.push(Event::Usage(usage));
                }
                beside(&mut told, events);
            }
            _ => {}
        }
        Ok(())
    }

    fn document(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let mut whole = value(data)?;
        if self.operation == Operation::CountTokens {
            let tokens = whole.get("inputTokens").and_then(Value::as_u64);
            events.push(Event::Tokens(tokens.ok_or_else(malformed)?));
            return Ok(());
        }
        let content = whole.pointer_mut("/output/message/content");
        let Some(Value::Array(content)) = content.map(Value::take) else {
            return Err(malformed());
        };
        self.head(events);
        for (at, block) in (0..).zip(content) {
            let Value::Object(block) = block else {
                continue;
            };
            for (kind, block) in block {
                self.whole(at, kind, block, events);
            }
            self.stop(at, events);
        }
        finish(&mut whole, events)?;
        if let Some(usage) = whole.get("usage").and_then(usage::read) {
            events.push(Event::Usage(usage));
        }
        beside(&mut whole, events);
        Ok(())
    }

    /// The vendor names neither the answer nor the model.
    fn head(&mut self, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.told, true) {
            events.push(Event::Start(Start::default()));
        }
    }

    /// A block that is there at once.
    fn whole(&mut self, at: u64, kind: String, block: Value, events: &mut Vec<Event>) {
        match (&*kind, block) {
            ("text", Value::String(text)) => say(Delta::Text(text), events),
            ("reasoningContent", block) => {
                if let Ok(thought) = serde_json::from_value(block) {
                    think(thought, events);
                }
            }
            ("citationsContent", mut block) => {
                for said in block["content"].as_array_mut().into_iter().flatten() {
                    if let Value::String(text) = said["text"].take() {
                        say(Delta::Text(text), events);
                    }
                }
                for citation in block["citations"].as_array().into_iter().flatten() {
                    cite(citation, events);
                }
            }
            (_, block) => self.start(at, kind, block, events),
        }
    }

    fn start(&mut self, at: u64, kind: String, mut block: Value, events: &mut Vec<Event>) {
        if self.blocks.len() >= MOST_BLOCKS {
            return;
        }
        // What the vendor itself runs is no call for a client to answer.
        let own = block
            .get("type")
            .is_some_and(|kind| *kind != "tool_use" && !kind.is_null());
        if kind != "toolUse" || own {
            let input = String::new();
            self.blocks.insert(at, Block::Other { kind, block, input });
            return;
        }
        let mut text = |key: &str| match block.get_mut(key).map(Value::take) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (id, name) = (Some(text("toolUseId")), Some(text("name")));
        let index = self.calls;
        self.calls = self.calls.saturating_add(1);
        let input = block["input"].as_object().filter(|input| !input.is_empty());
        let arguments = input.map_or_else(String::new, |_| block["input"].to_string());
        let argued = !arguments.is_empty();
        let call = Delta::ToolCall {
            index,
            id,
            name,
            arguments,
        };
        say(call, events);
        self.blocks.insert(at, Block::Call { index, argued });
    }

    fn piece(&mut self, at: u64, piece: Piece, events: &mut Vec<Event>) {
        if let Some(Block::Other { block, input, .. }) = self.blocks.get_mut(&at) {
            if let Some(more) = piece.tool_use {
                input.push_str(&more.input);
            }
            for (key, value) in piece.rest {
                grow(block, key, value);
            }
            return;
        }
        if let Some(text) = piece.text {
            say(Delta::Text(text), events);
        }
        if let Some(thought) = piece.reasoning_content {
            think(thought, events);
        }
        if let Some(more) = piece.tool_use.filter(|more| !more.input.is_empty())
            && let Some(Block::Call { index, argued }) = self.blocks.get_mut(&at)
        {
            *argued = true;
            let call = Delta::ToolCall {
                index: *index,
                id: None,
                name: None,
                arguments: more.input,
            };
            say(call, events);
        }
        if let Some(citation) = piece.citation
            && self.blocks.len() < MOST_BLOCKS
        {
            let block = self.blocks.entry(at);
            if let Block::Said(all) = block.or_insert_with(|| Block::Said(Vec::new()))
                && all.len() < MOST_CITATIONS
            {
                all.push(citation);
            }
        }
        for (key, value) in piece.rest {
            if self.blocks.len() < MOST_BLOCKS {
                let (kind, input) = (key.clone(), String::new());
                let block = self.blocks.entry(at).or_insert_with(|| Block::Other {
                    kind,
                    block: json!({}),
                    input,
                });
                if let Block::Other { block, .. } = block {
                    grow(block, key, value);
                }
            }
        }
    }

    fn stop(&mut self, at: u64, events: &mut Vec<Event>) {
        match self.blocks.remove(&at) {
            Some(Block::Said(citations)) => {
                for citation in &citations {
                    cite(citation, events);
                }
            }
            // A call without arguments streams none; clients of other protocols wait for an object.
            Some(Block::Call {
                index,
                argued: false,
            }) => {
                let call = Delta::ToolCall {
                    index,
                    id: None,
                    name: None,
                    arguments: "{}".into(),
                };
                say(call, events);
            }
            Some(Block::Other {
                kind,
                mut block,
                input,
            }) => {
                if let Ok(input) = serde_json::from_str::<Value>(&input)
                    && block.is_object()
                {
                    block["input"] = input;
                }
                let whole = Map::from_iter([(kind, block)]);
                say(in_message(FOREIGN, whole.into()), events);
            }
            _ => {}
        }
    }
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        if self.framing != Framing::EventStream {
            return self.document(raw, events);
        }
        for frame in frames(raw) {
            if let Some(error) = error::within(&frame) {
                return Err(error.into());
            }
            if let Some(kind) = frame.header(":event-type") {
                self.event(kind, frame.payload, events)?;
            }
        }
        Ok(())
    }
}

fn malformed() -> Error {
    VendorError::new(VendorFault::Malformed).into()
}

fn value(data: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(data).map_err(|error| fault::malformed(&error))
}

/// Adds to a block of a kind that is not known here.
fn grow(block: &mut Value, key: String, value: Value) {
    let Value::Object(fields) = block else {
        return;
    };
    // Results of tools come as lists of what is added.
    let key = if key == "toolResult" {
        "content".into()
    } else {
        key
    };
    match (fields.get_mut(&key), value) {
        (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
        (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
        (_, value) => {
            fields.insert(key, value);
        }
    }
}

fn say(delta: Delta, events: &mut Vec<Event>) {
    let says = match &delta {
        Delta::Text(text) | Delta::Reasoning(text) | Delta::Signature(text) => !text.is_empty(),
        Delta::Redacted(text) => !text.is_empty(),
        _ => true,
    };
    if says {
        events.push(Event::Delta { choice: 0, delta });
    }
}

fn think(thought: Thought, events: &mut Vec<Event>) {
    say(Delta::Reasoning(thought.text.unwrap_or_default()), events);
    say(
        Delta::Signature(thought.signature.unwrap_or_default()),
        events,
    );
    say(
        Delta::Redacted(thought.redacted_content.unwrap_or_default()),
        events,
    );
    if let Some(inner) = thought.reasoning_text {
        say(Delta::Reasoning(inner.text.unwrap_or_default()), events);
        say(
            Delta::Signature(inner.signature.unwrap_or_default()),
            events,
        );
    }
}

fn cite(citation: &Value, events: &mut Vec<Event>) {
    let (key, citation) = match citation::read(citation) {
        Some(known) => ("citations", known),
        None => (FOREIGN, json!({"citation": citation})),
    };
    say(in_message(key, citation), events);
}

/// A field of the message that has no place in the model of this crate.
fn in_message(key: &str, value: Value) -> Delta {
    let message = Extra::from_iter([(key.to_owned(), vec![value].into())]);
    Delta::Extra(Extra::from_iter([("message".to_owned(), message.into())]))
}

/// What is told of the answer beside it: of a guardrail what it found, of a router whom it chose.
fn beside(told: &mut Value, events: &mut Vec<Event>) {
    let mut extra = Extra::new();
    for key in ["trace", "performanceConfig", "serviceTier"] {
        match told.get_mut(key).map(Value::take) {
            None | Some(Value::Null) => {}
            Some(value) => {
                extra.insert(key.into(), value);
            }
        }
    }
    if !extra.is_empty() {
        say(Delta::Extra(extra), events);
    }
}

/// Why it ended.
fn finish(told: &mut Value, events: &mut Vec<Event>) -> Result<(), Error> {
    let mut extra = Extra::new();
    if let Some(more @ Value::Object(_)) = told.get_mut("additionalModelResponseFields") {
        if let Some(Value::String(sequence)) = more.get("stop_sequence") {
            extra.insert("stop_sequence".into(), sequence.clone().into());
        }
        extra.insert("additionalModelResponseFields".into(), more.take());
    }
    let word = told.get("stopReason").and_then(Value::as_str);
    let (reason, plain) = match word {
        None => (None, true),
        Some("end_turn" | "stop_sequence") => (Some(FinishReason::Stop), true),
        Some("max_tokens") => (Some(FinishReason::Length), true),
        Some("tool_use") => (Some(FinishReason::ToolCalls), true),
        Some("guardrail_intervened" | "content_filtered") => {
            (Some(FinishReason::ContentFilter), false)
        }
        Some("model_context_window_exceeded") => (Some(FinishReason::Length), false),
        Some(word @ ("malformed_model_output" | "malformed_tool_use")) => {
            let words = match word {
                "malformed_tool_use" => "The model wrote a call of a tool that cannot be read.",
                _ => "The model wrote what cannot be read.",
            };
            let error = VendorError::new(VendorFault::Failed).with_message(words);
            return Err(error.with_code(word).into());
        }
        // What nobody knows is an end like any other.
        Some(_) => (Some(FinishReason::Stop), false),
    };
    if let Some(word) = word.filter(|_| !plain) {
        extra.insert("native_finish_reason".into(), word.into());
    }
    if !extra.is_empty() {
        say(Delta::Extra(extra), events);
    }
    events.extend(reason.map(|reason| Event::Finish { choice: 0, reason }));
    Ok(())
}
