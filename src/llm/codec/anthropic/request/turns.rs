//! The order that the protocol wants of a conversation: turns of the two in alternation, the person's
//! first, and each call of a tool answered in the very next turn.

use super::super::text_block;
use crate::llm::codec::Losses;
use serde_json::{Value, json};

/// What one of the two says in a row.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) assistant: bool,
    pub(super) blocks: Vec<Value>,
    /// Answers to calls, with their places in the client's request.
    pub(super) results: Vec<Answered>,
}

/// An answer to a call.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) call: String,
    pub(super) block: Value,
    pub(super) place: String,
}

impl Turn {
    pub(super) fn new(assistant: bool) -> Self {
        Self {
            assistant,
            blocks: Vec::new(),
            results: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.results.is_empty()
    }

    /// The ids of the tools it calls.
    fn calls(&self) -> Vec<String> {
        let calls = self
            .blocks
            .iter()
            .filter(|block| self.assistant && block["type"] == "tool_use");
        calls
            .filter_map(|block| block["id"].as_str().map(str::to_owned))
            .collect()
    }
}

/// Puts those of the same one together.
fn merged(turns: Vec<Turn>) -> Vec<Turn> {
    let mut out: Vec<Turn> = Vec::with_capacity(turns.len());
    for turn in turns.into_iter().filter(|turn| !turn.is_empty()) {
        match out.last_mut() {
            Some(last) if last.assistant == turn.assistant => {
                last.blocks.extend(turn.blocks);
                last.results.extend(turn.results);
            }
            _ => out.push(turn),
        }
    }
    out
}

/// Gives every call its answer, and no answer without a call.
fn paired(turns: Vec<Turn>, losses: &mut Losses) -> Vec<Turn> {
    let mut out = Vec::with_capacity(turns.len() + 1);
    let mut open: Vec<String> = Vec::new();
    for mut turn in turns {
        if turn.assistant {
            open = turn.calls();
            out.push(turn);
            continue;
        }
        let mut given = std::mem::take(&mut turn.results);
        for call in std::mem::take(&mut open) {
            let at = given.iter().position(|answer| answer.call == call);
            let answer = match at {
                Some(at) => given.remove(at),
                None => stub(call, losses),
            };
            turn.results.push(answer);
        }
        for answer in given {
            losses.add(answer.place, "It answers no call of the turn before.");
        }
        out.push(turn);
    }
    if !open.is_empty() {
        let mut turn = Turn::new(false);
        let stubs = open.into_iter().map(|call| stub(call, losses));
        turn.results.extend(stubs.collect::<Vec<_>>());
        out.push(turn);
    }
    out
}

fn stub(call: String, losses: &mut Losses) -> Answered {
    losses.add(
        "messages",
        "A call without a result is given one that says so.",
    );
    let block = json!({
        "type": "tool_result",
        "tool_use_id": call,
        "content": "No result was given.",
        "is_error": true,
    });
    Answered {
        call,
        block,
        place: String::new(),
    }
}

/// The messages.
pub(super) fn ordered(turns: Vec<Turn>, losses: &mut Losses) -> Vec<Value> {
    let mut turns = merged(paired(merged(turns), losses));
    if turns.first().is_some_and(|turn| turn.assistant) {
        losses.add("messages", "The first turn is made the user's.");
        let mut first = Turn::new(false);
        first.blocks.push(text_block("."));
        turns.insert(0, first);
    }
    let count = turns.len();
    let turns = turns.into_iter().enumerate();
    turns
        .map(|(index, mut turn)| {
            if turn.assistant && index + 1 == count {
                trimmed(&mut turn.blocks, losses);
            }
            let results = turn.results.into_iter().map(|answer| answer.block);
            let mut content: Vec<_> = results.chain(turn.blocks).collect();
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
            let role = if turn.assistant { "assistant" } else { "user" };
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
