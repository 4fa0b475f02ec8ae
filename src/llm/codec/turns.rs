//! The order that a protocol wants of a conversation: turns of the two in alternation, the person's
//! first, and all calls of a turn answered in the very next, in their order.

use super::Losses;
use serde_json::Value;
use std::{collections::HashMap, mem};

/// What one of the two says in a row.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) assistant: bool,
    pub(crate) parts: Vec<Value>,
    /// The calls among the parts: id and name.
    pub(crate) calls: Vec<(String, String)>,
    /// Answers to calls, with their places in the client's request.
    pub(crate) results: Vec<Answered>,
}

/// An answer to a call.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) call: String,
    pub(crate) parts: Vec<Value>,
    /// What stands behind all answers.
    pub(crate) beside: Vec<Value>,
    pub(crate) place: String,
}

/// What a protocol says where a conversation says nothing.
pub(crate) struct Form {
    /// The answer to a call that got none: its id and its name.
    pub(crate) stub: fn(&str, &str) -> Value,
    /// A turn of the user who has said nothing yet.
    pub(crate) first: fn() -> Value,
}

impl Turn {
    pub(crate) fn new(assistant: bool) -> Self {
        Self {
            assistant,
            parts: Vec::new(),
            calls: Vec::new(),
            results: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.results.is_empty()
    }

    /// All of it: what tools answered stands first.
    pub(crate) fn into_parts(self) -> Vec<Value> {
        let (mut parts, mut beside) = (Vec::new(), Vec::new());
        for answer in self.results {
            parts.extend(answer.parts);
            beside.extend(answer.beside);
        }
        parts.extend(beside);
        parts.extend(self.parts);
        parts
    }
}

/// The answers of a turn, to be taken by the calls that they are for. A turn may have a hundred thousand, in
/// any order.
pub(crate) struct ByCall<A> {
    all: Vec<Option<A>>,
    /// Where those to a call stand, the first one last.
    places: HashMap<String, Vec<usize>>,
}

impl<A> ByCall<A> {
    pub(crate) fn new(all: Vec<A>, call: impl Fn(&A) -> &str) -> Self {
        let mut places: HashMap<String, Vec<usize>> = HashMap::with_capacity(all.len());
        for (at, answer) in all.iter().enumerate().rev() {
            places.entry(call(answer).to_owned()).or_default().push(at);
        }
        let all = all.into_iter().map(Some).collect();
        Self { all, places }
    }

    /// The first one to this call that was not taken yet.
    pub(crate) fn take(&mut self, call: &str) -> Option<A> {
        let at = self.places.get_mut(call)?.pop()?;
        self.all.get_mut(at)?.take()
    }

    /// Those that nobody took, in their order.
    pub(crate) fn left(self) -> impl Iterator<Item = A> {
        self.all.into_iter().flatten()
    }
}

/// Puts those of the same one together.
fn merged(turns: Vec<Turn>) -> Vec<Turn> {
    let mut out: Vec<Turn> = Vec::with_capacity(turns.len());
    for turn in turns.into_iter().filter(|turn| !turn.is_empty()) {
        match out.last_mut() {
            Some(last) if last.assistant == turn.assistant => {
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
fn paired(turns: Vec<Turn>, form: &Form, losses: &mut Losses) -> Vec<Turn> {
    let mut out = Vec::with_capacity(turns.len() + 1);
    let mut open: Vec<(String, String)> = Vec::new();
    for mut turn in turns {
        if turn.assistant {
            open.clone_from(&turn.calls);
            out.push(turn);
            continue;
        }
        let mut given = ByCall::new(mem::take(&mut turn.results), |answer| &answer.call);
        for (call, name) in mem::take(&mut open) {
            let answer = match given.take(&call) {
                Some(answer) => answer,
                None => stub(call, &name, form, losses),
            };
            turn.results.push(answer);
        }
        for answer in given.left() {
            losses.add(answer.place, "It answers no call of the turn before.");
        }
        out.push(turn);
    }
    if !open.is_empty() {
        let mut turn = Turn::new(false);
        for (call, name) in open {
            turn.results.push(stub(call, &name, form, losses));
        }
        out.push(turn);
    }
    out
}

fn stub(call: String, name: &str, form: &Form, losses: &mut Losses) -> Answered {
    let why = "A call without a result is given one that says so.";
    losses.add("messages", why);
    Answered {
        parts: vec![(form.stub)(&call, name)],
        call,
        beside: Vec::new(),
        place: String::new(),
    }
}

/// The turns in that order.
pub(crate) fn ordered(turns: Vec<Turn>, form: &Form, losses: &mut Losses) -> Vec<Turn> {
    let mut turns = merged(paired(merged(turns), form, losses));
    if turns.first().is_some_and(|turn| turn.assistant) {
        losses.add("messages", "The first turn is made the user's.");
        let mut first = Turn::new(false);
        first.parts.push((form.first)());
        turns.insert(0, first);
    }
    turns
}
