//! What proves a thought, bound to the one who made it.
//!
//! A vendor signs what its model thought, and wants to see it again, unchanged, with what the model
//! said after it. Another vendor, or another of its models, refuses what it did not sign. So a proof
//! that goes to a client in another protocol goes in an envelope that names its maker: protocol,
//! vendor and family of the model. The client keeps it in a field that it sends back without looking;
//! on the way in it is opened for that maker, and for nobody else.
//!
//! Where client and vendor speak the same protocol bytes pass as they are, and proofs too, as long as no
//! other vendor could be shown them. Where one could, each is [marked](super::proofs) in passing with the
//! same address. What comes back without any was made before, or elsewhere: nobody can tell by whom, and
//! it goes to whichever vendor of its protocol is asked.
//!
//! A thought that its maker did not sign gets an envelope with nothing in it, for its origin. Where a proof is
//! not a text but a field of the vendor's own, the [field](super::openai) is in it.
//!
//! # Why the maker matters
//!
//! | | another vendor | another model |
//! |---|---|---|
//! | Anthropic | documents that signatures hold at its API, at Bedrock and on Google's cloud alike ([extended thinking][an]); whoever else speaks its protocol did not make them | 400 `Invalid signature in thinking block`, as is [reported][an-model] |
//! | OpenAI | 400 `invalid_encrypted_content`: bound to the organization, so not even [two resources of Azure][az] read one another's, nor does [Azure what OpenAI][oa] sealed; what a conversation was compacted to [likewise][compact] | the same organization's other models read it |
//! | Gemini | says nothing of Vertex and its own API; a call of its third generation without a signature is a 400, and for what others called there is a [word][ge] in its place | the same word |
//!
//! The address has all of it: vendor and model. Whoever knows that two of his vendors are one in this
//! (Anthropic and Vertex, say) leaves them [unbound](crate::llm::Provider::bind_reasoning).
//!
//! [an]: https://platform.claude.com/docs/en/build-with-claude/extended-thinking
//! [an-model]: https://github.com/vybestack/llxprt-code/issues/2335
//! [az]: https://github.com/openai/codex/issues/3573
//! [oa]: https://github.com/router-for-me/CLIProxyAPI/issues/1793
//! [compact]: https://github.com/openai/codex/issues/17541
//! [ge]: https://ai.google.dev/gemini-api/docs/thought-signatures

use super::openai::Carrier;
use crate::llm::{
    ChatRequest, Delta, Event, Protocol,
    catalog::{Catalog, Entry},
};
use memchr::memmem::Finder;
use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, LazyLock},
};

/// The protocols that more than one vendor speaks where a request is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shared(u8);

impl Shared {
    /// With this protocol.
    #[cfg(feature = "gateway")]
    pub(crate) fn and(self, protocol: Protocol) -> Self {
        Self(self.0 | 1 << protocol as u8)
    }

    pub(crate) fn has(self, protocol: Protocol) -> bool {
        self.0 & 1 << protocol as u8 != 0
    }
}

/// Beside an answer in its maker's own words, if its proofs are for that maker alone.
#[derive(Clone, Debug)]
pub(crate) struct Bound(pub(crate) Maker);

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

    /// What stands before a proof: its end is a colon, and there are four.
    pub(super) fn address(&self) -> String {
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
    static START: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"tg1:"));
    START.find(bytes).is_some()
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
    /// Makes proofs of what vendors of this protocol have in fields of their own.
    carrier: Option<Carrier>,
}

impl Sealer {
    pub(crate) fn new(maker: Maker) -> Self {
        let own = maker.protocol == Protocol::OpenAi;
        Self {
            maker,
            open: BTreeSet::new(),
            carrier: own.then(Carrier::default),
        }
    }

    /// The same events.
    pub(crate) fn sealed(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        if let Some(carrier) = &mut self.carrier {
            events = carrier.carried(events);
        }
        // Where a thought ends that nobody signed, and whose.
        let mut ends = Vec::new();
        for (at, event) in events.iter_mut().enumerate() {
            let choice = match event {
                Event::Delta { choice, delta } => {
                    match delta {
                        Delta::Reasoning(_) => {
                            self.open.insert(*choice);
                            continue;
                        }
                        Delta::Signature(proof) => {
                            *proof = self.maker.seal(&mem::take(proof));
                            self.open.remove(choice);
                        }
                        Delta::Redacted(data) => *data = self.maker.seal(&mem::take(data)),
                        Delta::Extra(_) => continue,
                        _ => {}
                    }
                    *choice
                }
                Event::Finish { choice, .. } => *choice,
                _ => continue,
            };
            if self.open.remove(&choice) {
                ends.push((at, choice));
            }
        }
        if ends.is_empty() {
            return events;
        }
        let mut out = Vec::with_capacity(events.len() + ends.len());
        let mut ends = ends.into_iter().peekable();
        for (at, event) in events.into_iter().enumerate() {
            if let Some((_, choice)) = ends.next_if(|(end, _)| *end == at) {
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
