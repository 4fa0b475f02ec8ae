//! What is known of a request at a glance is what it says, its typed view can be written and read
//! again, and an edit changes nothing but what it edits.
#![no_main]

#[path = "../../../tests/it/corpora/chat_request.rs"]
mod check;

use libfuzzer_sys::fuzz_target;
use tower_gateway_fuzz::*;

fuzz_target!(|input: &[u8]| check::check(input));
