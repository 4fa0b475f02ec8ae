//! What becomes of the errors of vendors on their way to clients of each dialect.

use super::*;
use http::{HeaderMap, Request};
use tower_gateway::{
    Body, collect,
    llm::{Error, RateLimits, serve::Serve},
};

const DIALECTS: [(&str, &str); 3] = [
    (
        "/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}]"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]"#,
    ),
    (
        "/v1beta/models/m:generateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]"#,
    ),
];

/// What a client of the dialect gets: status, headers, body.
async fn got(provider: &Provider, dialect: usize, stream: bool) -> (u16, HeaderMap, String) {
    let (path, body) = DIALECTS[dialect];
    let (path, body) = match (dialect, stream) {
        (2, true) => (
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            format!("{body}}}"),
        ),
        (2, false) => (path, format!("{body}}}")),
        (_, stream) => (path, format!("{body},\"stream\":{stream}}}")),
    };
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let answer = Serve::new(provider.clone()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = collect(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (parts.status.as_u16(), parts.headers, text)
}

async fn vendor(name: &str, reply: Reply) -> (MockUpstream, Provider) {
    let upstream = MockUpstream::start(reply).await.unwrap();
    let provider = Provider::of(row(name)).base_url(upstream.url()).unwrap();
    (upstream, provider.key(KEY))
}

#[tokio::test]
async fn an_account_without_money_is_nothing_to_try_again() {
    let openai = json!({"error": {"message": "You exceeded your current quota, canary", "type": "insufficient_quota", "code": "insufficient_quota"}});
    let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low, canary"}});
    for (name, status, body) in [
        ("openai", 429, &openai),
        ("anthropic", 400, &anthropic),
        (
            "deepseek",
            402,
            &json!({"error": {"message": "Insufficient Balance canary"}}),
        ),
    ] {
        let reply = Reply::json(status, body).header("retry-after", "20");
        let (_upstream, provider) = vendor(name, reply).await;
        for (dialect, kind) in [(0, "server_error"), (1, "api_error"), (2, "INTERNAL")] {
            let (status, headers, text) = got(&provider, dialect, false).await;
            assert_eq!(status, 502, "{name}: {text}");
            assert_eq!(headers["x-should-retry"], "false");
            assert!(!headers.contains_key("retry-after"));
            assert!(text.contains(kind) && !text.contains("canary"), "{text}");
            let code = text.to_ascii_lowercase().contains("upstream_quota");
            assert!(code, "{name}: {text}");
        }
    }
}

#[tokio::test]
async fn a_limit_of_the_vendor_is_told_with_its_delay_in_each_dialect() {
    for (name, header, value) in [
        ("openai", "retry-after-ms", "6500"),
        ("anthropic", "retry-after", "7"),
        ("mistral", "retry-after", "6.2"),
        ("groq", "retry-after", "7"),
    ] {
        let body =
            json!({"error": {"message": "Rate limit reached, canary", "type": "rate_limit_error"}});
        let reply = Reply::json(429, body)
            .header(header, value)
            .header("x-ratelimit-remaining-requests", "0");
        let (_upstream, provider) = vendor(name, reply).await;
        for (dialect, kind) in [
            (0, "rate_limit_error"),
            (1, "rate_limit_error"),
            (2, "RESOURCE_EXHAUSTED"),
        ] {
            let (status, headers, text) = got(&provider, dialect, false).await;
            assert_eq!(
                (status, &headers["retry-after"]),
                (429, &"7".parse().unwrap())
            );
            assert!(text.contains(kind) && !text.contains("canary"), "{text}");
            let ours = |name: &&http::HeaderName| name.as_str().contains("ratelimit-remaining");
            assert_eq!(headers.keys().find(ours), None);
        }
    }
}

#[tokio::test]
async fn an_overload_in_the_middle_of_a_stream_ends_it_in_each_dialect() {
    let start = json!({"type": "message_start", "message": {
        "id": "m", "type": "message", "role": "assistant", "model": "up", "content": [],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let text = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}});
    let error =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let event = |name: &str, data: &Value| format!("event: {name}\ndata: {data}\n\n");
    let pieces = [
        event("message_start", &start),
        event("content_block_start", &block),
        event("content_block_delta", &text),
        event("error", &error),
    ];
    let (_upstream, provider) =
        vendor("anthropic", Reply::pieces("text/event-stream", pieces)).await;
    for (dialect, kind) in [
        (0, "upstream_overloaded"),
        (1, "overloaded_error"),
        (2, "UNAVAILABLE"),
    ] {
        let (status, _, text) = got(&provider, dialect, true).await;
        assert_eq!(status, 200);
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(text.contains("Hel") && last.contains(kind), "{text}");
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"));
    }
}

#[tokio::test]
async fn what_no_vendor_says_is_told_as_no_answer() {
    let half = Reply::json(200, json!({"id": "x", "choices": []})).cut_after(9);
    let page = Reply::bytes(200, "text/html", "<html>canary</html>");
    for (reply, status) in [(Reply::html_502(), 502), (half, 502), (page, 502)] {
        for name in ["openai", "anthropic", "gemini"] {
            let (_upstream, provider) = vendor(name, reply.clone()).await;
            for dialect in 0..3 {
                let (got, _, text) = got(&provider, dialect, false).await;
                assert_eq!(got, status, "{name}: {text}");
                assert!(!text.contains("canary") && !text.contains("html"), "{text}");
                let told: Value = serde_json::from_str(&text).unwrap();
                assert!(told["error"]["message"].is_string(), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn the_account_of_the_gateway_is_not_named_to_callers() {
    let words =
        "Publisher Model `projects/canary/locations/l/publishers/google/models/m` not found.";
    let body = json!({"error": {"code": 404, "message": words, "status": "NOT_FOUND"}});
    let (_upstream, provider) = vendor("gemini", Reply::json(404, body)).await;
    for dialect in 0..3 {
        let (status, _, text) = got(&provider, dialect, false).await;
        assert_eq!(status, 404);
        assert!(!text.contains("canary"), "{text}");
        assert!(text.to_ascii_lowercase().contains("model"), "{text}");
    }
}

#[tokio::test]
async fn limits_stand_in_the_extensions_of_answers_and_in_errors() {
    let headers = |reply: Reply| {
        reply
            .header("x-ratelimit-limit-tokens", "30000")
            .header("x-ratelimit-remaining-tokens", "29987")
            .header("x-ratelimit-reset-tokens", "26ms")
    };
    let fine = json!({"id": "x", "object": "chat.completion", "choices": []});
    let (_upstream, provider) = vendor("groq", headers(Reply::json(200, fine))).await;
    let answer = provider.oneshot(question()).await.unwrap();
    let limits = answer.extensions().get::<RateLimits>().unwrap();
    assert_eq!(limits.tokens.remaining, Some(29_987));
    let slow = json!({"error": {"message": "slow"}});
    let (_upstream, provider) = vendor("groq", headers(Reply::json(429, slow))).await;
    let Error::Vendor(error) = provider.oneshot(question()).await.unwrap_err() else {
        panic!("no error of a vendor");
    };
    let reset = error.limits().unwrap().tokens.reset;
    assert_eq!(reset, Some(Duration::from_millis(26)));
}
