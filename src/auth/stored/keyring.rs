//! Who makes keys, and ends them.

use super::{
    pepper::Pepper,
    record::StoredKey,
    store::{KeyFilter, KeyStore},
    wire::whole,
};
use crate::{
    auth::{ApiKey, Grant, Secret},
    storage::{Failure, StoreError},
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often another id is tried, of 2⁴⁷ that there are.
const ATTEMPTS: usize = 3;

/// Issues, rotates, lists and revokes keys. For an administrator's tools: whoever can call it can
/// make a key for anything.
///
/// See the [module docs](super) for an example.
pub struct Keyring<S: ?Sized = dyn KeyStore> {
    pepper: Pepper,
    prefix: Arc<str>,
    store: Arc<S>,
}

impl<S: KeyStore + ?Sized> Keyring<S> {
    /// For this store. Keys begin with `tgw`.
    #[must_use]
    pub fn new(store: Arc<S>, pepper: Pepper) -> Self {
        Self {
            pepper,
            prefix: "tgw".into(),
            store,
        }
    }

    /// Sets what keys begin with, such as `acme_live`: 1 to 32 letters, digits, `-` and `_`. It is
    /// judged when a key is made.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Makes a key. It is shown this once, and kept nowhere.
    ///
    /// # Errors
    ///
    /// If the grant [does not do](Grant::check), or nor does the prefix; or if the store fails. Then
    /// there may be a key that nobody knows.
    pub async fn issue(&self, grant: Grant) -> Result<(StoredKey, Secret), StoreError> {
        grant.check()?;
        let mut attempts = 0;
        loop {
            let (key, secret) = self.make(grant.clone(), SystemTime::now())?;
            attempts += 1;
            match self.store.insert(key.clone()).await {
                Ok(()) => return Ok((key, secret)),
                Err(error) if is_taken(&error) && attempts < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a key that takes the place of another one, with the same grant, and lets the other one
    /// be good for the time of the overlap. Where that ends by itself, the new one lasts as long from
    /// now on as the other did from when it was made. Where it has not begun, nor has the new one before
    /// then.
    ///
    /// `None`: there is no such key, or it is over, revoked or replaced already.
    ///
    /// # Errors
    ///
    /// If the store fails. Then there may be a key that nobody knows, and the other one may be about
    /// to end: see when, and rotate that one or issue another.
    pub async fn rotate(
        &self,
        id: &str,
        overlap: Duration,
    ) -> Result<Option<(StoredKey, Secret)>, StoreError> {
        let Some(old) = self.store.find(id).await? else {
            return Ok(None);
        };
        let now = SystemTime::now();
        let mut grant = old.grant.clone();
        grant.not_before = grant.not_before.filter(|start| now < *start);
        grant.expires_at = grant.expires_at.map(|end| {
            let lasts = end.duration_since(old.created_at).unwrap_or_default();
            now.checked_add(lasts).unwrap_or(end)
        });
        // Where the clock cannot tell the end, the key lasts as long as it did.
        let until = now.checked_add(overlap).or(old.grant.expires_at);
        let until = until.ok_or_else(|| StoreError::invalid("the overlap is too long"))?;
        let mut attempts = 0;
        loop {
            let (key, secret) = self.make(grant.clone(), now)?;
            attempts += 1;
            match self.store.replace(id, whole(until), key.clone()).await {
                Ok(replaced) => return Ok(replaced.then_some((key, secret))),
                Err(error) if is_taken(&error) && attempts < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a key now. Whoever looks it up sees so at once, and whoever
    /// [has it in memory](super::StoredKeys::ttl) within 5 seconds. `false`: there is no such key.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn revoke(&self, id: &str) -> Result<bool, StoreError> {
        self.store.revoke(id, whole(SystemTime::now())).await
    }

    /// The key of this id.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn find(&self, id: &str) -> Result<Option<StoredKey>, StoreError> {
        self.store.find(id).await
    }

    /// Keys, in the order of their ids.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn list(&self, filter: &KeyFilter) -> Result<Vec<StoredKey>, StoreError> {
        self.store.list(filter).await
    }

    fn make(&self, mut grant: Grant, now: SystemTime) -> Result<(StoredKey, Secret), StoreError> {
        let invalid = |fault| StoreError::invalid("no key can be made").with_source(fault);
        let (id, secret) = ApiKey::generate_text(&self.prefix).map_err(invalid)?;
        let (pepper, digest) = self.pepper.digest(secret.expose().as_bytes());
        grant.not_before = grant.not_before.map(whole);
        grant.expires_at = grant.expires_at.map(whole);
        let key = StoredKey {
            id: id.into(),
            digest,
            pepper,
            grant,
            created_at: whole(now),
            revoked_at: None,
            last_used_at: None,
            replaced_by: None,
        };
        Ok((key, secret))
    }
}

fn is_taken(error: &StoreError) -> bool {
    error.failure() == Failure::Conflict
}

impl<S: ?Sized> Clone for Keyring<S> {
    fn clone(&self) -> Self {
        Self {
            pepper: self.pepper.clone(),
            prefix: self.prefix.clone(),
            store: self.store.clone(),
        }
    }
}

impl<S: ?Sized> fmt::Debug for Keyring<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("prefix", &self.prefix)
            .field("pepper", &self.pepper)
            .finish_non_exhaustive()
    }
}
