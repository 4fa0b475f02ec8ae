//! The way back into a message.

use super::{BESIDE, DETAILS, OWN, PROOF, complete, goes_on, is_signed, text_of};
use crate::llm::{Content, Extra, Message};
use serde_json::Value;

/// What was carried, on its way back into a message.
#[derive(Debug, Default)]
pub(in super::super) struct Home {
    details: Vec<Value>,
    message: Extra,
    calls: Vec<(String, Value)>,
}

/// The calls of a message, and where they stand, if it has thoughts.
pub(in super::super) fn calls(message: &Message) -> Vec<(usize, String)> {
    let thinks = |content: &Content| matches!(content, Content::Reasoning(_));
    if !message.parts.iter().any(|part| thinks(&part.content)) {
        return Vec::new();
    }
    let parts = message.parts.iter().enumerate();
    let calls = parts.filter_map(|(at, part)| match &part.content {
        Content::ToolCall(call) => Some((at, call.id.clone())),
        _ => None,
    });
    calls.collect()
}

/// What became of a proof.
pub(in super::super) enum Read {
    /// It is no field.
    Other,
    /// It is kept, and the thought with it.
    Taken,
    /// It is kept, and the thought is another.
    Beside,
    /// What it proves is not there.
    Lost,
}

impl Home {
    /// Takes a proof that was carried, and stood in this place of a message with these calls.
    pub(in super::super) fn take(
        &mut self,
        proof: &str,
        thought: &str,
        place: usize,
        calls: &[(usize, String)],
    ) -> Read {
        let own = proof.strip_prefix(OWN).map(serde_json::from_str);
        let Some(Ok(Value::Object(mut own))) = own else {
            return Read::Other;
        };
        if let Some(mut detail) = own.shift_remove("detail") {
            let place = own.get("told").and_then(Value::as_str);
            if let (Some(place), Some(fields)) = (place, detail.as_object_mut()) {
                fields.insert(place.to_owned(), thought.into());
            }
            self.detail(detail);
            return Read::Taken;
        }
        if let Some(Value::Object(message)) = own.shift_remove("message") {
            let known = message.into_iter();
            let known = known.filter(|(key, _)| matches!(&**key, BESIDE | PROOF));
            self.message.extend(known);
        } else if let Some(beside) = own.shift_remove(BESIDE) {
            let id = own.get("call").and_then(Value::as_str);
            let of_id = calls.iter().find(|(_, call)| Some(&**call) == id);
            // Where clients give calls names of their own, it stands before the one.
            let next = || calls.iter().find(|(at, _)| *at > place);
            let Some((_, id)) = of_id.or_else(next) else {
                return Read::Lost;
            };
            self.calls.push((id.clone(), beside));
        }
        match thought.is_empty() {
            true => Read::Taken,
            false => Read::Beside,
        }
    }

    /// One more entry, or what signs the last.
    fn detail(&mut self, detail: Value) {
        let silent = text_of(&detail).is_none_or(str::is_empty);
        match (self.details.last_mut(), detail) {
            (Some(Value::Object(last)), Value::Object(next))
                if silent && is_signed(&next) && goes_on(last, &next, true) =>
            {
                complete(last, next);
            }
            (_, detail) => self.details.push(detail),
        }
    }

    /// Puts it where it stood.
    pub(in super::super) fn put(self, message: &mut Message) {
        match message.extra.get_mut(DETAILS) {
            Some(Value::Array(all)) => all.extend(self.details),
            _ if self.details.is_empty() => {}
            _ => drop(
                message
                    .extra
                    .insert(DETAILS.to_owned(), self.details.into()),
            ),
        }
        message.extra.extend(self.message);
        for (id, beside) in self.calls {
            let is_one =
                |content: &Content| matches!(content, Content::ToolCall(call) if call.id == id);
            if let Some(part) = message.parts.iter_mut().find(|part| is_one(&part.content)) {
                part.extra.insert(BESIDE.to_owned(), beside);
            }
        }
    }
}
