//! What SQLite and PostgreSQL are asked alike. Both know `$1`.

use super::Pool;
use crate::storage::{Failure, StoreError};
use std::{future::Future, time::Duration};

macro_rules! columns {
    () => {
        "id, digest, pepper, owner, team, tenant, granted, created_at, not_before, expires_at, \
         revoked_at, last_used_at, replaced_by"
    };
}

pub(super) const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM gateway_api_keys WHERE id = $1"
);

pub(super) const INSERT: &str = concat!(
    "INSERT INTO gateway_api_keys (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING"
);

/// The id, its successor, its end, and now.
pub(super) const REPLACE: &str = "UPDATE gateway_api_keys SET replaced_by = $2, expires_at = \
    CASE WHEN expires_at < $3 THEN expires_at ELSE $3 END \
    WHERE id = $1 AND replaced_by IS NULL AND revoked_at IS NULL \
    AND (expires_at IS NULL OR expires_at > $4)";

pub(super) const REVOKE: &str =
    "UPDATE gateway_api_keys SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";

pub(super) const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM gateway_api_keys WHERE (CAST($1 AS TEXT) IS NULL OR id > $1) \
      AND (CAST($2 AS TEXT) IS NULL OR owner = $2) AND (CAST($3 AS TEXT) IS NULL OR team = $3) \
      AND (CAST($4 AS TEXT) IS NULL OR tenant = $4) ORDER BY id LIMIT $5"
);

pub(super) const VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM gateway_schema";

pub(super) const APPLIED: &str =
    "INSERT INTO gateway_schema (version, name, applied_at) VALUES ($1, $2, $3)";

/// How long the tables may take to be brought up to date, the wait for another program included.
pub(super) const MIGRATION: Duration = Duration::from_secs(60);

