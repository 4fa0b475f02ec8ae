//! Answers, written: as a stream of events or of elements of an array, or as one document.
//!
//! A call is written when it is whole, and why an answer ended at its end, with what was used.

use super::{embed, proof, usage};
use crate::llm::{
    Completion, Delta, Event, Extra, FinishReason, Operation, Start, Usage,
    codec::{
        Asked, Encode, Framing, literal, sse,
        translation::{object_of, put},
    },
};
use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

/// What is beyond is left out, as in [`Completion`].
const MOST_CHOICES: usize = 128;
const MOST_CALLS: usize = 1024;

/// What was said of one choice.
#[derive(Default)]
struct Choice {
    /// Calls that are not written yet; those before them are.
    calls: Vec<Call>,
    written: usize,
    /// What proves the thought before the next part.
    proof: Option<String>,
    thinks: bool,
    said: bool,
    refuses: bool,
    finish: Option<FinishReason>,
    native: Option<String>,
    extra: Extra,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    proof: Option<String>,
}

impl Choice {
    /// What is said, if that is all there is to it, and whether it is thought: most pieces are so, and
    /// are a part of their own.
    fn text<'a>(&mut self, delta: &'a Delta) -> Option<(&'a str, bool)> {
        let (text, thinks) = match delta {
            Delta::Text(text) | Delta::Refusal(text) if self.proof.is_none() => (text, false),
            Delta::Reasoning(text) => (text, true),
            _ => return None,
        };
        if text.is_empty() {
            return None;
        }
        self.refuses |= matches!(delta, Delta::Refusal(_));
        self.thinks = thinks;
        self.said = true;
        Some((text, thinks))
    }

    /// The parts that can be written of it.
    fn delta(&mut self, delta: Delta, parts: &mut Vec<Value>) {
        let thinks = std::mem::take(&mut self.thinks);
        self.refuses |= matches!(&delta, Delta::Refusal(text) if !text.is_empty());
        match delta {
            Delta::Text(text) | Delta::Refusal(text) if !text.is_empty() => {
                let mut part = json!({"text": text});
                if let Some(proof) = self.proof.take() {
                    part["thoughtSignature"] = proof.into();
                }
                parts.push(part);
            }
            Delta::Reasoning(text) => {
                self.thinks = true;
                if !text.is_empty() {
                    parts.push(json!({"text": text, "thought": true}));
                }
            }
            Delta::Signature(signature) => {
                let signature = proof::write(&signature);
                if thinks && proof::is_envelope_written(&signature) {
                    parts.push(thought(&signature));
                } else if let Some(before) = self.proof.replace(signature) {
                    parts.push(json!({"text": "", "thoughtSignature": before}));
                }
            }
            Delta::Redacted(data) => parts.push(thought(&proof::write_redacted(&data))),
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
                    self.calls[at].proof = self.proof.take();
                }
                let call = &mut self.calls[at];
                if let Some(id) = id.filter(|id| !id.is_empty()) {
                    call.id = id;
                }
                call.name.push_str(&name.unwrap_or_default());
                call.arguments.push_str(&arguments);
            }
            Delta::Extra(extra) => self.extra(extra, parts),
            _ => {}
        }
        self.said |= !parts.is_empty() || !self.calls.is_empty();
    }

    fn extra(&mut self, mut extra: Extra, parts: &mut Vec<Value>) {
        if let Some(Value::Object(mut message)) = extra.remove("message")
            && let Some(Value::Array(own)) = message.remove("content_parts")
        {
            parts.extend(own);
        }
        if let Some(Value::String(native)) = extra.remove("native_finish_reason")
            && native
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        {
            self.native = Some(native);
        }
        for key in OWN {
            if let Some(value) = extra.remove(key) {
                self.extra.insert(key.into(), value);
            }
        }
    }

    /// The calls that were not written.
    fn calls(&mut self, parts: &mut Vec<Value>) {
        for call in self.calls.iter_mut().skip(self.written) {
            let mut function = Map::new();
            put(
                &mut function,
                "id",
                Some(&*call.id).filter(|id| !id.is_empty()),
            );
            function.insert("name".into(), std::mem::take(&mut call.name).into());
            function.insert("args".into(), object_of(&call.arguments).0);
            let mut part = json!({"functionCall": function});
            if let Some(proof) = call.proof.take() {
                part["thoughtSignature"] = proof.into();
            }
            parts.push(part);
        }
        self.written = self.calls.len();
    }

    /// The last parts.
    fn rest(&mut self, parts: &mut Vec<Value>) {
        self.calls(parts);
        if let Some(proof) = self.proof.take() {
            parts.push(json!({"text": "", "thoughtSignature": proof}));
        }
    }

    fn reason(&self) -> &str {
        match (&self.native, &self.finish) {
            (Some(native), _) => native,
            (_, Some(FinishReason::Length)) => "MAX_TOKENS",
            (_, Some(FinishReason::ContentFilter)) => "SAFETY",
            // Others tell a refusal by its words alone.
            _ if self.refuses => "SAFETY",
            _ => "STOP",
        }
    }

    /// Whether the question itself was held back.
    fn is_blocked(&self) -> bool {
        let blocked = |feedback: &Value| feedback.get("blockReason").is_some();
        !self.said && self.extra.get("promptFeedback").is_some_and(blocked)
    }

    /// The last of it.
    fn candidate(&mut self, index: u32, mut parts: Vec<Value>) -> Value {
        if parts.is_empty() {
            parts.push(json!({"text": ""}));
        }
        let mut out = json!({
            "content": {"parts": parts, "role": "model"},
            "finishReason": self.reason(),
            "index": index,
        });
        for (key, value) in std::mem::take(&mut self.extra) {
            if key != "promptFeedback" {
                out[key] = value;
            }
        }
        out
    }
}

