//! Answers, written: as an event stream, or as one document.

mod document;

use super::{carried, thought, usage};
use crate::llm::{
    Delta, Event, Extra, FinishReason, Operation, Start, Usage,
    codec::{Asked, Encode, custom, literal, sse},
};
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use self::document::Document;

/// Writes one event stream.
///
/// All chunks have one id, one time and one model. The role is in the first chunk of each choice.
pub(super) struct Chunks {
    asked: Asked,
    custom: custom::Calls,
    head: Option<Start>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// What is to be written with the next chunk, or as one.
    open: Option<Open>,
    /// What each chunk begins with, as far as the number of its choice. Empty until the first is written.
    lead: BytesMut,
}

/// What was written of a choice.
#[derive(Clone, Copy, Default)]
struct Choice {
    begun: bool,
    finished: bool,
}

/// A chunk that is not written yet.
struct Open {
    choice: u32,
    delta: Map<String, Value>,
    text: String,
    extra: Extra,
    finish: Option<FinishReason>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    #[serde(flatten)]
    extra: Extra,
    choices: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

impl Chunks {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            custom: custom::Calls::of(&asked),
            asked,
            head: None,
            choices: Vec::new(),
            usage: None,
            open: None,
            lead: BytesMut::new(),
        }
    }

    /// Writes a chunk. The fields that are not ours stand in the first.
    fn chunk(&mut self, choices: &[Value], usage: Option<Value>, out: &mut BytesMut) {
        let start = match &mut self.head {
            Some(start) => start,
            head => head.insert(head_of(Start::default(), &self.asked)),
        };
        let extra = std::mem::take(&mut start.extra);
        let chunk = Chunk {
            id: &start.id,
            object: object(self.asked.operation, true),
            created: start.created,
            model: &start.model,
            extra,
            choices,
            // The others have it too, if one has, and it says nothing.
            usage: usage.or_else(|| self.asked.include_usage.then_some(Value::Null)),
        };
        write(&chunk, out);
    }

    /// The chunk of this choice that is not written yet; the one of another is written first.
    fn open(&mut self, choice: u32, out: &mut BytesMut) -> &mut Open {
        let fits = |open: &Open| open.choice == choice && open.finish.is_none();
        if !self.open.as_ref().is_some_and(fits) {
            self.flush(out);
        }
        self.open.get_or_insert_with(|| Open {
            choice,
            delta: Map::new(),
            text: String::new(),
            extra: Extra::new(),
            finish: None,
        })
    }

    fn flush(&mut self, out: &mut BytesMut) {
        let Some(open) = self.open.take() else {
            return;
        };
        let state = self.state(open.choice);
        let begun = state.is_none_or(|state| std::mem::replace(&mut state.begun, true));
        let mut choice = Map::new();
        choice.insert("index".into(), open.choice.into());
        if self.asked.operation == Operation::Completions {
            choice.insert("text".into(), open.text.into());
        } else {
            let mut delta = Map::new();
            if !begun {
                delta.insert("role".into(), "assistant".into());
                if !open.delta.contains_key("content") {
                    delta.insert("content".into(), Value::Null);
                }
            }
            delta.extend(open.delta);
            choice.insert("delta".into(), delta.into());
        }
        let finish = open.finish.as_ref().map(finish_reason);
        choice.insert("logprobs".into(), Value::Null);
        choice.insert("finish_reason".into(), finish.into());
        choice.extend(open.extra);
        self.chunk(&[Value::from(choice)], None, out);
    }

    /// Writes a piece as a chunk of its own, if it is one and nothing stands beside it: most are so. It
    /// answers whether it did.
    fn piece(&mut self, choice: u32, delta: &Delta, rest: &[Event], out: &mut BytesMut) -> bool {
        if self.custom.has(choice, delta) {
            return false;
        }
        let legacy = self.asked.operation == Operation::Completions;
        let key: &[u8] = match delta {
            Delta::Text(_) if legacy => br#","text":"#,
            _ if legacy => return false,
            Delta::Text(_) => br#","delta":{"content":"#,
            Delta::Reasoning(_) => br#","delta":{"reasoning_content":"#,
            Delta::Refusal(_) => br#","delta":{"refusal":"#,
            Delta::ToolCall { .. } => br#","delta":{"tool_calls":[{"index":"#,
            _ => return false,
        };
        // Unknown fields behind it may stand beside it.
        let mut deltas = rest.iter().filter_map(|event| match event {
            Event::Delta { choice, delta } => Some((*choice, delta)),
            _ => None,
        });
        let beside = matches!(deltas.next(), Some((of, Delta::Extra(_))) if of == choice);
        let begun = self.state(choice).is_none_or(|state| state.begun);
        if beside || !begun || !self.led() {
            return false;
        }
        if let Some(open) = &self.open {
            let says = !open.delta.is_empty() || !open.text.is_empty();
            if open.choice == choice && open.finish.is_none() && !says {
                return false;
            }
            self.flush(out);
        }
        out.extend_from_slice(&self.lead);
        literal::number(out, u64::from(choice));
        out.extend_from_slice(key);
        match delta {
            Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => {
                literal::string(out, text);
            }
            Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            } => {
                literal::number(out, u64::from(*index));
                if let Some(id) = id {
                    out.extend_from_slice(br#","id":"#);
                    literal::string(out, id);
                    out.extend_from_slice(br#","type":"function""#);
                }
                out.extend_from_slice(br#","function":{"#);
                if let Some(name) = name {
                    out.extend_from_slice(br#""name":"#);
                    literal::string(out, name);
                    out.extend_from_slice(b",");
                }
                out.extend_from_slice(br#""arguments":"#);
                literal::string(out, arguments);
                out.extend_from_slice(b"}}]");
            }
            _ => {}
        }
        if !legacy {
            out.extend_from_slice(b"}");
        }
        out.extend_from_slice(br#","logprobs":null,"finish_reason":null}]"#);
        if self.asked.include_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
        true
    }

    /// Whether it is known what a chunk begins with. The first has fields that the others do not have.
    fn led(&mut self) -> bool {
        let Some(start) = self.head.as_ref().filter(|start| start.extra.is_empty()) else {
            return false;
        };
        if self.lead.is_empty() {
            let lead = &mut self.lead;
            lead.extend_from_slice(br#"data: {"id":"#);
            literal::string(lead, &start.id);
            lead.extend_from_slice(br#","object":"#);
            literal::string(lead, object(self.asked.operation, true));
            lead.extend_from_slice(br#","created":"#);
            literal::number(lead, start.created);
            lead.extend_from_slice(br#","model":"#);
            literal::string(lead, &start.model);
            lead.extend_from_slice(br#","choices":[{"index":"#);
        }
        true
    }

    fn state(&mut self, choice: u32) -> Option<&mut Choice> {
        let at = choice as usize;
        if at >= 128 {
            return None;
        }
        if self.choices.len() <= at {
            self.choices.resize(at + 1, Choice::default());
        }
        self.choices.get_mut(at)
    }

    fn delta(&mut self, choice: u32, mut delta: Delta, out: &mut BytesMut) {
        if let Delta::Extra(extra) = &mut delta {
            for (index, beside) in carried::of_calls(extra) {
                self.beside_call(choice, index, beside, out);
            }
        }
        let key = match &delta {
            Delta::Text(_) => "content",
            Delta::Reasoning(_) => "reasoning_content",
            Delta::Signature(_) | Delta::Redacted(_) => "reasoning_details",
            Delta::Refusal(_) => "refusal",
            Delta::ToolCall { .. } => "tool_calls",
            Delta::Audio(_) => "audio",
            Delta::Extra(_) => "",
        };
        let legacy = self.asked.operation == Operation::Completions;
        let custom = self.custom.has(choice, &delta);
        let open = self.open(choice, out);
        // Only one thing is said in a chunk. Unknown fields stand beside it, unless they do already.
        let full = match &delta {
            Delta::Extra(extra) => extra.iter().any(|(key, value)| match value {
                Value::Object(fields) if key == "message" => {
                    fields.keys().any(|key| open.delta.contains_key(key))
                }
                _ => open.extra.contains_key(key),
            }),
            _ => !open.delta.is_empty() || !open.text.is_empty(),
        };
        if full {
            self.flush(out);
        }
        let open = self.open(choice, out);
        let value: Value = match delta {
            Delta::Text(text) if legacy => {
                open.text = text;
                return;
            }
            Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => text.into(),
            Delta::Signature(signature) => vec![thought::signature(&signature)].into(),
            Delta::Redacted(data) => vec![thought::encrypted(&data)].into(),
            Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            } => vec![tool_call(index, id, name, arguments, custom)].into(),
            Delta::Audio(audio) => audio,
            Delta::Extra(extra) => {
                spread(extra, &mut open.extra, &mut open.delta);
                return;
            }
        };
        open.delta.insert(key.into(), value);
    }

    /// What a vendor puts beside a call: with a piece of the call, or by itself.
    fn beside_call(&mut self, choice: u32, index: u64, beside: Value, out: &mut BytesMut) {
        let open = self.open(choice, out);
        let piece = open
            .delta
            .get_mut("tool_calls")
            .and_then(|calls| calls.get_mut(0));
        let piece = piece.filter(|piece| piece["index"] == index);
        if let Some(piece) = piece.and_then(Value::as_object_mut)
            && !piece.contains_key(carried::BESIDE)
        {
            piece.insert(carried::BESIDE.to_owned(), beside);
            return;
        }
        if !open.delta.is_empty() || !open.text.is_empty() {
            self.flush(out);
        }
        let open = self.open(choice, out);
        let piece = serde_json::json!({"index": index, carried::BESIDE: beside});
        open.delta.insert("tool_calls".into(), vec![piece].into());
    }
}

impl Encode for Chunks {
    fn events(&mut self, events: Vec<Event>, out: &mut BytesMut) {
        let mut events = events.into_iter();
        while let Some(event) = events.next() {
            match event {
                Event::Start(start) => {
                    if self.head.is_none() {
                        self.head = Some(head_of(start, &self.asked));
                    }
                }
                Event::Delta { choice, delta } => {
                    if !self.piece(choice, &delta, events.as_slice(), out) {
                        self.delta(choice, delta, out);
                    }
                }
                Event::Finish { choice, reason } => {
                    let finished = self
                        .state(choice)
                        .is_none_or(|state| std::mem::replace(&mut state.finished, true));
                    if finished {
                        continue;
                    }
                    // It says nothing else, beside unknown fields.
                    let open = self.open(choice, out);
                    if !open.delta.is_empty() || !open.text.is_empty() {
                        self.flush(out);
                    }
                    self.open(choice, out).finish = Some(reason);
                }
                Event::Usage(usage) => self.usage = Some(usage),
                Event::Embedding { .. } | Event::Tokens(_) | Event::Ranked(_) | Event::Opaque => {}
            }
        }
        self.flush(out);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        for choice in (0..).take(self.choices.len()) {
            let unfinished = |state: &mut Choice| state.begun && !state.finished;
            if self.state(choice).is_some_and(unfinished) {
                let reason = FinishReason::Stop;
                self.events(vec![Event::Finish { choice, reason }], out);
            }
        }
        if let (true, Some(usage)) = (self.asked.include_usage, self.usage) {
            self.chunk(&[], Some(usage::write(&usage)), out);
        }
        sse::write_event(out, None, b"[DONE]");
    }
}

/// Writes an event. JSON has no line breaks outside of its strings, nor within them unescaped.
fn write(chunk: &impl Serialize, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(b"data: ");
    if serde_json::to_writer((&mut *out).writer(), chunk).is_err() {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\n\n");
}

/// The head with what was missing.
fn head_of(mut start: Start, asked: &Asked) -> Start {
    if start.id.is_empty() {
        let prefix = match asked.operation {
            Operation::Completions => "cmpl",
            _ => "chatcmpl",
        };
        start.id = format!("{prefix}-{}", crate::exchange::fresh_id());
    }
    if start.model.is_empty() {
        start.model = (*asked.model).to_owned();
    }
    if start.created == 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        start.created = now.map_or(0, |now| now.as_secs());
    }
    start
}

fn object(operation: Operation, chunk: bool) -> &'static str {
    match (operation, chunk) {
        (Operation::Completions, _) => "text_completion",
        (_, true) => "chat.completion.chunk",
        (_, false) => "chat.completion",
    }
}

fn finish_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        // The protocol has no word for it. The vendor's own stands beside.
        FinishReason::Paused => "stop",
    }
}

fn tool_call(
    index: u32,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
    custom: bool,
) -> Value {
    let (kind, key) = match custom {
        true => ("custom", "input"),
        false => ("function", "arguments"),
    };
    let mut call = Map::new();
    call.insert("index".into(), index.into());
    if let Some(id) = id {
        call.insert("id".into(), id.into());
        call.insert("type".into(), kind.into());
    }
    let mut function = Map::new();
    if let Some(name) = name {
        function.insert("name".into(), name.into());
    }
    function.insert(key.into(), arguments.into());
    call.insert(kind.into(), function.into());
    call.into()
}

/// Unknown fields of a choice stand beside its message, those under `message` within.
fn spread(extra: Extra, choice: &mut Extra, message: &mut Map<String, Value>) {
    for (key, value) in extra {
        match (&*key, value) {
            ("message", Value::Object(fields)) => {
                for (key, value) in fields {
                    if !OWN.contains(&&*key) {
                        message.insert(key, value);
                    }
                }
            }
            ("index" | "finish_reason" | "delta" | "message" | "text", _) => {}
            (_, value) => {
                choice.insert(key, value);
            }
        }
    }
}

/// Fields of a message that are written from events.
const OWN: [&str; 5] = [
    "role",
    "content",
    "refusal",
    "tool_calls",
    "reasoning_content",
];
