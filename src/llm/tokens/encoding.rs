//! The encodings that are published, loaded on first use.

use super::{
    Count, Source, Tokenizer, TooLong,
    class::Classes,
    split::{self, Pattern},
    vocabulary::{Scratch, Vocabulary},
};
use std::{iter, sync::OnceLock};
use tiktoken_rs::CoreBPE;

/// The longest piece that is merged as one. No word of any language comes near it.
const LONGEST_PIECE: usize = 4 << 10;

/// How many bytes are merged for one request, at 100 ns each. Pieces that are a token need no
/// merging, and these are most of what people and programs write.
const MERGED: usize = 256 << 10;

/// A published encoding of OpenAI's.
///
/// Its tables are loaded when it is first used, and kept: see
/// [Loading](super#loading).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// `cl100k_base`: GPT-3.5, GPT-4, and the embeddings.
    Cl100k,
    /// `o200k_base`: GPT-4o and all after it. `o200k_harmony`, of gpt-oss, counts the same: it only
    /// has more special tokens.
    O200k,
}

/// One encoding in memory.
struct Tables {
    pattern: Pattern,
    vocabulary: Vocabulary,
}

static CLASSES: OnceLock<Classes> = OnceLock::new();
static CL100K: OnceLock<Tables> = OnceLock::new();
static O200K: OnceLock<Tables> = OnceLock::new();

/// What may still be spent, and whether all of it was counted.
pub(super) struct Work {
    merged: usize,
    bytes: usize,
    exact: bool,
    scratch: Scratch,
}

impl Work {
    pub(super) fn new() -> Self {
        Self {
            merged: MERGED,
            bytes: 0,
            exact: true,
            scratch: Scratch::default(),
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        self.exact
    }

    /// How many tokens this piece is merged into.
    fn merge(&mut self, vocabulary: &Vocabulary, piece: &[u8]) -> u64 {
        self.exact &= piece.len() <= LONGEST_PIECE;
        let (mut sum, mut last) = (0, (&[][..], 0));
        for part in piece.chunks(LONGEST_PIECE) {
            // A long piece is most often a run of one character.
            if part != last.0 {
                let tokens = match self.merged.checked_sub(part.len()) {
                    Some(left) => {
                        self.merged = left;
                        vocabulary.merge(part, &mut self.scratch)
                    }
                    None => {
                        self.exact = false;
                        rough(part.len())
                    }
                };
                last = (part, tokens);
            }
            sum += last.1;
        }
        sum
    }
}

/// Three tokens for four bytes: rather more than noise comes to, so that nobody hides a text behind
/// what is slow to count.
fn rough(bytes: usize) -> u64 {
    (bytes as u64 * 3).div_ceil(4)
}

impl Encoding {
    /// The encoding of a model, by the table that OpenAI publishes with tiktoken. `None` for models
    /// that are not OpenAI's, or not in the table yet, or in it with an encoding of before 2023.
    ///
    /// ```
    /// use tower_gateway::llm::tokens::Encoding;
    ///
    /// assert_eq!(Encoding::of("gpt-4-turbo"), Some(Encoding::Cl100k));
    /// assert_eq!(Encoding::of("gpt-5-mini"), Some(Encoding::O200k));
    /// assert_eq!(Encoding::of("ft:gpt-4o:acme::abc"), Some(Encoding::O200k));
    /// assert_eq!(Encoding::of("claude-sonnet-4-5"), None);
    /// ```
    #[must_use]
    pub fn of(model: &str) -> Option<Self> {
        use tiktoken_rs::tokenizer::{Tokenizer as Known, get_tokenizer};
        match get_tokenizer(model)? {
            Known::O200kBase | Known::O200kHarmony => Some(Self::O200k),
            Known::Cl100kBase => Some(Self::Cl100k),
            _ => None,
        }
    }

    /// Loads the tables, unless they are: one to four tenths of a second, and it blocks. Where
    /// that matters call it in a thread that may block.
    pub fn preload(self) {
        self.tables();
        classes();
    }

    /// Whether a count now needs to load nothing.
    #[must_use]
    pub fn is_loaded(self) -> bool {
        self.place().get().is_some() && CLASSES.get().is_some()
    }

    fn place(self) -> &'static OnceLock<Tables> {
        match self {
            Self::Cl100k => &CL100K,
            Self::O200k => &O200K,
        }
    }

    fn tables(self) -> &'static Tables {
        self.place().get_or_init(|| match self {
            Self::Cl100k => Tables::of(Pattern::Cl100k, tiktoken_rs::cl100k_base().ok()),
            Self::O200k => Tables::of(Pattern::O200k, tiktoken_rs::o200k_base().ok()),
        })
    }

    /// How many tokens this text has, as exactly as the work that is left allows.
    ///
    /// # Errors
    ///
    /// [`TooLong`], with what was counted by this `work` before.
    pub(super) fn measure(self, text: &str, work: &mut Work) -> Result<u64, TooLong> {
        work.bytes = work.bytes.saturating_add(text.len());
        if work.bytes > TooLong::LIMIT {
            return Err(TooLong { bytes: work.bytes });
        }
        let (tables, classes) = (self.tables(), classes());
        let (mut start, mut tokens) = (0, 0);
        while start < text.len() {
            let end = split::piece(tables.pattern, classes, text, start);
            let piece = &text.as_bytes()[start..end];
            tokens += match tables.vocabulary.contains(piece) {
                true => 1,
                false => work.merge(&tables.vocabulary, piece),
            };
            start = end;
        }
        Ok(tokens)
    }
}

