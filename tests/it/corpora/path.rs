//! A normal path is one that means what the path meant, has one spelling and stays below the root.
//!
//! The other reading of the rules, to which the crate's is held, works on what the escapes stand for.

use tower_gateway::path::{Rules, Slashes};

/// Stand for an escaped slash that is kept, and for an escaped semicolon. Control characters never
/// get so far.
const SLASH: u8 = 1;
const SEMICOLON: u8 = 2;

pub(super) fn check(input: &[u8]) {
    let [rules, path @ ..] = input else {
        return;
    };
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let slashes = [Slashes::Merge, Slashes::Keep, Slashes::Refuse][usize::from(rules >> 1) % 3];
    let encoded = rules & 1 == 1;
    let rules = Rules::new().slashes(slashes);
    let rules = match encoded {
        true => rules.keep_encoded_slashes(),
        false => rules,
    };
    let normal = rules.normalise(path);
    let meant = meaning(path, encoded).and_then(|meant| resolved(&meant, slashes));
    assert_eq!(normal.is_ok(), meant.is_some(), "{path:?} is {normal:?}");
    let (Ok(normal), Some(meant)) = (normal, meant) else {
        return;
    };
    assert_eq!(meaning(&normal, encoded).as_deref(), Some(&*meant));
    assert_eq!(rules.normalise(&normal).as_deref(), Ok(&*normal), "twice");
    assert!(normal.starts_with('/') && normal.is_ascii());
    assert!(
        !normal
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
    );
    assert!(slashes == Slashes::Keep || !normal.contains("//"));
    assert!(!normal.contains('\\') && !normal.bytes().any(|byte| byte < 0x20 || byte == 0x7f));
    for (at, _) in normal.match_indices('%') {
        let escape = &normal[at + 1..at + 3];
        assert_eq!(escape, escape.to_ascii_uppercase());
        let byte = u8::from_str_radix(escape, 16).expect("an escape");
        assert!(
            !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte),
            "{escape}"
        );
    }

    let uri = format!("{path}?q=/../%2e");
    if let Ok(mut uri) = uri.parse::<http::Uri>()
        && uri.path() == path
    {
        rules.apply(&mut uri).expect("it has a normal form");
        assert_eq!((uri.path(), uri.query()), (&*normal, Some("q=/../%2e")));
    }
}

/// The bytes that the path stands for.
fn meaning(path: &str, encoded: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let digits = std::str::from_utf8(&digits).ok()?;
        out.push(match u8::from_str_radix(digits, 16).ok()? {
            b'/' if encoded => SLASH,
            b'/' | SLASH | SEMICOLON => return None,
            b';' => SEMICOLON,
            byte => byte,
        });
    }
    if path.bytes().any(|byte| matches!(byte, SLASH | SEMICOLON)) {
        return None;
    }
    let text = str::from_utf8(&out).ok()?;
    let bad = |char: char| {
        let controls = char.is_control() && !matches!(char, '\u{1}' | '\u{2}');
        controls || matches!(char, '\\' | '\u{2028}' | '\u{2029}')
    };
    (!text.chars().any(bad)).then_some(out)
}

/// RFC 3986 §5.2.4, with a stack.
fn resolved(path: &[u8], slashes: Slashes) -> Option<Vec<u8>> {
    let mut segments = path
        .strip_prefix(b"/")?
        .split(|byte| *byte == b'/')
        .peekable();
    let mut stack: Vec<&[u8]> = Vec::new();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let name = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        let dots = segment
            .split(|byte| matches!(*byte, b';' | SEMICOLON))
            .next();
        if name != segment && name.is_empty()
            || dots != Some(segment) && matches!(dots, Some(b"." | b".."))
        {
            return None;
        }
        match segment {
            b"" if !last && slashes == Slashes::Merge => continue,
            b"" if !last && slashes == Slashes::Refuse => return None,
            b"." => {}
            b".." => {
                stack.pop()?;
            }
            segment => stack.push(segment),
        }
        if last && matches!(segment, b"." | b"..") {
            stack.push(b"");
        }
    }
    Some([&b"/"[..], &stack.join(&b'/')].concat())
}
