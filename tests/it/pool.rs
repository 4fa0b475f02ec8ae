//! Pools in a gateway, and what callers are told of them.

use crate::directory::call;
use axum::Router;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::ServiceExt;
use tower_gateway::{
    Body,
    auth::{ApiKeys, Grant},
    gateway::{Gateway, GatewayBuilder, GatewayService},
    llm::{
        ChatRequest, Provider, Simulator, VendorFault,
        catalog::{ModelFacts, Rate, Rates},
        pool::{Entry, Pool},
        serve::Serve,
    },
    testing::{MockUpstream, Reply},
};

const OPERATOR: &str = "key-of-the-operator-0123";
const CALLER: &str = "key-of-a-caller-01234567";

fn pool() -> Pool {
    let rate = Rate::micros_per_million(2_000_000);
    let facts = ModelFacts::new("lab", "m").price(Rates::new(rate, rate));
    let full = Simulator::new().faults(u64::MAX, VendorFault::RateLimited);
    Pool::new()
        .entry(Entry::new(full).name("full"))
        .entry(
            Entry::new(Simulator::new().answer("Paris"))
                .name("well")
                .facts(facts),
        )
        .entry(Entry::new(Simulator::new()).name("drained"))
}

fn builder() -> GatewayBuilder {
    let pool = pool();
    pool.handle().drain("drained");
    let operator = Grant::new("operator").scopes(["gateway:explain"]);
    Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", CALLER).add(operator, OPERATOR))
        .pool("fast", pool)
}

fn ask(model: &str, key: &str, stream: bool, explain: Option<&str>) -> Request<Body> {
    let messages = json!([{"role": "user", "content": "The capital of France?"}]);
    let body = json!({"model": model, "stream": stream, "messages": messages});
    let mut request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"));
    if let Some(explain) = explain {
        request = request.header("x-gateway-explain", explain);
    }
    request.body(Body::from(body.to_string())).unwrap()
}

fn explained(headers: &HeaderMap) -> Option<Value> {
    let told = headers.get("x-gateway-explain")?;
    Some(serde_json::from_str(told.to_str().unwrap()).unwrap())
}

async fn told(gateway: &GatewayService, request: Request<Body>) -> (u16, Option<Value>) {
    let (status, headers, _) = call(gateway, request).await;
    (status.as_u16(), explained(&headers))
}

#[tokio::test]
async fn whoever_may_is_told_how_the_call_was_answered() {
    for stream in [false, true] {
        let gateway = builder().build().unwrap();
        let request = ask("fast", OPERATOR, stream, Some("true"));
        let (status, told) = told(&gateway, request).await;
        let told = told.unwrap();
        assert_eq!((status, &told["attempts"]), (200, &json!(2)));
        assert_eq!(told["upstream"], "simulator");
        let candidates = told["candidates"].as_array().unwrap();
        let verdicts = candidates
            .iter()
            .map(|one| (one["entry"].as_str(), one["verdict"].as_str()));
        assert_eq!(
            verdicts.collect::<Vec<_>>(),
            [
                (Some("full"), Some("failed")),
                (Some("well"), Some("answered")),
                (Some("drained"), Some("drained")),
            ]
        );
        assert_eq!(candidates[0]["pool"], "fast");
        assert_eq!(candidates[0]["attempt"]["outcome"], "upstream_rate_limited");
        assert_eq!(candidates[1]["attempt"]["outcome"], "ok");
        let price = candidates[1]["price"].as_str().unwrap();
        assert!(price.starts_with("$0.00"), "{price}");
    }
}

#[tokio::test]
async fn an_error_is_explained_too() {
    let pool = pool();
    pool.handle().drain("well");
    pool.handle().drain("drained");
    let operator = Grant::new("operator").scopes(["ops"]);
    let gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add(operator, OPERATOR))
        .pool("fast", pool)
        .explain_scope("ops")
        .build()
        .unwrap();
    let (status, told) = told(&gateway, ask("fast", OPERATOR, true, Some("true"))).await;
    let told = told.unwrap();
    assert_eq!(
        (status, told["candidates"].as_array().unwrap().len()),
        (429, 3)
    );
}

#[tokio::test]
async fn for_anyone_else_the_header_does_nothing() {
    let gateway = builder().build().unwrap();
    for (key, explain) in [
        (CALLER, Some("true")),
        (CALLER, Some("yes, please")),
        (OPERATOR, Some("1")),
        (OPERATOR, None),
    ] {
        let (status, told) = told(&gateway, ask("fast", key, false, explain)).await;
        assert_eq!((status, told), (200, None));
    }
    let (status, told) = told(&gateway, ask("fast", "wrong-key", false, Some("true"))).await;
    assert_eq!((status, told), (401, None));
}

#[tokio::test]
async fn faults_of_pools_are_found_when_the_gateway_is_built() {
    let error = Gateway::builder()
        .pool("fast", Pool::new())
        .pool("", pool())
        .model("other", [Simulator::new(), Simulator::new()])
        .model("other", [Simulator::new()])
        .pool("other", pool())
        .pool("third", pool())
        .pool("third", pool())
        .build()
        .unwrap_err()
        .to_string();
    for fault in [
        "pool(\"fast\")",
        "at least one entry",
        "pool(\"\")",
        "model(\"other\"): the name is taken",
        "pool(\"third\"): the name is taken",
    ] {
        assert!(error.contains(fault), "{fault}: {error}");
    }
}

