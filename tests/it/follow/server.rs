//! How real servers end an exchange, in HTTP/1.1 and in HTTP/2.

use super::how;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, client::conn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::convert::Infallible;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_gateway::{
    Body, Follow, circuit_breaker::CircuitBreakerLayer, concurrency::ConcurrencyLayer,
    timeout::TimeoutLayer,
};

/// The body that the path asks for, or that of the request: hyper's own, which is not `From<Bytes>`.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let body = match request.uri().path() {
        "/full" => "full".into(),
        "/empty" => Body::empty(),
        "/trailers" => {
            let trailers = HeaderMap::from_iter([(header::ETAG, "\"x\"".parse().unwrap())]);
            Body::new(Body::from("x").with_trailers(future::ready(Some(Ok(trailers)))))
        }
        // It does not know itself where it ends.
        "/counted" => {
            let parts = stream::iter(["a", "b"]).map(|part| Ok::<_, Infallible>(part.into()));
            let body = Body::new(StreamBody::new(parts.map_ok(Frame::data)));
            let response = Response::builder().header(header::CONTENT_LENGTH, 2);
            return Ok(response.body(body).unwrap());
        }
        "/stalls" => {
            let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("x")))]);
            Body::new(StreamBody::new(first.chain(stream::pending())))
        }
        _ => Body::new(request.into_body()),
    };
    Ok(Response::new(body))
}

/// A server behind layers that hold, the one permit that it has, and how its exchanges end.
struct Server {
    service: BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>,
    limit: ConcurrencyLayer,
    ended: mpsc::UnboundedReceiver<&'static str>,
}

impl Server {
    fn new() -> Self {
        let (ends, ended) = mpsc::unbounded_channel();
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
        Self {
            service: BoxCloneSyncService::new(service),
            limit,
            ended,
        }
    }

    fn connect(&self) -> DuplexStream {
        let (client, server) = duplex(1024);
        let service = TowerToHyperService::new(self.service.clone());
        tokio::spawn(async move {
            let server = TokioIo::new(server);
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(server, service).await;
        });
        client
    }

    async fn ends(&mut self, how: &str, what: &str) {
        assert_eq!(self.ended.recv().await, Some(how), "{what}");
        assert_eq!(self.limit.available(), 1, "{what}");
    }
}

#[tokio::test]
async fn an_exchange_ends_with_the_last_byte_or_when_either_side_gives_up() {
    let mut server = Server::new();
    for (request, how) in [
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
        ("GET /counted HTTP/1.1\r\n\r\n", "complete"),
        ("GET /trailers HTTP/1.1\r\nte: trailers\r\n\r\n", "complete"),
        // hyper never asks for the body of an answer to HEAD.
        ("HEAD /full HTTP/1.1\r\n\r\n", "dropped"),
        ("HEAD /counted HTTP/1.1\r\n\r\n", "dropped"),
        ("HEAD /empty HTTP/1.1\r\n\r\n", "complete"),
    ] {
        let mut client = server.connect();
        client.write_all(request.as_bytes()).await.unwrap();
        server.ends(how, request).await;
    }

    let mut client = server.connect();
    let request = b"GET /stalls HTTP/1.1\r\n\r\n";
    client.write_all(request).await.unwrap();
    assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
    assert_eq!(server.limit.available(), 0, "the answer has begun");
    drop(client);
    server.ends("dropped", "the client hung up").await;
}

#[tokio::test]
async fn an_exchange_in_http_2_ends_likewise() {
    let mut server = Server::new();
    let client = TokioIo::new(server.connect());
    let (mut client, connection) = conn::http2::handshake(TokioExecutor::new(), client)
        .await
        .unwrap();
    tokio::spawn(connection);

    // hyper sends the body of an answer to HEAD in HTTP/2, which its own client takes for a breach of
    // the protocol: whoever serves must empty it.
    for (method, path, how) in [
        (Method::GET, "/full", "complete"),
        (Method::GET, "/empty", "complete"),
        (Method::POST, "/echo", "complete"),
        (Method::GET, "/counted", "complete"),
        (Method::GET, "/trailers", "complete"),
        (Method::HEAD, "/empty", "complete"),
    ] {
        let request = Request::builder()
            .method(&method)
            .uri(format!("http://x{path}"));
        let body = Body::from(if method == Method::POST { "abc" } else { "" });
        let answer = client.send_request(request.body(body).unwrap()).await;
        answer.unwrap().into_body().collect().await.unwrap();
        server.ends(how, path).await;
    }

    let request = Request::get("http://x/stalls").body(Body::empty()).unwrap();
    let mut answer = client.send_request(request).await.unwrap();
    answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(server.limit.available(), 0, "the answer has begun");
    drop(answer);
    server.ends("dropped", "the stream was reset").await;
}
