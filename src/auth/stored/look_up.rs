//! What is known of keys, and how more is found out: one look-up at a time for each key.

use super::{
    cache::Cache,
    pepper::{Digest, Pepper},
    record::StoredKey,
    store::KeyLookup,
    uses::{Turn, Used, Uses},
};
use crate::{
    Principal, Rejection,
    auth::Credential,
    rejection::Kind,
    storage::{Failure, StoreError},
};
use std::{
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use subtle::ConstantTimeEq;
use tokio::{runtime::Handle, sync::watch, time::Instant};

/// After so many look-ups that failed in a row, nobody asks the store for a while.
const FAILURES: u32 = 3;
/// For so long.
const PAUSE: Duration = Duration::from_secs(1);
/// The most look-ups at once.
const LOOK_UPS: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) ttl: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) capacity: usize,
    pub(super) timeout: Duration,
    pub(super) stale: Duration,
    pub(super) note_uses: Option<Duration>,
}

/// A key that the store has told of.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: Arc<str>,
    digest: Digest,
    pepper: u32,
    principal: Principal,
    not_before: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    revoked: bool,
    /// When the store was asked. What it said is no newer.
    asked: Instant,
    /// Whether it is asked again already.
    asking: AtomicBool,
    used: Arc<Used>,
}

impl Known {
    fn new(key: &StoredKey, asked: Instant) -> Self {
        Self {
            id: key.id.clone(),
            digest: key.digest,
            pepper: key.pepper,
            principal: key.principal(),
            not_before: key.grant.not_before,
            expires_at: key.grant.expires_at,
            revoked: key.revoked_at.is_some(),
            asked,
            asking: AtomicBool::new(false),
            used: Arc::default(),
        }
    }

    pub(super) fn is_good(&self, wall: SystemTime) -> bool {
        let late = self.expires_at.is_some_and(|end| end <= wall);
        !self.revoked && !self.is_early(wall) && !late
    }

    fn is_early(&self, wall: SystemTime) -> bool {
        self.not_before.is_some_and(|start| wall < start)
    }

    /// Whether this is the key. `None`: there is no telling, for its pepper is not known.
    fn is(&self, text: &[u8], pepper: &Pepper) -> Option<bool> {
        let digest = pepper.digest_as(self.pepper, text)?;
        Some(digest.ct_eq(&self.digest).into())
    }
}

/// What a look-up came to.
type Outcome = Result<Option<Arc<Known>>, StoreError>;
type Answer = watch::Receiver<Option<Outcome>>;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) lookup: Arc<dyn KeyLookup>,
    pub(super) pepper: Pepper,
    pub(super) known: Cache<Arc<str>, Arc<Known>>,
    /// Until when a key is refused unasked, by the hash of the whole key.
    refused: Cache<Digest, Instant>,
    flights: Mutex<Flights>,
    health: Mutex<Health>,
    pub(super) uses: Uses,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) look_ups: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) stale: AtomicU64,
}

#[derive(Default)]
struct Flights {
    answers: HashMap<Arc<str>, (u64, Answer)>,
    next: u64,
}

#[derive(Default)]
struct Health {
    failures: u32,
    /// Until when nobody asks.
    pause: Option<Instant>,
}

impl Shared {
    pub(super) fn new(config: Config, lookup: Arc<dyn KeyLookup>, pepper: Pepper) -> Arc<Self> {
        Arc::new(Self {
            known: Cache::new(config.capacity, config.ttl + config.stale),
            refused: Cache::new(config.capacity, config.negative_ttl),
            flights: Mutex::default(),
            health: Mutex::default(),
            uses: Uses::new(config.note_uses, config.capacity),
            counts: Counts::default(),
            config,
            lookup,
            pepper,
        })
    }

    /// Whose key it is, if that is known well enough.
    pub(super) fn at_hand(self: &Arc<Self>, id: &str, text: &[u8]) -> Option<Principal> {
        let known = self.known.get(id)?;
        let now = Instant::now();
        let age = now.saturating_duration_since(known.asked);
        let fresh = age < self.config.ttl;
        // What is stale will do while nobody asks the store.
        if !fresh && !self.is_paused(now) {
            return None;
        }
        let principal = self.admit(&known, text, now)?;
        let soon = fresh && age >= self.config.ttl * 3 / 5;
        if soon && !known.asking.swap(true, Ordering::Relaxed) && !self.is_paused(now) {
            // So that a key in use is never waited for. What comes of it is found by the next call.
            let _ = self.ask(&known.id);
        }
        Some(principal)
    }

