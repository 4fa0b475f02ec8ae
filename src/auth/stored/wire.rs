//! A key as it is written down.

use super::{pepper::Digest, record::StoredKey};
use crate::{auth::Grant, principal::Limit, storage::StoreError};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

impl StoredKey {
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
    use std::fmt::Write as _;
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
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn full() -> StoredKey {
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
    fn any_number_is_a_time() {
        for millis in [i64::MIN, -1, 0, 1, i64::MAX] {
            let time = from_millis(millis);
            assert_eq!(from_millis(to_millis(time)), time);
        }
    }
}
