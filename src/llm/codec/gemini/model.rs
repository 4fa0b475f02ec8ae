//! What a request must know of a model to be one that is taken: by the catalog, and as far as that is
//! silent, by the model's name, as the vendor's documentation had it in November 2026.

use crate::llm::catalog::{Dial, Level, ModelFacts, Set};

/// How a model is told how hard to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It does not think.
    None,
    /// With a number of tokens: so many at the least and at the most, and whether with none.
    Budget { least: u64, most: u64, zero: bool },
    /// With one of these words.
    Level(Set<Level>),
}

/// What all models take that are told by a number.
const ANY: Thinking = Thinking::Budget {
    least: 1,
    most: 24_576,
    zero: true,
};

/// What a model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ability {
    pub(super) thinking: Thinking,
    /// Whether schemas are taken as JSON Schema, not only in a dialect of it.
    pub(super) json_schema: bool,
    /// Whether a call without the signature of its thought is refused, and what tools show may stand
    /// within their results.
    pub(super) third: bool,
}

/// What the model can.
pub(super) fn ability(model: &str, facts: Option<&ModelFacts>) -> Ability {
    let Some(facts) = facts else {
        return named(model);
    };
    // What is called the latest, or by a name of somebody's own, has a name in the catalog.
    let mut ability = named(&facts.id);
    match facts.effort {
        Some(Dial::None) => ability.thinking = Thinking::None,
        Some(Dial::ThinkingLevel(words)) => ability.thinking = Thinking::Level(words),
        Some(Dial::ThinkingBudget {
            least, most, zero, ..
        }) => ability.thinking = Thinking::Budget { least, most, zero },
        // A dial of another protocol does not say how it is done in this one.
        _ => {}
    }
    ability
}

/// What the model of this name can. Of names that are not the vendor's, little is believed.
fn named(model: &str) -> Ability {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(version) = version(name) else {
        return Ability {
            thinking: ANY,
            json_schema: true,
            // What is called the latest is of this kind.
            third: name.starts_with("gemini-") && name.ends_with("-latest"),
        };
    };
    let pro = name.contains("pro");
    Ability {
        thinking: match version {
            (..=1, _) | (2, ..=4) => Thinking::None,
            (2, _) if pro => Thinking::Budget {
                least: 128,
                most: 32_768,
                zero: false,
            },
            (2, _) => ANY,
            _ if pro => Thinking::Level(Set::of(&[Level::Low, Level::High])),
            _ => Thinking::Level(Set::of(&[
                Level::Minimal,
                Level::Low,
                Level::Medium,
                Level::High,
            ])),
        },
        json_schema: version >= (2, 0),
        third: version >= (3, 0),
    }
}

/// `gemini-2.5-flash`, `gemini-3-pro-preview`.
fn version(name: &str) -> Option<(u32, u32)> {
    let rest = name.strip_prefix("gemini-")?;
    let number = rest.split('-').next()?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_model_can() {
        use Level::{High, Low, Medium, Minimal};
        let all = Thinking::Level(Set::of(&[Minimal, Low, Medium, High]));
        let two = Thinking::Level(Set::of(&[Low, High]));
        let pro = Thinking::Budget {
            least: 128,
            most: 32_768,
            zero: false,
        };
        for (name, thinking, json_schema, third) in [
            ("gemini-1.5-flash", Thinking::None, false, false),
            ("gemini-2.0-flash-exp", Thinking::None, true, false),
            ("gemini-2.5-flash", ANY, true, false),
            ("models/gemini-2.5-pro", pro, true, false),
            ("gemini-3-pro-preview", two, true, true),
            ("google/gemini-3.5-flash", all, true, true),
            ("gemini-flash-latest", ANY, true, true),
            ("own-model", ANY, true, false),
        ] {
            let ability = named(name);
            let told = (ability.thinking, ability.json_schema, ability.third);
            assert_eq!(told, (thinking, json_schema, third), "{name}");
        }
    }

    #[test]
    fn the_catalog_knows_better_than_the_name() {
        let words = Set::of(&[Level::High]);
        let facts = ModelFacts::new("gemini", "gemini-3.5-flash");
        let facts = facts.effort(Dial::ThinkingLevel(words));
        let ability = ability("gemini-flash-latest", Some(&facts));
        assert_eq!(ability.thinking, Thinking::Level(words));
        assert!(ability.third);
    }
}
