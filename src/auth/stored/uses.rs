//! When keys were used last, gathered to be written in one go.

use super::wire::{from_millis, to_millis};
use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// When a key was used, as far as it is not written yet.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Milliseconds since 1970.
    last: AtomicI64,
    gathered: AtomicBool,
}

pub(super) struct Uses {
    every: Option<Duration>,
    /// Of how many keys at once. Of what is more the use is not noted.
    most: usize,
    gathered: Mutex<BTreeMap<Arc<str>, Arc<Used>>>,
    /// Whether somebody waits to write them.
    armed: AtomicBool,
}

impl Uses {
    /// Written so long after the first one. `None`: not at all.
    pub(super) fn new(every: Option<Duration>, most: usize) -> Self {
        Self {
            every,
            most: most.max(1),
            gathered: Mutex::default(),
            armed: AtomicBool::new(false),
        }
    }

    /// A key was used. `Some`: it is the caller's turn to write, after so long.
    pub(super) fn note(&self, id: &Arc<str>, used: &Arc<Used>, wall: SystemTime) -> Option<Turn> {
        let every = self.every?;
        used.last.store(to_millis(wall), Ordering::Relaxed);
        if used.gathered.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut gathered = self.gathered();
        if gathered.len() < self.most || gathered.contains_key(id) {
            let before = gathered.insert(id.clone(), used.clone());
            // It was looked up anew meanwhile.
            if let Some(before) = before {
                let last = before.last.load(Ordering::Relaxed);
                used.last.fetch_max(last, Ordering::Relaxed);
            }
        } else {
            used.gathered.store(false, Ordering::Relaxed);
        }
        drop(gathered);
        let turn = !self.armed.swap(true, Ordering::Relaxed);
        turn.then_some(Turn { after: every })
    }

    /// From now on the next use is somebody's turn again.
    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// All that was gathered, each key once, in the order of their ids.
    pub(super) fn take(&self) -> Vec<(Arc<str>, SystemTime)> {
        let gathered = mem::take(&mut *self.gathered());
        let uses = gathered.into_iter().map(|(id, used)| {
            // In this order: a use that comes between is gathered again.
            used.gathered.store(false, Ordering::SeqCst);
            (id, from_millis(used.last.load(Ordering::SeqCst)))
        });
        uses.collect()
    }

    // The map is valid after every statement, whoever panicked with the lock.
    fn gathered(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Used>>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To write what was gathered, after so long.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) after: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_gathered_once_and_no_more_than_so_many() {
        let uses = Uses::new(Some(Duration::from_secs(60)), 2);
        let at = |millis: i64| from_millis(1_800_000_000_000 + millis);
        let ids = ["a", "b", "c"].map(Arc::<str>::from);
        let used = [(); 4].map(|()| Arc::new(Used::default()));
        assert!(uses.note(&ids[1], &used[1], at(1)).is_some());
        assert!(uses.note(&ids[1], &used[1], at(2)).is_none());
        // Looked up anew, while its use before is not written.
        assert!(uses.note(&ids[1], &used[3], at(3)).is_none());
        for nth in [0, 2] {
            assert!(uses.note(&ids[nth], &used[nth], at(4)).is_none());
        }
        let told = [(ids[0].clone(), at(4)), (ids[1].clone(), at(3))];
        assert_eq!(uses.take(), told);
        assert!(uses.note(&ids[2], &used[2], at(5)).is_none(), "it is armed");
        assert_eq!(uses.take(), [(ids[2].clone(), at(5))]);
        uses.disarm();
        assert!(uses.note(&ids[0], &used[0], at(6)).is_some());
        let never = Uses::new(None, 2);
        assert!(never.note(&ids[0], &used[2], at(7)).is_none());
        assert_eq!(never.take(), []);
    }
}
