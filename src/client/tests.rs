mod tls;
mod unsent;

use super::*;
use crate::{BoxError, rejection::Kind};
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use std::{convert::Infallible, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that answers the requests of each connection with the next of `connections`, as they
/// are, and then hangs up.
async fn server(connections: &'static [&'static [&'static str]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answers in connections {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answer in *answers {
                head(&mut socket).await;
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    address
}

async fn head(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    head
}

fn request(method: Method, uri: impl fmt::Display) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri.to_string());
    request.body(Body::empty()).unwrap()
}

async fn get(uri: impl fmt::Display) -> Result<Response<Body>, Rejection> {
    Client::new().send(request(Method::GET, uri)).await
}

fn told(rejection: &Rejection) -> (Kind, &str) {
    let status = rejection.headers().get("proxy-status").unwrap();
    let status = status.to_str().unwrap();
    let error = status.strip_prefix("tower-gateway; error=").unwrap();
    (rejection.kind(), error)
}

async fn text(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn what_is_not_there_is_told_without_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = get(format_args!("http://{address}/")).await.unwrap_err();
    assert_eq!(told(&refused), (Kind::BadGateway, "connection_refused"));
    assert!(!format!("{refused} {:?}", refused.headers()).contains("127.0.0.1"));
    assert!(refused.source().is_some(), "but logged");

    let unknown = get("http://nowhere.invalid/").await.unwrap_err();
    assert_eq!(told(&unknown), (Kind::BadGateway, "dns_error"));
}

#[tokio::test]
async fn what_is_not_http_or_not_tls_is_told() {
    let address = server(&[&["SSH-2.0-OpenSSH_9.6\r\n\r\n"]]).await;
    let garbage = get(format_args!("http://{address}/")).await.unwrap_err();
    assert_eq!(told(&garbage), (Kind::BadGateway, "http_protocol_error"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(OK.as_bytes()).await.unwrap();
        let _ = head(&mut socket).await;
    });
    let plain = get(format_args!("https://{address}/")).await.unwrap_err();
    assert_eq!(told(&plain), (Kind::BadGateway, "tls_protocol_error"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told_before_and_after_its_head() {
    let address = server(&[&["HTTP/1.1 200 OK\r\ncontent-le"]]).await;
    let head = get(format_args!("http://{address}/")).await.unwrap_err();
    assert_eq!(told(&head), (Kind::BadGateway, "http_response_incomplete"));

    let address = server(&[&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]]).await;
    let response = get(format_args!("http://{address}/")).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    let rejection = error.downcast_ref().unwrap();
    assert_eq!(
        told(rejection),
        (Kind::BadGateway, "http_response_incomplete")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_greet_in_time_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let late = get(format_args!("https://{address}/")).await.unwrap_err();
    assert_eq!(told(&late), (Kind::ConnectTimeout, "connection_timeout"));
    assert_eq!(late.kind().status(), 504);
}

#[tokio::test]
async fn a_worn_connection_is_tried_again_once_if_nothing_can_be_done_twice() {
    // The first connection takes a second request and closes without an answer.
    const SCRIPT: &[&[&str]] = &[&[OK, ""], &[OK]];
    for (method, tried_again) in [(Method::GET, true), (Method::POST, false)] {
        let uri = format!("http://{}/", server(SCRIPT).await);
        let client = Client::new();
        text(client.send(request(Method::GET, &uri)).await.unwrap()).await;
        let second = client.send(request(method.clone(), &uri)).await;
        assert_eq!(second.is_ok(), tried_again, "{method}");
        if let Err(rejection) = second {
            assert_eq!(
                told(&rejection),
                (Kind::BadGateway, "http_response_incomplete")
            );
        }
    }
    // Fresh connections: the server is at fault.
    let fresh = get(format_args!("http://{}/", server(&[&[""], &[OK]]).await)).await;
    assert!(fresh.is_err());
}

#[tokio::test]
async fn a_body_that_was_refused_further_out_refuses_the_call() {
    for http2 in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let service =
                hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
                    let _ = request.into_body().collect().await;
                    std::future::pending::<Result<Response<Body>, Infallible>>().await
                });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let io = hyper_util::rt::TokioIo::new(socket);
            let _ = builder.serve_connection(io, service).await;
        });
        let client = if http2 {
            Client::new().http2_only()
        } else {
            Client::new()
        };
        let frames: [Result<_, BoxError>; 2] = [
            Ok(http_body::Frame::data(Bytes::from_static(b"some"))),
            Err(Rejection::new(Kind::TooLarge).into()),
        ];
        let body = Body::boxed(StreamBody::new(futures_util::stream::iter(frames)));
        let request = Request::post(&uri).body(body).unwrap();
        let refused = client.send(request).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::TooLarge, "http2: {http2}");
    }
}

#[tokio::test]
async fn a_get_with_a_body_of_unknown_length_is_sent_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = head(&mut socket).await;
        if String::from_utf8_lossy(&seen).contains("transfer-encoding: chunked") {
            // Up to the end of the last chunk.
            seen.extend(head(&mut socket).await);
        }
        socket.write_all(OK.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    });
    let frame = Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(b"query")));
    let body = Body::new(StreamBody::new(futures_util::stream::iter([frame])));
    let request = request(Method::GET, format_args!("http://{address}/")).map(|_| body);
    let response = Client::new().send(request).await.unwrap();
    assert_eq!(text(response).await, "ok");
    let seen = seen.await.unwrap();
    assert!(seen.ends_with("\r\n\r\n5\r\nquery\r\n0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn a_time_that_no_clock_can_count_is_a_year() {
    let address = server(&[&[OK, OK]]).await;
    let client = Client::new()
        .connect_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX);
    let config = &client.0.config;
    assert_eq!((config.connect_timeout, config.idle_timeout), (YEAR, YEAR));
    for _ in 0..2 {
        let request = request(Method::GET, format_args!("http://{address}/"));
        assert_eq!(text(client.send(request).await.unwrap()).await, "ok");
    }
}

#[test]
fn a_certificate_must_be_one() {
    assert!(Client::new().trust_pem(b"").is_err());
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(Client::new().trust_pem(nonsense).is_err());
}

#[test]
fn it_can_be_made_without_a_runtime_and_is_cheap_to_clone() {
    let client = Client::new();
    assert!(Arc::ptr_eq(&client.0, &client.clone().0));
}
