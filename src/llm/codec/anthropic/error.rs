//! Errors, written.

use crate::llm::{
    Error, Protocol,
    codec::{ErrorAnswer, fault, sse},
};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

/// An error in place of an answer.
pub(super) fn write(error: &Error) -> ErrorAnswer {
    let status = match fault::status(error) {
        // What its SDKs know an overload by.
        StatusCode::SERVICE_UNAVAILABLE => overloaded(),
        status => status,
    };
    let original = match error {
        Error::Vendor(vendor) => vendor.original(Protocol::Anthropic).cloned(),
        Error::Rejected(_) => None,
    };
    ErrorAnswer {
        status,
        body: original.unwrap_or_else(|| document(error).to_string().into()),
    }
}

/// A document that was made here, with the id of its request in it.
pub(crate) fn identified(document: &Bytes, id: &str) -> Option<Bytes> {
    let mut document: Value = serde_json::from_slice(document).ok()?;
    document
        .as_object_mut()?
        .insert("request_id".into(), id.into());
    Some(document.to_string().into())
}

fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// An error in the middle of a stream, the last of it, with the id of the request if that is known.
pub(crate) fn write_event(error: &Error, id: Option<&str>) -> Bytes {
    let mut out = BytesMut::new();
    let mut document = document(error);
    if let Some(id) = id {
        document["request_id"] = id.into();
    }
    sse::write_event(&mut out, Some("error"), document.to_string().as_bytes());
    out.freeze()
}

fn document(error: &Error) -> Value {
    let told = fault::Told::of(error);
    let kind = match fault::status(error) {
        StatusCode::CONFLICT => "conflict_error",
        _ => kind(error.kind().status().as_u16()),
    };
    // The gateway's codes say more than the types of the protocol do.
    json!({
        "type": "error",
        "error": {"type": kind, "message": told.message, "code": told.code},
    })
}

/// What the SDKs of the protocol know.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}
