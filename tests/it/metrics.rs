//! See the module of the same name.

use crate::telling::{Call, Failed, Reply, Told};
use axum::{Router, extract::MatchedPath, routing::get};
use http::{Request, Response, StatusCode};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, Service, ServiceExt};
use tower_gateway::{
    Body, BoxError, Exchange, Reject, Rejection,
    access_log::AccessLogLayer,
    collect,
    exchange::Usage,
    metrics::{Metrics, MetricsLayer, MetricsService},
    rejection::Kind,
    trace::TraceLayer,
};

/// The samples, without comments and buckets.
fn samples(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    samples.map(str::to_owned).collect()
}

fn has(metrics: &Metrics, sample: &str) {
    let samples = samples(metrics);
    assert!(
        samples.iter().any(|line| line == sample),
        "{sample} in {samples:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn all_that_became_known_is_counted_at_the_end() {
    let metrics = Metrics::new();
    let service = MetricsLayer::new(&metrics).layer(tower::service_fn(async |req: Request<()>| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Exchange::of(&req).unwrap().update(|facts| {
            facts.route = Some("/v1/chat/completions".into());
            facts.model = Some("fast".into());
            facts.upstream = Some("anthropic".into());
            facts.attempts = 3;
            facts.first_content = Some(Duration::from_millis(500));
            let mut usage = Usage::new(7, 11);
            usage.cache_read = Some(3);
            facts.usage = Some(usage);
        });
        Ok::<_, Infallible>(Response::new(Body::from("hello")))
    }));
    let request = Request::post("/v1/chat/completions").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(samples(&metrics), ["gateway_http_requests_in_flight 1"]);
    collect(response.into_body(), 100).await.unwrap();
    assert_eq!(
        samples(&metrics),
        [
            r#"gateway_http_requests_total{route="/v1/chat/completions",method="POST",status="200"} 1"#,
            r#"gateway_http_request_duration_seconds_sum{route="/v1/chat/completions"} 0.02"#,
            r#"gateway_http_request_duration_seconds_count{route="/v1/chat/completions"} 1"#,
            "gateway_http_requests_in_flight 0",
            r#"gateway_tokens_total{model="fast",type="cache_read"} 3"#,
            r#"gateway_tokens_total{model="fast",type="input"} 7"#,
            r#"gateway_tokens_total{model="fast",type="output"} 11"#,
            r#"gateway_time_to_first_content_seconds_sum{model="fast"} 0.5"#,
            r#"gateway_time_to_first_content_seconds_count{model="fast"} 1"#,
            r#"gateway_upstream_attempts_total{upstream="anthropic",outcome="retried"} 2"#,
            r#"gateway_upstream_attempts_total{upstream="anthropic",outcome="success"} 1"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_counted_by_its_code() {
    let metrics = Metrics::new();
    let service = MetricsLayer::new(&metrics).layer(tower::service_fn(async |_: Request<()>| {
        let refused: Result<_, Infallible> = Response::<Body>::reject(Kind::RateLimited.into());
        refused
    }));
    drop(service.oneshot(Request::new(())).await.unwrap());
    has(
        &metrics,
        r#"gateway_rejections_total{code="rate_limit_exceeded"} 1"#,
    );
    has(
        &metrics,
        r#"gateway_http_requests_total{route="none",method="GET",status="429"} 1"#,
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_not_in_flight_for_ever() {
    let metrics = Metrics::new();
    let mut service =
        MetricsLayer::new(&metrics).layer(tower::service_fn(async |_: Request<()>| {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
    let mut call = tokio_test::task::spawn(service.call(Request::new(())));
    assert!(call.poll().is_pending());
    has(&metrics, "gateway_http_requests_in_flight 1");
    drop(call);
    has(&metrics, "gateway_http_requests_in_flight 0");
    has(
        &metrics,
        r#"gateway_http_requests_total{route="none",method="GET",status="499"} 1"#,
    );
}

#[tokio::test(start_paused = true)]
async fn no_label_holds_what_a_caller_wrote() {
    let metrics = Metrics::with_max_series(20);
    let service = MetricsLayer::new(&metrics).layer(tower::service_fn(async |req: Request<()>| {
        // A route that a careless user took from the path.
        let path = req.uri().path().to_owned();
        Exchange::of(&req)
            .unwrap()
            .update(|facts| facts.route = Some(path.into()));
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    for n in 0..1000 {
        let request = Request::builder()
            .method(&*format!("BREW{n}"))
            .uri(format!("/{n}"));
        drop(
            service
                .clone()
                .oneshot(request.body(()).unwrap())
                .await
                .unwrap(),
        );
    }
    let of = |name: &str| {
        samples(&metrics)
            .iter()
            .filter(|line| line.starts_with(name))
            .count()
    };
    assert_eq!(of("gateway_http_requests_total{"), 21);
    assert_eq!(of("gateway_http_request_duration_seconds_count{"), 21);
    let rest = r#"gateway_http_requests_total{route="other",method="other",status="2xx"} 980"#;
    has(&metrics, rest);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_counts_without_bound_does_not_turn_the_counter() {
    let metrics = Metrics::new();
    let service = MetricsLayer::new(&metrics).layer(tower::service_fn(async |req: Request<()>| {
        Exchange::of(&req)
            .unwrap()
            .update(|facts| facts.usage = Some(Usage::new(u64::MAX, 1)));
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    for _ in 0..2 {
        drop(service.clone().oneshot(Request::new(())).await.unwrap());
    }
    has(
        &metrics,
        r#"gateway_tokens_total{model="none",type="input"} 8589934590"#,
    );
}

#[tokio::test(start_paused = true)]
async fn the_numbers_outlive_the_services() {
    let metrics = Metrics::new();
    // axum applies a layer anew for each request of a router that still waits for its state.
    let app: Router<()> = Router::new()
        .route("/users/{id}", get(async || "hello"))
        .layer(
            MetricsLayer::new(&metrics)
                .route(|extensions| Some(extensions.get::<MatchedPath>()?.as_str().into())),
        );
    for _ in 0..3 {
        let request = Request::get("/users/7").body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        collect(response.into_body(), 100).await.unwrap();
    }
    has(
        &metrics,
        r#"gateway_http_requests_total{route="/users/{id}",method="GET",status="200"} 3"#,
    );
}

#[tokio::test(start_paused = true)]
async fn over_an_answer_of_its_own() {
    let metrics = Metrics::new();
    let service = MetricsLayer::new(&metrics).layer(tower::service_fn(async |_: Call| {
        Err::<Reply, _>(Failed::Broken)
    }));
    service.oneshot(Call::default()).await.unwrap_err();
    has(
        &metrics,
        r#"gateway_http_requests_total{route="none",method="call",status="none"} 1"#,
    );
    has(&metrics, r#"gateway_rejections_total{code="broken"} 1"#);
}

#[test]
fn gauges_are_read_when_asked_for() {
    let metrics = Metrics::new();
    metrics.gauge("keys", "Keys", || 1);
    // It may ask for the numbers' own, and a name is given once.
    let own = metrics.clone();
    metrics.gauge("keys", "Keys\n# TYPE forged counter", move || {
        own.gauge("other gauge{}", "Other", || -3);
        7
    });
    assert!(metrics.encode().contains("\nkeys 7\n"));
    let text = metrics.encode();
    assert!(text.contains("\nother_gauge__ -3\n"), "{text}");
    assert_eq!(text.matches("# TYPE keys gauge").count(), 1);
    assert!(!text.contains("\n# TYPE forged"));
}

#[tokio::test]
async fn they_are_served_to_who_asks_in_the_right_way() {
    let metrics = Metrics::new();
    let ask = async |method: &str, path: &str, accept: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept);
        let service = MetricsService::new(&metrics);
        let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, collect(body, 100_000).await.unwrap())
    };
    let (parts, text) = ask("GET", "/metrics?name=x", "*/*").await;
    assert_eq!(
        parts.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(text.starts_with(b"# HELP gateway_http_requests_total "));
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (parts, _) = ask(
        "GET",
        "/metrics",
        "application/openmetrics-text;version=1.0.0,*/*",
    )
    .await;
    assert_eq!(parts.headers["content-type"], open);
    let (parts, text) = ask("HEAD", "/metrics", "*/*").await;
    assert_eq!((parts.status, text.len()), (StatusCode::OK, 0));
    let (parts, _) = ask("POST", "/metrics", "*/*").await;
    assert_eq!(parts.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(parts.headers["allow"], "GET, HEAD");
    assert_eq!(ask("GET", "/", "*/*").await.0.status, StatusCode::NOT_FOUND);
}

#[test]
fn nobody_tells_a_secret() {
    const SECRET: &str = "sk-canary";
    let (told, metrics) = (Told::default(), Metrics::new());
    let layers = (
        TraceLayer::new(),
        AccessLogLayer::new(),
        MetricsLayer::new(&metrics),
    );
    let service = layers.layer(tower::service_fn(async |req: Request<String>| {
        if req.uri().path().len() > 1 {
            return Err(format!("upstream refused {SECRET}").into());
        }
        let refused = Rejection::new(Kind::Internal).with_source(SECRET);
        let frames = [
            Ok(http_body::Frame::data(SECRET.into())),
            Err(BoxError::from(refused)),
        ];
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let response = Response::builder().header("set-cookie", SECRET);
        Ok::<_, BoxError>(response.body(Body::boxed(body)).unwrap())
    }));
    let layers = format!("{service:?}");
    tracing::subscriber::with_default(told.clone(), || {
        for uri in [format!("/?key={SECRET}"), format!("/{SECRET}")] {
            let request = Request::post(uri)
                .header("authorization", format!("Bearer {SECRET}"))
                .header("cookie", SECRET)
                .header("x-forwarded-for", SECRET)
                .header("x-request-id", SECRET)
                .header("traceparent", SECRET)
                .header("tracestate", SECRET)
                .body(SECRET.to_owned())
                .unwrap();
            if let Ok(response) = tokio_test::block_on(service.clone().oneshot(request)) {
                tokio_test::block_on(collect(response.into_body(), 100)).unwrap_err();
            }
        }
    });
    let events = told.events("tower_gateway::access");
    assert_eq!((events.len(), told.closed().len()), (2, 2));
    let all = format!(
        "{layers} {events:?} {:?} {}",
        told.closed(),
        metrics.encode()
    );
    assert!(!all.contains("canary"), "{all}");
}
