//! Which model a name means.
//!
//! Vendors that serve models of others name them after their makers, each in its own way. What such a
//! name means is told by rules that the vendors document, never by likeness.

use std::borrow::Cow;

/// A model that a name may mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form<'a> {
    /// `None`: whoever makes models of that name.
    pub(super) vendor: Option<&'static str>,
    pub(super) id: Cow<'a, str>,
}

/// Vendors that make the models they serve, in the order in which a bare name is looked for.
pub(super) const MAKERS: &[&str] = &[
    "openai",
    "anthropic",
    "gemini",
    "mistral",
    "cohere",
    "deepseek",
    "xai",
    "perplexity",
    "voyage",
];

/// What others call a maker.
fn maker(name: &str) -> Option<&'static str> {
    Some(match name {
        "openai" => "openai",
        "anthropic" => "anthropic",
        "google" | "gemini" => "gemini",
        "mistral" | "mistralai" => "mistral",
        "cohere" => "cohere",
        "deepseek" | "deepseek-ai" => "deepseek",
        "xai" | "x-ai" => "xai",
        "perplexity" => "perplexity",
        _ => return None,
    })
}

/// Where Amazon says that a call may be answered: <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html>.
const REGIONS: &[&str] = &[
    "us", "us-gov", "eu", "apac", "jp", "au", "ca", "in", "global",
];

/// A name without what the vendor's own API may have before it: `models/gemini-2.5-pro`,
/// `openai/gpt-5` at OpenAI.
pub(super) fn own<'a>(vendor: &str, model: &'a str) -> Option<&'a str> {
    let (before, rest) = model.split_once('/')?;
    let own = before == vendor || before == "models" || maker(before) == Some(vendor);
    own.then_some(rest)
}

/// The models of others that a name may mean, the likeliest first.
pub(super) fn forms(model: &str) -> Vec<Form<'_>> {
    // `publishers/anthropic/models/claude-opus-4-5@20251101`, `anthropic/claude-opus-4.5`.
    let mut parts = model.rsplit('/');
    let last = parts.next().unwrap_or(model);
    let before = parts.find(|part| *part != "models");
    let mut vendor = before.and_then(maker);
    let mut id = last;
    if before.is_none()
        && let Some((maker, rest)) = bedrock(last)
    {
        (vendor, id) = (Some(maker), rest);
    }
    if before.is_some() && vendor.is_none() {
        // Somebody's that is not known here. A model may have been tuned, and keep its name.
        return Vec::new();
    }
    // What a router adds: `:free`, `:thinking`.
    let id = id.split_once(':').map_or(id, |(id, _)| id);
    let dated = id.replace('@', "-");
    let mut all = vec![Form {
        vendor,
        id: Cow::Owned(dated.clone()),
    }];
    if let Some(plain) = undated(&dated) {
        let id = Cow::Owned(plain.to_owned());
        all.push(Form { vendor, id });
    }
    // OpenRouter writes `claude-opus-4.5`.
    if dated.starts_with("claude-") && dated.contains('.') {
        let id = Cow::Owned(dated.replace('.', "-"));
        all.push(Form { vendor, id });
    }
    all
}

/// `us.anthropic.claude-sonnet-4-5-20250929-v1:0`: a region, a maker, and a version of the wrapping.
fn bedrock(model: &str) -> Option<(&'static str, &str)> {
    let (first, rest) = model.split_once('.')?;
    let (first, rest) = match REGIONS.contains(&first) {
        true => rest.split_once('.')?,
        false => (first, rest),
    };
    let maker = maker(first)?;
    let rest = rest.split_once(':').map_or(rest, |(rest, _)| rest);
    let rest = match rest.rsplit_once("-v") {
        Some((rest, version)) if is_number(version) => rest,
        _ => rest,
    };
    Some((maker, rest))
}

/// A name in Bedrock's form without the region that may answer.
pub(super) fn without_region(model: &str) -> Option<&str> {
    let (first, rest) = model.split_once('.')?;
    REGIONS.contains(&first).then_some(rest)
}

/// A name without the date at its end: `-2024-08-06`, `-20250929`.
fn undated(model: &str) -> Option<&str> {
    [(11, true), (9, false)]
        .into_iter()
        .find_map(|(length, dashes)| {
            let at = model.len().checked_sub(length)?;
            let (name, tail) = model.split_at_checked(at)?;
            (!name.is_empty() && is_date(tail, dashes)).then_some(name)
        })
}

fn is_date(tail: &str, dashes: bool) -> bool {
    let dash = |at: usize| at == 0 || (dashes && (at == 5 || at == 8));
    let fits = |(at, byte): (usize, u8)| match dash(at) {
        true => byte == b'-',
        false => byte.is_ascii_digit(),
    };
    tail.bytes().enumerate().all(fits)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(model: &str) -> Vec<String> {
        let form = |form: Form<'_>| format!("{}|{}", form.vendor.unwrap_or("*"), form.id);
        forms(model).into_iter().map(form).collect()
    }

    #[test]
    fn names_of_other_vendors_mean_models_of_their_makers() {
        for (model, all) in [
            ("gpt-5", &["*|gpt-5"][..]),
            ("openai/gpt-5:free", &["openai|gpt-5"]),
            ("gpt-4o-2024-08-06", &["*|gpt-4o-2024-08-06", "*|gpt-4o"]),
            (
                "anthropic/claude-sonnet-4.5",
                &["anthropic|claude-sonnet-4.5", "anthropic|claude-sonnet-4-5"],
            ),
            (
                "claude-opus-4-5@20251101",
                &["*|claude-opus-4-5-20251101", "*|claude-opus-4-5"],
            ),
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                &[
                    "anthropic|claude-sonnet-4-5-20250929",
                    "anthropic|claude-sonnet-4-5",
                ],
            ),
            (
                "global.anthropic.claude-opus-4-6-v1",
                &["anthropic|claude-opus-4-6"],
            ),
            ("anthropic.claude-opus-5-5", &["anthropic|claude-opus-5-5"]),
            (
                "publishers/google/models/gemini-2.5-pro",
                &["gemini|gemini-2.5-pro"],
            ),
            ("models/gemini-2.5-pro", &["*|gemini-2.5-pro"]),
            ("meta-llama/llama-3.3-70b", &[]),
            ("tuned/gpt-5", &[]),
            ("", &["*|"]),
            ("-20250101", &["*|-20250101"]),
        ] {
            assert_eq!(meant(model), all, "{model}");
        }
    }

    #[test]
    fn a_vendor_may_have_its_own_name_before_its_models() {
        for (vendor, model, rest) in [
            ("gemini", "models/gemini-2.5-pro", Some("gemini-2.5-pro")),
            ("gemini", "google/gemini-2.5-pro", Some("gemini-2.5-pro")),
            ("openai", "openai/gpt-5", Some("gpt-5")),
            ("openrouter", "openai/gpt-5", None),
            ("openai", "gpt-5", None),
        ] {
            assert_eq!(own(vendor, model), rest, "{vendor} {model}");
        }
        let plain = without_region("us.amazon.nova-pro-v1:0");
        assert_eq!(plain, Some("amazon.nova-pro-v1:0"));
        assert_eq!(without_region("amazon.nova-pro-v1:0"), None);
    }
}
