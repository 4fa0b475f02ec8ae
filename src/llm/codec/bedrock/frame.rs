//! `application/vnd.amazon.eventstream`: binary frames, cut and read.
//!
//! ```text
//!  0       4         8           12                                     total - 4
//!  ┌───────┬─────────┬───────────┬───────────────┬───────────────────────┬─────────┐
//!  │ total │ headers │ CRC of    │ headers       │ payload               │ CRC of  │
//!  │       │         │ these two │               │                       │ all     │
//!  └───────┴─────────┴───────────┴───────────────┴───────────────────────┴─────────┘
//! ```
//!
//! Lengths are in bytes, big-endian, and the first counts all of the frame; the sums are CRC-32 as zlib
//! has it. A header is its name behind a byte of length, a byte for its type, and a value. As the
//! [specification][spec] has it, a frame has 16 MiB at the most, and its headers 128 KiB.
//!
//! [spec]: https://smithy.io/2.0/aws/amazon-eventstream.html

use bytes::{Bytes, BytesMut};

/// The two lengths and their sum.
const PRELUDE: usize = 12;
/// The sum of all.
const SUM: usize = 4;
/// How much of an unfinished frame is held at the most.
const MOST: usize = 16 << 20;
const MOST_HEADERS: usize = 128 << 10;

/// Why a stream cannot be read any further: nobody knows where the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A sum is wrong, or a length.
    Garbled,
    /// A frame is longer than any may be.
    TooLong,
}

/// Cuts a stream of chunks where frames end, and checks their sums.
///
/// Every byte is looked at once, however small the chunks are. What is whole of a chunk is handed on
/// without a copy.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    partial: BytesMut,
    /// How much of the frame that has begun must be there before it is looked at again.
    needs: usize,
}

impl Cutter {
    /// The frames that are whole by now, and why there will be no more.
    pub(crate) fn push(&mut self, chunk: Bytes) -> (Option<Bytes>, Result<(), Broken>) {
        let mut all = if self.partial.is_empty() {
            chunk
        } else {
            self.partial.extend_from_slice(&chunk);
            if self.partial.len() < self.needs {
                return (None, Ok(()));
            }
            self.partial.split().freeze()
        };
        let mut end = 0;
        let next = loop {
            match next(&all[end..]) {
                Ok(Next::Frame(total)) => end += total,
                Ok(Next::Needs(bytes)) => break Ok(bytes),
                Err(broken) => break Err(broken),
            }
        };
        // Where nothing is left, this is no copy, and no count of who holds it either.
        let rest = all.split_off(end);
        let whole = (end > 0).then_some(all);
        match next {
            Ok(bytes) => {
                self.needs = bytes;
                self.partial.extend_from_slice(&rest);
                (whole, Ok(()))
            }
            Err(broken) => (whole, Err(broken)),
        }
    }

    /// What is left where the stream ends: of a whole one, nothing.
    pub(crate) fn finish(&mut self) -> Option<Bytes> {
        (!self.partial.is_empty()).then(|| self.partial.split().freeze())
    }
}

/// What comes next.
enum Next {
    /// A frame of this length.
    Frame(usize),
    /// One of which so much must be there before more of it is known.
    Needs(usize),
}

fn next(raw: &[u8]) -> Result<Next, Broken> {
    let Some((total, _)) = prelude(raw)? else {
        return Ok(Next::Needs(PRELUDE));
    };
    if total > raw.len() {
        return Ok(Next::Needs(total));
    }
    match sum(&raw[..total - SUM]) == number(raw, total - SUM) {
        true => Ok(Next::Frame(total)),
        false => Err(Broken::Garbled),
    }
}

/// The lengths of a frame and of its headers, once they are there.
fn prelude(raw: &[u8]) -> Result<Option<(usize, usize)>, Broken> {
    if raw.len() < PRELUDE {
        return Ok(None);
    }
    if sum(&raw[..8]) != number(raw, 8) {
        return Err(Broken::Garbled);
    }
    let (total, headers) = (number(raw, 0) as usize, number(raw, 4) as usize);
    if total > MOST || headers > MOST_HEADERS {
        return Err(Broken::TooLong);
    }
    if total < PRELUDE + headers + SUM {
        return Err(Broken::Garbled);
    }
    Ok(Some((total, headers)))
}

