//! Requests that are passed on as they are: moderations, pictures, sound. And what is not.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt};
use tower_gateway::{
    Body, BoxError, Exchange,
    auth::ApiKeys,
    circuit_breaker::State,
    collect,
    exchange::Usage,
    gateway::Gateway,
    llm::{
        ChatRequest, ChatResponse, Error, Provider, Simulator,
        pool::{Entry, Pool},
        serve::Serve,
    },
    rate_limit::Quota,
    testing::{ClosedPort, MockUpstream, Reply},
};

const KEY: &str = "sk-canary-0123456789abcdef";

fn provider(upstream: &MockUpstream) -> Provider {
    let provider = Provider::custom("lab", upstream.url() + "/v1").unwrap();
    provider.key(KEY)
}

fn post(path: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap()
}

fn json_of(path: &str, body: &str) -> Request<Full<Bytes>> {
    post(path, "application/json", body.to_owned())
}

async fn call<S, B>(service: S, request: Request<B>) -> Response<Bytes>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let serve = Serve::new(service).limit(1 << 20);
    let (parts, body): (_, Body) = serve.oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, collect(body, 1 << 20).await.unwrap())
}

fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// A form of a file and the model's name.
fn form(model_first: bool, model: Option<&str>, file: &str) -> String {
    let file = format!(
        "--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n{file}\r\n"
    );
    let model = model.map(|model| {
        format!("--xYz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n")
    });
    let model = model.unwrap_or_default();
    match model_first {
        true => format!("{model}{file}--xYz--\r\n"),
        false => format!("{file}{model}--xYz--\r\n"),
    }
}

const FORM: &str = "multipart/form-data; boundary=xYz";

