//! Paths of what vendors keep for their callers. A gateway has one key with a vendor, and so would show
//! each caller what the others have left there.

use crate::{Rejection, rejection::Kind};

/// What a path begins with, below the version.
const STORED: [&str; 16] = [
    "files",
    "batches",
    "uploads",
    "fine_tuning",
    "assistants",
    "threads",
    "vector_stores",
    "containers",
    "evals",
    "conversations",
    "messages/batches",
    "cachedContents",
    "fileSearchStores",
    "corpora",
    "skills",
    "videos",
];

/// What a caller is told of such a path.
pub(super) fn refusal(path: &str) -> Option<Rejection> {
    let below = ["/v1/", "/v1beta/", "/v1alpha/", "/upload/v1beta/"]
        .iter()
        .find_map(|root| path.strip_prefix(root));
    let is = |known: &str| {
        let rest = below.and_then(|below| below.strip_prefix(known));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    };
    let detail = "The gateway has one account with each provider: what is stored there by one caller would be shown to the others.";
    STORED
        .iter()
        .any(|known| is(known))
        .then(|| Rejection::new(Kind::NotSupported).with_detail(detail))
}
