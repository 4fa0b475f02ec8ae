//! What a request costs once, and not once for each layer; and what it does not cost at all.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use std::{
    convert::Infallible,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder, ServiceExt, layer::layer_fn, util::MapRequestLayer};
use tower_gateway::{
    Body, Exchange, Principal,
    access_log::AccessLogLayer,
    auth::{AuthLayer, Credential},
    collect,
    gateway::{Gateway, Slot},
    key::ByPrincipal,
    llm::{ChatRequest, Provider},
    metrics::{Metrics, MetricsLayer},
    rate_limit::{Quota, RateLimitLayer},
    testing::{MockUpstream, Reply},
    trace::TraceLayer,
};

fn lines() -> (AccessLogLayer, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let sink = lines.clone();
    let layer = AccessLogLayer::new().sink(move |line| sink.lock().unwrap().push(line.to_string()));
    (layer, lines)
}

#[tokio::test]
async fn all_layers_tell_of_one_request_id() {
    let (log, lines) = lines();
    let inner = Arc::<Mutex<String>>::default();
    let seen = inner.clone();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(MetricsLayer::new(&Metrics::new()))
        .layer(log)
        .service_fn(move |req: Request<Body>| {
            let id = Exchange::of(&req).unwrap().id().to_owned();
            assert_eq!(req.headers()["x-request-id"], *id);
            *seen.lock().unwrap() = id;
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
    let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    drop(response);
    assert_eq!(id, *inner.lock().unwrap());
    assert!(lines.lock().unwrap()[0].contains(&id));
}

/// Takes 20 milliseconds before anything further in hears of the request.
#[derive(Clone)]
struct Slow<S>(S);

impl<S: Service<Request<Body>> + Clone + Send + 'static> Service<Request<Body>> for Slow<S>
where
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, req: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        let mut ready = mem::replace(&mut self.0, inner);
        Box::pin(async move {
            sleep(Duration::from_millis(20)).await;
            ready.call(req).await
        })
    }
}

/// Each would tell of another time if it had looked at the clock for itself.
#[tokio::test(start_paused = true)]
async fn all_layers_count_from_one_look_at_the_clock() {
    let ((log, lines), metrics) = (lines(), Metrics::new());
    let begun = Arc::<Mutex<Option<Instant>>>::default();
    let seen = begun.clone();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(layer_fn(Slow))
        .layer(MetricsLayer::new(&metrics))
        .layer(layer_fn(Slow))
        .layer(log)
        .service_fn(move |req: Request<Body>| {
            *seen.lock().unwrap() = Some(Exchange::of(&req).unwrap().start());
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
    let start = Instant::now();
    drop(service.oneshot(Request::new(Body::empty())).await.unwrap());
    assert_eq!(*begun.lock().unwrap(), Some(start));
    let line = lines.lock().unwrap().concat();
    assert!(line.contains(" duration_ms=40 "), "{line}");
    let sum = "gateway_http_request_duration_seconds_sum{route=\"none\"} 0.04\n";
    assert!(metrics.encode().contains(sum), "{}", metrics.encode());
}

#[tokio::test]
async fn a_key_is_looked_up_once_however_many_ask_who_calls() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let (log, lines) = lines();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(log)
        .layer(AuthLayer::new(move |_: Credential| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok(Principal::new("alice")) }
        }))
        .layer(RateLimitLayer::new(Quota::per_minute(5)).key(ByPrincipal))
        .layer(RateLimitLayer::new(Quota::per_hour(5)).key(ByPrincipal))
        .service_fn(|req: Request<Body>| {
            assert!(req.extensions().get::<Principal>().is_some());
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
    for calls in 1..=3 {
        let request = Request::get("/").header("authorization", "Bearer 0123456789abcdef");
        let request = request.body(Body::empty()).unwrap();
        drop(service.clone().oneshot(request).await.unwrap());
        assert_eq!(asked.load(Ordering::Relaxed), calls);
    }
    assert!(lines.lock().unwrap()[2].contains(" principal=alice "));
}

/// Neither on the way there nor on the way back, by any layer of a whole gateway: the typed view is
/// shared by all clones of a request, and here nobody has made it.
#[tokio::test]
async fn a_call_that_passes_through_is_never_parsed() {
    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"x":1.50}"#;
    const ANSWER: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let upstream = MockUpstream::start(Reply::json(200, ANSWER)).await.unwrap();
    let kept = Arc::<Mutex<Vec<ChatRequest>>>::default();
    let keep = kept.clone();
    let vendor = Provider::custom("lab", upstream.url()).unwrap();
    let gateway = Gateway::builder()
        .rate_limit(Quota::per_minute(60))
        .concurrency(10)
        .layer_at(
            Slot::Auth,
            AuthLayer::new(async |_: Credential| Ok(Principal::new("alice"))),
        )
        .chat_layer(MapRequestLayer::new(move |request: ChatRequest| {
            keep.lock().unwrap().push(request.clone());
            request
        }))
        .model("m", [vendor])
        .build()
        .unwrap();
    let request = Request::post("/v1/chat/completions")
        .header("authorization", "Bearer 0123456789abcdef")
        .header("content-type", "application/json")
        .body(Body::from(BODY))
        .unwrap();
    let response = gateway.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(collect(response.into_body(), 1000).await.unwrap(), ANSWER);
    assert_eq!(upstream.last().unwrap().body, Bytes::from(BODY));

    let [request] = &kept.lock().unwrap()[..] else {
        panic!("one call");
    };
    let parsed =
        |request: &ChatRequest| !format!("{request:?}").contains("typed: OnceLock(<uninit>)");
    assert!(!parsed(request), "{request:?}");
    request.chat().unwrap();
    assert!(parsed(&request.clone()), "the test would not see it");
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_told_as_failed_though_its_bytes_end_well() {
    let (log, lines) = lines();
    let event =
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
    let error = "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n";
    let reply = Reply::pieces("text/event-stream", [event.to_owned(), error.to_owned()]);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let provider = Provider::custom("up", upstream.url()).unwrap();
    let metrics = Metrics::new();
    let gateway = Gateway::builder()
        .model("m", [provider])
        .metrics(metrics.clone())
        .access_log(log)
        .build()
        .unwrap();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let response = gateway.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let all = collect(response.into_body(), 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&all).contains("\"error\""));
    let line = lines.lock().unwrap().join("\n");
    assert!(
        line.contains("status=200") && line.contains("outcome=failed"),
        "{line}"
    );
    assert!(line.contains("first_content_ms="), "{line}");
}
