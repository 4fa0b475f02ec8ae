//! What the vendor's models can, as far as their names tell: what a request must know of them to be
//! one that is taken. As the vendor's documentation has it, in November 2026.

/// How a model is told how hard to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It does not think.
    None,
    /// With a number of tokens.
    Budget,
    /// With a word.
    Level,
}

/// What a model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ability {
    pub(super) thinking: Thinking,
    /// Whether it can answer without a thought.
    pub(super) can_rest: bool,
    /// Whether it knows the words between `low` and `high`, and below.
    pub(super) all_levels: bool,
    /// Whether schemas are taken as JSON Schema, not only in a dialect of it.
    pub(super) json_schema: bool,
    /// Whether a call without the signature of its thought is refused, and what tools show may stand
    /// within their results.
    pub(super) third: bool,
}

/// What the model of this name can. Of names that are not the vendor's, little is believed.
pub(super) fn ability(model: &str) -> Ability {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(version) = version(name) else {
        return Ability {
            thinking: Thinking::Budget,
            can_rest: true,
            all_levels: true,
            json_schema: true,
            // What is called the latest is of this kind.
            third: name.starts_with("gemini-") && name.ends_with("-latest"),
        };
    };
    let pro = name.contains("pro");
    Ability {
        thinking: match version {
            (..=1, _) | (2, ..=4) => Thinking::None,
            (2, _) => Thinking::Budget,
            _ => Thinking::Level,
        },
        can_rest: version < (3, 0) && !pro,
        all_levels: !pro,
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
        for (name, thinking, can_rest, json_schema, third) in [
            ("gemini-1.5-flash", Thinking::None, true, false, false),
            ("gemini-2.0-flash-exp", Thinking::None, true, true, false),
            ("gemini-2.5-flash", Thinking::Budget, true, true, false),
            (
                "models/gemini-2.5-pro",
                Thinking::Budget,
                false,
                true,
                false,
            ),
            ("gemini-3-pro-preview", Thinking::Level, false, true, true),
            (
                "google/gemini-3.5-flash",
                Thinking::Level,
                false,
                true,
                true,
            ),
            ("gemini-flash-latest", Thinking::Budget, true, true, true),
            ("own-model", Thinking::Budget, true, true, false),
        ] {
            let ability = ability(name);
            let told = (
                ability.thinking,
                ability.can_rest,
                ability.json_schema,
                ability.third,
            );
            assert_eq!(told, (thinking, can_rest, json_schema, third), "{name}");
        }
    }
}
