use super::*;
use crate::llm::codec::{self, recordings};
use serde_json::json;
use std::time::Duration;

mod documented;
use documented::documented;

const DIALECTS: [Protocol; 3] = [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini];

fn answered(protocol: Protocol, status: u16, headers: &HeaderMap, body: &str) -> VendorError {
    let status = StatusCode::from_u16(status).unwrap();
    codec::of(protocol).decode_error(status, headers, &Bytes::from(body.to_owned()))
}

/// What a client of a dialect reads: the status, what its SDK tells errors apart by, and the words.
fn told(dialect: Protocol, error: &VendorError) -> (u16, String, String) {
    let answer = codec::of(dialect).encode_error(&error.clone().into());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let kind = match dialect {
        Protocol::Gemini => &body["error"]["status"],
        _ => &body["error"]["type"],
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = text(&body["error"]["message"]);
    (answer.status.as_u16(), text(kind), words)
}

/// What the tables say that the SDKs expect of a fault: status and name for each dialect. A caller's own
/// fault keeps the status of the vendor.
fn expected(fault: VendorFault) -> [(u16, &'static str); 3] {
    use VendorFault::*;
    match fault {
        InvalidRequest | ContextLength | ContentFilter => [
            (400, "invalid_request_error"),
            (400, "invalid_request_error"),
            (400, "INVALID_ARGUMENT"),
        ],
        UnknownModel | NotSupported => [
            (404, "invalid_request_error"),
            (404, "not_found_error"),
            (404, "NOT_FOUND"),
        ],
        TooLarge => [
            (413, "invalid_request_error"),
            (413, "request_too_large"),
            (413, "INVALID_ARGUMENT"),
        ],
        RateLimited => [
            (429, "rate_limit_error"),
            (429, "rate_limit_error"),
            (429, "RESOURCE_EXHAUSTED"),
        ],
        Overloaded => [
            (503, "server_error"),
            (529, "overloaded_error"),
            (503, "UNAVAILABLE"),
        ],
        Timeout => [
            (504, "server_error"),
            (504, "timeout_error"),
            (504, "DEADLINE_EXCEEDED"),
        ],
        Auth | Quota | Failed | Malformed => {
            [(502, "server_error"), (502, "api_error"), (502, "INTERNAL")]
        }
    }
}

fn hold_rendering(error: &VendorError, at: &str) {
    let ours = !error.fault().concerns_caller();
    for (dialect, (status, name)) in DIALECTS.into_iter().zip(expected(error.fault())) {
        let (got, kind, words) = told(dialect, error);
        if ours {
            assert_eq!((got, &*kind), (status, name), "{at} {dialect:?}");
            let leaks = !error.message().is_empty() && words.contains(error.message());
            assert!(!leaks, "{at} {dialect:?}: {words}");
        } else {
            assert!((400..500).contains(&got), "{at} {dialect:?}: {got}");
            assert_eq!(words, error.message(), "{at} {dialect:?}");
        }
        let rejection = error.rejection();
        let retried = rejection.headers().get("x-should-retry");
        let never = matches!(error.fault(), VendorFault::Auth | VendorFault::Quota);
        assert_eq!(retried.is_some_and(|value| value == "false"), never, "{at}");
        assert!(!(never && rejection.retry_after().is_some()), "{at}");
    }
}

/// Whose recordings, a part of the name, and what they are. The first that fits.
const RECORDED: &[(&str, &str, VendorFault)] = {
    use VendorFault::*;
    &[
        ("anthropic", "err404", UnknownModel),
        ("anthropic", "err401", Auth),
        ("anthropic", "strict_schema", InvalidRequest),
        ("azure", "err404", UnknownModel),
        ("azure", "err429", RateLimited),
        ("azure", "err401", Auth),
        ("bedrock", "multimodal", InvalidRequest),
        ("bedrock", "err403", Auth),
        ("bedrock", "retired_model", UnknownModel),
        ("bedrock", "err400", UnknownModel),
        ("cohere", "context_len", ContextLength),
        ("cohere", "err404", UnknownModel),
        ("deepseek", "context_lengt", ContextLength),
        ("deepseek", "err401", Auth),
        ("deepseek", "err400", InvalidRequest),
        ("gemini", "err404", UnknownModel),
        ("gemini", "err400", Auth),
        ("gemini", "err403", Auth),
        // Its "current quota" is one that comes back within a minute or a day.
        ("gemini", "err429", RateLimited),
        ("groq", "err400", InvalidRequest),
        ("groq", "err401", Auth),
        ("groq", "err404", UnknownModel),
        ("llamacpp", "context_overflow", ContextLength),
        ("llamacpp", "err501", NotSupported),
        ("llamacpp", "err500", Failed),
        ("llamacpp", "err400", InvalidRequest),
        ("mistral", "embedding_matrix", UnknownModel),
        ("mistral", "err401", Auth),
        ("mistral", "err400", InvalidRequest),
        ("ollama", "err401", Auth),
        ("ollama", "err404", UnknownModel),
        ("openai", "err401", Auth),
        ("openai", "err404", UnknownModel),
        ("openai", "name_suggestion", UnknownModel),
        ("openai", "err400", InvalidRequest),
        ("openrouter", "context", ContextLength),
        ("openrouter", "err429", RateLimited),
        ("openrouter", "embedding_matrix", UnknownModel),
        ("perplexity", "context", ContextLength),
        ("together", "err401", Auth),
        ("vertexai", "err403", Auth),
        ("vertexai", "err404", UnknownModel),
        ("vertexai", "err400", InvalidRequest),
        ("xai", "err400", Auth),
    ]
};

#[test]
fn every_recorded_error_is_what_a_person_would_say_it_is() {
    let errors = recordings::exchanges(|all| {
        let provider = all["provider"].as_str()?.to_owned();
        let protocol = match (all["endpoint"].as_str()?, &*provider) {
            (_, "anthropic") => Protocol::Anthropic,
            (_, "gemini" | "vertexai") => Protocol::Gemini,
            _ => Protocol::OpenAi,
        };
        let failed = all["response"]["status"].as_u64()? >= 400;
        failed.then_some((provider, protocol))
    });
    recordings::hold(errors, 75, |one| {
        let (provider, protocol) = &one.of;
        let mut headers = HeaderMap::new();
        for (name, value) in one.response["headers"].as_object().into_iter().flatten() {
            let name: Result<http::HeaderName, _> = name.parse();
            let value = value.as_str().unwrap_or_default().parse();
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.insert(name, value);
            }
        }
        let body = match &one.response["body"] {
            Value::Null => {
                let text = one.response["text"].as_str();
                let text = text.or(one.response["sse"].as_str());
                text.unwrap_or_default().to_owned()
            }
            body => body.to_string(),
        };
        let error = answered(*protocol, one.status, &headers, &body);
        let row = RECORDED
            .iter()
            .find(|(vendor, part, _)| vendor == provider && one.name.contains(part));
        match row {
            Some((_, _, fault)) => assert_eq!(error.fault(), *fault, "{}: {body}", one.name),
            // One that is not in the table.
            None => assert_ne!(error.fault(), VendorFault::Malformed),
        }
        assert!(!error.message().is_empty(), "{}: {body}", one.name);
        hold_rendering(&error, &one.name);
    });
}

#[test]
fn what_no_recording_shows_is_read_by_the_documentation() {
    for (protocol, status, body, fault) in documented() {
        let error = answered(protocol, status, &HeaderMap::new(), &body.to_string());
        assert_eq!(error.fault(), fault, "{body}");
        hold_rendering(&error, &body.to_string());
        // In the middle of a stream it is the same where it says what it is by name.
        let within = super::within(&body);
        if matches!(fault, VendorFault::Quota | VendorFault::ContextLength) && status != 402 {
            let same = within.fault() == fault || within.fault() == VendorFault::Failed;
            assert!(same, "{body}: {within:?}");
        }
    }
}

#[test]
fn a_conversation_that_is_too_long_has_one_code_whoever_says_so() {
    for (protocol, status, body, fault) in documented() {
        if fault != VendorFault::ContextLength {
            continue;
        }
        let error = answered(protocol, status, &HeaderMap::new(), &body.to_string());
        let told = Told::of(&error.into());
        assert_eq!(told.code, "context_length_exceeded", "{body}");
    }
}

#[test]
fn names_in_the_middle_of_a_stream_tell_what_it_is() {
    for (body, fault) in [
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            VendorFault::Overloaded,
        ),
        (
            json!({"error": {"code": "insufficient_quota", "message": "m"}}),
            VendorFault::Quota,
        ),
        (
            json!({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}),
            VendorFault::Overloaded,
        ),
        (
            json!({"error": {"message": "m", "status": "RESOURCE_EXHAUSTED"}}),
            VendorFault::RateLimited,
        ),
        (
            json!({"error": {"message": "m", "type": "server_error"}}),
            VendorFault::Failed,
        ),
    ] {
        assert_eq!(within(&body).fault(), fault, "{body}");
    }
}

