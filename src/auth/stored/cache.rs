//! A map that holds so many entries, and for so long.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const SHARDS: usize = 16;

/// Two generations in each shard. What is asked for moves to the younger one; when that is full, or
/// old enough, the older one is dropped whole and it takes its place. So nothing is searched for
/// whatever is to go, and what was not asked for in two ages is gone when the next entry comes.
pub(super) struct Cache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    /// The most entries of one generation of one shard.
    most: usize,
    age: Duration,
}

struct Shard<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    since: Instant,
}

impl<K, V> Shard<K, V> {
    fn turn(&mut self, now: Instant) {
        self.old = mem::take(&mut self.young);
        self.since = now;
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// At most so many entries (rounded up to 32), each for two ages after it was asked for last. Zero:
    /// none.
    pub(super) fn new(entries: usize, age: Duration) -> Self {
        let since = Instant::now();
        let shard = || Shard {
            young: HashMap::new(),
            old: HashMap::new(),
            since,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            most: entries.div_ceil(2 * SHARDS),
            age,
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>> {
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[index])
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = shard.old.remove_entry(key)?;
        if shard.young.len() >= self.most {
            shard.turn(Instant::now());
        }
        shard.young.insert(key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&self, key: K, value: V, now: Instant) {
        if self.most == 0 {
            return;
        }
        let mut shard = self.shard(&key);
        let full = shard.young.len() >= self.most && !shard.young.contains_key(&key);
        if full || now.saturating_duration_since(shard.since) >= self.age {
            shard.turn(now);
        }
        shard.old.remove(&key);
        shard.young.insert(key, value);
    }

    pub(super) fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key);
        shard.young.remove(key);
        shard.old.remove(key);
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.young = HashMap::new();
            shard.old = HashMap::new();
        }
    }

    pub(super) fn len(&self) -> usize {
        let lens = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            shard.young.len() + shard.old.len()
        });
        lens.sum()
    }
}

// The maps are valid after every statement, whoever panicked with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(5);

    #[test]
    fn abuse_42_a_flood_leaves_no_more_than_the_cap() {
        let cache = Cache::new(1000, AGE);
        let now = Instant::now();
        for key in 0..100_000 {
            cache.insert(key, (), now);
        }
        assert!((500..=1024).contains(&cache.len()), "{}", cache.len());
        assert_eq!(cache.get(&99_999), Some(()));
        assert_eq!(cache.get(&0), None);
        let none = Cache::new(0, AGE);
        none.insert(1, (), now);
        assert_eq!((none.get(&1), none.len()), (None, 0));
    }

    #[test]
    fn what_is_asked_for_outlives_a_flood() {
        let cache = Cache::new(100, AGE);
        let now = Instant::now();
        cache.insert(-1, "kept", now);
        for key in 0..10_000 {
            cache.insert(key, "other", now);
            assert_eq!(cache.get(&-1), Some("kept"), "{key}");
        }
    }

    #[test]
    fn what_all_is_asked_for_is_bounded_too() {
        let cache = Cache::new(100, AGE);
        for key in 0..1000 {
            cache.insert(key, (), Instant::now());
            for other in (0..key).rev().take(200) {
                cache.get(&other);
            }
            assert!(cache.len() <= 128, "{}", cache.len());
        }
    }

    #[test]
    fn what_nobody_asks_for_is_gone_after_two_ages() {
        let cache = Cache::new(1_000_000, AGE);
        let start = Instant::now();
        for key in 0..1000 {
            cache.insert(key, (), start);
        }
        for (age, left) in [(1, 1000), (2, 0)] {
            for key in 1000..2000 {
                cache.insert(key * age, (), start + AGE * u32::try_from(age).unwrap());
            }
            let there = (0..1000).filter(|key| {
                let shard = cache.shard(key);
                shard.young.contains_key(key) || shard.old.contains_key(key)
            });
            assert_eq!(there.count(), left, "{age}");
        }
    }

    #[test]
    fn what_is_removed_is_gone_from_both_generations() {
        let cache = Cache::new(1000, AGE);
        let start = Instant::now();
        cache.insert("a", 1, start);
        cache.insert("b", 2, start + AGE);
        cache.remove("a");
        cache.remove("b");
        assert_eq!(
            (cache.get("a"), cache.get("b"), cache.len()),
            (None, None, 0)
        );
        cache.insert("a", 1, start);
        cache.clear();
        assert_eq!(cache.len(), 0);
    }
}
