//! The fields of a JSON object as spans of its text, without reading what they hold.
//!
//! What is in the texts is most of a request, and nothing that a gateway must know. It is passed over
//! a register at a time, while a reader that knows no better goes byte by byte: at 100 KB that is the
//! cost of all else together.
//!
//! It says yes, or it says nothing: whatever it accepts is a JSON object (RFC 8259) in UTF-8, no
//! deeper than the limit of serde_json. What it declines may be one too (a name with escapes, say),
//! and is for a reader that knows all cases, and words for faults.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Deeper than this, and than 128, is for others to judge.
const DEEPEST: u32 = 100;

/// Calls `field` with the name and the value of each field, in order. A name is given as it stands,
/// for it has no escapes; a value is one JSON text without space around it.
///
/// Answers what stands after the object; `None` where it is not plainly one, or `field` said so.
pub(crate) fn object<'a>(
    text: &'a [u8],
    field: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
) -> Option<&'a [u8]> {
    fields(text, skipped(field))
}

/// As [`object`], of what stands after one of its values.
pub(crate) fn rest_of_object<'a>(
    text: &'a [u8],
    field: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
) -> Option<&'a [u8]> {
    others(text, skipped(field))
}

/// As [`object`], but `field` is given all from the value on, reads it, and answers what stands after it:
/// what is of interest need not be passed over first.
pub(crate) fn fields<'a>(
    text: &'a [u8],
    mut field: impl FnMut(&'a [u8], &'a [u8]) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    let open = space(text, 0);
    if *text.get(open)? != b'{' {
        return None;
    }
    let first = space(text, open + 1);
    if *text.get(first)? == b'}' {
        return text.get(first + 1..);
    }
    let rest = one(text, first, &mut field)?;
    others(rest, field)
}

/// As [`object`], of the elements of an array.
pub(crate) fn array<'a>(
    text: &'a [u8],
    mut element: impl FnMut(&'a [u8]) -> Option<()>,
) -> Option<&'a [u8]> {
    elements(text, |text| {
        let (value, rest) = text.split_at_checked(value(text, 0)?)?;
        element(value)?;
        Some(rest)
    })
}

/// As [`fields`], of the elements of an array.
pub(crate) fn elements<'a>(
    text: &'a [u8],
    mut element: impl FnMut(&'a [u8]) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    let open = space(text, 0);
    if *text.get(open)? != b'[' {
        return None;
    }
    let mut at = space(text, open + 1);
    if *text.get(at)? == b']' {
        return text.get(at + 1..);
    }
    let mut text = text;
    loop {
        text = element(text.get(at..)?)?;
        at = space(text, 0);
        match *text.get(at)? {
            b',' => at = space(text, at + 1),
            b']' => return text.get(at + 1..),
            _ => return None,
        }
    }
}

/// What stands after the value that the text begins with.
pub(crate) fn skip(text: &[u8]) -> Option<&[u8]> {
    text.get(value(text, 0)?..)
}

/// The string that the text begins with, and what stands after it.
pub(crate) fn text(text: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let (end, escapes) = string(text, 0)?;
    let (whole, rest) = text.split_at_checked(end)?;
    let read = match escapes {
        true => Cow::Owned(serde_json::from_slice(whole).ok()?),
        false => Cow::Borrowed(std::str::from_utf8(whole.get(1..end - 1)?).ok()?),
    };
    Some((read, rest))
}

/// What stands after a value that is a string without escapes, digits alone, `true`, `false` or `null`:
/// what passes here has no fault that only a whole reader would find in it.
pub(crate) fn scalar(text: &[u8]) -> Option<&[u8]> {
    let end = match *text.first()? {
        b'"' => match string(text, 0)? {
            (end, false) => end,
            (_, true) => return None,
        },
        b't' => word(text, 0, b"true")?,
        b'f' => word(text, 0, b"false")?,
        b'n' => word(text, 0, b"null")?,
        _ => return Some(digits(text)?.1),
    };
    text.get(end..)
}

/// The number of digits alone that the text begins with, and what stands after it.
pub(crate) fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    // 19 digits always fit, and 10^19 tokens are nobody's.
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    if !(1..=19).contains(&end) || (end > 1 && digits[0] == b'0') {
        return None;
    }
    let number = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
    Some((digits.iter().fold(0, number), rest))
}

/// Reads a value by passing over it.
fn skipped<'a>(
    mut field: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
) -> impl FnMut(&'a [u8], &'a [u8]) -> Option<&'a [u8]> {
    move |name, text| {
        let (value, rest) = text.split_at_checked(value(text, 0)?)?;
        field(name, value)?;
        Some(rest)
    }
}

fn others<'a>(
    mut text: &'a [u8],
    mut field: impl FnMut(&'a [u8], &'a [u8]) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    loop {
        let at = space(text, 0);
        match *text.get(at)? {
            b',' => text = one(text, space(text, at + 1), &mut field)?,
            b'}' => return text.get(at + 1..),
            _ => return None,
        }
    }
}

