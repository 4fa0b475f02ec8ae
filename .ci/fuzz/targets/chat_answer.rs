//! A vendor's answer means the same however its bytes are cut and whoever looks at it, and passes
//! through as it came.
#![no_main]

#[path = "../../../tests/it/corpora/chat_answer.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
