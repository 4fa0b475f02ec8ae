//! A stream without `alt=sse`: one JSON array, whose elements come one by one.

use super::super::{held::Held, sse::TooLong};
use bytes::{Bytes, BytesMut};

/// How much of an unfinished element is held: 8 MiB.
const LIMIT: usize = 8 << 20;

/// Where a reader stands in a text of JSON, as far as brackets go.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Place {
    /// Whether a level was closed by this byte.
    fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return true;
            }
            _ => {}
        }
        false
    }
}

/// Cuts chunks where elements end. Every byte is looked at once; put together, the pieces are the
/// very bytes that came.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    partial: Held,
    place: Place,
}

impl Cutter {
    /// Takes a chunk, and gives whole elements with what stands between them, if it completes any.
    ///
    /// # Errors
    ///
    /// If an element is longer than 8 MiB.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Option<Bytes>, TooLong> {
        let mut end = 0;
        for (at, byte) in chunk.iter().enumerate() {
            if self.place.step(*byte) && self.place.depth <= 1 {
                end = at + 1;
            }
        }
        self.partial.push(chunk, end, LIMIT)
    }

    /// What stands behind the array, and whether that was closed.
    pub(crate) fn finish(&mut self) -> (Option<Bytes>, bool) {
        let rest = self.partial.take();
        let closed = self.place.depth == 0 && rest.as_ref().is_none_or(|rest| is_blank(rest));
        (rest, closed)
    }
}

fn is_blank(rest: &[u8]) -> bool {
    rest.trim_ascii().is_empty()
}

/// The elements in a piece that a [`Cutter`] gave.
pub(crate) fn elements(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let start = memchr::memchr(b'{', rest)?;
        let mut place = Place::default();
        let from = &rest[start..];
        let closes = |byte: &u8| place.step(*byte) && place.depth == 0;
        let end = from.iter().position(closes).map_or(from.len(), |at| at + 1);
        let (element, after) = from.split_at(end);
        rest = after;
        Some(element)
    })
}

/// Whether the array ends in this piece.
pub(super) fn is_end(raw: &[u8]) -> bool {
    raw.trim_ascii_end().ends_with(b"]")
}

/// What an encoder wrote that began after other bytes of the same array went out.
pub(crate) fn joined(mut out: BytesMut, begun: bool) -> BytesMut {
    if begun && out.first() == Some(&b'[') {
        match out.get(1) {
            Some(b']') => return out.split_off(1),
            _ => out[0] = b',',
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_cut_at_its_elements_however_its_bytes_come() {
        let text = "[{\"a\":\"}\\\"{[\",\"b\":[{}]}\r\n,\r\n{\"c\":1},{}\n]\n";
        for size in 1..=text.len() {
            let mut cutter = Cutter::default();
            let (mut all, mut found) = (Vec::new(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                let piece = cutter.push(Bytes::copy_from_slice(chunk)).unwrap();
                if let Some(piece) = piece {
                    found.extend(elements(&piece).map(<[u8]>::to_vec));
                    all.extend_from_slice(&piece);
                }
            }
            let (rest, closed) = cutter.finish();
            assert!(closed, "{size}");
            all.extend_from_slice(&rest.unwrap_or_default());
            assert_eq!(all, text.as_bytes());
            let expected: [&[u8]; 3] = [b"{\"a\":\"}\\\"{[\",\"b\":[{}]}", b"{\"c\":1}", b"{}"];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_array_that_breaks_off_is_not_closed() {
        for text in ["[", "[{\"a\":1}", "[{\"a\":1},", "[{\"a\":1},{\"b\""] {
            let mut cutter = Cutter::default();
            cutter.push(Bytes::from(text)).unwrap();
            assert!(!cutter.finish().1, "{text}");
        }
    }

    #[test]
    fn what_is_written_later_goes_on_where_other_bytes_ended() {
        for (out, begun, joined_) in [
            ("[{}", false, "[{}"),
            ("[{}", true, ",{}"),
            ("[]", true, "]"),
            ("]", true, "]"),
        ] {
            assert_eq!(joined(BytesMut::from(out), begun), joined_);
        }
    }
}
