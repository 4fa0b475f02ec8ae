//! A conversation on its way into a protocol that has it as a list of messages, each of one role, with
//! the answer of a tool as a message of its own.
//!
//! What the vendors of such protocols refuse is put in order here: answers stand right behind the
//! calls, in their order and in pairs.

use super::{base64, translation::Translation, turns::ByCall};
use crate::llm::{Chat, Content, Media, Part, Role, ToolCall};
use std::{collections::HashMap, mem};

/// A message.
#[derive(Debug)]
pub(crate) enum Turn<'c> {
    /// What the operator says, text by text.
    System(Vec<String>),
    /// What the person says and shows.
    User(Vec<Piece<'c>>),
    /// What the model thought, said and called.
    Model(Said<'c>),
    /// What a tool answered.
    Result(Answer<'c>),
}

/// A piece of what a person says.
#[derive(Debug)]
pub(crate) enum Piece<'c> {
    Text(String),
    Image {
        source: &'c Media,
        detail: Option<&'c str>,
        /// Where it stands in the client's request.
        place: String,
    },
}

/// What a model said.
#[derive(Debug, Default)]
pub(crate) struct Said<'c> {
    pub(crate) thoughts: Vec<Thought<'c>>,
    pub(crate) texts: Vec<String>,
    pub(crate) calls: Vec<Call<'c>>,
}

/// What the model that is asked thought before.
#[derive(Debug)]
pub(crate) struct Thought<'c> {
    pub(crate) text: &'c str,
    /// Its own proof of it, which may be empty.
    pub(crate) proof: String,
}

/// A call, and where it stands in the client's request.
#[derive(Debug)]
pub(crate) struct Call<'c> {
    pub(crate) call: &'c ToolCall,
    pub(crate) place: String,
}

/// An answer to a call.
#[derive(Debug)]
pub(crate) struct Answer<'c> {
    pub(crate) call: &'c str,
    /// The tool's name, as the vendor knows it.
    pub(crate) name: String,
    pub(crate) text: String,
    place: String,
}

/// The messages, and in the losses what has no place in them.
pub(crate) fn turns<'c>(chat: &'c Chat, base: &mut Translation<'_>) -> Vec<Turn<'c>> {
    let mut turns = Vec::with_capacity(chat.messages.len());
    let mut called: HashMap<&str, &str> = HashMap::new();
    for (index, message) in chat.messages.iter().enumerate() {
        let whole = format!("messages[{index}]");
        base.message(message, &whole);
        let (mut texts, mut pieces, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        let mut said = Said::default();
        for (at, part) in message.parts.iter().enumerate() {
            let place = format!("{whole}.content[{at}]");
            base.fields(&part.extra, &place);
            match (message.role, &part.content) {
                (_, Content::ToolResult { call_id, .. }) => {
                    let name = called.get(&**call_id).copied().unwrap_or_default();
                    let name = base.names.sent(name).to_owned();
                    let answer = result(part, name, place, base, &mut shown);
                    turns.extend(answer.map(Turn::Result));
                }
                (Role::System | Role::Developer, Content::Text(text)) => texts.push(text.clone()),
                (Role::System | Role::Developer, _) => base.lost_kind(&place),
                (Role::Assistant, Content::Reasoning(thought)) => {
                    let unproven = thought.signature.is_none() && thought.redacted.is_none();
                    let proof = base.proof(thought.signature.as_deref());
                    let proof = proof.or_else(|| (unproven && !base.foreign).then(String::new));
                    match proof {
                        Some(proof) if thought.redacted.is_none() => {
                            let text = &*thought.text;
                            said.thoughts.push(Thought { text, proof });
                        }
                        _ => base.lost_thought(&place),
                    }
                }
                (Role::Assistant, Content::ToolCall(call)) => {
                    called.insert(&call.id, &call.name);
                    said.calls.push(Call { call, place });
                }
                (Role::Assistant, Content::Text(text) | Content::Refusal(text)) => {
                    said.texts.push(text.clone());
                }
                (Role::Assistant, _) => base.lost_kind(&place),
                _ => pieces.extend(piece(part, place, base)),
            }
        }
        let says = |text: &String| !text.is_empty();
        texts.retain(says);
        said.texts.retain(says);
        pieces.splice(0..0, shown);
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        said.thoughts.retain(|thought| !thought.text.is_empty());
        match message.role {
            Role::System | Role::Developer if !texts.is_empty() => turns.push(Turn::System(texts)),
            Role::Assistant
                if !(said.texts.is_empty()
                    && said.calls.is_empty()
                    && said.thoughts.is_empty()) =>
            {
                turns.push(Turn::Model(said));
            }
            _ if !pieces.is_empty() => turns.push(Turn::User(pieces)),
            _ => {}
        }
    }
    paired(turns, base)
}

/// A piece of what a person says, or a tool shows.
fn piece<'c>(part: &'c Part, place: String, base: &mut Translation<'_>) -> Option<Piece<'c>> {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => return Some(Piece::Text(text.clone())),
        Content::Image {
            source: source @ (Media::Data { .. } | Media::Url(_)),
            detail,
        } => {
            let detail = detail.as_deref();
            return Some(Piece::Image {
                source,
                detail,
                place,
            });
        }
        Content::File {
            source: Media::Data { mime, base64 },
            name,
        } if mime.starts_with("text/") => {
            let text = base64::decode(base64).and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(text) = text {
                let title = name.as_ref().map(|name| format!("{name}\n\n"));
                return Some(Piece::Text(title.unwrap_or_default() + &text));
            }
            base.lost_kind(&place);
        }
        Content::Image { .. }
        | Content::File {
            source: Media::Id(_) | Media::Url(_),
            ..
        } => {
            let why = "The provider cannot see where it is.";
            base.losses.add(&place, why);
        }
        _ => base.lost_kind(&place),
    }
    None
}

