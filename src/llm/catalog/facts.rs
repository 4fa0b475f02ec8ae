//! What is known of a model.

use super::{
    effort::Dial,
    price::Price,
    set::{Set, words},
};
use std::{fmt, str::FromStr};

words! {
    /// What a model is for.
    Kind {
        /// Conversations.
        Chat = "chat",
        /// Vectors.
        Embeddings = "embeddings",
        /// The order of documents.
        Rerank = "rerank",
    }
}

words! {
    /// What goes in or comes out.
    Modality {
        /// Text.
        Text = "text",
        /// Pictures.
        Image = "image",
        /// Sound.
        Audio = "audio",
        /// Moving pictures.
        Video = "video",
        /// Documents, such as PDF.
        File = "file",
    }
}

words! {
    /// What a model may be able to do, or a request to ask of it.
    Ability {
        /// Calls tools.
        Tools = "tools",
        /// Calls several at once.
        ParallelTools = "parallel_tools",
        /// Can be made to call one.
        ForcedTools = "forced_tools",
        /// Can be held to a JSON schema.
        StructuredOutput = "structured_output",
        /// Thinks before it answers.
        Reasoning = "reasoning",
        /// Its vendor caches the beginnings of prompts.
        PromptCaching = "prompt_caching",
        /// Answers piece by piece.
        Streaming = "streaming",
        /// Takes what the operator says.
        System = "system",
        /// Takes a `temperature` other than its own.
        Temperature = "temperature",
        /// Takes a `temperature` and a `top_p` at once.
        TemperatureWithTopP = "temperature_with_top_p",
        /// Takes a `temperature` other than its own also when it thinks.
        TemperatureWhileThinking = "temperature_while_thinking",
        /// Thinks also when it is not told how hard.
        ThinksUnasked = "thinks_unasked",
        /// Takes `max_tokens`, the older name in OpenAI's protocol, beside `max_completion_tokens`.
        MaxTokens = "max_tokens",
    }
}

/// What is known of a model at a vendor: what `None` stands for nobody checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelFacts {
    /// Who serves it: the [name](crate::llm::Provider::name) of a provider.
    pub vendor: Box<str>,
    /// What its vendor calls it.
    pub id: Box<str>,
    /// Other names that its vendor knows it by, dated ones among them.
    pub aliases: Vec<Box<str>>,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// What it is for.
    pub kind: Kind,
    /// How many tokens a conversation has at the most, in most cases together with its answer.
    pub window: Option<u64>,
    /// How many tokens an answer has at the most, its thoughts among them.
    pub max_output: Option<u64>,
    /// How many dimensions its vectors have, unless fewer are asked for.
    pub dimensions: Option<u32>,
    /// What it takes.
    pub input: Option<Set<Modality>>,
    /// What it makes.
    pub output: Option<Set<Modality>>,
    /// What it can.
    pub can: Set<Ability>,
    /// What it cannot. Of what is in neither set nothing is known.
    pub cannot: Set<Ability>,
    /// How it is told how hard to think.
    pub effort: Option<Dial>,
    /// What its tokens cost.
    pub price: Option<Price>,
    /// The day on which its vendor takes it away, or took.
    pub retires: Option<Date>,
    /// The page that most of this was taken from.
    pub source: Option<Box<str>>,
    /// When it was looked at last.
    pub checked: Option<Date>,
    /// What a number cannot say.
    pub note: Option<Box<str>>,
}

impl ModelFacts {
    /// A model of which nothing is known but that its vendor has it, and that one can talk with it.
    #[must_use]
    pub fn new(vendor: impl Into<Box<str>>, id: impl Into<Box<str>>) -> Self {
        Self {
            vendor: vendor.into(),
            id: id.into(),
            aliases: Vec::new(),
            name: None,
            kind: Kind::Chat,
            window: None,
            max_output: None,
            dimensions: None,
            input: None,
            output: None,
            can: Set::EMPTY,
            cannot: Set::EMPTY,
            effort: None,
            price: None,
            retires: None,
            source: None,
            checked: None,
            note: None,
        }
    }

    /// The same at another vendor, or under another name: a deployment, a proxy. Its aliases are left
    /// behind, its price is not.
    #[must_use]
    pub fn named(mut self, vendor: impl Into<Box<str>>, id: impl Into<Box<str>>) -> Self {
        (self.vendor, self.id) = (vendor.into(), id.into());
        self.aliases.clear();
        self
    }

    /// Adds a name.
    #[must_use]
    pub fn alias(mut self, name: impl Into<Box<str>>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// Sets how many tokens a conversation has at the most.
    #[must_use]
    pub fn window(mut self, tokens: u64) -> Self {
        self.window = Some(tokens);
        self
    }

    /// Sets how many tokens an answer has at the most.
    #[must_use]
    pub fn max_output(mut self, tokens: u64) -> Self {
        self.max_output = Some(tokens);
        self
    }

    /// Says that it can do this.
    #[must_use]
    pub fn can(mut self, ability: Ability) -> Self {
        self.can = self.can.and(ability);
        self.cannot = self.cannot.iter().filter(|one| *one != ability).collect();
        self
    }

    /// Says that it cannot do this.
    #[must_use]
    pub fn cannot(mut self, ability: Ability) -> Self {
        self.cannot = self.cannot.and(ability);
        self.can = self.can.iter().filter(|one| *one != ability).collect();
        self
    }

    /// Sets how it is told how hard to think.
    #[must_use]
    pub fn effort(mut self, dial: Dial) -> Self {
        self.effort = Some(dial);
        self
    }

    /// Sets what its tokens cost: [`Rates`](super::Rates), or a [`Price`] with tiers.
    #[must_use]
    pub fn price(mut self, price: impl Into<Price>) -> Self {
        self.price = Some(price.into());
        self
    }

    /// Whether it can do this; `None`: nobody checked.
    #[must_use]
    pub fn ability(&self, ability: Ability) -> Option<bool> {
        match (self.can.has(ability), self.cannot.has(ability)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// A day.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The year, the month from 1, and the day of the month from 1.
    #[must_use]
    pub fn ymd(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = NotDate;

    /// Reads `2026-11-21`.
    fn from_str(text: &str) -> Result<Self, NotDate> {
        let bytes = text.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        if bytes.len() != 10 || !bytes.iter().all(plain) || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(NotDate);
        }
        let number = |at: std::ops::Range<usize>| text[at].parse::<u16>().map_err(|_| NotDate);
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        match (u8::try_from(month), u8::try_from(day)) {
            (Ok(month), Ok(day)) if (1..=last).contains(&day) => Ok(Self { year, month, day }),
            _ => Err(NotDate),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDate;

impl fmt::Display for NotDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a day such as 2026-11-21")
    }
}

impl std::error::Error for NotDate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_days() {
        for text in ["2026-11-21", "2024-02-29", "2000-02-29"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        for text in [
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "1900-02-29",
            "",
        ] {
            assert_eq!(text.parse::<Date>(), Err(NotDate), "{text}");
        }
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert!(day("2026-11-21") < day("2026-12-01"));
    }

    #[test]
    fn what_is_said_last_holds() {
        let facts = ModelFacts::new("lab", "m");
        assert_eq!(facts.ability(Ability::Tools), None);
        let facts = facts.can(Ability::Tools).cannot(Ability::Tools);
        assert_eq!(facts.ability(Ability::Tools), Some(false));
        assert_eq!(
            facts.can(Ability::Tools).ability(Ability::Tools),
            Some(true)
        );
    }
}
