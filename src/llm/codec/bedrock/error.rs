//! Errors: the name of one stands in a header, and its words in the body.

use super::frame::Frame;
use crate::llm::{RateLimits, VendorError, VendorFault, codec::fault, rate_limits};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// An answer that is not a success.
pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
    let whole: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let header = headers.get("x-amzn-errortype");
    let header = header.and_then(|name| name.to_str().ok());
    let name = header.or_else(|| whole.get("__type")?.as_str()).map(bare);
    let error = match name {
        // Not in the words of an API: whoever says so may be no vendor at all, and a base URL wrong.
        None if whole.is_null() && matches!(status.as_u16(), 400..=499) => {
            let fault = match fault_of(None, status.as_u16(), "") {
                VendorFault::InvalidRequest | VendorFault::UnknownModel => VendorFault::Failed,
                fault => fault,
            };
            VendorError::new(fault)
        }
        name => told(name, Some(status.as_u16()), &whole),
    };
    error
        .with_status(status)
        .with_retry_after(rate_limits::retry_after(headers))
        .with_limits(RateLimits::read(headers))
}

/// The error that a frame is, if it is one.
pub(super) fn within(frame: &Frame<'_>) -> Option<VendorError> {
    match frame.header(":message-type")? {
        "exception" => {
            let whole: Value = serde_json::from_slice(frame.payload).unwrap_or(Value::Null);
            let name = frame.header(":exception-type").map(named);
            Some(told(name.as_deref(), None, &whole))
        }
        "error" => {
            let code = frame.header(":error-code").map(named);
            let words = frame.header(":error-message").unwrap_or_default();
            let whole = Value::from_iter([("message", words)]);
            Some(told(code.as_deref(), None, &whole))
        }
        _ => None,
    }
}

/// `ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/`, `aws.bedrock#ValidationException`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit('#').next().unwrap_or(name).trim()
}

/// In a stream a name begins with a small letter.
fn named(name: &str) -> String {
    let name = bare(name);
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn told(name: Option<&str>, status: Option<u16>, whole: &Value) -> VendorError {
    let text = |key: &str| whole.get(key).and_then(Value::as_str);
    let words = text("message").or(text("Message"));
    let words = words.or(text("originalMessage")).unwrap_or_default();
    let original = whole.get("originalStatusCode").and_then(Value::as_u64);
    let original = original.and_then(|status| status.try_into().ok());
    let fault = match name {
        // What the model behind it said.
        Some("ModelErrorException" | "ModelStreamErrorException") => match original {
            Some(status @ (400 | 408 | 413 | 429 | 500..)) => fault_of(None, status, words),
            _ => VendorFault::Failed,
        },
        name => fault_of(name, status.or(original).unwrap_or(500), words),
    };
    let error = VendorError::new(fault).with_message(fault::cut(words));
    match name {
        Some(name) => error.with_code(fault::cut(name)),
        None => error,
    }
}

fn fault_of(name: Option<&str>, status: u16, words: &str) -> VendorFault {
    match name {
        Some(
            "ThrottlingException" | "TooManyRequestsException" | "ServiceQuotaExceededException",
        ) => VendorFault::RateLimited,
        Some("ModelNotReadyException" | "ServiceUnavailableException" | "ServiceUnavailable") => {
            VendorFault::Overloaded
        }
        Some("ModelTimeoutException") => VendorFault::Timeout,
        Some("InternalServerException" | "InternalFailure") => VendorFault::Failed,
        Some("ResourceNotFoundException") => VendorFault::UnknownModel,
        Some(
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired",
        ) => VendorFault::Auth,
        Some("ValidationException") => invalid(words),
        Some("UnknownOperationException") => VendorFault::NotSupported,
        _ => match status {
            400 => invalid(words),
            401..=403 => VendorFault::Auth,
            404 => VendorFault::UnknownModel,
            408 | 504 => VendorFault::Timeout,
            413 => VendorFault::TooLarge,
            429 => VendorFault::RateLimited,
            503 | 529 => VendorFault::Overloaded,
            405 => VendorFault::NotSupported,
            400..=499 if status != 424 => VendorFault::InvalidRequest,
            _ => VendorFault::Failed,
        },
    }
}

/// What is wrong with a request, as far as its words tell.
fn invalid(words: &str) -> VendorFault {
    let words = words.to_ascii_lowercase();
    let says = |all: &[&str]| all.iter().any(|part| words.contains(part));
    if says(&[
        "model identifier is invalid",
        "on-demand throughput",
        "end of its life",
    ]) {
        VendorFault::UnknownModel
    } else if says(&[
        "too long for requested model",
        "too many input tokens",
        "input tokens exceed",
    ]) || fault::is_too_long(&words)
    {
        VendorFault::ContextLength
    } else if says(&["content filtering policy", "content filter policy"]) {
        VendorFault::ContentFilter
    } else {
        VendorFault::InvalidRequest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use VendorFault::*;

    #[test]
    fn rule_24_the_name_in_the_header_tells_what_went_wrong() {
        let cases = [
            (
                400,
                "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/",
                "no",
                InvalidRequest,
            ),
            (
                400,
                "ValidationException",
                "The provided model identifier is invalid.",
                UnknownModel,
            ),
            (
                400,
                "ValidationException",
                "Input is too long for requested model.",
                ContextLength,
            ),
            (
                400,
                "ValidationException",
                "prompt is too long: 200005 tokens > 199999 maximum",
                ContextLength,
            ),
            (
                403,
                "AccessDeniedException",
                "You don't have access to the model",
                Auth,
            ),
            (
                403,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
                Auth,
            ),
            (403, "ExpiredTokenException", "", Auth),
            (
                404,
                "ResourceNotFoundException",
                "end of its life",
                UnknownModel,
            ),
            (408, "ModelTimeoutException", "", Timeout),
            (424, "ModelErrorException", "", Failed),
            (
                429,
                "ThrottlingException",
                "Too many tokens, please wait before trying again.",
                RateLimited,
            ),
            (429, "ModelNotReadyException", "", Overloaded),
            (500, "InternalServerException", "", Failed),
            (503, "ServiceUnavailableException", "", Overloaded),
            (418, "NobodyKnowsException", "", InvalidRequest),
        ];
        for (status, name, words, fault) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("x-amzn-errortype", name.parse().unwrap());
            for key in ["message", "Message"] {
                let body = Value::from_iter([(key, words)]).to_string().into();
                let status = StatusCode::from_u16(status).unwrap();
                let error = read(status, &headers, &body);
                assert_eq!((error.fault(), error.message()), (fault, words), "{name}");
                assert_eq!(error.code(), name.split(':').next());
                assert_eq!(error.status(), Some(status));
            }
        }
    }

    #[test]
    fn without_a_name_the_status_tells_and_a_page_is_no_word_of_the_vendors() {
        let none = HeaderMap::new();
        let typed =
            br#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"slow"}"#;
        let error = read(StatusCode::BAD_REQUEST, &none, &Bytes::from_static(typed));
        assert_eq!(error.fault(), RateLimited);
        let words = br#"{"message":"The provided model identifier is invalid."}"#;
        let error = read(StatusCode::BAD_REQUEST, &none, &Bytes::from_static(words));
        assert_eq!((error.fault(), error.code()), (UnknownModel, None));
        for (status, fault) in [(400, Failed), (404, Failed), (403, Auth), (503, Overloaded)] {
            let status = StatusCode::from_u16(status).unwrap();
            let page = Bytes::from_static(b"<html>");
            assert_eq!(read(status, &none, &page).fault(), fault, "{status}");
        }
    }
}
