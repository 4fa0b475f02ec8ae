//! The best of several batches: what the work costs when nothing else disturbs it.

use std::time::Duration;
use tokio::time::Instant;

/// How long a batch takes, about.
const BATCH: Duration = Duration::from_millis(20);
const BATCHES: usize = 15;

/// Nanoseconds of one turn.
pub(crate) async fn nanos(mut turn: impl AsyncFnMut()) -> f64 {
    let mut turns = 1_u32;
    let mut best = f64::MAX;
    let mut batches = 0;
    while batches < BATCHES {
        let start = Instant::now();
        for _ in 0..turns {
            turn().await;
        }
        let took = start.elapsed();
        if took < BATCH / 2 {
            turns *= 2;
        } else {
            best = best.min(took.as_secs_f64() * 1e9 / f64::from(turns));
            batches += 1;
        }
    }
    best
}
