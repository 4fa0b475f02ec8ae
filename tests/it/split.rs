//! Variants and copies, of models too, and who tells of them.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_gateway::{
    Body, Exchange, Extensible, Principal,
    access_log::AccessLogLayer,
    key::ByHeader,
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

/// What hyper answers on one connection to requests as they are written, of which the last closes it.
async fn served<S>(service: S, requests: &str) -> String
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(service);
    let http1 = hyper::server::conn::http1::Builder::new();
    let server = http1.serve_connection(TokioIo::new(server), service);
    client.write_all(requests.as_bytes()).await.unwrap();
    let mut text = String::new();
    let (served, read) = tokio::join!(server, client.read_to_string(&mut text));
    served.unwrap();
    read.unwrap();
    text
}

#[tokio::test]
async fn in_hyper_a_caller_has_its_variant_on_every_connection() {
    let says = |text: &'static str| {
        service_fn(move |_: Request<Incoming>| async move {
            Ok::<_, Infallible>(Response::new(Body::from(text)))
        })
    };
    let split = Split::new(
        "x",
        [("old", 5_000, says("old")), ("new", 5_000, says("new"))],
    )
    .unwrap()
    .key(ByHeader::new("x-user"));
    let head = |name: u32| format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: {name}\r\n");
    let variants = async |name: u32| {
        let requests = format!("{0}\r\n{0}connection: close\r\n\r\n", head(name));
        let text = served(split.clone(), &requests).await;
        let lines = text.lines();
        let named = lines.filter_map(|line| line.strip_prefix("x-gateway-variant: "));
        let named: Vec<_> = named.map(str::to_owned).collect();
        assert!(text.contains(&format!("\r\n\r\n{}HTTP/1.1", named[0])));
        named
    };
    let mut seen = Vec::new();
    for name in 0..40 {
        let first = variants(name).await;
        assert_eq!((first.len(), &first[0]), (2, &first[1]));
        assert_eq!(variants(name).await, first);
        seen.extend(first);
    }
    let new = seen.iter().filter(|variant| *variant == "new").count();
    assert!((16..64).contains(&new), "{new} of 80");
    split.handle().switch_to("new").unwrap();
    assert_eq!(variants(0).await, ["new"; 2]);

    let browser = split.cookie("seen").unwrap();
    let text = served(
        browser,
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(text.contains("\r\nset-cookie: seen="), "{text}");
}

#[tokio::test]
async fn in_hyper_what_is_sent_once_reaches_the_shadow_too() {
    let (tells, mut told) = tokio::sync::mpsc::unbounded_channel();
    let shadow = service_fn(move |request: Request<Body>| {
        let tells = tells.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = tower_gateway::collect(request.into_body(), 99).await;
            tells.send((path, body.unwrap())).unwrap();
            // Which nobody waits for.
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let echo = service_fn(async |request: Request<Body>| Ok(Response::new(request.into_body())));
    let layer = MirrorLayer::new(shadow, 10_000);
    let service = ServiceBuilder::new()
        // hyper's own body cannot be made of bytes.
        .map_request(|request: Request<Incoming>| request.map(Body::new))
        .layer(layer.clone())
        .service(echo);
    let head = "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    let request = format!("{head}content-length: 5\r\n\r\nhello");
    let answer = served(service.clone(), &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello"));
    let (path, body) = told.recv().await.unwrap();
    assert_eq!((&*path, &*body), ("/a", &b"hello"[..]));
    assert_eq!(layer.handle().stats().sent, 1);
}