#[tokio::test]
async fn the_metrics_tell_of_circuits_and_of_entries_that_are_out() {
    let gateway = builder().build().unwrap();
    let (status, ..) = call(&gateway, ask("fast", CALLER, false, None)).await;
    assert_eq!(status, 200);
    let text = gateway.metrics().encode();
    // One is drained, and one cools down.
    assert!(text.contains("gateway_pool_entries_out 2"), "{text}");
    assert!(text.contains("gateway_circuits_open 0"), "{text}");
}

#[tokio::test]
async fn over_axum_a_pool_keeps_what_it_knows_though_its_services_are_made_anew() {
    let pool = pool();
    let handle = pool.handle();
    // Without state a router makes its services when they are called.
    let app: Router = Router::new().fallback_service(Serve::new(pool));
    for _ in 0..3 {
        let request = ask("fast", CALLER, false, None).map(axum::body::Body::new);
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200);
    }
    let calls = handle.entries().into_iter().map(|one| one.calls);
    assert_eq!(
        calls.collect::<Vec<_>>(),
        [1, 3, 0],
        "the first one cools down"
    );
}

#[tokio::test]
async fn a_pool_of_pools_is_a_pool() {
    let inner = Pool::from_iter([Simulator::new().faults(u64::MAX, VendorFault::Failed)]);
    let outer = Pool::new()
        .entry(inner)
        .entry(Simulator::new().answer("Paris"));
    let answer = outer
        .oneshot(ChatRequest::new().user("Hello"))
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "Paris");
}

#[tokio::test]
async fn several_calls_with_one_name_make_a_pool_of_equal_shares() {
    let gateway = Gateway::builder()
        .model("fast", [Simulator::new().answer("one")])
        .model("fast", [Simulator::new().answer("two")])
        .model(
            "fast",
            [Simulator::new().faults(u64::MAX, VendorFault::Failed)],
        )
        .build()
        .unwrap();
    let mut ones = 0;
    for _ in 0..200 {
        let (status, _, body) = call(&gateway, ask("fast", CALLER, false, None)).await;
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("one") || body.contains("two"), "{body}");
        ones += usize::from(body.contains("one"));
    }
    assert!((50..150).contains(&ones), "{ones}");
    let text = gateway.metrics().encode();
    assert!(text.contains("gateway_circuits_open 1"), "{text}");
}

#[tokio::test]
async fn over_bare_hyper_a_pool_is_served_and_explained() {
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pool = pool();
    let handle = pool.handle();
    for stream in [false, true] {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(Serve::new(pool.clone()));
        let server = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        let body = json!({"model": "fast", "stream": stream,
            "messages": [{"role": "user", "content": "The capital of France?"}]})
        .to_string();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let (served, read) = tokio::join!(server, client.read_to_string(&mut text));
        served.unwrap();
        read.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("Paris"), "{text}");
    }
    let calls = handle.entries().into_iter().map(|one| one.calls);
    assert_eq!(calls.collect::<Vec<_>>(), [1, 2, 0]);
}

/// An Anthropic vendor, which cannot be told of a seed.
async fn anthropic() -> (MockUpstream, Provider) {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": "Paris"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let upstream = MockUpstream::start(Reply::json(200, answer.to_string()))
        .await
        .unwrap();
    let provider = Provider::anthropic("sk-ant-0123")
        .base_url(upstream.url())
        .unwrap();
    (upstream, provider.model("claude-sonnet-4-5"))
}

fn seeded(key: &str) -> Request<Body> {
    let messages = json!([{"role": "user", "content": "The capital of France?"}]);
    let body = json!({"model": "fast", "seed": 1, "messages": messages});
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .header("x-gateway-explain", "true")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// One that fails, one that answers, and one that is out.
fn lossy(provider: Provider) -> GatewayBuilder {
    let full = Simulator::new().faults(u64::MAX, VendorFault::RateLimited);
    let pool = Pool::new()
        .entry(Entry::new(full).name("full"))
        .entry(Entry::new(provider).name("claude"))
        .entry(Entry::new(Simulator::new()).name("out"));
    pool.handle().drain("out");
    let operator = Grant::new("operator").scopes(["gateway:explain"]);
    Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", CALLER).add(operator, OPERATOR))
        .pool("fast", pool)
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn losses_are_told_over_a_pool() {
    let (_upstream, provider) = anthropic().await;
    let gateway = lossy(provider).build().unwrap();
    let (status, told) = told(&gateway, seeded(OPERATOR)).await;
    let told = told.unwrap();
    assert_eq!((status, &told["loss"]), (200, &json!(["seed"])), "{told}");
    assert_eq!(told["candidates"][1]["verdict"], "answered");
    let price = told["candidates"][1]["price"].as_str().unwrap();
    assert!(price.starts_with("$0.0"), "{price}");
}

#[tokio::test]
async fn the_span_of_a_request_tells_what_its_pool_did() {
    use tracing_subscriber::fmt::format::FmtSpan;
    let (_upstream, provider) = anthropic().await;
    let gateway = lossy(provider).build().unwrap();
    let log = Log::default();
    let writer = log.clone();
    // While there is but one subscriber the threads of other tests decide without it what is of interest.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    // At the level that is usual.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    for key in [OPERATOR, CALLER] {
        let (status, ..) = call(&gateway, seeded(key)).await;
        assert_eq!(status, 200);
    }
    drop(guard);
    let lines = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(lines.contains("gateway.losses=seed"), "{lines}");
    for part in [
        "full=failed(upstream_rate_limited, 0+",
        "claude=answered(ok, ",
        " ms, $0.0",
        "out=drained",
    ] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    // Whoever may not ask is in the trace, too.
    assert!(lines.contains("full=cooling_down"), "{lines}");
    assert!(!lines.contains("France"), "{lines}");
}
