//! Keys in the memory of this process.

use super::{
    record::StoredKey,
    store::{KeyFilter, KeyLookup, KeyStore},
    table::Table,
};
use crate::storage::Pending;
use std::{
    fmt,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Keys that are gone with the process. For tests, and for keys that are read from elsewhere when it
/// starts.
#[derive(Clone, Default)]
pub struct MemoryKeys(Arc<Mutex<Table>>);

impl MemoryKeys {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // A table is valid after every statement, whoever panicked with the lock.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeys")
            .field("keys", &self.table().keys().count())
            .finish()
    }
}

impl KeyLookup for MemoryKeys {
    fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>> {
        Box::pin(ready(Ok(self.table().find(id))))
    }

    fn used<'a>(&'a self, uses: &'a [(Arc<str>, SystemTime)]) -> Pending<'a, ()> {
        self.table().used(uses);
        Box::pin(ready(Ok(())))
    }
}

impl KeyStore for MemoryKeys {
    fn insert(&self, key: StoredKey) -> Pending<'_, ()> {
        Box::pin(ready(self.table().insert(key)))
    }

    fn replace<'a>(
        &'a self,
        id: &'a str,
        until: SystemTime,
        successor: StoredKey,
    ) -> Pending<'a, bool> {
        Box::pin(ready(self.table().replace(id, until, successor)))
    }

    fn revoke<'a>(&'a self, id: &'a str, at: SystemTime) -> Pending<'a, bool> {
        Box::pin(ready(Ok(self.table().revoke(id, at))))
    }

    fn list<'a>(&'a self, filter: &'a KeyFilter) -> Pending<'a, Vec<StoredKey>> {
        Box::pin(ready(Ok(self.table().list(filter))))
    }
}
