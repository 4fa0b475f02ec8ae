//! Buckets in Redis, or in what speaks its protocol: Valkey, KeyDB, Dragonfly.
//!
//! One script decides on all quotas of a call, in one step that nobody else's comes between, by the time
//! of the server. So it does not matter how many processes there are, nor how well their clocks go.
//!
//! # Arithmetic
//!
//! Scripts have no numbers but doubles, which are exact for whole ones below 2⁵³. In microseconds that
//! lasts until the year 2255, and a bucket is never deeper than 142 years; what is left of a
//! microsecond is counted in a number of its own, and products are made in parts. So the script decides
//! as this process would, to the last unit.
//!
//! # What is in Redis
//!
//! Under `rate-limit:{NAME:HASH}` a hash with one field for each quota, which expires when all of them
//! are full again: for one quota about 150 bytes. One call needs one key, so that it is decided on one
//! node of a cluster. Set no policy of eviction that takes them (`noeviction`, or one of the
//! `volatile-*`, and enough memory): who is forgotten has a full bucket. Needs Redis 5 or later, and the
//! commands `EVAL`, `EVALSHA`, `HMGET`, `HSET`, `PTTL`, `PEXPIRE` and `TIME`.

use super::{
    meter::{Meter, State},
    store::{Store, Take, Taken},
};
use crate::storage::{Failure, Pending, StoreError};
use redis::{
    Client, Cmd, ErrorKind, RedisError, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use std::{
    fmt,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

static SCRIPT: LazyLock<redis::Script> =
    LazyLock::new(|| redis::Script::new(include_str!("take.lua")));

/// After how many calls that nobody waited for a connection is given up. A peer that is gone without a
/// word is not found out otherwise for minutes.
const LOST: u32 = 3;
/// How long a call must have waited to count as one of these. Who hangs up sooner says nothing of Redis.
const PATIENCE: Duration = Duration::from_millis(10);

/// Buckets in a Redis server. See [`RateLimitLayer::shared`](super::RateLimitLayer::shared).
///
/// ```no_run
/// use tower_gateway::rate_limit::{OnStoreDown, Quota, RateLimitLayer, RedisStore};
///
/// # fn main() -> Result<(), tower_gateway::storage::StoreError> {
/// let redis = RedisStore::new("redis://:password@redis.internal:6379/0")?;
/// let layer = RateLimitLayer::all([Quota::per_second(10), Quota::per_month(100_000)])
///     .shared("api", redis, OnStoreDown::LocalFallback { fraction: 0.25 });
/// # Ok(())
/// # }
/// ```
///
/// It connects with the first call, and again by itself. Layers can share one, in an
/// [`Arc`](std::sync::Arc). One connection serves all calls at once.
pub struct RedisStore {
    client: Client,
    prefix: Box<str>,
    manager: Mutex<Option<ConnectionManager>>,
    lost: AtomicU32,
}

impl RedisStore {
    /// The server at such a URL: `redis://[user][:password@]host[:port][/database]`, or
    /// `redis+unix:///path`.
    ///
    /// # Errors
    ///
    /// If it is not such a URL. The error does not quote it. Whether there is a server is not looked at.
    pub fn new(url: impl AsRef<str>) -> Result<Self, StoreError> {
        let url = url.as_ref();
        if url.trim_start().starts_with("rediss:") {
            return Err(StoreError::invalid("TLS to Redis is not built in"));
        }
        // The error of the driver may quote what it was given.
        let client = Client::open(url)
            .map_err(|_| StoreError::invalid("this is not the URL of a Redis server"))?;
        Ok(Self {
            client,
            prefix: "rate-limit:".into(),
            manager: Mutex::default(),
            lost: AtomicU32::new(0),
        })
    }

    /// Sets what stands before the names of keys. By default `rate-limit:`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    async fn ask(&self, take: &Take) -> Result<Vec<i64>, RedisError> {
        let mut manager = self.connected()?;
        let mut waiting = Waiting(Some((self, Instant::now())));
        let key = format!("{}{{{}}}", self.prefix, take.bucket());
        let mut answer = command("EVALSHA", SCRIPT.get_hash(), &key, take)
            .query_async(&mut manager)
            .await;
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        if let Err(error) = &answer
            && error.kind() == unknown
        {
            // The server was restarted, or it is another one. It keeps what it evaluates.
            answer = command("EVAL", include_str!("take.lua"), &key, take)
                .query_async(&mut manager)
                .await;
        }
        waiting.answered();
        if answer.as_ref().is_err_and(is_replica) {
            *self.manager() = None;
        }
        answer
    }

    fn connected(&self) -> Result<ConnectionManager, RedisError> {
        let mut manager = self.manager();
        if let Some(manager) = &*manager {
            return Ok(manager.clone());
        }
        // Whoever asks tries again: nobody else is to wait for a server that is not there.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(4096);
        let fresh = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        let mut first = fresh.clone();
        // Connecting may take longer than the first call will wait for.
        tokio::spawn(async move {
            let _: Result<(), _> = redis::cmd("PING").query_async(&mut first).await;
        });
        Ok(manager.insert(fresh).clone())
    }

    // It is valid after every statement, whoever panicked with the lock.
    fn manager(&self) -> MutexGuard<'_, Option<ConnectionManager>> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for RedisStore {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        Box::pin(async move {
            let answer = self.ask(&take).await.map_err(failure)?;
            read(&answer).ok_or_else(|| StoreError::corrupt("Redis: an answer of another script"))
        })
    }
}

