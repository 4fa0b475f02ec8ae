//! The events of a stream are those of the standard however its bytes are cut, its bytes stay as they
//! are, no more of an event is held than is allowed, and what is written is read again.
#![no_main]

#[path = "../../../tests/it/corpora/sse.rs"]
mod check;
#[path = "../../../src/llm/codec/held.rs"]
mod held;
#[path = "../../../src/llm/codec/sse.rs"]
#[allow(dead_code)]
mod sse;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
