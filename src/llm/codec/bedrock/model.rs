//! What models behind the vendor take beside what the protocol has, by the catalog and as far as
//! their names tell.
//!
//! The name is that of a model (`anthropic.claude-sonnet-4-5-20250929-v1:0`), of an inference profile
//! (the same behind `us.`, `global.` and the like), or an ARN, whose last part is one of the two or tells
//! nothing.

use crate::llm::{
    catalog::ModelFacts,
    codec::anthropic::model::{Ability, Sampling, Thinking, ability},
};

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Anthropic,
    /// Amazon's Nova, and whether it is of those that think.
    Nova(bool),
    OpenAi,
    Mistral,
    Cohere,
    /// Those that are known to hold no answer to a schema.
    Plain,
    Other,
}

impl Maker {
    fn of(name: &str) -> Self {
        match name.split_once('.').map_or((name, ""), |both| both) {
            ("anthropic", _) => Self::Anthropic,
            ("amazon", model) if model.starts_with("nova-2") => Self::Nova(true),
            ("amazon", model) if model.starts_with("nova") => Self::Nova(false),
            ("amazon" | "meta" | "ai21", _) => Self::Plain,
            ("openai", _) => Self::OpenAi,
            ("mistral", _) => Self::Mistral,
            ("cohere", _) => Self::Cohere,
            _ if name.contains("claude-") => Self::Anthropic,
            _ => Self::Other,
        }
    }
}

/// What a model can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    pub(super) maker: Maker,
    pub(super) ability: Ability,
}

impl Model {
    pub(super) fn of(name: &str, facts: Option<&ModelFacts>) -> Self {
        let name = foundation(name);
        let maker = Maker::of(name);
        let ability = match maker {
            Maker::Anthropic => ability(name, facts),
            _ => Ability {
                thinking: Thinking::None,
                sampling: Sampling::Both,
                schemas: !matches!(maker, Maker::Nova(_) | Maker::Cohere | Maker::Plain),
                forced: true,
                most_output: 8192,
            },
        };
        Self { maker, ability }
    }

    /// Whether it can be told where what it shall cache ends. Of models that nobody knows, what a
    /// client says of them is believed.
    pub(super) fn caches(self) -> bool {
        matches!(self.maker, Maker::Anthropic | Maker::Nova(_) | Maker::Other)
    }

    /// Whether it keeps it for an hour if it is told to.
    pub(super) fn caches_for_long(self) -> bool {
        match self.maker {
            // Both came with the same versions.
            Maker::Anthropic => self.ability.schemas,
            maker => maker == Maker::Other,
        }
    }

    /// Whether it can be told that a tool failed.
    pub(super) fn takes_status(self) -> bool {
        matches!(self.maker, Maker::Anthropic | Maker::Nova(_))
    }
}

/// The name of the model behind a profile or an ARN, as far as it tells.
pub(super) fn foundation(name: &str) -> &str {
    const WHERE: [&str; 8] = [
        "us.", "eu.", "apac.", "global.", "us-gov.", "jp.", "au.", "ca.",
    ];
    let name = name.rsplit('/').next().unwrap_or(name);
    let bare = WHERE.iter().find_map(|start| name.strip_prefix(start));
    bare.unwrap_or(name)
}

/// Whether the vendor counts the tokens of a conversation with this model.
#[cfg(all(feature = "client", feature = "tokens"))]
pub(crate) fn counts(name: &str) -> bool {
    Maker::of(foundation(name)) == Maker::Anthropic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_made_a_model() {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile";
        for (name, maker, schemas) in [
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                Maker::Anthropic,
                true,
            ),
            (
                "anthropic.claude-3-haiku-20240307-v1:0",
                Maker::Anthropic,
                false,
            ),
            (
                &format!("{arn}/global.anthropic.claude-opus-4-6-v1"),
                Maker::Anthropic,
                true,
            ),
            ("us.amazon.nova-2-lite-v1:0", Maker::Nova(true), false),
            ("amazon.nova-micro-v1:0", Maker::Nova(false), false),
            ("amazon.titan-text-lite-v1", Maker::Plain, false),
            ("openai.gpt-oss-120b-1:0", Maker::OpenAi, true),
            ("abc123def456", Maker::Other, true),
        ] {
            let model = Model::of(name, None);
            assert_eq!(
                (model.maker, model.ability.schemas),
                (maker, schemas),
                "{name}"
            );
        }
        let thinking = |name| Model::of(name, None).ability.thinking;
        assert!(matches!(
            thinking("us.anthropic.claude-sonnet-4-20250514-v1:0"),
            Thinking::Budget(_)
        ));
        assert!(matches!(
            thinking("us.anthropic.claude-sonnet-4-6"),
            Thinking::Adaptive(..)
        ));
    }
}
