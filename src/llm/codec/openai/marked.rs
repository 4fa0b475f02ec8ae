//! Proofs that vendors put into fields of their own: OpenRouter into `reasoning_details` that have more to
//! them than [this crate's](super::thought), Google into `extra_content` of a call. They are kept as they
//! are, but for the [mark](crate::llm::codec::proofs) of whoever made them.

use crate::llm::{
    Chat, Extra, Message,
    codec::{Losses, Maker},
};
use serde_json::{Map, Value};

const DETAILS: &str = "reasoning_details";
const MARK: &str = "tg1:";

/// Whether any has a mark.
pub(super) fn is_in(chat: &Chat) -> bool {
    let marked = |proof: Option<&Value>| {
        let proof = proof.and_then(Value::as_str);
        proof.is_some_and(|proof| proof.starts_with(MARK))
    };
    chat.messages.iter().any(|message| {
        let details = message.extra.get(DETAILS).and_then(Value::as_array);
        let mut details = details.into_iter().flatten();
        details.any(|detail| marked(detail.get("signature")) || marked(detail.get("data")))
            || message.parts.iter().any(|part| {
                let google = part.extra.get("extra_content");
                let google = google.and_then(|extra| extra.get("google"));
                marked(google.and_then(|google| google.get("thought_signature")))
            })
    })
}

/// Takes the marks off those of this maker, and the others out.
pub(super) fn open(message: &mut Message, at: usize, to: &Maker, losses: &mut Losses) {
    let mut lost = |field: &str| {
        let why = "A thought goes to the model that made it and no other.";
        losses.add(format_args!("messages[{at}].{field}"), why);
    };
    if let Some(Value::Array(details)) = message.extra.get_mut(DETAILS) {
        details.retain_mut(|detail| {
            let Some(detail) = detail.as_object_mut() else {
                return true;
            };
            let kept = opened(detail, "signature", to) && opened(detail, "data", to);
            if !kept {
                lost(DETAILS);
            }
            kept
        });
        if details.is_empty() {
            message.extra.shift_remove(DETAILS);
        }
    }
    for part in &mut message.parts {
        if let Some(google) = google(&mut part.extra)
            && !opened(google, "thought_signature", to)
        {
            google.shift_remove("thought_signature");
            lost("tool_calls.extra_content");
            if google.is_empty() {
                part.extra.shift_remove("extra_content");
            }
        }
    }
}

fn google(extra: &mut Extra) -> Option<&mut Map<String, Value>> {
    extra
        .get_mut("extra_content")?
        .get_mut("google")?
        .as_object_mut()
}

/// Whether what stands there, if anything does, is for this maker.
fn opened(fields: &mut Map<String, Value>, field: &str, to: &Maker) -> bool {
    let Some(Value::String(proof)) = fields.get_mut(field) else {
        return true;
    };
    match to.open(proof, Some(to.protocol)) {
        Some(own) => {
            *proof = own.to_owned();
            true
        }
        None => false,
    }
}
