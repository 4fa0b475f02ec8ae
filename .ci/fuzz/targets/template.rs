//! A template is refused when it is made, fails, or makes one text, whatever is filled in.
#![no_main]

#[path = "../../../tests/it/corpora/template.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
