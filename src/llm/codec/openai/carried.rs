//! Proofs that vendors of this protocol put into fields of their own, for clients of other protocols.
//!
//! | vendor | field | beside |
//! |---|---|---|
//! | [OpenRouter][or] | `reasoning_details`: entries with a type, a format and an index; one that is streamed comes in pieces | a thought |
//! | Google, in its [endpoint][go] of this protocol | `extra_content.google.thought_signature` | a call |
//! | the same | that, and `thought_signature` | a message |
//!
//! A client of another protocol sends back one text for a thought: its signature, or the thought in a form
//! that nobody reads. So the field itself goes there, as JSON, in the [envelope] of its maker, and on the
//! way home it is put back where it stood, with all that was in it. The text of a thought that a client sees
//! is not said a second time in there: it is told which field it belongs in.
//!
//! Clients of this protocol get these fields as they are; see [`marked`](super::marked).
//!
//! [or]: https://openrouter.ai/docs/use-cases/reasoning-tokens
//! [go]: https://ai.google.dev/gemini-api/docs/thought-signatures
//! [envelope]: crate::llm::codec::envelope

mod home;

pub(super) use self::home::{Home, Read, calls};

use crate::llm::{Delta, Event, Extra};
use serde_json::{Map, Value, json};

/// How a proof begins that is a field of the vendor's.
const OWN: &str = "own:";

const MESSAGE: &str = "message";
const DETAILS: &str = "reasoning_details";
const CALLS: &str = "tool_calls";
pub(super) const BESIDE: &str = "extra_content";
const PROOF: &str = "thought_signature";

/// What is beyond is left out, as in [`Completion`](crate::llm::Completion).
const MOST_CHOICES: usize = 128;

/// The field of an entry in which its text stands, if it is one that has a text.
fn place_of_text(entry: &Map<String, Value>) -> Option<&'static str> {
    let place = match entry.get("type")?.as_str()? {
        "reasoning.text" => "text",
        "reasoning.summary" => "summary",
        _ => return None,
    };
    let is_text = |value: &Value| value.is_string() || value.is_null();
    entry.get(place).is_none_or(is_text).then_some(place)
}

fn text_of(entry: &Value) -> Option<&str> {
    let entry = entry.as_object()?;
    entry.get(place_of_text(entry)?)?.as_str()
}

/// The text of all entries.
pub(super) fn text(details: &Value) -> String {
    let details = details.as_array().into_iter().flatten();
    details.filter_map(text_of).collect()
}

/// Takes out of the fields of a message what proves it.
pub(super) fn beside(message: &mut Extra) -> Option<Extra> {
    let is_text = |proof: &Value| proof.as_str().is_some_and(|proof| !proof.is_empty());
    let google = message.get(BESIDE).and_then(|beside| beside.get("google"));
    let proof = google.and_then(|google| google.get(PROOF));
    let proven = [
        (BESIDE, proof.is_some_and(is_text)),
        (PROOF, message.get(PROOF).is_some_and(is_text)),
    ];
    let mut own = Extra::new();
    for (key, _) in proven.into_iter().filter(|(_, proven)| *proven) {
        own.extend(message.shift_remove_entry(key));
    }
    (!own.is_empty()).then_some(own)
}

/// Fields of a message, as an event tells them.
pub(super) fn told(fields: Extra) -> Delta {
    Delta::Extra(Extra::from_iter([(MESSAGE.to_owned(), fields.into())]))
}

/// The details of a thought, as an event tells them.
pub(super) fn told_details(details: Value) -> Delta {
    told(Extra::from_iter([(DETAILS.to_owned(), details)]))
}

/// What stands beside the call of this index, as an event tells it.
pub(super) fn told_call(index: u32, beside: &Value) -> Delta {
    let call = json!({"index": index, BESIDE: beside});
    told(Extra::from_iter([(CALLS.to_owned(), vec![call].into())]))
}

