//! Keys in memory, found by their hash.

use super::{
    Authenticate, Credential, Grant, Verdict,
    key::{ApiKey, Hash, KeyFault, hash},
};
use crate::{Principal, Rejection, rejection::Kind};
use std::{
    collections::HashMap, error::Error, fmt, future::Ready, hint::black_box, sync::Arc,
    time::SystemTime,
};
use subtle::ConstantTimeEq;

/// API keys, in memory.
///
/// ```
/// use tower_gateway::auth::ApiKeys;
///
/// let keys = ApiKeys::new()
///     .add("alice", "the key that alice has")
///     .add("alice", "the key that alice gets next")
///     .add("bob", "too short");
///
/// let faults = keys.check().unwrap_err();
/// assert_eq!(faults.to_string(), "a key of `bob` must have 16 characters or more");
/// ```
///
/// Nothing here panics and nothing fails at once: what is wrong is collected, told by
/// [`check`](Self::check), and lets nobody in. Whoever assembles a service calls `check` before it
/// serves.
#[derive(Clone, Default)]
pub struct ApiKeys {
    /// By the first bytes of the hash, and then compared whole.
    held: HashMap<[u8; 8], Vec<Held>>,
    count: usize,
    timed: bool,
    faults: Vec<(Arc<str>, KeyFault)>,
}

#[derive(Clone)]
struct Held {
    hash: Hash,
    not_before: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    principal: Principal,
}

impl ApiKeys {
    /// No keys, so that nobody is let in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key that exists already, any text of 16 characters or more, for a principal, or for all that a
    /// [`Grant`] says.
    #[must_use]
    pub fn add(self, grant: impl Into<Grant>, secret: impl AsRef<str>) -> Self {
        self.add_key(ApiKey::new(grant, secret))
    }

    /// Adds a key with all that goes with it.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a key is made to be put here"
    )]
    pub fn add_key(mut self, key: ApiKey) -> Self {
        if let Err(fault) = self.hold(&key) {
            self.faults.push((key.owner().clone(), fault));
        }
        self
    }

    fn hold(&mut self, key: &ApiKey) -> Result<(), KeyFault> {
        let hash = key.hash?;
        if let Some(fault) = key.fault() {
            return Err(fault);
        }
        let bucket = self.held.entry(prefix(&hash)).or_default();
        if bucket.iter().any(|held| held.hash == hash) {
            return Err(KeyFault::Duplicate);
        }
        self.count += 1;
        let (not_before, expires_at) = (key.grant.not_before, key.grant.expires_at);
        self.timed |= not_before.is_some() || expires_at.is_some();
        bucket.push(Held {
            hash,
            not_before,
            expires_at,
            principal: key.grants(self.count),
        });
        Ok(())
    }

    /// Tells all that is wrong with the keys.
    ///
    /// # Errors
    ///
    /// If a key is too short, too long, cannot be sent, belongs to nobody, grants what cannot be, or is there
    /// twice.
    pub fn check(&self) -> Result<(), InvalidKeys> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(InvalidKeys(self.faults.clone().into()))
        }
    }

    /// How many keys let somebody in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no key lets anybody in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Unknown, too early and too late take the same way and the same time. The look-up itself tells
    /// nothing of the keys: nobody can choose the bytes of a hash.
    fn find(&self, key: &[u8], now: Option<SystemTime>) -> Option<&Principal> {
        let hash = hash(key);
        let bucket = self.held.get(&prefix(&hash)).map_or(&[][..], |held| held);
        let mut found = None;
        for held in bucket {
            if bool::from(held.hash.ct_eq(&hash)) {
                found = Some(held);
            }
        }
        if bucket.is_empty() {
            // As long as if there had been one.
            black_box(hash.ct_eq(&Hash::default()));
        }
        let held = found?;
        let early = held
            .not_before
            .zip(now)
            .is_some_and(|(from, now)| now < from);
        let late = held.expires_at.zip(now).is_some_and(|(to, now)| now >= to);
        (!early && !late).then_some(&held.principal)
    }
}

