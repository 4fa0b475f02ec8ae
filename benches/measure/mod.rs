//! The best of several batches: what the work costs when nothing else disturbs it.

use std::time::Duration;
use tokio::time::Instant;

/// How long a batch takes, about.
const BATCH: Duration = Duration::from_millis(10);
const BATCHES: usize = 25;

/// Nanoseconds of one turn.
#[allow(dead_code, reason = "each bench uses one of the two")]
pub(crate) async fn nanos(mut turn: impl AsyncFnMut()) -> f64 {
    let turns = turns(&mut turn).await;
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        best = best.min(batch(&mut turn, turns).await);
    }
    best
}

/// Nanoseconds of one turn of each. Their batches alternate, so that what slows the machine for a
/// while slows both.
#[allow(dead_code, reason = "each bench uses one of the two")]
pub(crate) async fn both(mut one: impl AsyncFnMut(), mut other: impl AsyncFnMut()) -> (f64, f64) {
    let (ones, others) = (turns(&mut one).await, turns(&mut other).await);
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..BATCHES {
        best.0 = best.0.min(batch(&mut one, ones).await);
        best.1 = best.1.min(batch(&mut other, others).await);
    }
    best
}

/// Whether it is within its budget, or less than a third above: so much a machine may have its moods. What is above
/// is said.
#[allow(dead_code, reason = "not each bench has budgets")]
pub(crate) fn within(nanos: f64, budget: f64) -> bool {
    if nanos > budget {
        println!("  {nanos:.0} ns are over {budget:.0}");
    }
    nanos <= 1.3 * budget
}

/// How many make a batch.
async fn turns(turn: &mut impl AsyncFnMut()) -> u32 {
    let mut turns = 1_u32;
    while batch(turn, turns).await * f64::from(turns) < BATCH.as_secs_f64() * 1e9 / 2.0 {
        turns *= 2;
    }
    turns
}

async fn batch(turn: &mut impl AsyncFnMut(), turns: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..turns {
        turn().await;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(turns)
}
