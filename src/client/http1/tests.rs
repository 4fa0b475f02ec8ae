use super::*;
use crate::{Rejection, client::Client};
use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that counts its connections and answers each request with `answer`, whatever it is.
async fn server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while head(&mut socket).await {
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, count)
}

/// Reads the head of a request. Whether there was one.
async fn head(socket: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

fn request(method: Method, address: SocketAddr) -> Request<Body> {
    let request = Request::builder().method(method);
    let request = request.uri(format!("http://{address}/path?query"));
    request.body(Body::empty()).unwrap()
}

async fn call(client: &Client, address: SocketAddr) -> Result<Bytes, Rejection> {
    let response = client.send(request(Method::POST, address)).await?;
    Ok(response.into_body().collect().await.unwrap().to_bytes())
}

fn idle(client: &Client) -> usize {
    let hosts = lock(&client.0.http1.0.hosts);
    hosts.all.values().map(|host| host.len()).sum()
}

/// Waits until so many connections are idle.
async fn idle_are(client: &Client, expected: usize) {
    for _ in 0..200 {
        if idle(client) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} are idle, and not {expected}", idle(client));
}

#[tokio::test]
async fn a_connection_serves_one_call_after_the_other() {
    for answer in [
        OK,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let (address, count) = server(answer).await;
        let client = Client::new();
        for _ in 0..3 {
            call(&client, address).await.unwrap();
            assert_eq!(idle(&client), 1, "{answer}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 1, "{answer}");
    }
}

#[tokio::test]
async fn calls_at_the_same_time_have_connections_of_their_own() {
    let (address, count) = server(OK).await;
    let client = Client::new();
    let first = client.send(request(Method::GET, address)).await.unwrap();
    let second = client.send(request(Method::GET, address)).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2);
    drop((first, second));
    assert_eq!(idle(&client), 2, "what was left of the answers had come");
}

#[tokio::test]
async fn no_more_are_kept_than_may_be() {
    let (address, count) = server(OK).await;
    let client = Client::new().max_idle_per_host(1);
    let calls = [(); 3].map(|()| client.send(request(Method::GET, address)));
    let [a, b, c] = calls;
    let answers = tokio::join!(a, b, c);
    drop(answers);
    assert_eq!(idle(&client), 1);
    let none = Client::new().max_idle_per_host(0);
    for _ in 0..2 {
        call(&none, address).await.unwrap();
    }
    assert_eq!((idle(&none), count.load(Ordering::SeqCst)), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_used_for_long_is_let_go() {
    let (address, count) = server(OK).await;
    let client = Client::new().idle_timeout(Duration::from_secs(5));
    call(&client, address).await.unwrap();
    assert_eq!(idle(&client), 1);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(idle(&client), 0);
    call(&client, address).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_is_closed_or_talks_out_of_turn_is_let_go() {
    for late in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    head(&mut socket).await;
                    socket.write_all(OK.as_bytes()).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    socket.write_all(late.as_bytes()).await.unwrap();
                    if !late.is_empty() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        let client = Client::new();
        for _ in 0..2 {
            // Not one that could be tried again.
            assert_eq!(call(&client, address).await.unwrap(), "ok");
            idle_are(&client, 0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_says_so_is_the_last() {
    let (address, count) =
        server("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let client = Client::new();
    for _ in 0..2 {
        call(&client, address).await.unwrap();
    }
    assert_eq!((idle(&client), count.load(Ordering::SeqCst)), (0, 2));
}

/// A server that says when a connection of its was closed, having sent `answer`.
async fn watched(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closed, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let closed = closed.clone();
            tokio::spawn(async move {
                head(&mut socket).await;
                socket.write_all(answer.as_bytes()).await.unwrap();
                let _ = socket.read_u8().await;
                let _ = closed.send(());
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn to_drop_the_call_or_the_answer_closes_the_connection() {
    let (address, mut closed) = watched("").await;
    let client = Client::new();
    let call = client.send(request(Method::POST, address));
    let late = tokio::time::timeout(Duration::from_millis(50), call).await;
    assert!(late.is_err());
    closed.recv().await;

    let (address, mut closed) = watched("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let mut answer = client.send(request(Method::POST, address)).await.unwrap();
    answer.body_mut().frame().await.unwrap().unwrap();
    drop(answer);
    closed.recv().await;
    assert_eq!(idle(&client), 0);
}

#[tokio::test]
async fn an_upload_goes_on_though_nobody_reads_the_answer() {
    const PIECES: usize = 4000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let read = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        head(&mut socket).await;
        // Before it has read anything of the body.
        socket.write_all(OK.as_bytes()).await.unwrap();
        let mut left = PIECES * 1000;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let most = left.min(buffer.len());
            left -= socket.read(&mut buffer[..most]).await.unwrap();
        }
        assert!(head(&mut socket).await, "the same connection serves again");
        socket.write_all(OK.as_bytes()).await.unwrap();
    });
    let (send, mut receive) = mpsc::channel(1);
    let pieces = futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx));
    let body = Body::new(StreamBody::new(pieces));
    let mut upload = request(Method::PUT, address).map(|_| body);
    let length = HeaderValue::from(PIECES * 1000);
    upload.headers_mut().insert(header::CONTENT_LENGTH, length);
    tokio::spawn(async move {
        for _ in 0..PIECES {
            let piece = Frame::data(Bytes::from(vec![b'x'; 1000]));
            send.send(Ok::<_, std::io::Error>(piece)).await.unwrap();
        }
    });
    let client = Client::new();
    let answer = client.send(upload).await.unwrap();
    // Nobody reads the answer until all is up.
    let answers = idle_are(&client, 1);
    let (left, ()) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer.into_body().collect().await.unwrap().to_bytes()
        },
        answers
    );
    assert_eq!(left, "ok");
    assert_eq!(call(&client, address).await.unwrap(), "ok");
    read.await.unwrap();
}

#[tokio::test]
async fn an_answer_may_be_read_by_another_task() {
    let (address, count) = server(OK).await;
    let client = Client::new();
    for _ in 0..3 {
        let answer = client.send(request(Method::GET, address)).await.unwrap();
        let read = tokio::spawn(answer.into_body().collect());
        assert_eq!(read.await.unwrap().unwrap().to_bytes(), "ok");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_waits_for_a_connection_takes_one_that_comes_free() {
    let (address, _) = server(OK).await;
    let client = Client::new();
    call(&client, address).await.unwrap();
    let pool = &client.0.http1.0;
    let authority: Authority = address.to_string().parse().unwrap();
    let host = pool.host(&Scheme::HTTP, authority);
    let connection = host.take(pool).unwrap();
    let (gone, waits) = (host.wait(), host.wait());
    drop(gone);
    host.put(connection);
    assert_eq!(idle(&client), 0);
    waits.await.unwrap();
}

#[test]
fn a_client_outlives_the_runtime_of_its_connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while head(&mut socket).await {
                        socket.write_all(OK.as_bytes()).await.unwrap();
                    }
                });
            }
        });
    });
    let client = Client::new();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        assert_eq!(runtime.block_on(call(&client, address)).unwrap(), "ok");
    }
}

#[tokio::test]
async fn hosts_to_which_there_is_no_connection_are_forgotten() {
    let client = Client::new();
    let pool = &client.0.http1.0;
    for number in 0..10 * MOST_UNUSED {
        let authority: Authority = format!("host-{number}.invalid").parse().unwrap();
        pool.host(&Scheme::HTTP, authority);
    }
    assert!(lock(&pool.hosts).all.len() <= 2 * MOST_UNUSED);
}

#[test]
fn a_request_that_names_no_host_names_that_of_its_uri() {
    for (authority, scheme, name) in [
        ("a", Scheme::HTTP, "a"),
        ("a:80", Scheme::HTTP, "a"),
        ("a:443", Scheme::HTTPS, "a"),
        ("a:443", Scheme::HTTP, "a:443"),
        ("[::1]:8080", Scheme::HTTP, "[::1]:8080"),
        ("u:p@a:1", Scheme::HTTP, "a:1"),
    ] {
        let header = host_header(&scheme, &authority.parse().unwrap());
        assert_eq!(header.unwrap(), name);
    }
}
