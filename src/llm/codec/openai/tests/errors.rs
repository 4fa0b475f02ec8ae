use super::*;
use crate::{
    llm::{VendorError, VendorFault},
    rejection::Kind,
};
use serde_json::json;
use std::time::Duration;

fn vendor(status: u16, body: impl ToString) -> VendorError {
    let status = StatusCode::from_u16(status).unwrap();
    OpenAi.decode_error(status, &HeaderMap::new(), &body.to_string().into())
}

#[test]
fn every_vendors_envelope_is_read() {
    use VendorFault::*;
    for (status, body, fault, message, code) in [
        // OpenAI, Groq, Together.
        (
            400,
            json!({"error": {"message": "m", "type": "invalid_request_error", "param": "stop", "code": "unsupported_parameter"}}),
            InvalidRequest,
            "m",
            Some("unsupported_parameter"),
        ),
        (
            404,
            json!({"error": {"message": "m", "code": "model_not_found"}}),
            UnknownModel,
            "m",
            Some("model_not_found"),
        ),
        (
            401,
            json!({"error": {"message": "m", "code": "invalid_api_key"}}),
            Auth,
            "m",
            Some("invalid_api_key"),
        ),
        (
            400,
            json!({"error": {"message": "m", "code": "context_length_exceeded"}}),
            ContextLength,
            "m",
            Some("context_length_exceeded"),
        ),
        (
            429,
            json!({"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}),
            Quota,
            "m",
            Some("insufficient_quota"),
        ),
        // Azure: codes that only repeat the status, no type, its own words.
        (
            401,
            json!({"error": {"code": "401", "message": "m"}}),
            Auth,
            "m",
            Some("401"),
        ),
        (
            404,
            json!({"error": {"code": "DeploymentNotFound", "message": "m"}}),
            UnknownModel,
            "m",
            Some("DeploymentNotFound"),
        ),
        (
            400,
            json!({"error": {"code": "content_filter", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
            ContentFilter,
            "m",
            Some("content_filter"),
        ),
        // Google, also within an array.
        (
            400,
            json!([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}]),
            Auth,
            "m",
            Some("INVALID_ARGUMENT"),
        ),
        (
            404,
            json!({"error": {"code": 404, "message": "models/x is not found for API version", "status": "NOT_FOUND"}}),
            UnknownModel,
            "models/x is not found for API version",
            Some("NOT_FOUND"),
        ),
        // Mistral, in two shapes.
        (
            400,
            json!({"object": "error", "message": "m", "type": "invalid_model", "param": null, "code": "1500", "raw_status_code": 400}),
            UnknownModel,
            "m",
            Some("1500"),
        ),
        (401, json!({"detail": "m"}), Auth, "m", None),
        (
            422,
            json!({"detail": [{"loc": ["body"], "msg": "m"}]}),
            InvalidRequest,
            "m",
            None,
        ),
        // Cohere; xAI; Ollama; Perplexity; OpenRouter; llama.cpp.
        (
            404,
            json!({"id": "1", "message": "model 'x' not found"}),
            UnknownModel,
            "model 'x' not found",
            None,
        ),
        (
            400,
            json!({"code": "invalid-argument", "error": "Incorrect API key provided: sk-x."}),
            Auth,
            "Incorrect API key provided: sk-x.",
            Some("invalid-argument"),
        ),
        (400, json!({"error": "m"}), InvalidRequest, "m", None),
        (
            400,
            json!({"error": {"message": "The total length of all messages is too long.", "type": "too_many_prompt_tokens", "code": 400}}),
            ContextLength,
            "The total length of all messages is too long.",
            Some("too_many_prompt_tokens"),
        ),
        (
            429,
            json!({"error": {"code": 429, "message": "m", "metadata": {"raw": "x"}}, "user_id": "u"}),
            RateLimited,
            "m",
            Some("429"),
        ),
        (
            403,
            json!({"error": {"code": 403, "message": "m", "metadata": {"flagged_input": "x"}}}),
            ContentFilter,
            "m",
            Some("403"),
        ),
        (
            500,
            json!({"error": {"code": 500, "message": "m", "type": "server_error"}}),
            Failed,
            "m",
            Some("server_error"),
        ),
        (
            501,
            json!({"error": {"code": 501, "message": "m", "type": "not_supported_error"}}),
            NotSupported,
            "m",
            Some("not_supported_error"),
        ),
        // Anthropic's.
        (
            529,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
            Overloaded,
            "m",
            Some("overloaded_error"),
        ),
    ] {
        let error = vendor(status, &body);
        assert_eq!(
            (error.fault(), error.message(), error.code()),
            (fault, message, code),
            "{body}"
        );
        assert_eq!(error.status().unwrap(), status);
    }
    for (status, fault) in [
        (408, Timeout),
        (413, TooLarge),
        (502, Failed),
        (503, Overloaded),
        (504, Timeout),
        // Not of an API: the base URL is wrong, more likely than the caller.
        (400, Failed),
        (404, Failed),
        (405, Failed),
        (302, Failed),
    ] {
        // Whose words they are nobody knows.
        let error = vendor(status, "<html>Bad</html>");
        assert_eq!((error.fault(), error.message()), (fault, ""));
    }
    assert_eq!(vendor(400, "").message(), "");
}

#[test]
fn a_caller_cannot_make_it_look_like_our_fault() {
    let body = json!({"error": {"message": "The model `Incorrect API key provided` does not exist", "code": null}});
    assert_eq!(vendor(400, &body).fault(), VendorFault::UnknownModel);
    let body = json!({"error": {"message": "Bad name: invalid api key"}});
    assert_eq!(vendor(400, &body).fault(), VendorFault::InvalidRequest);
}

#[test]
fn words_are_cut() {
    let long = vendor(400, json!({"error": {"message": "é".repeat(5000)}}));
    assert!(long.message().len() <= 4096);
    assert!(vendor(502, "é".repeat(5000)).message().len() <= 4100);
}

#[test]
fn the_vendors_time_is_known() {
    let after = |headers: &[(&'static str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect();
        OpenAi
            .decode_error(StatusCode::TOO_MANY_REQUESTS, &headers, &Bytes::new())
            .rejection()
            .retry_after()
    };
    let millis = |millis| Some(Duration::from_millis(millis));
    assert_eq!(after(&[("retry-after", "7")]), millis(7000));
    assert_eq!(
        after(&[("retry-after", "7"), ("retry-after-ms", "1500")]),
        millis(1500)
    );
    for (reset, expected) in [
        ("6m0s", 360_000),
        ("17.5s", 17_500),
        ("2ms", 2),
        ("500", 500_000),
        ("0h2m", 120_000),
        ("90d", 3_600_000),
    ] {
        let used_up = ("x-ratelimit-remaining-requests", "0");
        assert_eq!(
            after(&[used_up, ("x-ratelimit-reset-requests", reset)]),
            millis(expected)
        );
    }
    assert_eq!(
        after(&[
            ("x-ratelimit-remaining-requests", "5"),
            ("x-ratelimit-reset-requests", "6s")
        ]),
        None
    );
    for mad in [
        "-1",
        "NaN",
        "soon",
        "1e400",
        "Wed, 21 Oct 2026 07:28:00 GMT",
    ] {
        assert_eq!(after(&[("retry-after", mad)]), None, "{mad}");
    }
}

#[test]
fn the_callers_faults_are_told_in_the_vendors_words_and_ours_are_not() {
    let body = json!({"error": {"message": "no such model", "type": "invalid_request_error", "param": null, "code": "model_not_found"}});
    let answer = OpenAi.encode_error(&vendor(404, &body).into());
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::NOT_FOUND, body.to_string().as_bytes())
    );
    let written = |error: &Error| -> Value {
        serde_json::from_slice(&OpenAi.encode_error(error).body).unwrap()
    };
    // Another shape is told in the protocol's.
    let odd = vendor(422, json!({"detail": "no tools", "code": "x1"})).into();
    assert_eq!(OpenAi.encode_error(&odd).status, 422);
    assert_eq!(
        written(&odd),
        json!({"error": {"message": "no tools", "type": "invalid_request_error", "param": null, "code": "x1"}})
    );
    let secret = json!({"error": {"message": "Incorrect API key provided: sk-canary", "code": "invalid_api_key"}});
    let error = vendor(401, &secret).into();
    let answer = OpenAi.encode_error(&error);
    assert_eq!(answer.status, 502);
    assert_eq!(written(&error)["error"]["code"], "upstream_auth");
    assert!(!String::from_utf8_lossy(&answer.body).contains("canary"));
    assert!(!format!("{error:?} {error}").contains("canary"));
    // What is a mistake of the caller's does not come as a fault of the server's.
    let unsupported = vendor(
        501,
        json!({"error": {"message": "m", "type": "not_supported_error"}}),
    );
    assert_eq!(OpenAi.encode_error(&unsupported.into()).status, 404);
}

#[test]
fn our_own_errors_have_the_types_that_sdks_know() {
    for (kind, status, name, code) in [
        (
            Kind::InvalidCredentials,
            401,
            "authentication_error",
            "invalid_api_key",
        ),
        (
            Kind::Forbidden,
            403,
            "permission_error",
            "insufficient_permissions",
        ),
        (
            Kind::ModelNotFound,
            404,
            "invalid_request_error",
            "model_not_found",
        ),
        (
            Kind::TooLarge,
            413,
            "invalid_request_error",
            "request_too_large",
        ),
        (
            Kind::RateLimited,
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        (
            Kind::UpstreamRateLimited,
            429,
            "rate_limit_error",
            "upstream_rate_limited",
        ),
        (
            Kind::CircuitOpen,
            503,
            "server_error",
            "upstream_unavailable",
        ),
        (Kind::Timeout, 504, "server_error", "timeout"),
    ] {
        let answer = OpenAi.encode_error(&kind.into());
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(
            (&body["error"]["type"], &body["error"]["code"]),
            (&name.into(), &code.into())
        );
        assert!(body["error"]["param"].is_null());
    }
    let rejection = Rejection::new(Kind::InvalidRequest)
        .with_param("n")
        .with_detail("No.");
    let event = OpenAi.encode_error_event(&rejection.into());
    let text = r#"data: {"error":{"message":"n: No.","type":"invalid_request_error","param":"n","code":"invalid_request"}}"#;
    assert_eq!(event, format!("{text}\n\n"));
    let failed = read(Operation::Chat, Framing::Sse, [&event[..]]).unwrap_err();
    assert_eq!(failed.kind(), Kind::InvalidRequest);
}
