//! A form with a file reaches a vendor as it came or not at all, however it is cut: one name of a model
//! is found in it, and no second one goes by.
#![no_main]

#[path = "../../../tests/it/corpora/form.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
