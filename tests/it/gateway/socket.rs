//! Served on a socket, and drained.

use super::*;

/// Starts a server, and returns its address and what stops it.
fn started(
    server: impl FnOnce(Server) -> Server,
) -> (
    std::net::SocketAddr,
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let server = server(Server::bind(slow().build().unwrap(), "127.0.0.1:0").unwrap());
    let addr = server.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(server.run_until(async move {
        let _ = stopped.await;
    }));
    (addr, stop, run)
}

/// A gateway whose streams take a minute.
fn slow() -> GatewayBuilder {
    Gateway::builder()
        .route(
            "/hello",
            tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from("hello")))),
        )
        .simulator(Simulator::new().pace(Duration::from_secs(20)))
}

async fn ask(addr: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is let go with bytes unread is reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn it_serves_on_a_socket_and_drains() {
    let (addr, stop, run) = started(|server| server.drain_time(Duration::from_millis(200)));
    let answer = ask(
        addr,
        "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );

    // A stream that would go on for long is cut at the deadline.
    let body = format!(
        r#"{{"model":"{}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}"#,
        simulator::CHAT_MODEL
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let long = tokio::spawn(async move { ask(addr, &request).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), run)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let long = long.await.unwrap();
    assert!(long.starts_with("HTTP/1.1 200"), "{long}");
    assert!(
        long.contains("\"draining\"") && !long.contains("[DONE]"),
        "{long}"
    );
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "no longer listening"
    );
}

#[tokio::test(start_paused = true)]
async fn what_begins_when_the_drain_is_over_ends_too() {
    let gateway = slow().build().unwrap();
    gateway.drain().end_streams();
    let ask = |stream: bool| {
        let body = serde_json::json!({
            "model": simulator::CHAT_MODEL,
            "stream": stream,
            "messages": [{"role": "user", "content": "Hello"}],
        });
        Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    for stream in [true, false] {
        let start = tokio::time::Instant::now();
        let text = bytes(call(&gateway, ask(stream)).await).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("\"draining\""), "{text}");
        assert!(start.elapsed() < Duration::from_secs(20), "{text}");
    }
    // What needs no waiting is still answered.
    let hello = Request::get("/hello").body(Body::empty());
    assert_eq!(bytes(call(&gateway, hello.unwrap()).await).await, "hello");
}

#[tokio::test]
async fn whoever_connects_and_says_nothing_is_let_go() {
    let (addr, _stop, _run) = started(|server| server.header_time(Duration::from_millis(100)));
    for said in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let answer = tokio::time::timeout(Duration::from_secs(5), ask(addr, said)).await;
        assert_eq!(answer.unwrap(), "", "after {said:?}");
    }
}

/// The head of one answer, and its body.
async fn answer(stream: &mut tokio::net::TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{text}");
    }
}

#[tokio::test]
async fn a_refusal_before_the_body_has_come_leaves_the_connection_open() {
    let gateway = builder().build().unwrap();
    let server = Server::bind(gateway, "127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let _run = tokio::spawn(server.run_until(std::future::pending()));
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let body = "x".repeat(200_000);
    for _ in 0..3 {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let refused = answer(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        // As clients do that send head and body apart.
        stream.write_all(body.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let (addr, _stop, _run) = started(|server| server);
    let request = format!(
        "GET /hello HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let answer = ask(addr, &request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}
