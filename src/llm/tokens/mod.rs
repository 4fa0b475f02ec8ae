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
//! # Loading
//!
//! Nothing is loaded until something is counted. The first count with an [`Encoding`] loads its
//! tables and blocks for as long, a tenth of a second or two; they stay, some 4 MB each. A server
//! that must not block calls [`Encoding::preload`] in a thread that may, or asks
//! [`Encoding::is_loaded`] first.
//!
//! # Bounds
//!
//! Counting is pure work without an await, of at most some 50 ms for a megabyte, whatever it says.
//! The parts that merge the slowest are bounded: a piece (a word, a run of one kind of character)
//! of more than 4 KiB is merged in parts of 4 KiB, and when 384 KiB of pieces that are not tokens
//! by themselves have been merged, the rest of these counts as three tokens for four bytes,
//! rather more than noise has. Both make the count an estimate. A text of more than [`TooLong::LIMIT`] bytes is
//! refused.

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
    /// How many bytes are counted at most: 1 MiB times four.
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
