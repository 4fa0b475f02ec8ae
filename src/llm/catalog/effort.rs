//! How a model is told how hard to think.

use super::set::{Set, words};

words! {
    /// How hard, in the words of the vendors, the least first.
    Level {
        /// Not at all.
        None = "none",
        /// Hardly.
        Minimal = "minimal",
        /// A little.
        Low = "low",
        /// Middling.
        Medium = "medium",
        /// Hard.
        High = "high",
        /// Harder.
        Xhigh = "xhigh",
        /// As hard as it can.
        Max = "max",
    }
}

impl Set<Level> {
    /// The word that comes nearest: the least that is not less than what is asked, but nothing
    /// harder than [`Level::High`] for who asks for less; else the hardest there is. Not to think is
    /// for those alone who ask for it.
    #[must_use]
    pub fn nearest(self, asked: Level) -> Option<Level> {
        let thinks = || self.iter().filter(|level| *level != Level::None);
        let fits = |level: &Level| *level >= asked && (*level <= Level::High || *level == asked);
        let exact = self.has(asked).then_some(asked);
        let above = || thinks().find(fits);
        let below = || thinks().rfind(|level| *level < asked);
        exact
            .or_else(above)
            .or_else(below)
            .or_else(|| thinks().next())
    }
}

/// How a model is told how hard to think, and which values it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dial {
    /// It cannot be told: it does not think, or thinks as it sees fit.
    None,
    /// By a word: OpenAI's `reasoning_effort`.
    Words(Set<Level>),
    /// By a number of tokens: Anthropic's `thinking.budget_tokens`. It must be below `max_tokens`.
    Budget {
        /// The least it takes.
        least: u64,
    },
    /// By a word: Anthropic's `output_config.effort`, for models that think as they see fit.
    Adaptive {
        /// The words it takes.
        words: Set<Level>,
        /// How it is kept from thinking.
        off: Off,
    },
    /// By a word: Gemini's `thinkingLevel`.
    ThinkingLevel(Set<Level>),
    /// By a number of tokens: Gemini's `thinkingBudget`.
    ThinkingBudget {
        /// The least it takes, besides 0.
        least: u64,
        /// The most.
        most: u64,
        /// Whether it takes 0: not to think.
        zero: bool,
        /// Whether it takes -1: as it sees fit.
        dynamic: bool,
    },
}

words! {
    /// How a model of Anthropic's that thinks as it sees fit is kept from thinking.
    Off {
        /// It thinks only when it is told to.
        Unasked = "unasked",
        /// By `thinking: {"type": "disabled"}`.
        Disabled = "disabled",
        /// By `thinking: {"type": "between_tools"}`, which leaves a little.
        BetweenTools = "between_tools",
        /// It always thinks.
        Never = "never",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::catalog::Word;

    #[test]
    fn the_nearest_word_is_not_less_than_asked_nor_harder_than_high() {
        use Level::*;
        for (words, asked, nearest) in [
            (&[Low, Medium, High][..], Medium, Some(Medium)),
            (&[Low, Medium, High], Minimal, Some(Low)),
            (&[Low, Medium, High], Max, Some(High)),
            (&[Low, Medium, High, Max], Xhigh, Some(High)),
            (&[None, High], Low, Some(High)),
            (&[None, High], None, Some(None)),
            (&[Low, High], None, Some(Low)),
            (&[Low, High], Medium, Some(High)),
            (&[Low, High, Max], Xhigh, Some(High)),
            (&[Medium, High, Xhigh], Low, Some(Medium)),
            (&[Max], Low, Some(Max)),
            (&[None], High, Option::None),
        ] {
            assert_eq!(
                Set::of(words).nearest(asked),
                nearest,
                "{words:?} {asked:?}"
            );
        }
    }

    #[test]
    fn words_are_found_by_their_names() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(*level));
        }
        assert_eq!(Level::from_name("HIGH"), Option::None);
    }
}
