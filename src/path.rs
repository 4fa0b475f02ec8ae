//! One form of a path, for everyone who looks at it.
//!
//! `/public/../admin`, `//admin` and `/%61dmin` are the same resource to some servers and three
//! others to the rest. Whoever matches one form and forwards another can be led past a guard. So a
//! path is brought into one form first, and routes, rules, cache keys and upstreams see that form
//! only.
//!
//! ```
//! use tower_gateway::path::{Fault, normalise};
//!
//! assert_eq!(normalise("/public/%2e%2e/%61dmin"), Ok("/admin".into()));
//! assert_eq!(normalise("//admin"), Ok("/admin".into()));
//! assert_eq!(normalise("/caf%c3%a9"), Ok("/caf%C3%A9".into()));
//! assert_eq!(normalise("/public/..%2fadmin"), Err(Fault::EncodedSlash));
//! ```
//!
//! - Escapes of unreserved characters are decoded, the others are written in upper case
//!   (RFC 3986 §6.2.2), and what is not ASCII is escaped. It is decoded once: `%252e` stays.
//! - `.` and `..` are resolved after that (§5.2.4). A path that leaves the root is refused, and so is
//!   a segment such as `..;x` or `..%3Bx`, which some servers take for `..`, or `;x`, for nothing. Parameters
//!   (`;v=1`) behind a name stay part of the segment: an upstream that takes them off sees another
//!   path than the guards in front of it.
//! - Escapes of control characters, of `/` and of `\`, a `\` itself, escapes that are none and those
//!   that do not spell UTF-8 are refused.
//! - Repeated slashes become one. [`Rules`] can decide otherwise.
//!
//! A path in that form is answered as it is, without a copy. What is normal stays as it is: to
//! normalise twice is to normalise once.

use crate::{Rejection, rejection::Kind};
use http::{Uri, uri::PathAndQuery};
use std::{borrow::Cow, error::Error, fmt};

/// Brings a path into its one form, by the default [`Rules`].
///
/// # Errors
///
/// A [`Fault`] if it has none.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, Fault> {
    Rules::new().normalise(path)
}

/// What is done with the paths on which servers differ in good faith.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    slashes: Slashes,
    encoded_slashes: bool,
}

/// What is done with a path that has several slashes in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slashes {
    /// They become one.
    #[default]
    Merge,
    /// They stay, and the segment between them is empty.
    Keep,
    /// The path is refused.
    Refuse,
}

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It does not begin with a slash, such as the `*` of `OPTIONS`.
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    BadEscape,
    /// `%2F`.
    EncodedSlash,
    /// A backslash, or `%5C`.
    Backslash,
    /// A control character or an end of line of Unicode, or its escape, such as `%00` or `%C2%85`.
    Control,
    /// Escapes that do not spell UTF-8.
    NotUtf8,
    /// `..` beyond the root, or a segment that some servers take for one.
    Escape,
    /// Several slashes in a row.
    RepeatedSlash,
    /// A segment of parameters without a name, `;x`, which some servers take for an empty one.
    NamelessSegment,
}

