//! What a stranger says of who he is never counts, and whoever trusts this proxy finds the same
//! client behind it that it found itself.
#![no_main]

#[path = "../../../tests/it/corpora/forwarded.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
