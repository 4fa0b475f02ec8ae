//! Streams of JSON documents, one on each line.

use super::{held::Held, sse::TooLong};
use bytes::Bytes;

/// Cuts chunks where lines end. Every byte is looked at once; put together, the pieces are the very
/// bytes that came.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    partial: Held,
}

impl Cutter {
    /// How much of an unfinished line is held: 8 MiB.
    pub(crate) const LIMIT: usize = 8 << 20;

    /// Takes a chunk, and gives whole lines if it completes any.
    ///
    /// # Errors
    ///
    /// If a line is longer than 8 MiB. What was held is gone.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Option<Bytes>, TooLong> {
        let end = memchr::memrchr(b'\n', &chunk).map_or(0, |at| at + 1);
        self.partial.push(chunk, end, Self::LIMIT)
    }

    /// The last line, if nothing ended it.
    pub(crate) fn finish(&mut self) -> Option<Bytes> {
        self.partial.take()
    }
}

/// The lines that say anything.
pub(crate) fn of(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = raw.split(|byte| *byte == b'\n');
    lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_their_bytes_come() {
        let text = "{\"a\":\"é\"}\r\n\n{\"b\":1}\n {\"c\":2}";
        for size in 1..=text.len() {
            let mut cutter = Cutter::default();
            let (mut all, mut found) = (Vec::new(), Vec::new());
            let mut keep = |piece: Bytes| {
                found.extend(of(&piece).map(<[u8]>::to_vec));
                all.extend_from_slice(&piece);
            };
            for chunk in text.as_bytes().chunks(size) {
                let piece = cutter.push(Bytes::copy_from_slice(chunk)).unwrap();
                piece.into_iter().for_each(&mut keep);
            }
            cutter.finish().into_iter().for_each(&mut keep);
            assert_eq!(all, text.as_bytes());
            let expected: [&[u8]; 3] = ["{\"a\":\"é\"}".as_bytes(), b"{\"b\":1}", b"{\"c\":2}"];
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_held_for_ever() {
        let mut cutter = Cutter::default();
        let chunk = Bytes::from(vec![b' '; 1 << 20]);
        for _ in 0..8 {
            assert_eq!(cutter.push(chunk.clone()), Ok(None));
        }
        let limit = Cutter::LIMIT;
        assert_eq!(cutter.push(chunk), Err(TooLong { limit }));
        assert_eq!(cutter.finish(), None);
    }
}
