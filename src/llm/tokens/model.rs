//! Which tokens a model has.

use super::{Count, Encoding, Source, Tokenizer, TooLong, encoding::Work};

/// Whose tokens a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// OpenAI's.
    OpenAi,
    /// Claude's.
    Anthropic,
    /// Gemini's and Gemma's.
    Gemini,
    /// Mistral's.
    Mistral,
    /// Llama's.
    Llama,
    /// Cohere's.
    Cohere,
    /// DeepSeek's.
    DeepSeek,
    /// Qwen's.
    Qwen,
    /// Those of nobody who is known here.
    Other,
}

/// Parts of names, in the order in which they decide: a model that was distilled into another has
/// the tokens of the other.
const NAMES: &[(&str, Family)] = &[
    ("distill-llama", Family::Llama),
    ("distill-qwen", Family::Qwen),
    ("claude", Family::Anthropic),
    ("gemini", Family::Gemini),
    ("gemma", Family::Gemini),
    ("deepseek", Family::DeepSeek),
    ("qwen", Family::Qwen),
    ("qwq", Family::Qwen),
    ("qvq", Family::Qwen),
    ("llama", Family::Llama),
    ("mistral", Family::Mistral),
    ("mixtral", Family::Mistral),
    ("ministral", Family::Mistral),
    ("codestral", Family::Mistral),
    ("devstral", Family::Mistral),
    ("magistral", Family::Mistral),
    ("pixtral", Family::Mistral),
    ("voxtral", Family::Mistral),
    ("command-", Family::Cohere),
    ("c4ai-", Family::Cohere),
    ("embed-english", Family::Cohere),
    ("embed-multilingual", Family::Cohere),
    ("embed-v4", Family::Cohere),
    ("gpt-", Family::OpenAi),
    ("codex", Family::OpenAi),
    ("davinci", Family::OpenAi),
    ("babbage", Family::OpenAi),
    ("text-embedding-3", Family::OpenAi),
    ("text-embedding-ada", Family::OpenAi),
];

impl Family {
    /// The family of a model, by its name: with or without the name of a vendor before it, as in
    /// `anthropic/claude-sonnet-4.5` and `us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let name = bare(model).to_ascii_lowercase();
        let known = NAMES.iter().find(|(part, _)| name.contains(part));
        match known {
            Some(&(_, family)) => family,
            None if is_o_series(&name) => Self::OpenAi,
            None => Self::Other,
        }
    }
}

/// `o1`, `o4-mini`.
fn is_o_series(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        [b'o', b'1'..=b'9'] | [b'o', b'1'..=b'9', b'-', ..]
    )
}

/// The name after the last `/`.
fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// Counts as a model does, or as near to it as is known here.
///
/// ```
/// use tower_gateway::llm::tokens::{ModelTokenizer, Tokenizer};
///
/// let count = ModelTokenizer::of("gpt-5-mini").count("Hello, world!")?;
/// assert_eq!(count.tokens, 4);
/// assert!(count.is_exact());
///
/// // Nobody but Anthropic knows; four tokens of OpenAI's are about five of Claude's.
/// let count = ModelTokenizer::of("claude-sonnet-4-5").count("Hello, world!")?;
/// assert_eq!(count.tokens, 5);
/// assert!(!count.is_exact());
/// # Ok::<_, tower_gateway::llm::tokens::TooLong>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelTokenizer<'a> {
    model: &'a str,
    family: Family,
    encoding: Encoding,
    /// Whether the encoding is the model's own.
    own: bool,
}

impl<'a> ModelTokenizer<'a> {
    /// That of the model of this name. Every name has one.
    #[must_use]
    pub fn of(model: &'a str) -> Self {
        let model = bare(model);
        let family = Family::of(model);
        let known = match family {
            Family::OpenAi => Encoding::of(model),
            _ => None,
        };
        Self {
            model,
            family,
            encoding: known.unwrap_or(Encoding::O200k),
            own: known.is_some(),
        }
    }

    /// The family that the name tells.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The encoding that is counted with: the model's own, or the one that an estimate starts from.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn model(&self) -> &'a str {
        self.model
    }

    /// Whether the encoding is the model's own.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// How many tokens of this model a hundred of the encoding's are, of English prose.
    fn percent(&self) -> u64 {
        match self.family {
            Family::OpenAi | Family::Other => 100,
            Family::Anthropic => 110,
            Family::Gemini => 100,
            Family::Mistral => 110,
            Family::Llama => 100,
            Family::Cohere => 100,
            Family::DeepSeek => 100,
            Family::Qwen => 105,
        }
    }

    pub(super) fn measure(&self, text: &str, work: &mut Work) -> Result<u64, TooLong> {
        let tokens = self.encoding.measure(text, work)?;
        Ok((tokens * self.percent()).div_ceil(100))
    }

    /// What an estimate for this family is labelled with: the 90th percentile of the error, where
    /// five requests or more are recorded. See the [table](super#estimates).
    pub(super) fn estimated(&self, tools: bool) -> Source {
        let error_percent = match (self.family, tools) {
            (Family::OpenAi, false) => Some(2),
            (Family::OpenAi, true) => Some(17),
            (Family::Anthropic, true) => Some(25),
            (Family::Gemini, false) => Some(14),
            (Family::Gemini, true) => Some(59),
            (Family::Qwen, false) => Some(7),
            (Family::Qwen, true) => Some(28),
            _ => None,
        };
        Source::Estimated { error_percent }
    }
}

impl Tokenizer for ModelTokenizer<'_> {
    fn count(&self, text: &str) -> Result<Count, TooLong> {
        let mut work = Work::new();
        let tokens = self.measure(text, &mut work)?;
        let source = match self.own && work.is_exact() {
            true => Source::Exact,
            false => Source::Estimated {
                error_percent: None,
            },
        };
        Ok(Count { tokens, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_family() {
        for (model, family) in [
            ("gpt-6", Family::OpenAi),
            ("openai/gpt-oss-120b", Family::OpenAi),
            ("chatgpt-4o-latest", Family::OpenAi),
            ("o3", Family::OpenAi),
            ("o4-mini-2025-04-16", Family::OpenAi),
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                Family::Anthropic,
            ),
            ("anthropic/claude-sonnet-4.5", Family::Anthropic),
            ("models/gemini-2.5-flash", Family::Gemini),
            ("open-mixtral-8x22b", Family::Mistral),
            ("meta-llama/Llama-3.3-70B-Instruct-Turbo", Family::Llama),
            ("deepseek-r1-distill-llama-70b", Family::Llama),
            ("deepseek-chat", Family::DeepSeek),
            ("Qwen/Qwen3-32B", Family::Qwen),
            ("command-r-plus-08-2024", Family::Cohere),
            ("grok-4", Family::Other),
            ("olmo-2", Family::Other),
            ("", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }

    #[test]
    fn a_model_of_openai_that_is_not_in_the_table_is_estimated() {
        assert!(ModelTokenizer::of("gpt-5.1").is_own());
        assert!(!ModelTokenizer::of("gpt-9").is_own());
        assert_eq!(ModelTokenizer::of("gpt-9").encoding(), Encoding::O200k);
        assert!(!ModelTokenizer::of("text-davinci-003").is_own());
    }
}
