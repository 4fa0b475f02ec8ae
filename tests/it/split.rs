//! Variants and copies, of models too, and who tells of them.

use http::{Request, Response};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_gateway::{
    Body, Exchange, Extensible, Principal,
    access_log::AccessLogLayer,
    llm::{ChatRequest, Simulator, VendorFault},
    mirror::MirrorLayer,
    split::Split,
};

fn question() -> ChatRequest {
    let mut request = ChatRequest::new().for_model("sim-chat").user("Hello");
    let alice = Principal::new("alice");
    request.extensions_mut().insert(alice);
    request
}

#[tokio::test]
async fn a_model_has_variants() {
    let says = |text: &str| Simulator::new().answer(text);
    let split = Split::new("x", [("old", 10_000, says("old")), ("new", 0, says("new"))]).unwrap();
    let handle = split.handle();
    for name in ["old", "new"] {
        handle.switch_to(name).unwrap();
        let mut request = question();
        let exchange = Exchange::enter(&mut request);
        let answer = split.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["x-gateway-variant"], name);
        assert_eq!(answer.text().await.unwrap(), name);
        assert_eq!(exchange.facts().variant.as_deref(), Some(name));
    }
    let nobody = ChatRequest::new().for_model("sim-chat").user("Hello");
    let refused = split.refuse_without_key().oneshot(nobody).await;
    assert_eq!(refused.unwrap_err().kind().code(), "missing_api_key");
}

#[tokio::test]
async fn the_access_log_tells_the_variant() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let variant = service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(Response::new(Body::from("hello")))
    });
    let service = ServiceBuilder::new()
        .layer(AccessLogLayer::new().sink(move |record| {
            let line = (record.variant.map(str::to_owned), record.to_string());
            sink.lock().unwrap().push(line);
        }))
        .service(Split::new("x", [("only", 10_000, variant)]).unwrap());
    let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
    tower_gateway::collect(response.into_body(), 9)
        .await
        .unwrap();
    let (variant, line) = lines.lock().unwrap().pop().unwrap();
    assert_eq!(variant.as_deref(), Some("only"));
    assert!(line.contains(" variant=only "), "{line}");
}

#[tokio::test]
async fn one_service_is_mirrored_call_after_call() {
    let hears = Arc::new(Mutex::new(Vec::new()));
    let heard = hears.clone();
    let shadow = service_fn(move |request: Request<Body>| {
        heard.lock().unwrap().push(request.uri().to_string());
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let layer = MirrorLayer::new(shadow, 10_000);
    let mut service = layer.layer(service_fn(async |request: Request<Body>| {
        let body = tower_gateway::collect(request.into_body(), 9)
            .await
            .unwrap();
        Ok::<_, Infallible>(Response::new(Body::from(body)))
    }));
    for nth in 0..3 {
        let request = Request::post(format!("/{nth}"))
            .body(Body::from("x"))
            .unwrap();
        service.ready().await.unwrap().call(request).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    while layer.handle().stats().answered < 3 {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    hears.lock().unwrap().sort();
    assert_eq!(*hears.lock().unwrap(), ["/0", "/1", "/2"]);
}

#[tokio::test]
async fn a_model_is_mirrored_and_its_shadow_may_fail() {
    for (shadow, answered) in [
        (Simulator::new(), 1),
        (
            Simulator::new().faults(u64::MAX, VendorFault::Overloaded),
            0,
        ),
    ] {
        let layer = MirrorLayer::new(shadow, 10_000);
        let mirrored = layer.layer(Simulator::new().answer("main"));
        let mut request = question();
        let exchange = Exchange::enter(&mut request);
        let answer = mirrored.oneshot(request).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "main");
        let start = tokio::time::Instant::now();
        let stats = loop {
            let stats = layer.handle().stats();
            if stats.answered + stats.failed > 0 {
                break stats;
            }
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_eq!((stats.sent, stats.answered), (1, answered));
        assert!(
            exchange.facts().attempts <= 1,
            "the copy is none of its attempts"
        );
    }
}
