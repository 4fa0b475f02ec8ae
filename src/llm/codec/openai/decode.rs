//! Answers, read: what vendors make of the protocol.

mod plain;

use super::{
    carried, embed, thought,
    wire::{Call, Choice, Chunk, Function, Said},
};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start,
    codec::{Decode, Framing, fault, rerank, sse},
};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CHOICES: usize = 128;
const MOST_CALLS: usize = 1024;

/// Reads one answer.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    /// The stream has begun, and a byte order mark is none any more.
    begun: bool,
    /// `[DONE]` came.
    done: bool,
    head: Head,
    choices: Vec<State>,
}

/// The head of the answer, until it is told.
enum Head {
    Open(Start),
    Told { seed: u64 },
}

/// What was read of one choice.
#[derive(Default)]
struct State {
    calls: Vec<Known>,
    /// A thought was told in a field of its own.
    thinks: bool,
    finish: Option<FinishReason>,
}

/// A call of a tool that has begun.
struct Known {
    index: Option<i64>,
    id: String,
    name: String,
}

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            begun: false,
            done: false,
            head: Head::Open(Start::default()),
            choices: Vec::new(),
        }
    }

    fn data(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        if self.operation == Operation::Embeddings {
            return embed::decode(data, events);
        }
        if self.operation == Operation::Rerank {
            let whole = serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
            return rerank::decode(whole, events);
        }
        match self.plainly(data, events) {
            Some(()) => Ok(()),
            None => self.chunk(data, events),
        }
    }

    /// Reads a chunk that adds text to a choice that has begun. `None`: it is more than that.
    fn plainly(&mut self, data: &[u8], events: &mut Vec<Event>) -> Option<()> {
        let told = matches!(self.head, Head::Told { .. });
        if !told || (self.operation, self.framing) != (Operation::Chat, Framing::Sse) {
            return None;
        }
        let plain::Plain {
            choice,
            said,
            usage,
        } = plain::read(data)?;
        let thinks = said.thought.as_ref().is_some_and(|text| !text.is_empty());
        self.choices.get_mut(choice as usize)?.thinks |= thinks;
        let mut say = |delta: fn(String) -> Delta, text: Option<Cow<'_, str>>| {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                let delta = delta(text.into_owned());
                events.push(Event::Delta { choice, delta });
            }
        };
        say(Delta::Reasoning, said.thought);
        say(Delta::Text, said.text);
        say(Delta::Refusal, said.refusal);
        events.extend(usage.map(Event::Usage));
        Some(())
    }

    fn chunk(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let chunk: Chunk =
            serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        let failed = chunk.is_error();
        self.tell_head(data, &chunk, failed, events)?;
        for choice in chunk.choices {
            self.choice(choice, events);
        }
        let usage = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage));
        events.extend(usage.map(|usage| Event::Usage(usage.into())));
        if failed {
            let whole = serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
            return Err(fault::within(&whole).into());
        }
        Ok(())
    }

    /// The head is that of the first chunk that says anything: before it Azure sends one that has
    /// neither id nor model, but fields of its own.
    fn tell_head(
        &mut self,
        data: &[u8],
        chunk: &Chunk,
        failed: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let Head::Open(start) = &mut self.head else {
            return Ok(());
        };
        let fields = serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        head(fields, start);
        let says = !chunk.choices.is_empty() || chunk.usage.is_some();
        if (start.id.is_empty() && !says) || (failed && chunk.choices.is_empty()) {
            return Ok(());
        }
        let mut hasher = DefaultHasher::new();
        (&start.id, &start.model, start.created).hash(&mut hasher);
        let seed = hasher.finish();
        if let Head::Open(start) = std::mem::replace(&mut self.head, Head::Told { seed }) {
            events.push(Event::Start(start));
        }
        Ok(())
    }

    fn choice(&mut self, wire: Choice, events: &mut Vec<Event>) {
        let choice = wire.index.unwrap_or(0);
        let at = choice as usize;
        if at >= MOST_CHOICES {
            return;
        }
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, State::default);
        }
        let mut deltas = Vec::new();
        // A message beside a delta is the sum of what came, and nothing new.
        let said = match self.framing {
            Framing::Sse => wire.delta,
            _ => wire.message,
        };
        if let Some(said) = said {
            self.said(at, said, &mut deltas);
        }
        if let (Operation::Completions, Some(text)) = (self.operation, wire.text) {
            deltas.push(Delta::Text(text.read().0));
        }
        let extra = present(wire.extra);
        if !extra.is_empty() {
            deltas.push(Delta::Extra(extra));
        }
        deltas.retain(says_something);
        events.extend(
            deltas
                .into_iter()
                .map(|delta| Event::Delta { choice, delta }),
        );
        if let Some(reason) = wire.finish_reason.as_deref().map(finish_reason) {
            let state = &mut self.choices[at];
            if state.finish.as_ref() != Some(&reason) {
                state.finish = Some(reason.clone());
                events.push(Event::Finish { choice, reason });
            }
        }
    }

    fn said(&mut self, choice: usize, said: Said, deltas: &mut Vec<Delta>) {
        let mut extra = present(said.extra);
        let details = said.reasoning_details.filter(|details| !details.is_null());
        let own = details.as_ref().and_then(thought::read);
        // The same thought may stand in several places. It is read in one.
        if !own.as_deref().is_some_and(thought::have_text) {
            let thoughts = said.reasoning_content.or(said.reasoning);
            let mut text = thoughts.map(|text| text.read().0).unwrap_or_default();
            let state = &mut self.choices[choice];
            state.thinks |= !text.is_empty();
            if let (None, Some(details), false) = (&own, &details, state.thinks) {
                text = carried::text(details);
            }
            deltas.push(Delta::Reasoning(text));
        }
        // What proves a thought stands right behind it, and what proves a message before it.
        match (own, details) {
            (Some(own), _) => deltas.extend(own.into_iter().flat_map(proofs)),
            (None, Some(details)) => deltas.push(carried::told_details(details)),
            (None, None) => {}
        }
        deltas.extend(carried::beside(&mut extra).map(carried::told));
        if let Some(content) = said.content {
            let (text, thoughts) = content.read();
            deltas.extend([Delta::Reasoning(thoughts), Delta::Text(text)]);
        }
        deltas.extend(said.refusal.map(|text| Delta::Refusal(text.read().0)));
        let legacy = said.function_call.map(|function| Call {
            index: Some(-1),
            function: Some(function),
            ..Call::default()
        });
        for mut call in said.tool_calls.into_iter().chain(legacy) {
            let beside = call.extra_content.take();
            let Some(call) = self.call(choice, call) else {
                continue;
            };
            let beside = match call {
                Delta::ToolCall { index, .. } => {
                    beside.as_ref().map(|it| carried::told_call(index, it))
                }
                _ => None,
            };
            deltas.push(call);
            deltas.extend(beside);
        }
        deltas.extend(
            said.audio
                .filter(|audio| !audio.is_null())
                .map(Delta::Audio),
        );
        if !extra.is_empty() {
            let extra = Map::from_iter([("message".to_owned(), Value::Object(extra))]);
            deltas.push(Delta::Extra(extra));
        }
    }

    /// Which call this piece belongs to. Vendors leave out the index, give all calls the same one, or
    /// leave out the id.
    fn call(&mut self, choice: usize, call: Call) -> Option<Delta> {
        let Head::Told { seed } = self.head else {
            return None;
        };
        let calls = &mut self.choices[choice].calls;
        let id = call.id.filter(|id| !id.is_empty());
        let Function { name, arguments } = call.function.or(call.custom).unwrap_or_default();
        let name = name.filter(|name| !name.is_empty());
        let place = match (call.index, &id) {
            (Some(index), id) => calls
                .iter()
                .rposition(|known| known.index == Some(index))
                .filter(|at| match id {
                    // Another id under the same index is another call.
                    Some(id) => name.is_none() || calls[*at].id == *id,
                    None => true,
                }),
            (None, Some(id)) => calls.iter().rposition(|known| known.id == *id),
            (None, None) if name.is_some() => None,
            (None, None) => calls.len().checked_sub(1),
        };
        let (at, new) = match place {
            Some(at) => (at, false),
            None if calls.len() >= MOST_CALLS => return None,
            None => {
                let at = calls.len();
                let id = id.clone().unwrap_or_else(|| made_id(seed, choice, at));
                let name = String::new();
                calls.push(Known {
                    index: call.index,
                    id,
                    name,
                });
                (at, true)
            }
        };
        let known = &mut calls[at];
        // Some repeat the name in every piece.
        let name = name.filter(|name| known.name != *name);
        if let Some(name) = &name {
            known.name.push_str(name);
        }
        let later = id.filter(|id| *id != known.id);
        let id = if new { Some(known.id.clone()) } else { later };
        Some(Delta::ToolCall {
            index: u32::try_from(at).ok()?,
            id,
            name,
            arguments: match arguments {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
            },
        })
    }
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let first = !std::mem::replace(&mut self.begun, true);
        let raw = if first { sse::without_bom(raw) } else { raw };
        if self.framing == Framing::Json {
            return self.data(raw, events);
        }
        for event in sse::events(raw) {
            let data = event.data.trim_ascii();
            if self.done || data.is_empty() {
                continue;
            }
            if data == b"[DONE]" {
                self.done = true;
            } else if event.event == Some(b"error") {
                return Err(fault::within(&fault::told(data)).into());
            } else {
                self.data(data, events)?;
            }
        }
        Ok(())
    }
}

