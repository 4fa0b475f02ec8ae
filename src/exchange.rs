//! What becomes known of an exchange while it lasts.
//!
//! Tokens, the model that answered, attempts: such facts are known deep inside, and late. The layers
//! that tell of them (access log, metrics, trace) stand outermost and read them when the answer is
//! over. One [`Exchange`] handle in the extensions of the request connects the two; whoever needs it
//! first makes it.

use crate::principal::Extensible;
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The handle. Cloning it bumps a counter; all clones tell of the same exchange.
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Box<str>,
    start: Instant,
    facts: Mutex<Facts>,
}

/// What is known so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Facts {
    /// The template of the route that matched, such as `/users/{id}`. Never the path itself.
    pub route: Option<Arc<str>>,
    /// Who calls.
    pub principal: Option<Arc<str>>,
    /// From where, behind the proxies that are trusted.
    pub client: Option<IpAddr>,
    /// By which rule of a policy it was let in or refused.
    pub rule: Option<Ruling>,
    /// What another policy would have done, that is only watched.
    pub shadow_rule: Option<Ruling>,
    /// The model that was asked for, if it is one that is offered.
    pub model: Option<Arc<str>>,
    /// The version of the prompt that the call was rendered from, as `name@version`.
    pub prompt: Option<Arc<str>>,
    /// Which variant of a service the caller was given, by the innermost experiment. Always a name that
    /// was configured.
    pub variant: Option<Arc<str>>,
    /// The vendor or upstream that was called last.
    pub upstream: Option<Arc<str>>,
    /// The model that it was asked for, by its own name.
    pub upstream_model: Option<Arc<str>>,
    /// How often an upstream was called.
    pub attempts: u32,
    /// How long after the start of the exchange the first bytes of a model's answer came that are not
    /// a comment. In a stream those are its first event, which most often says who speaks and has no
    /// text yet; in an answer in one piece, all of it.
    pub first_content: Option<Duration>,
    /// What was used of a language model.
    pub usage: Option<Usage>,
    /// Those that pools of models could have asked, in the order in which they were considered: 64 at the
    /// most.
    pub candidates: Vec<Considered>,
    /// What the vendor that was called last was not told, because its protocol cannot say it.
    pub losses: Vec<Loss>,
    /// Whether a policy that could not decide let the call in, as it was told to for that case.
    pub failed_open: bool,
    /// The code of the error that the exchange ended with, also after its head.
    pub error: Option<&'static str>,
    /// Whether the answer broke off after its head. What went out may have told so in whole words, and
    /// ended well.
    pub broke_off: bool,
}

impl Exchange {
    /// Begins now, under a request id of its own: 32 hexadecimal digits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_id(fresh_id())
    }

    /// Begins now, under a request id that was there before.
    #[must_use]
    pub fn with_id(id: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Inner {
            id: id.into(),
            start: Instant::now(),
            facts: Mutex::default(),
        }))
    }

    /// The exchange of a request, if someone further out began one.
    #[must_use]
    pub fn of(carrier: &impl Extensible) -> Option<&Self> {
        carrier.extensions().get()
    }

    /// The exchange of a request, begun now if nobody did before.
    pub fn enter(carrier: &mut impl Extensible) -> Self {
        carrier
            .extensions_mut()
            .get_or_insert_with(Self::new)
            .clone()
    }

    /// The request id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.0.start
    }

    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Reads what is known so far, without a copy. Do not call back into the exchange from within.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Facts) -> T) -> T {
        read(&self.lock())
    }

    /// Adds what became known. Do not call back into the exchange from within.
    pub fn update(&self, add: impl FnOnce(&mut Facts)) {
        add(&mut self.lock());
    }

    pub(crate) fn broke_off(&self) -> bool {
        self.lock().broke_off
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

/// 128 bits that differ for every exchange, and that nobody outside can guess the next of: a counter
/// under two keyed hashes.
pub(crate) fn fresh_id() -> Box<str> {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = KEYS.each_ref().map(|key| key.hash_one(count).to_be_bytes());
    let mut digits = [0; 32];
    let bytes = id.as_flattened().iter();
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = HEX[usize::from(*byte)];
    }
    // They are ASCII.
    str::from_utf8(&digits).unwrap_or_default().into()
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        let digits = b"0123456789abcdef";
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// What a rule made of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ruling {
    /// Whether it was let in.
    pub allowed: bool,
    /// The id of the rule, which is written by an operator; `default` where no rule applied.
    pub rule: Arc<str>,
}

