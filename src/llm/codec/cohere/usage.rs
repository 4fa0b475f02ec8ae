//! What was used, and how an answer ended: both stand in its last event.

use crate::llm::{
    FinishReason, Usage, VendorError, VendorFault,
    codec::{Framing, Scan, sse},
};
use memchr::memmem::Finder;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Vendors are not believed: what is negative is nothing, and what is too large is as large as can be.
fn count(of: &Value, key: &str) -> Option<u64> {
    let number = of.get(key)?.as_number()?;
    number
        .as_u64()
        .or_else(|| number.as_f64().map(|float| float as u64))
}

/// `usage` of a conversation, or `meta` of all else. What was served from a cache is part of the input,
/// and what was thought part of the output.
pub(super) fn read(told: &Value) -> Option<Usage> {
    let tokens = told.get("tokens").filter(|tokens| tokens.is_object());
    let counted = tokens.or_else(|| told.get("billed_units"))?;
    let (input, output) = (
        count(counted, "input_tokens"),
        count(counted, "output_tokens"),
    );
    let searches = told
        .get("billed_units")
        .and_then(|units| count(units, "search_units"));
    if input.is_none() && output.is_none() && searches.is_none() {
        return None;
    }
    let mut usage = Usage::new(input.unwrap_or(0), output.unwrap_or(0));
    usage.searches = searches;
    usage.cache_read = count(told, "cached_tokens");
    usage.reasoning = count(counted, "reasoning_tokens");
    Some(usage)
}

/// What is paid for, as the vendor tells it.
pub(super) fn billed(told: &Value) -> Option<&Value> {
    let billed = told.get("billed_units")?;
    billed
        .as_object()
        .is_some_and(|units| !units.is_empty())
        .then_some(billed)
}

/// Why it ended, and whether the word for it says no more than that; or the error that it ended with.
pub(super) fn end(told: &Value) -> Option<Result<(FinishReason, bool), VendorError>> {
    let word = told.get("finish_reason")?.as_str()?;
    Some(Ok(match word {
        "COMPLETE" | "STOP_SEQUENCE" => (FinishReason::Stop, true),
        "MAX_TOKENS" => (FinishReason::Length, true),
        "TOOL_CALL" => (FinishReason::ToolCalls, true),
        "ERROR_LIMIT" => (FinishReason::Length, false),
        "ERROR_TOXIC" => (FinishReason::ContentFilter, false),
        "ERROR" | "TIMEOUT" => return Some(Err(failure(told, word))),
        // What nobody knows is an end like any other.
        _ => (FinishReason::Stop, false),
    }))
}

fn failure(told: &Value, word: &str) -> VendorError {
    let text = |key: &str| told.get(key).and_then(Value::as_str);
    let fault = match word {
        "TIMEOUT" => VendorFault::Timeout,
        _ => VendorFault::Failed,
    };
    VendorError::new(fault)
        .with_message(text("error").unwrap_or("The model's answer ended in an error."))
        .with_code(text("error_type").unwrap_or(word))
}

/// The last usage in whole events, or in a document, and the error that it ended with.
pub(super) fn scan(raw: &[u8], framing: Framing) -> Scan {
    static KEYS: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["\"finish_reason\"", "\"meta\""].map(Finder::new));
    let mut scan = Scan::default();
    // What a model says cannot look like this: its quotes are escaped.
    let has = |data: &[u8]| KEYS.iter().any(|key| key.find(data).is_some());
    if !has(raw) {
        return scan;
    }
    let mut look = |data: &[u8]| {
        let Some(whole) = has(data)
            .then(|| serde_json::from_slice::<Value>(data).ok())
            .flatten()
        else {
            return;
        };
        let told = match framing {
            Framing::Sse => &whole["delta"],
            _ => &whole,
        };
        let place = ["usage", "meta"].iter().find_map(|key| told.get(*key));
        scan.usage = place.and_then(read).or(scan.usage);
        if let Some(Err(error)) = end(told) {
            scan.error.get_or_insert_with(|| Box::new(error));
        }
    };
    match framing {
        Framing::Sse => sse::events(raw).for_each(|event| look(&event.data)),
        _ => look(raw),
    }
    scan
}

/// What is paid for, beside an answer.
pub(super) fn beside(told: &Value) -> Option<Value> {
    billed(told).map(|billed| json!({"billed_units": billed}))
}