    /// The principal of a key that is known, right, good, and not too long known.
    fn admit(self: &Arc<Self>, known: &Arc<Known>, text: &[u8], now: Instant) -> Option<Principal> {
        let age = now.saturating_duration_since(known.asked);
        if age >= self.config.ttl + self.config.stale {
            return None;
        }
        let wall = SystemTime::now();
        if !known.is(text, &self.pepper)? || !known.is_good(wall) {
            return None;
        }
        if age >= self.config.ttl {
            self.counts.stale.fetch_add(1, Ordering::Relaxed);
        }
        self.note(known, wall);
        Some(known.principal.clone())
    }

    fn note(self: &Arc<Self>, known: &Known, wall: SystemTime) {
        if let Some(turn) = self.uses.note(&known.id, &known.used, wall) {
            let writer = Writer {
                shared: self.clone(),
                waits: true,
            };
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(writer.write(turn));
            }
        }
    }

    pub(super) async fn write_uses(&self) -> Result<(), StoreError> {
        let uses = self.uses.take();
        if uses.is_empty() {
            return Ok(());
        }
        let written = tokio::time::timeout(5 * self.config.timeout, self.lookup.used(&uses)).await;
        let written = written.unwrap_or_else(|_| Err(StoreError::timed_out()));
        written.inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the last uses of keys are lost"
            );
        })
    }

    /// Whether the key was refused a moment ago, or the store is left alone for one.
    pub(super) fn refuses(&self, digest: &Digest) -> Option<Rejection> {
        let now = Instant::now();
        if self.refused.get(digest).is_some_and(|until| now < until) {
            return Some(Kind::InvalidCredentials.into());
        }
        self.is_paused(now).then(|| unavailable(None))
    }

    /// Asks the store whose key it is.
    pub(super) async fn look_up(
        self: Arc<Self>,
        id: Arc<str>,
        credential: Credential,
        digest: Digest,
    ) -> Result<Principal, Rejection> {
        let text = credential.expose();
        match self.found(&id).await {
            Ok(Some(known)) => match known.is(text, &self.pepper) {
                None => {
                    tracing::error!(
                        key = &*id,
                        "a key was hashed with a pepper that is not known"
                    );
                    Err(unavailable(None))
                }
                Some(true) if known.is_good(SystemTime::now()) => {
                    self.note(&known, SystemTime::now());
                    Ok(known.principal.clone())
                }
                right => {
                    // A key that begins to be good must not wait for this to be over.
                    if right == Some(false) || !known.is_early(SystemTime::now()) {
                        self.refuse(digest);
                    }
                    Err(Kind::InvalidCredentials.into())
                }
            },
            Ok(None) => {
                // As long as if there had been one.
                black_box(self.pepper.digest(text).1.ct_eq(&digest));
                self.refuse(digest);
                Err(Kind::InvalidCredentials.into())
            }
            Err(error) => {
                let known = self.known.get(&id);
                let stale = known.and_then(|known| self.admit(&known, text, Instant::now()));
                stale.ok_or_else(|| unavailable(Some(error)))
            }
        }
    }

    fn refuse(&self, digest: Digest) {
        let now = Instant::now();
        let until = now + self.config.negative_ttl;
        self.refused.insert(digest, until, now);
    }

    /// What the store says of a key that was told no longer ago than this, or now.
    pub(super) async fn within(self: &Arc<Self>, id: &Arc<str>, age: Duration) -> Outcome {
        let known = self.known.get(id);
        match known.filter(|known| known.asked.elapsed() < age) {
            Some(known) => Ok(Some(known)),
            None => self.found(id).await,
        }
    }

    async fn found(self: &Arc<Self>, id: &Arc<str>) -> Outcome {
        let mut answer = self.ask(id)?;
        let broken = || StoreError::unavailable("a look-up was given up");
        let outcome = answer.wait_for(Option::is_some).await;
        let outcome = outcome.map_err(|_| broken())?.clone();
        outcome.unwrap_or_else(|| Err(broken()))
    }

    /// Joins the look-up that is under way, or begins one. It goes on when nobody waits for it any
    /// more: a caller that hangs up takes nothing from the others.
    fn ask(self: &Arc<Self>, id: &Arc<str>) -> Result<Answer, StoreError> {
        let mut flights = self.flights();
        if let Some((_, answer)) = flights.answers.get(id) {
            return Ok(answer.clone());
        }
        if flights.answers.len() >= LOOK_UPS {
            return Err(StoreError::unavailable("too many look-ups at once"));
        }
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let (tell, answer) = watch::channel(None);
        let number = flights.next;
        flights.next += 1;
        flights.answers.insert(id.clone(), (number, answer.clone()));
        drop(flights);
        let flight = Flight {
            shared: self.clone(),
            id: id.clone(),
            number,
        };
        runtime.spawn(async move {
            let outcome = flight.fly().await;
            drop(flight);
            // Whoever waited may have hung up.
            let _ = tell.send(Some(outcome));
        });
        Ok(answer)
    }

    /// Forgets what is known of a key, and what a look-up that is under way is about to tell.
    pub(super) fn forget(&self, id: &str) {
        let mut flights = self.flights();
        flights.answers.remove(id);
        self.known.remove(id);
    }

    pub(super) fn forget_all(&self) {
        let mut flights = self.flights();
        flights.answers.clear();
        self.known.clear();
        self.refused.clear();
    }

    fn is_paused(&self, now: Instant) -> bool {
        lock(&self.health).pause.is_some_and(|until| now < until)
    }

    /// A store that cannot be reached is left alone for a while. One that says what is wrong with a key has
    /// answered, and can tell of others.
    fn judge(&self, failed: Option<&StoreError>) {
        if failed.is_some() {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        let mut health = lock(&self.health);
        let down = |error: &StoreError| {
            matches!(error.failure(), Failure::Unavailable | Failure::TimedOut)
        };
        if !failed.is_some_and(down) {
            *health = Health::default();
            return;
        }
        health.failures += 1;
        if health.failures >= FAILURES {
            health.pause = Some(Instant::now() + PAUSE);
        }
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        lock(&self.flights)
    }
}

