//! PostgreSQL.

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
    ConnectOptions as _, Connection as _, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
#[cfg(feature = "prompts")]
use std::num::NonZeroU32;
use std::{
    fmt,
    str::FromStr as _,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

const MIGRATIONS: &[Migration] = migrations! {
    "postgres":
    1 "0001_api_keys",
    2 "0002_prompts",
};

/// How long a transaction may stand between two statements at the least: a busy machine takes its time.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// A database of PostgreSQL 12 or newer, which any number of machines may share.
///
/// TLS is as the URL says: `sslmode=verify-full` is the one that nobody in between can undo; without
/// it there is TLS only if the server offers it. Works behind PgBouncer in session mode; in transaction
/// mode, add `statement-cache-capacity=0` to the URL.
///
/// A machine that vanishes in the middle of a change holds the others up as long as a statement may take: the
/// database then ends its session (`idle_in_transaction_session_timeout`), and nothing of the change was done.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    settings: Pool,
    #[cfg(feature = "prompts")]
    unreadable: prompts::Unreadable,
}

impl PostgresStore {
    /// Connects to the database of a URL such as
    /// `postgres://user:password@host:5432/gateway?sslmode=verify-full`, and brings its tables up to
    /// date. What the URL leaves out is read from the variables of `libpq`, such as `PGPASSWORD`.
    ///
    /// # Errors
    ///
    /// If the URL cannot be read, if the database cannot be reached, or if its tables are of a newer
    /// program.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, Pool::new()).await
    }

    /// The same with another [`Pool`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, settings: Pool) -> Result<Self, StoreError> {
        let mut options = PgConnectOptions::from_str(url)
            .map_err(fault)?
            .disable_statement_logging();
        if !url.contains("application_name") {
            options = options.application_name("tower-gateway");
        }
        // The pool would only say that it waited.
        let first = timeout(settings.acquire_timeout, options.connect()).await;
        let first = first.map_err(|_| StoreError::timed_out())?;
        let _ = first.map_err(fault)?.close().await;
        let in_millis = |time: Duration| time.as_millis().max(1).to_string();
        let statement = in_millis(settings.statement_timeout);
        // Of a machine that is gone in the middle, nobody waits for the locks any longer than that.
        let idle = in_millis(settings.statement_timeout.max(LEAST_IDLE));
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .after_connect(move |connection, _| {
                let (statement, idle) = (statement.clone(), idle.clone());
                Box::pin(async move {
                    let set = sqlx::query(
                        "SELECT set_config('statement_timeout', $1, false), \
                         set_config('idle_in_transaction_session_timeout', $2, false)",
                    );
                    set.bind(statement).bind(idle).execute(connection).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        let this = Self {
            pool,
            settings,
            #[cfg(feature = "prompts")]
            unreadable: prompts::Unreadable::default(),
        };
        let ready = timeout(sql::MIGRATION, this.migrate()).await;
        ready.unwrap_or_else(|_| Err(StoreError::timed_out()))?;
        Ok(this)
    }

    async fn write_uses(&self, uses: &[(Arc<str>, SystemTime)]) -> Result<(), StoreError> {
        let ids: Vec<String> = uses.iter().map(|(id, _)| id.to_string()).collect();
        let times: Vec<i64> = uses.iter().map(|(_, at)| to_millis(*at)).collect();
        let used = sqlx::query(
            "UPDATE gateway_api_keys AS keys SET last_used_at = used.at \
             FROM UNNEST($1::text[], $2::bigint[]) AS used(id, at) \
             WHERE keys.id = used.id AND (keys.last_used_at IS NULL OR keys.last_used_at < used.at)",
        );
        let used = used.bind(ids).bind(times).execute(&self.pool).await;
        used.map(|_| ()).map_err(fault)
    }

    /// Closes all connections, once they are not in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

database!(
    PostgresStore,
    PgRow,
    MIGRATIONS,
    // Who waits for another program must see what that one has done, whatever the database's default.
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    "SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('gateway_schema')",
    // The number is ours: "gateway" in ASCII.
    "SET LOCAL statement_timeout = '50s'; SELECT pg_advisory_xact_lock(29099075147620729)"
);

#[cfg(feature = "prompts")]
prompts!(
    PostgresStore,
    PgRow,
    // As above: who has waited for the row that counts sees what its holder has done.
    "BEGIN ISOLATION LEVEL READ COMMITTED"
);
