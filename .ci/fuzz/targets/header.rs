//! What is for one hop stays there, what callers do not get to say is not said, all else arrives as it
//! came, and a message with two readings is refused.
#![no_main]

#[path = "../../../tests/it/corpora/header.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
