//! Clients that are slow, greedy or in a hurry to take back what they asked, on real sockets.
//!
//! What is waited for is short, and what is waited at the most is long: a machine may be busy.

use crate::server::{SOON, chat, get, open, rest, simulated, start, until};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tower::service_fn;
use tower_gateway::{
    Body,
    gateway::{Gateway, GatewayBuilder},
    llm::Simulator,
    rejection::Kind,
};

const SHORT: Duration = Duration::from_millis(200);

/// Reads its body, and calls one that breaks off a bad request.
fn with_upload() -> GatewayBuilder {
    let upload = service_fn(async |request: Request<Body>| {
        let (status, text) = match request.into_body().collect().await {
            Ok(body) => (200, format!("{} bytes", body.to_bytes().len())),
            Err(_) => (400, String::new()),
        };
        let answer = Response::builder().status(status).body(Body::from(text));
        Ok::<_, Infallible>(answer.unwrap())
    });
    simulated().route("/upload", upload)
}

/// Sends a byte now and then until it is answered or closed, and returns what came.
async fn drip(mut stream: TcpStream, bytes: usize) -> String {
    let mut came = Vec::new();
    let dripping = async {
        loop {
            let more = vec![b'a'; bytes];
            tokio::select! {
                read = stream.read_buf(&mut came) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                () = sleep(Duration::from_millis(20)) => {
                    if stream.write_all(&more).await.is_err() {
                        let _ = stream.read_to_end(&mut came).await;
                        break;
                    }
                }
            }
        }
    };
    timeout(SOON, dripping).await.expect("it is not for ever");
    String::from_utf8_lossy(&came).into_owned()
}

#[tokio::test]
async fn abuse_46_a_head_that_comes_byte_by_byte_is_cut() {
    let server = start(simulated(), |server| server.header_time(SHORT));
    let head = "GET /hello HTTP/1.1\r\nhost: a\r\nx-slow: ";
    let answer = drip(open(server.addr, head).await, 1).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(get(server.addr, "/hello").await.ends_with("hello"));
}

#[tokio::test]
async fn abuse_46_a_body_that_comes_byte_by_byte_is_a_request_timeout() {
    let server = start(with_upload(), |server| server.body_rate(10_000, SHORT));
    for path in ["/upload", "/v1/chat/completions"] {
        for length in ["content-length: 100000", "transfer-encoding: chunked"] {
            // In the chunk of a body of that form.
            let chunk = if length.starts_with('c') {
                ""
            } else {
                "186a0\r\n"
            };
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                 {length}\r\n\r\n{chunk}"
            );
            let answer = drip(open(server.addr, &head).await, 1).await;
            assert!(
                answer.starts_with("HTTP/1.1 408 "),
                "{path} {length}: {answer}"
            );
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            assert!(answer.contains("request_timeout"), "{answer}");
        }
    }
}

#[tokio::test]
async fn abuse_46_a_slow_body_can_be_answered_otherwise() {
    let server = start(with_upload(), |server| {
        server
            .body_rate(10_000, SHORT)
            .slow_body(Kind::InvalidRequest)
    });
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
    let answer = rest(open(server.addr, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("invalid_request"), "{answer}");
}

#[tokio::test]
async fn abuse_46_a_body_that_is_slow_and_fast_enough_is_read() {
    let server = start(with_upload(), |server| server.body_rate(10, 2 * SHORT));
    let head =
        "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 400\r\n\r\n";
    let mut stream = open(server.addr, head).await;
    for _ in 0..10 {
        sleep(Duration::from_millis(100)).await;
        stream.write_all(&[b'a'; 40]).await.unwrap();
    }
    assert!(rest(stream).await.ends_with("400 bytes"));
}

#[tokio::test]
async fn abuse_46_streams_of_grpc_may_be_silent_where_there_is_grpc() {
    let server = start(with_upload(), |server| server.body_rate(10_000, SHORT));
    // Over HTTP/1.1 there is none, whatever is said.
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                content-type: application/grpc\r\ncontent-length: 1\r\n\r\n";
    let answer = rest(open(server.addr, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let stream = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = client.await.unwrap();
    tokio::spawn(connection);
    let late = futures_util::stream::once(async {
        sleep(3 * SHORT).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a")))
    });
    let request = Request::post(format!("http://{}/upload", server.addr))
        .header("content-type", "application/grpc")
        .body(Box::pin(StreamBody::new(late)))
        .unwrap();
    let answer = timeout(SOON, client.send_request(request)).await.unwrap();
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(&body.to_bytes()[..], b"1 bytes");
}

/// Endless, and tells when it is dropped.
struct Endless {
    _alive: Arc<()>,
}

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'a'; 65536])))))
    }
}

