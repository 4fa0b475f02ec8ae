//! Proofs that vendors put into fields of their own: OpenRouter into `reasoning_details` that have more to
//! them than [this crate's](super::thought), Google into `extra_content` of a call or a message, and into `thought_signature` of that. They are kept as they
//! are, but for the [mark](crate::llm::codec::proofs) of whoever made them.

use crate::llm::{
    Chat, Content, Extra, Message,
    codec::{Losses, Maker},
};
use serde_json::{Map, Value};

const DETAILS: &str = "reasoning_details";
const PROOF: &str = "thought_signature";
const BESIDE: &str = "extra_content";
const MARK: &str = "tg1:";

/// Whether any has a mark.
pub(super) fn is_in(chat: &Chat) -> bool {
    let marked = |proof: Option<&Value>| {
        let proof = proof.and_then(Value::as_str);
        proof.is_some_and(|proof| proof.starts_with(MARK))
    };
    let beside = |extra: &Extra| {
        let google = extra.get(BESIDE).and_then(|extra| extra.get("google"));
        marked(google.and_then(|google| google.get(PROOF)))
    };
    chat.messages.iter().any(|message| {
        let details = message.extra.get(DETAILS).and_then(Value::as_array);
        let mut details = details.into_iter().flatten();
        details.any(|detail| marked(detail.get("signature")) || marked(detail.get("data")))
            || marked(message.extra.get(PROOF))
            || beside(&message.extra)
            || message.parts.iter().any(|part| beside(&part.extra))
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
    if !opened(&mut message.extra, PROOF, to) {
        message.extra.shift_remove(PROOF);
        lost(PROOF);
    }
    if !kept_beside(&mut message.extra, to) {
        lost(BESIDE);
    }
    let calls = message.parts.iter_mut();
    let calls = calls.filter(|part| matches!(part.content, Content::ToolCall(_)));
    for (call, part) in calls.enumerate() {
        if !kept_beside(&mut part.extra, to) {
            lost(&format!("tool_calls[{call}].extra_content"));
        }
    }
}

/// Whether what Google puts beside something is for this maker; else it is taken out.
fn kept_beside(extra: &mut Extra, to: &Maker) -> bool {
    let Some(google) = google(extra) else {
        return true;
    };
    if opened(google, PROOF, to) {
        return true;
    }
    google.shift_remove(PROOF);
    if google.is_empty() {
        extra.shift_remove(BESIDE);
    }
    false
}

fn google(extra: &mut Extra) -> Option<&mut Map<String, Value>> {
    extra.get_mut(BESIDE)?.get_mut("google")?.as_object_mut()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{
        Operation, Protocol,
        codec::{self, proofs},
        request::Typed,
    };
    use bytes::Bytes;
    use serde_json::json;

    /// As Google answers in OpenAI's protocol, and clients send it back.
    #[test]
    fn a_proof_beside_a_text_is_for_its_maker_alone() {
        let maker = |vendor: &str| Maker {
            protocol: Protocol::OpenAi,
            vendor: vendor.into(),
            model: "thinker".into(),
        };
        let own = maker("lab");
        let proof = own.seal("AVSo");
        let body = json!({"model": "m", "messages": [{
            "role": "assistant", "content": "a", "thought_signature": proof,
            "extra_content": {"google": {"thought": true, "thought_signature": proof}},
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": proof}}},
            ],
        }]});
        let body = Bytes::from(body.to_string());
        assert!(proofs::homeward(body.clone(), &maker("other")).is_none());
        let home = proofs::homeward(body.clone(), &own).unwrap();
        assert!(memchr::memmem::find(&home, b"tg1:").is_none());
        let Ok(Typed::Chat(chat)) = codec::of(Protocol::OpenAi).parse(Operation::Chat, &body)
        else {
            panic!("not a conversation");
        };
        assert!(is_in(&chat));
        for (to, expected) in [
            (
                &own,
                json!({"thought_signature": "AVSo", "extra_content": {"google": {"thought": true, "thought_signature": "AVSo"}}}),
            ),
            (
                &maker("other"),
                json!({"extra_content": {"google": {"thought": true}}}),
            ),
        ] {
            let mut message = chat.messages[0].clone();
            let mut losses = Losses::default();
            open(&mut message, 0, to, &mut losses);
            assert_eq!(Value::from(message.extra), expected);
            let told = losses.into_vec();
            let told: Vec<_> = told.iter().map(|loss| &*loss.field).collect();
            match to.vendor == own.vendor {
                true => assert!(told.is_empty()),
                false => assert_eq!(
                    told,
                    [
                        "messages[0].thought_signature",
                        "messages[0].extra_content",
                        "messages[0].tool_calls[1].extra_content"
                    ]
                ),
            }
        }
    }
}
