//! Errors, written.

use crate::{
    llm::{
        Error, Protocol,
        codec::{ErrorAnswer, fault, sse},
    },
    rejection::Kind,
};
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

/// An error in place of an answer.
pub(super) fn write(error: &Error) -> ErrorAnswer {
    if let Error::Vendor(vendor) = error
        && let Some(body) = vendor.original(Protocol::OpenAi)
    {
        return ErrorAnswer {
            status: fault::status(error),
            body: body.clone(),
        };
    }
    ErrorAnswer {
        status: fault::status(error),
        body: document(error).to_string().into(),
    }
}

/// An error in the middle of a stream. Nothing comes after it, not even `[DONE]`.
pub(super) fn write_event(error: &Error) -> Bytes {
    let mut out = BytesMut::new();
    sse::write_event(&mut out, None, document(error).to_string().as_bytes());
    out.freeze()
}

fn document(error: &Error) -> Value {
    let told = fault::Told::of(error);
    let mut inside = Map::new();
    inside.insert("message".into(), told.message.into());
    inside.insert("type".into(), kind(error.kind()).into());
    inside.insert("param".into(), told.param.into());
    inside.insert("code".into(), told.code.into());
    json!({"error": inside})
}

/// What the SDKs of the protocol know.
fn kind(kind: Kind) -> &'static str {
    match kind.status().as_u16() {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    }
}
