//! Providers, over a mock upstream on a real socket.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::ServiceExt;
use tower_gateway::{
    Exchange, Extensible, Rejection,
    llm::{
        ChatRequest, ChatResponse, Embed, EmbedInput, Error, Operation, Protocol, Provider, Usage,
        VendorFault, Want, Wire,
    },
    rejection::Kind,
    testing::{ClosedPort, MockUpstream, MockVendor, Reply, Script, Turn},
    timeout::TimeoutLayer,
};

const KEY: &str = "sk-canary-0123456789abcdef";

const ANSWER: &str = r#"{ "id":"x","object":"chat.completion","created":1,"model":"up",
 "choices":[{"index":0,"message":{"role":"assistant","content":"Grüß","unknown":[1.50]},"finish_reason":"stop"}],
 "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

const PIECES: [&str; 4] = [
    "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Gr\u{fc}\"},\"finish_reason\":null}]}\n\n",
    ": a comment\r\n\r\ndata: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{df}\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
    "data: [DONE]\n\n",
];

fn wire(body: &'static str, stream: bool, include_usage: bool) -> ChatRequest {
    let start = body.find("\"asked\"").unwrap();
    let mut wire = Wire::new(Protocol::OpenAi, Bytes::from_static(body.as_bytes()));
    wire.model = Some(start..start + 7);
    ChatRequest::from_wire(Operation::Chat, "asked", stream, include_usage, wire)
}

fn whole() -> ChatRequest {
    wire(
        r#"{"messages":[{"role":"user","content":"hi"}], "model" : "asked","x":1.0}"#,
        false,
        false,
    )
}

fn streamed(include_usage: bool) -> ChatRequest {
    wire(
        r#"{"model":"asked","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        true,
        include_usage,
    )
}

async fn upstream(script: impl Script) -> (MockUpstream, Provider) {
    let upstream = MockUpstream::start(script).await.unwrap();
    let provider = Provider::custom("lab", upstream.url() + "/v1/").unwrap();
    (upstream, provider.key(KEY))
}

async fn call(provider: &Provider, request: ChatRequest) -> Result<ChatResponse, Error> {
    provider.clone().oneshot(request).await
}

/// What is on the wire, how many batches, and the last usage.
async fn read(mut answer: ChatResponse) -> (String, usize, Option<Usage>, Option<Error>) {
    let (mut bytes, mut batches, mut usage) = (Vec::new(), 0, None);
    loop {
        match poll_fn(|cx| answer.poll_batch(cx)).await {
            Some(Ok(batch)) => {
                bytes.extend_from_slice(batch.raw().unwrap());
                usage = batch.usage().or(usage);
                batches += 1;
            }
            end => {
                let text = String::from_utf8(bytes).unwrap();
                return (text, batches, usage, end.and_then(Result::err));
            }
        }
    }
}

