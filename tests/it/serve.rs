//! Chat services over HTTP, in front of vendors that answer in a form that was not asked for.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Body, Exchange, Extensible, collect,
    exchange::Usage,
    llm::{Provider, serve::Serve},
    testing::{MockUpstream, Reply},
};

const ANSWER: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"up",
 "choices":[{"index":0,"message":{"role":"assistant","content":"Grüß dich"},"finish_reason":"length"}],
 "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

const EVENTS: [&str; 4] = [
    r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":"Grüß "},"finish_reason":null}]}"#,
    r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"content":"dich"},"finish_reason":"length"}]}"#,
    r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"up","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    "[DONE]",
];

/// What a client gets that asks for a stream or not, and what was used.
async fn asked(stream: bool, reply: Reply) -> (Response<Body>, Exchange) {
    let upstream = MockUpstream::start(reply).await.unwrap();
    let provider = Provider::custom("lab", upstream.url()).unwrap();
    let body = json!({
        "model": "up",
        "stream": stream,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let mut request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let exchange = Exchange::enter(&mut request);
    let answer = Serve::new(provider).oneshot(request).await.unwrap();
    // Read while the vendor is there.
    let (parts, body) = answer.into_parts();
    let body = collect(body, 1 << 20).await.unwrap();
    assert_eq!(upstream.last().unwrap().json()["stream"], stream);
    (Response::from_parts(parts, Body::from(body)), exchange)
}

async fn text(answer: Response<Body>) -> String {
    let body = collect(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn who_asked_for_a_stream_gets_one_of_a_document() {
    // Also under the content type of what was asked for, and under none that helps.
    for reply in [
        Reply::json(200, ANSWER),
        Reply::bytes(200, "text/event-stream", ANSWER),
        Reply::bytes(200, "text/plain", ANSWER),
    ] {
        let (answer, exchange) = asked(true, reply).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
        let text = text(answer).await;
        let events = text.split_terminator("\n\n");
        let mut events: Vec<_> = events.map(|e| e.strip_prefix("data: ").unwrap()).collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{text}");
        let (mut said, mut reason) = (String::new(), Value::Null);
        for event in events {
            let event: Value = serde_json::from_str(event).unwrap();
            assert_eq!(event["object"], "chat.completion.chunk");
            assert!(event["usage"].is_null(), "nobody asked: {event}");
            let choice = &event["choices"][0];
            said += choice["delta"]["content"].as_str().unwrap_or_default();
            if !choice["finish_reason"].is_null() {
                reason = choice["finish_reason"].clone();
            }
        }
        assert_eq!((&*said, reason), ("Grüß dich", json!("length")));
        assert_eq!(exchange.facts().usage, Some(Usage::new(3, 2)));
        assert_eq!(exchange.facts().error, None);
    }
}

#[tokio::test]
async fn who_asked_for_a_document_gets_one_of_a_stream() {
    let events = EVENTS.map(|event| format!("data: {event}\n\n")).concat();
    for reply in [
        Reply::stream(EVENTS).split_every(7),
        Reply::bytes(200, "application/json", events.clone()),
        Reply::bytes(200, "text/plain", events),
    ] {
        let (answer, exchange) = asked(false, reply).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let document: Value = serde_json::from_str(&text(answer).await).unwrap();
        assert_eq!(document["object"], "chat.completion");
        let choice = &document["choices"][0];
        assert_eq!(choice["message"]["content"], "Grüß dich");
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(document["usage"]["total_tokens"], 5);
        assert_eq!(exchange.facts().usage, Some(Usage::new(3, 2)));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error_to_who_asked_for_a_document() {
    let reply = Reply::stream(EVENTS).cut_after(200);
    let (answer, exchange) = asked(false, reply).await;
    assert_eq!(answer.status(), 502);
    let error: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(error["error"]["code"], "bad_gateway");
    assert_eq!(exchange.facts().error, Some("bad_gateway"));
}