/// Takes the head from the fields of a chunk.
pub(super) fn head(fields: Map<String, Value>, start: &mut Start) {
    for (key, value) in fields {
        match (&*key, value) {
            // Padding, and what is read elsewhere.
            ("choices" | "usage" | "error" | "object" | "x_groq" | "data", _) => {}
            ("obfuscation" | "p", _) | (_, Value::Null) => {}
            ("id", Value::String(id)) if !id.is_empty() => start.id = id,
            ("model", Value::String(model)) if !model.is_empty() => start.model = model,
            ("created", value) => start.created = value.as_u64().unwrap_or(start.created),
            ("id" | "model", _) => {}
            (_, value) => {
                start.extra.insert(key, value);
            }
        }
    }
}

/// Fields that say something.
fn present(mut extra: Extra) -> Extra {
    extra.retain(|_, value| !value.is_null());
    extra
}

fn says_something(delta: &Delta) -> bool {
    match delta {
        Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) => !text.is_empty(),
        _ => true,
    }
}

fn proofs(detail: thought::Detail) -> Vec<Delta> {
    match detail {
        thought::Detail::Text { text, signature } => {
            let text = text.map(Delta::Reasoning);
            text.into_iter()
                .chain(signature.map(Delta::Signature))
                .collect()
        }
        thought::Detail::Encrypted(data) => vec![Delta::Redacted(data)],
    }
}

/// Vendors say it in the words of other protocols, too. What nobody knows is an end like any other.
fn finish_reason(reason: &str) -> FinishReason {
    let is = |words: &[&str]| words.iter().any(|word| reason.eq_ignore_ascii_case(word));
    if is(&["length", "max_tokens", "max_output_tokens", "model_length"]) {
        FinishReason::Length
    } else if is(&["tool_calls", "function_call", "tool_use", "tool_call"]) {
        FinishReason::ToolCalls
    } else if is(&[
        "content_filter",
        "safety",
        "refusal",
        "guardrail_intervened",
    ]) {
        FinishReason::ContentFilter
    } else {
        FinishReason::Stop
    }
}

/// A name for a call whose vendor gives none. It is the same however often the answer is read.
fn made_id(seed: u64, choice: usize, call: usize) -> String {
    format!("call_{seed:016x}{choice}_{call}")
}
