//! The order that the protocol wants of a conversation: turns of the two in alternation, the person's
//! first, and all calls of a turn answered in the very next, in their order.

use crate::llm::codec::Losses;
use serde_json::{Value, json};

/// What one of the two says in a row.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) model: bool,
    pub(super) parts: Vec<Value>,
    /// The calls among the parts: id and name.
    pub(super) calls: Vec<(String, String)>,
    /// Answers to calls, with their places in the client's request.
    pub(super) results: Vec<Answered>,
}

/// An answer to a call.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) call: String,
    pub(super) part: Value,
    /// What the tool showed beside.
    pub(super) shown: Vec<Value>,
    pub(super) place: String,
}

impl Turn {
    pub(super) fn new(model: bool) -> Self {
        Self {
            model,
            parts: Vec::new(),
            calls: Vec::new(),
            results: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.results.is_empty()
    }

    fn write(self) -> Value {
        let role = if self.model { "model" } else { "user" };
        let (results, shown): (Vec<_>, Vec<_>) = self
            .results
            .into_iter()
            .map(|one| (one.part, one.shown))
            .unzip();
        let shown = shown.into_iter().flatten();
        let parts: Vec<_> = results.into_iter().chain(shown).chain(self.parts).collect();
        json!({"role": role, "parts": parts})
    }
}

/// Puts those of the same one together.
fn merged(turns: Vec<Turn>) -> Vec<Turn> {
    let mut out: Vec<Turn> = Vec::with_capacity(turns.len());
    for turn in turns.into_iter().filter(|turn| !turn.is_empty()) {
        match out.last_mut() {
            Some(last) if last.model == turn.model => {
                last.parts.extend(turn.parts);
                last.calls.extend(turn.calls);
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
    let mut open: Vec<(String, String)> = Vec::new();
    for mut turn in turns {
        if turn.model {
            open.clone_from(&turn.calls);
            out.push(turn);
            continue;
        }
        let mut given = std::mem::take(&mut turn.results);
        for (call, name) in std::mem::take(&mut open) {
            let at = given.iter().position(|answer| answer.call == call);
            let answer = match at {
                Some(at) => given.remove(at),
                None => stub(call, &name, losses),
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
        for (call, name) in open {
            turn.results.push(stub(call, &name, losses));
        }
        out.push(turn);
    }
    out
}

fn stub(call: String, name: &str, losses: &mut Losses) -> Answered {
    losses.add(
        "messages",
        "A call without a result is given one that says so.",
    );
    let part = json!({"functionResponse": {
        "id": call,
        "name": name,
        "response": {"error": "No result was given."},
    }});
    Answered {
        call,
        part,
        shown: Vec::new(),
        place: String::new(),
    }
}

/// The contents as they are.
pub(super) fn plain(turns: Vec<Turn>) -> Vec<Value> {
    turns.into_iter().map(Turn::write).collect()
}

/// The contents, in order.
pub(super) fn ordered(turns: Vec<Turn>, losses: &mut Losses) -> Vec<Value> {
    let mut turns = merged(paired(merged(turns), losses));
    if turns.first().is_some_and(|turn| turn.model) {
        losses.add("messages", "The first turn is made the user's.");
        let mut first = Turn::new(false);
        first.parts.push(json!({"text": "."}));
        turns.insert(0, first);
    }
    if turns.last().is_some_and(|turn| turn.model) {
        let why = "The provider does not go on where the last turn ends.";
        losses.add("messages", why);
    }
    plain(turns)
}