/// The store's own methods, written once for drivers that have no type in common.
///
/// `$begin` begins a transaction that writes. `$there` tells whether `gateway_schema` is there.
/// `$alone` makes others wait that bring the tables up to date.
macro_rules! database {
    ($store:ident, $row:ty, $migrations:expr, $begin:literal, $there:literal, $alone:literal) => {
        impl $store {
            async fn migrate(&self) -> Result<(), StoreError> {
                let mut connection = self.pool.acquire().await.map_err(fault)?;
                let there = sqlx::query_scalar::<_, i64>($there);
                let there = there.fetch_one(&mut *connection).await.map_err(fault)?;
                if there > 0 {
                    let current = sqlx::query_scalar::<_, i64>(sql::VERSION);
                    let current = current.fetch_one(&mut *connection).await.map_err(fault)?;
                    if missing($migrations, current)?.is_empty() {
                        return Ok(());
                    }
                }
                drop(connection);
                let mut transaction = self.pool.begin_with($begin).await.map_err(fault)?;
                let alone = sqlx::raw_sql($alone);
                alone.execute(&mut *transaction).await.map_err(fault)?;
                // Another program may have been faster.
                let there = sqlx::query_scalar::<_, i64>($there);
                let there = there.fetch_one(&mut *transaction).await.map_err(fault)?;
                if there == 0 {
                    let schema = sqlx::raw_sql(SCHEMA);
                    schema.execute(&mut *transaction).await.map_err(fault)?;
                }
                let current = sqlx::query_scalar::<_, i64>(sql::VERSION);
                let current = current.fetch_one(&mut *transaction).await.map_err(fault)?;
                for migration in missing($migrations, current)? {
                    let step = sqlx::raw_sql(migration.sql);
                    step.execute(&mut *transaction).await.map_err(fault)?;
                    let applied = sqlx::query(sql::APPLIED)
                        .bind(migration.version)
                        .bind(migration.name)
                        .bind(to_millis(SystemTime::now()));
                    applied.execute(&mut *transaction).await.map_err(fault)?;
                }
                transaction.commit().await.map_err(fault)
            }
        }

        fn key_of(row: &$row) -> Result<StoredKey, StoreError> {
            let read = || {
                let text = |name| row.try_get::<Option<String>, _>(name);
                let time = |name| row.try_get::<Option<i64>, _>(name);
                let mut grant = Grant::new(row.try_get::<String, _>("owner")?);
                grant.team = text("team")?.map(Into::into);
                grant.tenant = text("tenant")?.map(Into::into);
                grant.not_before = time("not_before")?.map(from_millis);
                grant.expires_at = time("expires_at")?.map(from_millis);
                let key = StoredKey {
                    id: row.try_get::<String, _>("id")?.into(),
                    digest: [0; 32],
                    pepper: u32::try_from(row.try_get::<i64, _>("pepper")?).unwrap_or(u32::MAX),
                    grant,
                    created_at: from_millis(row.try_get("created_at")?),
                    revoked_at: time("revoked_at")?.map(from_millis),
                    last_used_at: time("last_used_at")?.map(from_millis),
                    replaced_by: text("replaced_by")?.map(Into::into),
                };
                let digest = row.try_get::<String, _>("digest")?;
                let granted = row.try_get::<String, _>("granted")?;
                Ok((key, digest, granted))
            };
            let (mut key, digest, granted) = read().map_err(fault)?;
            key.read(&digest, &granted)?;
            Ok(key)
        }

        macro_rules! insert {
            ($key:expr, $executor:expr) => {{
                let key: &StoredKey = &$key;
                let insert = sqlx::query(sql::INSERT)
                    .bind(&*key.id)
                    .bind(key.digest_in_hex())
                    .bind(i64::from(key.pepper))
                    .bind(&*key.grant.owner)
                    .bind(key.grant.team.as_deref())
                    .bind(key.grant.tenant.as_deref())
                    .bind(key.granted())
                    .bind(to_millis(key.created_at))
                    .bind(key.grant.not_before.map(to_millis))
                    .bind(key.grant.expires_at.map(to_millis))
                    .bind(key.revoked_at.map(to_millis))
                    .bind(key.last_used_at.map(to_millis))
                    .bind(key.replaced_by.as_deref());
                let inserted = insert.execute($executor).await.map_err(fault)?;
                match inserted.rows_affected() {
                    0 => Err(sql::conflict()),
                    _ => Ok(()),
                }
            }};
        }

        impl KeyLookup for $store {
            fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>> {
                sql::within(self.settings, async move {
                    let find = sqlx::query(sql::FIND).bind(id);
                    let row = find.fetch_optional(&self.pool).await.map_err(fault)?;
                    row.as_ref().map(key_of).transpose()
                })
            }

            fn used<'a>(&'a self, uses: &'a [(Arc<str>, SystemTime)]) -> Pending<'a, ()> {
                sql::within(self.settings, self.write_uses(uses))
            }
        }

        impl KeyStore for $store {
            fn insert(&self, key: StoredKey) -> Pending<'_, ()> {
                sql::within(self.settings, async move { insert!(key, &self.pool) })
            }

            fn replace<'a>(
                &'a self,
                id: &'a str,
                until: SystemTime,
                successor: StoredKey,
            ) -> Pending<'a, bool> {
                sql::within(self.settings, async move {
                    let mut transaction = self.pool.begin_with($begin).await.map_err(fault)?;
                    let replace = sqlx::query(sql::REPLACE)
                        .bind(id)
                        .bind(&*successor.id)
                        .bind(to_millis(until))
                        .bind(to_millis(successor.created_at));
                    let replaced = replace.execute(&mut *transaction).await.map_err(fault)?;
                    if replaced.rows_affected() == 0 {
                        transaction.rollback().await.map_err(fault)?;
                        return Ok(false);
                    }
                    // What is not committed is undone.
                    let inserted: Result<(), StoreError> = insert!(successor, &mut *transaction);
                    inserted?;
                    transaction.commit().await.map_err(fault)?;
                    Ok(true)
                })
            }

            fn revoke<'a>(&'a self, id: &'a str, at: SystemTime) -> Pending<'a, bool> {
                sql::within(self.settings, async move {
                    let revoke = sqlx::query(sql::REVOKE).bind(id).bind(to_millis(at));
                    let revoked = revoke.execute(&self.pool).await.map_err(fault)?;
                    Ok(revoked.rows_affected() > 0)
                })
            }

            fn list<'a>(&'a self, filter: &'a KeyFilter) -> Pending<'a, Vec<StoredKey>> {
                sql::within(self.settings, async move {
                    let list = sqlx::query(sql::LIST)
                        .bind(filter.after.as_deref())
                        .bind(filter.owner.as_deref())
                        .bind(filter.team.as_deref())
                        .bind(filter.tenant.as_deref())
                        .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX));
                    let rows = list.fetch_all(&self.pool).await.map_err(fault)?;
                    rows.iter().map(key_of).collect()
                })
            }
        }

        impl fmt::Debug for $store {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($store))
                    .field("settings", &self.settings)
                    .field("connections", &self.pool.size())
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(super) use database;

/// Bounds the time of a call, whatever the driver does.
pub(super) fn within<'a, T>(
    settings: Pool,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> crate::storage::Pending<'a, T> {
    Box::pin(async move {
        let answer = tokio::time::timeout(settings.patience(), call).await;
        answer.unwrap_or_else(|_| Err(StoreError::timed_out()))
    })
}

pub(super) fn conflict() -> StoreError {
    StoreError::new(Failure::Conflict, "a key of this id is there already")
}

/// What went wrong, without what we asked and where.
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    match error {
        // It quotes the URL.
        sqlx::Error::Configuration(_) => StoreError::invalid("the URL of the store cannot be read"),
        sqlx::Error::PoolTimedOut => StoreError::timed_out(),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_) => {
            StoreError::corrupt("the store's answer cannot be read").with_source(error)
        }
        _ => StoreError::unavailable(error),
    }
}
