//! What a key grants, wherever it is kept.

use crate::{Principal, principal::Limit, storage::StoreError};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The most bytes of a name, and the most names in a list.
const LONGEST: usize = 256;

/// What a key is given with: whose it is, what it may do, and when.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_gateway::{auth::Grant, principal::Limit};
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

    /// Who calls with the key of this id.
    pub(super) fn principal(&self, key_id: impl Into<Arc<str>>) -> Principal {
        let mut principal = Principal::new(self.owner.clone())
            .with_key_id(key_id)
            .with_scopes(self.scopes.iter().cloned())
            .with_limits(self.limits.iter().cloned());
        if let Some(team) = &self.team {
            principal = principal.with_team(team.clone());
        }
        if let Some(tenant) = &self.tenant {
            principal = principal.with_tenant(tenant.clone());
        }
        if let Some(models) = &self.models {
            principal = principal.with_models(models.iter().cloned());
        }
        if let Some(routes) = &self.routes {
            principal = principal.with_routes(routes.iter().cloned());
        }
        principal
    }
}

macro_rules! for_an_owner {
    ($($owner:ty),*) => {
        $(
            /// [For this principal](Grant::new), and nothing else.
            impl From<$owner> for Grant {
                fn from(owner: $owner) -> Self {
                    Self::new(owner)
                }
            }
        )*
    };
}

for_an_owner!(&str, String, Box<str>, Arc<str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
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
        let late = Grant::new("a").not_before(at(5)).expires_at(at(5));
        assert!(late.check().is_err());
        let never = Limit::new("x", 1, Duration::ZERO);
        assert!(Grant::new("a").limit(never).check().is_err());
    }

    #[test]
    fn all_that_a_key_grants_reaches_the_principal() {
        let limit = Limit::new("per-minute", 600, Duration::from_secs(60));
        let grant = Grant::new("alice")
            .team("red")
            .tenant("acme")
            .scopes(["chat"])
            .models(["fast"])
            .routes(["/v1/*"])
            .limit(limit.clone());
        let who = grant.principal("key-1");
        assert_eq!(
            (&**who.id(), who.key_id().map(|id| &**id)),
            ("alice", Some("key-1"))
        );
        assert_eq!(who.team().map(|team| &**team), Some("red"));
        assert_eq!(who.tenant().map(|tenant| &**tenant), Some("acme"));
        assert!(who.has_scope("chat"));
        assert!(who.may_use_model("fast") && !who.may_use_model("slow"));
        assert!(who.may_use_route("/v1/models") && !who.may_use_route("/admin"));
        assert_eq!(who.limits()[..], [limit]);
    }
}