/// Fields of a candidate, and the one beside it, that have no place in the model of this crate.
const OWN: [&str; 11] = [
    "promptFeedback",
    "safetyRatings",
    "citationMetadata",
    "groundingMetadata",
    "groundingAttributions",
    "urlContextMetadata",
    "urlRetrievalMetadata",
    "avgLogprobs",
    "logprobsResult",
    "tokenCount",
    "finishMessage",
];

fn thought(signature: &str) -> Value {
    json!({"text": "", "thought": true, "thoughtSignature": signature})
}

/// What is known of an answer beside its choices.
struct Head {
    asked: Asked,
    start: Option<Start>,
    usage: Option<Usage>,
    choices: Vec<Choice>,
}

impl Head {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            start: None,
            usage: None,
            choices: Vec::new(),
        }
    }

    fn choice(&mut self, index: u32) -> Option<&mut Choice> {
        let at = index as usize;
        if at >= MOST_CHOICES {
            return None;
        }
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Choice::default);
        }
        self.choices.get_mut(at)
    }

    /// Keeps what an event says, and gives the parts that can be written of it.
    fn take(&mut self, event: Event) -> Option<(u32, Vec<Value>)> {
        match event {
            Event::Start(start) => {
                self.start.get_or_insert(start);
            }
            Event::Delta { choice, delta } => {
                let mut parts = Vec::new();
                self.choice(choice)?.delta(delta, &mut parts);
                return Some((choice, parts));
            }
            Event::Finish { choice, reason } => {
                let mut parts = Vec::new();
                let state = self.choice(choice)?;
                state.finish.get_or_insert(reason);
                state.calls(&mut parts);
                return Some((choice, parts));
            }
            Event::Usage(usage) => self.usage = Some(usage),
            _ => {}
        }
        None
    }

    /// The answer's name and its model, with what was missing.
    fn named(&mut self) -> &Start {
        let start = self.start.get_or_insert_with(Start::default);
        if start.id.is_empty() {
            start.id = crate::exchange::fresh_id().into();
        }
        if start.model.is_empty() {
            start.model = (*self.asked.model).to_owned();
        }
        start
    }

    fn answer(&mut self, candidates: Vec<Value>, last: bool) -> Value {
        let mut out = Map::new();
        if !candidates.is_empty() {
            out.insert("candidates".into(), candidates.into());
        }
        let mut blocked = self.choices.iter().filter(|choice| choice.is_blocked());
        if let Some(choice) = blocked.next().filter(|_| last) {
            let feedback = choice.extra.get("promptFeedback").cloned();
            put(&mut out, "promptFeedback", feedback);
        }
        if let Some(usage) = self.usage.filter(|_| last) {
            out.insert("usageMetadata".into(), usage::write(&usage));
        }
        let start = self.named();
        out.insert("modelVersion".into(), (&*start.model).into());
        out.insert("responseId".into(), (&*start.id).into());
        out.into()
    }

    /// The end of every choice, with these parts before it.
    fn ends(&mut self, mut parts: Vec<Vec<Value>>) -> Vec<Value> {
        parts.resize_with(self.choices.len(), Vec::new);
        let choices = (0..).zip(&mut self.choices).zip(parts);
        let open = choices.filter(|((_, choice), _)| !choice.is_blocked());
        open.map(|((index, choice), mut parts)| {
            choice.rest(&mut parts);
            choice.candidate(index, parts)
        })
        .collect()
    }
}

/// Writes one stream.
pub(super) struct Stream {
    head: Head,
    count: usize,
    /// What stands behind the candidates of each answer, and the end of it. Empty until the first.
    tail: BytesMut,
}

