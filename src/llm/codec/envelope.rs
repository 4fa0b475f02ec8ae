//! What proves a thought, bound to the one who made it.
//!
//! A vendor signs what its model thought, and wants to see it again, unchanged, with what the model
//! said after it. Another vendor, or another of its models, refuses what it did not sign. So a proof
//! that goes to a client in another protocol goes in an envelope that names its maker: protocol,
//! vendor and family of the model. The client keeps it in a field that it sends back without looking;
//! on the way in it is opened for that maker, and for nobody else.
//!
//! Where client and vendor speak the same protocol bytes pass as they are, and proofs without an
//! envelope. Nobody can tell then which vendor of that protocol made one that comes back: it goes to
//! whichever is asked.
//!
//! A thought that its maker did not sign gets an envelope with nothing in it, for its origin.

use crate::llm::{
    ChatRequest, Delta, Event, Protocol,
    catalog::{Catalog, Entry},
};
use std::{collections::BTreeSet, mem, sync::Arc};

/// Who makes an answer, and who may see again what it thought.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    pub(crate) protocol: Protocol,
    pub(crate) vendor: Arc<str>,
    pub(crate) model: Arc<str>,
}

const MARK: &str = "tg1:";

impl Maker {
    /// What is known of the model, by the catalog of the request.
    pub(crate) fn facts(&self, request: &ChatRequest) -> Option<Entry> {
        Catalog::of(request).get(&self.vendor, &self.model)
    }

    fn address(&self) -> String {
        let protocol = match self.protocol {
            Protocol::OpenAi => "openai",
            Protocol::Responses => "responses",
            Protocol::Anthropic => "anthropic",
            Protocol::Gemini => "gemini",
            Protocol::Bedrock => "bedrock",
            Protocol::Cohere => "cohere",
            Protocol::Ollama => "ollama",
        };
        let vendor = self.vendor.replace(':', "_");
        format!("{MARK}{protocol}:{vendor}:{}:", family(&self.model))
    }

    /// The proof in its envelope.
    pub(crate) fn seal(&self, proof: &str) -> String {
        self.address() + proof
    }

    /// The proof, if it is for this one. What has no envelope is a vendor's own, and is for those who
    /// speak as the client does; what was made here is for whoever it is sent to.
    pub(crate) fn open<'a>(&self, proof: &'a str, origin: Option<Protocol>) -> Option<&'a str> {
        if proof.starts_with(MARK) {
            return proof.strip_prefix(&*self.address());
        }
        let own = origin.is_none_or(|origin| origin == self.protocol);
        own.then_some(proof)
    }
}

/// Whether these bytes of a client may hold an envelope: they cannot go on as they are.
pub(crate) fn is_in(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\"tg1:").is_some()
}

/// The name of a model without what tells its versions of one kind apart: who hosts it, and dates.
fn family(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let mut name = name.split(['@', ':']).next().unwrap_or(name);
    name = name.strip_suffix("-latest").unwrap_or(name);
    let date = |tail: &str| {
        let digits = tail.bytes().filter(u8::is_ascii_digit).count();
        digits == 8
            && tail
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    for length in [9, 11] {
        if let Some((start, tail)) = name
            .len()
            .checked_sub(length)
            .and_then(|at| name.split_at_checked(at))
            && tail.starts_with('-')
            && date(tail)
        {
            name = start;
        }
    }
    name.to_ascii_lowercase()
}

/// Puts the proofs of one answer into envelopes.
#[derive(Debug)]
pub(crate) struct Sealer {
    maker: Maker,
    /// Choices with a thought that was not proven yet.
    open: BTreeSet<u32>,
}

impl Sealer {
    pub(crate) fn new(maker: Maker) -> Self {
        let open = BTreeSet::new();
        Self { maker, open }
    }

    /// The same events.
    pub(crate) fn sealed(&mut self, events: Vec<Event>) -> Vec<Event> {
        let mut out = Vec::with_capacity(events.len());
        for mut event in events {
            let choice = match &mut event {
                Event::Delta { choice, delta } => {
                    match delta {
                        Delta::Reasoning(_) => {
                            self.open.insert(*choice);
                            out.push(event);
                            continue;
                        }
                        Delta::Signature(proof) => {
                            *proof = self.maker.seal(&mem::take(proof));
                            self.open.remove(choice);
                        }
                        Delta::Redacted(data) => *data = self.maker.seal(&mem::take(data)),
                        Delta::Extra(_) => {
                            out.push(event);
                            continue;
                        }
                        _ => {}
                    }
                    *choice
                }
                Event::Finish { choice, .. } => *choice,
                _ => {
                    out.push(event);
                    continue;
                }
            };
            if self.open.remove(&choice) {
                let delta = Delta::Signature(self.maker.seal(""));
                out.push(Event::Delta { choice, delta });
            }
            out.push(event);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::FinishReason;

    fn maker(protocol: Protocol, vendor: &str, model: &str) -> Maker {
        Maker {
            protocol,
            vendor: vendor.into(),
            model: model.into(),
        }
    }

    #[test]
    fn rule_14_a_proof_is_for_its_maker_alone() {
        let own = maker(
            Protocol::Anthropic,
            "anthropic",
            "claude-sonnet-4-5-20250929",
        );
        let sealed = own.seal("proof:1");
        let same = maker(Protocol::Anthropic, "anthropic", "claude-sonnet-4-5");
        assert_eq!(same.open(&sealed, Some(Protocol::OpenAi)), Some("proof:1"));
        for other in [
            maker(Protocol::Anthropic, "anthropic", "claude-opus-4-5"),
            maker(Protocol::Anthropic, "lab", "claude-sonnet-4-5"),
            maker(Protocol::OpenAi, "anthropic", "claude-sonnet-4-5"),
        ] {
            assert_eq!(other.open(&sealed, Some(Protocol::OpenAi)), None);
        }
        assert_eq!(same.open("raw", Some(Protocol::Anthropic)), Some("raw"));
        assert_eq!(same.open("raw", Some(Protocol::OpenAi)), None);
        assert_eq!(same.open("raw", None), Some("raw"));
    }

    #[test]
    fn dates_make_no_family() {
        for (model, name) in [
            ("claude-3-5-haiku-20241022", "claude-3-5-haiku"),
            ("anthropic/claude-3-opus-latest", "claude-3-opus"),
            ("gpt-5-2025-08-07", "gpt-5"),
            ("claude-opus-4@20250514", "claude-opus-4"),
            (
                "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
                "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            ),
        ] {
            assert_eq!(family(model), name);
        }
    }

    #[test]
    fn what_nobody_signed_has_an_empty_envelope() {
        let delta = |delta| Event::Delta { choice: 0, delta };
        let mut sealer = Sealer::new(maker(Protocol::OpenAi, "lab", "r1"));
        let mut out = sealer.sealed(vec![delta(Delta::Reasoning("a".into()))]);
        out.extend(sealer.sealed(vec![
            delta(Delta::Text("b".into())),
            Event::Finish {
                choice: 0,
                reason: FinishReason::Stop,
            },
        ]));
        assert_eq!(out[1], delta(Delta::Signature("tg1:openai:lab:r1:".into())));
        assert_eq!(out.len(), 4);
    }
}
