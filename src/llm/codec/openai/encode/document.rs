//! An answer in one piece.

use super::{finish_reason, head_of, object, spread, usage};
use crate::llm::{
    Choice, Completion, Content, Event, Extra, FinishReason, Operation, Reasoning,
    codec::{
        Asked, Encode, custom,
        openai::{carried, embed, thought},
    },
};
use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

/// Writes one document, at the end.
pub(in super::super) struct Document {
    asked: Asked,
    all: Completion,
}

impl Document {
    pub(in super::super) fn new(asked: Asked) -> Self {
        let all = Completion::default();
        Self { asked, all }
    }

    fn document(&mut self) -> Value {
        let mut all = std::mem::take(&mut self.all);
        let start = head_of(std::mem::take(&mut all.start), &self.asked);
        if self.asked.operation == Operation::Embeddings {
            return embed::encode(&all, &start.model, self.asked.base64);
        }
        let custom = custom::Calls::of(&self.asked);
        let choices = (0_u32..)
            .zip(all.choices)
            .map(|(index, choice)| one(index, choice, self.asked.operation, &custom));
        let mut out = Map::new();
        out.insert("id".into(), start.id.into());
        let object = object(self.asked.operation, false);
        out.insert("object".into(), object.into());
        out.insert("created".into(), start.created.into());
        out.insert("model".into(), start.model.into());
        out.insert("choices".into(), choices.collect::<Vec<_>>().into());
        if let Some(used) = &all.usage {
            out.insert("usage".into(), usage::write(used));
        }
        for (key, value) in start.extra {
            out.entry(key).or_insert(value);
        }
        out.into()
    }
}

impl Encode for Document {
    fn events(&mut self, events: Vec<Event>, _: &mut BytesMut) {
        self.all.extend(events);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let document = self.document();
        // Only what is no string can fail as a key, and there is none.
        let _ = serde_json::to_writer(out.writer(), &document);
    }
}

fn one(index: u32, mut choice: Choice, operation: Operation, custom: &custom::Calls) -> Value {
    let finish = choice.finish.clone().unwrap_or(FinishReason::Stop);
    let mut out = Map::new();
    let mut more = Extra::new();
    out.insert("index".into(), index.into());
    if operation == Operation::Completions {
        out.insert("text".into(), choice.message.all_text().into());
        spread(choice.extra, &mut more, &mut Map::new());
    } else {
        let mut message = said(&choice, custom);
        for (index, beside) in carried::of_calls(&mut choice.extra) {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            let call = message
                .get_mut("tool_calls")
                .and_then(|calls| calls.get_mut(at));
            if let Some(call) = call.and_then(Value::as_object_mut) {
                call.insert(carried::BESIDE.to_owned(), beside);
            }
        }
        spread(choice.extra, &mut more, &mut message);
        out.insert("message".into(), message.into());
    }
    out.insert("logprobs".into(), Value::Null);
    out.insert("finish_reason".into(), finish_reason(&finish).into());
    out.extend(more);
    out.into()
}

fn said(choice: &Choice, custom: &custom::Calls) -> Map<String, Value> {
    let (mut text, mut refusal) = (None::<String>, None::<String>);
    let mut calls: Vec<Value> = Vec::new();
    let mut thoughts: Vec<&Reasoning> = Vec::new();
    for part in &choice.message.parts {
        match &part.content {
            Content::Text(more) => text.get_or_insert_default().push_str(more),
            Content::Refusal(more) => refusal.get_or_insert_default().push_str(more),
            Content::Reasoning(thought) => thoughts.push(thought),
            Content::ToolCall(call) if custom.names(&call.name) => calls.push(json!({
                "id": call.id,
                "type": "custom",
                "custom": {"name": call.name, "input": call.arguments},
            })),
            Content::ToolCall(call) => calls.push(json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            _ => {}
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), text.into());
    message.insert("refusal".into(), refusal.into());
    let (thought, details) = thought::write(thoughts.into_iter());
    if !thought.is_empty() {
        message.insert("reasoning_content".into(), thought.into());
    }
    if !details.is_empty() {
        message.insert("reasoning_details".into(), details.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    if let Some(audio) = audio(&choice.audio) {
        message.insert("audio".into(), audio);
    }
    message
}

/// Sound in one piece: its texts, data among them, are put together.
fn audio(pieces: &[Value]) -> Option<Value> {
    let mut whole = Map::new();
    for (key, value) in pieces.iter().filter_map(Value::as_object).flatten() {
        match (whole.get_mut(key), value) {
            (Some(Value::String(all)), Value::String(more))
                if matches!(&**key, "data" | "transcript") =>
            {
                all.push_str(more);
            }
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    (!whole.is_empty()).then(|| whole.into())
}
