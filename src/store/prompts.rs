//! Prompts in databases, asked for alike in SQLite and PostgreSQL. Both know `$1`.
//!
//! Whoever changes something updates the row that counts first, and so holds it until the end: changes come one
//! after the other, and are seen in the order of their revisions.

use crate::{
    prompt::{Assignment, LabelMove, LabelName, MOST_AT_ONCE, PromptHead, PromptName},
    storage::StoreError,
};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) const COUNT: &str =
    "UPDATE gateway_prompt_revision SET revision = revision + 1 WHERE id = 1 RETURNING revision";

pub(super) const REVISION: &str = "SELECT revision FROM gateway_prompt_revision WHERE id = 1";

/// The newest version of a prompt, and what it says.
pub(super) const LATEST: &str = "SELECT prompts.latest AS latest, versions.digest AS digest \
    FROM gateway_prompts AS prompts JOIN gateway_prompt_versions AS versions \
    ON versions.name = prompts.name AND versions.version = prompts.latest WHERE prompts.name = $1";

pub(super) const DIGEST: &str =
    "SELECT digest FROM gateway_prompt_versions WHERE name = $1 AND version = $2";

pub(super) const ADD: &str =
    "INSERT INTO gateway_prompt_versions (name, version, digest, record) VALUES ($1, $2, $3, $4)";

/// The name, a version that it has, and the revision.
pub(super) const TOUCH: &str = "INSERT INTO gateway_prompts (name, latest, labels, revision) \
    VALUES ($1, $2, '{}', $3) ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, latest = \
    CASE WHEN gateway_prompts.latest < excluded.latest THEN excluded.latest ELSE gateway_prompts.latest END";

pub(super) const POINT: &str =
    "UPDATE gateway_prompts SET labels = $2, revision = $3 WHERE name = $1";

pub(super) const RECORD: &str =
    "INSERT INTO gateway_prompt_moves (revision, name, label, record) VALUES ($1, $2, $3, $4)";

pub(super) const VERSION: &str =
    "SELECT record FROM gateway_prompt_versions WHERE name = $1 AND version = $2";

pub(super) const VERSIONS: &str = "SELECT record FROM gateway_prompt_versions \
    WHERE name = $1 AND version < $2 ORDER BY version DESC LIMIT $3";

pub(super) const HEAD: &str =
    "SELECT name, latest, labels, revision FROM gateway_prompts WHERE name = $1";

pub(super) const HEADS: &str = "SELECT name, latest, labels, revision FROM gateway_prompts \
    WHERE name > $1 ORDER BY name LIMIT $2";

pub(super) const CHANGED: &str = "SELECT name, latest, labels, revision FROM gateway_prompts \
    WHERE revision > $1 ORDER BY revision LIMIT $2";

pub(super) const MOVES: &str = "SELECT revision, record FROM gateway_prompt_moves \
    WHERE name = $1 AND revision < $2 ORDER BY revision DESC LIMIT $3";

pub(super) const MOVES_OF_LABEL: &str = "SELECT revision, record FROM gateway_prompt_moves \
    WHERE name = $1 AND revision < $2 AND label = $4 ORDER BY revision DESC LIMIT $3";

