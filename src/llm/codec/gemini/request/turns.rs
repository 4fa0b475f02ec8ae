//! Turns, as contents.

pub(super) use crate::llm::codec::turns::{Answered, Turn};

use crate::llm::codec::{
    Losses,
    turns::{self, Form},
};
use serde_json::{Value, json};

const FORM: Form = Form {
    stub: |call, name| {
        json!({"functionResponse": {
            "id": call,
            "name": name,
            "response": {"error": "No result was given."},
        }})
    },
    first: || json!({"text": "."}),
};

/// The contents as they are.
pub(super) fn plain(turns: Vec<Turn>) -> Vec<Value> {
    let write = |turn: Turn| {
        let role = if turn.assistant { "model" } else { "user" };
        json!({"role": role, "parts": turn.into_parts()})
    };
    turns.into_iter().map(write).collect()
}

/// The contents, in order.
pub(super) fn ordered(turns: Vec<Turn>, losses: &mut Losses) -> Vec<Value> {
    let turns = turns::ordered(turns, &FORM, losses);
    if turns.last().is_some_and(|turn| turn.assistant) {
        let why = "The provider does not go on where the last turn ends.";
        losses.add("messages", why);
    }
    plain(turns)
}
