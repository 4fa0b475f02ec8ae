//! API keys for life: issued, rotated, limited and revoked in a store, while requests flow.
//!
//! A [`Keyring`] makes keys and ends them; [`StoredKeys`] lets in whoever shows one. Between the two
//! is a [`KeyStore`]: [memory](MemoryKeys), a [file](FileKeys), SQLite, PostgreSQL, or one of your
//! own. To let in, a [`KeyLookup`] is enough, such as a closure.
//!
//! # Example
//!
//! ```
//! use axum::{Extension, Router, http::StatusCode, routing::get};
//! use std::{sync::Arc, time::Duration};
//! use tower_gateway::{Principal, auth::{AuthLayer, stored::{Grant, Keyring, MemoryKeys, Pepper, StoredKeys}}};
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Kept beside the store and not in it: without it the store is worth nothing.
//! let pepper = Pepper::new(1, "what `openssl rand -hex 32` has printed")?;
//! let store = Arc::new(MemoryKeys::new());
//! let keyring = Keyring::new(store.clone(), pepper.clone()).prefix("acme_live");
//!
//! // Shown once, to whoever asked for it: acme_live_5kBvYqLW_3xK…
//! let (key, secret) = keyring.issue(Grant::new("alice").scopes(["chat"])).await?;
//!
//! let keys = StoredKeys::new(store, pepper);
//! let app: Router = Router::new()
//!     .route("/", get(|Extension(who): Extension<Principal>| async move { who.id().to_string() }))
//!     .layer(AuthLayer::new(keys.clone()));
//! # let get = |secret: &str| app.clone().oneshot(Request::get("/").header("x-api-key", secret).body(Body::empty()).unwrap());
//! assert_eq!(get(secret.expose()).await?.status(), StatusCode::OK);
//!
//! // Both are good for an hour.
//! let (next, next_secret) = keyring.rotate(key.id(), Duration::from_secs(3600)).await?.unwrap();
//! assert_eq!(get(secret.expose()).await?.status(), StatusCode::OK);
//! assert_eq!(get(next_secret.expose()).await?.status(), StatusCode::OK);
//!
//! // Over everywhere within 5 seconds, and here at once.
//! keyring.revoke(key.id()).await?;
//! keys.forget(key.id());
//! assert_eq!(get(secret.expose()).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # A key
//!
//! `acme_live_5kBvYqLW_…` is a prefix, an id, and a secret of 142 random bits with a checksum at its
//! end. By the checksum a typing error is refused without a look-up, and scanners find keys in
//! repositories. By the id it is found; the id may stand in logs, and is the
//! [`key_id`](crate::Principal::key_id) of the principal. Of the whole key the store has an
//! HMAC-SHA256 under the [`Pepper`], which is compared in constant time.
//!
//! What it grants ([`Grant`]) reaches the layers further in through the
//! [`Principal`]: owner, team, tenant, scopes, limits, and the models and routes
//! that alone may be used.
//!
//! [`Serve`](crate::llm::serve::Serve) refuses models and paths that a key may not use, and
//! [`Routes`](crate::route::Routes) refuse routes. A router of another kind does not know of them: ask
//! [`may_use_route`](crate::Principal::may_use_route) there.
//!
//! # Answers
//!
//! Those of the [`AuthLayer`](super#answers). Of these:
//!
//! | key | status | code | headers |
//! |---|--:|---|---|
//! | good | the service's | | |
//! | none | 401 | `missing_api_key` | `WWW-Authenticate` |
//! | unknown, wrong, not begun, expired, revoked | 401, the same for all | `invalid_api_key` | `WWW-Authenticate: … error="invalid_token"` |
//! | any, from an address with [too many wrong ones](super#wrong-keys), if it is not known without a look-up | 429 | `rate_limit_exceeded` | `Retry-After` |
//! | one that must be looked up, while the store does not answer, or while 256 others are looked up | 503 | `auth_unavailable` | `Retry-After: 1` |
//!
//! **What if its store is down**: keys that were looked up in the last 5 seconds ([`ttl`](StoredKeys::ttl))
//! are let in, and all others are refused with 503. [`serve_stale`](StoredKeys::serve_stale) lets in
//! those that were looked up in some longer time before. A look-up has 2 seconds
//! ([`timeout`](StoredKeys::timeout)). After three in a row for which the store could not be reached, or not in
//! time, nobody asks for a second, and whoever would have to is refused at once. A key that is there and cannot
//! be read, as one that a newer program has written, is 503 by itself.
//!
//! # What is kept in memory
//!
//! - Of 10,000 keys ([`capacity`](StoredKeys::capacity)), some 500 bytes each, what the store said of
//!   them, for 5 seconds. So a key is let in by memory, without waiting, and a revocation holds on
//!   every machine in 5 seconds at most. A key in use is looked up anew in the background before they
//!   are over. [`forget`](StoredKeys::forget) makes it hold at once.
//! - Of 10,000 keys that were refused, a hash, for 5 seconds. Who shows a wrong secret under an id
//!   that is in memory waits for a look-up as whoever shows an unknown id does, and learns nothing by
//!   the time it took.
//! - At most 256 look-ups at once, and one for each id, which all wait for who ask for it. It goes on
//!   when they hang up.
//! - Of [`capacity`](StoredKeys::capacity) keys, some 150 bytes each, that they were used and when, to be written
//!   a minute after the first of them was used ([`note_uses`](StoredKeys::note_uses)), never while a request
//!   waits. What was not written when the process ends is lost, unless
//!   [`write_uses`](StoredKeys::write_uses) was called; a [`Server`](crate::gateway::Server) does, when it has
//!   drained, for the keys of its gateway.
//!
//! # Open streams
//!
//! A key is looked at when a request comes. To end an answer that still streams when its key is
//! revoked, add the [`EndRevokedLayer`].
//!
//! # What is shared
//!
//! All of it, by the clones of a `StoredKeys`. Every setter begins with empty memory.
//!
//! # Cancellation
//!
//! A call that is dropped while its key is looked up never reaches the service. The look-up goes on,
//! for whoever asks next.

