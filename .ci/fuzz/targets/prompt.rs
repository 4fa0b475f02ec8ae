//! A document is a prompt that is written and read again as it was, or is refused.
#![no_main]

#[path = "../../../tests/it/corpora/prompt.rs"]
mod check;
#[path = "../../../tests/it/corpora/template.rs"]
mod template;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