impl Tokenizer for Encoding {
    /// Special tokens, such as `<|endoftext|>`, count as the text that they are in a message.
    fn count(&self, text: &str) -> Result<Count, TooLong> {
        let mut work = Work::new();
        let tokens = self.measure(text, &mut work)?;
        let source = match work.is_exact() {
            true => Source::Exact,
            false => Source::Estimated {
                error_percent: None,
            },
        };
        Ok(Count { tokens, source })
    }
}

impl Tables {
    /// Takes the tokens out of tiktoken's tables, which are ten times as large and go.
    fn of(pattern: Pattern, published: Option<CoreBPE>) -> Self {
        let mut ranks = 0..;
        let tokens = move || published.as_ref()?.decode_bytes(&[ranks.next()?]).ok();
        let vocabulary = Vocabulary::new(iter::from_fn(tokens));
        Self {
            pattern,
            vocabulary,
        }
    }
}

fn classes() -> &'static Classes {
    CLASSES.get_or_init(Classes::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use tokio::time::Instant;

    const BOTH: [Encoding; 2] = [Encoding::Cl100k, Encoding::O200k];

    fn published(encoding: Encoding) -> &'static CoreBPE {
        match encoding {
            Encoding::Cl100k => tiktoken_rs::cl100k_base_singleton(),
            Encoding::O200k => tiktoken_rs::o200k_base_singleton(),
        }
    }

    #[test]
    fn every_token_is_there() {
        assert_eq!(Encoding::Cl100k.tables().vocabulary.len(), 100_256);
        assert_eq!(Encoding::O200k.tables().vocabulary.len(), 199_998);
        assert!(BOTH.into_iter().all(Encoding::is_loaded));
    }

    #[test]
    fn texts_of_many_kinds_count_as_tiktoken_says() {
        let texts = [
            "",
            " ",
            "  \n\n\t x",
            "Hello, world!",
            "I'll've DON'T it'ſ 'tis ''s",
            "fn main() {\n    println!(\"{:?}\", x[1]..=0xff);\n}\r\n\r\n",
            "Zażółć gęślą jaźń. Ünïcödé Straße ΑΒΓ αβγ Привет, МИР!",
            "今日は世界。안녕하세요 สวัสดีชาวโลก नमस्ते दुनिया שלום مرحبا",
            "👩\u{200d}👩\u{200d}👧\u{200d}👦 🇩🇪 e\u{301}e\u{301} \u{301}\u{301}A !\u{301}",
            "<|endoftext|> <|im_start|>",
            "1234567 ½ ٣٤٥٦ Ⅻ",
            "https://example.com/a/b?c=d#e//\n/x",
            "\u{a0}\u{3000}x\u{2028}y\u{0}z",
        ];
        for encoding in BOTH {
            for text in texts {
                let counted = encoding.count(text).unwrap();
                let expected = published(encoding).encode_ordinary(text).len() as u64;
                assert_eq!(counted.tokens, expected, "{encoding:?} {text:?}");
                assert_eq!(counted.source, Source::Exact);
            }
        }
    }

    #[test]
    fn a_piece_that_is_too_long_is_no_longer_exact() {
        let just = "a".repeat(LONGEST_PIECE);
        let counted = Encoding::O200k.count(&just).unwrap();
        let expected = published(Encoding::O200k).encode_ordinary(&just).len() as u64;
        assert_eq!((counted.tokens, counted.source), (expected, Source::Exact));
        let more = Encoding::O200k.count(&(just + "a")).unwrap();
        assert_eq!(more.tokens, expected + 1);
        assert!(!more.is_exact());
    }

    #[test]
    fn noise_counts_as_noise_when_the_work_is_spent() {
        let noise = |bytes: usize| "qxzjvk".chars().cycle().take(bytes).collect::<String>();
        let counted = Encoding::O200k.count(&noise(1 << 20)).unwrap();
        assert!(!counted.is_exact());
        let exact = Encoding::O200k.count(&noise(4096)).unwrap();
        assert!(exact.is_exact());
        assert!(
            counted.tokens >= exact.tokens * 256,
            "{counted:?} {exact:?}"
        );
    }

    #[test]
    fn a_text_above_the_limit_is_refused() {
        let text = " ".repeat(TooLong::LIMIT + 1);
        let refused = Encoding::O200k.count(&text).unwrap_err();
        assert_eq!(refused.bytes, text.len());
        assert!(Encoding::O200k.count(&text[1..]).is_ok());
    }

    /// In a build for tests, which is twenty times slower.
    #[test]
    fn a_megabyte_of_anything_is_counted_in_a_moment() {
        let noise = "qxzjvkQ\u{200d}\u{301}中😀' \t\u{12000}";
        let runs = noise.chars().map(String::from);
        for text in runs.chain(["aB", " \n", "👨\u{200d}", noise].map(String::from)) {
            let (start, long) = (Instant::now(), text.repeat(1_000_000 / text.len()));
            for encoding in BOTH {
                assert!(encoding.count(&long).is_ok());
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn any_text_counts_as_tiktoken_says(
            text in r"(\PC{0,20}|[a-zA-Z'\. ]{0,30}|[ \t\r\n]{0,6}|[\p{M}\p{Lu}\p{Lo}/!]{0,9}|'(s|LL|Re|ſ)){0,8}",
        ) {
            for encoding in BOTH {
                let expected = published(encoding).encode_ordinary(&text).len() as u64;
                prop_assert_eq!(encoding.count(&text).unwrap().tokens, expected);
            }
        }

        #[test]
        fn joining_texts_moves_the_count_by_little(one in r"\PC{0,60}", two in r"\PC{0,60}") {
            let count = |text: &str| Encoding::O200k.count(text).unwrap().tokens;
            let (apart, joined) = (count(&one) + count(&two), count(&(one + &two)));
            // A cut may fall into a word, which then is cut in another way.
            prop_assert!(joined <= apart + 8, "{} > {} + 8", joined, apart);
        }
    }
}