/// Takes what stands beside calls out of an event, with their indices.
pub(super) fn of_calls(extra: &mut Extra) -> Vec<(u64, Value)> {
    let Some(Value::Object(message)) = extra.get_mut(MESSAGE) else {
        return Vec::new();
    };
    let Some(Value::Array(calls)) = message.shift_remove(CALLS) else {
        return Vec::new();
    };
    if message.is_empty() {
        extra.shift_remove(MESSAGE);
    }
    let calls = calls.into_iter().filter_map(|mut call| {
        let index = call.get("index")?.as_u64()?;
        Some((index, call.as_object_mut()?.shift_remove(BESIDE)?))
    });
    calls.collect()
}

fn is_signed(entry: &Map<String, Value>) -> bool {
    let signature = entry.get("signature").and_then(Value::as_str);
    signature.is_some_and(|signature| !signature.is_empty())
}

/// Whether an entry goes on with the next. Those that stand side by side are told apart by their index.
fn goes_on(entry: &Map<String, Value>, next: &Map<String, Value>, beside: bool) -> bool {
    let of = |entry: &'_ Map<String, Value>, key: &str| {
        entry.get(key).filter(|it| !it.is_null()).cloned()
    };
    let same = |key: &str| of(entry, key) == of(next, key);
    let fits = |key: &str| same(key) || of(entry, key).is_none() || of(next, key).is_none();
    let counted = of(entry, "index").is_some();
    !is_signed(entry) && same("type") && same("index") && fits("id") && (counted || !beside)
}

/// Adds what an entry does not say yet.
fn complete(entry: &mut Map<String, Value>, next: Map<String, Value>) {
    for (key, value) in next {
        if entry.get(&key).is_none_or(Value::is_null) {
            entry.insert(key, value);
        }
    }
}

/// Makes signatures of the fields of an answer.
#[derive(Debug, Default)]
pub(in super::super) struct Carrier {
    choices: Vec<State>,
}

/// What is known of a choice.
#[derive(Debug, Default)]
struct State {
    /// An entry of which more may come.
    open: Option<Entry>,
    /// A thought was told, and not closed.
    thinks: bool,
    /// The text that was told last stands in no entry so far.
    alone: bool,
    /// Of the thought that is open, a text that stands in no entry.
    apart: bool,
    /// The ids of its calls.
    calls: Vec<String>,
    /// What came when a call had begun, which is not to be interrupted.
    late: Vec<Delta>,
    /// The first of them ended a thought that nobody proved.
    ended: bool,
    finished: bool,
}

/// An entry of `reasoning_details` that has a text.
#[derive(Debug)]
struct Entry {
    fields: Map<String, Value>,
    /// The field of the text, in which nothing stands until the entry is whole.
    place: &'static str,
    text: String,
    /// The text was told.
    told: bool,
}

impl Entry {
    /// `None`: it has no text that could be a thought's.
    fn new(fields: &mut Map<String, Value>, told: bool) -> Option<Self> {
        let place = place_of_text(fields)?;
        let mut fields = std::mem::take(fields);
        let text = match fields.get_mut(place) {
            Some(Value::String(text)) => std::mem::take(text),
            _ => String::new(),
        };
        Some(Self {
            fields,
            place,
            text,
            told,
        })
    }

    fn add(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.told &= next.told;
        complete(&mut self.fields, next.fields);
    }

    /// The entry, of which the text is left out if it was told.
    fn proof(mut self, told: bool) -> String {
        let told = told && self.told && !self.text.is_empty();
        if !self.text.is_empty() {
            let text = if told { String::new() } else { self.text };
            self.fields.insert(self.place.to_owned(), text.into());
        }
        proof(&match told {
            true => json!({"detail": self.fields, "told": self.place}),
            false => json!({"detail": self.fields}),
        })
    }
}

fn proof(own: &Value) -> String {
    format!("{OWN}{own}")
}

