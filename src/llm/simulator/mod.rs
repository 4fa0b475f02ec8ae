//! A language model that is none: for a first run, and for tests.
//!
//! It answers at once, without a network, and always the same to the same request. It repeats what it
//! understood, so that an answer shows whether the question arrived.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceExt;
//! use tower_gateway::llm::{ChatRequest, Simulator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_gateway::llm::Error> {
//! let model = Simulator::new();
//! let answer = model.clone().oneshot(ChatRequest::new().user("Hello")).await?;
//! assert_eq!(answer.text().await?, "This is the simulator. You said: \"Hello\"");
//!
//! let model = model.answer("Paris").pace(Duration::from_millis(1));
//! let answer = model.oneshot(ChatRequest::new().user("The capital of France?")).await?;
//! assert_eq!(answer.text().await?, "Paris");
//! # Ok(())
//! # }
//! ```
//!
//! # What it says
//!
//! The first that applies:
//!
//! | the request | the answer |
//! |---|---|
//! | offers tools, `tool_choice` is not `none`, and the last message is not a tool's result | calls |
//! | asks for a JSON schema | a value that satisfies it |
//! | asks for a JSON object | `{"answer": …}` |
//! | any | [a fixed text](Simulator::answer), or the last thing said and how many pictures, sounds and files came with it |
//!
//! *Calls.* `tool_choice` names the tool, else it is the one whose name or description shares most words with
//! the last message, else the first. There are two calls if the last message has the word "two",
//! "both" or "twice", or if a call is required and there are several tools; never if
//! `parallel_tool_calls` is false or `tool_choice` names a tool. Two calls go to two tools, or twice
//! to the only one.
//!
//! *Schemas.* Arguments and answers satisfy `type`, `enum`, `const`, `properties`, `required`,
//! `items`, `prefixItems`, bounds of numbers, lengths and counts, `multipleOf`, `format`, `pattern`
//! (without look-around and back references), `anyOf`, `oneOf` (the first branch that can be had),
//! `allOf`, and `$ref` into the same document, also recursive ones. `not`, `if` and
//! `dependentSchemas` are not looked at. Strings and numbers are taken from the last message where
//! they fit: "the weather in Paris" is asked of `{"city": "Paris"}`.
//!
//! *Vectors* are unit vectors made of the words and letter triples of a text: texts that share them are
//! near to each other. 256 dimensions, or as many as asked, up to 4096.
//!
//! *Ranks* are by the words and letter triples that a document shares with the question: the cosine of
//! their vectors, and nothing below zero. Documents that fit alike stay in their order.
//!
//! # What it counts
//!
//! A token is up to eight characters of a word with the white space before it. An event of a stream has one such
//! token, or [several](Simulator::tokens_per_event). Beside text, a message counts for 3
//! tokens, a picture, sound or file for 85, and a tool for its description in JSON. `max_tokens` cuts the answer
//! off (`length`), `stop` ends it (`stop`). The time of an answer is always the first second of 2025.
//!
//! # What it refuses
//!
//! With [`Kind::InvalidRequest`] and the name of the parameter: a request whose typed view cannot be
//! read, no messages, `n` outside 1 to 128, `max_tokens` of 0, a temperature or penalty out of range,
//! a `tool_choice` that names no tool on offer, a tool result that answers no call, no or empty
//! input to embed, `dimensions` outside 1 to 4096, a schema of more than 128 KiB. Every name of a model is accepted.
//!
//! # What is shared
//!
//! Clones count [faults](Simulator::faults) together. Every setter starts a count of its own.
//!
//! # Cancellation
//!
//! An answer that is dropped is gone; nothing runs beside it.

mod answer;
mod embedding;
mod pattern;
mod rerank;
mod schema;
#[cfg(test)]
mod tests;

use super::{
    Batch, Batches, ChatRequest, ChatResponse, Error, Event, Operation, Spoken, VendorError,
    VendorFault, Want,
};
use crate::{Rejection, rejection::Kind};
use std::{
    fmt,
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

/// The name under which it is asked for conversations.
pub const CHAT_MODEL: &str = "sim-chat";

/// The name under which it is asked for vectors.
pub const EMBED_MODEL: &str = "sim-embed";

/// The name under which it is asked to rank documents.
pub const RERANK_MODEL: &str = "sim-rerank";

/// A language model that is none.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Simulator {
    pace: Duration,
    tokens_per_event: usize,
    answer: Option<Arc<str>>,
    fault: Option<(u64, VendorFault)>,
    cut: Option<(usize, VendorFault)>,
    calls: Arc<AtomicU64>,
}

