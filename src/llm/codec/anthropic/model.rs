//! What a request must know of a model to be one that is taken: by the catalog, and as far as that is
//! silent, by the model's name, as the vendor's documentation had it in November 2026.

use crate::llm::catalog::{Ability as Can, Dial, Level, ModelFacts, Off, Set};

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// Not at all.
    None,
    /// With a number of tokens, so many at the least.
    Budget(u64),
    /// As it sees fit, and how hard is told in one of these words.
    Adaptive(Set<Level>, Off),
}

/// The least that the vendor takes.
const LEAST: u64 = 1024;

/// Which of `temperature` and `top_p` it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampling {
    Both,
    One,
    Neither,
}

/// What a model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ability {
    pub(crate) thinking: Thinking,
    pub(crate) sampling: Sampling,
    /// Whether answers and arguments can be held to a schema.
    pub(crate) schemas: bool,
    /// Whether it can be made to call a tool.
    pub(crate) forced: bool,
    /// The most tokens of output, which every request must name.
    pub(crate) most_output: u64,
}

/// What the model can.
pub(crate) fn ability(model: &str, facts: Option<&ModelFacts>) -> Ability {
    let mut ability = named(model);
    let Some(facts) = facts else {
        return ability;
    };
    match facts.effort {
        Some(Dial::None) => ability.thinking = Thinking::None,
        Some(Dial::Budget { least }) => ability.thinking = Thinking::Budget(least),
        Some(Dial::Adaptive { words, off }) => ability.thinking = Thinking::Adaptive(words, off),
        // A dial of another protocol does not say how it is done in this one.
        _ => {}
    }
    ability.sampling = match (
        facts.ability(Can::Temperature),
        facts.ability(Can::TemperatureWithTopP),
    ) {
        (Some(false), _) => Sampling::Neither,
        (_, Some(false)) => Sampling::One,
        (Some(true), Some(true)) => Sampling::Both,
        _ => ability.sampling,
    };
    let schemas = facts.ability(Can::StructuredOutput);
    ability.schemas = schemas.unwrap_or(ability.schemas);
    ability.forced = facts.ability(Can::ForcedTools).unwrap_or(ability.forced);
    ability.most_output = facts.max_output.unwrap_or(ability.most_output);
    ability
}

/// What the model of this name can. Of names that are not the vendor's, little is believed.
fn named(model: &str) -> Ability {
    let Some((kind, version)) = version(model) else {
        return Ability {
            thinking: Thinking::Budget(LEAST),
            sampling: Sampling::Both,
            schemas: true,
            forced: true,
            most_output: 8192,
        };
    };
    let opus = kind == Kind::Opus;
    let most_output = match version {
        (..=2, _) | (3, 0) => 4096,
        (3, 1..=5) => 8192,
        (4, 0..=1) if opus => 32_000,
        (4, 6..) | (5.., _) if opus => 128_000,
        _ => 64_000,
    };
    let thinking = match version {
        (..=2, _) | (3, 0..=5) => Thinking::None,
        (3, _) | (4, 0..=5) => Thinking::Budget(LEAST),
        _ => {
            use Level::{High, Low, Max, Medium, Xhigh};
            let words = Set::of(&[Low, Medium, High, Max]);
            let words = match version {
                (4, 6) => words,
                _ => words.and(Xhigh),
            };
            Thinking::Adaptive(words, Off::Unasked)
        }
    };
    let sampling = match version {
        (..=3, _) | (4, 0) => Sampling::Both,
        (4, 1..=6) => Sampling::One,
        _ => Sampling::Neither,
    };
    Ability {
        thinking,
        sampling,
        schemas: version >= (4, 5) || (opus && version >= (4, 1)),
        forced: true,
        most_output,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opus,
    Other,
}

/// `claude-3-5-sonnet-20241022`, `claude-sonnet-4-5`, `anthropic/claude-opus-4.1`.
fn version(model: &str) -> Option<(Kind, (u32, u32))> {
    let (_, name) = model.rsplit_once("claude-")?;
    let mut kind = Kind::Other;
    let mut numbers = Vec::new();
    for word in name.split(['-', '.', '@', ':']) {
        match word.parse::<u32>() {
            // A date is none.
            Ok(number) if word.len() <= 2 => numbers.push(number),
            _ if word == "opus" => kind = Kind::Opus,
            _ => {}
        }
    }
    let major = *numbers.first()?;
    Some((kind, (major, numbers.get(1).copied().unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_model_can() {
        let adaptive = |xhigh| {
            use Level::{High, Low, Max, Medium, Xhigh};
            let words = Set::of(&[Low, Medium, High, Max]);
            let words = if xhigh { words.and(Xhigh) } else { words };
            Thinking::Adaptive(words, Off::Unasked)
        };
        for (name, thinking, sampling, most) in [
            (
                "claude-3-haiku-20240307",
                Thinking::None,
                Sampling::Both,
                4096,
            ),
            (
                "claude-3-5-sonnet-20241022",
                Thinking::None,
                Sampling::Both,
                8192,
            ),
            (
                "claude-3-7-sonnet-latest",
                Thinking::Budget(LEAST),
                Sampling::Both,
                64_000,
            ),
            (
                "claude-sonnet-4-20250514",
                Thinking::Budget(LEAST),
                Sampling::Both,
                64_000,
            ),
            (
                "claude-opus-4-1-20250805",
                Thinking::Budget(LEAST),
                Sampling::One,
                32_000,
            ),
            (
                "anthropic/claude-opus-4.6",
                adaptive(false),
                Sampling::One,
                128_000,
            ),
            (
                "claude-opus-4-8",
                adaptive(true),
                Sampling::Neither,
                128_000,
            ),
            ("own-model", Thinking::Budget(LEAST), Sampling::Both, 8192),
        ] {
            let ability = named(name);
            let told = (ability.thinking, ability.sampling, ability.most_output);
            assert_eq!(told, (thinking, sampling, most), "{name}");
        }
    }

    #[test]
    fn the_catalog_knows_better_than_the_name() {
        let facts = ModelFacts::new("lab", "claude-opus-4-6")
            .max_output(5)
            .effort(Dial::Budget { least: 7 })
            .cannot(Can::ForcedTools)
            .cannot(Can::Temperature);
        let ability = ability("claude-opus-4-6", Some(&facts));
        let told = (ability.thinking, ability.sampling, ability.most_output);
        assert_eq!(told, (Thinking::Budget(7), Sampling::Neither, 5));
        assert!(ability.schemas && !ability.forced);
    }
}
