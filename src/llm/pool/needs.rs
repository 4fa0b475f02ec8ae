//! What a call asks of a model, and whether a model has it.

use super::{Verdict, call::Call};
use crate::{
    Extensible, Principal,
    llm::{
        ChatRequest, Content, EmbedInput, Operation, Part, ResponseFormat, Role, ToolChoice,
        catalog::{Ability, Kind, Modality, ModelFacts, Money, Set},
    },
};
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// What a call needs beside what is in it, as [`Pool::needs`](super::Pool::needs) says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub(super) region: Option<Arc<str>>,
    pub(super) most: Option<Money>,
    pub(super) abilities: Set<Ability>,
}

impl Needs {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry in this [region](super::Entry::region), and in no other: one that does not say where it is,
    /// is not in it.
    #[must_use]
    pub fn region(mut self, region: impl Into<Arc<str>>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// One that takes no more than this for the call, by the catalog: for its input as it is estimated,
    /// and for as much output as the call asks for, or else the model has, at the most. One without a price
    /// may take more.
    #[must_use]
    pub fn max_price(mut self, most: Money) -> Self {
        self.most = Some(most);
        self
    }

    /// One that is not known to lack this.
    #[must_use]
    pub fn ability(mut self, ability: Ability) -> Self {
        self.abilities = self.abilities.and(ability);
        self
    }
}

/// What a conversation asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asks {
    pub(super) abilities: Set<Ability>,
    pub(super) input: Set<Modality>,
}

impl Asks {
    /// `None`: it cannot be read, or is no conversation.
    pub(super) fn of(request: &ChatRequest) -> Option<Self> {
        let chat = request.chat().ok()?;
        let mut asks = Self::default();
        if !chat.tools.is_empty() && chat.tool_choice != Some(ToolChoice::None) {
            asks.abilities = asks.abilities.and(Ability::Tools);
            if let Some(ToolChoice::Required | ToolChoice::Tool(_)) = chat.tool_choice {
                asks.abilities = asks.abilities.and(Ability::ForcedTools);
            }
        }
        if let Some(ResponseFormat::JsonSchema { .. }) = chat.response_format {
            asks.abilities = asks.abilities.and(Ability::StructuredOutput);
        }
        let parts = chat.messages.iter().flat_map(|message| &message.parts);
        asks.input = parts.fold(asks.input, with_input);
        Some(asks)
    }
}

fn with_input(input: Set<Modality>, part: &Part) -> Set<Modality> {
    match &part.content {
        Content::Image { .. } => input.and(Modality::Image),
        Content::Audio(_) => input.and(Modality::Audio),
        Content::File { .. } => input.and(Modality::File),
        Content::ToolResult { parts, .. } => parts.iter().fold(input, with_input),
        _ => input,
    }
}

/// The abilities that are held against what a conversation asks for.
const CHECKED: [Ability; 4] = [
    Ability::Tools,
    Ability::ForcedTools,
    Ability::StructuredOutput,
    Ability::Streaming,
];

/// What a model is known to lack of what is asked. Nothing is parsed for a model that can do it all.
pub(super) fn lacks(facts: &ModelFacts, call: &Call<'_>, needs: Option<&Needs>) -> Option<Verdict> {
    let request = call.request();
    let kind = match request.operation() {
        Operation::Chat | Operation::Completions => Some(Kind::Chat),
        Operation::Embeddings => Some(Kind::Embeddings),
        Operation::Rerank => Some(Kind::Rerank),
        Operation::CountTokens | Operation::Passthrough(_) => None,
    };
    if kind.is_some_and(|kind| kind != facts.kind) {
        return Some(Verdict::Kind);
    }
    if let Some(needs) = needs
        && let Some(lacking) = facts.cannot.iter().find(|one| needs.abilities.has(*one))
    {
        return Some(of_ability(lacking));
    }
    if kind != Some(Kind::Chat) {
        return None;
    }
    let mut checked = CHECKED.into_iter();
    if let Some(lacking) = checked.find(|one| facts.cannot.has(*one) && call.asks_for(*one)) {
        return Some(of_ability(lacking));
    }
    if let Some(takes) = facts.input
        && call.may_have_media()
        && let Some(asks) = call.asks()
        && asks.input.iter().any(|one| !takes.has(one))
    {
        return Some(Verdict::Modality);
    }
    if let Some(window) = facts.window
        && may_be_longer(request, window)
        && call.tokens() > window
    {
        return Some(Verdict::Window);
    }
    None
}