/// The store's methods, written once for drivers that have no type in common. `$begin` begins a transaction that
/// writes.
macro_rules! prompts {
    ($store:ident, $row:ty, $begin:literal) => {
        impl $store {
            /// Adds a version within a transaction, and ends it.
            async fn add_version(
                mut transaction: sqlx::Transaction<'_, <$row as sqlx::Row>::Database>,
                record: &VersionRecord,
                revision: i64,
            ) -> Result<(), StoreError> {
                let add = sqlx::query(prompts::ADD)
                    .bind(record.name.as_str())
                    .bind(i64::from(record.version.get()))
                    .bind(&*record.digest)
                    .bind(record.to_json());
                add.execute(&mut *transaction).await.map_err(fault)?;
                let touch = sqlx::query(prompts::TOUCH)
                    .bind(record.name.as_str())
                    .bind(i64::from(record.version.get()))
                    .bind(revision);
                touch.execute(&mut *transaction).await.map_err(fault)?;
                transaction.commit().await.map_err(fault)
            }

            async fn create(&self, new: NewVersion) -> Result<Created, StoreError> {
                let mut transaction = self.pool.begin_with($begin).await.map_err(fault)?;
                let revision = sqlx::query_scalar::<_, i64>(prompts::COUNT);
                let revision = revision.fetch_one(&mut *transaction).await.map_err(fault)?;
                let latest = sqlx::query_as::<_, (i64, String)>(prompts::LATEST);
                let latest = latest.bind(new.name.as_str());
                let latest = latest.fetch_optional(&mut *transaction).await;
                let mut last = 0;
                if let Some((number, digest)) = latest.map_err(fault)? {
                    let number = prompts::number(number)?;
                    if *digest == *new.digest {
                        transaction.rollback().await.map_err(fault)?;
                        return Ok(Created::Same(number));
                    }
                    last = number.get();
                }
                if new.after.is_some_and(|seen| seen != last) {
                    transaction.rollback().await.map_err(fault)?;
                    return Ok(Created::Behind(last));
                }
                let number = NonZeroU32::MIN.checked_add(last);
                let number = number.ok_or_else(prompts::no_more)?;
                let record = VersionRecord::new(new, number);
                Self::add_version(transaction, &record, revision).await?;
                Ok(Created::New(number))
            }

            async fn import(&self, record: VersionRecord) -> Result<Imported, StoreError> {
                let mut transaction = self.pool.begin_with($begin).await.map_err(fault)?;
                let revision = sqlx::query_scalar::<_, i64>(prompts::COUNT);
                let revision = revision.fetch_one(&mut *transaction).await.map_err(fault)?;
                let there = sqlx::query_scalar::<_, String>(prompts::DIGEST)
                    .bind(record.name.as_str())
                    .bind(i64::from(record.version.get()));
                let there = there.fetch_optional(&mut *transaction).await;
                if let Some(digest) = there.map_err(fault)? {
                    transaction.rollback().await.map_err(fault)?;
                    let same = *digest == *record.digest;
                    return Ok(if same {
                        Imported::Same
                    } else {
                        Imported::Taken
                    });
                }
                Self::add_version(transaction, &record, revision).await?;
                Ok(Imported::New)
            }

            async fn point(&self, moved: LabelMove) -> Result<Moved, StoreError> {
                let mut transaction = self.pool.begin_with($begin).await.map_err(fault)?;
                let revision = sqlx::query_scalar::<_, i64>(prompts::COUNT);
                let revision = revision.fetch_one(&mut *transaction).await.map_err(fault)?;
                let head = sqlx::query(prompts::HEAD).bind(moved.name.as_str());
                let head = head
                    .fetch_optional(&mut *transaction)
                    .await
                    .map_err(fault)?;
                let Some(head) = head else {
                    transaction.rollback().await.map_err(fault)?;
                    return Ok(Moved::NoPrompt);
                };
                let mut labels = head_of(&head)?.labels;
                for share in moved.to.iter().flat_map(Assignment::shares) {
                    let there = sqlx::query_scalar::<_, String>(prompts::DIGEST)
                        .bind(moved.name.as_str())
                        .bind(i64::from(share.version.get()));
                    let there = there.fetch_optional(&mut *transaction).await;
                    if there.map_err(fault)?.is_none() {
                        transaction.rollback().await.map_err(fault)?;
                        return Ok(Moved::NoVersion(share.version));
                    }
                }
                let there = labels.get(&moved.label);
                if there != moved.from.as_ref() {
                    let there = there.cloned();
                    transaction.rollback().await.map_err(fault)?;
                    return Ok(Moved::Elsewhere(there));
                }
                match &moved.to {
                    Some(to) => labels.insert(moved.label.clone(), to.clone()),
                    None => labels.remove(&moved.label),
                };
                let point = sqlx::query(prompts::POINT)
                    .bind(moved.name.as_str())
                    .bind(prompts::in_json(&labels)?)
                    .bind(revision);
                point.execute(&mut *transaction).await.map_err(fault)?;
                let record = sqlx::query(prompts::RECORD)
                    .bind(revision)
                    .bind(moved.name.as_str())
                    .bind(moved.label.as_str())
                    .bind(prompts::in_json(&moved)?);
                record.execute(&mut *transaction).await.map_err(fault)?;
                transaction.commit().await.map_err(fault)?;
                Ok(Moved::Done(prompts::revision(revision)))
            }

            async fn changes(&self, since: u64, limit: usize) -> Result<Changes, StoreError> {
                let revision = sqlx::query_scalar::<_, i64>(prompts::REVISION);
                let revision = revision.fetch_one(&self.pool).await.map_err(fault)?;
                let revision = prompts::revision(revision).max(since);
                if revision == since {
                    return Ok(Changes {
                        revision,
                        heads: Vec::new(),
                        more: false,
                    });
                }
                // What is read now is of this revision or of a later one, and whole up to the last of the list.
                let limit = prompts::at_once(limit);
                let changed = sqlx::query(prompts::CHANGED)
                    .bind(i64::try_from(since).unwrap_or(i64::MAX))
                    .bind(limit + 1);
                let rows = changed.fetch_all(&self.pool).await.map_err(fault)?;
                let rows: Result<Vec<_>, _> = rows.iter().map(row_of).collect();
                Ok(prompts::page(rows?, limit, revision, &self.unreadable))
            }
        }

        fn row_of(row: &$row) -> Result<prompts::Row, StoreError> {
            let read = || {
                Ok(prompts::Row {
                    name: row.try_get("name")?,
                    latest: row.try_get("latest")?,
                    labels: row.try_get("labels")?,
                    revision: row.try_get("revision")?,
                })
            };
            read().map_err(fault)
        }

        fn head_of(row: &$row) -> Result<PromptHead, StoreError> {
            row_of(row)?.head()
        }

        impl Store for $store {
            fn create_version(&self, version: NewVersion) -> Pending<'_, Created> {
                sql::within(self.settings, self.create(version))
            }

            fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported> {
                sql::within(self.settings, self.import(version))
            }

            fn version<'a>(
                &'a self,
                name: &'a PromptName,
                version: NonZeroU32,
            ) -> Pending<'a, Option<VersionRecord>> {
                sql::within(self.settings, async move {
                    let record = sqlx::query_scalar::<_, String>(prompts::VERSION)
                        .bind(name.as_str())
                        .bind(i64::from(version.get()));
                    let record = record.fetch_optional(&self.pool).await.map_err(fault)?;
                    record
                        .map(|text| VersionRecord::from_json(&text))
                        .transpose()
                })
            }

            fn versions<'a>(
                &'a self,
                name: &'a PromptName,
                before: Option<NonZeroU32>,
                limit: usize,
            ) -> Pending<'a, Vec<VersionRecord>> {
                sql::within(self.settings, async move {
                    let records = sqlx::query_scalar::<_, String>(prompts::VERSIONS)
                        .bind(name.as_str())
                        .bind(before.map_or(i64::MAX, |before| before.get().into()))
                        .bind(prompts::at_once(limit));
                    let records = records.fetch_all(&self.pool).await.map_err(fault)?;
                    records
                        .iter()
                        .map(|text| VersionRecord::from_json(text))
                        .collect()
                })
            }

            fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>> {
                sql::within(self.settings, async move {
                    let head = sqlx::query(prompts::HEAD).bind(name.as_str());
                    let row = head.fetch_optional(&self.pool).await.map_err(fault)?;
                    row.as_ref().map(head_of).transpose()
                })
            }

            fn heads<'a>(
                &'a self,
                after: Option<&'a PromptName>,
                limit: usize,
            ) -> Pending<'a, Vec<PromptHead>> {
                sql::within(self.settings, async move {
                    let heads = sqlx::query(prompts::HEADS)
                        .bind(after.map_or("", |after| after.as_str()))
                        .bind(prompts::at_once(limit));
                    let rows = heads.fetch_all(&self.pool).await.map_err(fault)?;
                    rows.iter().map(head_of).collect()
                })
            }

            fn move_label(&self, change: LabelMove) -> Pending<'_, Moved> {
                sql::within(self.settings, self.point(change))
            }

            fn label_history<'a>(
                &'a self,
                name: &'a PromptName,
                label: Option<&'a LabelName>,
                before: Option<u64>,
                limit: usize,
            ) -> Pending<'a, Vec<RecordedMove>> {
                sql::within(self.settings, async move {
                    let before = before.and_then(|before| i64::try_from(before).ok());
                    let which = label.map_or(prompts::MOVES, |_| prompts::MOVES_OF_LABEL);
                    let mut moves = sqlx::query_as::<_, (i64, String)>(which)
                        .bind(name.as_str())
                        .bind(before.unwrap_or(i64::MAX))
                        .bind(prompts::at_once(limit));
                    if let Some(label) = label {
                        moves = moves.bind(label.as_str());
                    }
                    let moves = moves.fetch_all(&self.pool).await.map_err(fault)?;
                    let read = |(revision, text): &(i64, String)| {
                        Ok(RecordedMove {
                            revision: prompts::revision(*revision),
                            moved: prompts::label_move(text)?,
                        })
                    };
                    moves.iter().map(read).collect()
                })
            }

            fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes> {
                sql::within(self.settings, self.changes(revision, limit))
            }

            fn problems(&self) -> Vec<String> {
                self.unreadable.problems()
            }
        }
    };
}
pub(super) use prompts;

