//! What the vendor's models can, as far as their names tell: what a request must know of them to be
//! one that is taken. As the vendor's documentation has it, in November 2026.

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// Not at all.
    None,
    /// With a number of tokens.
    Budget,
    /// As it sees fit, and how hard is told in a word.
    Adaptive,
}

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
    /// Whether its highest effort but one is called `xhigh`.
    pub(crate) xhigh: bool,
    /// The most tokens of output, which every request must name.
    pub(crate) most_output: u64,
}

/// What the model of this name can. Of names that are not the vendor's, little is believed.
pub(crate) fn ability(model: &str) -> Ability {
    let Some((kind, version)) = version(model) else {
        return Ability {
            thinking: Thinking::Budget,
            sampling: Sampling::Both,
            schemas: true,
            xhigh: false,
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
        (3, _) | (4, 0..=5) => Thinking::Budget,
        _ => Thinking::Adaptive,
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
        xhigh: version >= (4, 7),
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
                Thinking::Budget,
                Sampling::Both,
                64_000,
            ),
            (
                "claude-sonnet-4-20250514",
                Thinking::Budget,
                Sampling::Both,
                64_000,
            ),
            (
                "claude-opus-4-1-20250805",
                Thinking::Budget,
                Sampling::One,
                32_000,
            ),
            (
                "anthropic/claude-opus-4.6",
                Thinking::Adaptive,
                Sampling::One,
                128_000,
            ),
            (
                "claude-opus-4-8",
                Thinking::Adaptive,
                Sampling::Neither,
                128_000,
            ),
            ("own-model", Thinking::Budget, Sampling::Both, 8192),
        ] {
            let ability = ability(name);
            let told = (ability.thinking, ability.sampling, ability.most_output);
            assert_eq!(told, (thinking, sampling, most), "{name}");
        }
    }
}
