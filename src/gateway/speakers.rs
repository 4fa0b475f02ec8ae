//! Who speaks which protocol, as far as a gateway can see.

use crate::llm::{Protocol, Provider, Shared, Simulator};
use std::{any::Any, collections::BTreeSet, sync::Arc};

/// Those whose clients may hold what proves a thought.
const PROTOCOLS: [Protocol; 4] = [
    Protocol::OpenAi,
    Protocol::Responses,
    Protocol::Anthropic,
    Protocol::Gemini,
];

/// The vendors of a gateway, by protocol.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    names: [BTreeSet<Arc<str>>; PROTOCOLS.len()],
    /// One that cannot be looked into: it may be anyone's, and of several.
    hidden: bool,
}

impl Speakers {
    /// Counts a service that answers for models.
    pub(super) fn add(&mut self, service: &dyn Any) {
        let Some(provider) = service.downcast_ref::<Provider>() else {
            // What it thinks is made up, and proven by nobody.
            self.hidden |= !service.is::<Simulator>();
            return;
        };
        let spoken = [provider.protocol()].into_iter();
        let spoken: Vec<_> = spoken.chain(provider.besides().iter().copied()).collect();
        for (protocol, names) in PROTOCOLS.iter().zip(&mut self.names) {
            if spoken.contains(protocol) {
                names.insert(provider.name().into());
            }
        }
    }

    /// The protocols that more than one speaks; `None` if there is none.
    pub(super) fn shared(&self) -> Option<Shared> {
        let all = PROTOCOLS.iter().zip(&self.names);
        let several = all.filter(|(_, names)| self.hidden || names.len() > 1);
        let shared = several.fold(Shared::default(), |shared, (protocol, _)| {
            shared.and(*protocol)
        });
        (shared != Shared::default()).then_some(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(services: &[&dyn Any]) -> Vec<Protocol> {
        let mut speakers = Speakers::default();
        for service in services {
            speakers.add(*service);
        }
        let shared = speakers.shared().unwrap_or_default();
        let has = |protocol: &Protocol| shared.has(*protocol);
        PROTOCOLS.into_iter().filter(has).collect()
    }

    #[test]
    fn a_protocol_is_shared_by_two_names() {
        let (openai, groq) = (Provider::openai("k"), Provider::groq("k"));
        let gemini = Provider::gemini("k");
        let claude = Provider::anthropic("k");
        let lab = Provider::custom("lab", "http://127.0.0.1:1").unwrap();
        let lab = lab.speaking(Protocol::Anthropic);
        assert_eq!(shared(&[&openai, &gemini, &claude]), []);
        assert_eq!(shared(&[&openai, &openai.clone().model("gpt-5")]), []);
        let both = [Protocol::OpenAi, Protocol::Responses];
        assert_eq!(shared(&[&openai, &groq]), both);
        let mistral = Provider::mistral("k");
        assert_eq!(shared(&[&openai, &mistral]), [Protocol::OpenAi]);
        assert_eq!(
            shared(&[&claude, &lab, &Simulator::new()]),
            [Protocol::Anthropic]
        );
    }

    #[test]
    fn a_service_that_cannot_be_looked_into_may_be_anyones() {
        assert_eq!(shared(&[&"layers around a provider"]), PROTOCOLS);
    }
}