/// The most that is given at once.
pub(super) fn at_once(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, MOST_AT_ONCE)).unwrap_or(1)
}

pub(super) fn revision(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn number(number: i64) -> Result<NonZeroU32, StoreError> {
    let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
    number.ok_or_else(|| StoreError::corrupt("the number of a version cannot be read"))
}

pub(super) fn no_more() -> StoreError {
    StoreError::invalid("there are no more numbers")
}

pub(super) fn in_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::invalid("this cannot be written").with_source(error))
}

pub(super) fn label_move(text: &str) -> Result<LabelMove, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::corrupt("a move of a label cannot be read").with_source(error))
}

/// A prompt as it stands in its table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) latest: i64,
    pub(super) labels: String,
    pub(super) revision: i64,
}

impl Row {
    pub(super) fn head(&self) -> Result<PromptHead, StoreError> {
        let name = PromptName::new(&*self.name).map_err(|error| {
            StoreError::corrupt("the name of a prompt cannot be read").with_source(error)
        })?;
        let labels = serde_json::from_str::<BTreeMap<LabelName, Assignment>>(&self.labels);
        let labels = labels.map_err(|error| {
            let message = format!("the labels of prompt {name} cannot be read");
            StoreError::corrupt(message).with_source(error)
        })?;
        Ok(PromptHead {
            name,
            latest: number(self.latest)?,
            labels,
            revision: revision(self.revision),
        })
    }
}

