//! Frames of `application/vnd.amazon.eventstream`, written.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

/// An event.
pub(super) fn event(kind: &str, payload: &Value) -> Bytes {
    framed([":event-type", kind], "event", payload)
}

/// An error in the middle of a stream.
pub(super) fn exception(kind: &str, payload: &Value) -> Bytes {
    framed([":exception-type", kind], "exception", payload)
}

fn framed(kind: [&str; 2], message: &str, payload: &Value) -> Bytes {
    let mut headers = BytesMut::new();
    let all = [
        kind,
        [":content-type", "application/json"],
        [":message-type", message],
    ];
    for [name, value] in all {
        headers.put_u8(name.len() as u8);
        headers.put_slice(name.as_bytes());
        headers.put_u8(7);
        headers.put_u16(value.len() as u16);
        headers.put_slice(value.as_bytes());
    }
    let payload = payload.to_string();
    let mut out = BytesMut::new();
    out.put_u32((12 + headers.len() + payload.len() + 4) as u32);
    out.put_u32(headers.len() as u32);
    out.put_u32(crc32fast::hash(&out));
    out.put_slice(&headers);
    out.put_slice(payload.as_bytes());
    out.put_u32(crc32fast::hash(&out));
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::read_message_from;
    use serde_json::json;

    #[test]
    fn the_vendors_own_library_reads_what_is_written() {
        for (frame, kind, message) in [
            (
                event("messageStart", &json!({"p": "é"})),
                ":event-type",
                "event",
            ),
            (
                exception("messageStart", &json!({"p": "é"})),
                ":exception-type",
                "exception",
            ),
        ] {
            let read = read_message_from(frame).unwrap();
            assert_eq!(&read.payload()[..], "{\"p\":\"é\"}".as_bytes());
            let header = |name: &str| {
                let mut headers = read.headers().iter();
                let found = headers.find(|header| header.name().as_str() == name);
                found
                    .unwrap()
                    .value()
                    .as_string()
                    .unwrap()
                    .as_str()
                    .to_owned()
            };
            assert_eq!(
                (&*header(kind), &*header(":message-type")),
                ("messageStart", message)
            );
        }
    }
}