fn number(raw: &[u8], at: usize) -> u32 {
    let bytes = raw.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_be_bytes(bytes.unwrap_or_default())
}

fn sum(raw: &[u8]) -> u32 {
    crc32fast::hash(raw)
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The bytes of all of it.
    pub(crate) length: usize,
    headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The frames of what a [`Cutter`] cut, whose sums it checked.
pub(crate) fn frames(mut raw: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let total = number(raw, 0) as usize;
        let headers = number(raw, 4) as usize;
        let fits = PRELUDE + headers + SUM <= total && total <= raw.len();
        let (whole, rest) = fits.then(|| raw.split_at(total))?;
        raw = rest;
        let (headers, payload) = whole[PRELUDE..total - SUM].split_at(headers);
        Some(Frame {
            length: total,
            headers,
            payload,
        })
    })
}

impl<'a> Frame<'a> {
    /// The header of this name, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.headers;
        loop {
            let own = take(&mut rest, 1)?[0];
            let own = take(&mut rest, usize::from(own))?;
            let kind = take(&mut rest, 1)?[0];
            let length = match kind {
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                5 | 8 => 8,
                6 | 7 => {
                    let length = take(&mut rest, 2)?;
                    usize::from(u16::from_be_bytes([length[0], length[1]]))
                }
                9 => 16,
                _ => return None,
            };
            let value = take(&mut rest, length)?;
            if own == name.as_bytes() {
                return (kind == 7).then(|| std::str::from_utf8(value).ok())?;
            }
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::{
        DecodedFrame, MessageFrameDecoder, read_message_from, write_message_to,
    };
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = Header> {
        let value = prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<u8>().prop_map(|byte| HeaderValue::Byte(byte as i8)),
            any::<i16>().prop_map(HeaderValue::Int16),
            any::<i32>().prop_map(HeaderValue::Int32),
            any::<i64>().prop_map(HeaderValue::Int64),
            prop::collection::vec(any::<u8>(), 0..9)
                .prop_map(|bytes| HeaderValue::ByteArray(bytes.into())),
            "[a-zé]{0,9}".prop_map(|text| HeaderValue::String(text.into())),
            any::<i32>().prop_map(|time| {
                HeaderValue::Timestamp(aws_smithy_types::DateTime::from_secs(time.into()))
            }),
            any::<u128>().prop_map(HeaderValue::Uuid),
        ];
        (":?[a-z-]{1,12}", value).prop_map(|(name, value)| Header::new(name, value))
    }

