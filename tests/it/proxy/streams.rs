//! Bodies while they are under way.

use super::*;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use tower_gateway::BoxError;

/// An upstream that sends back what it gets, trailers too.
async fn echo() -> SocketAddr {
    serve(service_fn(async |request: Request<Incoming>| {
        let mut response = Response::new(Body::empty());
        if let Some(trailer) = request.headers().get(header::TRAILER) {
            let headers = response.headers_mut();
            headers.insert(header::TRAILER, trailer.clone());
        }
        *response.body_mut() = Body::new(request.into_body());
        Ok(response)
    }))
    .await
}

/// A body that is written piece by piece.
fn pieces() -> (
    tokio::sync::mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>,
    Body,
) {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let frames = stream::unfold(receive, async |mut receive| {
        Some((receive.recv().await?, receive))
    });
    (send, Body::boxed(StreamBody::new(frames.boxed())))
}

fn clients() -> [Client; 2] {
    [Client::new(), Client::new().http2_only()]
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn the_first_bytes_come_back_before_the_last_are_sent() {
    for outer in clients() {
        for inner in clients() {
            let gate = serve(to(echo().await).client(inner)).await;
            let (send, body) = pieces();
            send.send(data("first")).unwrap();
            let request = Request::post(format!("http://{gate}/")).body(body).unwrap();
            let mut answer = outer.send(request).await.unwrap().into_body();
            let first = answer.frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "first");
            send.send(data("last")).unwrap();
            drop(send);
            assert_eq!(answer.collect().await.unwrap().to_bytes(), "last");
        }
    }
}

#[tokio::test]
async fn ten_megabytes_go_both_ways_unchanged() {
    // No period that a lost or repeated block could hide in.
    let mut state = 1_u32;
    let sent: Bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(10 << 20)
    .collect::<Vec<_>>()
    .into();
    for client in clients() {
        let gate = serve(to(echo().await).client(client.clone())).await;
        let request = Request::post(format!("http://{gate}/"));
        let request = request.body(Body::from(sent.clone())).unwrap();
        let answer = client.send(request).await.unwrap();
        let received = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(received == sent, "{} of {}", received.len(), sent.len());
    }
}

#[tokio::test]
async fn abuse_17_trailers_stay_trailers() {
    for client in clients() {
        let gate = serve(to(echo().await).client(client.clone())).await;
        let (send, body) = pieces();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        send.send(data("body")).unwrap();
        send.send(Ok(Frame::trailers(trailers))).unwrap();
        drop(send);
        let request = Request::post(format!("http://{gate}/"))
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .body(body)
            .unwrap();
        let answer = client.send(request).await.unwrap();
        assert!(!answer.headers().contains_key("x-sum"));
        let answer = answer.into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["x-sum"], "42");
        assert_eq!(answer.to_bytes(), "body");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_over() {
    for client in clients() {
        let upstream = serve(service_fn(async |_: Request<Incoming>| {
            let refused = Response::builder().status(413);
            Ok(refused.body(Body::from("enough")).unwrap())
        }))
        .await;
        let gate = serve(to(upstream).client(client.clone())).await;
        let (send, body) = pieces();
        send.send(data("first")).unwrap();
        let request = Request::post(format!("http://{gate}/")).body(body).unwrap();
        let answer = client.send(request).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &*text(answer).await),
            (413, "enough")
        );
        drop(send);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_be_broken() {
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    for answer in [chunk, length] {
        let (upstream, _) = raw_upstream(answer).await;
        let gate = serve(to(upstream)).await;
        let seen = raw(gate, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");

        for client in clients() {
            let request = Request::get(format!("http://{gate}/")).body(Body::empty());
            let answer = client.send(request.unwrap()).await.unwrap();
            assert!(answer.into_body().collect().await.is_err());
        }
    }
}

#[tokio::test]
async fn a_caller_that_breaks_off_is_seen_to_be_broken() {
    for client in clients() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let send = Arc::new(Mutex::new(Some(send)));
        let upstream = serve(service_fn(move |request: Request<Incoming>| {
            let send = send.lock().unwrap().take().unwrap();
            async move {
                let whole = request.into_body().collect().await.is_ok();
                send.send(whole).unwrap();
                Ok(Response::new(Body::empty()))
            }
        }))
        .await;
        let gate = serve(to(upstream).client(client)).await;
        let mut socket = TcpStream::connect(gate).await.unwrap();
        let part = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        socket.write_all(part.as_bytes()).await.unwrap();
        drop(socket);
        assert!(!receive.await.unwrap(), "half a body is not a whole one");
    }
}

/// Tells when it is dropped.
struct Held(Option<tokio::sync::oneshot::Sender<()>>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_call_of_the_upstream() {
    for (client, answers) in clients().into_iter().zip([false, true]) {
        let (send, dropped) = tokio::sync::oneshot::channel();
        let (entered, mut is_entered) = tokio::sync::mpsc::unbounded_channel();
        let held = Arc::new(Mutex::new(Some(Held(Some(send)))));
        let upstream = serve(service_fn(move |_: Request<Incoming>| {
            let held = held.lock().unwrap().take().unwrap();
            let entered = entered.clone();
            async move {
                entered.send(()).unwrap();
                let endless = stream::unfold(held, async |held| {
                    std::future::pending::<()>().await;
                    Some((data("never"), held))
                });
                if !answers {
                    let mut endless = endless.boxed();
                    endless.next().await;
                    unreachable!()
                }
                Ok(Response::new(Body::boxed(StreamBody::new(endless.boxed()))))
            }
        }))
        .await;
        let gate = serve(to(upstream).client(client)).await;
        let mut socket = TcpStream::connect(gate).await.unwrap();
        let part = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        socket.write_all(part.as_bytes()).await.unwrap();
        is_entered.recv().await.unwrap();
        if answers {
            read_head(&mut socket).await;
        }
        drop(socket);
        dropped.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_half_way_leaves_the_proxy_as_it_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let proxy = to(upstream);
    let inbound = || request(Method::GET, "/").body(Body::empty()).unwrap();
    let mut call = tokio_test::task::spawn(proxy.clone().oneshot(inbound()));
    tokio_test::assert_pending!(call.poll());
    drop(call);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                read_head(&mut socket).await;
                let _ = socket.write_all(OK.as_bytes()).await;
            });
        }
    });
    assert_eq!(text(proxy.oneshot(inbound()).await.unwrap()).await, "ok");
}
