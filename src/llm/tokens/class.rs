//! What kind of character each is, as far as the patterns of the encodings ask.

use regex_syntax::{Parser, hir::Class as Set, hir::HirKind};

/// A kind of character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Punctuation, symbols, control characters, what is not assigned.
    Other,
    /// `\p{Lu}`, `\p{Lt}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}`, `\p{Lo}`: letters without case.
    Letter,
    /// `\p{M}`.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\r`, `\n`.
    Newline,
    /// `\s` but for those.
    Space,
}

impl Class {
    /// `\p{L}`.
    pub(super) fn is_letter(self) -> bool {
        matches!(self, Self::Upper | Self::Lower | Self::Letter)
    }

    /// `\s`.
    pub(super) fn is_space(self) -> bool {
        matches!(self, Self::Newline | Self::Space)
    }

    /// `[^\s\p{L}\p{N}]`.
    pub(super) fn is_symbol(self) -> bool {
        matches!(self, Self::Other | Self::Mark)
    }

    /// `[^\r\n\p{L}\p{N}]`.
    pub(super) fn may_lead(self) -> bool {
        matches!(self, Self::Other | Self::Mark | Self::Space)
    }
}

const PAGE: usize = 256;

/// The class of each character: pages of 256, of which most are the same.
#[derive(Debug)]
pub(super) struct Classes {
    index: Vec<u16>,
    pages: Vec<[Class; PAGE]>,
}

impl Classes {
    pub(super) fn new() -> Self {
        let mut all = vec![Class::Other; char::MAX as usize + 1];
        for (pattern, class) in [
            (r"[\p{Lu}\p{Lt}]", Class::Upper),
            (r"\p{Ll}", Class::Lower),
            (r"[\p{Lm}\p{Lo}]", Class::Letter),
            (r"\p{M}", Class::Mark),
            (r"\p{N}", Class::Number),
            (r"\s", Class::Space),
            (r"[\r\n]", Class::Newline),
        ] {
            for (start, end) in ranges(pattern) {
                if let Some(range) = all.get_mut(start as usize..=end as usize) {
                    range.fill(class);
                }
            }
        }
        let (mut index, mut pages) = (Vec::new(), Vec::<[Class; PAGE]>::new());
        for chunk in all.as_chunks::<PAGE>().0 {
            let known = pages.iter().position(|page| page == chunk);
            let at = known.unwrap_or_else(|| {
                pages.push(*chunk);
                pages.len() - 1
            });
            index.push(u16::try_from(at).unwrap_or_default());
        }
        Self { index, pages }
    }

    pub(super) fn of(&self, char: char) -> Class {
        let at = char as usize;
        let page = self.index.get(at / PAGE).copied().unwrap_or_default();
        let page = self.pages.get(usize::from(page));
        page.map_or(Class::Other, |page| page[at % PAGE])
    }
}

/// The characters of a class in the syntax of regular expressions, from the tables that the crate
/// `regex` uses.
fn ranges(pattern: &str) -> Vec<(char, char)> {
    let parsed = Parser::new().parse(pattern);
    match parsed.as_ref().map(|hir| hir.kind()) {
        Ok(HirKind::Class(Set::Unicode(set))) => set
            .ranges()
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect(),
        // Of ASCII alone.
        Ok(HirKind::Class(Set::Bytes(set))) => set
            .ranges()
            .iter()
            .map(|range| (range.start().into(), range.end().into()))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_has_its_class() {
        let classes = Classes::new();
        let of = |char| classes.of(char);
        assert_eq!(of('A'), Class::Upper);
        assert_eq!(of('ǅ'), Class::Upper);
        assert_eq!(of('ß'), Class::Lower);
        assert_eq!(of('中'), Class::Letter);
        assert_eq!(of('ʰ'), Class::Letter);
        assert_eq!(of('\u{301}'), Class::Mark);
        assert_eq!(of('½'), Class::Number);
        assert_eq!(of('\r'), Class::Newline);
        assert_eq!(of('\u{3000}'), Class::Space);
        assert_eq!(of('\u{200d}'), Class::Other);
        assert_eq!(of('😀'), Class::Other);
        assert_eq!(of(char::MAX), Class::Other);
        for char in '\0'..=char::MAX {
            assert_eq!(of(char).is_space(), char.is_whitespace(), "{char:?}");
        }
    }
}