fn prefix(hash: &Hash) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&hash[..8]);
    prefix
}

impl Authenticate for ApiKeys {
    type Future = Ready<Result<Principal, Rejection>>;

    fn verify(&self, credential: Credential) -> Verdict<Self::Future> {
        let now = self.timed.then(SystemTime::now);
        let found = self.find(credential.expose(), now);
        Verdict::Now(found.cloned().ok_or(Kind::InvalidCredentials.into()))
    }

    fn kept(&self) -> usize {
        self.count
    }
}

/// Whose they are, but nothing of the keys.
impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("count", &self.count)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Keys that do not do, and why.
#[derive(Clone, Debug)]
pub struct InvalidKeys(Box<[(Arc<str>, KeyFault)]>);

impl InvalidKeys {
    /// The principal of each key at fault, and what is wrong with it.
    pub fn faults(&self) -> impl Iterator<Item = (&str, KeyFault)> {
        self.0.iter().map(|(owner, fault)| (&**owner, *fault))
    }
}

impl fmt::Display for InvalidKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (owner, fault)) in self.0.iter().enumerate() {
            let comma = if nth > 0 { "; " } else { "" };
            write!(f, "{comma}a key of `{owner}` {fault}")?;
        }
        Ok(())
    }
}

impl Error for InvalidKeys {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEY: &str = "the key that alice has";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_key_is_valid_from_its_start_to_just_before_its_end() {
        let grant = Grant::new("alice").not_before(at(10)).expires_at(at(20));
        let keys = ApiKeys::new().add(grant, KEY);
        for (now, valid) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(
                keys.find(KEY.as_bytes(), Some(at(now))).is_some(),
                valid,
                "{now}"
            );
        }
    }

    #[test]
    fn while_keys_rotate_both_let_in() {
        let keys = ApiKeys::new()
            .add("alice", KEY)
            .add("alice", "her other key, the new");
        let ids = [KEY, "her other key, the new"].map(|key| {
            let principal = keys.find(key.as_bytes(), None).unwrap();
            assert_eq!(&**principal.id(), "alice");
            principal.key_id().unwrap().to_string()
        });
        assert_eq!(ids, ["alice-1", "alice-2"]);
    }

    #[test]
    fn what_is_wrong_is_told_and_lets_nobody_in() {
        let keys = ApiKeys::new()
            .add("alice", KEY)
            .add("mallory", KEY)
            .add("bob", "short")
            .add("", "a key that nobody has");
        let faults = keys.check().unwrap_err();
        let all: Vec<_> = faults.faults().collect();
        assert_eq!(
            all,
            [
                ("mallory", KeyFault::Duplicate),
                ("bob", KeyFault::TooShort),
                ("", KeyFault::NoPrincipal)
            ]
        );
        assert_eq!(&**keys.find(KEY.as_bytes(), None).unwrap().id(), "alice");
        assert_eq!(keys.len(), 1);
        assert!(keys.find(b"short", None).is_none());
        assert!(keys.find(b"a key that nobody has", None).is_none());
        assert!(keys.find(b"", None).is_none());
    }

    #[test]
    fn a_key_can_be_given_by_its_hash() {
        let keys = ApiKeys::new().add_key(ApiKey::from_sha256("alice", hash(KEY.as_bytes())));
        assert!(keys.find(KEY.as_bytes(), None).is_some());
    }

    #[test]
    fn abuse_51_nothing_printable_shows_a_key_or_its_hash() {
        let (made, secret) = ApiKey::generate("canary", "alice").unwrap();
        let keys = ApiKeys::new()
            .add("alice", "canary canary canary")
            .add("bob", "canary");
        let shown = format!(
            "{made:?} {secret:?} {keys:?} {:?} {}",
            keys.check(),
            keys.check().unwrap_err()
        );
        assert!(!shown.contains("canary"), "{shown}");
    }
}