impl Stream {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            head: Head::new(asked),
            count: 0,
            tail: BytesMut::new(),
        }
    }

    /// Writes an answer with one part, of text.
    fn text(&mut self, index: u32, text: &str, thinks: bool, out: &mut BytesMut) {
        let array = self.head.asked.framing == Framing::Array;
        if self.tail.is_empty() {
            let start = self.head.named();
            self.tail.extend_from_slice(br#"}],"modelVersion":"#);
            literal::string(&mut self.tail, &start.model);
            self.tail.extend_from_slice(br#","responseId":"#);
            literal::string(&mut self.tail, &start.id);
            self.tail
                .extend_from_slice(if array { b"}" } else { b"}\n\n" });
        }
        out.extend_from_slice(match array {
            true if self.count == 0 => b"[",
            true => b",",
            false => b"data: ",
        });
        out.extend_from_slice(br#"{"candidates":[{"content":{"parts":[{"text":"#);
        literal::string(out, text);
        if thinks {
            out.extend_from_slice(br#","thought":true"#);
        }
        out.extend_from_slice(br#"}],"role":"model"},"index":"#);
        literal::number(out, u64::from(index));
        out.extend_from_slice(&self.tail);
        self.count += 1;
    }

    fn write(&mut self, answer: &Value, out: &mut BytesMut) {
        let text = answer.to_string();
        if self.head.asked.framing == Framing::Array {
            out.extend_from_slice(if self.count == 0 { b"[" } else { b"," });
            out.extend_from_slice(text.as_bytes());
        } else {
            sse::write_event(out, None, text.as_bytes());
        }
        self.count += 1;
    }
}

impl Encode for Stream {
    fn events(&mut self, events: Vec<Event>, out: &mut BytesMut) {
        for event in events {
            if let Event::Delta { choice, delta } = &event
                && let Some(state) = self.head.choice(*choice)
                && let Some((text, thinks)) = state.text(delta)
            {
                self.text(*choice, text, thinks, out);
                continue;
            }
            let Some((index, parts)) = self.head.take(event) else {
                continue;
            };
            if !parts.is_empty() {
                let content = json!({"parts": parts, "role": "model"});
                let candidate = json!({"content": content, "index": index});
                let answer = self.head.answer(vec![candidate], false);
                self.write(&answer, out);
            }
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let candidates = self.head.ends(Vec::new());
        let answer = self.head.answer(candidates, true);
        self.write(&answer, out);
        if self.head.asked.framing == Framing::Array {
            out.extend_from_slice(b"]");
        }
    }
}

/// Writes one document, at the end.
pub(super) struct Document {
    head: Head,
    parts: Vec<Vec<Value>>,
    completion: Completion,
}

impl Document {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            head: Head::new(asked),
            parts: Vec::new(),
            completion: Completion::default(),
        }
    }
}

impl Encode for Document {
    fn events(&mut self, events: Vec<Event>, _: &mut BytesMut) {
        for event in events {
            if let Event::Embedding { .. } | Event::Tokens(_) = event {
                self.completion.push(event);
                continue;
            }
            if let Some((index, parts)) = self.head.take(event) {
                let at = index as usize;
                if self.parts.len() <= at {
                    self.parts.resize_with(at + 1, Vec::new);
                }
                parts
                    .into_iter()
                    .for_each(|part| add(&mut self.parts[at], part));
            }
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let document = match self.head.asked.operation {
            Operation::CountTokens => json!({"totalTokens": self.completion.tokens.unwrap_or(0)}),
            Operation::Embeddings => {
                self.completion.usage = self.head.usage;
                embed::encode(&self.completion, &self.head.asked)
            }
            _ => {
                let candidates = self.head.ends(std::mem::take(&mut self.parts));
                self.head.answer(candidates, true)
            }
        };
        // Only what is no string can fail as a key, and there is none.
        let _ = serde_json::to_writer(out.writer(), &document);
    }
}

/// Adds a part, or goes on with the last if both are of one text.
fn add(parts: &mut Vec<Value>, part: Value) {
    let is_plain = |part: &Value| {
        let fields = part.as_object();
        fields.is_some_and(|fields| {
            fields.contains_key("text") && !fields.contains_key("thoughtSignature")
        })
    };
    let thinks = |part: &Value| part.get("thought").is_some();
    if let Some(last) = parts.last_mut()
        && last.get("text").is_some()
        && is_plain(&part)
        && thinks(last) == thinks(&part)
        // What proves a thought closes it.
        && (is_plain(last) || !thinks(last))
        && let (Value::String(text), Some(more)) = (&mut last["text"], part["text"].as_str())
    {
        text.push_str(more);
        return;
    }
    parts.push(part);
}
