//! Events in any order, as blocks in the one that the protocol has: each begins, goes on and ends
//! before the next.

use super::super::text_block;
use crate::llm::{Delta, Extra, codec::whole::Whole};
use serde_json::{Value, json};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CALLS: usize = 1024;

/// More of a block.
pub(super) enum Piece<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str },
    Signature { signature: &'a str },
    Json { partial_json: &'a str },
    Citation { citation: &'a Value },
}

/// Where blocks go.
pub(super) trait Sink {
    fn start(&mut self, block: Value);
    fn piece(&mut self, piece: Piece<'_>);
    fn stop(&mut self);
}

/// What was said of an answer so far.
#[derive(Default)]
pub(super) struct Blocks {
    open: Option<Open>,
    calls: Vec<Call>,
    pub(super) stop_sequence: Option<String>,
    /// The reason for the end in the protocol's own word, if it is known.
    pub(super) native: Option<String>,
    /// What was said is a refusal.
    pub(super) refuses: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
    Call(usize),
}

/// A call of a tool.
#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    /// How much of the arguments was written.
    written: usize,
    begun: bool,
    whole: Whole,
}

impl Call {
    /// Whether nothing but space can come of the arguments.
    fn is_whole(&mut self) -> bool {
        self.whole.is(&self.arguments)
    }

    /// Whether the arguments are no more than `null` so far, as some models write it where there are
    /// none: the protocol wants an object.
    fn says_nothing(&self, end: bool) -> bool {
        const NULL: &str = "null";
        // However it comes, no more of it is looked at again and again.
        const LONGEST: usize = 1 << 10;
        if self.written > 0 || self.arguments.len() > LONGEST {
            return false;
        }
        let said = self.arguments.trim();
        NULL.starts_with(said) && (!end || said == NULL)
    }
}

impl Blocks {
    /// Whether tools are called.
    pub(super) fn calls(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(super) fn delta(&mut self, delta: Delta, sink: &mut impl Sink) {
        self.refuses |= matches!(&delta, Delta::Refusal(text) if !text.is_empty());
        match delta {
            Delta::Text(text) | Delta::Refusal(text) if !text.is_empty() => {
                self.enter(Open::Text, sink);
                sink.piece(Piece::Text { text: &text });
            }
            Delta::Reasoning(thinking) if !thinking.is_empty() => {
                self.enter(Open::Thought, sink);
                let thinking = &thinking;
                sink.piece(Piece::Thinking { thinking });
            }
            // It is the last of a thought.
            Delta::Signature(signature) => {
                self.enter(Open::Thought, sink);
                let signature = &signature;
                sink.piece(Piece::Signature { signature });
                self.close(sink);
            }
            Delta::Redacted(data) => {
                self.close(sink);
                sink.start(json!({"type": "redacted_thinking", "data": data}));
                sink.stop();
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
                let call = &mut self.calls[at];
                if let Some(id) = id.filter(|id| !id.is_empty()) {
                    call.id = id;
                }
                call.name.push_str(&name.unwrap_or_default());
                call.arguments.push_str(&arguments);
                self.advance(false, sink);
            }
            Delta::Extra(extra) => self.extra(extra, sink),
            _ => {}
        }
    }

    /// Writes what was held back, and the end of the last block.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) {
        self.advance(true, sink);
        self.close(sink);
    }

    fn extra(&mut self, mut extra: Extra, sink: &mut impl Sink) {
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        if let Some(sequence) = text(extra.remove("stop_sequence")) {
            self.stop_sequence = Some(sequence);
        }
        if let Some(native) = text(extra.remove("native_finish_reason"))
            && NATIVE.contains(&&*native)
        {
            self.native = Some(native);
        }
        let Some(Value::Object(mut message)) = extra.remove("message") else {
            return;
        };
        if let Some(Value::Array(all)) = message.remove("citations")
            && self.open == Some(Open::Text)
        {
            for citation in &all {
                sink.piece(Piece::Citation { citation });
            }
        }
        if let Some(Value::Array(blocks)) = message.remove("content_blocks") {
            for block in blocks {
                self.close(sink);
                sink.start(block);
                sink.stop();
            }
        }
    }

    /// Opens a block of this kind, unless one is open.
    fn enter(&mut self, kind: Open, sink: &mut impl Sink) {
        if self.open == Some(kind) {
            return;
        }
        self.close(sink);
        sink.start(match kind {
            Open::Thought => json!({"type": "thinking", "thinking": "", "signature": ""}),
            _ => text_block(""),
        });
        self.open = Some(kind);
    }

    fn close(&mut self, sink: &mut impl Sink) {
        if self.open.take().is_some() {
            sink.stop();
        }
    }

    /// Writes what can be written of calls: more of the one that is open, and the next one when that
    /// has all of its arguments. What comes of others is held back; at the `end` nothing is.
    fn advance(&mut self, end: bool, sink: &mut impl Sink) {
        loop {
            let next = self
                .calls
                .iter()
                .position(|call| !call.begun && (end || !call.name.is_empty()));
            if let Some(Open::Call(at)) = self.open {
                let call = &mut self.calls[at];
                let more = &call.arguments[call.written..];
                if !more.is_empty() && !call.says_nothing(end) {
                    sink.piece(Piece::Json { partial_json: more });
                    call.written = call.arguments.len();
                }
                if next.is_none() || !(end || call.is_whole()) {
                    return;
                }
            }
            let Some(next) = next else {
                return;
            };
            self.close(sink);
            let call = &mut self.calls[next];
            call.begun = true;
            if call.id.is_empty() {
                call.id = format!("toolu_{}", crate::exchange::fresh_id());
            }
            sink.start(json!({
                "type": "tool_use",
                "id": call.id,
                "name": call.name,
                "input": {},
            }));
            self.open = Some(Open::Call(next));
        }
    }
}

/// Reasons of the protocol that are one with others in the model of this crate.
const NATIVE: [&str; 2] = ["model_context_window_exceeded", "pause_turn"];

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Written(Vec<String>);

    impl Sink for Written {
        fn start(&mut self, block: Value) {
            self.0
                .push(format!("{}:", block["name"].as_str().unwrap_or_default()));
        }

        fn piece(&mut self, piece: Piece<'_>) {
            if let (Piece::Json { partial_json }, Some(last)) = (piece, self.0.last_mut()) {
                last.push_str(partial_json);
            }
        }

        fn stop(&mut self) {}
    }

    fn call(index: u32, name: Option<&str>, arguments: &str) -> Delta {
        Delta::ToolCall {
            index,
            id: name.map(|name| format!("id {name}")),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        }
    }

    fn written(deltas: impl IntoIterator<Item = Delta>) -> Vec<String> {
        let (mut blocks, mut sink) = (Blocks::default(), Written::default());
        for delta in deltas {
            blocks.delta(delta, &mut sink);
        }
        blocks.finish(&mut sink);
        sink.0
    }

    #[test]
    fn calls_that_come_at_once_are_written_one_by_one() {
        let pieces = [
            call(0, Some("f"), "{\"a\":\"}\\"),
            call(1, Some("g"), "{"),
            call(0, None, "\"}"),
            call(1, None, "}"),
            call(0, None, "\"} "),
            call(2, Some("h"), ""),
        ];
        let expected = ["f:{\"a\":\"}\\\"}\"} ", "g:{}", "h:"];
        assert_eq!(written(pieces), expected);
        // What never becomes JSON holds the others back, and loses nothing.
        let pieces = [
            call(0, Some("f"), "{a}"),
            call(1, Some("g"), "{}"),
            call(0, None, "b"),
        ];
        assert_eq!(written(pieces), ["f:{a}b", "g:{}"]);
    }

    /// However long the one is that they wait for.
    #[test]
    fn calls_that_wait_cost_no_look_at_what_they_wait_for() {
        let long = "{\"a\":{\"b\":\"".to_owned() + &"x".repeat(1 << 20);
        let first = [call(0, Some("f"), &long), call(1, Some("g"), "")];
        let more = (0..40_000).flat_map(|_| [call(0, None, "}"), call(1, None, "x")]);
        let all = written(first.into_iter().chain(more));
        assert_eq!(all[0].len(), long.len() + 2 + 40_000);
    }
}
