//! Whatever a vendor says of its limits is read within bounds, and the same twice.
#![no_main]

#[path = "../../../tests/it/corpora/rate_limits.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
