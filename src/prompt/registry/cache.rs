//! Old versions that somebody asked for.

use crate::prompt::{name::PromptName, version::Version};
use std::{
    collections::HashMap,
    mem,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Key = (PromptName, NonZeroU32);

/// Two generations. What is asked for moves to the younger one; when that is full, the older one is
/// dropped whole and it takes its place.
pub(super) struct Cache {
    generations: Mutex<Generations>,
    /// Of one generation.
    most_versions: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Arc<Version>>,
    old: HashMap<Key, Arc<Version>>,
    bytes: usize,
}

impl Cache {
    pub(super) fn new(most_versions: usize, most_bytes: usize) -> Self {
        Self {
            generations: Mutex::default(),
            most_versions: most_versions.div_ceil(2),
            most_bytes: most_bytes / 2,
        }
    }

    // The maps are valid after every statement.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &PromptName, number: NonZeroU32) -> Option<Arc<Version>> {
        let key = (name.clone(), number);
        let mut all = self.lock();
        if let Some(found) = all.young.get(&key) {
            return Some(found.clone());
        }
        let found = all.old.remove(&key)?;
        self.put(&mut all, key, found.clone());
        Some(found)
    }

    pub(super) fn insert(&self, version: Arc<Version>) {
        let key = (version.name().clone(), version.number());
        self.put(&mut self.lock(), key, version);
    }

    fn put(&self, all: &mut Generations, key: Key, version: Arc<Version>) {
        let weight = version.weight();
        if self.most_versions == 0 || weight > self.most_bytes {
            return;
        }
        if all.young.len() >= self.most_versions || all.bytes + weight > self.most_bytes {
            all.old = mem::take(&mut all.young);
            all.bytes = 0;
        }
        all.bytes += weight;
        all.young.insert(key, version);
    }
}
