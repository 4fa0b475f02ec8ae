//! One key, as stores keep it.

use super::pepper::Digest;
use crate::{Principal, principal::Limit, storage::StoreError};
use serde::{Deserialize, Serialize};
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

    /// Whether it is good at this time.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing {
        if self.revoked_at.is_some_and(|at| at <= now) {
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

    /// As one JSON object, for a store of one's own. It holds the hash: keep it like the store.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Maps with keys of text, numbers and lists of text: it cannot fail.
        serde_json::to_string(&Wire::of(self)).unwrap_or_default()
    }

    /// What [`to_json`](Self::to_json) made.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn from_json(text: &str) -> Result<Self, StoreError> {
        let wire: Wire = serde_json::from_str(text).map_err(unreadable)?;
        wire.key()
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

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::corrupt("a key in the store cannot be read").with_source(error)
}

/// A key in JSON. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    id: Box<str>,
    digest: String,
    pepper: u32,
    owner: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<Box<str>>,
    #[serde(default)]
    granted: Granted,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<Box<str>>,
}

/// What no store need look into.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    scopes: BTreeSet<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    models: Option<BTreeSet<Box<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routes: Option<BTreeSet<Box<str>>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<WireLimit>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLimit {
    name: Box<str>,
    units: u64,
    burst: u64,
    period_ms: u64,
}

fn names(names: &BTreeSet<Arc<str>>) -> BTreeSet<Box<str>> {
    names.iter().map(|name| Box::from(&**name)).collect()
}

impl Granted {
    fn of(grant: &Grant) -> Self {
        let limit = |limit: &Limit| WireLimit {
            name: limit.name().into(),
            units: limit.units(),
            burst: limit.burst(),
            period_ms: u64::try_from(limit.period().as_millis()).unwrap_or(u64::MAX),
        };
        Self {
            name: grant.name.as_deref().map(Into::into),
            scopes: names(&grant.scopes),
            models: grant.models.as_ref().map(names),
            routes: grant.routes.as_ref().map(names),
            limits: grant.limits.iter().map(limit).collect(),
        }
    }

    fn put_into(self, grant: &mut Grant) {
        let names = |names: BTreeSet<Box<str>>| names.into_iter().map(Into::into).collect();
        grant.name = self.name.map(Into::into);
        grant.scopes = names(self.scopes);
        grant.models = self.models.map(names);
        grant.routes = self.routes.map(names);
        let limit = |limit: WireLimit| {
            let period = Duration::from_millis(limit.period_ms);
            Limit::new(limit.name, limit.units, period).with_burst(limit.burst)
        };
        grant.limits = self.limits.into_iter().map(limit).collect();
    }
}

impl Wire {
    pub(super) fn of(key: &StoredKey) -> Self {
        Self {
            id: (*key.id).into(),
            digest: to_hex(&key.digest),
            pepper: key.pepper,
            owner: (*key.grant.owner).into(),
            team: key.grant.team.as_deref().map(Into::into),
            tenant: key.grant.tenant.as_deref().map(Into::into),
            granted: Granted::of(&key.grant),
            created_at: to_millis(key.created_at),
            not_before: key.grant.not_before.map(to_millis),
            expires_at: key.grant.expires_at.map(to_millis),
            revoked_at: key.revoked_at.map(to_millis),
            last_used_at: key.last_used_at.map(to_millis),
            replaced_by: key.replaced_by.as_deref().map(Into::into),
        }
    }

    pub(super) fn key(self) -> Result<StoredKey, StoreError> {
        let unreadable = || StoreError::corrupt("the hash of a key in the store cannot be read");
        let mut grant = Grant::new(self.owner);
        grant.team = self.team.map(Into::into);
        grant.tenant = self.tenant.map(Into::into);
        grant.not_before = self.not_before.map(from_millis);
        grant.expires_at = self.expires_at.map(from_millis);
        self.granted.put_into(&mut grant);
        Ok(StoredKey {
            id: self.id.into(),
            digest: from_hex(&self.digest).ok_or_else(unreadable)?,
            pepper: self.pepper,
            grant,
            created_at: from_millis(self.created_at),
            revoked_at: self.revoked_at.map(from_millis),
            last_used_at: self.last_used_at.map(from_millis),
            replaced_by: self.replaced_by.map(Into::into),
        })
    }
}

