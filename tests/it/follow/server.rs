//! How a real HTTP/1 server ends an exchange.

use super::how;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{convert::Infallible, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::{Service, ServiceBuilder};
use tower_gateway::{
    Body, Follow, circuit_breaker::CircuitBreakerLayer, concurrency::ConcurrencyLayer,
    timeout::TimeoutLayer,
};

/// Serves one connection after another.
async fn serve<S>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(io), service)
                .await;
        }
    });
    addr
}

/// The body that the path asks for, or that of the request: hyper's own, which is not `From<Bytes>`.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let body = match request.uri().path() {
        "/full" => "full".into(),
        "/empty" => Body::empty(),
        "/stalls" => {
            let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("x")))]);
            Body::new(StreamBody::new(first.chain(stream::pending())))
        }
        _ => Body::new(request.into_body()),
    };
    Ok(Response::new(body))
}

#[tokio::test]
async fn an_exchange_ends_with_the_last_byte_or_when_either_side_gives_up() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let limit = ConcurrencyLayer::new(1);
    let service = ServiceBuilder::new()
        // Outermost, so that the permit is free when this is told.
        .map_response(move |response: Response<Body>| {
            let ends = ends.clone();
            Follow::<Infallible>::follow(response, move |end| ends.send(how(end)).unwrap())
        })
        .layer(CircuitBreakerLayer::new())
        .layer(limit.clone())
        .layer(TimeoutLayer::new())
        .service_fn(answer);
    let addr = serve(service).await;

    for (request, end) in [
        ("GET /full HTTP/1.1\r\n\r\n", "complete"),
        ("GET /empty HTTP/1.1\r\n\r\n", "complete"),
        (
            "POST /length HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
            "complete",
        ),
        (
            "POST /chunked HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "complete",
        ),
        // hyper never asks for the body of an answer to HEAD.
        ("HEAD /full HTTP/1.1\r\n\r\n", "dropped"),
        ("HEAD /empty HTTP/1.1\r\n\r\n", "complete"),
    ] {
        let mut io = TcpStream::connect(addr).await.unwrap();
        io.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(ended.recv().await, Some(end), "{request}");
        assert_eq!(limit.available(), 1, "{request}");
    }

    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(b"GET /stalls HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(io.read(&mut [0; 1024]).await.unwrap() > 0);
    assert_eq!(limit.available(), 0, "the answer has begun");
    drop(io);
    assert_eq!(ended.recv().await, Some("dropped"), "the client hung up");
    assert_eq!(limit.available(), 1);
}
