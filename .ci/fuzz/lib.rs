//! What several targets need.

#[path = "../../tests/it/corpora/lab.rs"]
mod lab;

pub use lab::*;
use std::time::{Duration, Instant};

/// Runs something with an input of so many bytes, which is done in three seconds, and in a millisecond more for
/// each 8 of them, on a machine that does much else, too. What takes the square of the length does not.
pub fn in_time<T>(length: usize, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = run();
    let took = start.elapsed();
    let most = Duration::from_millis(3000 + length as u64 / 8);
    assert!(took < most, "{length} bytes took {took:?}");
    done
}
