//! The proxy between real connections.

mod framing;
mod router;
mod streams;
mod upgrade;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_gateway::{
    Body, Exchange, Rejection,
    client::Client,
    client_addr::{ClientAddrLayer, PeerAddr},
    proxy::{Forwarding, Proxy},
    rejection::Kind,
};

/// Serves HTTP/1.1 and HTTP/2 with upgrades.
async fn serve<S>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let service = ServiceBuilder::new()
                .map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(peer));
                    request
                })
                .service(service.clone());
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(service);
                let serving = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
                let _ = serving.await;
            });
        }
    });
    address
}

fn to(upstream: SocketAddr) -> Proxy {
    Proxy::to(format!("http://{upstream}")).unwrap()
}

/// An upstream that reads one head of a request on each connection, keeps it, sends `answer` and
/// hangs up.
async fn raw_upstream(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let head = read_head(&mut socket).await;
            kept.lock().unwrap().push(head);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, heads)
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends what is given as it is, and reads until the server closes.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // A server that has had enough closes while we write.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = socket.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.into()).unwrap()
}

/// A request as a server would give it, without one.
fn request(method: Method, uri: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(uri);
    request.header(header::HOST, "gate")
}

/// The answer without what differs each time.
fn without_date(answer: &str) -> String {
    let lines = answer.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date:")).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_and_its_answer_are_forwarded_to_the_byte() {
    let (upstream, heads) = raw_upstream(
        "HTTP/1.1 203 Fine\r\nX-One: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Hop: gone\r\n\
         Connection: x-hop\r\nKeep-Alive: timeout=9\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    let gate = serve(to(upstream)).await;
    let answer = raw(
        gate,
        &format!(
            "GET /b~?q=%7E&q HTTP/1.1\r\nHost: {gate}\r\nAccept: x\r\nAccept: y\r\n\
             Authorization: Bearer t\r\nConnection: close, x-mine\r\nX-Mine: 1\r\n\r\n"
        ),
    )
    .await;
    let head = heads.lock().unwrap()[0].clone();
    let (head, via) = head.split_once("via: ").unwrap();
    assert_eq!(
        head,
        format!(
            "GET /b~?q=%7E&q HTTP/1.1\r\nhost: {upstream}\r\naccept: x\r\naccept: y\r\n\
             authorization: Bearer t\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n\
             x-forwarded-host: {gate}\r\n"
        )
    );
    assert!(via.starts_with("1.1 tower-gateway-"), "{via}");
    let via = via.trim_end();
    assert_eq!(
        without_date(&answer),
        format!(
            "HTTP/1.1 203 Fine\r\nx-one: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
             content-length: 5\r\nvia: {via}\r\nconnection: close\r\n\r\nhello"
        )
    );
}

#[tokio::test]
async fn answers_without_a_body_keep_their_heads() {
    for (method, status, answer, expected) in [
        (
            Method::HEAD,
            200,
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
            Some("99"),
        ),
        (
            Method::GET,
            304,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: \"x\"\r\n\r\n",
            // hyper drops it here, as it may.
            None,
        ),
        (Method::DELETE, 204, "HTTP/1.1 204 No Content\r\n\r\n", None),
    ] {
        let (upstream, _) = raw_upstream(answer).await;
        let gate = serve(to(upstream)).await;
        let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = raw(gate, &request).await.to_lowercase();
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "));
        assert_eq!((length, body), (expected, ""), "{answer}");
        assert!(!head.contains("transfer-encoding"), "{answer}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_bad_gateway_without_a_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    drop(listener);
    let request = request(Method::GET, "/").body(Body::empty()).unwrap();
    let response = to(upstream).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let headers = response.headers();
    assert_eq!(
        headers["proxy-status"],
        "tower-gateway; error=connection_refused"
    );
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    let told = format!("{headers:?}");
    let body = text(response).await;
    assert!(body.contains(r#""code":"bad_gateway""#), "{body}");
    assert!(!(told + &body).contains(&upstream.port().to_string()));
}

#[tokio::test]
async fn a_request_that_was_here_before_is_a_loop() {
    // The address is known only once it is bound, so the proxy goes there by way of a cell.
    let cell: Arc<std::sync::OnceLock<Proxy>> = Arc::default();
    let inside = cell.clone();
    let gate = serve(service_fn(move |request: Request<Incoming>| {
        inside.get().unwrap().clone().oneshot(request)
    }))
    .await;
    cell.set(to(gate)).unwrap();
    let answer = raw(
        gate,
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
    assert!(answer.contains("proxy-status: tower-gateway; error=proxy_loop_detected\r\n"));

    // Another proxy on the way is none.
    let (upstream, _) = raw_upstream(OK).await;
    let chain = to(serve(to(upstream)).await);
    let request = request(Method::GET, "/").body(Body::empty()).unwrap();
    assert_eq!(chain.oneshot(request).await.unwrap().status(), 200);
}

/// What the upstream is told of the caller.
async fn told(proxy: impl FnOnce(Proxy) -> Proxy, layer: ClientAddrLayer, peer: &str) -> HeaderMap {
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let upstream = serve(service_fn(move |request: Request<Incoming>| {
        send.send(request.headers().clone()).unwrap();
        async { Ok(Response::new(Body::empty())) }
    }))
    .await;
    let request = request(Method::GET, "/api/x")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-real-ip", "127.0.0.1")
        .header("x_forwarded_for", "127.0.0.1")
        .header("true-client-ip", "127.0.0.1")
        .extension(PeerAddr(peer.parse().unwrap()))
        .body(Body::empty())
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(proxy(to(upstream)));
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    receive.recv().await.unwrap()
}

#[tokio::test]
async fn abuse_3_only_trusted_proxies_tell_who_calls() {
    let trusting = || {
        ClientAddrLayer::new()
            .trusted_proxies(["10.0.0.0/8"])
            .unwrap()
    };
    let same = |proxy| proxy;

    let trusted = told(same, trusting(), "10.0.0.1:1").await;
    assert_eq!(trusted["x-forwarded-for"], "203.0.113.7, 10.0.0.1");
    let forged = told(same, trusting(), "[::ffff:192.0.2.1]:1").await;
    assert_eq!(forged["x-forwarded-for"], "192.0.2.1");
    for headers in [&trusted, &forged] {
        for name in ["x-real-ip", "x_forwarded_for", "true-client-ip"] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }
    let standard = |proxy: Proxy| proxy.forwarding(Forwarding::Standard);
    let standard = told(standard, ClientAddrLayer::new(), "[2001:db8::1]:1").await;
    assert_eq!(
        standard["forwarded"],
        r#"for="[2001:db8::1]";proto=http;host="gate""#
    );
    assert!(!standard.contains_key("x-forwarded-for"));
}

#[tokio::test]
async fn what_is_set_is_sent() {
    let set = |proxy: Proxy| {
        proxy
            .strip_prefix("/api/")
            .preserve_host()
            .remove_header(header::ACCEPT)
            .header(
                header::AUTHORIZATION,
                HeaderValue::from_static("Bearer own"),
            )
            .scheme(http::uri::Scheme::HTTPS)
    };
    let headers = told(set, ClientAddrLayer::new(), "192.0.2.1:1").await;
    assert_eq!(headers["host"], "gate");
    assert_eq!(headers["authorization"], "Bearer own");
    assert_eq!(headers["x-forwarded-prefix"], "/api");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert!(!format!("{:?}", set(Proxy::to("http://a").unwrap())).contains("own"));
}

#[tokio::test]
async fn the_exchange_knows_which_upstream_was_called() {
    let (upstream, _) = raw_upstream(OK).await;
    let mut request = request(Method::GET, "/").body(Body::empty()).unwrap();
    let exchange = Exchange::enter(&mut request);
    to(upstream).name("users").oneshot(request).await.unwrap();
    let facts = exchange.facts();
    assert_eq!(
        (facts.upstream.as_deref(), facts.attempts),
        (Some("users"), 1)
    );
}

#[tokio::test]
async fn a_proxy_is_a_service_of_axum_and_takes_any_body() {
    let (upstream, _) = raw_upstream(OK).await;
    let app = axum::Router::<()>::new().fallback_service(to(upstream));
    let inbound = request(Method::GET, "/")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = app.oneshot(inbound).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");

    let inbound = request(Method::GET, "/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert_eq!(
        text(to(upstream).oneshot(inbound).await.unwrap()).await,
        "ok"
    );
    let inbound = request(Method::PUT, "/")
        .body(Full::new(Bytes::from("x")))
        .unwrap();
    assert_eq!(
        text(to(upstream).oneshot(inbound).await.unwrap()).await,
        "ok"
    );
}

/// A client that is never ready.
#[derive(Clone)]
struct Broken;

impl Service<Request<Body>> for Broken {
    type Response = Response<Body>;
    type Error = Rejection;
    type Future = std::future::Ready<Result<Response<Body>, Rejection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Err(Kind::CircuitOpen.into()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        unreachable!("it was not ready")
    }
}

#[tokio::test]
async fn a_client_that_is_not_ready_is_an_answer() {
    let proxy = Proxy::to("http://up").unwrap().client(Broken);
    let inbound = request(Method::GET, "/").body(Body::empty()).unwrap();
    let answer = proxy.oneshot(inbound).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_client_in_layers_is_called_by_them() {
    let (upstream, heads) = raw_upstream(OK).await;
    let client = ServiceBuilder::new()
        .map_request(|mut request: Request<Body>| {
            let tag = HeaderValue::from_static("1");
            request.headers_mut().insert("x-layer", tag);
            request
        })
        .service(Client::new());
    let inbound = request(Method::GET, "/").body(Body::empty()).unwrap();
    to(upstream).client(client).oneshot(inbound).await.unwrap();
    assert!(heads.lock().unwrap()[0].contains("x-layer: 1\r\n"));
}