/// What stands after the field that begins here.
fn one<'a>(
    text: &'a [u8],
    at: usize,
    field: &mut impl FnMut(&'a [u8], &'a [u8]) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    let (name, after) = name(text, at)?;
    field(name, text.get(space(text, after)..)?)
}

/// Whether nothing but space is left.
pub(crate) fn is_blank(rest: &[u8]) -> bool {
    space(rest, 0) == rest.len()
}

fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// A name without escapes, and what is behind its colon.
fn name(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (end, escapes) = string(text, at)?;
    let colon = space(text, end);
    let whole = *text.get(colon)? == b':' && !escapes;
    whole.then_some((text.get(at + 1..end - 1)?, colon + 1))
}

/// The end of the value that begins here.
fn value(text: &[u8], mut at: usize) -> Option<usize> {
    // One bit a level, the innermost last: whether it is an object.
    let (mut levels, mut depth) = (0_u128, 0);
    loop {
        let byte = *text.get(at)?;
        at = match byte {
            b'"' => string(text, at)?.0,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEEPEST {
                    return None;
                }
                let is_object = byte == b'{';
                levels = levels << 1 | u128::from(is_object);
                let inside = space(text, at + 1);
                match (is_object, *text.get(inside)?) {
                    (true, b'}') | (false, b']') => inside,
                    (true, _) => {
                        at = member(text, inside)?;
                        continue;
                    }
                    (false, _) => {
                        at = inside;
                        continue;
                    }
                }
            }
            b'-' | b'0'..=b'9' => number(text, at)?,
            b't' => word(text, at, b"true")?,
            b'f' => word(text, at, b"false")?,
            b'n' => word(text, at, b"null")?,
            _ => return None,
        };
        // A value has ended, or the level within which none stands.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = space(text, at);
            match (levels & 1 == 1, *text.get(at)?) {
                (true, b'}') | (false, b']') => {
                    (levels, depth) = (levels >> 1, depth - 1);
                    at += 1;
                }
                (true, b',') => {
                    at = member(text, space(text, at + 1))?;
                    break;
                }
                (false, b',') => {
                    at = space(text, at + 1);
                    break;
                }
                _ => return None,
            }
        }
    }
}

/// Where the value of the member that begins here stands.
fn member(text: &[u8], at: usize) -> Option<usize> {
    let colon = space(text, string(text, at)?.0);
    (*text.get(colon)? == b':').then(|| space(text, colon + 1))
}

/// The end of the string that begins here, and whether it has escapes.
fn string(text: &[u8], at: usize) -> Option<(usize, bool)> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let mut from = plain_until(text, at + 1);
    let mut escapes = false;
    loop {
        if text.get(from) == Some(&b'"') {
            return Some((from + 1, escapes));
        }
        let rest = text.get(from..)?;
        let length = memchr::memchr2(b'"', b'\\', rest)?;
        if !is_text(rest.get(..length)?) {
            return None;
        }
        let end = from + length;
        if text[end] == b'"' {
            return Some((end + 1, escapes));
        }
        escapes = true;
        from = match *text.get(end + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => end + 2,
            b'u' => {
                let digits = text.get(end + 2..end + 6)?;
                digits
                    .iter()
                    .all(u8::is_ascii_hexdigit)
                    .then_some(end + 6)?
            }
            _ => return None,
        };
    }
}

/// How far nothing stands but ASCII that is neither a quote, a backslash nor a control character; the
/// least that can be said, and at most 32 bytes. Most strings are short, and a search for a long one would
/// cost more before it begins.
fn plain_until(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    for _ in 0..4 {
        let Some(Ok(bytes)) = text.get(at..at + 8).map(<[u8; 8]>::try_from) else {
            break;
        };
        let word = u64::from_le_bytes(bytes);
        // The top bit of the lowest byte that is zero, or below a space; bits above it may lie.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let (quote, slash) = (ONES * u64::from(b'"'), ONES * u64::from(b'\\'));
        let control = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
        let found = (zero(word ^ quote) | zero(word ^ slash) | control | word) & TOPS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
}

/// Whether this may stand in a string as it is: UTF-8 without control characters.
fn is_text(run: &[u8]) -> bool {
    // Without a way out in the middle, so that it is done many bytes at a time.
    let (mut control, mut all) = (0, 0);
    for &byte in run {
        control |= u8::from(byte < b' ');
        all |= byte;
    }
    control == 0 && (all.is_ascii() || std::str::from_utf8(run).is_ok())
}

fn number(text: &[u8], at: usize) -> Option<usize> {
    let digits = |at: usize| {
        let more = text.get(at..).unwrap_or_default();
        at + more.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let some = |at| Some(digits(at)).filter(|end| *end > at);
    let start = at + usize::from(text.get(at) == Some(&b'-'));
    let mut end = some(start)?;
    if text[start] == b'0' && end > start + 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = some(end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = some(end + 1 + usize::from(sign))?;
    }
    Some(end)
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    (text.get(at..end)? == word).then_some(end)
}
