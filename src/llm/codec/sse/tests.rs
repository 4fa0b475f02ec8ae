#[path = "../../../../tests/it/corpora/sse.rs"]
mod fuzzed;

use super::*;
use crate::llm::codec::{pieces::pieces, sse};
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

/// Name and data of an event.
type Plain = (Option<Vec<u8>>, Vec<u8>);

/// The algorithm of the standard to the letter, a character at a time, for the bytes of a stream.
fn oracle(stream: &[u8]) -> Vec<Plain> {
    let stream = stream.strip_prefix(BOM).unwrap_or(stream);
    let mut lines = vec![vec![]];
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(vec![]);
            }
            b'\n' => lines.push(vec![]),
            byte => lines.last_mut().unwrap().push(byte),
        }
    }
    // Where the standard throws an unfinished event away, it is kept.
    lines.push(vec![]);
    let (mut found, mut name, mut data) = (vec![], vec![], None::<Vec<u8>>);
    for line in lines {
        if line.is_empty() {
            let name = std::mem::take(&mut name);
            if let Some(mut data) = data.take() {
                assert_eq!(data.pop(), Some(b'\n'));
                found.push(((!name.is_empty()).then_some(name), data));
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, mut value) = match colon {
            Some(0) => continue,
            Some(at) => (&line[..at], line[at + 1..].to_vec()),
            None => (&line[..], vec![]),
        };
        if value.first() == Some(&b' ') {
            value.remove(0);
        }
        match field {
            b"event" => name = value,
            b"data" => {
                let data = data.get_or_insert_default();
                data.extend(value);
                data.push(b'\n');
            }
            _ => {}
        }
    }
    found
}

/// What comes out at the other end: the pieces, and the events that are read from them.
fn through<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Bytes>, Vec<Plain>) {
    let mut framer = Framer::new();
    let mut pieces = vec![];
    for chunk in chunks {
        pieces.extend(framer.push(Bytes::copy_from_slice(chunk)).unwrap());
    }
    pieces.extend(framer.finish());
    let mut read = vec![];
    for (at, piece) in pieces.iter().enumerate() {
        let piece = if at == 0 { without_bom(piece) } else { piece };
        read.extend(
            events(piece).map(|event| (event.event.map(<[u8]>::to_vec), event.data.into_owned())),
        );
    }
    (pieces, read)
}

#[track_caller]
fn check(stream: &[u8], cuts: &[usize]) {
    let mut chunks = vec![];
    let mut from = 0;
    for cut in cuts {
        chunks.push(&stream[from..*cut]);
        from = *cut;
    }
    chunks.push(&stream[from..]);
    let (pieces, read) = through(chunks);
    assert_eq!(pieces.concat(), stream, "{cuts:?}");
    assert_eq!(
        read,
        oracle(stream),
        "{cuts:?} {:?}",
        stream.escape_ascii().to_string()
    );
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
}

const NASTY: &[&str] = &[
    "data: a\n\ndata: b\n\n",
    "data: a\r\n\r\ndata: b\r\n\r\n",
    "data: a\r\rdata: b\r\r",
    "data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\rdata: e\r\n\r",
    "\u{feff}data: a\n\n\u{feff}data: not a field\n\n",
    "\u{feff}\n\ndata: a\n\n",
    ": OPENROUTER PROCESSING\n\n:\n\ndata: a\n\n: x\ndata: b\n\n",
    "event: ping\ndata: {}\n\nevent: lost\n\ndata: unnamed\n\nevent:\ndata: x\n\nevent: a\nevent: b\ndata: y\n\n",
    "data: one\ndata: two\ndata:\ndata\ndata:  three\n\n",
    "data\n\ndata:\n\ndata: \n\n",
    "id: 7\nretry: 10\nfoo: bar\ndatum: x\ndata: a: b\n\n",
    "\n\n\r\n\r\r\n\ndata: a\n\n\n\n\ndata: b",
    "data: grüße 🦀 日本\r\n\r\ndata: ü\r\r",
    "data: no end",
    "data: no end\n",
    "data: no end\r\n",
    "data: no end\r",
    "data: [DONE]\r\n\r\n",
    "",
    "\n",
    "\r",
    "\r\n",
    "{\"error\": \"not an event stream\"}",
];

