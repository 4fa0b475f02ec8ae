//! Fields of a request that this crate has no place for, beside a locked prompt.

use crate::{
    Rejection,
    llm::{Extra, says},
    rejection::Kind,
};
use serde_json::Value;

/// Those that change nothing of what is asked, by their paths in any of the protocols. It is a list of what may
/// pass and not of what may not: vendors make new ones.
const HARMLESS: [&str; 18] = [
    // Who asks.
    "user",
    "safety_identifier",
    "metadata",
    "labels",
    // How it is kept.
    "prompt_cache_key",
    "prompt_cache_retention",
    "cache_control",
    "store",
    // How it is served.
    "service_tier",
    "serviceTier",
    "stream_options",
    // What is told of the answer.
    "logprobs",
    "top_logprobs",
    "include",
    "reasoning.summary",
    "generationConfig.responseLogprobs",
    "generationConfig.logprobs",
    "generationConfig.thinkingConfig.includeThoughts",
];

/// What passes of them.
///
/// # Errors
///
/// 400 with the path of the first that may change what is asked.
pub(super) fn harmless(mut extra: Extra) -> Result<Extra, Rejection> {
    extra.retain(|key, value| says(key, value) || HARMLESS.contains(&&**key));
    for (key, value) in &extra {
        if let Some(field) = harmful(key, value) {
            return Err(Rejection::new(Kind::InvalidRequest)
                .with_param(field)
                .with_detail("The prompt allows no such field beside it."));
        }
    }
    Ok(extra)
}

/// The path of what is not among them, also in an object of which parts are.
fn harmful(path: &str, value: &Value) -> Option<String> {
    if HARMLESS.contains(&path) {
        return None;
    }
    let within = format!("{path}.");
    match value.as_object() {
        Some(fields) if HARMLESS.iter().any(|one| one.starts_with(&within)) => {
            let mut fields = fields.iter().filter(|(key, value)| says(key, value));
            fields.find_map(|(key, value)| harmful(&format!("{within}{key}"), value))
        }
        _ => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(extra: Value) -> Option<String> {
        let extra: Extra = serde_json::from_value(extra).unwrap();
        let refused = harmless(extra).err()?;
        assert_eq!(refused.kind(), Kind::InvalidRequest);
        refused.param().map(str::to_owned)
    }

    #[test]
    fn what_changes_nothing_of_what_is_asked_passes() {
        for harmless in [
            json!({"user": "u", "metadata": {"user_id": "u"}, "service_tier": "flex"}),
            json!({"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}),
            json!({"generationConfig.thinkingConfig.includeThoughts": true, "labels": {"a": "b"}}),
            // What says nothing changes nothing.
            json!({"models": null, "functions": [], "background": false}),
        ] {
            assert_eq!(refused(harmless.clone()), None, "{harmless}");
        }
    }

    #[test]
    fn all_else_is_refused_with_its_path() {
        for (extra, path) in [
            (json!({"models": ["expensive"]}), "models"),
            (
                json!({"user": "u", "functions": [{"name": "rm"}]}),
                "functions",
            ),
            (
                json!({"reasoning": {"summary": "auto", "max_tokens": 9}}),
                "reasoning.max_tokens",
            ),
            (json!({"reasoning": "high"}), "reasoning"),
            (
                json!({"cachedContent": "cachedContents/a"}),
                "cachedContent",
            ),
            (
                json!({"generationConfig.thinkingConfig.thinkingBudget": 9}),
                "generationConfig.thinkingConfig.thinkingBudget",
            ),
            (
                json!({"generationConfig": {"logprobs": 1, "x": 1}}),
                "generationConfig.x",
            ),
            (json!({"what_comes_next": 1}), "what_comes_next"),
        ] {
            assert_eq!(refused(extra.clone()).as_deref(), Some(path), "{extra}");
        }
    }
}
