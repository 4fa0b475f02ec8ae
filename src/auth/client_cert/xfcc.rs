//! `X-Forwarded-Client-Cert`, as Envoy writes it: `By=…;Hash=…;URI=…;DNS=…`.

use super::names::Names;
use crate::auth::certificate::Thumbprint;

/// The names of the one certificate that the header tells of, and its hash. `None` if it tells of several,
/// or is not in order.
pub(super) fn read(value: &str) -> Option<(Names, Option<Thumbprint>)> {
    let mut names = Names::default();
    let mut hash = None;
    let mut rest = value;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find([';', ',']).unwrap_or(after.len());
                (after.get(..end)?.to_owned(), after.get(end..)?)
            }
        };
        if !text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return None;
        }
        let key = key.trim();
        // An empty one says that there is none of this kind.
        if !text.is_empty() && key.eq_ignore_ascii_case("URI") {
            names.uris.push(text);
        } else if !text.is_empty() && key.eq_ignore_ascii_case("DNS") {
            names.hosts.push(text);
        } else if key.eq_ignore_ascii_case("Hash") {
            if hash.is_some() {
                return None;
            }
            hash = Some(text);
        }
        match after.strip_prefix(';') {
            Some(next) => rest = next,
            None if after.is_empty() => {
                return Some((names, hash.as_deref().and_then(thumbprint)));
            }
            None => return None,
        }
    }
}

/// SHA-256 in hexadecimal digits. A proxy may be set up to write another hash, which says nothing here.
fn thumbprint(hex: &str) -> Option<Thumbprint> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; 32];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(bytes.into())
}

/// What stands before the closing quote, and what behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((out, text.get(at + 1..)?)),
            '\\' => out.push(chars.next()?.1),
            other => out.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(value: &str) -> Option<String> {
        read(value)?.0.first().map(Into::into)
    }

    #[test]
    fn names_are_read_as_envoy_writes_them() {
        let whole = concat!(
            "By=spiffe://mesh/ns/gate;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;",
            "Subject=\"/C=US/CN=Test, \\\"Client\\\"; x=y\";URI=spiffe://mesh/ns/billing;DNS=a.example"
        );
        assert_eq!(first(whole).as_deref(), Some("spiffe://mesh/ns/billing"));
        assert_eq!(
            first("Hash=ab;URI=;DNS=a.example").as_deref(),
            Some("a.example")
        );
        assert_eq!(first("Hash=ab;DNS=a.example;DNS=b.example"), None);
        assert_eq!(first("Subject=\"CN=URI=spiffe://mesh/admin\""), None);
        assert_eq!(first("Hash=ab"), None);
    }

    #[test]
    fn more_than_one_certificate_or_none_is_not_in_order() {
        for value in [
            "",
            "URI",
            "URI=a,URI=b",
            "Hash=1;URI=a,By=c;Hash=2;URI=b",
            "Hash=1;Hash=2;URI=a",
            "Subject=\"open;URI=a",
            "Subject=\"a\"b;URI=c",
            "URI=a;",
            "URI=a;DNS",
            "URI=\"a\u{7f}\"",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn a_hash_is_one_of_sha_256_or_none() {
        let hash = |value: &str| read(value).map(|(_, hash)| hash);
        let digits = "0f".repeat(32);
        let fine = Some(Some([0x0f; 32].into()));
        assert_eq!(hash(&format!("Hash={digits};URI=a")), fine);
        assert_eq!(hash(&format!("hash={}", digits.to_uppercase())), fine);
        for other in [
            "",
            "ab",
            &digits[1..],
            &format!("{digits}00"),
            &digits.replace('f', "g"),
        ] {
            assert_eq!(hash(&format!("Hash={other};URI=a")), Some(None), "{other}");
        }
        assert_eq!(
            hash(&format!("Hash={digits};Hash={digits}")),
            None,
            "which?"
        );
    }
}