mod cache;
mod ending;
mod file;
mod keyring;
mod look_up;
mod memory;
mod pepper;
mod record;
mod store;
mod table;
mod uses;
mod wire;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use self::wire::{from_millis, to_millis};
pub use self::{
    ending::{EndRevoked, EndRevokedFuture, EndRevokedLayer},
    file::FileKeys,
    keyring::Keyring,
    memory::MemoryKeys,
    pepper::Pepper,
    record::{Standing, StoredKey},
    store::{KeyFilter, KeyLookup, KeyStore},
};
pub use super::Grant;

use self::look_up::{Config, Shared};
use super::{ApiKey, Authenticate, Credential, Verdict};
use crate::{Principal, Rejection, rejection::Kind, storage::StoreError};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    str,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Lets in whoever shows a key that is in a store.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct StoredKeys(Arc<Shared>);

impl StoredKeys {
    /// What a store says is good for 5 seconds, and so is a refusal; of 10,000 keys each. A look-up
    /// has 2 seconds. Without the store nobody is let in but by these 5 seconds. Uses are written once
    /// a minute.
    ///
    /// It needs a tokio runtime with time enabled.
    #[must_use]
    pub fn new(lookup: impl KeyLookup, pepper: Pepper) -> Self {
        let config = Config {
            ttl: Duration::from_secs(5),
            negative_ttl: Duration::from_secs(5),
            capacity: 10_000,
            timeout: Duration::from_secs(2),
            stale: Duration::ZERO,
            note_uses: Some(Duration::from_secs(60)),
        };
        Self(Shared::new(config, Arc::new(lookup), pepper))
    }