impl Carrier {
    /// The same events, with signatures in the place of such fields.
    pub(in super::super) fn carried(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        let Some(first) = events.iter().position(|event| !self.passes(event)) else {
            return events;
        };
        let rest = events.split_off(first);
        let mut out = events;
        for event in rest {
            self.event(event, &mut out);
        }
        out
    }

    fn state(&mut self, choice: u32) -> Option<&mut State> {
        let at = choice as usize;
        if at >= MOST_CHOICES {
            return None;
        }
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, State::default);
        }
        self.choices.get_mut(at)
    }

    /// Whether an event goes on as it is. What it tells is remembered then, and only then.
    fn passes(&mut self, event: &Event) -> bool {
        let (choice, delta) = match event {
            Event::Delta { choice, delta } => (*choice, Some(delta)),
            Event::Finish { choice, .. } => (*choice, None),
            _ => return true,
        };
        let Some(state) = self.state(choice) else {
            return true;
        };
        match delta {
            Some(Delta::Reasoning(_)) => {
                state.apart |= state.alone;
                (state.alone, state.thinks) = (true, true);
                return true;
            }
            Some(Delta::Extra(extra)) => return !is_own(extra),
            _ if state.open.is_some() => return false,
            None if !state.late.is_empty() => return false,
            None => state.finished = true,
            Some(Delta::ToolCall {
                index,
                id: Some(id),
                ..
            }) if *index as usize == state.calls.len() => {
                state.ended = state.thinks;
                state.calls.push(id.clone());
            }
            Some(_) => {}
        }
        state.close();
        true
    }

    fn event(&mut self, event: Event, out: &mut Vec<Event>) {
        if self.passes(&event) {
            out.push(event);
            return;
        }
        match event {
            Event::Delta {
                choice,
                delta: Delta::Extra(extra),
            } => self.extra(choice, extra, out),
            Event::Delta { choice, .. } => {
                self.flush(choice, out);
                self.event(event, out);
            }
            Event::Finish { choice, .. } => {
                self.flush(choice, out);
                let late = self
                    .state(choice)
                    .map(|state| std::mem::take(&mut state.late));
                let late = late.into_iter().flatten();
                out.extend(late.map(|delta| Event::Delta { choice, delta }));
                self.event(event, out);
            }
            event => out.push(event),
        }
    }

    /// Tells what is carried: at once, or at the end if a call would be interrupted.
    fn tell(&mut self, choice: u32, delta: Delta, out: &mut Vec<Event>) {
        let Some(state) = self.state(choice) else {
            return;
        };
        match state.calls.is_empty() || state.finished {
            true => out.push(Event::Delta { choice, delta }),
            false => state.late.push(delta),
        }
    }

    /// Ends the entry that is open.
    fn flush(&mut self, choice: u32, out: &mut Vec<Event>) {
        let Some(state) = self.state(choice) else {
            return;
        };
        if let Some(open) = state.open.take() {
            let told = !state.alone && !state.apart;
            state.close();
            self.tell(choice, Delta::Signature(open.proof(told)), out);
        }
    }

    /// What proves something else than a thought. One that nobody proved ends before it.
    fn prove(&mut self, choice: u32, own: &Value, out: &mut Vec<Event>) {
        self.flush(choice, out);
        let Some(state) = self.state(choice) else {
            return;
        };
        if std::mem::take(&mut state.thinks) {
            state.close();
            self.tell(choice, Delta::Signature(String::new()), out);
        }
        self.tell(choice, Delta::Signature(proof(own)), out);
    }

    fn extra(&mut self, choice: u32, mut extra: Extra, out: &mut Vec<Event>) {
        for (index, beside) in of_calls(&mut extra) {
            self.call(choice, index, &beside, out);
        }
        let mut message = match extra.shift_remove(MESSAGE) {
            Some(Value::Object(message)) => message,
            _ => Map::new(),
        };
        if let Some(Value::Array(details)) = message.shift_remove(DETAILS) {
            self.details(choice, details, out);
        }
        if let Some(own) = beside(&mut message) {
            self.prove(choice, &json!({"message": own}), out);
        }
        if !message.is_empty() {
            extra.insert(MESSAGE.to_owned(), message.into());
        }
        if !extra.is_empty() {
            let delta = Delta::Extra(extra);
            out.push(Event::Delta { choice, delta });
        }
    }

    /// A proof stands before the call, if that has just begun and is the first.
    fn call(&mut self, choice: u32, index: u64, beside: &Value, out: &mut Vec<Event>) {
        let Some(state) = self.state(choice) else {
            return;
        };
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let id = state.calls.get(at).cloned().unwrap_or_default();
        let begins = |event: &mut Event| matches!(event, Event::Delta { choice: of, delta: Delta::ToolCall { id: Some(_), .. } } if *of == choice);
        let call = match state.calls.len() {
            1 if at == 0 => out.pop_if(begins),
            _ => None,
        };
        let delta = Delta::Signature(proof(&json!({"call": id, BESIDE: beside})));
        let Some(call) = call else {
            return self.tell(choice, delta, out);
        };
        if std::mem::take(&mut state.ended) {
            let delta = Delta::Signature(String::new());
            out.push(Event::Delta { choice, delta });
        }
        out.extend([Event::Delta { choice, delta }, call]);
    }

    /// What was thought, piece by piece. The text of it may have been told just before.
    fn details(&mut self, choice: u32, details: Vec<Value>, out: &mut Vec<Event>) {
        let Some(state) = self.state(choice) else {
            return;
        };
        let text: String = details.iter().filter_map(text_of).collect();
        let same = |event: &mut Event| matches!(event, Event::Delta { choice: of, delta: Delta::Reasoning(told) } if *of == choice && *told == text);
        let told =
            text.is_empty() || state.calls.is_empty() && state.alone && out.pop_if(same).is_some();
        if told && !text.is_empty() {
            state.alone = false;
        }
        let mut beside = false;
        for mut detail in details {
            let entry = detail.as_object_mut();
            if let Some(entry) = entry.and_then(|fields| Entry::new(fields, told)) {
                self.entry(choice, entry, beside, out);
            } else {
                self.flush(choice, out);
                let data = Delta::Redacted(proof(&json!({"detail": detail})));
                self.tell(choice, data, out);
                if let Some(state) = self.state(choice) {
                    state.close();
                }
            }
            beside = true;
        }
    }

    fn entry(&mut self, choice: u32, entry: Entry, beside: bool, out: &mut Vec<Event>) {
        let Some(state) = self.state(choice) else {
            return;
        };
        let open = state.open.as_ref();
        if open.is_some_and(|open| !goes_on(&open.fields, &entry.fields, beside)) {
            self.flush(choice, out);
        }
        if entry.told && !entry.text.is_empty() {
            let delta = Delta::Reasoning(entry.text.clone());
            out.push(Event::Delta { choice, delta });
        }
        let Some(state) = self.state(choice) else {
            return;
        };
        state.thinks |= entry.told && !entry.text.is_empty();
        match &mut state.open {
            Some(open) => open.add(entry),
            open => *open = Some(entry),
        }
        if state
            .open
            .as_ref()
            .is_some_and(|open| is_signed(&open.fields))
        {
            self.flush(choice, out);
        }
    }
}

impl State {
    /// No thought is open.
    fn close(&mut self) {
        (self.thinks, self.alone, self.apart) = (false, false, false);
    }
}

/// Whether fields are such as are carried.
fn is_own(extra: &Extra) -> bool {
    let Some(Value::Object(message)) = extra.get(MESSAGE) else {
        return false;
    };
    [DETAILS, CALLS]
        .iter()
        .any(|key| message.get(*key).is_some_and(Value::is_array))
        || message.contains_key(PROOF)
        || message.contains_key(BESIDE)
}