#[tokio::test]
async fn abuse_46_whoever_does_not_read_an_answer_is_let_go() {
    let alive = Arc::new(());
    let held = alive.clone();
    let endless = service_fn(move |_: Request<Body>| {
        let body = Body::new(Endless {
            _alive: held.clone(),
        });
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let gateway = simulated().route("/endless", endless);
    let server = start(gateway, |server| server.write_time(SHORT));
    let stream = open(server.addr, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let begun = async {
        while Arc::strong_count(&alive) < 3 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, begun).await.expect("it is asked");
    let gone = async {
        while Arc::strong_count(&alive) > 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.expect("it is let go");
    drop(stream);
}

#[tokio::test]
async fn abuse_46_a_stream_with_long_pauses_is_read_to_its_end() {
    let simulator = Simulator::new().answer("one two three").pace(2 * SHORT);
    let server = start(Gateway::builder().simulator(simulator), |server| {
        server.write_time(SHORT).body_rate(10_000, SHORT)
    });
    let body = chat(true);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = rest(open(server.addr, &head).await).await;
    assert!(answer.contains("data: [DONE]"), "{answer}");
}

#[tokio::test]
async fn abuse_46_a_client_has_so_many_connections_and_not_more() {
    let server = start(simulated(), |server| server.max_connections_per_client(2));
    let head = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = open(server.addr, head).await;
        until(&mut stream, "hello").await;
        held.push(stream);
    }
    let stream = TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(rest(stream).await, "");
    held.pop();
    let again = async {
        loop {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            let _ = stream.write_all(head.as_bytes()).await;
            let mut some = [0; 12];
            if stream.read_exact(&mut some).await.is_ok() {
                break some;
            }
        }
    };
    assert_eq!(&timeout(SOON, again).await.unwrap(), b"HTTP/1.1 200");
}

#[tokio::test]
async fn abuse_49_too_many_headers_and_too_large_ones_are_431() {
    let server = start(simulated(), |server| server);
    let many = |headers: usize, bytes: usize| {
        let value = "a".repeat(bytes);
        let lines = (0..headers).map(|nth| format!("x-{nth}: {value}\r\n"));
        let lines: String = lines.collect();
        format!("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n")
    };
    for (headers, bytes) in [(200, 1), (5000, 1), (90, 1000), (1, 1 << 20)] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        // It may be closed before all of it is sent.
        let _ = stream.write_all(many(headers, bytes).as_bytes()).await;
        let mut some = [0; 12];
        let read = timeout(SOON, stream.read_exact(&mut some)).await.unwrap();
        // A reset may overtake the answer to what was not read.
        if read.is_ok() || headers * bytes < 400_000 {
            assert_eq!(&some, b"HTTP/1.1 431", "{headers} of {bytes}");
        }
    }
    let fine = rest(open(server.addr, &many(90, 100)).await).await;
    assert!(fine.starts_with("HTTP/1.1 200 "), "{fine}");
    let told = rest(open(server.addr, &many(90, 1000)).await).await;
    assert!(told.contains("headers_too_large"), "{told}");
}

#[tokio::test]
async fn abuse_49_a_uri_that_is_too_long_is_414() {
    let server = start(simulated(), |server| server.max_uri(1000));
    for length in [1001, 100_000] {
        let path = format!("/{}?b={}", "a".repeat(length - 5), "b");
        let answer = get(server.addr, &path).await;
        assert!(answer.starts_with("HTTP/1.1 414 "), "{length}: {answer}");
    }
    let path = format!("/hello?{}", "a".repeat(990));
    assert!(get(server.addr, &path).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn abuse_49_the_same_holds_over_http2() {
    let server = start(simulated(), |server| server);
    let stream = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = client.await.unwrap();
    tokio::spawn(connection);
    let mut ask = async |path: String, headers: usize| {
        let mut request = Request::get(format!("http://{}{path}", server.addr));
        for nth in 0..headers {
            request = request.header(format!("x-{nth}"), "a");
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = timeout(SOON, client.send_request(request)).await.unwrap();
        answer.unwrap().status()
    };
    assert_eq!(ask("/hello".into(), 50).await, StatusCode::OK);
    let refused = ask("/hello".into(), 500).await;
    assert_eq!(refused, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let long = format!("/{}", "a".repeat(20_000));
    assert_eq!(ask(long, 1).await, StatusCode::URI_TOO_LONG);
    assert_eq!(ask("/hello".into(), 1).await, StatusCode::OK, "it goes on");
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The head of a request for `/never`, by `GET` or `POST`, as HPACK (RFC 7541) writes it.
fn head(method: u8) -> Vec<u8> {
    let mut head = vec![method, 0x86, 0x04, 6];
    head.extend(b"/never");
    head.extend([0x01, 1, b'a']);
    head
}

const BY_GET: u8 = 0x82;
const BY_POST: u8 = 0x83;

/// A connection of HTTP/2 to a gateway that never answers, and how often it was asked.
async fn http2() -> (crate::server::Started, TcpStream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let never = service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let server = start(simulated().route("/never", never), |server| server);
    let mut stream = open(server.addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    (server, stream, asked)
}

/// Reads until it is closed: with which error, if that could be read.
async fn closed(mut stream: impl AsyncReadExt + Unpin) -> Option<u32> {
    let mut came = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut came)).await;
    let _ = read.expect("it is closed");
    let mut left = &came[..];
    while left.len() >= 9 {
        let length = u32::from_be_bytes([0, left[0], left[1], left[2]]) as usize;
        let payload = left.get(9..9 + length)?;
        if left[3] == GOAWAY {
            let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
            if code != 0 {
                return Some(code);
            }
        }
        left = &left[9 + length..];
    }
    None
}

/// Whether others are served while somebody floods, and after.
async fn others_are_served(server: &crate::server::Started) {
    let answer = timeout(SOON, get(server.addr, "/hello")).await;
    assert!(answer.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn abuse_50_a_flood_of_requests_that_are_taken_back_is_cut() {
    let (server, stream, asked) = http2().await;
    let (reads, mut writes) = stream.into_split();
    let flood = tokio::spawn(async move {
        for batch in 0..1000_u32 {
            let mut frames = Vec::new();
            for nth in 0..100 {
                let stream = 2 * (batch * 100 + nth) + 1;
                let flags = END_STREAM | END_HEADERS;
                frames.extend(frame(HEADERS, flags, stream, &head(BY_GET)));
                frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            }
            if writes.write_all(&frames).await.is_err() {
                return;
            }
        }
    });
    others_are_served(&server).await;
    let error = closed(reads).await;
    // A reset of the connection may overtake it.
    assert!(
        error.is_none_or(|code| code == ENHANCE_YOUR_CALM),
        "{error:?}"
    );
    timeout(SOON, flood).await.expect("it is cut").unwrap();
    assert!(asked.load(Ordering::SeqCst) < 2000);
    others_are_served(&server).await;
}

/// Each is looked at before it is taken back, so that h2 sees nothing wrong.
#[tokio::test]
async fn abuse_50_requests_that_are_taken_back_slowly_are_cut_as_well() {
    let (server, stream, asked) = http2().await;
    let (reads, mut writes) = stream.into_split();
    let reading = tokio::spawn(closed(reads));
    let mut sent = 0_u32;
    while !reading.is_finished() && sent < 2000 {
        let stream = 2 * sent + 1;
        let flags = END_STREAM | END_HEADERS;
        let request = frame(HEADERS, flags, stream, &head(BY_GET));
        if writes.write_all(&request).await.is_err() {
            break;
        }
        sent += 1;
        while asked.load(Ordering::SeqCst) < sent as usize && !reading.is_finished() {
            sleep(Duration::from_micros(100)).await;
        }
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        let _ = writes.write_all(&reset).await;
    }
    reading.await.unwrap();
    let asked = asked.load(Ordering::SeqCst);
    assert!((500..600).contains(&asked), "{asked}");
    others_are_served(&server).await;
}

#[tokio::test]
async fn abuse_50_a_flood_of_empty_frames_is_cut() {
    let (server, mut stream, _) = http2().await;
    let mut frames = frame(HEADERS, END_HEADERS, 1, &head(BY_POST));
    for _ in 0..10_000 {
        frames.extend(frame(DATA, 0, 1, &[]));
    }
    let _ = stream.write_all(&frames).await;
    let error = closed(stream).await;
    assert!(
        error.is_none_or(|code| code == ENHANCE_YOUR_CALM),
        "{error:?}"
    );
    others_are_served(&server).await;
}

#[tokio::test]
async fn abuse_50_a_head_in_endless_pieces_is_cut() {
    let (server, mut stream, asked) = http2().await;
    let mut frames = frame(HEADERS, END_STREAM, 1, &head(BY_GET));
    for _ in 0..10_000 {
        frames.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    let _ = stream.write_all(&frames).await;
    let error = closed(stream).await;
    assert!(
        error.is_none_or(|code| code == ENHANCE_YOUR_CALM),
        "{error:?}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    others_are_served(&server).await;
}

#[tokio::test]
async fn abuse_50_as_many_at_once_as_there_may_be_and_the_rest_is_refused() {
    let (server, mut stream, asked) = http2().await;
    for nth in 0..400_u32 {
        let flags = END_STREAM | END_HEADERS;
        let request = frame(HEADERS, flags, 2 * nth + 1, &head(BY_GET));
        if stream.write_all(&request).await.is_err() {
            break;
        }
    }
    others_are_served(&server).await;
    sleep(SHORT).await;
    assert!(asked.load(Ordering::SeqCst) <= 250);
}
