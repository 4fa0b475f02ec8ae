//! Upstreams that stand for one another, over sockets.

use http::{Method, Request, Response, StatusCode};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, Service, ServiceExt};
use tower_gateway::{
    Body, Exchange, Principal,
    balance::{Balance, Checks, Endpoint, Endpoints, Rules, State, Strategy},
    client::Client,
    gateway::Gateway,
    llm::{ChatRequest, Simulator},
    proxy::{HttpCheck, Proxy, Upstream},
    rejection::Kind,
    retry::RetryLayer,
    split::{HasScope, Split},
    testing::{ClosedPort, MockUpstream, Recorded, Reply},
};

/// Answers all, `/health` with a status of its own.
fn well(request: &Recorded) -> Reply {
    match request.route() {
        "/health" => Reply::status(204),
        _ => Reply::bytes(200, "text/plain", "well").delay(Duration::from_millis(1)),
    }
}

async fn start() -> MockUpstream {
    MockUpstream::start(well).await.unwrap()
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "gate");
    request.body(Body::empty()).unwrap()
}

async fn status<S>(service: &S, request: Request<Body>) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let response = service.clone().oneshot(request).await.unwrap();
    let status = response.status();
    match tower_gateway::collect(response.into_body(), 1 << 20).await {
        Ok(_) => status,
        // It broke off.
        Err(_) => StatusCode::IM_A_TEAPOT,
    }
}

/// Quick ones, so that a test need not wait.
fn checks() -> Checks {
    Checks::new()
        .interval(Duration::from_millis(100))
        .timeout(Duration::from_millis(50))
}

fn name(upstream: &MockUpstream) -> String {
    upstream.address().to_string()
}

async fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it does not come about"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn state<S>(endpoints: &Endpoints<S>, name: &str) -> Option<State> {
    endpoints.status(name).map(|status| status.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_dies_loses_no_call_that_may_be_sent_again() {
    let (stays, dies) = (start().await, start().await);
    let address = dies.address();
    let pool = Proxy::pool([stays.url(), dies.url()])
        .unwrap()
        .check(HttpCheck::get("/health").unwrap().every(checks()))
        .build()
        .unwrap();
    let endpoints = pool.endpoints().clone();
    let service = RetryLayer::new().elsewhere().layer(pool);
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for nth in 0..16 {
        let (service, over, answered) = (service.clone(), over.clone(), answered.clone());
        clients.spawn(async move {
            let mut failed = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let mut request = get("/a");
                if nth % 2 == 0 {
                    *request.method_mut() = Method::PUT;
                    *request.body_mut() = Body::from("some");
                }
                let status = status(&service, request).await;
                if status != StatusCode::OK {
                    failed.push(status);
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            failed
        });
    }
    let calls = |endpoints: &Endpoints<_>| {
        let status = endpoints.status(&address.to_string());
        status.map_or(0, |status| status.calls)
    };
    let more = async |than: u64| {
        let (answered, then) = (&answered, answered.load(Ordering::Relaxed));
        until(|| answered.load(Ordering::Relaxed) > then + than).await;
    };
    more(500).await;
    assert!(calls(&endpoints) > 100, "both are called");

    drop(dies);
    until(|| state(&endpoints, &address.to_string()) != Some(State::Up)).await;
    let then = calls(&endpoints);
    more(500).await;
    assert!(calls(&endpoints) - then < 20, "nobody is sent there");

    let back = restart(address).await;
    until(|| state(&endpoints, &address.to_string()) == Some(State::Up)).await;
    let then = calls(&endpoints);
    until(|| calls(&endpoints) > then + 100).await;
    assert!(back.count() > 100, "and now again");
    over.store(true, Ordering::Relaxed);
    let failed: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    let answered = answered.load(Ordering::Relaxed);
    println!(
        "pool: {answered} calls, an upstream died and came back, {} lost",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
}

/// The port may be taken for a moment by connections that are closing.
async fn restart(address: SocketAddr) -> MockUpstream {
    for _ in 0..500 {
        if let Ok(upstream) = MockUpstream::start_at(address, well).await {
            return upstream;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the port stays taken");
}

#[tokio::test]
async fn weights_hold_and_the_exchange_tells_who_was_asked() {
    let (large, small) = (start().await, start().await);
    let pool = Proxy::pool([
        Upstream::new(large.url()).weight(3),
        Upstream::new(small.url()),
    ])
    .unwrap()
    .rules(Strategy::SmoothWeighted)
    .build()
    .unwrap();
    for _ in 0..40 {
        let before = large.count();
        let mut request = get("/a");
        let exchange = Exchange::enter(&mut request);
        assert_eq!(status(&pool, request).await, StatusCode::OK);
        let asked = if large.count() > before {
            &large
        } else {
            &small
        };
        let facts = exchange.facts();
        assert_eq!(
            (facts.upstream.as_deref(), facts.attempts),
            (Some(&*name(asked)), 1)
        );
    }
    assert_eq!((large.count(), small.count()), (30, 10));
    let host = large.last().unwrap();
    assert_eq!(host.header("host"), Some(&*name(&large)));
}

#[tokio::test]
async fn an_upstream_is_drained_while_its_calls_end() {
    let slow = |_: &Recorded| {
        let pieces = ["one", "two", "three"];
        Reply::pieces("text/plain", pieces).pace(Duration::from_millis(100))
    };
    let (leaves, stays) = (MockUpstream::start(slow).await.unwrap(), start().await);
    let pool = Proxy::pool([leaves.url()]).unwrap().build().unwrap();
    let response = pool.clone().oneshot(get("/a")).await.unwrap();
    let endpoints = pool.endpoints();
    assert_eq!(endpoints.status(&name(&leaves)).unwrap().in_flight, 1);

    let another = Proxy::to(leaves.url())
        .unwrap()
        .beside(stays.url())
        .unwrap();
    assert!(endpoints.insert(Endpoint::new(name(&stays)), another));
    assert!(endpoints.drain(&name(&leaves)));
    for _ in 0..5 {
        assert_eq!(status(&pool, get("/a")).await, StatusCode::OK);
    }
    assert_eq!((leaves.count(), stays.count()), (1, 5));
    let body = tower_gateway::collect(response.into_body(), 99)
        .await
        .unwrap();
    assert_eq!(body, "onetwothree");
    assert_eq!(endpoints.status(&name(&leaves)).unwrap().in_flight, 0);
    assert!(endpoints.remove(&name(&leaves)) && endpoints.remove(&name(&stays)));

    let none = pool.oneshot(get("/a")).await.unwrap();
    assert_eq!(none.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        none.headers()["proxy-status"],
        "tower-gateway; error=destination_unavailable"
    );
}

#[tokio::test]
async fn checks_ask_at_their_own_port_for_their_own_status() {
    let (upstream, health) = (start().await, start().await);
    let closed = ClosedPort::new().unwrap();
    let pool = |port, statuses| {
        let check = HttpCheck::get("/health?deep=1").unwrap().every(checks());
        let pool = Proxy::pool([upstream.url() + "/v1"]).unwrap();
        pool.check(check.port(port).statuses(statuses))
            .build()
            .unwrap()
    };
    let port = health.address().port();
    let good = pool(port, 204..=204);
    let checked = |endpoints: &Endpoints<_>, count: usize| {
        let last = endpoints.statuses()[0].last_check;
        last.is_some() && health.count() >= count
    };
    until(|| checked(good.endpoints(), 3)).await;
    assert_eq!(state(good.endpoints(), &name(&upstream)), Some(State::Up));
    let asked = health.last().unwrap();
    assert_eq!(
        (asked.path.as_str(), asked.header("x-forwarded-for")),
        ("/health?deep=1", None)
    );
    assert_eq!(upstream.count(), 0, "not at the port of the calls");
    drop(good);
    for (port, statuses) in [(port, 200..=203), (closed.address().port(), 200..=299)] {
        let bad = pool(port, statuses);
        until(|| state(bad.endpoints(), &name(&upstream)) == Some(State::Unhealthy)).await;
    }
    // The last handle is gone, and so is the task.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let count = health.count();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(health.count(), count);
}

#[tokio::test]
async fn upstreams_are_found_while_calls_come() {
    let (first, second) = (start().await, start().await);
    let (sets, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let source = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let pool = Proxy::pool([first.url() + "/v1"])
        .unwrap()
        .client(Client::new())
        .discover(source)
        .build()
        .unwrap();
    assert_eq!(status(&pool, get("/a")).await, StatusCode::OK);
    assert_eq!(first.count(), 1, "as long as nothing is found");
    let found = [name(&second), "no name".to_owned()];
    sets.send(found.map(Endpoint::new).into()).unwrap();
    until(|| pool.endpoints().status(&name(&second)).is_some()).await;
    assert_eq!(pool.endpoints().len(), 1);
    assert_eq!(status(&pool, get("/a")).await, StatusCode::OK);
    let asked = second.last().unwrap();
    assert_eq!(asked.path, "/v1/a");
    assert_eq!(
        asked.header("host"),
        Some(&*name(&first)),
        "an address has no name of its own"
    );
}

#[tokio::test]
async fn what_is_no_pool_says_which_upstream_and_not_what() {
    let error = |urls: &[&str]| Proxy::pool(urls.iter().copied()).unwrap_err().to_string();
    assert_eq!(error(&[]), "a pool has at least one upstream");
    let secret = error(&["http://a:1", "http://user:secret@b"]);
    assert_eq!(secret, "upstream 2: credentials do not belong into a URL");
    let twice = error(&["http://a:1", "http://b:1", "http://a:1/v1"]);
    assert_eq!(twice, "upstream 3: its host and port are there twice");
}

#[test]
fn checks_need_a_runtime_and_a_pool_alone_does_not() {
    let pool = || Proxy::pool(["http://127.0.0.1:9"]).unwrap();
    assert!(pool().build().is_ok());
    let check = HttpCheck::get("/").unwrap();
    assert!(pool().check(check).build().is_err());
}

#[tokio::test]
async fn a_request_that_comes_back_to_its_pool_is_a_loop() {
    let upstream = start().await;
    let pool = Proxy::pool([upstream.url()]).unwrap().build().unwrap();
    status(&pool, get("/a")).await;
    let via = upstream.last().unwrap().headers["via"].clone();
    let mut again = get("/a");
    again.headers_mut().insert("via", via.clone());
    assert_eq!(status(&pool, again).await, StatusCode::LOOP_DETECTED);
    // All of a pool are one hop, whoever is asked.
    let beside = Proxy::pool(["http://127.0.0.1:9", "http://127.0.0.1:10"]);
    let beside = beside.unwrap().build().unwrap();
    let mut other = get("/a");
    other.headers_mut().insert("via", via);
    assert_eq!(
        status(&beside, other).await,
        StatusCode::BAD_GATEWAY,
        "another proxy"
    );
}

#[tokio::test]
async fn a_gateway_routes_to_a_pool_and_to_variants_of_it() {
    let (old, new) = (start().await, start().await);
    let pool = |upstream: &MockUpstream| Proxy::pool([upstream.url()]).unwrap().build().unwrap();
    let split = Split::new(
        "next",
        [("old", 10_000, pool(&old)), ("new", 0, pool(&new))],
    )
    .unwrap()
    .overridable_when(HasScope::new("test"));
    let variant = http::HeaderName::from_static("x-gateway-variant");
    let metrics = tower_gateway::metrics::Metrics::new();
    let gateway = Gateway::builder()
        .metrics(metrics.clone())
        .keep_headers([variant.clone()])
        .layer(tower::layer::layer_fn(|inner| {
            // In the place of authentication.
            tower::util::MapRequest::new(inner, |mut request: Request<Body>| {
                let tester = Principal::new("tester").with_scopes(["test"]);
                request.extensions_mut().insert(tester);
                request
            })
        }))
        .route("/{*path}", split)
        .build()
        .unwrap();
    let mut asks = get("/a");
    asks.headers_mut().insert(variant, "new".parse().unwrap());
    for (request, expected) in [(get("/a"), "old"), (asks, "new")] {
        let response = gateway.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-gateway-variant"], expected);
        tower_gateway::collect(response.into_body(), 99)
            .await
            .unwrap();
    }
    assert_eq!((old.count(), new.count()), (1, 1));
    let text = metrics.encode();
    for line in [
        r#"gateway_variant_requests_total{variant="new",outcome="success"} 1"#,
        r#"gateway_variant_duration_seconds_count{variant="old"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// With one of two dead and nobody who asks again, each call that it fails is told of, and soon there
/// are none.
#[tokio::test]
async fn an_upstream_that_fails_is_ejected_without_checks() {
    let upstream = start().await;
    let closed = ClosedPort::new().unwrap();
    let pool = Proxy::pool([upstream.url(), closed.url()])
        .unwrap()
        .rules(Rules::new(Strategy::RoundRobin))
        .build()
        .unwrap();
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(status(&pool, get("/a")).await != StatusCode::OK);
    }
    assert_eq!(failed, 5, "five in a row");
    let dead = closed.address().to_string();
    assert_eq!(state(pool.endpoints(), &dead), Some(State::Ejected));
}

#[tokio::test]
async fn a_model_behind_two_endpoints_is_one_model() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    endpoints.insert("a", Simulator::new().answer("Paris"));
    endpoints.insert("b", Simulator::new().answer("Rome"));
    let chat = Balance::new(endpoints.clone());
    let out = || {
        endpoints
            .statuses()
            .iter()
            .map(|one| one.in_flight)
            .sum::<u32>()
    };
    let mut cities = Vec::new();
    for _ in 0..2 {
        let question = ChatRequest::new().user("The capital?");
        let answer = chat.clone().oneshot(question).await.unwrap();
        assert_eq!(out(), 1, "until it is read");
        cities.push(answer.text().await.unwrap());
        assert_eq!(out(), 0);
    }
    assert_eq!(cities, ["Paris", "Rome"]);
    endpoints.replace(Vec::<(Endpoint, Simulator)>::new());
    let refused = chat.oneshot(ChatRequest::new().user("And now?")).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::CircuitOpen);
}
