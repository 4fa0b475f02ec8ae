//! Base64 in its one canonical form: nothing that is read could have been written otherwise.

#[derive(Clone, Copy)]
pub(super) enum Form {
    /// RFC 4648 §5, without padding, as tokens are written.
    Url,
    /// RFC 4648 §4, with padding, as signatures of webhooks are.
    Padded,
}

/// Reads. Other alphabets, white space, wrong padding and bits that say nothing are no Base64.
pub(super) fn decode(form: Form, text: &[u8]) -> Option<Vec<u8>> {
    let text = match form {
        Form::Url => text,
        Form::Padded if !text.len().is_multiple_of(4) => return None,
        Form::Padded => {
            let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=');
            let end = text.len() - padding.count();
            text.get(..end)?
        }
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            bits = bits << 6 | u32::from(value(form, *letter)?);
        }
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        let (whole, rest) = match group.len() {
            4 => (3, 0),
            3 => (2, bytes[3]),
            2 => (1, bytes[2]),
            _ => return None,
        };
        if rest != 0 {
            return None;
        }
        out.extend_from_slice(&bytes[1..=whole]);
    }
    Some(out)
}

fn value(form: Form, letter: u8) -> Option<u8> {
    Some(match (letter, form) {
        (b'A'..=b'Z', _) => letter - b'A',
        (b'a'..=b'z', _) => letter - b'a' + 26,
        (b'0'..=b'9', _) => letter - b'0' + 52,
        (b'-', Form::Url) | (b'+', Form::Padded) => 62,
        (b'_', Form::Url) | (b'/', Form::Padded) => 63,
        _ => return None,
    })
}

/// Writes.
pub(super) fn encode(form: Form, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at) & 63) as u8;
            match form {
                _ if at <= group.len() => out.push(letter(form, index)),
                Form::Padded => out.push('='),
                Form::Url => {}
            }
        }
    }
    out
}

fn letter(form: Form, value: u8) -> char {
    char::from(match (value, form) {
        (0..=25, _) => b'A' + value,
        (26..=51, _) => b'a' + value - 26,
        (52..=61, _) => b'0' + value - 52,
        (62, Form::Url) => b'-',
        (62, Form::Padded) => b'+',
        (_, Form::Url) => b'_',
        (_, Form::Padded) => b'/',
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_form_is_read() {
        for (form, text) in [
            (Form::Url, "Zg=="),
            (Form::Url, "Zh"),
            (Form::Url, "Zm9"),
            (Form::Url, "Z"),
            (Form::Url, "Zm9v "),
            (Form::Url, "+/+/"),
            (Form::Padded, "Zg"),
            (Form::Padded, "Zg="),
            (Form::Padded, "Zh=="),
            (Form::Padded, "Z==="),
            (Form::Padded, "===="),
            (Form::Padded, "Zg==Zg=="),
            (Form::Padded, "-_-_"),
        ] {
            assert_eq!(decode(form, text.as_bytes()), None, "{text}");
        }
        assert_eq!(decode(Form::Url, b"Zm8").as_deref(), Some(&b"fo"[..]));
        assert_eq!(decode(Form::Padded, b"Zm8=").as_deref(), Some(&b"fo"[..]));
        assert_eq!(decode(Form::Padded, b"").as_deref(), Some(&b""[..]));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_is_written(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            for form in [Form::Url, Form::Padded] {
                let text = encode(form, &bytes);
                prop_assert_eq!(decode(form, text.as_bytes()), Some(bytes.clone()));
            }
        }

        #[test]
        fn nothing_else_means_the_same(text in "[A-Za-z0-9_-]{0,12}") {
            if let Some(bytes) = decode(Form::Url, text.as_bytes()) {
                prop_assert_eq!(encode(Form::Url, &bytes), text);
            }
        }
    }
}
