//! When keys were used last, gathered to be written in one go.

use super::{
    look_up::Known,
    wire::{from_millis, to_millis},
};
use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// The most keys whose use is remembered at once. Of what is more the use is not noted.
const MOST: usize = 100_000;

/// When a key was used, as far as it is not written yet.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Milliseconds since 1970.
    last: AtomicI64,
    gathered: AtomicBool,
}

pub(super) struct Uses {
    every: Option<Duration>,
    gathered: Mutex<Vec<Arc<Known>>>,
    start: Instant,
    /// When they are to be written, in milliseconds after the start.
    due: AtomicU64,
}

impl Uses {
    /// Written so often. `None`: not at all.
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self {
            every,
            gathered: Mutex::default(),
            start: Instant::now(),
            due: AtomicU64::new(every.map_or(u64::MAX, millis)),
        }
    }

    /// A key was used. Whether it is time to write, and the caller's turn to do so.
    pub(super) fn note(&self, known: &Arc<Known>, wall: SystemTime, now: Instant) -> bool {
        let Some(every) = self.every else {
            return false;
        };
        let used = &known.used;
        used.last.store(to_millis(wall), Ordering::Relaxed);
        if !used.gathered.swap(true, Ordering::Relaxed) {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            if gathered.len() < MOST {
                gathered.push(known.clone());
            }
        }
        let due = self.due.load(Ordering::Relaxed);
        let elapsed = millis(now.saturating_duration_since(self.start));
        elapsed >= due && {
            let next = elapsed.saturating_add(millis(every));
            let turn = self
                .due
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
            turn.is_ok()
        }
    }

    /// All that was gathered, each key once, in the order of their ids.
    pub(super) fn take(&self) -> Vec<(Arc<str>, SystemTime)> {
        let gathered = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            mem::take(&mut *gathered)
        };
        let mut uses = BTreeMap::new();
        for known in gathered {
            // In this order: a use that comes between is gathered again.
            known.used.gathered.store(false, Ordering::SeqCst);
            let last = known.used.last.load(Ordering::SeqCst);
            let latest = uses.entry(known.id.clone()).or_insert(last);
            *latest = last.max(*latest);
        }
        let uses = uses.into_iter();
        uses.map(|(id, last)| (id, from_millis(last))).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
