//! The events of a stream are those of the standard however its bytes are cut, its bytes stay as they
//! are, no more of an event is held than is allowed, and what is written is read again.

use super::{pieces, sse};
use bytes::{Bytes, BytesMut};

type Event = (Option<Vec<u8>>, Vec<u8>);

pub(super) fn check(input: &[u8]) {
    let [seed, limit, stream @ ..] = input else {
        return;
    };
    let expected = standard(stream);
    assert_eq!(read(sse::without_bom(stream)), expected, "in one piece");

    let (mut framer, mut given, mut events) = (sse::Framer::new(), Vec::new(), Vec::new());
    let mut take = |piece: Bytes| {
        let text = match given.is_empty() {
            true => sse::without_bom(&piece),
            false => &piece,
        };
        events.extend(read(text));
        given.extend_from_slice(&piece);
    };
    for piece in pieces(stream, *seed) {
        let whole = framer.push(Bytes::copy_from_slice(piece));
        whole.expect("less than the limit").map(&mut take);
    }
    framer.finish().map(take);
    assert_eq!(given, stream, "the bytes");
    assert_eq!(events, expected, "in pieces");

    held(stream, *seed, usize::from(*limit));
    written(stream, usize::from(*limit));
}

fn held(stream: &[u8], seed: u8, limit: usize) {
    let mut framer = sse::Framer::new().limit(limit);
    let (mut pushed, mut given) = (0, 0);
    for piece in pieces(stream, seed) {
        pushed += piece.len();
        match framer.push(Bytes::copy_from_slice(piece)) {
            Ok(whole) => given += whole.map_or(0, |whole| whole.len()),
            Err(error) => {
                assert_eq!(error.limit, limit);
                assert!(pushed - given > limit, "refused too early");
                return;
            }
        }
        assert!(pushed - given <= limit, "more is held than is allowed");
    }
}

fn written(text: &[u8], name: usize) {
    let (name, data) = text.split_at(name.min(text.len()));
    let Ok(name) = std::str::from_utf8(name) else {
        return;
    };
    let mut out = BytesMut::new();
    sse::write_event(&mut out, Some(name), data);
    sse::write_event(&mut out, None, data);
    let lines = normal_lines(data);
    let name = name.split(['\r', '\n']).next().unwrap_or_default();
    let name = (!name.is_empty()).then(|| name.as_bytes().to_vec());
    assert_eq!(read(&out), [(name, lines.clone()), (None, lines)]);
    assert!(out.ends_with(b"\n\n"));
}

fn read(stream: &[u8]) -> Vec<Event> {
    let events = sse::events(stream);
    let owned = |event: sse::SseEvent<'_>| (event.event.map(<[u8]>::to_vec), event.data.to_vec());
    events.map(owned).collect()
}

/// All ends of lines are LF.
fn normal_lines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut after_cr = false;
    for &byte in text {
        match byte {
            b'\n' if after_cr => {}
            b'\r' => out.push(b'\n'),
            byte => out.push(byte),
        }
        after_cr = byte == b'\r';
    }
    out
}

/// As the HTML standard says it, a line at a time; but the last event needs no empty line.
fn standard(stream: &[u8]) -> Vec<Event> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let text = normal_lines(stream);
    let mut events = Vec::new();
    let (mut name, mut data) = (Vec::new(), Vec::new());
    let mut seen = false;
    for line in text.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        if line.is_empty() {
            let name = std::mem::take(&mut name);
            let mut data: Vec<u8> = std::mem::take(&mut data);
            if std::mem::take(&mut seen) {
                data.pop();
                events.push(((!name.is_empty()).then_some(name), data));
            }
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => continue,
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value.to_vec(),
            b"data" => {
                seen = true;
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            _ => {}
        }
    }
    events
}
