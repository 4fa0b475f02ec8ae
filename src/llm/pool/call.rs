//! What is asked, as conditions and strategies look at it.

use super::needs::{Asks, may_have_media, rough};
use crate::{
    Extensible, Principal,
    llm::{
        ChatRequest, Operation,
        catalog::{Ability, ModelFacts},
    },
};
use http::HeaderMap;
use std::{cell::OnceCell, fmt};

/// How many tokens an answer has that says no more of itself.
const USUAL: u64 = 512;

/// A call of a pool, for [conditions](super::Entry::when) and [needs](super::Pool::needs).
///
/// What must be parsed for an answer is parsed when it is asked for first, and once.
pub struct Call<'a> {
    request: &'a ChatRequest,
    tokens: OnceCell<u64>,
    asks: OnceCell<Option<Asks>>,
    media: OnceCell<bool>,
    /// How many tokens of output it asks for at the most, and how many answers.
    output: OnceCell<Option<(Option<u64>, u64)>>,
}

impl<'a> Call<'a> {
    pub(super) fn new(request: &'a ChatRequest) -> Self {
        Self {
            request,
            tokens: OnceCell::new(),
            asks: OnceCell::new(),
            media: OnceCell::new(),
            output: OnceCell::new(),
        }
    }

    /// The request. Its [model](ChatRequest::model) is the name of the pool.
    #[must_use]
    pub fn request(&self) -> &'a ChatRequest {
        self.request
    }

    /// Who calls, if authentication found that out.
    #[must_use]
    pub fn principal(&self) -> Option<&'a Principal> {
        Principal::of(self.request)
    }

    /// The headers that the client sent.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.request.headers()
    }

    /// What the client says of the call under this name in the body's `metadata`, where that is a text.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&'a str> {
        let chat = self.request.chat().ok()?;
        chat.extra.get("metadata")?.get(name)?.as_str()
    }

    /// All of that. At most 128, or none.
    #[cfg(feature = "cel")]
    pub(super) fn all_metadata(&self) -> Vec<(&'a str, &'a str)> {
        let chat = self.request.chat().ok();
        let all = chat.and_then(|chat| chat.extra.get("metadata")?.as_object());
        let all = all.filter(|all| all.len() <= 128).into_iter().flatten();
        all.filter_map(|(name, value)| Some((&**name, value.as_str()?)))
            .collect()
    }

    /// About how many tokens its input has.
    ///
    /// With the feature `tokens`, and the [encoding](crate::llm::tokens::Encoding::preload) in memory, as
    /// [`count`](crate::llm::tokens::count) says; else one for each four bytes of text, and 1,000 for each
    /// picture, sound and document.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        *self.tokens.get_or_init(|| {
            let counted = counted(self.request);
            counted.unwrap_or_else(|| rough(self.request))
        })
    }

    /// How many tokens of an answer are priced where one entry is held against another: 512, or as many as
    /// are asked for if those are fewer.
    pub(super) fn output(&self) -> u64 {
        let asked = self.asked_output();
        asked.map_or(0, |(most, _)| most.unwrap_or(USUAL).min(USUAL))
    }

    /// How many it may have of a model at the most, in all of the answers that are asked for: as many as
    /// are asked for, and no more than the model has. 512 if neither is known.
    pub(super) fn most_output(&self, facts: Option<&ModelFacts>) -> u64 {
        let Some((asked, answers)) = self.asked_output() else {
            return 0;
        };
        let can = facts.and_then(|facts| facts.max_output);
        let most = [asked, can].into_iter().flatten().min();
        most.unwrap_or(USUAL).saturating_mul(answers)
    }

    /// `None`: it is no conversation.
    fn asked_output(&self) -> Option<(Option<u64>, u64)> {
        *self.output.get_or_init(|| {
            let converses = matches!(
                self.request.operation(),
                Operation::Chat | Operation::Completions
            );
            converses.then(|| {
                let chat = self.request.chat();
                chat.map_or((None, 1), |chat| {
                    let sampling = &chat.sampling;
                    let answers = sampling.n.unwrap_or(1).max(1);
                    (sampling.max_tokens, answers.into())
                })
            })
        })
    }

    /// Whether there may be anything but text.
    pub(super) fn may_have_media(&self) -> bool {
        *self.media.get_or_init(|| may_have_media(self.request))
    }

    /// What it asks of a model. `None`: it cannot be read, or is no conversation.
    pub(super) fn asks(&self) -> Option<Asks> {
        *self.asks.get_or_init(|| Asks::of(self.request))
    }

    /// Whether it asks for this, where that matters.
    pub(super) fn asks_for(&self, ability: Ability) -> bool {
        match ability {
            Ability::Streaming => self.request.streams(),
            ability => self.asks().is_some_and(|asks| asks.abilities.has(ability)),
        }
    }
}

/// How many bytes of a body are counted at the most: of so many it takes some milliseconds.
#[cfg(feature = "tokens")]
const MOST_COUNTED: usize = 128 << 10;

#[cfg(feature = "tokens")]
fn counted(request: &ChatRequest) -> Option<u64> {
    use crate::llm::tokens::ModelTokenizer;
    let small = request
        .wire()
        .is_none_or(|wire| wire.bytes.len() <= MOST_COUNTED);
    let tokenizer = ModelTokenizer::of(request.model());
    // The first count of all would block for as long as it takes to load the tables.
    if !small || !tokenizer.encoding().is_loaded() {
        return None;
    }
    let count = tokenizer.request(request).ok()?;
    Some(count.total().tokens)
}

#[cfg(not(feature = "tokens"))]
fn counted(_: &ChatRequest) -> Option<u64> {
    None
}

// What is said stays where it is.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("model", self.request.model())
            .finish_non_exhaustive()
    }
}
