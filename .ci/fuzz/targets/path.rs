//! A normal path is one that means what the path meant, has one spelling and stays below the root.
//!
//! The other reading of the rules, to which the crate's is held, works on what the escapes stand for.
#![no_main]

#[path = "../../../tests/it/corpora/path.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check::check(input));
