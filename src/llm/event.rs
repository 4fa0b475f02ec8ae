//! What a model answers, piece by piece and as a whole.

use super::message::{Content, Extra, Message, Part, Reasoning, Role, ToolCall};
use super::rerank::Ranked;
use crate::exchange::Usage;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The first of an answer.
    Start(Start),
    /// More of one choice.
    Delta {
        /// Which of the choices, from 0.
        choice: u32,
        /// What is added.
        delta: Delta,
    },
    /// One choice is complete.
    Finish {
        /// Which of the choices.
        choice: u32,
        /// Why it ended.
        reason: FinishReason,
    },
    /// What was used so far. The last one counts.
    Usage(Usage),
    /// A vector.
    Embedding {
        /// Of which input.
        index: u32,
        /// The vector.
        vector: Vec<f32>,
    },
    /// How many tokens the conversation has, where that was asked.
    Tokens(u64),
    /// How well a document fits. The best comes first.
    Ranked(Ranked),
    /// Bytes that are passed on as they are: those of its batch.
    Opaque,
}

impl Event {
    /// Whether a reader would see anything of it: from then on no other answer may take its place.
    #[must_use]
    pub fn is_content(&self) -> bool {
        match self {
            Self::Delta { delta, .. } => match delta {
                Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) => {
                    !text.is_empty()
                }
                Delta::ToolCall { .. } | Delta::Audio(_) => true,
                Delta::Signature(_) | Delta::Redacted(_) | Delta::Extra(_) => false,
            },
            Self::Finish { .. }
            | Self::Embedding { .. }
            | Self::Tokens(_)
            | Self::Ranked(_)
            | Self::Opaque => true,
            Self::Start(_) | Self::Usage(_) => false,
        }
    }
}

/// The head of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Start {
    /// The vendor's name of the answer.
    pub id: String,
    /// The model that answers, as the vendor calls it.
    pub model: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Unknown fields, such as `system_fingerprint`.
    pub extra: Extra,
}

impl Start {
    /// The head of an answer.
    #[must_use]
    pub fn new(id: impl Into<String>, model: impl Into<String>, created: u64) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            created,
            extra: Extra::new(),
        }
    }
}

/// What is added to a choice.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delta {
    /// Text.
    Text(String),
    /// Text of a thought.
    Reasoning(String),
    /// The proof of the thought so far.
    Signature(String),
    /// A thought that only the vendor can read.
    Redacted(String),
    /// Text of a refusal.
    Refusal(String),
    /// A part of a call of a tool.
    ToolCall {
        /// Which of the calls of this choice, from 0.
        index: u32,
        /// Its name, once.
        id: Option<String>,
        /// The name of the tool, once.
        name: Option<String>,
        /// More of the text of its arguments.
        arguments: String,
    },
    /// Sound, in the form of the vendor.
    Audio(serde_json::Value),
    /// Unknown fields of the choice, such as `logprobs`.
    Extra(Extra),
}

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// It was as long as it may be.
    Length,
    /// The model waits for tools.
    ToolCalls,
    /// The vendor held it back.
    ContentFilter,
    /// The vendor paused a long turn: the answer is to be sent back, for the model to go on.
    Paused,
}

/// An answer as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// Its head.
    pub start: Start,
    /// Its choices, in order.
    pub choices: Vec<Choice>,
    /// Its vectors, in order, if it is an answer of that kind.
    pub embeddings: Vec<Vec<f32>>,
    /// What was used.
    pub usage: Option<Usage>,
    /// How many tokens the conversation has, if it is an answer of that kind.
    pub tokens: Option<u64>,
    /// How well documents fit, the best first, if it is an answer of that kind.
    pub ranking: Vec<Ranked>,
}

/// One of the choices of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// What the model said.
    pub message: Message,
    /// Why it ended, if it did.
    pub finish: Option<FinishReason>,
    /// Unknown fields, such as `logprobs`. Where several events have one, arrays are joined and else
    /// the last one counts.
    pub extra: Extra,
    /// Sound, piece by piece, in the form of the vendor.
    pub audio: Vec<serde_json::Value>,
}

/// A vendor that counts its choices or calls in billions does not make us take room for them.
const MOST_CHOICES: usize = 128;
const MOST_CALLS: usize = 1024;

impl Completion {
    /// The text of the first choice.
    #[must_use]
    pub fn text(&self) -> String {
        self.choices
            .first()
            .map(|choice| choice.message.all_text())
            .unwrap_or_default()
    }

    /// The calls of the first choice.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        let parts = self
            .choices
            .first()
            .map_or(&[][..], |choice| &choice.message.parts);
        parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// Adds a piece. Pieces of choices or calls beyond 128 and 1024 are left out.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Start(start) => self.start = start,
            Event::Delta { choice, delta } => {
                if let Some(choice) = self.choice(choice) {
                    choice.push(delta);
                }
            }
            Event::Finish { choice, reason } => {
                if let Some(choice) = self.choice(choice) {
                    choice.finish = Some(reason);
                }
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Tokens(tokens) => self.tokens = Some(tokens),
            Event::Ranked(ranked) => self.ranking.push(ranked),
            Event::Opaque => {}
            Event::Embedding { index, vector } => {
                let index = index as usize;
                if index <= self.embeddings.len() {
                    self.embeddings.truncate(index);
                    self.embeddings.push(vector);
                }
            }
        }
    }

    fn choice(&mut self, index: u32) -> Option<&mut Choice> {
        let index = index as usize;
        if index >= MOST_CHOICES {
            return None;
        }
        while self.choices.len() <= index {
            self.choices.push(Choice {
                message: Message::new(Role::Assistant, []),
                finish: None,
                extra: Extra::new(),
                audio: Vec::new(),
            });
        }
        self.choices.get_mut(index)
    }
}