impl Rules {
    /// Merges slashes, and refuses those that are encoded.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slashes: Slashes::Merge,
            encoded_slashes: false,
        }
    }

    /// Sets what is done with several slashes in a row.
    #[must_use]
    pub const fn slashes(mut self, slashes: Slashes) -> Self {
        self.slashes = slashes;
        self
    }

    /// Keeps `%2F` as it is, as part of a segment. For upstreams that are known to do the same.
    #[must_use]
    pub const fn keep_encoded_slashes(mut self) -> Self {
        self.encoded_slashes = true;
        self
    }

    /// Brings a path into its one form.
    ///
    /// # Errors
    ///
    /// A [`Fault`] if it has none.
    pub fn normalise(self, path: &str) -> Result<Cow<'_, str>, Fault> {
        if !path.starts_with('/') {
            return Err(Fault::NotAbsolute);
        }
        if is_plain(path.as_bytes()) {
            return Ok(Cow::Borrowed(path));
        }
        let decoded = self.decode(path.as_bytes())?;
        let out = self.resolve(&decoded)?;
        Ok(if out == path {
            Cow::Borrowed(path)
        } else {
            Cow::Owned(out)
        })
    }

    /// Brings the path of a URI into its one form. The query stays as it is.
    ///
    /// # Errors
    ///
    /// A [`Fault`] if it has none.
    pub fn apply(self, uri: &mut Uri) -> Result<(), Fault> {
        let Cow::Owned(mut path) = self.normalise(uri.path())? else {
            return Ok(());
        };
        if let Some(query) = uri.query() {
            path.push('?');
            path.push_str(query);
        }
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| Fault::Control)?);
        *uri = Uri::from_parts(parts).map_err(|_| Fault::NotAbsolute)?;
        Ok(())
    }

    /// All escapes in their one form.
    fn decode(self, path: &[u8]) -> Result<String, Fault> {
        let mut out = String::with_capacity(path.len());
        // The bytes behind the escapes, to see whether they are text.
        let mut meant = Vec::with_capacity(path.len());
        let mut rest = path;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let escaped = byte == b'%';
            let byte = if escaped {
                let [high, low, after @ ..] = rest else {
                    return Err(Fault::BadEscape);
                };
                rest = after;
                hex(*high)? << 4 | hex(*low)?
            } else {
                byte
            };
            meant.push(byte);
            match byte {
                0..0x20 | 0x7f => return Err(Fault::Control),
                b'\\' => return Err(Fault::Backslash),
                b'/' if escaped && !self.encoded_slashes => return Err(Fault::EncodedSlash),
                _ if byte.is_ascii() && (!escaped || is_unreserved(byte)) => {
                    out.push(char::from(byte));
                }
                _ => escape(&mut out, byte),
            }
        }
        match str::from_utf8(&meant) {
            Ok(text) if text.chars().any(breaks) => Err(Fault::Control),
            Ok(_) => Ok(out),
            Err(_) => Err(Fault::NotUtf8),
        }
    }

    /// Without `.`, `..` and what is not allowed between slashes.
    fn resolve(self, path: &str) -> Result<String, Fault> {
        let mut out = String::with_capacity(path.len());
        let mut segments = path[1..].split('/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            let name = segment.split(';').next().unwrap_or_default();
            // Who takes escapes off before parameters would find one here.
            let dots = name.split("%3B").next().unwrap_or_default();
            if matches!(dots, "." | "..") && segment != dots {
                return Err(Fault::Escape);
            }
            match name {
                "" if !segment.is_empty() => return Err(Fault::NamelessSegment),
                "" if !last => match self.slashes {
                    Slashes::Merge => continue,
                    Slashes::Keep => {}
                    Slashes::Refuse => return Err(Fault::RepeatedSlash),
                },
                "." => {}
                ".." => out.truncate(out.rfind('/').ok_or(Fault::Escape)?),
                _ => {}
            }
            let dots = matches!(segment, "." | "..");
            if !dots || last {
                out.push('/');
            }
            if !dots {
                out.push_str(segment);
            }
        }
        Ok(out)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

/// The most common case: nothing that could have another form.
fn is_plain(path: &[u8]) -> bool {
    /// What may stand anywhere; what may not stand behind a slash; what is never plain.
    const ANYWHERE: u8 = 0;
    const NOT_FIRST: u8 = 1;
    const NEVER: u8 = 2;
    const CLASSES: [u8; 256] = {
        let mut classes = [NEVER; 256];
        let mut byte = 0x20;
        while byte < 0x7f {
            classes[byte] = match byte as u8 {
                b'%' | b'\\' => NEVER,
                b'/' | b'.' | b';' => NOT_FIRST,
                _ => ANYWHERE,
            };
            byte += 1;
        }
        classes
    };
    let mut most = NOT_FIRST;
    path.iter().all(|&byte| {
        let plain = CLASSES[usize::from(byte)] <= most;
        most = if byte == b'/' { ANYWHERE } else { NOT_FIRST };
        plain
    })
}

fn hex(digit: u8) -> Result<u8, Fault> {
    let value = char::from(digit).to_digit(16).ok_or(Fault::BadEscape)?;
    u8::try_from(value).map_err(|_| Fault::BadEscape)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a character controls something, or ends a line where lines are those of Unicode.
fn breaks(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

fn escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::NotAbsolute => "The path must begin with a slash.",
            Self::BadEscape => "The path has a percent sign that escapes nothing.",
            Self::EncodedSlash => "The path has an encoded slash.",
            Self::Backslash => "The path has a backslash.",
            Self::Control => "The path has a control character.",
            Self::NotUtf8 => "The path is not UTF-8.",
            Self::Escape => "The path leaves the root.",
            Self::RepeatedSlash => "The path has several slashes in a row.",
            Self::NamelessSegment => "The path has a segment that begins with a semicolon.",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Error for Fault {}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Self::new(Kind::InvalidRequest).with_detail(fault.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_path_is_not_copied() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c",
            "/a;v=1/b",
            "/v1/chat/completions",
            "/%20",
        ] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn every_way_to_write_a_path_becomes_one() {
        for (path, normal) in [
            ("/public/../admin", "/admin"),
            ("/public/./admin", "/public/admin"),
            ("/public/%2E%2E/admin", "/admin"),
            ("/public/.%2e/admin", "/admin"),
            ("//admin", "/admin"),
            ("/admin//", "/admin/"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/.", "/"),
            ("/%7euser/%61", "/~user/a"),
            ("/a%3fb", "/a%3Fb"),
            ("/é", "/%C3%A9"),
            ("/api../admin", "/api../admin"),
            ("/.well-known/x", "/.well-known/x"),
            ("/%252e%252e/a", "/%252e%252e/a"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_servers_read_in_different_ways_is_refused() {
        for (path, fault) in [
            ("", Fault::NotAbsolute),
            ("*", Fault::NotAbsolute),
            ("/a/%zz", Fault::BadEscape),
            ("/a/%2", Fault::BadEscape),
            ("/a/%+1", Fault::BadEscape),
            ("/a/..%2fadmin", Fault::EncodedSlash),
            ("/a/%5c", Fault::Backslash),
            ("/a\\..\\b", Fault::Backslash),
            ("/a/%00", Fault::Control),
            ("/a%0d%0ab", Fault::Control),
            ("/a/%c0%ae%c0%ae/admin", Fault::NotUtf8),
            ("/a/%ff", Fault::NotUtf8),
            ("/..", Fault::Escape),
            ("/a/../../b", Fault::Escape),
            ("/a/..;/b", Fault::Escape),
            ("/a/%2e%2e;x=1/b", Fault::Escape),
            ("/a/..%3b/b", Fault::Escape),
            ("/a/.%3Bx/b", Fault::Escape),
            ("/;/admin", Fault::NamelessSegment),
            ("/a/;x=1", Fault::NamelessSegment),
            ("/a%C2%85b", Fault::Control),
            ("/a\u{2028}b", Fault::Control),
            ("/a%e2%80%a9b", Fault::Control),
        ] {
            assert_eq!(normalise(path), Err(fault), "{path}");
        }
    }

    #[test]
    fn the_rules_decide_on_slashes() {
        let keep = Rules::new().slashes(Slashes::Keep);
        assert_eq!(keep.normalise("/a//%62").as_deref(), Ok("/a//b"));
        let refuse = Rules::new().slashes(Slashes::Refuse);
        assert_eq!(refuse.normalise("//a"), Err(Fault::RepeatedSlash));
        let encoded = Rules::new().keep_encoded_slashes();
        assert_eq!(encoded.normalise("/a%2fb").as_deref(), Ok("/a%2Fb"));
    }

    #[test]
    fn the_query_stays() {
        let mut uri = Uri::from_static("http://host/a/../b?x=/../%2e");
        Rules::new().apply(&mut uri).unwrap();
        assert_eq!(uri, "http://host/b?x=/../%2e");
    }

    proptest! {
        #[test]
        fn to_normalise_twice_is_to_normalise_once(
            path in "/([ab./;\\\\é]|%2e|%2E|%61|%25|%2f|%c3%a9){0,24}",
            slashes in prop_oneof![
                Just(Slashes::Merge),
                Just(Slashes::Keep),
                Just(Slashes::Refuse)
            ],
        ) {
            for rules in [Rules::new(), Rules::new().keep_encoded_slashes()] {
                let rules = rules.slashes(slashes);
                if let Ok(once) = rules.normalise(&path) {
                    let twice = rules.normalise(&once);
                    prop_assert_eq!(twice.as_deref(), Ok(&*once));
                    prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")));
                }
            }
        }
    }
}
