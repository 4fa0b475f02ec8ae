//! Paths of the protocols that are not served, and why. Most are of what vendors keep for their callers: a
//! gateway has one key with a vendor, and so would show each caller what the others have left there.

use crate::{Rejection, rejection::Kind};

const ACCOUNT: &str = "The gateway has one account with each provider: what is stored there by one caller would be shown to the others.";
const ADMIN: &str =
    "The gateway has one account with each provider, which is not managed through it.";
const KEPT: &str = "Completions are not kept here.";
const COMPACTED: &str = "Conversations are not compacted here: what came of it would be sealed by one provider, and of no use to any other.";
const SESSION: &str = "Sessions over one connection, such as those of sound, are not served here.";

/// What a path begins with, below the version, and why it is not served.
const UNSERVED: [(&str, &str); 35] = [
    ("files", ACCOUNT),
    ("batches", ACCOUNT),
    ("uploads", ACCOUNT),
    ("fine_tuning", ACCOUNT),
    ("assistants", ACCOUNT),
    ("threads", ACCOUNT),
    ("vector_stores", ACCOUNT),
    ("containers", ACCOUNT),
    ("evals", ACCOUNT),
    ("conversations", ACCOUNT),
    ("chatkit", ACCOUNT),
    ("audio/voices", ACCOUNT),
    ("audio/voice_consents", ACCOUNT),
    ("skills", ACCOUNT),
    ("videos", ACCOUNT),
    ("chat/completions", KEPT),
    ("responses/compact", COMPACTED),
    ("realtime", SESSION),
    ("organization", ADMIN),
    ("projects", ADMIN),
    // Anthropic's.
    ("messages/batches", ACCOUNT),
    ("agents", ACCOUNT),
    ("sessions", ACCOUNT),
    ("environments", ACCOUNT),
    ("vaults", ACCOUNT),
    ("memory_stores", ACCOUNT),
    ("organizations", ADMIN),
    // Google's.
    ("cachedContents", ACCOUNT),
    ("fileSearchStores", ACCOUNT),
    ("corpora", ACCOUNT),
    ("generatedFiles", ACCOUNT),
    ("operations", ACCOUNT),
    ("interactions", ACCOUNT),
    ("tunedModels", ACCOUNT),
    ("auth_tokens", SESSION),
];

/// What a caller is told of such a path.
pub(super) fn refusal(path: &str) -> Option<Rejection> {
    let below = ["/v1/", "/v1beta/", "/v1alpha/", "/upload/v1beta/"]
        .iter()
        .find_map(|root| path.strip_prefix(root))?;
    let is = |known: &str| {
        let rest = below.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    };
    let &(_, why) = UNSERVED.iter().find(|(known, _)| is(known))?;
    Some(Rejection::new(Kind::NotSupported).with_detail(why))
}
