//! What was found out about a credential, for a while.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// SHA-256 of a whole credential.
pub(super) type Digest = [u8; 32];

/// A bounded map from credentials to what is known of them.
///
/// Of two generations: whoever is asked for moves to the young one, and when that is full the old one
/// is forgotten. So what is in use stays, nothing is ever searched for, and there are never more entries
/// than there may be.
pub(super) struct Cache<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    /// Of one generation of one shard.
    most: usize,
}

const SHARDS: usize = 16;

struct Shard<V> {
    young: HashMap<Digest, (V, Instant)>,
    old: HashMap<Digest, (V, Instant)>,
}

impl<V: Clone> Cache<V> {
    /// Of at most so many entries, or a few more, up to a multiple of 32. Zero: nothing is kept.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            shards: Default::default(),
            most: entries.div_ceil(2 * SHARDS),
        }
    }

    pub(super) fn get(&self, key: &Digest, now: Instant) -> Option<V> {
        if self.most == 0 {
            return None;
        }
        let mut shard = self.shard(key);
        if let Some((value, until)) = shard.young.get(key) {
            return (now < *until).then(|| value.clone());
        }
        let (value, until) = shard.old.remove(key)?;
        if now >= until {
            return None;
        }
        shard.put(*key, (value.clone(), until), self.most);
        Some(value)
    }

    pub(super) fn put(&self, key: Digest, value: V, until: Instant) {
        if self.most > 0 {
            let mut shard = self.shard(&key);
            shard.old.remove(&key);
            shard.put(key, (value, until), self.most);
        }
    }

    /// How many entries there are, some of which may be out of date.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard<V>>| {
            let shard = lock(shard);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(len).sum()
    }

    fn shard(&self, key: &Digest) -> MutexGuard<'_, Shard<V>> {
        lock(&self.shards[usize::from(key[0]) % SHARDS])
    }
}

// A shard is valid after every statement, whoever panicked with the lock.
fn lock<V>(shard: &Mutex<Shard<V>>) -> MutexGuard<'_, Shard<V>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V> Shard<V> {
    fn put(&mut self, key: Digest, entry: (V, Instant), most: usize) {
        if self.young.len() >= most && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<V: Clone> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(n: u32) -> Digest {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        key
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_known_until_its_end() {
        let (cache, now) = (Cache::new(100), Instant::now());
        cache.put(key(1), 'a', now + Duration::from_secs(60));
        assert_eq!(cache.get(&key(1), now), Some('a'));
        assert_eq!(cache.get(&key(2), now), None);
        assert_eq!(cache.get(&key(1), now + Duration::from_secs(60)), None);
        let off = Cache::new(0);
        off.put(key(1), 'a', now + Duration::from_secs(60));
        assert_eq!((off.get(&key(1), now), off.len()), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_entries_than_there_may_be_and_those_in_use_stay() {
        let (cache, now) = (Cache::new(320), Instant::now());
        let until = now + Duration::from_secs(60);
        cache.put(key(7), 7, until);
        for n in 1000..100_000 {
            cache.put(key(n), n, until);
            assert_eq!(cache.get(&key(7), now), Some(7));
        }
        assert!(cache.len() <= 320, "{}", cache.len());
        assert!(cache.len() > 160, "{}", cache.len());
    }
}
