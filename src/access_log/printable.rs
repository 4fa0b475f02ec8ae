//! How a value is written, so that it passes for nothing else.

use std::{borrow::Cow, fmt};

/// Whether a character can make a line look like what it is not.
fn misleads(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// The longest value, in bytes.
const LONGEST: usize = 1024;

/// The text in at most 1 KiB, without secrets, and with such characters escaped. Nearly always it is
/// the text.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// As [`printable`], with a `\` before each of `marks`.
fn escaped<'a>(text: &'a str, marks: &[char]) -> Cow<'a, str> {
    let text = masked(text);
    if text.len() <= LONGEST && !text.contains(misleads) && !text.contains(marks) {
        return text;
    }
    let mut out = String::new();
    for char in text.chars() {
        let start = out.len();
        if misleads(char) {
            out.extend(char.escape_unicode());
        } else {
            out.extend(marks.contains(&char).then_some('\\'));
            out.push(char);
        }
        if out.len() > LONGEST {
            // Half an escape would be read as something else.
            out.truncate(start);
            out.push('…');
            break;
        }
    }
    Cow::Owned(out)
}

/// What is shaped like an API key (`sk-…`) or like a token (`eyJ…`) is left out, but for its first
/// three letters: a path may hold one by mistake.
fn masked(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(next) = text[at..].find(['s', 'e']) {
        let start = at + next;
        at = start + 1;
        let secret = &text[start..];
        if !(secret.starts_with("sk-") || secret.starts_with("eyJ")) || !begins(&text[..start]) {
            continue;
        }
        let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let len = secret.bytes().take_while(|byte| belongs(byte)).count();
        at = start + len;
        if len >= SECRET {
            out.push_str(&text[kept..start + 3]);
            out.push('…');
            kept = at;
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// From how many characters on it is a secret and not a word such as `sk-learn`.
const SECRET: usize = 16;

/// Whether what comes next is the beginning of a word. In `%20sk-…` it is.
fn begins(before: &str) -> bool {
    match before.as_bytes() {
        [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => true,
        [.., last] => !last.is_ascii_alphanumeric(),
        [] => true,
    }
}

/// The value of a pair, in quotes if it needs them. In quotes `\` and `"` stand behind a `\`.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |char: char| !char.is_whitespace() && !misleads(char) && !"\"=\\".contains(char);
        if !self.0.is_empty() && self.0.chars().all(bare) {
            return f.write_str(&printable(self.0));
        }
        // The backslash too, or it would take the end of the quotes away from us.
        write!(f, "\"{}\"", escaped(self.0, &['\\', '"']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_a_line_or_pass_for_another() {
        for (value, line) in [
            ("/plain/{id}", "/plain/{id}"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("a=b", r#""a=b""#),
            (r#"a" status=200 b=""#, r#""a\" status=200 b=\"""#),
            ("a\r\nrequest_id=b", r#""a\u{d}\u{a}request_id=b""#),
            ("a\nb", r#""a\u{a}b""#),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", r#""\u{1b}[2J\u{1b}]0;x\u{7}""#),
            ("\u{9b}31m", r#""\u{9b}31m""#),
            ("a\0b", r#""a\u{0}b""#),
            ("a\u{8}\u{8}b", r#""a\u{8}\u{8}b""#),
            ("a\u{2028}b", r#""a\u{2028}b""#),
            ("a\u{202e}b", r#""a\u{202e}b""#),
            ("\u{2066}x\u{2069}", r#""\u{2066}x\u{2069}""#),
            ("\u{7f}", r#""\u{7f}""#),
            (r"a\", r#""a\\""#),
            (r#"a\" status=200"#, r#""a\\\" status=200""#),
            (r"a\u{a}b", r#""a\\u{a}b""#),
            ("a\u{61c}b", r#""a\u{61c}b""#),
            ("a\u{200b}b", r#""a\u{200b}b""#),
            ("a\u{2029}b", r#""a\u{2029}b""#),
        ] {
            assert_eq!(Quoted(value).to_string(), line, "{value:?}");
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let exact = "a".repeat(1024);
        assert_eq!(printable(&exact), exact);
        assert_eq!(printable(&format!("{exact}b")), format!("{exact}…"));
        assert_eq!(printable(&"é".repeat(513)), format!("{}…", "é".repeat(512)));
        let quoted = Quoted(&"\"".repeat(2000)).to_string();
        assert_eq!(quoted, format!("\"{}…\"", "\\\"".repeat(512)));
        let quoted = Quoted(&format!("a{}", "\"".repeat(2000))).to_string();
        assert_eq!(quoted, format!("\"a{}…\"", "\\\"".repeat(511)));
    }

    #[test]
    fn what_looks_like_a_key_is_masked() {
        for (value, line) in [
            ("/v1/sk-proj-0123456789abc/x", "/v1/sk-…/x"),
            ("sk-ant-api03-0123456789", "sk-…"),
            ("%20sk-0123456789abcdef&", "%20sk-…&"),
            ("/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln/", "/eyJ…/"),
            ("sk-0123456789abcdef,sk-0123456789abcdef", "sk-…,sk-…"),
            ("/task-0123456789abcdef", "/task-0123456789abcdef"),
            ("/sk-learn", "/sk-learn"),
        ] {
            assert_eq!(Quoted(value).to_string(), line);
        }
    }
}
