//! Names that browsers keep.

use http::{HeaderMap, HeaderValue, header};

/// 30 days, in seconds.
const MAX_AGE: u32 = 30 * 24 * 60 * 60;

/// Whether cookies may have this name: a token (RFC 6265 §4.1.1).
pub(super) fn is_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(token)
}

/// The value of the first cookie of this name.
pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(other, _)| other.trim() == name);
    named.next().map(|(_, value)| value.trim())
}

/// Whether it is one that was made here: 32 hexadecimal digits.
pub(super) fn is_id(value: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    value.len() == 32 && value.bytes().all(digit)
}

/// The line that makes a browser keep it.
pub(super) fn set(name: &str, id: &str, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let line = format!("{name}={id}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; xvisit=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("visit=3 ;visit=4"));
        assert_eq!(value(&headers, "visit"), Some("3"));
        assert_eq!(value(&headers, "none"), None);
    }

    #[test]
    fn an_id_is_one_of_ours() {
        assert!(is_id(&crate::exchange::fresh_id()));
        for other in ["", "x", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert!(!is_id(other), "{other}");
        }
        assert!(is_name("visit") && !is_name("vi sit") && !is_name("") && !is_name("a=b"));
    }
}
