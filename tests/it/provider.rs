//! Providers, over a mock upstream on a real socket.

mod errors;
mod streams;

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

#[tokio::test]
async fn clones_share_one_pool() {
    let (upstream, provider) = upstream(Reply::json(200, ANSWER)).await;
    for provider in [provider.clone(), provider.clone(), provider.model("other")] {
        read(call(&provider, whole()).await.unwrap()).await;
    }
    assert_eq!((upstream.count(), upstream.connections()), (3, 1));
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
