//! What a vendor refuses, and what is told of it.

use super::{
    Inner,
    call::passed_back,
    framing::is_encoded,
    key::{hints_at_a_key, masked, names_an_account},
};
use crate::{
    Body, Rejection, collect,
    llm::{Error, VendorError, VendorFault, codec::Codec},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

const MOST_ERROR: usize = 1 << 20;

pub(super) fn malformed(provider: &Inner, reason: &'static str) -> Error {
    tracing::warn!(
        vendor = &*provider.name,
        reason,
        "the vendor's answer cannot be read"
    );
    VendorError::new(VendorFault::Malformed)
        .with_vendor(provider.name.clone())
        .into()
}

/// Says in the log why there is no answer: the caller is not told.
pub(super) fn unreachable(provider: &Inner, rejection: &Rejection) {
    tracing::warn!(
        vendor = &*provider.name,
        code = rejection.kind().code(),
        error = std::error::Error::source(rejection),
        "the vendor cannot be reached"
    );
}

/// What an answer means that is not a success.
pub(super) async fn refusal(
    provider: &Inner,
    codec: &'static dyn Codec,
    status: StatusCode,
    headers: &HeaderMap,
    body: Body,
) -> Error {
    // Whatever is wrong with the body, the status stands.
    let body = match is_encoded(headers) {
        true => Bytes::new(),
        false => collect(body, MOST_ERROR).await.unwrap_or_default(),
    };
    let mut error = if status.is_redirection() {
        VendorError::new(VendorFault::Failed)
    } else {
        screened(provider, &body, codec.decode_error(status, headers, &body))
    };
    // Its words would be taken to be for the caller, whatever it says in them. That the caller's own
    // were flagged is told with a 403 by OpenRouter.
    let flagged = status == StatusCode::FORBIDDEN && error.fault() == VendorFault::ContentFilter;
    if matches!(status.as_u16(), 401..=403) && error.fault().concerns_caller() && !flagged {
        error = VendorError::new(VendorFault::Auth)
            .with_message(error.message())
            .with_limits(error.limits().copied());
    }
    if let Some(credential) = &provider.credential
        && error.fault() == VendorFault::Auth
    {
        credential.refused();
    }
    error = error
        .with_vendor(provider.name.clone())
        .with_status(status)
        .with_headers(passed_back(headers.clone()));
    let foreign = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err();
    if foreign && !body.is_empty() && error.fault() == VendorFault::Failed {
        let start = String::from_utf8_lossy(&body[..body.len().min(512)]);
        tracing::warn!(
            vendor = &*provider.name,
            words = masked(&start),
            "the answer is no error of an API"
        );
    }
    log(&error);
    error.into()
}

/// An error that repeats our key is about our key, and nobody reads its words.
pub(super) fn screened(provider: &Inner, raw: &[u8], mut error: VendorError) -> VendorError {
    if error.fault().concerns_caller() && names_an_account(error.message()) {
        tracing::warn!(
            vendor = &*provider.name,
            words = masked(error.message()),
            "the vendor names the gateway's account: its words are not passed on"
        );
        error = error.without_words();
    }
    let (key, credential) = (&provider.key, &provider.credential);
    if key.is_none() && credential.is_none() {
        return error;
    }
    let is_in = |words: &[u8]| {
        key.as_ref().is_some_and(|key| key.is_in(words))
            || credential.as_ref().is_some_and(|one| one.is_in(words))
    };
    // In the body it may stand with escapes, in what was read of it without.
    let words = [Some(error.message()), error.code(), error.param()];
    let said = |words: &Option<&str>| words.is_some_and(|words| is_in(words.as_bytes()));
    if !is_in(raw) && !words.iter().any(said) {
        // Of a part of it nobody knows whose it is: whatever went wrong stands, and the words do not.
        if !hints_at_a_key(error.message()) {
            return error;
        }
        tracing::warn!(
            vendor = &*provider.name,
            words = masked(error.message()),
            "the vendor shows a part of a key: its words are not passed on"
        );
        return error.without_words();
    }
    let screened = VendorError::new(VendorFault::Auth).with_vendor(error.vendor().clone());
    match error.status() {
        Some(status) => screened.with_status(status),
        None => screened,
    }
}

/// Says in the log what a vendor said.
pub(super) fn log(error: &VendorError) {
    tracing::warn!(
        vendor = &**error.vendor(),
        status = error.status().map(|status| status.as_u16()),
        fault = ?error.fault(),
        code = masked(error.code().unwrap_or_default()),
        words = masked(error.message()),
        "the vendor answered with an error"
    );
}
