//! Frames are the same however their bytes are cut, their bytes stay as they are, no more is held than a
//! frame may have, and what is garbled is found wherever it is cut.

use super::{frame, pieces};
use bytes::Bytes;

const NAMES: [&str; 4] = [":event-type", ":message-type", ":exception-type", "a"];

pub(super) fn check(input: &[u8]) {
    let [seed, stream @ ..] = input else {
        return;
    };
    let (whole, fault) = cut(&[stream]);
    assert!(stream.starts_with(&whole), "the bytes");
    let (again, same) = cut(&pieces(stream, *seed));
    assert_eq!((&again, same), (&whole, fault), "in pieces");
    let mut length = 0;
    for one in frame::frames(&again) {
        length += one.length;
        for name in NAMES {
            let _ = one.header(name);
        }
    }
    assert_eq!(length, again.len(), "whole frames");
    // Whatever the sums say.
    for one in frame::frames(stream) {
        for name in NAMES {
            let _ = one.header(name);
        }
    }
}

/// What is given of it, and the fault that ends it.
fn cut(pieces: &[&[u8]]) -> (Vec<u8>, Option<frame::Broken>) {
    let mut cutter = frame::Cutter::default();
    let mut given = Vec::new();
    for piece in pieces {
        let (whole, on) = cutter.push(Bytes::copy_from_slice(piece));
        given.extend(whole.into_iter().flatten());
        if let Err(fault) = on {
            return (given, Some(fault));
        }
    }
    (given, None)
}
