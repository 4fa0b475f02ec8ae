//! Server-sent events: cutting a byte stream between events, reading events, writing them.
//!
//! The three are apart, because most events only pass through. [`Framer`] turns chunks of any size
//! into pieces that hold whole events and are, put together, the very bytes that came. [`events`]
//! reads the fields of such a piece. [`write_event`] makes one, whatever its text is.
//!
//! The format is that of the [HTML standard][whatwg]: lines end with LF, CR or CRLF, in any mixture;
//! an empty line ends an event; a line that starts with a colon is a comment; a byte order mark may
//! stand at the very start. In one point vendors differ from it and are followed: an event at the
//! end of the stream counts although no empty line ends it.
//!
//! Text is cut only at ends of lines, so that a character is never halved, and nothing is decoded
//! here: data are bytes.
//!
//! # What an operator must know
//!
//! An event that has begun is held in memory until it is whole, and at most [`Framer::LIMIT`] of it.
//!
//! [whatwg]: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

#[cfg(test)]
mod tests;

use super::held::Held;
use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use std::{borrow::Cow, fmt};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a stream of chunks where events end.
///
/// Every byte is looked at once, however small the chunks are. A chunk that ends where an event
/// ends is handed on as it is, without a copy.
#[derive(Debug)]
pub(crate) struct Framer {
    partial: Held,
    lines: Lines,
    limit: usize,
}

impl Framer {
    /// How much of an unfinished event is held by default: 8 MiB.
    pub(crate) const LIMIT: usize = 8 << 20;

    /// Holds at most [`LIMIT`](Self::LIMIT) of an event.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            partial: Held::default(),
            lines: Lines::START,
            limit: Self::LIMIT,
        }
    }

    /// Sets how many bytes of an unfinished event are held.
    #[cfg_attr(not(test), allow(dead_code))] // for tests, and for the fuzzers
    #[must_use]
    pub(crate) fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Takes a chunk, and gives whole events if it completes any.
    ///
    /// # Errors
    ///
    /// If more than the limit has come of an event that is still not whole. What was held is gone,
    /// and the stream is of no use any more.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Option<Bytes>, TooLong> {
        let end = self.lines.end(&chunk).unwrap_or(0);
        self.partial.push(chunk, end, self.limit)
    }

    /// The last event, if the stream ended without an empty line.
    ///
    /// Not to be asked after a stream that broke off: what is left of it is half an event.
    #[must_use]
    pub(crate) fn finish(&mut self) -> Option<Bytes> {
        self.lines = Lines::START;
        self.partial.take()
    }
}

/// Where the reading stands between two lines, or within one.
#[derive(Clone, Copy, Debug)]
struct Lines {
    /// The current line is empty so far.
    empty: bool,
    /// The last byte was a CR, to which an LF would belong.
    cr: bool,
    /// The last line that ended was empty.
    blank: bool,
}

impl Lines {
    const START: Self = Self {
        empty: true,
        cr: false,
        blank: true,
    };

    /// Just after the last empty line of the chunk. The lines before it are not asked for.
    fn end(&mut self, chunk: &[u8]) -> Option<usize> {
        // Whatever stood before it, this is an empty line.
        if chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n") {
            *self = Self::START;
            return Some(chunk.len());
        }
        let mut end = None;
        let mut from = 0;
        if self.cr && chunk.first() == Some(&b'\n') {
            from = 1;
            end = self.blank.then_some(1);
        }
        if !chunk.is_empty() {
            self.cr = false;
        }
        while let Some(at) = memchr2(b'\n', b'\r', &chunk[from..]) {
            self.blank = self.empty && at == 0;
            self.empty = true;
            from += at + 1;
            if chunk[from - 1] == b'\r' {
                match chunk.get(from) {
                    Some(b'\n') => from += 1,
                    Some(_) => {}
                    None => self.cr = true,
                }
            }
            if self.blank {
                end = Some(from);
            }
        }
        if from < chunk.len() {
            self.empty = false;
        }
        end
    }
}

/// More came of one event than is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// How many bytes are held.
    pub(crate) limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event is longer than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLong {}

/// One event: what a codec needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SseEvent<'a> {
    /// Its name, if it has one that is not empty.
    pub(crate) event: Option<&'a [u8]>,
    /// Its data, several lines joined with LF.
    pub(crate) data: Cow<'a, [u8]>,
}

/// Reads the events of a piece that a [`Framer`] gave.
///
/// For the first piece of a stream use [`without_bom`].
pub(crate) fn events(raw: &[u8]) -> Events<'_> {
    Events { rest: raw }
}

/// The start of a stream without the byte order mark that is allowed there and nowhere else.
pub(crate) fn without_bom(raw: &[u8]) -> &[u8] {
    raw.strip_prefix(BOM).unwrap_or(raw)
}

/// See [`events`].
#[derive(Clone, Debug)]
pub(crate) struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = match rest {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => rest,
        };
        Some(line)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = SseEvent<'a>;

    fn next(&mut self) -> Option<SseEvent<'a>> {
        let mut event = None;
        let mut data: Option<Cow<'a, [u8]>> = None;
        while let Some(line) = self.line() {
            if line.is_empty() {
                if let Some(data) = data.take() {
                    return Some(SseEvent { event, data });
                }
                // A name without data is no event, and does not name the next one.
                event = None;
                continue;
            }
            // A comment is a field whose name is empty.
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match name {
                b"event" => event = (!value.is_empty()).then_some(value),
                b"data" => match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let data = data.to_mut();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                },
                _ => {}
            }
        }
        data.map(|data| SseEvent { event, data })
    }
}

/// Writes one event. Its text cannot end it: each of its lines becomes a line of data.
///
/// A name is cut at its first line break.
pub(crate) fn write_event(out: &mut BytesMut, event: Option<&str>, data: &[u8]) {
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(first_line(event.as_bytes()));
        out.extend_from_slice(b"\n");
    }
    write_lines(out, b"data: ", data);
    out.extend_from_slice(b"\n");
}

fn write_lines(out: &mut BytesMut, prefix: &[u8], mut text: &[u8]) {
    loop {
        let line = first_line(text);
        out.extend_from_slice(prefix);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
        text = match &text[line.len()..] {
            [] => return,
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
        };
    }
}

fn first_line(text: &[u8]) -> &[u8] {
    &text[..memchr2(b'\n', b'\r', text).unwrap_or(text.len())]
}
