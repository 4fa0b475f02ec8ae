//! Cuts a text into the pieces within which an encoding merges: words, numbers, punctuation.
//!
//! What the published patterns say, written out as one walk: their look-ahead needs a regex engine
//! that backtracks, which overflows its stack on a long run of spaces.

use super::class::{Class, Classes};

/// How an encoding cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Words with the punctuation or space before them, in any case; contractions apart.
    Cl100k,
    /// Words also end where lower case is followed by upper; contractions stay with their word.
    O200k,
}

/// The end of the piece that starts at `start`. Always after `start`, unless that is the end.
pub(super) fn piece(pattern: Pattern, classes: &Classes, text: &str, start: usize) -> usize {
    let scan = Scan { classes, text };
    let Some((class, next)) = scan.at(start) else {
        return start;
    };
    match pattern {
        Pattern::Cl100k => scan.cl100k(start, class, next),
        Pattern::O200k => scan.o200k(start, class, next),
    }
}

struct Scan<'a> {
    classes: &'a Classes,
    text: &'a str,
}

impl Scan<'_> {
    /// The class of the character here, and where the next one is.
    #[inline]
    fn at(&self, at: usize) -> Option<(Class, usize)> {
        let byte = *self.text.as_bytes().get(at)?;
        if byte < 0x80 {
            return Some((self.classes.of(byte.into()), at + 1));
        }
        let char = self.text.get(at..)?.chars().next()?;
        Some((self.classes.of(char), at + char.len_utf8()))
    }

    /// Where the run of such characters ends.
    #[inline]
    fn run(&self, mut at: usize, belongs: impl Fn(Class) -> bool) -> usize {
        while let Some((class, next)) = self.at(at) {
            if !belongs(class) {
                break;
            }
            at = next;
        }
        at
    }

    fn cl100k(&self, start: usize, class: Class, next: usize) -> usize {
        let contraction = self.contraction(start);
        if contraction > start {
            return contraction;
        }
        let word = if class.may_lead() { next } else { start };
        let end = self.run(word, Class::is_letter);
        if end > word {
            return end;
        }
        if class == Class::Number {
            return self.number(start);
        }
        if let Some(end) = self.symbols(start, next) {
            return self.run(end, |class| class == Class::Newline);
        }
        self.spaces(start, true)
    }

    fn o200k(&self, start: usize, class: Class, next: usize) -> usize {
        // Each alternative is tried with the leading character, then without it.
        let with = class.may_lead().then_some(next);
        let without = (!class.may_lead() || class == Class::Mark).then_some(start);
        let froms = || with.into_iter().chain(without);
        if let Some(end) = froms().find_map(|from| self.cased(from)) {
            return self.contraction(end);
        }
        let upper = froms().find_map(|from| {
            let end = self.run(from, is_upper);
            (end > from).then_some(end)
        });
        if let Some(end) = upper {
            return self.contraction(end);
        }
        if class == Class::Number {
            return self.number(start);
        }
        if let Some(mut end) = self.symbols(start, next) {
            while let Some(b'\r' | b'\n' | b'/') = self.text.as_bytes().get(end) {
                end += 1;
            }
            return end;
        }
        self.spaces(start, false)
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
    fn cased(&self, from: usize) -> Option<usize> {
        let (mut at, mut caseless) = (from, None);
        while let Some((class, next)) = self.at(at) {
            match class {
                Class::Upper => {}
                Class::Letter | Class::Mark => caseless = Some(next),
                Class::Lower => return Some(self.run(at, is_lower)),
                _ => break,
            }
            at = next;
        }
        // The first part gives back as much as the second needs: one character.
        caseless
    }

    /// `\p{N}{1,3}`
    fn number(&self, start: usize) -> usize {
        let mut end = start;
        for _ in 0..3 {
            match self.at(end) {
                Some((Class::Number, next)) => end = next,
                _ => break,
            }
        }
        end
    }

    /// ` ?[^\s\p{L}\p{N}]+`
    fn symbols(&self, start: usize, next: usize) -> Option<usize> {
        let from = match self.text.as_bytes().get(start) {
            Some(b' ') => next,
            _ => start,
        };
        let end = self.run(from, Class::is_symbol);
        (end > from).then_some(end)
    }

    /// Up to the last newline; else all but the last, which belongs to what follows. At the end of
    /// the text `cl100k` takes all.
    fn spaces(&self, start: usize, all_at_end: bool) -> usize {
        let (mut end, mut last, mut newline) = (start, start, None);
        while let Some((class, next)) = self.at(end)
            && class.is_space()
        {
            if class == Class::Newline {
                newline = Some(next);
            }
            (last, end) = (end, next);
        }
        if end == self.text.len() && all_at_end {
            return end;
        }
        match newline {
            Some(newline) => newline,
            None if end < self.text.len() && last > start => last,
            None => end,
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`: where it ends.
    fn contraction(&self, at: usize) -> usize {
        let Some([b'\'', rest @ ..]) = self.text.as_bytes().get(at..) else {
            return at;
        };
        let lower = |byte: Option<&u8>| byte.map_or(0, u8::to_ascii_lowercase);
        let length = match (lower(rest.first()), lower(rest.get(1))) {
            (b's' | b't' | b'm' | b'd', _) => 1,
            (b'r' | b'v', b'e') | (b'l', b'l') => 2,
            // `ſ`, which is an `s` to those who do not mind case.
            (0xc5, 0xbf) => 2,
            _ => return at,
        };
        at + 1 + length
    }
}

fn is_upper(class: Class) -> bool {
    matches!(class, Class::Upper | Class::Letter | Class::Mark)
}

fn is_lower(class: Class) -> bool {
    matches!(class, Class::Lower | Class::Letter | Class::Mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pattern: Pattern, text: &str) -> Vec<&str> {
        let classes = Classes::new();
        let (mut start, mut pieces) = (0, Vec::new());
        while start < text.len() {
            let end = piece(pattern, &classes, text, start);
            pieces.push(&text[start..end]);
            start = end;
        }
        pieces
    }

    #[test]
    fn words_take_the_space_before_them() {
        let text = "Hello,  world! I'LL pay 12345.\n\n  Ok";
        let o200k = [
            "Hello", ",", " ", " world", "!", " I'LL", " pay", " ", "123", "45", ".\n\n", " ",
            " Ok",
        ];
        assert_eq!(pieces(Pattern::O200k, text), o200k);
        let cl100k = [
            "Hello", ",", " ", " world", "!", " I", "'LL", " pay", " ", "123", "45", ".\n\n", " ",
            " Ok",
        ];
        assert_eq!(pieces(Pattern::Cl100k, text), cl100k);
    }

    #[test]
    fn a_word_ends_before_upper_case_in_one_of_them() {
        assert_eq!(
            pieces(Pattern::O200k, "getHTTPBody中A"),
            ["get", "HTTPBody中", "A"]
        );
        assert_eq!(
            pieces(Pattern::Cl100k, "getHTTPBody中A"),
            ["getHTTPBody中A"]
        );
    }

    #[test]
    fn spaces_at_the_end_stay_together_in_one_of_them() {
        assert_eq!(pieces(Pattern::O200k, "a \n  "), ["a", " \n", "  "]);
        assert_eq!(pieces(Pattern::Cl100k, "a \n  "), ["a", " \n  "]);
    }
}
