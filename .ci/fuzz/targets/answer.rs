//! The answer of a vendor of any protocol means the same however its bytes are cut and whoever looks at
//! it, passes through as it came, and is written for the clients of each.
#![no_main]

#[path = "../../../tests/it/corpora/answer.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