#[test]
fn nasty_streams_are_read_as_the_standard_reads_them() {
    let read = |text: &str| through([text.as_bytes()]).1;
    let plain = |data: &str| (None, data.as_bytes().to_vec());
    let named = |name: &str, data: &str| (Some(name.as_bytes().to_vec()), data.as_bytes().to_vec());
    assert_eq!(read(NASTY[3]), ["a", "b", "c", "d", "e"].map(plain));
    assert_eq!(read(NASTY[4]), [plain("a")]);
    assert_eq!(
        read(NASTY[7]),
        [
            named("ping", "{}"),
            plain("unnamed"),
            plain("x"),
            named("b", "y")
        ]
    );
    assert_eq!(read(NASTY[8]), [plain("one\ntwo\n\n\n three")]);
    assert_eq!(read(NASTY[9]), [plain(""), plain(""), plain("")]);
    assert_eq!(read(NASTY[11]), [plain("a"), plain("b")]);
    assert_eq!(read(NASTY[15]), [plain("no end")]);
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    for text in NASTY {
        let stream = text.as_bytes();
        check(stream, &[]);
        for first in 0..=stream.len() {
            check(stream, &[first]);
            for second in first..=stream.len() {
                check(stream, &[first, second]);
            }
        }
        check(stream, &(0..stream.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_whole_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: a\r\n\r\ndata: b\n\n");
    let mut framer = Framer::new();
    let piece = framer.push(chunk.clone()).unwrap().unwrap();
    assert_eq!(piece.as_ptr(), chunk.as_ptr());
    assert_eq!(piece.len(), chunk.len());
    // Nor is the part of a chunk that is whole.
    let chunk = Bytes::from_static(b"data: a\n\ndata");
    let piece = framer.push(chunk.clone()).unwrap().unwrap();
    assert_eq!(
        (piece.as_ptr(), &piece[..]),
        (chunk.as_ptr(), &b"data: a\n\n"[..])
    );
    assert_eq!(framer.finish().unwrap(), "data");
    assert_eq!(framer.finish(), None);
}

#[test]
fn an_event_is_handed_on_as_soon_as_it_is_whole() {
    let mut framer = Framer::new();
    let mut push = |text: &'static str| framer.push(Bytes::from(text)).unwrap();
    assert_eq!(push("data: a\r"), None);
    // It ends here, though an LF may follow.
    assert_eq!(push("\r"), Some("data: a\r\r".into()));
    assert_eq!(push("\ndata: b"), Some("\n".into()));
    assert_eq!(push(""), None);
    assert_eq!(push("\r\n\r"), Some("data: b\r\n\r".into()));
    // This LF is not one half of a line end, but an empty line that ends nothing.
    assert_eq!(push("\n"), Some("\n".into()));
    assert_eq!(push("\n"), Some("\n".into()));
    assert_eq!(push(": comment\n\nda"), Some(": comment\n\n".into()));
}

#[test]
fn a_line_without_an_end_meets_the_limit() {
    let mut framer = Framer::new().limit(1000);
    let mut taken = 0;
    let error = loop {
        match framer.push(Bytes::from_static(&[b'x'; 64])) {
            Ok(None) => taken += 64,
            Ok(Some(_)) => panic!("no event ended"),
            Err(error) => break error,
        }
    };
    assert_eq!((taken, error), (960, TooLong { limit: 1000 }));
    assert_eq!(error.to_string(), "an event is longer than 1000 bytes");
    assert_eq!(framer.finish(), None);
    // Many short lines of one event, too.
    let mut framer = Framer::new();
    let mut pushed = 0;
    while framer
        .push(Bytes::from_static(b"data: lorem ipsum\n"))
        .is_ok()
    {
        pushed += 18;
    }
    assert!(pushed > Framer::LIMIT - 18 && pushed <= Framer::LIMIT);
}

#[test]
fn a_long_event_in_small_chunks_takes_linear_time() {
    let start = Instant::now();
    let mut framer = Framer::new();
    let text = Bytes::from(format!("data: {}\n", "x".repeat(1 << 20)));
    for at in 0..text.len() {
        assert_eq!(framer.push(text.slice(at..at + 1)).unwrap(), None);
    }
    let piece = framer.push(Bytes::from_static(b"\n")).unwrap().unwrap();
    assert_eq!(piece.len(), text.len() + 1);
    // Half a terabyte would have been looked at in quadratic time.
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn text_cannot_split_an_event_that_is_written() {
    let forged = "a\n\ndata: [DONE]\r\n\r\nevent: error\rdata: b\n";
    let mut out = BytesMut::new();
    write_event(&mut out, Some("delta\ndata: x"), forged.as_bytes());
    write_event(&mut out, None, b"");
    let (_, read) = through([&out[..]]);
    let text = forged.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(
        read,
        [(Some(b"delta".to_vec()), text.into_bytes()), (None, vec![])]
    );
}

#[test]
fn what_is_written_is_plain() {
    let mut out = BytesMut::new();
    write_event(&mut out, None, b"{\"a\":1}");
    write_event(&mut out, Some("error"), b"{}");
    assert_eq!(out, "data: {\"a\":1}\n\nevent: error\ndata: {}\n\n");
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => Just(&b"\n"[..]),
        3 => Just(&b"\r"[..]),
        2 => Just(&b"\r\n"[..]),
        4 => Just(&b"data"[..]),
        2 => Just(&b"event"[..]),
        3 => Just(&b":"[..]),
        2 => Just(&b" "[..]),
        2 => Just(&b"x"[..]),
        1 => Just("é".as_bytes()),
        1 => Just(BOM),
        1 => Just(&b"\0\xff"[..]),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_stream_cut_anyhow_is_read_as_the_standard_reads_it(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        check(&stream, &cuts);
    }

    #[test]
    fn what_is_written_is_read_again(name in "[^\r\n]{0,5}", data in "[^\r]{0,40}") {
        let mut out = BytesMut::new();
        write_event(&mut out, Some(&name), data.as_bytes());
        prop_assert_eq!(out.windows(2).filter(|pair| pair == b"\n\n").count(), 1);
        let name = (!name.is_empty()).then(|| name.into_bytes());
        let read = through([&out[..]]).1;
        prop_assert_eq!(read, [(name, data.into_bytes())]);
    }
}

/// What the fuzzer begins with.
#[test]
fn the_corpus_is_read_as_the_standard_reads_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/sse");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let text = std::fs::read(file.path()).unwrap();
        for seed in 0..8 {
            for limit in [0, 5, 32, 255] {
                fuzzed::check(&[&[seed, limit], &*text].concat());
            }
        }
        count += 1;
    }
    assert!(count > 8, "{count}");
}