// The URL has a password in it, and so has the client.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Whether it says that another server is the one to write to by now. The connection is good, so that the
/// driver keeps it; but the name of the server may lead to the other one.
fn is_replica(error: &RedisError) -> bool {
    use ServerErrorKind::{MasterDown, ReadOnly};
    let kind = error.kind();
    kind == ErrorKind::Server(ReadOnly) || kind == ErrorKind::Server(MasterDown)
}

/// A call, and since when it waits. It is counted when it is dropped without an answer.
struct Waiting<'a>(Option<(&'a RedisStore, Instant)>);

impl Waiting<'_> {
    fn answered(&mut self) {
        if let Some((store, _)) = self.0.take() {
            store.lost.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((store, since)) = self.0
            && since.elapsed() >= PATIENCE
            && store.lost.fetch_add(1, Ordering::Relaxed) + 1 >= LOST
        {
            store.lost.store(0, Ordering::Relaxed);
            *store.manager() = None;
        }
    }
}

/// What went wrong, without addresses and values.
fn failure(error: RedisError) -> StoreError {
    let what = match error.code() {
        // Such as NOAUTH, OOM or READONLY.
        Some(code) => format!("Redis: {code}"),
        None => format!("Redis: {}", error.category()),
    };
    let kind = if error.is_timeout() {
        Failure::TimedOut
    } else {
        Failure::Unavailable
    };
    StoreError::new(kind, what).with_source(error)
}

fn command(name: &str, script: &str, key: &str, take: &Take) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(1).arg(key);
    // A negative time is the server's own.
    let now = take.now().and_then(|now| i64::try_from(now).ok());
    // More than there ever is of any quota, and yet exact.
    let cost = take.cost.min(1 << 50);
    command.arg(now.unwrap_or(-1)).arg(cost);
    let known = take.known.len() == take.rules.rules.len();
    command.arg(if known { 11 } else { 8 });
    for (index, (rule, field)) in take.rules.rules.iter().zip(take.quotas()).enumerate() {
        command.arg(field).arg(i32::from(rule.shadow));
        let (algorithm, numbers) = numbers(&rule.meter, take.cost);
        command.arg(algorithm);
        for number in numbers {
            command.arg(number);
        }
        for number in take
            .known
            .get(index)
            .filter(|_| known)
            .into_iter()
            .flatten()
        {
            command.arg(i64::try_from(*number).unwrap_or(0));
        }
    }
    command
}

fn numbers(meter: &Meter, cost: u64) -> (&'static str, [i64; 5]) {
    // They are below 2⁵³ by how quotas are made.
    let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match meter {
        Meter::Gcra(rate) => {
            let price = rate.price(cost);
            let (whole, rest) = price.map_or((-1, 0), |p| (int(p.whole), int(p.rest)));
            let depth = rate.depth;
            let speed = int(rate.speed);
            ("g", [speed, whole, rest, int(depth.whole), int(depth.rest)])
        }
        Meter::Fixed(window) => {
            let length = window.length.micros().unwrap_or(0);
            ("f", [int(window.limit), int(length), 0, 0, 0])
        }
        Meter::Sliding(window) => ("s", [int(window.limit), int(window.length), 0, 0, 0]),
    }
}

fn read(answer: &[i64]) -> Option<Taken> {
    let (now, buckets) = answer.split_first()?;
    let mut taken = Taken::at(u64::try_from(*now).ok()?);
    let (buckets, rest) = buckets.as_chunks::<4>();
    for &[fits, at, used, before] in buckets {
        let [at, used, before] = [at, used, before].map(|number| u64::try_from(number).ok());
        let state = State::from_numbers([at?, used?, before?]);
        taken.push(fits == 1, state);
    }
    rest.is_empty().then_some(taken)
}

#[cfg(test)]
mod tests;
