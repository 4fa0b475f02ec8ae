//! Balancing as a user meets it: under axum, over routers, and under hyper alone.

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_gateway::{
    balance::{Balance, Endpoint, Endpoints, State, Strategy},
    circuit_breaker::CircuitBreakerLayer,
    client_addr::{ByClientAddr, ClientAddr},
};

fn upstream(name: &'static str) -> Router {
    Router::new().route("/", get(move || async move { name }))
}

async fn text(app: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1024)
        .await
        .unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn request() -> Request<Body> {
    Request::new(Body::empty())
}

#[tokio::test]
async fn a_router_over_routers_and_the_counts_outlive_its_clones() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    endpoints.insert("a", upstream("a"));
    endpoints.insert("b", upstream("b"));
    // A lazy router clones its service, and makes its layers, for each request.
    let app = Router::new()
        .fallback_service(Balance::new(endpoints.clone()))
        .layer(CircuitBreakerLayer::new())
        .layer(ConcurrencyLimitLayer::new(4));
    let mut answers = String::new();
    for _ in 0..6 {
        answers += &text(&app, request()).await.1;
    }
    assert_eq!(answers, "ababab");
    let open = app.clone().oneshot(request()).await.unwrap();
    assert_eq!(endpoints.status("a").unwrap().in_flight, 1);
    drop(open);
    let status = endpoints.status("a").unwrap();
    assert_eq!(
        (status.in_flight, status.calls, status.state),
        (0, 4, State::Up)
    );
    endpoints.replace(Vec::<(Endpoint, Router)>::new());
    let (status, problem) = text(&app, request()).await;
    assert_eq!(status, 503);
    assert!(
        problem.contains(r#""code":"upstream_unavailable""#),
        "{problem}"
    );
}

#[tokio::test]
async fn a_client_address_has_one_place() {
    let endpoints = Endpoints::new(Strategy::RingHash);
    for name in ["a", "b", "c"] {
        endpoints.insert(name, upstream(name));
    }
    let app = Router::new().fallback_service(Balance::new(endpoints).key(ByClientAddr));
    let place = async |last: u8| {
        let mut request = request();
        let client = ClientAddr([192, 0, 2, last].into());
        request.extensions_mut().insert(client);
        text(&app, request).await.1
    };
    let mut places = Vec::new();
    for last in 0..50 {
        let first = place(last).await;
        assert_eq!(place(last).await, first);
        places.push(first);
    }
    places.sort();
    places.dedup();
    assert_eq!(places, ["a", "b", "c"]);
}

#[tokio::test]
async fn under_hyper_alone_a_caller_that_hangs_up_is_not_counted_any_more() {
    let endpoints = Endpoints::new(Strategy::LeastOutstanding);
    let (entered, mut came) = tokio::sync::mpsc::unbounded_channel();
    let slow = service_fn(move |request: Request<Incoming>| {
        let entered = entered.clone();
        async move {
            if request.uri().path() == "/slow" {
                let _ = entered.send(());
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(http::Response::new(tower_gateway::Body::from("quick")))
        }
    });
    endpoints.insert("a", slow);
    let balance = Balance::new(endpoints.clone());
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(balance);
    let server =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let server = tokio::spawn(server);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 1024];
    let mut length = 0;
    while !answer[..length].ends_with(b"quick") {
        length += client.read(&mut answer[length..]).await.unwrap();
    }
    client
        .write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    came.recv().await.unwrap();
    assert_eq!(endpoints.status("a").unwrap().in_flight, 1);
    drop(client);
    let _ = server.await;
    let status = endpoints.status("a").unwrap();
    assert_eq!((status.in_flight, status.calls, status.failures), (0, 2, 0));
}