#[tokio::test]
async fn a_document_passes_byte_for_byte_and_only_the_name_is_edited() {
    for size in [1, 3, 7, 1000] {
        let reply = Reply::json(200, ANSWER).split_every(size);
        let (upstream, provider) = upstream(reply).await;
        let answer = call(&provider.model("up"), whole()).await.unwrap();
        let (text, batches, usage, error) = read(answer).await;
        assert_eq!((&*text, batches), (ANSWER, 1));
        assert_eq!(usage, Some(Usage::new(3, 2)));
        assert!(error.is_none());
        let sent = upstream.last().unwrap();
        assert_eq!(sent.path, "/v1/chat/completions");
        assert_eq!(
            sent.body,
            r#"{"messages":[{"role":"user","content":"hi"}], "model" : "up","x":1.0}"#
        );
    }
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_however_it_is_split() {
    let whole = PIECES.concat();
    for size in [1, 2, 5, 64, 100_000] {
        let reply = Reply::pieces("text/event-stream; charset=utf-8", PIECES).split_every(size);
        let (_upstream, provider) = upstream(reply).await;
        let (text, _, usage, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(text, whole);
        assert_eq!(usage, Some(Usage::new(3, 2)));
        assert!(error.is_none());
    }
}

#[tokio::test]
async fn usage_is_always_asked_for_and_taken_out_again() {
    let expected = [PIECES[0], PIECES[1], PIECES[3]].concat();
    for size in [1, 64, 100_000] {
        let reply = Reply::pieces("text/event-stream", PIECES).split_every(size);
        let (upstream, provider) = upstream(reply).await;
        let (text, _, usage, _) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert_eq!(text, expected, "in pieces of {size}");
        assert_eq!(usage, Some(Usage::new(3, 2)));
        let sent = upstream.last().unwrap().json();
        assert_eq!(sent["stream_options"]["include_usage"], true);
        assert_eq!(sent["messages"][0]["content"], "hi");
    }
}

/// However it is cut: a mark is one at the very start, and nothing is named so elsewhere.
#[tokio::test]
async fn a_byte_order_mark_is_one_at_the_start_only() {
    let [text, _, usage, done] = PIECES;
    let sent = format!("\u{feff}{usage}\u{feff}data: not a field\n\n\u{feff}{usage}{text}{done}");
    for size in [1, 3, 7, usage.len() + 3, sent.len()] {
        let stream = Reply::bytes(200, "text/event-stream", sent.clone()).split_every(size);
        let (_upstream, provider) = upstream(stream).await;
        let (raw, _, told, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert!(error.is_none(), "{size}: {error:?}");
        assert_eq!(told, Some(Usage::new(3, 2)));
        assert_eq!(raw, sent.replacen(usage, "", 1), "{size}");
        let answer = call(&provider, streamed(false)).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "Gr\u{fc}", "{size}");
    }
}

/// Also if empty lines come before it, in a chunk of their own.
#[tokio::test]
async fn a_document_is_no_stream_however_it_is_cut() {
    for size in [1, 2, 100] {
        let document = Reply::bytes(200, "text/event-stream", "\n\n{\"id\":1}\ndata: {}\n\n");
        let (_upstream, provider) = upstream(document.split_every(size)).await;
        let (raw, _, _, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(raw.trim(), "", "{size}");
        assert_eq!(error.unwrap().kind(), Kind::UpstreamMalformed, "{size}");
    }
}

#[tokio::test]
async fn a_stream_without_an_event_is_no_answer() {
    for sent in ["", "\n\n"] {
        let (_upstream, provider) = upstream(Reply::bytes(200, "text/event-stream", sent)).await;
        let (raw, _, _, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(raw, sent);
        assert_eq!(error.unwrap().kind(), Kind::UpstreamMalformed);
    }
}

#[tokio::test]
async fn events_are_decoded_for_those_who_ask() {
    let (_upstream, provider) = upstream(Reply::pieces("text/event-stream", PIECES)).await;
    let answer = call(&provider, streamed(true)).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "Grüß");

    let answer = call(&provider, streamed(true))
        .await
        .unwrap()
        .primed()
        .await
        .unwrap();
    assert_eq!(
        answer.text().await.unwrap(),
        "Grüß",
        "also when it was held back first"
    );

    let mut answer = call(&provider, streamed(true)).await.unwrap();
    answer.want(Want::UntilContent);
    let mut decoded = 0;
    while let Some(batch) = poll_fn(|cx| answer.poll_batch(cx)).await {
        decoded += usize::from(!batch.unwrap().events().is_empty());
    }
    assert_eq!(decoded, 1);
}

#[tokio::test]
async fn nothing_of_the_client_goes_along_but_its_trace() {
    let (upstream, provider) = upstream(Reply::json(200, ANSWER)).await;
    let provider = provider.header(
        HeaderName::from_static("x-title"),
        HeaderValue::from_static("mine"),
    );
    let mut request = whole();
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "proxy-authorization",
        "x-forwarded-for",
        "accept-encoding",
        "openai-organization",
        "user-agent",
        "host",
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("client-canary"));
    }
    let trace = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    request.headers_mut().insert("traceparent", trace.clone());
    call(&provider, request).await.unwrap();

    let sent = upstream.last().unwrap();
    assert!(!String::from_utf8_lossy(&sent.head).contains("client-canary"));
    assert_eq!(
        sent.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    assert_eq!(sent.headers["traceparent"], trace);
    assert_eq!(sent.header("accept-encoding"), Some("identity"));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("x-title"), Some("mine"));
    assert!(!sent.path.contains("canary"));
}

#[tokio::test]
async fn what_the_vendor_says_of_its_limits_is_kept() {
    let reply = Reply::json(200, ANSWER)
        .header("x-request-id", "req_1")
        .header("openai-processing-ms", "17")
        .header("x-ratelimit-remaining-requests", "499")
        .header("set-cookie", "a=b")
        .header("openai-organization", "ours");
    let (_upstream, provider) = upstream(reply).await;
    let answer = call(&provider, whole()).await.unwrap();
    let headers = answer.headers();
    assert_eq!(headers.len(), 2);
    assert_eq!(headers["x-upstream-request-id"], "req_1");
    assert_eq!(headers["openai-processing-ms"], "17");
}

#[tokio::test]
async fn attempts_are_counted() {
    let (_upstream, provider) = upstream(Reply::json(200, ANSWER)).await;
    let mut request = whole();
    let exchange = Exchange::enter(&mut request);
    call(&provider, request.clone()).await.unwrap();
    call(&provider, request).await.unwrap();
    let facts = exchange.facts();
    assert_eq!(
        (facts.attempts, facts.upstream.as_deref()),
        (2, Some("lab"))
    );
}

/// Everything that could be shown of an error.
fn shown(error: &Error) -> String {
    let rejection: Rejection = error.rejection().into_owned();
    let mut shown = format!("{error} {error:?} {rejection} {rejection:?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        shown += &format!(" {error} {error:?}");
        source = error.source();
    }
    shown
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_refused_key_is_ours_and_the_vendors_words_stay_in_the_log() {
    for status in [401, 403] {
        let (log, _guard) = Log::start();
        let reply = Turn::error(
            status,
            "invalid_request_error",
            "invalid_api_key",
            "Vendor words, key sk-canary***def",
        );
        let vendor = MockVendor::start(reply).await.unwrap();
        let provider = Provider::custom("lab", vendor.base_url()).unwrap().key(KEY);
        let error = call(&provider, streamed(false)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamAuth);
        assert_eq!(error.kind().status(), 502);
        assert!(!shown(&error).contains("canary") && !shown(&error).contains("Vendor words"));
        assert!(!format!("{provider:?}").contains("canary"));
        let log = log.text();
        assert!(!log.contains("canary"), "{log}");
        assert_eq!(
            log.matches("Vendor words, key [masked]").count(),
            1,
            "{log}"
        );
        match error {
            Error::Vendor(error) => assert!(error.original(Protocol::OpenAi).is_none()),
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn the_vendors_limit_is_told_as_the_vendors() {
    let vendor = MockVendor::start(Turn::rate_limited(Duration::from_millis(1500)))
        .await
        .unwrap();
    let provider = Provider::custom("lab", vendor.base_url()).unwrap();
    let error = call(&provider, streamed(false)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamRateLimited);
    assert_eq!(
        error.rejection().retry_after(),
        Some(Duration::from_millis(1500))
    );
    assert!(error.rejection().message().contains("provider"), "{error}");
}

#[tokio::test]
async fn what_is_not_an_answer_is_an_error_of_the_upstream() {
    let html = "<!doctype html><title>Log in</title>";
    for (reply, kind) in [
        (Reply::html_502(), Kind::BadGateway),
        (Reply::status(500), Kind::BadGateway),
        (
            Reply::bytes(500, "application/json", "{\"error\":"),
            Kind::BadGateway,
        ),
        (
            Reply::status(302).header("location", "http://127.0.0.1:1/"),
            Kind::BadGateway,
        ),
        (
            Reply::bytes(200, "text/html", html),
            Kind::UpstreamMalformed,
        ),
        (
            Reply::bytes(200, "application/json", html),
            Kind::UpstreamMalformed,
        ),
        (
            Reply::bytes(200, "application/json", ""),
            Kind::UpstreamMalformed,
        ),
        (Reply::status(204), Kind::UpstreamMalformed),
        (
            Reply::json(200, ANSWER).header("content-encoding", "gzip"),
            Kind::UpstreamMalformed,
        ),
        (Reply::json(200, ANSWER).cut_after(10), Kind::BadGateway),
        (Reply::hang_up(), Kind::BadGateway),
        (Reply::raw("SSH-2.0-OpenSSH\r\n"), Kind::BadGateway),
    ] {
        let (upstream, provider) = upstream(reply.clone()).await;
        let error = call(&provider, whole()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}");
        assert!(!shown(&error).contains("canary") && !error.to_string().contains("127.0.0.1"));
        assert_eq!(upstream.count(), 1, "and it is not tried again");
    }
    let closed = ClosedPort::new().unwrap();
    let provider = Provider::custom("lab", closed.url()).unwrap();
    assert_eq!(
        call(&provider, whole()).await.unwrap_err().kind(),
        Kind::BadGateway
    );
}

#[tokio::test]
async fn a_content_type_that_lies_does_no_harm() {
    for content in ["text/plain", "application/json", ""] {
        let (_upstream, provider) = upstream(Reply::pieces(content, PIECES).split_every(2)).await;
        let (text, _, _, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(text, PIECES.concat(), "{content}");
        assert!(error.is_none());
    }
    for content in ["text/plain", "text/event-stream"] {
        let (_upstream, provider) = upstream(Reply::bytes(200, content, ANSWER)).await;
        let (text, ..) = read(call(&provider, whole()).await.unwrap()).await;
        assert_eq!(text, ANSWER);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_no_half_event() {
    let cut = PIECES[0].len() + 30;
    let reply = Reply::pieces("text/event-stream", PIECES).cut_after(cut);
    let (_upstream, provider) = upstream(reply).await;
    let (text, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
    assert_eq!(text, [PIECES[0], ": a comment\r\n\r\n"].concat());
    let error = error.unwrap();
    assert_eq!(error.kind(), Kind::BadGateway);
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn half_an_event_at_the_end_is_none() {
    let bare = PIECES[1].trim_end();
    for (last, whole) in [
        (bare, true),
        ("data: [DONE]", true),
        (": bye", true),
        (&bare[..bare.len() - 1], false),
        ("data: [DO", false),
        ("dat", false),
    ] {
        let last = last.to_owned();
        let reply = Reply::pieces("text/event-stream", [PIECES[0].to_owned(), last.clone()]);
        let (_upstream, provider) = upstream(reply).await;
        let (text, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert_eq!(error.is_none(), whole, "{last}");
        if let Some(error) = error {
            assert!(!text.ends_with(&last), "{last}");
            assert!(error.to_string().contains("broke off"), "{error}");
        } else {
            assert!(text.ends_with(&last), "{text}");
        }
    }
}

#[tokio::test]
async fn what_stands_before_what_cannot_be_read_is_not_lost() {
    let chunk = [PIECES[0], PIECES[2], "data: {oops}\n\n"].concat();
    let (_upstream, provider) = upstream(Reply::pieces("text/event-stream", [chunk])).await;
    let mut answer = call(&provider, streamed(true)).await.unwrap();
    answer.want(Want::Events);
    let batch = poll_fn(|cx| answer.poll_batch(cx)).await.unwrap().unwrap();
    assert_eq!(batch.usage(), Some(Usage::new(3, 2)));
    assert!(batch.events().iter().any(|event| event.is_content()));
    let error = poll_fn(|cx| answer.poll_batch(cx)).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), Kind::UpstreamMalformed);
    assert!(poll_fn(|cx| answer.poll_batch(cx)).await.is_none());
}

#[tokio::test]
async fn an_error_inside_a_stream_ends_it_after_what_came_before() {
    let fault = "data: {\"error\":{\"message\":\"Vendor words\",\"type\":\"server_error\",\"code\":null}}\n\n";
    let after = "data: [DONE]\n\n";
    let pieces = [PIECES[0], fault, after];
    for size in [1, 50, 100_000] {
        let (log, _guard) = Log::start();
        let reply = Reply::pieces("text/event-stream", pieces).split_every(size);
        let (_upstream, provider) = upstream(reply).await;
        let (text, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert_eq!(text, PIECES[0], "in pieces of {size}");
        match error.unwrap() {
            Error::Vendor(error) => {
                assert_eq!(
                    (error.fault(), &**error.vendor()),
                    (VendorFault::Failed, "lab")
                );
            }
            error => panic!("{error:?}"),
        }
        assert_eq!(log.text().matches("Vendor words").count(), 1);
    }
}

#[tokio::test]
async fn an_endless_line_ends_when_it_is_too_long() {
    let (_upstream, provider) = upstream(Reply::endless_line()).await;
    let (_, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
    assert_eq!(error.unwrap().kind(), Kind::UpstreamTooLarge);
}

#[tokio::test]
async fn a_silent_vendor_is_given_up() {
    let script = vec![Reply::json(200, ANSWER), Reply::silent()];
    let (upstream, provider) = upstream(script).await;
    call(&provider, whole()).await.unwrap();
    // The connection is there: no timer but that of the answer.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let error = call(&provider, whole()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert_eq!(begin.elapsed().as_secs(), 600);
    tokio::time::resume();
    upstream.hung_up(1).await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    let stall = PIECES[0].len();
    let (upstream, provider) =
        upstream(Reply::pieces("text/event-stream", PIECES).stall_after(stall)).await;
    let limits = TimeoutLayer::llm().idle(Duration::from_millis(50));
    let answer = call(&provider.timeouts(limits), streamed(false))
        .await
        .unwrap();
    let (text, _, _, error) = read(answer).await;
    assert_eq!((&*text, error.unwrap().kind()), (PIECES[0], Kind::Timeout));
    upstream.hung_up(1).await;
}

#[tokio::test]
async fn whoever_hangs_up_hangs_up_on_the_vendor() {
    let stall = PIECES[0].len();
    let script = vec![
        Reply::pieces("text/event-stream", PIECES).stall_after(stall),
        Reply::silent(),
    ];
    let (upstream, provider) = upstream(script).await;
    let mut answer = call(&provider, streamed(false)).await.unwrap();
    poll_fn(|cx| answer.poll_batch(cx)).await.unwrap().unwrap();
    drop(answer);
    upstream.hung_up(1).await;

    let pending = tokio::spawn(provider.oneshot(whole()));
    upstream.received(2).await;
    pending.abort();
    upstream.hung_up(2).await;
}

#[tokio::test]
async fn clones_share_one_pool() {
    let (upstream, provider) = upstream(Reply::json(200, ANSWER)).await;
    for provider in [provider.clone(), provider.clone(), provider.model("other")] {
        read(call(&provider, whole()).await.unwrap()).await;
    }
    assert_eq!((upstream.count(), upstream.connections()), (3, 1));
}

#[tokio::test]
async fn what_is_about_the_callers_request_reaches_the_caller() {
    let words = r#"{"error":{"message":"Too hot","type":"invalid_request_error","param":"temperature","code":null}}"#;
    for (status, body) in [(400, words), (422, words)] {
        let (_upstream, provider) = upstream(Reply::json(status, body)).await;
        let error = call(&provider, whole()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidRequest);
        assert_eq!(error.rejection().param(), Some("temperature"));
        match error {
            Error::Vendor(error) => {
                assert_eq!(error.original(Protocol::OpenAi).unwrap(), body);
                assert_eq!(error.status().unwrap(), status);
            }
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_that_repeats_our_key_is_ours_and_has_no_words() {
    let words = |code: &str| {
        format!(
            r#"{{"error":{{"message":"Too hot, {KEY}","type":"invalid_request_error","param":"{KEY}","code":"{code}"}}}}"#
        )
    };
    let stream = format!("data: {}\n\n", words("x"));
    for reply in [
        Reply::json(400, words("x")),
        Reply::json(404, words("model_not_found")),
        Reply::json(500, words("x")),
        Reply::json(200, words("x")),
        Reply::json(400, words("x").replace("sk-", "\\u0073k-")),
        Reply::pieces("text/event-stream", [stream]),
    ] {
        let (log, _guard) = Log::start();
        let (_upstream, provider) = upstream(reply).await;
        let error = match call(&provider, streamed(false)).await {
            Ok(answer) => read(answer).await.3.unwrap(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::UpstreamAuth);
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
        assert!(!log.text().contains("canary"), "{}", log.text());
        match error {
            Error::Vendor(error) => {
                assert!(error.message().is_empty() && error.param().is_none());
                assert!(error.original(Protocol::OpenAi).is_none());
            }
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_that_shows_part_of_a_key_keeps_its_kind_and_loses_its_words() {
    for hint in ["sk-0123...cdef", "sk-***", "gsk_ab…yz"] {
        let (log, _guard) = Log::start();
        let words = format!("Key {hint} may not do this, it is `canary`");
        let body = format!(r#"{{"error":{{"message":"{words}","type":"invalid_request_error"}}}}"#);
        let (_upstream, provider) = upstream(Reply::json(400, body)).await;
        let Err(Error::Vendor(error)) = call(&provider, whole()).await else {
            panic!("refused");
        };
        assert!(error.fault().concerns_caller() && error.message().is_empty());
        assert!(error.original(Protocol::OpenAi).is_none());
        assert!(!log.text().contains(hint), "{}", log.text());
    }
}

#[tokio::test]
async fn why_a_vendor_is_not_reached_stands_in_the_log() {
    let (log, _guard) = Log::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let provider = Provider::custom("gone", format!("http://{addr}/v1")).unwrap();
    let error = call(&provider, whole()).await.unwrap_err();
    assert!(!error.to_string().contains("refused"), "{error}");
    assert!(log.text().contains("refused"), "{}", log.text());
}

#[tokio::test]
async fn what_a_vendor_does_not_offer_is_not_its_failure() {
    for status in [404, 405, 501] {
        let (_upstream, provider) = upstream(Reply::json(status, "{}")).await;
        let error = call(&provider, whole()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotSupported);
        let health = <ChatResponse as tower_gateway::Health<Error>>::health(Err(&error));
        assert_eq!(health, tower_gateway::answer::Outcome::Success);
    }
    let flagged = r#"{"error":{"message":"Flagged","code":403,"metadata":{"flagged_input":"x"}}}"#;
    let (_upstream, provider) = upstream(Reply::json(403, flagged)).await;
    match call(&provider, whole()).await.unwrap_err() {
        Error::Vendor(error) => assert_eq!(error.fault(), VendorFault::ContentFilter),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn an_error_under_a_200_is_an_error() {
    let fault = r#"{"error":{"message":"Overloaded","type":"server_error","code":503}}"#;
    let (_upstream, provider) = upstream(Reply::json(200, fault)).await;
    assert!(matches!(
        call(&provider, whole()).await,
        Err(Error::Vendor(_))
    ));
    let (_upstream, provider) = upstream(Reply::json(200, fault)).await;
    assert!(matches!(
        call(&provider, streamed(false)).await,
        Err(Error::Vendor(_))
    ));
}

#[tokio::test]
async fn models_are_listed() {
    let vendor = MockVendor::start(Turn::text("")).await.unwrap();
    let provider = Provider::custom("lab", vendor.base_url()).unwrap().key(KEY);
    assert_eq!(
        provider.models().await.unwrap(),
        ["mock-chat", "mock-embed"]
    );
    let sent = vendor.last().unwrap();
    assert_eq!(
        (&*sent.path, sent.header("authorization")),
        ("/v1/models", Some(&*format!("Bearer {KEY}")))
    );

    let (_upstream, provider) = upstream(Reply::json(200, "no list")).await;
    assert_eq!(
        provider.models().await.unwrap_err().kind(),
        Kind::UpstreamMalformed
    );
}

#[tokio::test]
async fn typed_requests_and_vectors_go_the_same_way() {
    let vendor = MockVendor::start(Turn::text("Hello there")).await.unwrap();
    let provider = Provider::custom("lab", vendor.base_url())
        .unwrap()
        .model("mock-chat");
    let request = ChatRequest::new().for_model("any").user("Hello");
    let answer = call(&provider, request.clone()).await.unwrap();
    let completion = answer.completion().await.unwrap();
    assert_eq!(completion.text(), "Hello there");
    let (usage, truth) = (completion.usage.unwrap(), vendor.truth()[0]);
    assert_eq!((usage.input, usage.output), (truth.input, truth.output));
    let answer = call(&provider, request.whole()).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "Hello there");

    let mut embed = Embed::default();
    embed.inputs = vec![EmbedInput::Text("a".into()), EmbedInput::Text("b".into())];
    let request = ChatRequest::embed(embed).for_model("mock-embed");
    let completion = call(&provider, request)
        .await
        .unwrap()
        .completion()
        .await
        .unwrap();
    assert_eq!(completion.embeddings.len(), 2);
    assert_eq!(vendor.last().unwrap().path, "/v1/embeddings");
}

#[tokio::test]
async fn a_key_that_cannot_be_sent_fails_the_call() {
    let (upstream, provider) = upstream(Reply::json(200, ANSWER)).await;
    let error = call(&provider.key("cana ry"), whole()).await.unwrap_err();
    assert_eq!((error.kind(), upstream.count()), (Kind::UpstreamAuth, 0));
    assert!(!shown(&error).contains("cana"));
}

#[test]
fn the_environment_says_which_vendors_there_are() {
    let configured = |all: &'static [(&str, &str)]| {
        Provider::from_variables(|name| {
            let mut all = all.iter();
            all.find(|(own, _)| *own == name)
                .map(|(_, value)| (*value).to_owned())
        })
    };
    assert!(
        configured(&[("OPENAI_BASE_URL", "http://a/v1"), ("GROQ_API_KEY", " ")])
            .unwrap()
            .is_empty()
    );
    let both = configured(&[("GROQ_API_KEY", "gsk_canary\n"), ("OLLAMA_HOST", "box")]).unwrap();
    let names: Vec<_> = both.iter().map(Provider::name).collect();
    assert_eq!(names, ["groq", "ollama"]);
    assert!(!format!("{both:?}").contains("canary"));
    assert!(format!("{both:?}").contains("http://box:11434/v1"));

    let wrong = configured(&[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", "canary")]).unwrap_err();
    assert!(
        wrong.to_string().starts_with("OPENAI_BASE_URL: ") && !wrong.to_string().contains("canary")
    );
    let wrong = configured(&[("OPENAI_API_KEY", "canary canary")]).unwrap_err();
    assert_eq!(wrong.variable(), Some("OPENAI_API_KEY"));
    assert!(!format!("{wrong} {wrong:?}").contains("canary"));
}

#[test]
fn names_that_cannot_be_prefixes_are_refused() {
    for name in ["", "a/b", "a b", "a\n"] {
        assert!(Provider::custom(name, "http://localhost").is_err());
    }
}
