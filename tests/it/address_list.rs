//! The lists as a user meets them: over a service of its own, over axum, made for each request.

use crate::{follow::Reply, telling::Told};
use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use std::net::SocketAddr;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Rejection,
    address_list::{AddressListLayer, Addresses},
    client_addr::{ClientAddr, ClientAddrLayer, PeerAddr},
    rejection::Kind,
};

fn ours() -> Addresses {
    Addresses::new().allow(["10.0.0.0/8"]).unwrap()
}

fn from(client: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let client = ClientAddr(client.parse().unwrap());
    request.extensions_mut().insert(client);
    request
}

#[tokio::test]
async fn a_call_from_elsewhere_never_reaches_the_service() {
    let service = ServiceBuilder::new()
        .layer(AddressListLayer::new(ours()))
        .service_fn(
            async |request: Request<Body>| match request.extensions().get() {
                Some(ClientAddr(client)) if client.is_ipv4() => Ok(Reply("let in")),
                _ => Err(BoxError::from("it was not to be called")),
            },
        );
    assert_eq!(
        service.clone().oneshot(from("10.1.1.1")).await.unwrap(),
        Reply("let in")
    );
    for elsewhere in [
        from("192.0.2.1"),
        from("2001:db8::1"),
        Request::new(Body::empty()),
    ] {
        let error = service.clone().oneshot(elsewhere).await.unwrap_err();
        let rejection: &Rejection = error.downcast_ref().expect("a refusal");
        assert_eq!(rejection.kind(), Kind::Blocked);
    }
}

#[tokio::test]
async fn the_client_behind_a_proxy_counts_and_without_one_the_peer() {
    let peer = PeerAddr(SocketAddr::from(([10, 0, 0, 1], 80)));
    let lists = AddressListLayer::new(ours().deny(["10.6.6.6"]).unwrap());
    let app = || {
        Router::new()
            .route("/", get(async || "hello"))
            .layer(lists.clone())
    };
    let found = app().layer(
        ClientAddrLayer::new()
            .trusted_proxies(["10.0.0.1"])
            .unwrap(),
    );
    for (hop, status) in [("10.6.6.6", 403), ("192.0.2.1", 403), ("10.2.2.2", 200)] {
        let request = Request::get("/")
            .header("x-forwarded-for", hop)
            .extension(peer);
        let response = found
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await;
        assert_eq!(response.unwrap().status(), status, "{hop}");
    }
    let request = Request::get("/")
        .header("x-forwarded-for", "10.6.6.6")
        .extension(peer);
    let response = app()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "nobody vouches for that header"
    );
}

#[tokio::test]
async fn all_services_of_a_layer_follow_other_lists() {
    let layer = AddressListLayer::new(ours());
    // Without state axum applies it anew for each request.
    let app: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(layer.clone());
    let ask = async || {
        app.clone()
            .oneshot(from("192.0.2.1"))
            .await
            .unwrap()
            .status()
    };
    assert_eq!(ask().await, StatusCode::FORBIDDEN);
    layer.replace(Addresses::new());
    assert_eq!(ask().await, StatusCode::OK);
    layer.replace(Addresses::new().deny(["192.0.2.0/24"]).unwrap());
    assert_eq!(ask().await, StatusCode::FORBIDDEN);
    let lenient = AddressListLayer::new(ours()).admit_unknown();
    let app: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(lenient);
    let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn that_the_peer_is_judged_is_warned_of_once() {
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(told.clone());
    let service = ServiceBuilder::new()
        .layer(AddressListLayer::new(ours()))
        .service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Reply("let in")));
    let found = service.clone().oneshot(from("10.1.1.1")).await;
    assert_eq!(found.unwrap(), Reply("let in"));
    assert!(told.events("tower_gateway::address_list").is_empty());
    for _ in 0..2 {
        let mut request = Request::new(Body::empty());
        let peer = PeerAddr(SocketAddr::from(([10, 0, 0, 1], 80)));
        request.extensions_mut().insert(peer);
        let judged = service.clone().oneshot(request).await;
        assert_eq!(judged.unwrap(), Reply("let in"));
    }
    let [warning] = told
        .events("tower_gateway::address_list")
        .try_into()
        .unwrap();
    assert!(warning["message"].contains("ClientAddrLayer"));
}
