//! Keys in a map, and what becomes of them: the rules that all stores keep to, as plain data.

use super::{record::StoredKey, store::KeyFilter};
use crate::storage::{Failure, StoreError};
use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::SystemTime};

/// By id.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(BTreeMap<Arc<str>, StoredKey>);

impl Table {
    pub(super) fn find(&self, id: &str) -> Option<StoredKey> {
        self.0.get(id).cloned()
    }

    pub(super) fn insert(&mut self, key: StoredKey) -> Result<(), StoreError> {
        if self.0.contains_key(&key.id) {
            return Err(conflict());
        }
        self.0.insert(key.id.clone(), key);
        Ok(())
    }

    pub(super) fn replace(
        &mut self,
        id: &str,
        until: SystemTime,
        successor: StoredKey,
    ) -> Result<bool, StoreError> {
        let there = self.0.contains_key(&successor.id);
        let Some(key) = self.0.get_mut(id) else {
            return Ok(false);
        };
        if !key.is_replaceable(successor.created_at) {
            return Ok(false);
        }
        if there {
            return Err(conflict());
        }
        let end = key.grant.expires_at.map_or(until, |end| end.min(until));
        key.grant.expires_at = Some(end);
        key.replaced_by = Some(successor.id.clone());
        self.insert(successor)?;
        Ok(true)
    }

    pub(super) fn revoke(&mut self, id: &str, at: SystemTime) -> bool {
        let key = self.0.get_mut(id);
        key.is_some_and(|key| {
            key.revoked_at.get_or_insert(at);
            true
        })
    }

    pub(super) fn used(&mut self, uses: &[(Arc<str>, SystemTime)]) -> bool {
        let mut changed = false;
        for (id, at) in uses {
            if let Some(key) = self.0.get_mut(id)
                && key.last_used_at.is_none_or(|last| last < *at)
            {
                key.last_used_at = Some(*at);
                changed = true;
            }
        }
        changed
    }

    pub(super) fn list(&self, filter: &KeyFilter) -> Vec<StoredKey> {
        let after = filter
            .after
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let from = self.0.range::<str, _>((after, Bound::Unbounded));
        let fitting = from.filter(|(_, key)| filter.fits(key.grant()));
        fitting
            .map(|(_, key)| key.clone())
            .take(filter.limit)
            .collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &StoredKey> {
        self.0.values()
    }
}

pub(super) fn conflict() -> StoreError {
    StoreError::new(Failure::Conflict, "a key of this id is there already")
}
