//! One key, as stores keep it.

use super::pepper::Digest;
use crate::{Principal, principal::Limit, storage::StoreError};
use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The most bytes of a name, and the most names in a list.
const LONGEST: usize = 256;

/// What a key is given with: whose it is, what it may do, and when.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_gateway::{auth::stored::Grant, principal::Limit};
///
/// let grant = Grant::new("alice")
///     .tenant("acme")
///     .scopes(["chat"])
///     .models(["fast", "claude-*"])
///     .limit(Limit::new("per-minute", 600, Duration::from_secs(60)))
///     .expires_at(SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60));
/// assert!(grant.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The principal whose key it is.
    pub owner: Arc<str>,
    /// What the key is for, in a person's words.
    pub name: Option<Arc<str>>,
    /// The team of the owner.
    pub team: Option<Arc<str>>,
    /// The tenant of the owner, across which nothing is ever shared.
    pub tenant: Option<Arc<str>>,
    /// What may be done with it.
    pub scopes: BTreeSet<Arc<str>>,
    /// The only models that it may use. `None`: all.
    pub models: Option<BTreeSet<Arc<str>>>,
    /// The only routes that it may use, by their templates. `None`: all.
    pub routes: Option<BTreeSet<Arc<str>>>,
    /// What it may use in what time. Empty: what everyone may.
    pub limits: Vec<Limit>,
    /// From when on it is good.
    pub not_before: Option<SystemTime>,
    /// From when on it is not good any more.
    pub expires_at: Option<SystemTime>,
}

impl Grant {
    /// For this principal, without a scope, for all models and routes, at once and for ever.
    #[must_use]
    pub fn new(owner: impl Into<Arc<str>>) -> Self {
        Self {
            owner: owner.into(),
            name: None,
            team: None,
            tenant: None,
            scopes: BTreeSet::new(),
            models: None,
            routes: None,
            limits: Vec::new(),
            not_before: None,
            expires_at: None,
        }
    }

    /// Says what the key is for, in a person's words.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the team of the owner.
    #[must_use]
    pub fn team(mut self, team: impl Into<Arc<str>>) -> Self {
        self.team = Some(team.into());
        self
    }

    /// Sets the tenant of the owner.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Adds scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds models to those that alone may be used. A `*` at the end stands for any ending.
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let all = self.models.get_or_insert_default();
        all.extend(models.into_iter().map(Into::into));
        self
    }

    /// Adds routes to those that alone may be used. A `*` at the end stands for any ending.
    #[must_use]
    pub fn routes(mut self, routes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let all = self.routes.get_or_insert_default();
        all.extend(routes.into_iter().map(Into::into));
        self
    }

    /// Adds a limit. Those of a key stand in the place of a limiter's own.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Sets from when on it is good.
    #[must_use]
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Sets from when on it is not good any more.
    #[must_use]
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Tells whether it can be stored, and sent in headers.
    ///
    /// # Errors
    ///
    /// If there is no owner, if a name is empty, has control characters or more than 256 bytes, if a
    /// list has more than 256, if a limit has no period, or if the key would end before it begins.
    pub fn check(&self) -> Result<(), StoreError> {
        let refuse = |message: &'static str| Err(StoreError::invalid(message));
        let one = [&self.name, &self.team, &self.tenant];
        let names = one.into_iter().flatten().chain([&self.owner]);
        let lists = [
            Some(&self.scopes),
            self.models.as_ref(),
            self.routes.as_ref(),
        ];
        if lists.iter().flatten().any(|list| list.len() > LONGEST) || self.limits.len() > 16 {
            return refuse("a list of the key is too long");
        }
        let names = names.chain(lists.into_iter().flatten().flatten());
        let names = names
            .map(|name| &**name)
            .chain(self.limits.iter().map(Limit::name));
        for name in names {
            if name.is_empty() {
                return refuse("a name of the key is empty");
            }
            if name.len() > LONGEST || name.chars().any(char::is_control) {
                return refuse("a name of the key is too long, or has control characters");
            }
        }
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let period = |limit: &Limit| (1..=year.as_millis()).contains(&limit.period().as_millis());
        if !self.limits.iter().all(period) {
            return refuse("the period of a limit is from a millisecond to a year");
        }
        let times = self.not_before.zip(self.expires_at);
        if times.is_some_and(|(from, to)| to <= from) {
            return refuse("the key would end before it begins");
        }
        Ok(())
    }
}

/// Whether a key is good at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It is good.
    Good,
    /// It is not good yet.
    Early,
    /// It is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// A key, as stores keep it: all but the key itself, of which there is only a keyed hash.
