//! See the module of the same name.

use crate::telling::{Call, Reply, Told};
use axum::{Extension, Router, extract::ConnectInfo, routing::get};
use http::Request;
use std::{convert::Infallible, net::SocketAddr};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Body, Exchange, Extensible,
    client_addr::{ByClientAddr, ClientAddr, ClientAddrLayer, ForwardedHeader, PeerAddr},
    collect,
    key::Key,
};

/// What stands further in sees: the client, and the names of the forwarding headers that are left.
fn seen(layer: ClientAddrLayer, request: Request<()>) -> (Option<String>, Vec<String>) {
    let mut seen = None;
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(|req: Request<()>| {
            let client = req.extensions().get().map(ClientAddr::to_string);
            let mut names: Vec<_> = req.headers().keys().map(ToString::to_string).collect();
            names.sort();
            seen = Some((client, names));
            std::future::ready(Ok::<_, Infallible>(()))
        });
    drop(service.call(request));
    drop(service);
    seen.unwrap()
}

fn request(peer: Option<&str>) -> Request<()> {
    let mut request = Request::builder()
        .header("host", "example.com")
        .header("forwarded", "for=3.3.3.3")
        .header("x-forwarded-for", "2.2.2.2")
        .header("x-forwarded-proto", "https")
        .header("x_forwarded_for", "4.4.4.4")
        .header("x-real-ip", "5.5.5.5")
        .body(())
        .unwrap();
    if let Some(peer) = peer {
        request
            .extensions_mut()
            .insert(PeerAddr(peer.parse().unwrap()));
    }
    request
}

fn trusting() -> ClientAddrLayer {
    ClientAddrLayer::new()
        .trusted_proxies(["10.0.0.0/8"])
        .unwrap()
}

#[test]
fn nobody_is_trusted_by_default() {
    let (client, names) = seen(ClientAddrLayer::new(), request(Some("10.0.0.1:1")));
    assert_eq!(client.as_deref(), Some("10.0.0.1"));
    assert_eq!(names, ["host"], "what nobody vouches for is gone");
}

#[test]
fn a_trusted_peer_keeps_the_family_that_was_configured() {
    let (client, names) = seen(trusting(), request(Some("10.0.0.1:1")));
    assert_eq!(client.as_deref(), Some("2.2.2.2"));
    assert_eq!(names, ["host", "x-forwarded-for", "x-forwarded-proto"]);

    let layer = trusting().header(ForwardedHeader::Forwarded);
    let (client, names) = seen(layer, request(Some("10.0.0.1:1")));
    assert_eq!(client.as_deref(), Some("3.3.3.3"));
    assert_eq!(names, ["forwarded", "host"]);
}

#[test]
fn a_stranger_keeps_nothing() {
    let (client, names) = seen(trusting(), request(Some("[2001:db8::1]:1")));
    assert_eq!(client.as_deref(), Some("2001:db8::1"));
    assert_eq!(names, ["host"]);
}

#[test]
fn without_a_peer_there_is_no_client() {
    let mut request = request(None);
    // Not even one that a layer further out has put there.
    request
        .extensions_mut()
        .insert(ClientAddr([6, 6, 6, 6].into()));
    let (client, names) = seen(trusting(), request);
    assert_eq!(client, None);
    assert_eq!(names, ["host"]);
}

#[test]
fn the_missing_peer_is_warned_of_once() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let layer = ClientAddrLayer::new();
        seen(layer.clone(), request(None));
        seen(layer, request(None));
    });
    let [warning] = told
        .events("tower_gateway::client_addr")
        .try_into()
        .unwrap();
    assert!(
        warning["message"].contains(".peer("),
        "it says what would mend it"
    );
}

#[test]
fn the_exchange_learns_the_client() {
    let mut request = request(Some("10.0.0.1:1"));
    let exchange = Exchange::enter(&mut request);
    seen(trusting(), request);
    assert_eq!(exchange.facts().client, Some([2, 2, 2, 2].into()));
}

#[test]
fn ipv6_is_keyed_by_its_network() {
    let key = |addr: &str, key: &dyn Key<Request<()>, Key = std::net::IpAddr>| {
        let mut request = Request::new(());
        request
            .extensions_mut()
            .insert(ClientAddr(addr.parse().unwrap()));
        key.key(&request).unwrap().to_string()
    };
    assert_eq!(key("192.0.2.7", &ByClientAddr), "192.0.2.7");
    assert_eq!(key("2001:db8:1:2:3:4:5:6", &ByClientAddr), "2001:db8:1:2::");
    let address = ByClientAddr.ipv6_prefix(48);
    assert_eq!(key("2001:db8:1:2:3:4:5:6", &address), "2001:db8:1::");
    let whole = ByClientAddr.ipv6_prefix(255);
    assert_eq!(key("2001:db8::7", &whole), "2001:db8::7");
    assert_eq!(ByClientAddr.key(&Request::new(())), None);
}

#[tokio::test]
async fn over_axum() {
    let app: Router = Router::new()
        .route(
            "/",
            get(async |Extension(client): Extension<ClientAddr>| client.to_string()),
        )
        .layer(trusting().peer(|extensions| {
            extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|peer| peer.0)
        }));
    let request = Request::get("/")
        .extension(ConnectInfo::<SocketAddr>("10.0.0.1:443".parse().unwrap()))
        .header("x-forwarded-for", "2.2.2.2")
        .body(Body::empty())
        .unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(collect(response.into_body(), 100).await.unwrap(), "2.2.2.2");
}

#[tokio::test]
async fn over_a_request_of_its_own() {
    let service = ServiceBuilder::new()
        .layer(trusting())
        .service_fn(async |call: Call| {
            let client = call.extensions().get().map(ClientAddr::to_string);
            Ok::<_, Infallible>(Reply::new(client.unwrap_or_default()))
        });
    let mut call = Call::default();
    call.extensions_mut()
        .insert(PeerAddr(([192, 0, 2, 1], 1).into()));
    let reply = service.oneshot(call).await.unwrap();
    assert_eq!(reply.text, "192.0.2.1");
}
