//! A gate for each key that is in use.

use super::gate::{Gate, Home, Shared};
use std::{
    collections::{HashMap, hash_map},
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

const SHARDS: usize = 16;

/// The gates of those keys that have an exchange in flight or waiting, and of no others.
pub(super) struct Table {
    shared: Arc<Shared>,
    shards: [Mutex<HashMap<u64, Arc<Gate>>>; SHARDS],
    tracked: AtomicUsize,
    most: usize,
    /// Of all calls that have no key.
    nameless: Arc<Gate>,
    /// Of all keys for which there is no room.
    overflow: Arc<Gate>,
}

impl Table {
    pub(super) fn new(shared: Arc<Shared>, most: usize) -> Self {
        let gate = || Arc::new(Gate::new(shared.clone(), None));
        Self {
            shards: Default::default(),
            tracked: AtomicUsize::new(0),
            most,
            nameless: gate(),
            overflow: gate(),
            shared,
        }
    }

    /// The gate of a key, which is there as long as it is held.
    pub(super) fn hold(self: &Arc<Self>, key: Option<u64>) -> Held {
        let Some(key) = key else {
            return Held(self.nameless.clone());
        };
        let mut shard = self.shard(key);
        let gate = match shard.entry(key) {
            hash_map::Entry::Occupied(known) => known.get().clone(),
            hash_map::Entry::Vacant(free) => {
                if self.tracked.fetch_add(1, Ordering::Relaxed) >= self.most {
                    self.tracked.fetch_sub(1, Ordering::Relaxed);
                    return Held(self.overflow.clone());
                }
                let home = Home {
                    table: self.clone(),
                    key,
                    users: AtomicU64::new(0),
                };
                let gate = Gate::new(self.shared.clone(), Some(home));
                free.insert(Arc::new(gate)).clone()
            }
        };
        if let Some(home) = &gate.home {
            home.users.fetch_add(1, Ordering::Relaxed);
        }
        Held(gate)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn tracked(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }

    pub(super) fn each(&self, mut see: impl FnMut(&Gate)) {
        see(&self.nameless);
        see(&self.overflow);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().for_each(|gate| see(gate));
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, Arc<Gate>>> {
        let shard = &self.shards[key as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("tracked", &self.tracked)
            .finish_non_exhaustive()
    }
}

/// A gate that somebody uses. The last one who does takes that of a key out of the table.
#[derive(Debug)]
pub(super) struct Held(Arc<Gate>);

impl Held {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self(gate)
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        // This one holds it meanwhile, so that it is not taken out.
        if let Some(home) = &self.0.home {
            home.users.fetch_add(1, Ordering::Relaxed);
        }
        Self(self.0.clone())
    }
}

impl Deref for Held {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(home) = &self.0.home else {
            return;
        };
        let mut shard = home.table.shard(home.key);
        if home.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            let gone = shard.remove(&home.key);
            home.table.tracked.fetch_sub(1, Ordering::Relaxed);
            drop(shard);
            drop(gone);
        }
    }
}