///
/// Times are whole milliseconds.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    pub(crate) id: Arc<str>,
    pub(crate) digest: Digest,
    pub(crate) pepper: u32,
    pub(crate) grant: Grant,
    pub(crate) created_at: SystemTime,
    pub(crate) revoked_at: Option<SystemTime>,
    pub(crate) last_used_at: Option<SystemTime>,
    pub(crate) replaced_by: Option<Arc<str>>,
}

impl StoredKey {
    /// Its id: the middle part of the key, which may stand in logs.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What it was given with.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// When it was revoked.
    #[must_use]
    pub fn revoked_at(&self) -> Option<SystemTime> {
        self.revoked_at
    }

    /// When it was used last, some time ago: this is written in batches.
    #[must_use]
    pub fn last_used_at(&self) -> Option<SystemTime> {
        self.last_used_at
    }

    /// The id of the key that takes its place.
    #[must_use]
    pub fn replaced_by(&self) -> Option<&Arc<str>> {
        self.replaced_by.as_ref()
    }

    /// Whether it is good at this time. One that was revoked is over, also before the time at which it is
    /// said to have been: clocks differ.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing {
        // At once, whatever the time: the clock of who revoked it may be ahead of this one.
        if self.revoked_at.is_some() {
            Standing::Revoked
        } else if self.grant.expires_at.is_some_and(|end| end <= now) {
            Standing::Expired
        } else if self.grant.not_before.is_some_and(|start| now < start) {
            Standing::Early
        } else {
            Standing::Good
        }
    }

    /// Who calls with it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        let grant = &self.grant;
        let mut principal = Principal::new(grant.owner.clone())
            .with_key_id(self.id.clone())
            .with_scopes(grant.scopes.iter().cloned())
            .with_limits(grant.limits.iter().cloned());
        if let Some(team) = &grant.team {
            principal = principal.with_team(team.clone());
        }
        if let Some(tenant) = &grant.tenant {
            principal = principal.with_tenant(tenant.clone());
        }
        if let Some(models) = &grant.models {
            principal = principal.with_models(models.iter().cloned());
        }
        if let Some(routes) = &grant.routes {
            principal = principal.with_routes(routes.iter().cloned());
        }
        principal
    }

    /// Whether the key can be replaced by another now.
    pub(crate) fn is_replaceable(&self, now: SystemTime) -> bool {
        let over = matches!(self.standing(now), Standing::Revoked | Standing::Expired);
        !over && self.replaced_by.is_none()
    }
}

/// Without the hash.
impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("id", &self.id)
            .field("pepper", &self.pepper)
            .field("grant", &self.grant)
            .field("created_at", &self.created_at)
            .field("revoked_at", &self.revoked_at)
            .field("last_used_at", &self.last_used_at)
            .field("replaced_by", &self.replaced_by)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::wire::{from_millis, tests::full},
        *,
    };

    #[test]
    fn a_key_stands_well_from_its_start_to_just_before_its_end() {
        let mut key = full();
        let at = |millis: i64| from_millis(1_800_000_000_000 + millis);
        for (time, standing) in [
            (0, Standing::Early),
            (1, Standing::Good),
            (4999, Standing::Good),
            (5000, Standing::Expired),
        ] {
            key.revoked_at = None;
            assert_eq!(key.standing(at(time)), standing, "{time}");
            key.revoked_at = Some(at(4000));
            assert_eq!(key.standing(at(time)), Standing::Revoked, "{time}");
        }
    }

    #[test]
    fn abuse_10_what_no_header_can_carry_is_in_no_grant() {
        let long = "x".repeat(257);
        for wrong in ["", "a\r\nb", "a\0b", &*long] {
            let alice = || Grant::new("alice");
            for grant in [
                Grant::new(wrong),
                alice().name(wrong),
                alice().team(wrong),
                alice().tenant(wrong),
                alice().scopes([wrong]),
                alice().models([wrong]),
                alice().routes([wrong]),
                alice().limit(Limit::new(wrong, 1, Duration::from_secs(1))),
            ] {
                assert!(grant.check().is_err(), "{grant:?}");
            }
        }
        let late = Grant::new("a")
            .not_before(from_millis(5))
            .expires_at(from_millis(5));
        assert!(late.check().is_err());
        let never = Limit::new("x", 1, Duration::ZERO);
        assert!(Grant::new("a").limit(never).check().is_err());
    }

    #[test]
    fn abuse_51_what_is_printed_of_a_key_has_no_hash() {
        let shown = format!("{:?} {:?}", full(), full().principal());
        assert!(
            !shown.contains("abab") && !shown.contains("171, 171"),
            "{shown}"
        );
    }
}
