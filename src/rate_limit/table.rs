//! One bucket for each key, and never more than so many.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How long buckets that are full again may lie about, in microseconds.
const SWEEP: u64 = 60_000_000;
/// How soon they are swept out when there is no room, in microseconds.
const SWEEP_FULL: u64 = 1_000_000;

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// The keyed hash of a key.
    Named(u64),
    /// The same, of one credential of several that have the key: nobody without limits of their own is
    /// counted by it.
    Apart(u64),
    /// Of all who have no key.
    Nameless,
}

/// The buckets. A default one is full.
#[derive(Debug)]
pub(super) struct Table<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    tracked: Arc<AtomicUsize>,
    most: usize,
    nameless: Mutex<V>,
    /// Of all keys for which there is no room.
    overflow: Mutex<V>,
}

#[derive(Debug)]
struct Shard<V> {
    buckets: HashMap<u64, V, BuildHasherDefault<AsIs>>,
    swept: u64,
}

impl<V: Default> Table<V> {
    pub(super) fn new(most: usize) -> Self {
        Self::counted(most, Arc::default())
    }

    /// Another table, of other buckets: both together have no more than the one may have.
    pub(super) fn beside<W: Default>(&self) -> Table<W> {
        Table::counted(self.most, self.tracked.clone())
    }

    fn counted(most: usize, tracked: Arc<AtomicUsize>) -> Self {
        // Few keys share one lock, and so one sweep finds room for any of them.
        let shards = (most / 1024).clamp(1, 64).next_power_of_two();
        let shard = || Shard {
            buckets: HashMap::default(),
            swept: 0,
        };
        Self {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            tracked,
            most,
            nameless: Mutex::default(),
            overflow: Mutex::default(),
        }
    }

    /// Does something with a bucket under its lock. `now` is in microseconds.
    pub(super) fn with<R>(
        &self,
        slot: Slot,
        now: u64,
        idle: impl Fn(&V) -> bool,
        with: impl FnOnce(&mut V) -> R,
    ) -> R {
        self.if_room(slot, now, idle, with)
            .unwrap_or_else(|with| with(&mut lock(&self.overflow)))
    }

    /// The same, unless there is no room for a bucket of this key's own.
    pub(super) fn if_room<R, F: FnOnce(&mut V) -> R>(
        &self,
        slot: Slot,
        now: u64,
        idle: impl Fn(&V) -> bool,
        with: F,
    ) -> Result<R, F> {
        let key = match slot {
            Slot::Named(key) | Slot::Apart(key) => key,
            Slot::Nameless => return Ok(with(&mut lock(&self.nameless))),
        };
        let mut shard = lock(self.shard(key));
        let since = now.saturating_sub(shard.swept);
        if since >= SWEEP {
            self.sweep(&mut shard, now, &idle);
        }
        if let Some(bucket) = shard.buckets.get_mut(&key) {
            return Ok(with(bucket));
        }
        if !self.reserve() {
            if (SWEEP_FULL..SWEEP).contains(&since) {
                self.sweep(&mut shard, now, &idle);
            }
            if !self.reserve() {
                return Err(with);
            }
        }
        Ok(with(shard.buckets.entry(key).or_default()))
    }

    /// Does something with a bucket that is there. Those who share one are not told of it.
    pub(super) fn look<R>(&self, slot: Slot, with: impl FnOnce(&mut V) -> R) -> Option<R> {
        match slot {
            Slot::Named(key) | Slot::Apart(key) => {
                lock(self.shard(key)).buckets.get_mut(&key).map(with)
            }
            Slot::Nameless => Some(with(&mut lock(&self.nameless))),
        }
    }

    /// Takes a bucket away, if there is one. `None`: it is full.
    pub(super) fn remove(&self, slot: Slot, now: u64, idle: impl Fn(&V) -> bool) -> Option<V> {
        let key = match slot {
            Slot::Named(key) | Slot::Apart(key) => key,
            Slot::Nameless => return Some(mem::take(&mut *lock(&self.nameless))),
        };
        let mut shard = lock(self.shard(key));
        if now.saturating_sub(shard.swept) >= SWEEP {
            self.sweep(&mut shard, now, idle);
        }
        let bucket = shard.buckets.remove(&key)?;
        self.tracked.fetch_sub(1, Ordering::Relaxed);
        Some(bucket)
    }