    /// Sets how long a key is let in after a look-up, and so how soon a revocation holds. At most 30
    /// seconds; zero looks up every key every time.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.set(|config| config.ttl = ttl.min(Duration::from_secs(30)))
    }

    /// Sets how long a key is refused after a look-up that did not find it good. At most 30 seconds.
    #[must_use]
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.set(|config| config.negative_ttl = ttl.min(Duration::from_secs(30)))
    }

    /// Sets of how many keys it is remembered that they are good, of how many that they are not, and of how
    /// many that they were used. 10,000 by default.
    #[must_use]
    pub fn capacity(self, keys: usize) -> Self {
        self.set(|config| config.capacity = keys)
    }

    /// Sets how long a look-up may take. At most a minute.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.timeout = timeout.min(Duration::from_secs(60)))
    }

    /// While the store does not answer, lets in by what it said in this time before, on top of the
    /// [`ttl`](Self::ttl). A key that is revoked meanwhile is let in as well. At most a day; by
    /// default not at all.
    #[must_use]
    pub fn serve_stale(self, time: Duration) -> Self {
        self.set(|config| config.stale = time.min(Duration::from_secs(24 * 60 * 60)))
    }

    /// Sets how long after a key was used that is written, with what else was used meanwhile. A minute by
    /// default, a day at the most. `None`: never.
    #[must_use]
    pub fn note_uses(self, every: impl Into<Option<Duration>>) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        self.set(|config| config.note_uses = every.into().map(|every| every.min(day)))
    }

    /// Forgets what is known of the key of this id: the next call looks it up. For whoever revokes a
    /// key in this process, or is told that another one did.
    pub fn forget(&self, id: &str) {
        self.0.forget(id);
    }

    /// Forgets what is known of all keys.
    pub fn forget_all(&self) {
        self.0.forget_all();
    }

    /// Writes which keys were used. To be called before the process ends.
    ///
    /// # Errors
    ///
    /// If the store fails. Then they are lost.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        self.0.write_uses().await
    }

    /// How many keys are in memory. For a gauge.
    #[must_use]
    pub fn known_keys(&self) -> usize {
        self.0.known.len()
    }

    /// How many look-ups there were. For a counter, as are the next two.
    #[must_use]
    pub fn look_ups(&self) -> u64 {
        self.0.counts.look_ups.load(Ordering::Relaxed)
    }

    /// How many look-ups failed.
    #[must_use]
    pub fn failed_look_ups(&self) -> u64 {
        self.0.counts.failures.load(Ordering::Relaxed)
    }

    /// How many calls were let in by what the store said longer ago than a [`ttl`](Self::ttl).
    #[must_use]
    pub fn stale_answers(&self) -> u64 {
        self.0.counts.stale.load(Ordering::Relaxed)
    }

    fn set(self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.0.config.clone();
        set(&mut config);
        let (lookup, pepper) = (self.0.lookup.clone(), self.0.pepper.clone());
        Self(Shared::new(config, lookup, pepper))
    }
}

impl Authenticate for StoredKeys {
    type Future = Pin<Box<dyn Future<Output = Result<Principal, Rejection>> + Send>>;

    fn verify(&self, credential: Credential) -> Verdict<Self::Future> {
        let shared = &self.0;
        let text = credential.expose();
        let Some(id) = id_in(text) else {
            return Verdict::Now(Err(Kind::InvalidCredentials.into()));
        };
        if let Some(principal) = shared.at_hand(id, text) {
            return Verdict::Now(Ok(principal));
        }
        let (_, digest) = shared.pepper.digest(text);
        if let Some(rejection) = shared.refuses(&digest) {
            return Verdict::Now(Err(rejection));
        }
        let id = id.into();
        Verdict::Later(Box::pin(shared.clone().look_up(id, credential, digest)))
    }

    /// By the form of the key, checksum included.
    fn recognises(&self, credential: &Credential) -> bool {
        id_in(credential.expose()).is_some()
    }

    fn kept(&self) -> usize {
        self.known_keys()
    }
}

fn id_in(text: &[u8]) -> Option<&str> {
    ApiKey::id_in(str::from_utf8(text).ok()?)
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKeys")
            .field("config", &self.0.config)
            .field("known", &self.known_keys())
            .field("look_ups", &self.look_ups())
            .field("failed_look_ups", &self.failed_look_ups())
            .finish_non_exhaustive()
    }
}