/// The most prompts that cannot be read of which it is told.
const MOST_UNREADABLE: usize = 100;

/// What is wrong with prompts that cannot be read, by what stands for their names. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Unreadable(Arc<Mutex<BTreeMap<String, StoreError>>>);

impl Unreadable {
    // The map is valid after every statement.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StoreError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a row says, or nothing, which is noted.
    fn or_note(&self, row: &Row) -> Option<PromptHead> {
        let head = row.head();
        let mut all = self.lock();
        match head {
            Ok(head) => {
                all.remove(&row.name);
                Some(head)
            }
            Err(error) => {
                if all.len() < MOST_UNREADABLE {
                    all.insert(row.name.clone(), error);
                }
                None
            }
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.lock().values().map(ToString::to_string).collect()
    }
}

/// The first so many, without those that cannot be read, and whether there are more. The store was of `revision`
/// before they were read.
pub(super) fn page(
    mut rows: Vec<Row>,
    limit: i64,
    revision: u64,
    unreadable: &Unreadable,
) -> crate::prompt::Changes {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|row| self::revision(row.revision));
    crate::prompt::Changes {
        revision: match last {
            Some(last) if more => last,
            last => last.unwrap_or_default().max(revision),
        },
        heads: rows
            .iter()
            .filter_map(|row| unreadable.or_note(row))
            .collect(),
        more,
    }
}
