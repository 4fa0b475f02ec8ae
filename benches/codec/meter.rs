//! What a turn costs.

use crate::measure;
use alloc_tracker::{Allocator, Session};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator::system();

/// Enough that what grows now and then is shared.
const TURNS: u32 = 20;

/// The cost of one turn.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) micros: f64,
    /// How often it allocates. What grows in its place counts as one more.
    pub(crate) allocations: f64,
}

impl Cost {
    /// Of one of so many.
    pub(crate) fn each(self, many: usize) -> Self {
        let many = many as f64;
        Self {
            micros: self.micros / many,
            allocations: self.allocations / many,
        }
    }
}

pub(crate) async fn of(mut turn: impl AsyncFnMut()) -> Cost {
    let nanos = measure::nanos(&mut turn).await;
    cost(nanos, turn).await
}

/// The cost of each, measured in turns: what slows the machine for a while slows both.
pub(crate) async fn both(mut one: impl AsyncFnMut(), mut other: impl AsyncFnMut()) -> (Cost, Cost) {
    let (ones, others) = measure::both(&mut one, &mut other).await;
    (cost(ones, one).await, cost(others, other).await)
}

/// Counts after the time was taken: what is made once and kept is there.
async fn cost(nanos: f64, mut turn: impl AsyncFnMut()) -> Cost {
    let session = Session::new().no_stdout().no_file();
    let turns = session.operation("turns");
    let span = turns.measure_thread().iterations(TURNS.into());
    for _ in 0..TURNS {
        turn().await;
    }
    drop(span);
    drop(turns);
    let report = session.to_report();
    let count = report
        .operations()
        .map(|(_, all)| all.total_allocations_count());
    Cost {
        micros: nanos / 1000.0,
        allocations: count.sum::<u64>() as f64 / f64::from(TURNS),
    }
}