/// Whose turn it is to write the uses of keys. However it ends, the next use is somebody's turn.
struct Writer {
    shared: Arc<Shared>,
    waits: bool,
}

impl Writer {
    async fn write(mut self, turn: Turn) {
        tokio::time::sleep(turn.after).await;
        // Before they are taken: what is used from now on is for the next.
        self.shared.uses.disarm();
        self.waits = false;
        // To know when a key was used last is not worth an error.
        let _ = self.shared.write_uses().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.waits {
            self.shared.uses.disarm();
        }
    }
}

/// A look-up that is under way. However it ends, the next one can begin.
struct Flight {
    shared: Arc<Shared>,
    id: Arc<str>,
    number: u64,
}

impl Flight {
    async fn fly(&self) -> Outcome {
        let shared = &*self.shared;
        shared.counts.look_ups.fetch_add(1, Ordering::Relaxed);
        let asked = Instant::now();
        let found = tokio::time::timeout(shared.config.timeout, shared.lookup.find(&self.id)).await;
        let found = found.unwrap_or_else(|_| Err(StoreError::timed_out()));
        // A store may match more loosely than we do, such as by case.
        let found = found.map(|key| key.filter(|key| key.id == self.id));
        shared.judge(found.as_ref().err());
        let found = found.map(|key| key.map(|key| Arc::new(Known::new(&key, asked))));
        if let Err(error) = &found {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "a key cannot be looked up"
            );
        }
        let flights = shared.flights();
        let current = flights.answers.get(&self.id);
        if current.is_some_and(|(number, _)| *number == self.number) {
            match &found {
                Ok(Some(known)) => {
                    shared
                        .known
                        .insert(self.id.clone(), known.clone(), Instant::now());
                }
                Ok(None) => shared.known.remove(&*self.id),
                Err(_) => {}
            }
        }
        found
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.shared.flights();
        let current = flights.answers.get(&self.id);
        if current.is_some_and(|(number, _)| *number == self.number) {
            flights.answers.remove(&self.id);
        }
    }
}

fn unavailable(error: Option<StoreError>) -> Rejection {
    let rejection = Rejection::new(Kind::AuthUnavailable).with_retry_after(PAUSE);
    match error {
        Some(error) => rejection.with_source(error),
        None => rejection,
    }
}

// What is behind the locks is valid after every statement, whoever panicked with one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