    fn shard(&self, key: u64) -> &Mutex<Shard<V>> {
        // The map goes by the lowest and the highest bits.
        &self.shards[(key >> 32) as usize & (self.shards.len() - 1)]
    }

    pub(super) fn tracked(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }

    /// How many there are in this table alone.
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| lock(shard).buckets.len()).sum()
    }

    /// The bytes of the table itself, without what its buckets hold elsewhere.
    pub(super) fn bytes(&self) -> usize {
        let slots = |shard: &Mutex<Shard<V>>| match lock(shard).buckets.capacity() {
            0 => 0,
            // Of a power of two at least an eighth is kept free.
            capacity => (capacity * 8).div_ceil(7).next_power_of_two(),
        };
        let slots: usize = self.shards.iter().map(slots).sum();
        // And one byte of control for each.
        slots * (size_of::<(u64, V)>() + 1)
    }

    fn reserve(&self) -> bool {
        let one_more = |tracked| (tracked < self.most).then_some(tracked + 1);
        self.tracked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    fn sweep(&self, shard: &mut Shard<V>, now: u64, idle: impl Fn(&V) -> bool) {
        let before = shard.buckets.len();
        shard.buckets.retain(|_, bucket| !idle(bucket));
        let gone = before - shard.buckets.len();
        self.tracked.fetch_sub(gone, Ordering::Relaxed);
        shard.swept = now;
        // After a flood, the memory too.
        if shard.buckets.len() < shard.buckets.capacity() / 8 {
            shard.buckets.shrink_to_fit();
        }
    }
}

// A bucket is valid after every statement, whoever panicked with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys are hashes already, under a secret of this process.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &Table<u64>, key: u64, now: u64) -> u64 {
        // A bucket is idle one second after it was used last.
        let idle = |last: &u64| *last + 1_000_000 <= now;
        let slot = Slot::Named((key << 32) | key);
        table.with(slot, now, idle, |last| std::mem::replace(last, now))
    }

    #[test]
    fn beyond_the_cap_new_keys_share_one_bucket() {
        let table = Table::new(3);
        for key in 0..1000 {
            add(&table, key, 5);
        }
        assert_eq!(table.tracked(), 3);
        assert_eq!((add(&table, 2, 6), add(&table, 3, 6)), (5, 5));
        assert_eq!(
            (add(&table, 2, 7), add(&table, 4, 7)),
            (6, 6),
            "3 and 4 share"
        );
    }

    #[test]
    fn idle_buckets_make_room() {
        let table = Table::new(2);
        for key in 0..3 {
            add(&table, key, 1);
        }
        assert_eq!(add(&table, 3, 2_000_000), 0, "a bucket of its own");
        assert_eq!(table.tracked(), 1);
        add(&table, 4, 2_000_001);
        add(&table, 4, 2_000_002 + SWEEP);
        assert_eq!(table.tracked(), 1, "3 is gone, and 4 was used again");
    }

    #[test]
    fn a_flood_leaves_no_memory_behind() {
        let table = Table::new(100_000);
        for key in 0..200_000_u64 {
            add(&table, key.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF, 1);
        }
        assert_eq!(table.tracked(), 100_000);
        for key in 0..1000 {
            add(&table, key, SWEEP + 1);
        }
        let capacity: usize = table
            .shards
            .iter()
            .map(|shard| lock(shard).buckets.capacity())
            .sum();
        assert!(table.tracked() <= 1000 && capacity < 10_000, "{capacity}");
    }

    #[test]
    fn no_room_at_all_is_one_bucket() {
        let table = Table::new(0);
        add(&table, 1, 5);
        assert_eq!((add(&table, 2, 6), table.tracked()), (5, 0));
    }
}
