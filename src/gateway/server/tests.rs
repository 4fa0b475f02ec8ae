use super::*;
use crate::{
    Body,
    gateway::{flood::Resets, socket},
};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use std::{
    convert::Infallible,
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::service_fn;

const MINUTE: Duration = Duration::from_secs(60);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn an_accepted_socket_does_not_wait_for_acknowledgements() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let _client = TcpStream::connect(listener.local_addr()?).await?;
    let (stream, _) = listener.accept().await?;
    assert!(!stream.nodelay()?, "or this shows nothing");
    assert!(tuned(stream).nodelay()?);
    Ok(())
}

/// One connection as it is served, without a socket. It returns when it is over, and how.
fn served(answer: fn() -> Body) -> (DuplexStream, JoinHandle<Result<(), String>>) {
    let (client, server) = duplex(1024);
    let service = service_fn(move |_: Request<Arriving>| async move {
        Ok::<_, Infallible>(Response::new(answer()))
    });
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    let serving = tokio::spawn(async move {
        let (socket, _hold) = socket::bounded(server, MINUTE);
        let http = Protocols::new(Clients::default());
        let (_closing, closed) = watch::channel(());
        let connection = connection(&http, socket, (peer, None), service, Arc::default());
        until_closed(connection, closed, &Resets::default())
            .await
            .map_err(|error| format!("{error:?}"))
    });
    (client, serving)
}

/// A piece every 50 seconds, for an hour.
fn slow_stream() -> Body {
    let stream = futures_util::stream::unfold(0, |nth| async move {
        sleep(Duration::from_secs(50)).await;
        let frame = Frame::data(Bytes::from_static(&[b'a'; 100]));
        (nth < 72).then_some((Ok::<_, Infallible>(frame), nth + 1))
    });
    Body::new(StreamBody::new(stream))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_let_go() {
    let (mut client, serving) = served(|| Bytes::from(vec![b'a'; 1 << 20]).into());
    client.write_all(GET).await.unwrap();
    let start = Instant::now();
    let error = serving.await.unwrap().unwrap_err();
    assert!(error.contains("TimedOut"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_fits_is_let_go_too() {
    let (mut client, serving) = served(slow_stream);
    client.write_all(GET).await.unwrap();
    let start = Instant::now();
    // The pieces up to a kilobyte fit.
    assert!(serving.await.unwrap().unwrap_err().contains("TimedOut"));
    assert!(start.elapsed() < Duration::from_secs(15 * 60));
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_slowly_is_served_to_the_end() {
    let (mut client, serving) = served(slow_stream);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut read = 0;
    let mut some = [0; 300];
    loop {
        sleep(Duration::from_secs(55)).await;
        match client.read(&mut some).await.unwrap() {
            0 => break,
            more => read += more,
        }
    }
    assert!(read > 7200, "{read}");
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_is_silent_after_the_preface_of_http2_is_let_go() {
    for settings in [&b""[..], b"\0\0\0\x04\0\0\0\0\0"] {
        let (mut client, serving) = served(Body::empty);
        let start = Instant::now();
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        client.write_all(settings).await.unwrap();
        let _ = serving.await.unwrap();
        assert!(start.elapsed() <= Duration::from_secs(81), "{settings:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_once_and_then_nothing_is_let_go() {
    let (mut client, serving) = served(|| "hello".into());
    client.write_all(GET).await.unwrap();
    let start = Instant::now();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(start.elapsed().as_secs(), 30);
    let _ = serving.await.unwrap();
}

#[tokio::test]
async fn a_body_that_has_come_is_read_in_one_turn() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let service = service_fn(move |request: Request<Arriving>| {
        let mut body = Box::pin(crate::collect(request.into_body(), 100));
        let (counted, mut read) = (counted.clone(), false);
        poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            if !read && let Poll::Ready(body) = body.as_mut().poll(cx) {
                assert_eq!(body.unwrap(), "hello");
                read = true;
            }
            Poll::<Result<Response<Body>, Infallible>>::Pending
        })
    });
    let (mut client, server) = duplex(1024);
    let serving = tokio::spawn(async move {
        let (socket, _hold) = socket::bounded(server, MINUTE);
        let http = Protocols::new(Clients::default());
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let (_closing, closed) = watch::channel(());
        let connection = connection(&http, socket, (peer, None), service, Arc::default());
        until_closed(connection, closed, &Resets::default()).await
    });
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        .await
        .unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(polls.load(Ordering::SeqCst), 1);
    serving.abort();
}