#[tokio::test]
async fn a_model_may_be_left_out_where_the_vendor_has_one() {
    let flagged =
        r#"{ "id":"modr-1","model":"omni-moderation-latest","results":[{"flagged":false}] }"#;
    let upstream = MockUpstream::start(Reply::json(200, flagged))
        .await
        .unwrap();
    let body = r#"{ "input" : ["a", {"type":"text"}] }"#;
    let mut request = json_of("/v1/moderations", body);
    request
        .headers_mut()
        .insert("authorization", "Bearer of-the-client".parse().unwrap());
    let exchange = Exchange::enter(&mut request);
    let answer = call(provider(&upstream), request).await;
    assert_eq!(
        (answer.status().as_u16(), &**answer.body()),
        (200, flagged.as_bytes())
    );
    assert_eq!(answer.headers()["content-type"], "application/json");
    let sent = upstream.last().unwrap();
    assert_eq!(
        (sent.route(), &*sent.body),
        ("/v1/moderations", body.as_bytes())
    );
    assert_eq!(
        sent.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    let facts = exchange.facts();
    assert_eq!(facts.route.as_deref(), Some("/v1/moderations"));
    assert_eq!(
        (facts.attempts, facts.upstream.as_deref()),
        (1, Some("lab"))
    );
    let model = facts.upstream_model.as_deref();
    assert_eq!(model, Some("omni-moderation-latest"));
    // One that is bound to a model says so.
    let bound = provider(&upstream).model("text-moderation-007");
    for (body, sent) in [
        (
            body,
            r#"{"model":"text-moderation-007", "input" : ["a", {"type":"text"}] }"#,
        ),
        ("{}", r#"{"model":"text-moderation-007"}"#),
        (
            r#"{"input":"a","model":"x"}"#,
            r#"{"input":"a","model":"text-moderation-007"}"#,
        ),
    ] {
        call(bound.clone(), json_of("/v1/moderations", body)).await;
        assert_eq!(upstream.last().unwrap().body, sent);
    }
    // The path is nobody else's, whatever header a client shows its key in.
    let mut request = json_of("/v1/moderations", body);
    request
        .headers_mut()
        .insert("x-api-key", "of-the-client".parse().unwrap());
    assert_eq!(call(provider(&upstream), request).await.status(), 200);
    // Who makes sound must say by whom.
    let answer = call(
        provider(&upstream),
        json_of("/v1/audio/speech", r#"{"input":"a"}"#),
    )
    .await;
    assert_eq!(answer.status(), 400);
    assert_eq!(document(&answer)["error"]["param"], "model");
}

#[tokio::test]
async fn pictures_are_counted_and_their_streams_go_through_untouched() {
    let picture = json!({"created": 1, "data": [{"b64_json": "x\"usage\""}], "usage": {
        "total_tokens": 100, "input_tokens": 50, "output_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    }});
    let upstream = MockUpstream::start(Reply::json(200, &picture))
        .await
        .unwrap();
    let mut request = json_of(
        "/v1/images/generations",
        r#"{"prompt":"a cat","model":"gpt-image-1"}"#,
    );
    let exchange = Exchange::enter(&mut request);
    let answer = call(provider(&upstream), request).await;
    assert_eq!(document(&answer), picture);
    assert_eq!(exchange.facts().usage, Some(Usage::new(50, 50)));
    let events = [
        "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AAAA\"}\n\n",
        ": a comment\n\n",
        "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"BBBB\",\"usage\":{\"input_tokens\":7,\"output_tokens\":9,\"total_tokens\":16}}\n\n",
    ];
    for size in [1, 7, 1000] {
        let reply = Reply::pieces("text/event-stream", events).split_every(size);
        let upstream = MockUpstream::start(reply).await.unwrap();
        let mut request = json_of("/v1/images/edits", r#"{"stream":true,"prompt":"a"}"#);
        let exchange = Exchange::enter(&mut request);
        let answer = call(provider(&upstream), request).await;
        assert_eq!(*answer.body(), events.concat());
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(exchange.facts().usage, Some(Usage::new(7, 9)));
        assert!(exchange.facts().first_content.is_some());
    }
    // What an event stream breaks off with is told in it.
    let error = "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n";
    let reply = Reply::pieces("text/event-stream", [events[0], error]);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let request = json_of("/v1/images/generations", r#"{"stream":true,"prompt":"a"}"#);
    let answer = call(provider(&upstream), request).await;
    let text = std::str::from_utf8(answer.body()).unwrap();
    assert!(
        text.starts_with(events[0]) && text.contains("bad_gateway"),
        "{text}"
    );
}

#[tokio::test]
async fn sound_is_bytes_and_ends_too_soon_if_the_vendors_does() {
    let sound: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let reply = Reply::bytes(200, "audio/mpeg", sound.clone()).split_every(999);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let body = r#"{"model":"tts-1","input":"Hello","voice":"alloy"}"#;
    let answer = call(provider(&upstream), json_of("/v1/audio/speech", body)).await;
    assert_eq!(answer.headers()["content-type"], "audio/mpeg");
    assert_eq!(*answer.body(), sound);
    assert_eq!(upstream.last().unwrap().header("accept"), Some("*/*"));
    let reply = Reply::bytes(200, "audio/mpeg", sound).cut_after(2000);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let mut request = json_of("/v1/audio/speech", body);
    let exchange = Exchange::enter(&mut request);
    let answer = Serve::new(provider(&upstream))
        .oneshot(request)
        .await
        .unwrap();
    assert!(collect(answer.into_body(), 1 << 20).await.is_err());
    assert!(exchange.facts().broke_off);
}

#[tokio::test]
async fn a_form_reaches_the_vendor_as_it_came_whatever_stands_first() {
    let words = json!({"text": "Hello", "usage": {"type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 0, "audio_tokens": 14}, "output_tokens": 4, "total_tokens": 18}});
    let upstream = MockUpstream::start(Reply::json(200, &words)).await.unwrap();
    let file = "\0\r\n--xY\r\n".repeat(1000);
    for model_first in [true, false] {
        let body = form(model_first, Some("whisper-1"), &file);
        let mut request = post("/v1/audio/transcriptions", FORM, body.clone());
        let exchange = Exchange::enter(&mut request);
        let answer = call(provider(&upstream), request).await;
        assert_eq!(document(&answer), words);
        let sent = upstream.last().unwrap();
        assert_eq!(sent.body, body);
        assert_eq!(sent.header("content-type"), Some(FORM));
        assert_eq!(
            sent.header("content-length"),
            Some(&*body.len().to_string())
        );
        let used = exchange.facts().usage.unwrap();
        assert_eq!(
            (used.input, used.output, used.audio_input),
            (14, 4, Some(14))
        );
        // Under another name, nothing else is another.
        let request = post("/v1/audio/transcriptions", FORM, body);
        call(provider(&upstream).model("gpt-4o-transcribe"), request).await;
        let renamed = form(model_first, Some("gpt-4o-transcribe"), &file);
        assert_eq!(upstream.last().unwrap().body, renamed);
    }
    // Without one: the vendor's own, or that to which it is bound.
    let body = form(true, None, "png");
    call(
        provider(&upstream),
        post("/v1/images/variations", FORM, body.clone()),
    )
    .await;
    assert_eq!(upstream.last().unwrap().body, body);
    let bound = provider(&upstream).model("own");
    call(bound, post("/v1/images/variations", FORM, body)).await;
    assert_eq!(
        upstream.last().unwrap().body,
        form(true, Some("own"), "png")
    );
    let body = form(true, None, "wav");
    let answer = call(
        provider(&upstream),
        post("/v1/audio/translations", FORM, body),
    )
    .await;
    assert_eq!(
        (
            answer.status().as_u16(),
            &document(&answer)["error"]["param"]
        ),
        (400, &json!("model"))
    );
}

/// A body that comes as it is sent.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn pieces(path: &str) -> (mpsc::UnboundedSender<Bytes>, Request<Pieces>) {
    let (send, pieces) = mpsc::unbounded_channel();
    let request = Request::post(path).header("content-type", FORM);
    (send, request.body(Pieces(pieces)).unwrap())
}

#[tokio::test]
async fn a_file_behind_the_models_name_is_passed_on_while_it_comes() {
    let upstream = MockUpstream::start(Reply::json(200, r#"{"text":"a"}"#))
        .await
        .unwrap();
    let (send, request) = pieces("/v1/audio/transcriptions");
    let whole = form(true, Some("whisper-1"), &"x".repeat(9000));
    let (start, rest) = whole.split_at(200);
    send.send(start.to_owned().into()).unwrap();
    let answer = tokio::spawn(call(provider(&upstream), request));
    // The vendor is called before the file is there.
    while upstream.connections() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.count(), 0);
    for piece in rest.as_bytes().chunks(1000) {
        send.send(Bytes::copy_from_slice(piece)).unwrap();
    }
    drop(send);
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(upstream.last().unwrap().body, whole);
}

#[tokio::test]
async fn what_goes_wrong_in_the_rest_of_a_form_is_the_callers_fault() {
    let upstream = MockUpstream::start(Reply::json(200, "{}")).await.unwrap();
    let start = form(true, Some("whisper-1"), "x");
    let start = start.split_once("--xYz--").unwrap().0.to_owned();
    let second =
        "--xYz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--xYz--\r\n";
    for (rest, status) in [
        (second.to_owned(), 400),
        ("--xYz\r\n\r\n".to_owned() + &"x".repeat(2 << 20), 413),
    ] {
        let (send, request) = pieces("/v1/audio/transcriptions");
        send.send(start.clone().into()).unwrap();
        let answer = tokio::spawn(call(provider(&upstream), request));
        let before = upstream.connections();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        send.send(rest.into()).unwrap();
        drop(send);
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), status, "{answer:?}");
        assert!(upstream.connections() >= before && upstream.count() == 0);
    }
}

#[tokio::test]
async fn a_second_vendor_gets_what_is_still_there() {
    let upstream = MockUpstream::start(Reply::json(200, r#"{"text":"a"}"#))
        .await
        .unwrap();
    let closed = ClosedPort::new().unwrap();
    let down = Provider::custom("down", closed.url() + "/v1").unwrap();
    let pool = || Pool::new().entry(down.clone()).entry(provider(&upstream));
    let whole = form(false, Some("whisper-1"), "x");
    let answer = call(
        pool(),
        post("/v1/audio/transcriptions", FORM, whole.clone()),
    )
    .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.last().unwrap().body, whole);
    // Sound has begun with its first bytes, and a document with all of its own.
    let reply = Reply::bytes(200, "audio/mpeg", "abc");
    let sounds = MockUpstream::start(reply).await.unwrap();
    let pool = Pool::new()
        .entry(down.clone())
        .entry(provider(&sounds))
        .entry(down.clone());
    let answer = call(
        pool,
        json_of("/v1/audio/speech", r#"{"model":"m","input":"a"}"#),
    )
    .await;
    assert_eq!(&**answer.body(), b"abc");
}

#[tokio::test]
async fn what_was_passed_on_while_it_came_is_not_sent_twice() {
    let busy = Reply::status(503).header("retry-after", "7");
    let down = MockUpstream::start(busy).await.unwrap();
    let other = MockUpstream::start(Reply::json(200, "{}")).await.unwrap();
    let (send, request) = pieces("/v1/audio/transcriptions");
    let whole = form(true, Some("whisper-1"), &"x".repeat(9000));
    let (start, rest) = whole.split_at(200);
    send.send(start.to_owned().into()).unwrap();
    let pool = Pool::new().entry(provider(&down)).entry(provider(&other));
    let answer = tokio::spawn(call(pool, request));
    while down.connections() == 0 {
        tokio::task::yield_now().await;
    }
    send.send(rest.to_owned().into()).unwrap();
    drop(send);
    let answer = answer.await.unwrap();
    // The error of the one that had it.
    assert_eq!((answer.status().as_u16(), other.count()), (503, 0));
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test]
async fn who_was_sent_nothing_is_not_blamed_for_an_upload() {
    let down = MockUpstream::start(Reply::status(503)).await.unwrap();
    let other = MockUpstream::start(Reply::json(200, "{}")).await.unwrap();
    let pool = Pool::new()
        .entry(Entry::new(provider(&down)).circuit(None))
        .entry(Entry::new(provider(&other)).name("other"));
    for _ in 0..6 {
        let (send, request) = pieces("/v1/audio/transcriptions");
        let whole = form(true, Some("whisper-1"), &"x".repeat(9000));
        let (start, rest) = whole.split_at(200);
        send.send(start.to_owned().into()).unwrap();
        let answer = tokio::spawn(call(pool.clone(), request));
        send.send(rest.to_owned().into()).unwrap();
        drop(send);
        assert_eq!(answer.await.unwrap().status(), 503);
    }
    let shown = pool.handle().entry("other").unwrap();
    assert_eq!((shown.calls, shown.failures, other.count()), (0, 0, 0));
    assert_eq!(shown.circuit, Some(State::Closed));
}

#[tokio::test]
async fn vendors_that_do_not_speak_it_are_told_so() {
    let upstream = MockUpstream::start(Reply::json(
        404,
        r#"{"error":{"message":"Invalid URL","code":"not_supported"}}"#,
    ))
    .await
    .unwrap();
    let anthropic = Provider::anthropic("sk-ant-0123")
        .base_url(upstream.url())
        .unwrap();
    let cohere = Provider::cohere("co-0123")
        .base_url(upstream.url())
        .unwrap();
    for provider in [anthropic, cohere, provider(&upstream)] {
        let answer = call(provider, json_of("/v1/moderations", r#"{"input":"a"}"#)).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(document(&answer)["error"]["code"], "not_supported");
    }
    assert_eq!(upstream.count(), 1);
    let answer = call(
        Simulator::new(),
        json_of("/v1/moderations", r#"{"input":"a"}"#),
    )
    .await;
    assert_eq!(answer.status(), 404);
    // Errors are the vendor's, and keys are not shown.
    let wrong = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}"}}}}"#);
    let upstream = MockUpstream::start(Reply::json(401, wrong)).await.unwrap();
    let answer = call(
        provider(&upstream),
        json_of("/v1/moderations", r#"{"input":"a"}"#),
    )
    .await;
    assert_eq!(document(&answer)["error"]["code"], "upstream_auth");
    assert!(!answer.body().windows(6).any(|part| part == b"canary"));
}

#[tokio::test]
async fn what_vendors_store_is_not_shown() {
    let call = |path: &str, header: Option<(&'static str, &'static str)>| {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        async move {
            let answer = Serve::new(Simulator::new()).oneshot(request).await.unwrap();
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (
                status.as_u16(),
                serde_json::from_slice::<Value>(&body).unwrap(),
            )
        }
    };
    for path in [
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/batches",
        "/v1/uploads/u/parts",
        "/v1/fine_tuning/jobs",
        "/v1/assistants",
        "/v1/threads/t/runs",
        "/v1/vector_stores",
    ] {
        let (status, body) = call(path, None).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (404, &json!("not_supported"))
        );
        let words = body["error"]["message"].as_str().unwrap();
        assert!(words.contains("one account"), "{words}");
    }
    let version = Some(("anthropic-version", "2023-06-01"));
    for path in [
        "/v1/messages/batches",
        "/v1/messages/batches/b/results",
        "/v1/files",
    ] {
        let (status, body) = call(path, version).await;
        assert_eq!(
            (status, &body["error"]["type"]),
            (404, &json!("not_found_error"))
        );
        assert!(
            body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("one account")
        );
    }
    for path in [
        "/v1beta/files",
        "/v1beta/files/f:download",
        "/v1beta/cachedContents",
        "/v1beta/batches/b",
    ] {
        let (status, body) = call(path, None).await;
        assert_eq!(
            (status, &body["error"]["status"]),
            (404, &json!("NOT_FOUND"))
        );
        assert!(
            body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("one account")
        );
    }
    let (_, body) = call("/v1/filesystem", None).await;
    assert!(
        !body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("one account")
    );
}

#[tokio::test]
async fn it_is_guarded_as_any_call_of_a_model() {
    let upstream = MockUpstream::start(Reply::bytes(200, "audio/mpeg", "abc"))
        .await
        .unwrap();
    let gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", "a-secret-of-alice"))
        .rate_limit(Quota::per_minute(1))
        .vendor(provider(&upstream))
        .build()
        .unwrap();
    let speak = |key: &str, model: &str| {
        let body = json!({"model": model, "input": "a"}).to_string();
        let mut request = json_of("/v1/audio/speech", &body);
        let key = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", key);
        gateway.clone().oneshot(request)
    };
    let refused = speak("another-secret-key", "m").await.unwrap();
    assert_eq!(refused.status(), 401);
    // The vendor knows its model without the vendor's name.
    let answer = speak("a-secret-of-alice", "lab/tts-1").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "abc"
    );
    let sent = upstream.last().unwrap().json();
    assert_eq!(sent, json!({"model": "tts-1", "input": "a"}));
    assert_eq!(speak("a-secret-of-alice", "m").await.unwrap().status(), 429);
}
