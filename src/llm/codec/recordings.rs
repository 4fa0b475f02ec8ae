//! Recorded traffic of vendors, where a folder of it lies beside the project.

pub(in crate::llm::codec) mod all;
mod usage;

use serde_json::Value;
use std::{env, fs, panic, path::PathBuf};

/// One call as it was recorded.
pub(crate) struct Exchange<T> {
    pub(crate) name: String,
    pub(crate) provider: String,
    /// What a codec has found out of the call.
    pub(crate) of: T,
    pub(crate) request: Value,
    pub(crate) status: u16,
    pub(crate) response: Value,
}

/// All that `of` takes, whoever the vendor is; `None` without the folder.
///
/// Panics without it if `TOWER_GATEWAY_REQUIRE_RECORDINGS` is 1.
pub(crate) fn exchanges<T>(of: impl Fn(&Value) -> Option<T>) -> Option<Vec<Exchange<T>>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/wire");
    let Ok(vendors) = fs::read_dir(&root) else {
        let required = env::var_os("TOWER_GATEWAY_REQUIRE_RECORDINGS");
        assert!(required.is_none_or(|value| value != "1"), "no {root:?}");
        return None;
    };
    let mut files: Vec<_> = vendors
        .flatten()
        .filter_map(|vendor| fs::read_dir(vendor.path()).ok())
        .flat_map(|files| files.flatten().map(|file| file.path()))
        .collect();
    files.sort();
    let read = |file: &PathBuf| {
        let mut all: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        Some(Exchange {
            of: of(&all)?,
            name: all["case"].as_str().unwrap_or_default().to_owned(),
            provider: all["provider"].as_str().unwrap_or_default().to_owned(),
            request: all["request"]["body"].take(),
            status: u16::try_from(all["response"]["status"].as_u64()?).ok()?,
            response: all["response"].take(),
        })
    };
    Some(files.iter().filter_map(read).collect())
}

/// Checks each of them, prints the count, and names all that fail. There must be so many at least.
pub(crate) fn hold<T>(
    exchanges: Option<Vec<Exchange<T>>>,
    floor: usize,
    check: impl Fn(&Exchange<T>),
) {
    let Some(exchanges) = exchanges else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    let fails = |exchange: &&Exchange<T>| {
        panic::catch_unwind(panic::AssertUnwindSafe(|| check(exchange))).is_err()
    };
    let failed: Vec<_> = exchanges.iter().filter(fails).map(|it| &*it.name).collect();
    let all = exchanges.len();
    println!("recordings: {all} exchanges, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(all >= floor, "{all}");
}