// What tables are made of.
#[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), allow(dead_code))]
impl StoredKey {
    /// The part of the grant that has no column of its own, in JSON.
    pub(crate) fn granted(&self) -> String {
        serde_json::to_string(&Granted::of(&self.grant)).unwrap_or_default()
    }

    pub(crate) fn digest_in_hex(&self) -> String {
        to_hex(&self.digest)
    }

    /// The hash and the part of the grant, as they were made above, put into a key.
    pub(crate) fn read(&mut self, digest: &str, granted: &str) -> Result<(), StoreError> {
        let unreadable_hash = || StoreError::corrupt("the hash of a key cannot be read");
        self.digest = from_hex(digest).ok_or_else(unreadable_hash)?;
        let granted: Granted = serde_json::from_str(granted).map_err(unreadable)?;
        granted.put_into(&mut self.grant);
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(crate) fn to_millis(time: SystemTime) -> i64 {
    let narrow = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => narrow(since),
        Err(before) => -narrow(before.duration()),
    }
}

/// The year 9999, which every clock can tell.
const LAST: u64 = 253_402_300_799_000;

pub(crate) fn from_millis(millis: i64) -> SystemTime {
    let span = Duration::from_millis(millis.unsigned_abs().min(LAST));
    let time = if millis < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Cut to what stores can keep.
pub(super) fn whole(time: SystemTime) -> SystemTime {
    from_millis(to_millis(time))
}

fn to_hex(digest: &Digest) -> String {
    use fmt::Write as _;
    digest
        .iter()
        .fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a text cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn from_hex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let pairs = text.as_bytes().as_chunks::<2>();
    if pairs.0.len() != digest.len() || !pairs.1.is_empty() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs.0) {
        let digit = |char: u8| char::from(char).to_digit(16);
        let value = digit(pair[0])? * 16 + digit(pair[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> StoredKey {
        let at = |millis: i64| from_millis(1_800_000_000_000 + millis);
        StoredKey {
            id: "5kBvYqLW".into(),
            digest: [0xab; 32],
            pepper: 3,
            grant: Grant::new("alice")
                .name("for the tests")
                .team("red")
                .tenant("acme")
                .scopes(["chat", "files"])
                .models(["fast"])
                .routes([""; 0])
                .limit(Limit::new("per-minute", 600, Duration::from_secs(60)).with_burst(20))
                .not_before(at(1))
                .expires_at(at(5000)),
            created_at: at(0),
            revoked_at: Some(at(4000)),
            last_used_at: Some(at(3999)),
            replaced_by: Some("another".into()),
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = full();
        assert_eq!(StoredKey::from_json(&key.to_json()).unwrap(), key);
        let mut bare = full();
        bare.grant = Grant::new("bob");
        (bare.revoked_at, bare.last_used_at, bare.replaced_by) = (None, None, None);
        assert_eq!(StoredKey::from_json(&bare.to_json()).unwrap(), bare);
    }

    #[test]
    fn what_is_no_key_is_an_error() {
        let json = full().to_json();
        for wrong in [
            "",
            "[]",
            &json.replace("abab", "ab"),
            &json.replace("abab", "abxy"),
            &json.replace("\"pepper\"", "\"Pepper\""),
            &json.replace("\"scopes\"", "\"scope\""),
            &format!("{json} {{}}"),
        ] {
            assert!(StoredKey::from_json(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_stands_well_from_its_start_to_just_before_its_end() {
        let mut key = full();
        let at = |millis: i64| from_millis(1_800_000_000_000 + millis);
        for (time, standing) in [
            (0, Standing::Early),
            (1, Standing::Good),
            (3999, Standing::Good),
            (4000, Standing::Revoked),
            (9000, Standing::Revoked),
        ] {
            assert_eq!(key.standing(at(time)), standing, "{time}");
        }
        key.revoked_at = None;
        assert_eq!(key.standing(at(4999)), Standing::Good);
        assert_eq!(key.standing(at(5000)), Standing::Expired);
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

    #[test]
    fn any_number_is_a_time() {
        for millis in [i64::MIN, -1, 0, 1, i64::MAX] {
            let time = from_millis(millis);
            assert_eq!(from_millis(to_millis(time)), time);
        }
    }
}
