//! Turns, as messages.

pub(super) use crate::llm::codec::turns::{Answered, Turn};

use super::super::text_block;
use crate::llm::codec::{
    Losses,
    turns::{self, Form},
};
use serde_json::{Value, json};

const FORM: Form = Form {
    stub: |call, _| {
        json!({
            "type": "tool_result",
            "tool_use_id": call,
            "content": "No result was given.",
            "is_error": true,
        })
    },
    first: || text_block("."),
};

/// The messages.
pub(super) fn ordered(mut turns: Vec<Turn>, losses: &mut Losses) -> Vec<Value> {
    for turn in turns.iter_mut().filter(|turn| turn.assistant) {
        // Among them those that a client sent in a form that nobody else knows.
        let calls = turn
            .parts
            .iter()
            .filter(|block| block["type"] == "tool_use");
        let text = |block: &Value, key: &str| block[key].as_str().map(str::to_owned);
        let named = |block: &Value| Some((text(block, "id")?, text(block, "name")?));
        turn.calls = calls.filter_map(named).collect();
    }
    let turns = turns::ordered(turns, &FORM, losses);
    let count = turns.len();
    let turns = turns.into_iter().enumerate();
    turns
        .map(|(index, mut turn)| {
            if turn.assistant && index + 1 == count {
                trimmed(&mut turn.parts, losses);
            }
            let role = if turn.assistant { "assistant" } else { "user" };
            let mut content = turn.into_parts();
            let plain = match &content[..] {
                [one] => one.as_object().is_some_and(|block| {
                    block.len() == 2 && block.get("type").is_some_and(|kind| kind == "text")
                }),
                _ => false,
            };
            let content = match plain {
                true => content[0]["text"].take(),
                false => content.into(),
            };
            json!({"role": role, "content": content})
        })
        .collect()
}

/// The model goes on where the last turn ends, and that must not be white space.
fn trimmed(blocks: &mut [Value], losses: &mut Losses) {
    if let Some(block) = blocks.last_mut()
        && block["type"] == "text"
        && let Value::String(text) = &mut block["text"]
    {
        let end = text.trim_end().len();
        if end < text.len() {
            losses.add(
                "messages",
                "White space at the end of the last turn is left out.",
            );
            text.truncate(end);
        }
    }
}
