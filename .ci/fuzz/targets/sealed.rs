//! What proves a thought comes back to who made it through a client of another dialect, and to nobody else.
#![no_main]

#[path = "../../../tests/it/corpora/sealed.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
