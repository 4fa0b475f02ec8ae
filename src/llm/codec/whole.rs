//! Whether arguments that come in pieces are all there.
//!
//! Calls of tools that come at once are written one by one by those whose protocol has it so, and the next
//! begins where nothing can come of the last. That is asked with every piece of any of them: whoever
//! looked at all of the arguments for it would take a time that grows with the square of them.

/// What was read of a text that is to be a JSON object. Every byte is looked at once, and once more where
/// the object ends.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    read: usize,
    at: At,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Before,
    Inside,
    /// Nothing but space can come.
    End,
    /// It is no object, and cannot become one.
    Never,
}

impl Whole {
    /// Whether nothing but space can come. It is asked of the same text, which only grows.
    pub(crate) fn is(&mut self, text: &str) -> bool {
        let is_space = |byte: u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        for (place, byte) in text.bytes().enumerate().skip(self.read) {
            self.at = match self.at {
                At::Before | At::End if is_space(byte) => self.at,
                At::Before if byte == b'{' => {
                    self.depth = 1;
                    At::Inside
                }
                At::Inside => {
                    self.step(byte);
                    match self.depth {
                        0 if is_json(&text[..=place]) => At::End,
                        0 => At::Never,
                        _ => At::Inside,
                    }
                }
                _ => At::Never,
            };
        }
        self.read = text.len();
        self.at == At::End
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_known_where_an_object_ends_however_it_comes(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "{}", "[", "]", "\"a\"", ":", ",", " ", "\n", "\"", "\\", "1", "\u{e9}", "{\"a\":{}",
            ]), 0..12),
        ) {
            let (mut whole, mut text) = (Whole::default(), String::new());
            for piece in pieces {
                text.push_str(piece);
                let expected = text.trim_ascii_end().ends_with('}') && is_json(&text);
                prop_assert_eq!(whole.is(&text), expected, "{}", text);
            }
        }
    }
}
