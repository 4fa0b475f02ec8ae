//! The key of a vendor, and what must not be seen of it.

use http::HeaderValue;
use std::fmt;

/// A key, ready for the header that it goes into. It is shown nowhere else.
#[derive(Clone)]
pub(super) struct ApiKey(Option<Values>);

/// The key by itself, and as most vendors want it: made once.
#[derive(Clone)]
struct Values {
    plain: HeaderValue,
    bearer: HeaderValue,
}

const BEARER: &str = "Bearer ";

impl ApiKey {
    /// White space around it comes from files, and is left out.
    pub(super) fn new(key: &str) -> Self {
        let key = key.trim();
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        let value = |prefix| {
            let mut value = HeaderValue::try_from([prefix, key].concat()).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let values = value("").zip(value(BEARER));
        let values = values.map(|(plain, bearer)| Values { plain, bearer });
        Self(values.filter(|_| visible && !key.is_empty()))
    }

    /// The value of its header, behind this. `None`: it has characters that no key has.
    pub(super) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let Values { plain, bearer } = self.0.as_ref()?;
        match prefix {
            "" => Some(plain.clone()),
            BEARER => Some(bearer.clone()),
            other => {
                let value = [other.as_bytes(), plain.as_bytes()].concat();
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        }
    }

    /// Whether the key stands somewhere in these words. What is shorter than any key would be found
    /// by chance, and is a word that servers without keys are content with.
    pub(super) fn is_in(&self, words: &[u8]) -> bool {
        let key = self.0.as_ref().map(|values| values.plain.as_bytes());
        key.filter(|key| key.len() >= SHORTEST)
            .is_some_and(|key| memchr::memmem::find(words, key).is_some())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What is shorter is no secret.
const SHORTEST: usize = 8;

/// As much of a vendor's words as is logged, in bytes.
const LONGEST: usize = 1024;

/// A vendor's words, fit for a log: on one line, not too many, and without what looks like a key.
/// Vendors repeat the key that they refuse, most of them with stars in it.
pub(super) fn masked(words: &str) -> String {
    let mut masked = String::new();
    let part_of_key = |char: char| char.is_ascii_alphanumeric() || "-_*.+/…".contains(char);
    let mut rest = words;
    while !rest.is_empty() && masked.len() < LONGEST {
        let end = rest.find(|char| !part_of_key(char)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if is_like_a_key(word) {
            masked.push_str("[masked]");
        } else {
            masked.push_str(word);
        }
        let mut chars = after.chars();
        if let Some(char) = chars.next() {
            masked.push(if char.is_control() { ' ' } else { char });
        }
        rest = chars.as_str();
    }
    if masked.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| masked.is_char_boundary(*at));
        masked.truncate(end.unwrap_or(0));
    }
    masked
}

/// Whether a part of a key is shown, as vendors do: `sk-pr...cdef`, `sk-***`.
pub(super) fn hints_at_a_key(words: &str) -> bool {
    let short = ["**", "..", "…"];
    words
        .split(|char: char| char.is_whitespace() || "\"'`(),;:".contains(char))
        .any(|word| {
            PREFIXES.iter().any(|prefix| word.starts_with(prefix))
                && short.iter().any(|cut| word.contains(cut))
        })
}

/// Whether the account of the gateway is named, as vendors do where it may not use a model: an
/// organization, a project, a team.
pub(super) fn names_an_account(words: &str) -> bool {
    let ids = ["org-", "proj_", "projects/", "acct_", "accounts/", "team-"];
    let id = |word: &str| ids.iter().any(|id| word.starts_with(id));
    words.contains("your team ")
        || words
            .split(|char: char| char.is_whitespace() || "\"'`(),;:".contains(char))
            .any(|word| id(word.trim_start_matches('/')))
}

const PREFIXES: [&str; 9] = [
    "sk-", "sk_", "gsk_", "pk-", "key-", "xai-", "hf_", "AIza", "eyJ",
];

fn is_like_a_key(word: &str) -> bool {
    let has = |of: fn(&u8) -> bool| word.bytes().any(|byte| of(&byte));
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    PREFIXES.iter().any(|prefix| word.starts_with(prefix))
        || word.contains("**")
        || word.contains("...")
        || word.contains('…')
        || word.len() >= 20 && mixed
        || word.len() >= 40
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_not_logged() {
        for (words, logged) in [
            (
                "Incorrect API key provided: sk-abc***xyz. You",
                "Incorrect API key provided: [masked] You",
            ),
            (
                "key 'gsk_1' of org\r\nERROR forged",
                "key '[masked]' of org  ERROR forged",
            ),
            (
                "Rate limit reached for gpt-4o-mini",
                "Rate limit reached for gpt-4o-mini",
            ),
            ("token 0123456789abcdef0123456789abcdef", "token [masked]"),
            ("api_key=sk-1&x=1", "api_key=[masked]&x=1"),
        ] {
            assert_eq!(masked(words), logged);
        }
        assert!(masked(&"ä ".repeat(5000)).len() <= LONGEST);
        assert!(masked(&"a".repeat(5000)).len() <= LONGEST);
    }

    #[test]
    fn an_account_is_found_by_how_vendors_name_it() {
        for words in [
            "Project `proj_a1` does not have access to model `m`",
            "Publisher Model `projects/p/locations/l/publishers/google/models/m` not found.",
            "Rate limit reached for m in organization org-a1 on requests",
            "The model m does not exist or your team 01-23 does not have access to it.",
        ] {
            assert!(names_an_account(words), "{words}");
        }
        for words in ["The model `m` does not exist", "no project of yours", ""] {
            assert!(!names_an_account(words), "{words}");
        }
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        let key = ApiKey::new("canary-0123");
        assert!(key.is_in(br#"{"error":{"message":"no key canary-0123."}}"#));
        assert!(!key.is_in(b"canary-012"));
        assert!(!ApiKey::new("none").is_in(b"none of this"));
        assert!(!ApiKey::new("").is_in(b"Bearer"));
    }

    #[test]
    fn a_key_is_shown_only_in_its_header() {
        let key = ApiKey::new(" canary\n");
        assert_eq!(key.header("Bearer ").unwrap(), "Bearer canary");
        assert!(!format!("{key:?} {:?}", key.header("")).contains("canary"));
        for wrong in ["", "two words", "ca\u{7f}nary", "kanäri"] {
            assert!(ApiKey::new(wrong).header("").is_none(), "{wrong}");
        }
    }
}
