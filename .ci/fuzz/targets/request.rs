//! A request in the words of any client is read or refused, is written for a vendor of each protocol,
//! and what is written for one that clients speak, too, is read again.
#![no_main]

#[path = "../../../tests/it/corpora/request.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
