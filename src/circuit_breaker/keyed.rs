//! A circuit for each key that was used of late.

use super::{
    circuit::{Config, Counts, Forced},
    handle::Teller,
    shared::Shared,
    stats::Stats,
};
use std::{
    any::Any,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

const SHARDS: usize = 16;

/// How soon circuits that nobody uses are swept out when there is no room.
const SWEEP_FULL: Duration = Duration::from_secs(1);
/// How long they may lie about otherwise.
const SWEEP: Duration = Duration::from_secs(60);

/// Says what a key is called.
#[derive(Clone)]
pub(super) struct Names(Arc<Name>);

type Name = dyn Fn(&dyn Any) -> Option<Arc<str>> + Send + Sync;

impl Names {
    pub(super) fn new<T: Any>(name: impl Fn(&T) -> Arc<str> + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |key| key.downcast_ref().map(&name)))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// How many circuits are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) most: usize,
    /// How long one is kept that nobody uses.
    pub(super) idle: Duration,
}

pub(super) struct Table {
    config: Config,
    room: Room,
    teller: Teller,
    names: Option<Names>,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    tracked: AtomicUsize,
    /// What circuits counted that were forgotten since.
    forgotten: Mutex<Counts>,
    /// What circuits that are yet to come are held in.
    standing: Mutex<Option<Forced>>,
    /// Of all calls that have no key.
    nameless: Shared,
    /// Of all keys for which there is no room.
    overflow: Shared,
}

#[derive(Default)]
struct Shard {
    circuits: HashMap<u64, Kept>,
    swept: Option<Instant>,
}

struct Kept {
    circuit: Shared,
    used: Instant,
}

impl Table {
    pub(super) fn new(config: Config, room: Room, names: Option<Names>, teller: Teller) -> Self {
        let circuit = || Shared::new(config, teller.clone());
        Self {
            nameless: circuit(),
            overflow: circuit(),
            config,
            room,
            teller,
            names,
            hasher: RandomState::new(),
            shards: Default::default(),
            tracked: AtomicUsize::new(0),
            forgotten: Mutex::default(),
            standing: Mutex::default(),
        }
    }

    /// The circuit of a name, or that of all for which there is no room.
    pub(super) fn named(&self, name: &(impl Hash + Any)) -> Shared {
        self.own(name).unwrap_or_else(|| self.overflow.clone())
    }

    /// The circuit of a name, begun now if there is room.
    pub(super) fn own(&self, name: &(impl Hash + Any)) -> Option<Shared> {
        let key = self.hasher.hash_one(name);
        let now = Instant::now();
        // The map goes by the lowest and the highest bits.
        let mut shard = lock(&self.shards[(key >> 32) as usize % SHARDS]);
        let since = now.saturating_duration_since(*shard.swept.get_or_insert(now));
        if since >= SWEEP {
            self.sweep(&mut shard, now);
        }
        if let Some(kept) = shard.circuits.get_mut(&key) {
            kept.used = now;
            return Some(kept.circuit.clone());
        }
        if !self.reserve() {
            if (SWEEP_FULL..SWEEP).contains(&since) {
                self.sweep(&mut shard, now);
            }
            if !self.reserve() {
                return None;
            }
        }
        let called = self.names.as_ref().and_then(|names| (names.0)(name));
        let circuit = Shared::new(self.config, self.teller.of(called));
        if let Some(forced) = *lock(&self.standing) {
            circuit.begin_in(forced);
        }
        let kept = Kept {
            circuit: circuit.clone(),
            used: now,
        };
        shard.circuits.insert(key, kept);
        Some(circuit)
    }

    pub(super) fn nameless(&self) -> Shared {
        self.nameless.clone()
    }

    pub(super) fn teller(&self) -> &Teller {
        &self.teller
    }

    /// Says what circuits that are yet to come are held in. Those that are here are [each](Self::each) told
    /// after.
    pub(super) fn stand(&self, forced: Option<Forced>) {
        *lock(&self.standing) = forced;
    }

    pub(super) fn each(&self, mut see: impl FnMut(&Shared)) {
        see(&self.nameless);
        see(&self.overflow);
        for shard in &self.shards {
            // Not under the lock: whoever sees it may log.
            let circuits: Vec<_> = lock(shard)
                .circuits
                .values()
                .map(|kept| kept.circuit.clone())
                .collect();
            circuits.iter().for_each(&mut see);
        }
    }

    pub(super) fn stats(&self, now: Instant) -> Stats {
        let mut stats = self.nameless.stats(now);
        stats.merge(self.overflow.stats(now));
        for shard in &self.shards {
            for kept in lock(shard).circuits.values() {
                stats.merge(kept.circuit.stats(now));
            }
        }
        stats.counts.merge(self.forgotten());
        stats
    }

    pub(super) fn forgotten(&self) -> Counts {
        *lock(&self.forgotten)
    }

    fn reserve(&self) -> bool {
        let one_more = |tracked| (tracked < self.room.most).then_some(tracked + 1);
        self.tracked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    fn sweep(&self, shard: &mut Shard, now: Instant) {
        let before = shard.circuits.len();
        // An open circuit is not to be forgotten while it is open.
        let idle = self.room.idle.max(self.config.longest_open());
        let standing = *lock(&self.standing);
        let mut forgotten = Counts::default();
        shard.circuits.retain(|_, kept| {
            let used = now.saturating_duration_since(kept.used) < idle;
            // What somebody forced it into, a new one would not be in.
            let keeps = used || kept.circuit.is_held() || kept.circuit.forced() != standing;
            if !keeps {
                forgotten.merge(kept.circuit.stats(now).counts);
            }
            keeps
        });
        lock(&self.forgotten).merge(forgotten);
        let gone = before - shard.circuits.len();
        self.tracked.fetch_sub(gone, Ordering::Relaxed);
        shard.swept = Some(now);
        // After a flood, the memory too.
        if shard.circuits.len() < shard.circuits.capacity() / 8 {
            shard.circuits.shrink_to_fit();
        }
    }
}

// A map is valid after every statement, whoever panicked with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("config", &self.config)
            .field("tracked", &self.tracked)
            .finish_non_exhaustive()
    }
}
