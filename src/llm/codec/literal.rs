//! Texts and numbers as JSON has them, written where they go.
//!
//! Most events of a stream are one short text in a frame that is always the same: the frame is copied, and
//! the text is copied too, unless there is something in it to be escaped.

use crate::llm::ChatRequest;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// A text in its quotes.
pub(crate) fn string(out: &mut BytesMut, text: &str) {
    // Without a way out in the middle, so that it is done many bytes at a time.
    let mut escapes = false;
    for &byte in text.as_bytes() {
        escapes |= byte < b' ' || byte == b'"' || byte == b'\\';
    }
    if escapes {
        // Nothing that it is written to refuses it.
        let _ = serde_json::to_writer(out.writer(), text);
        return;
    }
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    out.put_slice(text.as_bytes());
    out.put_u8(b'"');
}

/// A whole number.
pub(crate) fn number(out: &mut BytesMut, number: u64) {
    match u8::try_from(number) {
        // Most are places in short lists.
        Ok(digit @ 0..10) => out.put_u8(b'0' + digit),
        _ => {
            let _ = serde_json::to_writer(out.writer(), &number);
        }
    }
}

/// How long a request will be, about: as long as it came.
pub(crate) fn about(request: &ChatRequest) -> usize {
    request.wire().map_or(0, |wire| wire.bytes.len())
}

/// The document for a request that came in other words.
pub(crate) fn document(document: &impl Serialize, request: &ChatRequest) -> Bytes {
    let mut out = Vec::with_capacity(about(request));
    // Only what is no string can fail as a key, and there is none.
    let _ = serde_json::to_writer(&mut out, document);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_and_numbers_are_what_serde_json_writes(
            text in prop_oneof![any::<String>(), "[ -~]{0,40}", "(\\PC|[\\x00-\\x20\"\\\\\x7f]){0,40}"],
            count in prop_oneof![any::<u64>(), 0_u64..300],
        ) {
            let mut out = BytesMut::new();
            string(&mut out, &text);
            prop_assert_eq!(&out[..], &serde_json::to_vec(&text).unwrap()[..]);
            out.clear();
            number(&mut out, count);
            let digits = count.to_string();
            prop_assert_eq!(&out[..], digits.as_bytes());
        }
    }
}