impl Simulator {
    /// Answers without delay, one token in each event, and never fails.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pace: Duration::ZERO,
            tokens_per_event: 1,
            answer: None,
            fault: None,
            cut: None,
            calls: Arc::default(),
        }
    }

    /// The names of its models.
    #[must_use]
    pub fn models() -> [&'static str; 3] {
        [CHAT_MODEL, EMBED_MODEL, RERANK_MODEL]
    }

    /// Sets how long it waits between two events of a stream. Answers in one piece do not wait.
    #[must_use]
    pub fn pace(self, pace: Duration) -> Self {
        // The end of a wait must be an instant that the clock can tell.
        let pace = pace.min(Duration::from_secs(24 * 60 * 60));
        Self { pace, ..self }.fresh()
    }

    /// Sets how many tokens an event has. Zero is taken as one.
    #[must_use]
    pub fn tokens_per_event(self, tokens: usize) -> Self {
        let tokens_per_event = tokens.max(1);
        Self {
            tokens_per_event,
            ..self
        }
        .fresh()
    }

    /// Sets the text of every answer that is neither a call nor JSON.
    #[must_use]
    pub fn answer(self, text: impl Into<Arc<str>>) -> Self {
        let answer = Some(text.into());
        Self { answer, ..self }.fresh()
    }

    /// Makes the first `calls` calls fail, before any of the answer. With [`u64::MAX`] all do.
    #[must_use]
    pub fn faults(self, calls: u64, fault: VendorFault) -> Self {
        let fault = Some((calls, fault));
        Self { fault, ..self }.fresh()
    }

    /// Breaks every answer off after this many of its events.
    #[must_use]
    pub fn cut_after(self, events: usize, fault: VendorFault) -> Self {
        let cut = Some((events, fault));
        Self { cut, ..self }.fresh()
    }

    fn fresh(self) -> Self {
        Self {
            calls: Arc::default(),
            ..self
        }
    }

    fn respond(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        if let Some(exchange) = crate::Exchange::of(request) {
            exchange.update(|facts| {
                facts.attempts += 1;
                facts.upstream = Some(NAME.into());
                facts.upstream_model = Some(request.model().clone());
            });
        }
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some((calls, fault)) = self.fault
            && before < calls
        {
            return Err(failed(fault));
        }
        let mut batches = match request.operation() {
            Operation::Chat | Operation::Completions => {
                answer::batches(request, self.answer.as_deref(), self.tokens_per_event)?
            }
            Operation::Embeddings => vec![embedding::events(request)?],
            Operation::Rerank => vec![rerank::events(request)?],
            Operation::Passthrough(_) => return Err(Kind::NotSupported.into()),
            Operation::CountTokens => vec![vec![Event::Tokens(answer::tokens_of(request)?)]],
        };
        let converses = matches!(
            request.operation(),
            Operation::Chat | Operation::Completions
        );
        let streams = request.streams() && converses;
        if !streams {
            batches = vec![batches.into_iter().flatten().collect()];
        }
        let fault = self.cut.map(|(events, fault)| {
            cut(&mut batches, events);
            failed(fault)
        });
        Ok(ChatResponse::new(Paced {
            batches: batches.into_iter(),
            fault,
            pace: if streams { self.pace } else { Duration::ZERO },
            wait: None,
        }))
    }
}

const NAME: &str = "simulator";

fn failed(fault: VendorFault) -> Error {
    VendorError::new(fault).with_vendor(NAME.into()).into()
}

fn refused(param: impl AsRef<str>, detail: &'static str) -> Rejection {
    Rejection::new(Kind::InvalidRequest)
        .with_param(param)
        .with_detail(detail)
}

fn cut(batches: &mut Vec<Vec<Event>>, mut events: usize) {
    for batch in batches.iter_mut() {
        batch.truncate(events);
        events -= batch.len();
    }
    batches.retain(|batch| !batch.is_empty());
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Service<ChatRequest> for Simulator {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Ready<Result<ChatResponse, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        ready(self.respond(&request))
    }
}

/// What is said, one batch after the other.
struct Paced {
    batches: vec::IntoIter<Vec<Event>>,
    /// What the answer breaks off with.
    fault: Option<Error>,
    pace: Duration,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Batches for Paced {
    fn spoken(&self) -> Option<Spoken> {
        None
    }

    fn want(&mut self, _: Want) {}

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
        }
        let Some(events) = self.batches.next() else {
            return Poll::Ready(self.fault.take().map(Err));
        };
        if !self.pace.is_zero() {
            let until = Instant::now() + self.pace;
            match &mut self.wait {
                Some(wait) => wait.as_mut().reset(until),
                None => self.wait = Some(Box::pin(sleep_until(until))),
            }
        }
        Poll::Ready(Some(Ok(Batch::made(events))))
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hash = Self::new();
        hash.add(bytes);
        hash
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// FNV leaves its upper bits alike where only the last bytes differ. (The finish of MurmurHash3.)
    fn finish(self) -> u64 {
        let mut bits = self.0;
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        bits ^ (bits >> 33)
    }
}

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// Cuts a text into tokens: up to eight characters of a word, with the white space before it.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let word = rest.find(|char: char| !char.is_whitespace());
        let word = word.unwrap_or(rest.len());
        // No further than the token: a word may be as long as the request.
        let past =
            |&(index, (_, char)): &(usize, (usize, char))| index == 8 || char.is_whitespace();
        let end = rest[word..].char_indices().enumerate().find(past);
        let end = end.map(|(_, (at, _))| at);
        let (token, after) = rest.split_at(end.map_or(rest.len(), |end| word + end));
        rest = after;
        Some(token)
    })
}
