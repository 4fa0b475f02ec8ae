//! Where keys are kept: the traits.

use super::record::StoredKey;
use crate::{
    auth::Grant,
    storage::{Pending, StoreError},
};
use std::{future::Future, sync::Arc, time::SystemTime};

/// Finds keys by their id. All that [`StoredKeys`](super::StoredKeys) needs.
///
/// Closures `Fn(Arc<str>) -> impl Future<Output = Result<Option<StoredKey>, StoreError>>` implement
/// this, to ask another service.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot look up keys",
    note = "a closure must name its argument's type: \
            `|id: Arc<str>| async move {{ Ok::<Option<StoredKey>, StoreError>(…) }}`"
)]
pub trait KeyLookup: Send + Sync + 'static {
    /// The key of this id, good or not, as of a moment after the call.
    fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>>;

    /// Notes when keys were used last, each at most once in the list. An earlier time than the one
    /// that is there changes nothing, nor does an id that is unknown. By default nothing is noted.
    fn used<'a>(&'a self, uses: &'a [(Arc<str>, SystemTime)]) -> Pending<'a, ()> {
        let _ = uses;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Keeps keys. What it has said is done is still there after a crash.
///
/// Every change is one atomic step.
pub trait KeyStore: KeyLookup {
    /// Adds a key. [`Conflict`](crate::storage::Failure::Conflict): its id is there already.
    fn insert(&self, key: StoredKey) -> Pending<'_, ()>;

    /// Adds a key in the place of another one, which ends at `until` unless it ends before, and
    /// notes by whom it was replaced. `false`, and nothing is changed: there is no such key, or it is
    /// over, revoked or replaced already as of when the successor was created.
    fn replace<'a>(
        &'a self,
        id: &'a str,
        until: SystemTime,
        successor: StoredKey,
    ) -> Pending<'a, bool>;

    /// Ends a key for good, as of now. `false`: there is none of this id. The time is noted, and nothing waits for
    /// it; one that is revoked already keeps its time.
    fn revoke<'a>(&'a self, id: &'a str, at: SystemTime) -> Pending<'a, bool>;

    /// Keys, in the order of the bytes of their ids.
    fn list<'a>(&'a self, filter: &'a KeyFilter) -> Pending<'a, Vec<StoredKey>>;
}

/// Which keys to list. By default all, a hundred at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFilter {
    pub(crate) after: Option<Arc<str>>,
    pub(crate) limit: usize,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) team: Option<Arc<str>>,
    pub(crate) tenant: Option<Arc<str>>,
}

impl KeyFilter {
    /// The first hundred.
    #[must_use]
    pub fn new() -> Self {
        Self {
            after: None,
            limit: 100,
            owner: None,
            team: None,
            tenant: None,
        }
    }

    /// Only those whose ids come after this one: the last of the page before.
    #[must_use]
    pub fn after(mut self, id: impl Into<Arc<str>>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most so many, and never more than 1,000.
    #[must_use]
    pub fn limit(mut self, keys: usize) -> Self {
        self.limit = keys.min(1000);
        self
    }

    /// Only those of this owner.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<Arc<str>>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only those of this team.
    #[must_use]
    pub fn team(mut self, team: impl Into<Arc<str>>) -> Self {
        self.team = Some(team.into());
        self
    }

    /// Only those of this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    pub(super) fn fits(&self, grant: &Grant) -> bool {
        let same = |wanted: &Option<Arc<str>>, there: Option<&Arc<str>>| {
            wanted.is_none() || wanted.as_ref() == there
        };
        same(&self.owner, Some(&grant.owner))
            && same(&self.team, grant.team.as_ref())
            && same(&self.tenant, grant.tenant.as_ref())
    }
}

impl Default for KeyFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl<F, A> KeyLookup for F
where
    F: Fn(Arc<str>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Option<StoredKey>, StoreError>> + Send + 'static,
{
    fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>> {
        Box::pin(self(id.into()))
    }
}

impl<S: KeyLookup + ?Sized> KeyLookup for Arc<S> {
    fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>> {
        S::find(self, id)
    }

    fn used<'a>(&'a self, uses: &'a [(Arc<str>, SystemTime)]) -> Pending<'a, ()> {
        S::used(self, uses)
    }
}

impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn insert(&self, key: StoredKey) -> Pending<'_, ()> {
        S::insert(self, key)
    }

    fn replace<'a>(
        &'a self,
        id: &'a str,
        until: SystemTime,
        successor: StoredKey,
    ) -> Pending<'a, bool> {
        S::replace(self, id, until, successor)
    }

    fn revoke<'a>(&'a self, id: &'a str, at: SystemTime) -> Pending<'a, bool> {
        S::revoke(self, id, at)
    }

    fn list<'a>(&'a self, filter: &'a KeyFilter) -> Pending<'a, Vec<StoredKey>> {
        S::list(self, filter)
    }
}
