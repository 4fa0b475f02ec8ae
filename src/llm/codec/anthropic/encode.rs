//! Answers, written: as an event stream, or as one document.
//!
//! Both come of one order of blocks, which [`Blocks`] makes of events.

mod blocks;

use self::blocks::{Blocks, Piece, Sink};
use super::usage;
use crate::llm::{
    Event, FinishReason, Operation, Start, Usage,
    codec::{Asked, Encode, literal, translation::object_of},
};
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};

/// What is known of an answer beside its blocks.
struct Head {
    asked: Asked,
    start: Option<Start>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
}

impl Head {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            start: None,
            usage: None,
            finish: None,
        }
    }

    /// Keeps what is no part of a block; gives back what is.
    fn take(&mut self, event: Event) -> Option<crate::llm::Delta> {
        match event {
            Event::Start(start) => {
                self.start.get_or_insert(start);
            }
            // There is one answer to a request.
            Event::Delta { choice: 0, delta } => return Some(delta),
            Event::Finish { choice: 0, reason } => {
                self.finish.get_or_insert(reason);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            _ => {}
        }
        None
    }

    fn message(&self) -> Value {
        let start = self.start.clone().unwrap_or_default();
        let id = match start.id.is_empty() {
            true => format!("msg_{}", crate::exchange::fresh_id()),
            false => start.id,
        };
        let model = match start.model.is_empty() {
            true => (*self.asked.model).to_owned(),
            false => start.model,
        };
        json!({
            "id": id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage::write(&self.usage.unwrap_or_default()),
        })
    }

    /// Why it ended, and at which text.
    fn end(&self, blocks: &Blocks) -> (Value, Value) {
        let sequence = blocks.stop_sequence.clone();
        let reason = match &self.finish {
            _ if blocks.native.is_some() => return (blocks.native.clone().into(), sequence.into()),
            // Some vendors say that it is complete where it waits for tools.
            None | Some(FinishReason::Stop) if blocks.calls() => "tool_use",
            // Others tell a refusal by its words alone.
            None | Some(FinishReason::Stop) if blocks.refuses => "refusal",
            None | Some(FinishReason::Stop) if sequence.is_some() => "stop_sequence",
            None | Some(FinishReason::Stop) => "end_turn",
            Some(FinishReason::Length) => "max_tokens",
            Some(FinishReason::ToolCalls) => "tool_use",
            Some(FinishReason::ContentFilter) => "refusal",
            Some(FinishReason::Paused) => "pause_turn",
        };
        (reason.into(), sequence.into())
    }
}

/// Writes one event stream.
pub(super) struct Stream {
    head: Head,
    begun: bool,
    blocks: Blocks,
    count: u32,
}

impl Stream {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            head: Head::new(asked),
            begun: false,
            blocks: Blocks::default(),
            count: 0,
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.begun, true) {
            let message = self.head.message();
            let start = json!({"type": "message_start", "message": message});
            write(out, "message_start", &start);
        }
    }
}

impl Encode for Stream {
    fn events(&mut self, events: Vec<Event>, out: &mut BytesMut) {
        for event in events {
            if let Some(delta) = self.head.take(event) {
                self.begin(out);
                let count = &mut self.count;
                self.blocks.delta(delta, &mut Wire { out, count });
            }
        }
        if self.head.start.is_some() {
            self.begin(out);
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.begin(out);
        let count = &mut self.count;
        self.blocks.finish(&mut Wire { out, count });
        let (reason, sequence) = self.head.end(&self.blocks);
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage::write(&self.head.usage.unwrap_or_default()),
        });
        write(out, "message_delta", &delta);
        write(out, "message_stop", &json!({"type": "message_stop"}));
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

/// Blocks as events.
struct Wire<'a> {
    out: &'a mut BytesMut,
    count: &'a mut u32,
}

impl Sink for Wire<'_> {
    fn start(&mut self, block: Value) {
        let start = json!({
            "type": "content_block_start",
            "index": *self.count,
            "content_block": block,
        });
        write(self.out, "content_block_start", &start);
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let out = &mut *self.out;
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        literal::number(out, u64::from(*self.count));
        let (kind, text): (&[u8], _) = match piece {
            Piece::Text { text } => (br#"text_delta","text":"#, text),
            Piece::Thinking { thinking } => (br#"thinking_delta","thinking":"#, thinking),
            Piece::Signature { signature } => (br#"signature_delta","signature":"#, signature),
            Piece::Json { partial_json } => (br#"input_json_delta","partial_json":"#, partial_json),
            Piece::Citation { citation } => {
                out.extend_from_slice(br#","delta":{"type":"citations_delta","citation":"#);
                // Only what is no string can fail as a key, and there is none.
                let _ = serde_json::to_writer((&mut *out).writer(), citation);
                out.extend_from_slice(b"}}\n\n");
                return;
            }
        };
        out.extend_from_slice(br#","delta":{"type":""#);
        out.extend_from_slice(kind);
        literal::string(out, text);
        out.extend_from_slice(b"}}\n\n");
    }

    fn stop(&mut self) {
        let stop = json!({"type": "content_block_stop", "index": *self.count});
        write(self.out, "content_block_stop", &stop);
        *self.count += 1;
    }
}

/// Writes one document, at the end.
pub(super) struct Document {
    head: Head,
    blocks: Blocks,
    all: Whole,
    tokens: Option<u64>,
}

impl Document {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            head: Head::new(asked),
            blocks: Blocks::default(),
            all: Whole::default(),
            tokens: None,
        }
    }
}

impl Encode for Document {
    fn events(&mut self, events: Vec<Event>, _: &mut BytesMut) {
        for event in events {
            if let Event::Tokens(tokens) = event {
                self.tokens = Some(tokens);
            } else if let Some(delta) = self.head.take(event) {
                self.blocks.delta(delta, &mut self.all);
            }
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let document = if self.head.asked.operation == Operation::CountTokens {
            json!({"input_tokens": self.tokens.unwrap_or(0)})
        } else {
            self.blocks.finish(&mut self.all);
            let mut message = self.head.message();
            message["content"] = std::mem::take(&mut self.all.blocks).into();
            let (reason, sequence) = self.head.end(&self.blocks);
            message["stop_reason"] = reason;
            message["stop_sequence"] = sequence;
            message
        };
        // Only what is no string can fail as a key, and there is none.
        let _ = serde_json::to_writer(out.writer(), &document);
    }
}

/// Blocks put together.
#[derive(Default)]
struct Whole {
    blocks: Vec<Value>,
    arguments: String,
}

impl Sink for Whole {
    fn start(&mut self, block: Value) {
        self.blocks.push(block);
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let Some(block) = self.blocks.last_mut() else {
            return;
        };
        let (key, more) = match piece {
            Piece::Text { text } => ("text", text),
            Piece::Thinking { thinking } => ("thinking", thinking),
            Piece::Signature { signature } => ("signature", signature),
            Piece::Json { partial_json } => {
                self.arguments.push_str(partial_json);
                return;
            }
            Piece::Citation { citation } => {
                match &mut block["citations"] {
                    Value::Array(all) => all.push(citation.clone()),
                    place => *place = json!([citation]),
                }
                return;
            }
        };
        if let Value::String(text) = &mut block[key] {
            text.push_str(more);
        }
    }

    fn stop(&mut self) {
        let arguments = std::mem::take(&mut self.arguments);
        if let Some(block) = self.blocks.last_mut()
            && block["type"] == "tool_use"
        {
            block["input"] = object_of(&arguments).0;
        }
    }
}
