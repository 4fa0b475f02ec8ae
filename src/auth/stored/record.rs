//! One key, as stores keep it.

use super::pepper::Digest;
use crate::{Principal, auth::Grant};
use std::{fmt, sync::Arc, time::SystemTime};

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
        let principal = self.grant.principal(self.id.clone());
        match &self.replaced_by {
            // While both are good they are not twice as much.
            Some(next) => principal.with_limited_as(next.clone()),
            None => principal,
        }
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
    fn abuse_51_what_is_printed_of_a_key_has_no_hash() {
        let shown = format!("{:?} {:?}", full(), full().principal());
        assert!(
            !shown.contains("abab") && !shown.contains("171, 171"),
            "{shown}"
        );
    }
}
