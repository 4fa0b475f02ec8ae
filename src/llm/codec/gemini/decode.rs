//! Answers, read.

mod partial;
mod plain;

use self::partial::Partial;
use super::{array, embed, usage};
use crate::llm::{
    Delta, Error, Event, Extra, FinishReason, Operation, Start, VendorError, VendorFault,
    codec::{Decode, Framing, fault, sse},
};
use serde_json::{Map, Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CHOICES: usize = 128;
const MOST_CALLS: u32 = 1024;

/// Reads one answer.
pub(super) struct Decoder {
    operation: Operation,
    framing: Framing,
    /// The stream has begun, and a byte order mark is none any more.
    begun: bool,
    /// Names of calls are made of it. `None`: the head was not told.
    seed: Option<u64>,
    choices: Vec<State>,
}

/// What was read of one choice.
#[derive(Default)]
struct State {
    calls: u32,
    open: Option<Partial>,
    finish: Option<FinishReason>,
}

impl Decoder {
    pub(super) fn new(operation: Operation, framing: Framing) -> Self {
        Self {
            operation,
            framing,
            begun: false,
            seed: None,
            choices: Vec::new(),
        }
    }

    fn chunk(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        match self.plainly(data, events) {
            Some(()) => Ok(()),
            None => self.any(data, events),
        }
    }

    /// Reads a chunk that adds text to a choice that goes on. `None`: it is more than that.
    fn plainly(&mut self, data: &[u8], events: &mut Vec<Event>) -> Option<()> {
        let counts = matches!(
            self.operation,
            Operation::CountTokens | Operation::Embeddings
        );
        if counts || self.seed.is_none() {
            return None;
        }
        let plain::Plain {
            choice,
            part,
            usage,
        } = plain::read(data)?;
        let state = self.choices.get(choice as usize)?;
        if state.finish.is_some() {
            return None;
        }
        if let Some(plain::Part { text, thought }) = part {
            let text = text.into_owned();
            let delta = match thought {
                true => Delta::Reasoning(text),
                false => Delta::Text(text),
            };
            events.push(Event::Delta { choice, delta });
        }
        events.extend(usage.map(Event::Usage));
        Some(())
    }

    /// Any chunk, or a document.
    fn any(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let whole: Value =
            serde_json::from_slice(data).map_err(|error| fault::malformed(&error))?;
        let pieces = match whole {
            // A stream that was asked for in one piece.
            Value::Array(all) => all,
            whole => vec![whole],
        };
        for piece in pieces {
            self.piece(piece, events)?;
        }
        Ok(())
    }

    fn piece(&mut self, mut whole: Value, events: &mut Vec<Event>) -> Result<(), Error> {
        if whole.get("error").is_some_and(|error| !error.is_null()) {
            return Err(fault::within(&whole).into());
        }
        match self.operation {
            Operation::CountTokens => {
                if let Some(tokens) = whole.get("totalTokens").and_then(Value::as_u64) {
                    events.push(Event::Tokens(tokens));
                    return Ok(());
                }
                return Err(VendorError::new(VendorFault::Malformed).into());
            }
            Operation::Embeddings => return embed::decode(&whole, events),
            _ => {}
        }
        let Some(fields) = whole.as_object_mut() else {
            return Ok(());
        };
        let candidates = fields.remove("candidates");
        let usage = fields.remove("usageMetadata");
        let feedback = fields.remove("promptFeedback").filter(Value::is_object);
        self.head(std::mem::take(fields), events);
        let mut failed = None;
        let candidates = match candidates {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        if let Some(feedback) = feedback {
            let blocked = feedback.get("blockReason").is_some() && candidates.is_empty();
            let extra = Extra::from_iter([("promptFeedback".to_owned(), feedback)]);
            say(0, Delta::Extra(extra), events);
            if blocked {
                let reason = FinishReason::ContentFilter;
                events.push(Event::Finish { choice: 0, reason });
            }
        }
        for (at, candidate) in (0..).zip(candidates) {
            if let Value::Object(candidate) = candidate {
                failed = failed.or(self.candidate(at, candidate, events));
            }
        }
        events.extend(usage.as_ref().and_then(usage::read).map(Event::Usage));
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The head is that of the first chunk.
    fn head(&mut self, mut fields: Map<String, Value>, events: &mut Vec<Event>) {
        if self.seed.is_some() {
            return;
        }
        let mut text = |key: &str| match fields.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let mut start = Start::new(text("responseId"), text("modelVersion"), 0);
        start.extra = fields;
        let mut hasher = DefaultHasher::new();
        match start.id.is_empty() {
            true => crate::exchange::fresh_id().hash(&mut hasher),
            false => (&start.id, &start.model).hash(&mut hasher),
        }
        self.seed = Some(hasher.finish());
        events.push(Event::Start(start));
    }

    /// An error that a candidate ends with.
    fn candidate(
        &mut self,
        at: u32,
        mut fields: Map<String, Value>,
        events: &mut Vec<Event>,
    ) -> Option<Error> {
        let index = fields.remove("index").and_then(|index| index.as_u64());
        let choice = index.map_or(at, |index| u32::try_from(index).unwrap_or(u32::MAX));
        let place = choice as usize;
        if place >= MOST_CHOICES {
            return None;
        }
        if self.choices.len() <= place {
            self.choices.resize_with(place + 1, State::default);
        }
        let content = fields.remove("content");
        let told = fields.remove("finishReason").and_then(named);
        if let Some(Value::Array(parts)) = content.and_then(|mut content| {
            let parts = content.get_mut("parts")?;
            Some(parts.take())
        }) {
            for part in parts {
                if let Value::Object(part) = part {
                    self.part(choice, part, events);
                }
            }
        }
        if told.as_deref() == Some("MALFORMED_FUNCTION_CALL") {
            let words = fields.get("finishMessage").and_then(Value::as_str);
            let words = words.unwrap_or("The model wrote a call of a tool that cannot be read.");
            let error = VendorError::new(VendorFault::Failed).with_message(words);
            return Some(error.with_code("MALFORMED_FUNCTION_CALL").into());
        }
        if told.is_some() {
            self.close(choice, events);
        }
        fields.retain(|_, value| !value.is_null());
        let (reason, plain) = match told.as_deref() {
            None => (None, true),
            Some("FINISH_REASON_UNSPECIFIED") => (None, true),
            Some("STOP") => (Some(FinishReason::Stop), true),
            Some("MAX_TOKENS") => (Some(FinishReason::Length), true),
            Some("SAFETY") => (Some(FinishReason::ContentFilter), true),
            Some(word) if FILTERED.contains(&word) => (Some(FinishReason::ContentFilter), false),
            // What nobody knows is an end like any other.
            Some(_) => (Some(FinishReason::Stop), false),
        };
        if let Some(told) = told.filter(|_| !plain) {
            fields.insert("native_finish_reason".into(), told.into());
        }
        if !fields.is_empty() {
            say(choice, Delta::Extra(fields), events);
        }
        let state = &mut self.choices[place];
        // It says that it stops where it waits for tools, also if it said so before.
        let reason = match reason.or_else(|| state.finish.clone()) {
            Some(FinishReason::Stop) if state.calls > 0 => FinishReason::ToolCalls,
            Some(reason) => reason,
            None => return None,
        };
        if state.finish.as_ref() != Some(&reason) {
            state.finish = Some(reason.clone());
            events.push(Event::Finish { choice, reason });
        }
        None
    }

    fn part(&mut self, choice: u32, mut part: Map<String, Value>, events: &mut Vec<Event>) {
        let signature = match part.remove("thoughtSignature") {
            Some(Value::String(signature)) if !signature.is_empty() => Some(signature),
            _ => None,
        };
        let prove = |signature: Option<String>, events: &mut Vec<Event>| {
            if let Some(signature) = signature {
                say(choice, Delta::Signature(signature), events);
            }
        };
        if let Some(Value::String(text)) = part.get_mut("text").map(Value::take) {
            if part.get("thought") == Some(&Value::Bool(true)) {
                say(choice, Delta::Reasoning(text), events);
                prove(signature, events);
            } else {
                prove(signature, events);
                say(choice, Delta::Text(text), events);
            }
        } else if let Some(Value::Object(call)) = part.remove("functionCall") {
            prove(signature, events);
            self.call(choice, &call, events);
        } else if part.is_empty() {
            prove(signature, events);
        } else {
            if let Some(signature) = signature {
                part.insert("thoughtSignature".into(), signature.into());
            }
            let extra = json!({"content_parts": [part]});
            let extra = Extra::from_iter([("message".to_owned(), extra)]);
            say(choice, Delta::Extra(extra), events);
        }
    }

    fn call(&mut self, choice: u32, call: &Map<String, Value>, events: &mut Vec<Event>) {
        let text = |key: &str| {
            let text = call.get(key).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let more = call.get("willContinue") == Some(&Value::Bool(true));
        let pieces = call.get("partialArgs").and_then(Value::as_array);
        let Some(name) = text("name") else {
            // It goes on, or is at its end.
            let Some(state) = self.choices.get_mut(choice as usize) else {
                return;
            };
            if let Some(open) = &mut state.open {
                pieces
                    .into_iter()
                    .flatten()
                    .for_each(|piece| open.push(piece));
                if !more {
                    self.close(choice, events);
                }
            }
            return;
        };
        self.close(choice, events);
        let seed = self.seed.unwrap_or(0);
        let Some(state) = self.choices.get_mut(choice as usize) else {
            return;
        };
        let index = state.calls;
        if index >= MOST_CALLS {
            return;
        }
        state.calls += 1;
        let id = text("id").unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            (seed, choice, index).hash(&mut hasher);
            format!("call_{:016x}", hasher.finish())
        });
        let args = call.get("args").filter(|args| args.is_object());
        let streamed = pieces.is_some() || more;
        let arguments = match args {
            _ if streamed => String::new(),
            Some(args) => args.to_string(),
            None => "{}".to_owned(),
        };
        let (id, name) = (Some(id), Some(name));
        let delta = Delta::ToolCall {
            index,
            id,
            name,
            arguments,
        };
        say(choice, delta, events);
        if streamed {
            let mut open = Partial::new(index, args.cloned());
            pieces
                .into_iter()
                .flatten()
                .for_each(|piece| open.push(piece));
            state.open = Some(open);
            if !more {
                self.close(choice, events);
            }
        }
    }

    /// Tells the arguments of a call that came in pieces.
    fn close(&mut self, choice: u32, events: &mut Vec<Event>) {
        let state = self.choices.get_mut(choice as usize);
        if let Some(open) = state.and_then(|state| state.open.take()) {
            let (index, arguments) = open.finish();
            let delta = Delta::ToolCall {
                index,
                id: None,
                name: None,
                arguments,
            };
            say(choice, delta, events);
        }
    }
}

/// Words for an answer that was held back.
const FILTERED: [&str; 9] = [
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "JAILBREAK",
];

/// Vertex has numbers for the words where it is asked for them.
fn named(told: Value) -> Option<String> {
    const WORDS: [&str; 10] = [
        "FINISH_REASON_UNSPECIFIED",
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
    ];
    match told {
        Value::String(word) => Some(word),
        Value::Number(number) => {
            let word = usize::try_from(number.as_u64()?).ok();
            let word = word.and_then(|at| WORDS.get(at)).unwrap_or(&"OTHER");
            Some((*word).to_owned())
        }
        _ => None,
    }
}

impl Decode for Decoder {
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let first = !std::mem::replace(&mut self.begun, true);
        let raw = if first { sse::without_bom(raw) } else { raw };
        match self.framing {
            Framing::Json | Framing::EventStream | Framing::Ndjson | Framing::Opaque => {
                self.chunk(raw, events)
            }
            Framing::Array => array::elements(raw).try_for_each(|one| self.chunk(one, events)),
            Framing::Sse => {
                for event in sse::events(raw) {
                    let data = event.data.trim_ascii();
                    // Some gateways end it as OpenAI does.
                    if data.is_empty() || data == b"[DONE]" {
                        continue;
                    }
                    if event.event == Some(b"error") {
                        return Err(fault::within(&fault::told(data)).into());
                    }
                    self.chunk(data, events)?;
                }
                Ok(())
            }
        }
    }
}

fn say(choice: u32, delta: Delta, events: &mut Vec<Event>) {
    let says = match &delta {
        Delta::Text(text) | Delta::Reasoning(text) => !text.is_empty(),
        _ => true,
    };
    if says {
        events.push(Event::Delta { choice, delta });
    }
}