/// What a tool answered. What it shows beside text is shown by the user, behind the answers.
fn result<'c>(
    part: &'c Part,
    name: String,
    place: String,
    base: &mut Translation<'_>,
    shown: &mut Vec<Piece<'c>>,
) -> Option<Answer<'c>> {
    let Content::ToolResult {
        call_id,
        parts,
        is_error,
    } = &part.content
    else {
        return None;
    };
    if *is_error == Some(true) {
        let why = "Only the text of the result tells it.";
        base.losses.add(format_args!("{place}.is_error"), why);
    }
    let mut texts = Vec::new();
    for (deep, inner) in parts.iter().enumerate() {
        let place = format!("{place}.content[{deep}]");
        base.fields(&inner.extra, &place);
        match piece(inner, place.clone(), base) {
            Some(Piece::Text(text)) => texts.push(text),
            Some(image) => {
                let why = "It is shown by the user, behind the result.";
                base.losses.add(place, why);
                shown.push(image);
            }
            None => {}
        }
    }
    Some(Answer {
        call: call_id,
        name,
        text: texts.join("\n"),
        place,
    })
}

/// Gives every call its answer, right behind the calls and in their order, and no answer without a
/// call.
fn paired<'c>(turns: Vec<Turn<'c>>, base: &mut Translation<'_>) -> Vec<Turn<'c>> {
    let mut out: Vec<Turn<'c>> = Vec::with_capacity(turns.len());
    let (mut open, mut given, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for turn in turns {
        match turn {
            Turn::Result(answer) => given.push(answer),
            Turn::Model(said) => {
                answered(&mut out, &mut open, &mut given, &mut others, base);
                open = said.calls.iter().map(|call| call.call).collect();
                out.push(Turn::Model(said));
            }
            other => others.push(other),
        }
    }
    answered(&mut out, &mut open, &mut given, &mut others, base);
    out
}

fn answered<'c>(
    out: &mut Vec<Turn<'c>>,
    open: &mut Vec<&'c ToolCall>,
    given: &mut Vec<Answer<'c>>,
    others: &mut Vec<Turn<'c>>,
    base: &mut Translation<'_>,
) {
    let mut given = ByCall::new(mem::take(given), |answer| answer.call);
    for call in open.drain(..) {
        let answer = match given.take(&call.id) {
            Some(answer) => answer,
            None => {
                let why = "A call without a result is given one that says so.";
                base.losses.add("messages", why);
                Answer {
                    call: &call.id,
                    name: base.names.sent(&call.name).to_owned(),
                    text: "No result was given.".to_owned(),
                    place: String::new(),
                }
            }
        };
        out.push(Turn::Result(answer));
    }
    for orphan in given.left() {
        let why = "It answers no call of the turn before.";
        base.losses.add(orphan.place, why);
    }
    out.extend(mem::take(others));
}
