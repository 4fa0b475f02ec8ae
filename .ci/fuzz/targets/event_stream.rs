//! Frames are the same however their bytes are cut, their bytes stay as they are, no more is held than a
//! frame may have, and what is garbled is found wherever it is cut.
#![no_main]

#[path = "../../../tests/it/corpora/event_stream.rs"]
mod check;
#[path = "../../../src/llm/codec/bedrock/frame.rs"]
#[allow(dead_code)]
mod frame;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
