//! What is in no recording, after the vendors' documentation, in words of our own.

use crate::llm::{Protocol, VendorFault};
use serde_json::{Value, json};

/// Protocol, status, body, and what it is.
pub(super) fn documented() -> Vec<(Protocol, u16, Value, VendorFault)> {
    use Protocol::{Anthropic, Gemini, OpenAi};
    use VendorFault::*;
    let openai = |kind: &str, code: Value, message: &str| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    let anthropic = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
    let google = |code: u16, status: &str, message: &str| json!({"error": {"code": code, "message": message, "status": status}});
    vec![
        // Limits.
        (
            OpenAi,
            429,
            openai(
                "requests",
                json!("rate_limit_exceeded"),
                "Rate limit reached for m in organization org-1",
            ),
            RateLimited,
        ),
        (
            OpenAi,
            429,
            openai(
                "tokens",
                json!("rate_limit_exceeded"),
                "Rate limit reached on tokens per min",
            ),
            RateLimited,
        ),
        (
            Anthropic,
            429,
            anthropic(
                "rate_limit_error",
                "More input tokens per minute than the organization has",
            ),
            RateLimited,
        ),
        (
            OpenAi,
            429,
            json!({"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "param": null, "code": "1300"}),
            RateLimited,
        ),
        (
            OpenAi,
            429,
            json!({"message": "You are using a trial key"}),
            RateLimited,
        ),
        (
            Gemini,
            429,
            google(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"),
            RateLimited,
        ),
        (
            OpenAi,
            429,
            openai(
                "too_many_requests_error",
                json!("request_quota_exceeded"),
                "Requests per day",
            ),
            RateLimited,
        ),
        // Money.
        (
            OpenAi,
            429,
            openai(
                "insufficient_quota",
                json!("insufficient_quota"),
                "You exceeded your current quota",
            ),
            Quota,
        ),
        (
            OpenAi,
            429,
            openai(
                "billing_not_active",
                json!("billing_not_active"),
                "Your account is not active",
            ),
            Quota,
        ),
        (
            OpenAi,
            402,
            openai(
                "unknown_error",
                json!("invalid_request_error"),
                "Insufficient Balance",
            ),
            Quota,
        ),
        (
            OpenAi,
            402,
            json!({"error": {"code": 402, "message": "Insufficient credits. Add more."}}),
            Quota,
        ),
        (
            OpenAi,
            401,
            openai(
                "insufficient_quota",
                json!(401),
                "You exceeded your current quota",
            ),
            Quota,
        ),
        (
            OpenAi,
            429,
            openai(
                "exceeded_current_quota_error",
                Value::Null,
                "Your account is suspended",
            ),
            Quota,
        ),
        (
            OpenAi,
            402,
            json!({"error": "You have exceeded your monthly included credits"}),
            Quota,
        ),
        (
            Anthropic,
            400,
            anthropic(
                "invalid_request_error",
                "Your credit balance is too low to access the API.",
            ),
            Quota,
        ),
        (
            Anthropic,
            402,
            anthropic("billing_error", "There is an issue with the payment"),
            Quota,
        ),
        // Too much to do, and faults of their own.
        (
            Anthropic,
            529,
            anthropic("overloaded_error", "Overloaded"),
            Overloaded,
        ),
        (
            Anthropic,
            500,
            anthropic("api_error", "Internal server error"),
            Failed,
        ),
        (
            Anthropic,
            504,
            anthropic("timeout_error", "Request timed out"),
            Timeout,
        ),
        (
            OpenAi,
            503,
            openai("server_error", json!("slow_down"), "Slow down"),
            Overloaded,
        ),
        (
            OpenAi,
            429,
            openai(
                "engine_overloaded_error",
                Value::Null,
                "The engine is overloaded",
            ),
            Overloaded,
        ),
        (
            OpenAi,
            500,
            openai("server_error", Value::Null, "The server had an error"),
            Failed,
        ),
        (
            OpenAi,
            524,
            openai("server_error", Value::Null, "A timeout occurred"),
            Timeout,
        ),
        (
            Gemini,
            503,
            google(503, "UNAVAILABLE", "The model is overloaded."),
            Overloaded,
        ),
        (
            Gemini,
            504,
            google(504, "DEADLINE_EXCEEDED", "Deadline expired"),
            Timeout,
        ),
        (
            Gemini,
            500,
            google(500, "INTERNAL", "An internal error has occurred"),
            Failed,
        ),
        (
            OpenAi,
            498,
            openai(
                "capacity_exceeded",
                Value::Null,
                "Flex tier capacity exceeded",
            ),
            Overloaded,
        ),
        // Too long.
        (
            OpenAi,
            400,
            openai(
                "invalid_request_error",
                json!("context_length_exceeded"),
                "This model's maximum context length is 8 tokens.",
            ),
            ContextLength,
        ),
        (
            Anthropic,
            400,
            anthropic(
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            ContextLength,
        ),
        (
            Anthropic,
            400,
            anthropic(
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            ),
            ContextLength,
        ),
        (
            Gemini,
            400,
            google(
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            ContextLength,
        ),
        (
            OpenAi,
            400,
            json!({"object": "error", "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "code": "3051"}),
            ContextLength,
        ),
        (
            OpenAi,
            400,
            json!({"code": "invalid-argument", "error": "This model's maximum prompt length is 131072 but the request contains 200000 tokens."}),
            ContextLength,
        ),
        (
            OpenAi,
            422,
            json!({"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193", "type": "invalid_request_error"}}),
            ContextLength,
        ),
        (
            OpenAi,
            400,
            openai(
                "invalid_request_error",
                json!("context_length_exceeded"),
                "Please reduce the length of the messages or completion.",
            ),
            ContextLength,
        ),
        (
            OpenAi,
            400,
            openai(
                "BadRequestError",
                json!(400),
                "The decoder prompt is longer than the maximum model length of 4096",
            ),
            ContextLength,
        ),
        // Held back.
        (
            OpenAi,
            400,
            json!({"error": {"code": "content_filter", "message": "The response was filtered", "param": "prompt", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}}}),
            ContentFilter,
        ),
        (
            OpenAi,
            400,
            openai(
                "invalid_request_error",
                json!("invalid_prompt"),
                "Your prompt was flagged",
            ),
            ContentFilter,
        ),
        (
            OpenAi,
            400,
            openai(
                "invalid_request_error",
                json!("invalid_request_error"),
                "Content Exists Risk",
            ),
            ContentFilter,
        ),
        (
            Anthropic,
            400,
            anthropic(
                "invalid_request_error",
                "Output blocked by content filtering policy",
            ),
            ContentFilter,
        ),
        (
            OpenAi,
            400,
            openai(
                "data_inspection_failed",
                json!("data_inspection_failed"),
                "Input data may contain inappropriate content.",
            ),
            ContentFilter,
        ),
        // No such model.
        (
            OpenAi,
            400,
            openai(
                "invalid_request_error",
                json!("invalid_request_error"),
                "Model Not Exist",
            ),
            UnknownModel,
        ),
        (
            OpenAi,
            400,
            json!({"error": {"message": "nobody/none is not a valid model ID", "code": 400}}),
            UnknownModel,
        ),
        (
            OpenAi,
            400,
            openai("invalid_model", json!(400), "Invalid model 'x'."),
            UnknownModel,
        ),
        (
            OpenAi,
            400,
            openai(
                "invalid_request_error",
                json!("model_not_supported"),
                "The requested model is not supported by any provider you have enabled",
            ),
            UnknownModel,
        ),
        (
            OpenAi,
            404,
            json!({"code": "not-found", "error": "The model x does not exist or your team does not have access to it."}),
            UnknownModel,
        ),
        (
            OpenAi,
            404,
            json!({"error": {"message": "model \"x\" not found, try pulling it first", "type": "api_error"}}),
            UnknownModel,
        ),
        (
            Anthropic,
            404,
            anthropic("not_found_error", "model: x"),
            UnknownModel,
        ),
        // Keys.
        (
            Gemini,
            400,
            json!({"error": {"code": 400, "message": "API key expired. Please renew the API key.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}),
            Auth,
        ),
        (
            OpenAi,
            400,
            json!({"code": "invalid-argument", "error": "Incorrect API key provided: xa***z."}),
            Auth,
        ),
        (
            OpenAi,
            403,
            json!({"error_code": "PERMISSION_DENIED", "message": "Invalid access token."}),
            Auth,
        ),
        (
            Anthropic,
            403,
            anthropic("permission_error", "Your key may not use this resource"),
            Auth,
        ),
        // The rest.
        (
            Anthropic,
            413,
            anthropic("request_too_large", "Request exceeds the maximum size"),
            TooLarge,
        ),
        (
            OpenAi,
            422,
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]}),
            InvalidRequest,
        ),
    ]
}
