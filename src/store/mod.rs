//! Databases behind the storage traits of the policies.
//!
//! | store | for | keeps |
//! |---|---|---|
//! | [`SqliteStore`] (feature `sqlite`) | one machine, any number of processes | [API keys](crate::auth::stored), with the feature `prompts` [prompts](crate::prompt) |
//! | [`PostgresStore`] (feature `postgres`) | many machines | the same |
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use tower_gateway::{auth::stored::{Grant, Keyring, Pepper}, store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pepper = Pepper::new(1, "what `openssl rand -hex 32` has printed")?;
//! // Or `sqlite:keys.db`, `postgres://gateway:secret@db.internal/gateway?sslmode=verify-full`.
//! let store = store::keys("sqlite::memory:").await?;
//!
//! let (key, secret) = Keyring::new(store, pepper).issue(Grant::new("alice")).await?;
//! assert!(secret.expose().starts_with("tgw_"));
//! # Ok(())
//! # }
//! ```
//!
//! # Tables
//!
//! Their names begin with `gateway_`, and `gateway_schema` says which version they are of. To connect
//! brings them up to date, all or nothing, and one program at a time however many start at once:
//! SQLite's write lock and an advisory lock of PostgreSQL see to that. They only ever go forward. A
//! program that is older than the tables refuses to work with them. Where they are up to date already
//! the right to read and write them will do.
//!
//! # What lasts
//!
//! What a store has said is done survives the end of the process and of the machine: SQLite runs with
//! a write-ahead log and `synchronous = FULL`, PostgreSQL with its `synchronous_commit`, as it is set.
//!
//! # What is not told
//!
//! The URL holds a password. It is in no `Debug`, no error and no log; the statements are not logged
//! either.
//!
//! # Time
//!
//! A call waits at most 2 seconds for a connection and 5 for a statement, see [`Pool`].

mod migrate;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "prompts")]
mod prompts;
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;

use crate::{auth::stored::KeyStore, storage::StoreError};
use std::{sync::Arc, time::Duration};

/// The keys in the database at this URL: `sqlite:…`, `postgres://…`, or `file:…` for a JSON file.
///
/// # Errors
///
/// If the URL is none of these, if the program was built without the feature for it, or if the
/// database cannot be reached or brought up to date.
pub async fn keys(url: &str) -> Result<Arc<dyn KeyStore>, StoreError> {
    Ok(match opened(url).await? {
        #[cfg(feature = "sqlite")]
        Opened::Sqlite(store) => Arc::new(store),
        #[cfg(feature = "postgres")]
        Opened::Postgres(store) => Arc::new(store),
        Opened::File(path) => Arc::new(crate::auth::stored::FileKeys::open(path)?),
    })
}

/// The prompts in the database at this URL: `sqlite:…`, `postgres://…`, or `file:…` for a
/// [directory](crate::prompt::FileStore).
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_gateway::{prompt::{Actor, Change, Prompt, Registry}, store};
///
/// // Or `sqlite:prompts.db`, `postgres://gateway:secret@db.internal/gateway?sslmode=verify-full`, `file:prompts`.
/// let registry = Registry::open(store::prompts("sqlite::memory:").await?).await?;
/// let prompt = Prompt::new().user("Hello, {{ name }}.").variable("name", serde_json::json!({}));
/// registry.create(&Actor::code("setup"), "greet", prompt, Change::new()).await?;
/// assert!(registry.by_label::<str>("greet", "latest", None).is_some());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
///
/// # Errors
///
/// If the URL is none of these, if the program was built without the feature for it, or if the
/// database cannot be reached or brought up to date.
#[cfg(feature = "prompts")]
pub async fn prompts(url: &str) -> Result<Arc<dyn crate::prompt::Store>, StoreError> {
    Ok(match opened(url).await? {
        #[cfg(feature = "sqlite")]
        Opened::Sqlite(store) => Arc::new(store),
        #[cfg(feature = "postgres")]
        Opened::Postgres(store) => Arc::new(store),
        Opened::File(path) => Arc::new(crate::prompt::FileStore::open(path).await?),
    })
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How many connections there are to a database, and how long to wait for one and for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    max_connections: u32,
    acquire_timeout: Duration,
    statement_timeout: Duration,
}

impl Pool {
    /// At most 10 connections, opened when they are needed and closed after 10 minutes without use or
    /// half an hour. 2 seconds for a connection, 5 for a statement.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_connections: 10,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
        }
    }

    /// Sets how many connections there are at the most, from one on.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Sets how long to wait for a connection. At most an hour.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout.min(HOUR);
        self
    }

    /// Sets how long a statement may take, the wait for locks included. At most an hour.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout.min(HOUR);
        self
    }

    /// The longest that a call may take.
    fn patience(&self) -> Duration {
        self.acquire_timeout + 2 * self.statement_timeout
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// What a URL stands for.
enum Opened<'u> {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
    /// This file or directory.
    File(&'u str),
}

async fn opened(url: &str) -> Result<Opened<'_>, StoreError> {
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", _)) => Ok(Opened::Sqlite(SqliteStore::connect(url).await?)),
        #[cfg(not(feature = "sqlite"))]
        Some(("sqlite", _)) => Err(StoreError::invalid(
            "this was built without the feature `sqlite`",
        )),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            Ok(Opened::Postgres(PostgresStore::connect(url).await?))
        }
        #[cfg(not(feature = "postgres"))]
        Some(("postgres" | "postgresql", _)) => Err(StoreError::invalid(
            "this was built without the feature `postgres`",
        )),
        Some(("file", path)) => Ok(Opened::File(path)),
        _ => Err(StoreError::invalid(
            "the URL of the store must begin with sqlite:, postgres: or file:",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_would_wait_for_ever_waits_for_hours() {
        let endless = Pool::new()
            .acquire_timeout(Duration::MAX)
            .statement_timeout(Duration::MAX);
        assert_eq!(endless.patience(), 3 * HOUR);
    }
}