    /// As the vendor's own library writes them.
    fn written(messages: &[Message]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            write_message_to(message, &mut out).unwrap();
        }
        out
    }

    fn message() -> impl Strategy<Value = Message> {
        let payload = prop::collection::vec(any::<u8>(), 0..40);
        (payload, prop::collection::vec(header(), 0..4)).prop_map(|(payload, headers)| {
            headers
                .into_iter()
                .fold(Message::new(payload), Message::add_header)
        })
    }

    /// What is given of it, what is left, and the fault that ends it.
    type Seen = (Vec<u8>, Option<Bytes>, Option<Broken>);

    fn cut(raw: &[u8], at: &[usize]) -> Seen {
        let mut cutter = Cutter::default();
        let (mut given, mut start) = (Vec::new(), 0);
        for end in at.iter().copied().chain([raw.len()]) {
            let (whole, on) = cutter.push(Bytes::copy_from_slice(&raw[start..end]));
            given.extend(whole.into_iter().flatten());
            if let Err(broken) = on {
                return (given, None, Some(broken));
            }
            start = end;
        }
        (given, cutter.finish(), None)
    }

    fn whole(raw: &[u8]) -> Seen {
        (raw.to_vec(), None, None)
    }

    fn broken(broken: Broken) -> Seen {
        (Vec::new(), None, Some(broken))
    }

    proptest! {
        #[test]
        fn what_the_vendors_library_writes_is_read_alike_wherever_it_is_cut(
            messages in prop::collection::vec(message(), 1..4),
        ) {
            let raw = written(&messages);
            for at in 0..=raw.len() {
                prop_assert_eq!(cut(&raw, &[at]), whole(&raw));
            }
            let bytes: Vec<_> = (0..raw.len()).collect();
            prop_assert_eq!(cut(&raw, &bytes), whole(&raw));
            let read: Vec<_> = frames(&raw).collect();
            prop_assert_eq!(read.len(), messages.len());
            for (frame, message) in read.iter().zip(&messages) {
                prop_assert_eq!(frame.payload, &message.payload()[..]);
                for header in message.headers() {
                    let name = header.name().as_str();
                    let first = message.headers().iter().find(|one| one.name().as_str() == name);
                    let text = first.and_then(|one| one.value().as_string().ok());
                    prop_assert_eq!(frame.header(name), text.map(|text| text.as_str()));
                }
                prop_assert_eq!(frame.header("none"), None);
            }
        }

        #[test]
        fn what_is_garbled_is_found_wherever_it_is_cut(
            messages in prop::collection::vec(message(), 1..3),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let mut raw = written(&messages);
            let at = at.index(raw.len());
            raw[at] ^= flip;
            let (mut theirs, mut left) = (0, &raw[..]);
            let mut decoder = MessageFrameDecoder::new();
            // Where a length is wrong it waits for more, and does not look at the sum before.
            while let Ok(DecodedFrame::Complete(_)) = decoder.decode_frame(&mut left) {
                theirs += 1;
            }
            let once = cut(&raw, &[]);
            prop_assert!(once.2.is_some());
            prop_assert_eq!(frames(&once.0).count(), theirs);
            for end in 0..=raw.len() {
                prop_assert_eq!(&cut(&raw, &[end]), &once);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = cut(&raw, &[]);
            for frame in frames(&raw) {
                let _ = frame.header(":event-type");
                prop_assert!(read_message_from(frame.payload).is_err() || !frame.payload.is_empty());
            }
        }
    }

    /// What the fuzzer begins with.
    #[test]
    fn the_corpus_is_read_alike_wherever_it_is_cut() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/event_stream");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let raw = std::fs::read(file.path()).unwrap();
            let once = cut(&raw, &[]);
            for at in 0..=raw.len() {
                assert_eq!(cut(&raw, &[at]), once, "{:?} at {at}", file.path());
            }
            for frame in frames(&raw) {
                for name in [":event-type", ":message-type", "a"] {
                    let _ = frame.header(name);
                }
            }
            let name = file.file_name();
            let fine = [
                "whole",
                "tools",
                "thought",
                "exception",
                "error",
                "every_type",
                "bare",
            ];
            if fine.iter().any(|one| name == *one) {
                assert_eq!(once, whole(&raw), "{name:?}");
            }
            count += 1;
        }
        assert!(count >= 18, "{count}");
    }

    /// A prelude with its sum.
    fn begun(total: u32, headers: u32) -> Vec<u8> {
        let mut raw = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        raw.extend(crc32fast::hash(&raw).to_be_bytes());
        raw
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_held() {
        assert_eq!(cut(&begun(u32::MAX, 0), &[]), broken(Broken::TooLong));
        assert_eq!(cut(&begun(1 << 20, 1 << 19), &[]), broken(Broken::TooLong));
        assert_eq!(cut(&begun(16, 1), &[]), broken(Broken::Garbled));
        assert_eq!(cut(&begun(15, 0), &[]), broken(Broken::Garbled));
        // A document where frames should be.
        assert_eq!(cut(br#"{"message":"no"}"#, &[]), broken(Broken::Garbled));
        let half = begun(17, 0);
        assert_eq!(cut(&half, &[]), (Vec::new(), Some(half.into()), None));
    }
}