impl Extend<Event> for Completion {
    fn extend<T: IntoIterator<Item = Event>>(&mut self, events: T) {
        events.into_iter().for_each(|event| self.push(event));
    }
}

impl Choice {
    fn push(&mut self, delta: Delta) {
        let parts = &mut self.message.parts;
        match delta {
            Delta::Text(more) => match parts.last_mut().map(|part| &mut part.content) {
                Some(Content::Text(text)) => text.push_str(&more),
                _ if more.is_empty() => {}
                _ => parts.push(Part::text(more)),
            },
            Delta::Refusal(more) => match parts.last_mut().map(|part| &mut part.content) {
                Some(Content::Refusal(text)) => text.push_str(&more),
                _ if more.is_empty() => {}
                _ => parts.push(Content::Refusal(more).into()),
            },
            Delta::Reasoning(more) if more.is_empty() => {}
            Delta::Reasoning(more) => self.thought().text.push_str(&more),
            Delta::Signature(signature) => self.thought().signature = Some(signature),
            Delta::Redacted(data) => parts.push(
                Content::Reasoning(Reasoning {
                    redacted: Some(data),
                    ..Reasoning::default()
                })
                .into(),
            ),
            Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            } => {
                let Some(call) = self.call(index as usize) else {
                    return;
                };
                if let Some(id) = id.filter(|id| !id.is_empty()) {
                    call.id = id;
                }
                if let Some(name) = name {
                    call.name.push_str(&name);
                }
                call.arguments.push_str(&arguments);
            }
            Delta::Audio(piece) => self.audio.push(piece),
            Delta::Extra(extra) => merge(&mut self.extra, extra),
        }
    }

    /// The thought that is not yet proven, or a new one.
    fn thought(&mut self) -> &mut Reasoning {
        let parts = &mut self.message.parts;
        let open = matches!(
            parts.last().map(|part| &part.content),
            Some(Content::Reasoning(Reasoning {
                signature: None,
                redacted: None,
                ..
            }))
        );
        if !open {
            parts.push(Content::Reasoning(Reasoning::default()).into());
        }
        match parts.last_mut().map(|part| &mut part.content) {
            Some(Content::Reasoning(reasoning)) => reasoning,
            _ => unreachable!("just pushed"),
        }
    }

    fn call(&mut self, index: usize) -> Option<&mut ToolCall> {
        let parts = &mut self.message.parts;
        let calls = |parts: &[Part]| {
            parts
                .iter()
                .filter(|part| matches!(part.content, Content::ToolCall(_)))
                .count()
        };
        if index >= MOST_CALLS {
            return None;
        }
        while calls(parts) <= index {
            parts.push(Content::ToolCall(ToolCall::default()).into());
        }
        let mut calls = parts.iter_mut().filter_map(|part| match &mut part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        });
        calls.nth(index)
    }
}

/// Arrays are joined, objects are merged, and of all else the last counts.
fn merge(into: &mut Extra, from: Extra) {
    use serde_json::Value::{Array, Null, Object};
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Array(all)), Array(more)) => all.extend(more),
            (Some(Object(all)), Object(more)) => merge(all, more),
            (Some(_), Null) => {}
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(delta: Delta) -> Event {
        Event::Delta { choice: 0, delta }
    }

    #[test]
    fn pieces_of_calls_may_interleave() {
        let mut all = Completion::default();
        for (index, id, arguments) in [
            (0, Some("a"), "{"),
            (1, Some("b"), "[1"),
            (0, None, "}"),
            (1, None, "]"),
        ] {
            let id = id.map(str::to_owned);
            all.push(delta(Delta::ToolCall {
                index,
                id,
                name: None,
                arguments: arguments.into(),
            }));
        }
        let calls: Vec<_> = all
            .tool_calls()
            .map(|call| (&*call.id, &*call.arguments))
            .collect();
        assert_eq!(calls, [("a", "{}"), ("b", "[1]")]);
    }

    #[test]
    fn a_vendor_cannot_make_us_take_room() {
        let mut all = Completion::default();
        let text = Delta::Text("x".into());
        all.push(Event::Delta {
            choice: u32::MAX,
            delta: text,
        });
        all.push(delta(Delta::ToolCall {
            index: u32::MAX,
            id: None,
            name: None,
            arguments: String::new(),
        }));
        all.push(Event::Embedding {
            index: u32::MAX,
            vector: vec![],
        });
        assert!(all.choices[0].message.parts.is_empty() && all.embeddings.is_empty());
    }

    #[test]
    fn a_proven_thought_is_closed() {
        let mut all = Completion::default();
        for piece in [
            Delta::Reasoning("a".into()),
            Delta::Reasoning("b".into()),
            Delta::Signature("proof".into()),
            Delta::Reasoning("c".into()),
        ] {
            all.push(delta(piece));
        }
        let thoughts = &all.choices[0].message.parts;
        assert_eq!(thoughts.len(), 2);
        assert!(matches!(&thoughts[0].content, Content::Reasoning(r) if r.text == "ab"));
    }
}
