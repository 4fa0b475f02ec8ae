//! Errors: written in Google's form, and what is its own in those that are read.

use crate::llm::{
    Error, Protocol, VendorError,
    codec::{ErrorAnswer, fault, sse},
};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::time::Duration;

/// An error in place of an answer.
pub(super) fn write(error: &Error) -> ErrorAnswer {
    let original = match error {
        Error::Vendor(vendor) => vendor.original(Protocol::Gemini).cloned(),
        Error::Rejected(_) => None,
    };
    ErrorAnswer {
        status: fault::status(error),
        body: original.unwrap_or_else(|| document(error).to_string().into()),
    }
}

/// An error in the middle of a stream of events, the last of it.
pub(super) fn write_event(error: &Error) -> Bytes {
    let mut out = BytesMut::new();
    sse::write_event(&mut out, None, document(error).to_string().as_bytes());
    out.freeze()
}

/// An error as the last element of an array, and its end.
pub(super) fn write_element(error: &Error) -> Bytes {
    format!("[{}]", document(error)).into()
}

fn document(error: &Error) -> Value {
    let told = fault::Told::of(error);
    let status = fault::status(error).as_u16();
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": told.code.to_ascii_uppercase(),
        "domain": "tower-gateway",
    })];
    if let Some(after) = error.rejection().retry_after() {
        details.push(json!({
            "@type": RETRY,
            "retryDelay": format!("{}s", after.as_millis().div_ceil(1000)),
        }));
    }
    if let Some(param) = told.param {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": param, "description": told.message}],
        }));
    }
    json!({"error": {
        "code": status,
        "message": told.message,
        "status": name(status),
        "details": details,
    }})
}

const RETRY: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// What the SDKs of the protocol know.
fn name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// When to come back is told within the body.
#[cfg_attr(not(feature = "client"), allow(dead_code))]
pub(super) fn with_delay(error: VendorError, body: &[u8]) -> VendorError {
    match delay(body) {
        Some(after) => error.with_retry_after(Some(after)),
        None => error,
    }
}

fn delay(body: &[u8]) -> Option<Duration> {
    let whole: Value = serde_json::from_slice(body).ok()?;
    let whole = match &whole {
        Value::Array(all) => all.first()?,
        whole => whole,
    };
    let details = whole.get("error")?.get("details")?.as_array()?;
    let delay = details
        .iter()
        .find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    Some(Duration::try_from_secs_f64(seconds).ok()?.min(LONGEST))
}
