//! Small closed vocabularies, and sets of their words.

use std::{fmt, marker::PhantomData};

/// A word of a closed vocabulary.
pub trait Word: Copy + Eq + 'static {
    /// All of them, in their order.
    const ALL: &'static [Self];

    /// As it is written in a document.
    fn name(self) -> &'static str;

    /// The word that is written so.
    #[must_use]
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.name() == name)
    }
}

/// Some of the words of a vocabulary.
#[derive(PartialEq, Eq, Hash)]
pub struct Set<W> {
    bits: u16,
    words: PhantomData<W>,
}

impl<W: Word> Set<W> {
    /// None of them.
    pub const EMPTY: Self = Self {
        bits: 0,
        words: PhantomData,
    };

    /// These.
    #[must_use]
    pub fn of(words: &[W]) -> Self {
        words.iter().copied().fold(Self::EMPTY, Self::and)
    }

    /// With this one, too.
    #[must_use]
    pub fn and(mut self, word: W) -> Self {
        self.bits |= Self::bit(word);
        self
    }

    /// Whether it has this one.
    #[must_use]
    pub fn has(self, word: W) -> bool {
        self.bits & Self::bit(word) != 0
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Its words, in their order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = W> {
        W::ALL.iter().copied().filter(move |word| self.has(*word))
    }

    fn bit(word: W) -> u16 {
        let at = W::ALL.iter().position(|one| *one == word);
        at.map_or(0, |at| 1 << at)
    }
}

impl<W> Clone for Set<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Set<W> {}

impl<W: Word> Default for Set<W> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<W: Word> FromIterator<W> for Set<W> {
    fn from_iter<I: IntoIterator<Item = W>>(words: I) -> Self {
        words.into_iter().fold(Self::EMPTY, Self::and)
    }
}

impl<W: Word> fmt::Debug for Set<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(W::name)).finish()
    }
}

/// An enumeration whose members have names in documents.
macro_rules! words {
    (
        $(#[$outer:meta])*
        $name:ident { $($(#[$inner:meta])* $word:ident = $text:literal,)+ }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$inner])* $word,)+
        }

        impl $crate::llm::catalog::Word for $name {
            const ALL: &'static [Self] = &[$(Self::$word,)+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }
    };
}

pub(super) use words;
