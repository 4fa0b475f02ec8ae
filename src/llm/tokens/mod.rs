//! How many tokens a text or a request has, before a vendor is asked.
//!
//! [`ModelTokenizer`] counts as the model of a name does: exactly where OpenAI publishes how, and
//! else as near as is known here. A [`Count`] says which of the two it is.
//!
//! ```
//! use tower_gateway::llm::{ChatRequest, tokens};
//!
//! let request = ChatRequest::new().for_model("gpt-4o").system("Be brief.").user("Hello");
//! let count = tokens::count(&request)?.total();
//! assert_eq!((count.tokens, count.is_exact()), (15, true));
//!
//! let count = tokens::count(&request.for_model("claude-sonnet-4-5"))?.total();
//! assert!(!count.is_exact());
//! # Ok::<_, tower_gateway::Rejection>(())
//! ```
//!
//! # What is exact
//!
//! Texts, for each model in the table that OpenAI publishes with tiktoken and whose encoding is
//! `cl100k_base`, `o200k_base` or `o200k_harmony`: the same numbers as tiktoken's, which is the
//! oracle of the tests. Conversations of plain text, for GPT-3.5 to GPT-4.1, whose framing OpenAI's
//! cookbook tells: three tokens and the role for each message, one more where it has a name, and
//! three before the answer.
//!
//! # Estimates
//!
//! All else. [`Source::Estimated`] says how far off it may be.
//!
//! | what | how |
//! |---|---|
//! | text | the tokens of `o200k_base` × 1.1 for Claude and Mistral, × 1.05 for Qwen, × 1 for others |
//! | around messages | what each family's template adds; Llama 3.1 and gpt-oss with their preamble |
//! | tools | OpenAI: the count of its cookbook, carried on into nested schemas. Others: the JSON, and a prompt for using tools, such as the 346 tokens that Anthropic publishes |
//! | pictures | OpenAI: tiles of 512 × 512 or patches of 32 × 32, with the constants of each model. Claude: width × height / 750 of at most 1568 × 1568. Gemini: 258 for each tile. Others: patches of 28 × 28 |
//! | sounds, documents | by their bytes: a rough guess |
//!
//! Who asks a gateway to count (`/v1/messages/count_tokens` and the like) for a vendor that has no
//! counter is answered with such a count, and with the header `x-gateway-estimate: tokens` where it is an
//! estimate.
//!
//! The size of a picture is read from the first bytes of a PNG, JPEG, GIF or WebP. One that is
//! elsewhere counts as 1024 × 1024.
//!
//! The error in percent of what the vendor counted, over recorded requests without pictures and
//! without cached parts; most of those without tools are of 10 to 50 tokens:
//!
//! | | cases | median | 90th percentile |
//! |---|--:|--:|--:|
//! | exact: OpenAI | 10 | 0 | 0 |
//! | text: OpenAI | 16 | 0 | 1 |
//! | text: Gemini | 8 | 8 | 14 |
//! | text: Qwen | 5 | 5 | 7 |
//! | text: Claude, DeepSeek, Llama, Mistral, others | 14 | 5 | 25 |
//! | tools: OpenAI | 27 | 4 | 17 |
//! | tools: Claude | 6 | 11 | 25 |
//! | tools: Gemini | 10 | 22 | 59 |
//! | tools: Qwen | 6 | 3 | 28 |
//!
//! Nothing is recorded of Cohere's, nor of long texts in other languages than English.
//!
//! # Loading
//!
//! Nothing is loaded until something is counted. The first count with an [`Encoding`] loads its
//! tables and blocks for as long, one to four tenths of a second. They stay, some 4 MB each, and the
//! allocator may keep 25 MB more that it lent while loading. A server that must not block calls
//! [`Encoding::preload`] in a thread that may, or asks [`Encoding::is_loaded`] first.
//!
//! # Bounds
//!
//! Counting is pure work without an await: 6 µs for a kilobyte of prose, and less than 50 ms for a
//! megabyte of whatever merges the slowest, which is bounded in two ways. A piece (a word, a run of
//! one kind of character) of more than 4 KiB is merged in parts of 4 KiB. When 256 KiB of pieces
//! that are not tokens by themselves were merged, the rest of these counts as three tokens for four
//! bytes, rather more than noise has. Both make the count an estimate. A text of more than
//! [`TooLong::LIMIT`] bytes is refused; so is a request whose texts come to more.

mod chat;
mod class;
mod encoding;
mod image;
mod model;
mod split;
mod tools;
mod vocabulary;

pub use self::{
    chat::ChatCount,
    encoding::Encoding,
    model::{Family, ModelTokenizer},
};

use super::ChatRequest;
use crate::{Rejection, rejection::Kind};
use std::{error::Error, fmt};

/// Counts the tokens of a text.
///
/// Any closure of that shape is one.
///
/// ```
/// use tower_gateway::llm::tokens::{Count, Source, Tokenizer, TooLong};
///
/// let by_words = |text: &str| -> Result<Count, TooLong> {
///     Ok(Count {
///         tokens: text.split_whitespace().count() as u64,
///         source: Source::Estimated { error_percent: None },
///     })
/// };
/// assert_eq!(by_words.count("one two three")?.tokens, 3);
/// # Ok::<_, TooLong>(())
/// ```
pub trait Tokenizer {
    /// How many tokens the text has.
    ///
    /// # Errors
    ///
    /// [`TooLong`], if it would take too long to know.
    fn count(&self, text: &str) -> Result<Count, TooLong>;
}

impl<F: Fn(&str) -> Result<Count, TooLong>> Tokenizer for F {
    fn count(&self, text: &str) -> Result<Count, TooLong> {
        self(text)
    }
}

/// A number of tokens, and whether it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub tokens: u64,
    /// How that is known.
    pub source: Source,
}

impl Count {
    /// Whether the vendor will come to the same number.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.source == Source::Exact
    }
}

/// How a number of tokens is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// By the vendor's own encoding and rules.
    Exact,
    /// By a rule of thumb.
    Estimated {
        /// How far off, in percent of what the vendor counted, nine of ten recorded requests were
        /// at most. `None` where too few are recorded to say.
        error_percent: Option<u8>,
    },
}

/// A text that is too long to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooLong {
    /// How long it is, in bytes, as far as it was looked at.
    pub bytes: usize,
}

impl TooLong {
    /// How many bytes are counted at most: 4 MiB.
    pub const LIMIT: usize = 4 << 20;
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes } = self;
        write!(
            f,
            "{bytes} bytes of text are not counted, only {}",
            Self::LIMIT
        )
    }
}

impl Error for TooLong {}

impl From<TooLong> for Rejection {
    fn from(error: TooLong) -> Self {
        Self::new(Kind::TooLarge)
            .with_detail("The text is too long to count its tokens.")
            .with_source(error)
    }
}

/// Counts a request with the tokens of the model that it names.
///
/// # Errors
///
/// See [`ModelTokenizer::request`].
pub fn count(request: &ChatRequest) -> Result<ChatCount, Rejection> {
    ModelTokenizer::of(request.model()).request(request)
}
