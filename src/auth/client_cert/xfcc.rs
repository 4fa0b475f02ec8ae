//! `X-Forwarded-Client-Cert`, as Envoy writes it: `By=…;Hash=…;URI=…;DNS=…`.

use super::names::Names;

/// The names of the one certificate that the header tells of. `None` if it tells of several, or is not in
/// order.
pub(super) fn names(value: &str) -> Option<Names> {
    let mut names = Names::default();
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
        }
        match after.strip_prefix(';') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(names),
            None => return None,
        }
    }
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
        names(value)?.first().map(Into::into)
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
            "Subject=\"open;URI=a",
            "Subject=\"a\"b;URI=c",
            "URI=a;",
            "URI=a;DNS",
            "URI=\"a\u{7f}\"",
        ] {
            assert_eq!(names(value), None, "{value}");
        }
    }
}