impl Ruling {
    /// Whether it was let in, and by which rule.
    #[must_use]
    pub fn new(allowed: bool, rule: impl Into<Arc<str>>) -> Self {
        let rule = rule.into();
        Self { allowed, rule }
    }

    /// `allow` or `deny`.
    #[must_use]
    pub fn effect(&self) -> &'static str {
        if self.allowed { "allow" } else { "deny" }
    }
}

/// One that a pool of models could have asked, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Considered {
    /// The name of the pool.
    pub pool: Arc<str>,
    /// The name of the entry in it.
    pub entry: Arc<str>,
    /// Why it was asked or not, in a word of the pool's.
    pub verdict: &'static str,
    /// What the call was estimated to cost, in 10⁻¹² US dollars, where someone wanted to know.
    pub price: Option<i128>,
    /// How it was asked, if it was.
    pub attempt: Option<Attempt>,
}

/// A call of one of those.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// How long after the start of the exchange it began.
    pub began: Duration,
    /// How long it took to its first content, or to its error.
    pub took: Duration,
    /// `ok`, the code of its error, or `dropped`.
    pub outcome: &'static str,
}

/// Something that a request says and a vendor's protocol cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The path of it in the client's words, such as `messages[2].content[0].cache_control`. Never a
    /// value.
    pub field: Box<str>,
    /// What became of it.
    pub why: &'static str,
}

impl Loss {
    /// What is lost, and why.
    #[must_use]
    pub fn new(field: impl Into<Box<str>>, why: &'static str) -> Self {
        Self {
            field: field.into(),
            why,
        }
    }
}

/// What was used of a language model, in tokens.
///
/// One arithmetic for all vendors: `input` holds what was read from and written to the vendor's
/// cache, and `output` holds the reasoning. A count that the vendor did not name is `None`, which is
/// not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// All of the input.
    pub input: u64,
    /// All of the output.
    pub output: u64,
    /// The part of the input that came from the vendor's prompt cache.
    pub cache_read: Option<u64>,
    /// The part of the input that was written to the vendor's prompt cache.
    pub cache_write: Option<u64>,
    /// The part of what was written to the cache that it keeps for an hour, if there is one.
    pub cache_write_1h: Option<u64>,
    /// The part of the output that was reasoning.
    pub reasoning: Option<u64>,
    /// The part of the input that was audio.
    pub audio_input: Option<u64>,
    /// The part of the output that was audio.
    pub audio_output: Option<u64>,
    /// Searches, which some vendors bill for in place of tokens.
    pub searches: Option<u64>,
}

impl Usage {
    /// So much in, so much out.
    #[must_use]
    pub fn new(input: u64, output: u64) -> Self {
        Self {
            input,
            output,
            ..Self::default()
        }
    }

    /// Input and output. A vendor that counts without bound is not believed.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_and_are_hexadecimal() {
        let ids: HashSet<_> = (0..1000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(
            ids.iter()
                .all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }

    #[test]
    fn whoever_comes_first_begins_it() {
        let mut request = http::Request::new(());
        let first = Exchange::enter(&mut request);
        first.update(|facts| facts.attempts += 1);
        let second = Exchange::enter(&mut request);
        assert_eq!((second.id(), second.facts().attempts), (first.id(), 1));
    }
}
