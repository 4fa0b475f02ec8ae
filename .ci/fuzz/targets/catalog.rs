//! A document is a catalog that finds each of its own rows, or is refused with the place of the fault.
#![no_main]

#[path = "../../../tests/it/corpora/catalog.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
