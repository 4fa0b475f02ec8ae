//! How routes are written.

use super::tree::Segment;
use crate::path::{Rules, Slashes};

/// Parts a template into the host, if it names one, and the path.
pub(super) fn split(template: &str) -> Result<(Option<&str>, &str), &'static str> {
    let at = template.find('/').ok_or("A template has a path.")?;
    let (host, path) = template.split_at(at);
    if host.is_empty() {
        return Ok((None, path));
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let valid = |label: &str| {
        let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(byte)
    };
    if name.split('.').all(valid) {
        Ok((Some(host), path))
    } else {
        Err(
            "A host is written in lower case, without port, and with `*` for a first label at most.",
        )
    }
}

/// The segments of a path.
pub(super) fn segments(path: &str) -> impl Iterator<Item = Result<Segment<'_>, &'static str>> {
    let mut segments = path.split('/').skip(1).peekable();
    std::iter::from_fn(move || {
        let segment = segments.next()?;
        let inner = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        Some(match inner {
            None if segment.contains(['{', '}']) => Err("A parameter is a whole segment."),
            None => Ok(Segment::Named(segment)),
            Some(inner) => {
                let rest = inner.strip_prefix('*');
                let name = rest.unwrap_or(inner);
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if name.is_empty() || !name.bytes().all(word) {
                    Err("The name of a parameter has letters, digits and underscores.")
                } else if rest.is_some() && segments.peek().is_some() {
                    Err("Nothing comes after the rest of a path.")
                } else if rest.is_some() {
                    Ok(Segment::Rest(name))
                } else {
                    Ok(Segment::Any(name))
                }
            }
        })
    })
}

/// Whether a path can be matched at all, seeing that only normal ones are asked for.
pub(super) fn is_normal(path: &str) -> bool {
    let rules = Rules::new().slashes(Slashes::Keep).keep_encoded_slashes();
    !path.contains(['?', '#']) && rules.normalise(path).as_deref() == Ok(path)
}
