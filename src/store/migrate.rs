//! The versions of the tables.

use crate::storage::{Failure, StoreError};

/// One step forward. Once it was released it is never changed.
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

/// Those in this folder, in this order.
macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal,)*) => {
        &[$($crate::store::migrate::Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("migrations/", $folder, "/", $name, ".sql")),
        }),*]
    };
}
pub(super) use migrations;

pub(super) const SCHEMA: &str = "CREATE TABLE gateway_schema (\
    version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";

/// Those that are missing. `current` is what the database has: 0 for none.
pub(super) fn missing(
    all: &'static [Migration],
    current: i64,
) -> Result<&'static [Migration], StoreError> {
    let newest = all.last().map_or(0, |last| last.version);
    if current > newest {
        let message = format!(
            "the database is of version {current}, and this program knows no newer one than {newest}: \
             use a newer program"
        );
        return Err(StoreError::new(Failure::Newer, message));
    }
    let applied = all
        .iter()
        .take_while(|migration| migration.version <= current);
    Ok(&all[applied.count()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Migration] = &[
        Migration {
            version: 1,
            name: "a",
            sql: "",
        },
        Migration {
            version: 2,
            name: "b",
            sql: "",
        },
    ];

    #[test]
    fn what_is_missing_is_applied_and_what_is_too_much_is_refused() {
        for (current, names) in [(0, &["a", "b"][..]), (1, &["b"]), (2, &[])] {
            let missing = missing(ALL, current).unwrap();
            let told: Vec<_> = missing.iter().map(|migration| migration.name).collect();
            assert_eq!(told, names);
        }
        let Err(error) = missing(ALL, 3) else {
            panic!("it was taken");
        };
        assert_eq!(error.failure(), Failure::Newer);
        let text = error.to_string();
        assert!(
            text.contains("version 3") && text.contains("newer one than 2"),
            "{text}"
        );
    }
}
