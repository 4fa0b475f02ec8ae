//! SQLite, in this process.

#[cfg(feature = "prompts")]
use super::prompts::{self, prompts};
use super::{
    Pool,
    migrate::{Migration, SCHEMA, migrations, missing},
    sql::{self, database, fault},
};
#[cfg(feature = "prompts")]
use crate::prompt::{
    Assignment, Changes, Created, Imported, LabelMove, LabelName, Moved, NewVersion, PromptHead,
    PromptName, RecordedMove, Store, VersionRecord,
};
use crate::{
    auth::stored::{Grant, KeyFilter, KeyLookup, KeyStore, StoredKey, from_millis, to_millis},
    storage::{Pending, StoreError},
};
use sqlx::{
    ConnectOptions as _, Row as _, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
#[cfg(feature = "prompts")]
use std::num::NonZeroU32;
use std::{
    fmt,
    fs::OpenOptions,
    path::Path,
    str::FromStr as _,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep, timeout};

const MIGRATIONS: &[Migration] = migrations! {
    "sqlite":
    1 "0001_api_keys",
    2 "0002_prompts",
};

/// A database in one file of this machine, which any number of its processes may share. SQLite comes
/// with the program.
///
/// It has a write-ahead log and `synchronous = FULL`: what was said to be done outlasts a crash of the
/// program and of the machine. The file is made for its owner's eyes alone (mode 600). It must not be on a network's file system, says SQLite.
#[derive(Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    settings: Pool,
    #[cfg(feature = "prompts")]
    unreadable: prompts::Unreadable,
}

impl SqliteStore {
    /// Opens the file of a URL such as `sqlite:keys.db` or `sqlite:///var/lib/gateway/keys.db`, makes
    /// it if it is not there, and brings its tables up to date. `sqlite::memory:` is gone with the
    /// store.
    ///
    /// # Errors
    ///
    /// If the URL or the file cannot be read, or if the file is of a newer program.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, Pool::new()).await
    }

    /// The same with another [`Pool`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, settings: Pool) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(fault)?
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(settings.statement_timeout)
            .disable_statement_logging();
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        if !in_memory {
            make_private(options.get_filename());
        }
        let pool = SqlitePoolOptions::new().acquire_timeout(settings.acquire_timeout);
        let pool = if in_memory {
            // It is there as long as its connection.
            let one = pool.max_connections(1).min_connections(1);
            one.idle_timeout(None).max_lifetime(None)
        } else {
            pool.max_connections(settings.max_connections)
        };
        let pool = pool.connect_lazy_with(options);
        let this = Self {
            pool,
            settings,
            #[cfg(feature = "prompts")]
            unreadable: prompts::Unreadable::default(),
        };
        let ready = timeout(sql::MIGRATION, this.ready()).await;
        ready.unwrap_or_else(|_| Err(StoreError::timed_out()))?;
        Ok(this)
    }

    /// Several programs that open a new file at once may hear that it is locked, for who changes the
    /// kind of its log waits for nobody.
    async fn ready(&self) -> Result<(), StoreError> {
        let give_up = Instant::now() + self.settings.patience();
        loop {
            match self.migrate().await {
                Err(error) if is_busy(&error) && Instant::now() < give_up => {
                    sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    async fn write_uses(&self, uses: &[(Arc<str>, SystemTime)]) -> Result<(), StoreError> {
        let transaction = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = transaction.map_err(fault)?;
        for (id, at) in uses {
            let used = sqlx::query(
                "UPDATE gateway_api_keys SET last_used_at = $2 \
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
            );
            let used = used.bind(&**id).bind(to_millis(*at));
            used.execute(&mut *transaction).await.map_err(fault)?;
        }
        transaction.commit().await.map_err(fault)
    }

    /// Closes all connections, once they are not in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A file that is not there yet is for its owner's eyes alone, and so are those that SQLite puts beside
/// it. What goes wrong here SQLite will tell.
fn make_private(file: &Path) {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = options.open(file);
}

/// `SQLITE_BUSY` and `SQLITE_LOCKED`, and what extends them.
fn is_busy(error: &StoreError) -> bool {
    let source = std::error::Error::source(error);
    let driver = source.and_then(|source| source.downcast_ref::<sqlx::Error>());
    let code = driver.and_then(|error| error.as_database_error()?.code()?.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

database!(
    SqliteStore,
    SqliteRow,
    MIGRATIONS,
    "BEGIN IMMEDIATE",
    "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'gateway_schema'",
    "SELECT 1"
);

#[cfg(feature = "prompts")]
prompts!(SqliteStore, SqliteRow, "BEGIN IMMEDIATE");