/// Whether it is known to do all that is asked.
pub(super) fn surely_can(facts: &ModelFacts, call: &Call<'_>, needs: Option<&Needs>) -> bool {
    let Some(asks) = call.asks() else {
        return false;
    };
    let own = needs.map_or(Set::EMPTY, |needs| needs.abilities);
    let mut abilities = asks.abilities.iter().chain(own.iter());
    let takes = |one| facts.input.is_some_and(|takes| takes.has(one));
    abilities.all(|one| facts.can.has(one))
        && asks.input.iter().all(takes)
        && facts.window.is_some()
}

fn of_ability(ability: Ability) -> Verdict {
    match ability {
        Ability::Tools | Ability::ForcedTools | Ability::ParallelTools => Verdict::Tools,
        Ability::StructuredOutput => Verdict::StructuredOutput,
        _ => Verdict::Ability,
    }
}

/// Whether there may be anything but text. Bytes that hold none of these words hold no picture, sound or
/// document in any of the clients' protocols, and need not be parsed to know.
pub(super) fn may_have_media(request: &ChatRequest) -> bool {
    const WORDS: [&[u8]; 6] = [
        b"image",
        b"audio",
        b"file",
        b"document",
        b"inlineData",
        b"inline_data",
    ];
    let Some(wire) = request.wire() else {
        return true;
    };
    let has = |word: &&[u8]| memchr::memmem::find(&wire.bytes, word).is_some();
    // `fileData` and `file_data` have `file` in them, and escapes can spell anything.
    WORDS.iter().any(has) || has(&&b"\\u"[..])
}

/// Whether it may have more tokens than this: no token is shorter than a byte.
fn may_be_longer(request: &ChatRequest, window: u64) -> bool {
    let wire = request.wire();
    wire.is_none_or(|wire| wire.bytes.len() as u64 > window)
}

const MEDIA: u64 = 1000;
const AROUND: u64 = 4;

/// A token for each four bytes of text.
pub(super) fn rough(request: &ChatRequest) -> u64 {
    let bytes = || {
        let wire = request.wire();
        wire.map_or(0, |wire| wire.bytes.len() as u64 / 4)
    };
    match request.operation() {
        Operation::Embeddings => request.embedding().map_or_else(
            |_| bytes(),
            |embed| {
                let tokens = embed.inputs.iter().map(|input| match input {
                    EmbedInput::Text(text) => text.len() as u64 / 4 + 1,
                    EmbedInput::Tokens(tokens) => tokens.len() as u64,
                });
                tokens.sum()
            },
        ),
        Operation::Rerank | Operation::Passthrough(_) => bytes(),
        _ => request.chat().map_or_else(
            |_| bytes(),
            |chat| {
                let messages = chat.messages.iter();
                let said = messages.map(|message| {
                    let parts = message.parts.iter().map(of_part);
                    AROUND + parts.sum::<u64>()
                });
                let tools = chat.tools.iter().map(|tool| {
                    let description = tool.description.as_ref().map_or(0, String::len);
                    let parameters = tool.parameters.as_ref();
                    let parameters = parameters.map_or(0, |schema| schema.to_string().len());
                    (tool.name.len() + description + parameters) as u64 / 4
                });
                said.chain(tools).sum()
            },
        ),
    }
}

fn of_part(part: &Part) -> u64 {
    let text = |text: &str| text.len() as u64 / 4 + 1;
    match &part.content {
        Content::Text(said) | Content::Refusal(said) => text(said),
        Content::Image { .. } | Content::Audio(_) | Content::File { .. } => MEDIA,
        Content::ToolCall(call) => text(&call.name) + text(&call.arguments),
        Content::ToolResult { parts, .. } => parts.iter().map(of_part).sum(),
        Content::Reasoning(thought) => text(&thought.text),
        Content::Other(_) => MEDIA,
    }
}

/// By what a conversation is known again: who has it, what the operator says, and the first thing that the
/// person said. `None`: it is no conversation.
pub(super) fn conversation(request: &ChatRequest, hash: &mut impl Hasher) -> Option<()> {
    let chat = request.chat().ok()?;
    if let Some(who) = Principal::of(request) {
        who.id().hash(hash);
    }
    request.model().hash(hash);
    for message in &chat.messages {
        for text in message.parts.iter().filter_map(Part::as_text) {
            text.hash(hash);
        }
        if message.role == Role::User {
            return Some(());
        }
    }
    // Without a word of the person there is nothing to know it by.
    None
}

/// The catalog's facts of a model at a vendor.
pub(super) fn known(
    request: &ChatRequest,
    own: Option<&crate::llm::catalog::Catalog>,
    vendor: &str,
    model: &str,
) -> Option<crate::llm::catalog::Entry> {
    use crate::llm::catalog::Catalog;
    let given = || request.extensions().get::<Catalog>();
    match own.or_else(given) {
        Some(catalog) => catalog.get(vendor, model),
        None => Catalog::builtin().get(vendor, model),
    }
}