#[test]
fn pages_for_people_say_nothing_but_their_status() {
    let page =
        "<html><head><title>502 Bad Gateway</title></head><body>nginx at 10.0.0.7</body></html>";
    for protocol in DIALECTS {
        for (status, fault) in [
            (400, VendorFault::Failed),
            (404, VendorFault::Failed),
            (403, VendorFault::Auth),
            (429, VendorFault::RateLimited),
            (502, VendorFault::Failed),
            (503, VendorFault::Overloaded),
            (504, VendorFault::Timeout),
        ] {
            let error = answered(protocol, status, &HeaderMap::new(), page);
            assert_eq!((error.fault(), error.message()), (fault, ""));
            hold_rendering(&error, page);
        }
    }
}

#[test]
fn a_caller_cannot_spend_our_money_with_words() {
    let body = json!({"error": {"message": "Bad name: insufficient balance, your credit balance is too low", "type": "invalid_request_error"}});
    let error = answered(Protocol::OpenAi, 400, &HeaderMap::new(), &body.to_string());
    assert_eq!(error.fault(), VendorFault::InvalidRequest);
}

#[test]
fn delays_and_limits_come_with_the_error() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("retry-after-ms", "1500"),
        ("retry-after", "2"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "6m0s"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let body = r#"{"error":{"message":"m"}}"#;
    let error = answered(Protocol::OpenAi, 429, &headers, body);
    let after = error.rejection().retry_after();
    assert_eq!(after, Some(Duration::from_millis(1500)));
    let limits = error.limits().unwrap();
    assert!(limits.requests.is_exhausted());
    assert_eq!(limits.requests.reset, Some(Duration::from_secs(360)));
    headers.remove("retry-after-ms");
    headers.remove("retry-after");
    let error = answered(Protocol::OpenAi, 429, &headers, body);
    let after = error.rejection().retry_after();
    assert_eq!(after, Some(Duration::from_secs(360)));
    // Nobody is told to wait for money.
    let body = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
    let error = answered(Protocol::OpenAi, 429, &headers, body);
    assert_eq!(error.rejection().retry_after(), None);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(360)));
}
