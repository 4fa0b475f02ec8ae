//! A gateway on a real socket.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_gateway::{
    Body,
    auth::{
        ApiKeys,
        stored::{Grant, Keyring, MemoryKeys, Pepper, StoredKeys},
    },
    gateway::{Gateway, GatewayBuilder, Server},
    llm::{Provider, Simulator},
    proxy::Proxy,
    testing::{MockVendor, Reply, Turn},
};

/// No test waits longer.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A server, until it is dropped.
pub(crate) struct Started {
    pub(crate) addr: SocketAddr,
    admin: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    run: JoinHandle<std::io::Result<()>>,
}

impl Started {
    /// Has it stop, and waits until it has.
    async fn end(self) {
        self.stop.send(()).unwrap();
        let run = timeout(SOON, self.run).await.expect("it ends");
        run.unwrap().unwrap();
    }
}

pub(crate) fn start(builder: GatewayBuilder, set: impl FnOnce(Server) -> Server) -> Started {
    let hello = tower::service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Body::from(Bytes::from_static(b"hello"))))
    });
    let gateway = builder.route("/hello", hello).build().unwrap();
    let server = set(Server::bind(gateway, "127.0.0.1:0").unwrap());
    let (addr, admin) = (server.local_addr().unwrap(), server.admin_addr());
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(server.run_until(async move {
        let _ = stopped.await;
    }));
    Started {
        addr,
        admin,
        stop,
        run,
    }
}

pub(crate) fn simulated() -> GatewayBuilder {
    Gateway::builder().simulator(Simulator::new())
}

pub(crate) fn chat(stream: bool) -> String {
    format!(
        r#"{{"model":"sim-chat","stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    )
}

pub(crate) async fn open(addr: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads until this has come.
pub(crate) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let read = timeout(SOON, stream.read_buf(&mut text)).await;
        assert_ne!(read.expect("in time").unwrap(), 0, "it closed early");
    }
    String::from_utf8(text).unwrap()
}

/// Reads until it is closed.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut text)).await;
    // A reset closes it as well.
    let _ = read.expect("closed in time");
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) async fn get(addr: SocketAddr, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    rest(open(addr, &head).await).await
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let server = start(simulated(), |server| server);
    let stream = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = client.await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str, body: String| {
        Request::post(format!("http://{}{path}", server.addr))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    };
    let hello = client.send_request(request("/hello", String::new()));
    let whole = client.send_request(request("/v1/chat/completions", chat(false)));
    let streamed = client.send_request(request("/v1/chat/completions", chat(true)));
    for (answer, end) in [
        (hello.await, "hello"),
        (whole.await, "}"),
        (streamed.await, "data: [DONE]\n\n"),
    ] {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, Version::HTTP_2)
        );
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(end.as_bytes()), "{body:?}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_closes_the_connection() {
    let server = start(simulated(), |server| {
        server.header_time(Duration::from_millis(200))
    });
    for head in [
        "GET /hello HTTP/1.1\r\nhost: a\r\nx-slow: ",
        "G",
        // Nothing at all, and what may yet become HTTP/2.
        "",
        "PRI * HT",
    ] {
        let stream = open(server.addr, head).await;
        let answer = rest(stream).await;
        assert!(!answer.contains("200 OK"), "{head:?}: {answer}");
    }
    // Also one that comes after a good one.
    let mut stream = open(server.addr, "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(&mut stream, "hello").await;
    stream.write_all(b"GET /hel").await.unwrap();
    rest(stream).await;
}

#[tokio::test]
async fn an_exchange_may_take_longer_than_its_head() {
    let pace = Duration::from_millis(150);
    let simulator = Simulator::new().answer("one two three four").pace(pace);
    let server = start(Gateway::builder().simulator(simulator), |server| {
        server.header_time(Duration::from_millis(200))
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
async fn a_connection_too_many_waits_for_one_to_close() {
    let server = start(simulated(), |server| server.max_connections(1));
    let head = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut first = open(server.addr, head).await;
    until(&mut first, "hello").await;
    let mut second = open(server.addr, head).await;
    let early = timeout(Duration::from_millis(300), second.readable()).await;
    assert!(early.is_err(), "it waits");
    first.write_all(head.as_bytes()).await.unwrap();
    until(&mut first, "hello").await;
    drop(first);
    until(&mut second, "hello").await;
}

#[tokio::test]
async fn the_admin_listener_serves_metrics_and_nothing_of_the_api() {
    let keys = ApiKeys::new().add("alice", "a-secret-of-alice");
    let server = start(simulated().api_keys(keys), |server| {
        server.admin("127.0.0.1:0").unwrap()
    });
    let admin = server.admin.unwrap();
    assert!(get(server.addr, "/hello").await.starts_with("HTTP/1.1 401"));
    let metrics = get(admin, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(metrics.contains("status=\"401\""), "{metrics}");
    for path in [
        "/hello",
        "/v1/models",
        "/v1/chat/completions",
        "/",
        "/health/ready",
    ] {
        let answer = get(admin, path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    assert!(
        get(server.addr, "/metrics")
            .await
            .starts_with("HTTP/1.1 401")
    );
}

#[tokio::test]
async fn metrics_are_not_served_without_an_admin_listener() {
    let server = start(simulated(), |server| server);
    assert!(server.admin.is_none());
    assert!(
        get(server.addr, "/metrics")
            .await
            .starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn a_hang_up_in_a_stream_ends_the_call_upstream() {
    let turn = Turn::text("one two three four five six seven eight");
    let turn = turn.on_wire(|reply| reply.stall_after(600));
    let vendor = MockVendor::start(turn).await.unwrap();
    let provider = Provider::custom("lab", vendor.base_url()).unwrap();
    let gateway = Gateway::builder().model("sim-chat", [provider]);
    let server = start(gateway, |server| server);
    let body = chat(true);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = open(server.addr, &head).await;
    until(&mut stream, "one").await;
    assert_eq!((vendor.count(), vendor.hang_ups()), (1, 0));
    drop(stream);
    let gone = async {
        while vendor.hang_ups() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.expect("the vendor is told");
}

const ASK: &str = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
                   upgrade: websocket\r\n\r\n";

/// A gateway before an upstream that speaks WebSocket and sends back what it gets.
async fn tunnelling() -> GatewayBuilder {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                until(&mut socket, "\r\n\r\n").await;
                let agree = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                             upgrade: websocket\r\n\r\n";
                socket.write_all(agree.as_bytes()).await.unwrap();
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let proxy = Proxy::to(format!("http://{upstream}")).unwrap();
    simulated().route("/socket", proxy)
}

/// Opens a tunnel, and shows that it is one.
async fn tunnel(addr: SocketAddr) -> TcpStream {
    let mut socket = open(addr, ASK).await;
    let head = until(&mut socket, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket.write_all(b"echo").await.unwrap();
    until(&mut socket, "echo").await;
    socket
}

#[tokio::test]
async fn a_tunnel_is_a_connection_until_it_is_closed() {
    let server = start(tunnelling().await, |server| server.max_connections(1));
    let tunnel = tunnel(server.addr).await;
    let mut second = open(server.addr, "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let early = timeout(Duration::from_millis(300), second.readable()).await;
    assert!(early.is_err(), "it waits");
    drop(tunnel);
    until(&mut second, "hello").await;
}

#[tokio::test]
async fn a_tunnel_goes_on_while_the_server_drains_and_is_cut_then() {
    let server = start(tunnelling().await, |server| {
        server.drain_time(Duration::from_millis(300))
    });
    let addr = server.addr;
    let mut tunnel = tunnel(addr).await;
    let ended = tokio::spawn(server.end());
    while TcpStream::connect(addr).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
    tunnel.write_all(b"still").await.unwrap();
    until(&mut tunnel, "still").await;
    ended.await.unwrap();
    assert_eq!(rest(tunnel).await, "");
}

#[tokio::test]
async fn a_tunnel_that_is_closed_in_time_is_waited_for() {
    let server = start(tunnelling().await, |server| server);
    let tunnel = tunnel(server.addr).await;
    let ended = tokio::spawn(server.end());
    sleep(Duration::from_millis(50)).await;
    assert!(!ended.is_finished());
    drop(tunnel);
    ended.await.unwrap();
}

#[tokio::test]
async fn it_goes_on_accepting_for_the_delay_and_is_not_ready() {
    let server = start(simulated(), |server| {
        server.drain_delay(Duration::from_millis(500))
    });
    let addr = server.addr;
    assert!(get(addr, "/health/ready").await.starts_with("HTTP/1.1 200"));
    let ended = tokio::spawn(server.end());
    while get(addr, "/health/ready").await.starts_with("HTTP/1.1 200") {}
    assert!(get(addr, "/health/ready").await.starts_with("HTTP/1.1 503"));
    assert!(get(addr, "/hello").await.ends_with("hello"));
    assert!(!ended.is_finished());
    ended.await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn calls_that_wait_for_a_head_are_refused_when_the_time_to_drain_is_over() {
    let vendor = MockVendor::start(Turn::reply(Reply::silent()))
        .await
        .unwrap();
    let provider = Provider::custom("lab", vendor.base_url()).unwrap();
    let never = tower::service_fn(async |_| {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let gateway = Gateway::builder()
        .model("sim-chat", [provider])
        .route("/never", never);
    let server = start(gateway, |server| {
        server.drain_time(Duration::from_millis(200))
    });
    let ask = |stream| {
        let body = chat(stream);
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut waiting = Vec::new();
    for request in [
        ask(true),
        ask(false),
        "GET /never HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
    ] {
        let stream = open(server.addr, &request).await;
        waiting.push(tokio::spawn(rest(stream)));
    }
    while vendor.count() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    server.end().await;
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\"draining\""), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_slow_upload_is_its_callers_fault_and_a_large_one_too() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(format!("http://{}", upstream.local_addr().unwrap())).unwrap();
    // It takes what comes, and answers nothing.
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = upstream.accept().await.unwrap();
            tokio::spawn(async move { socket.read_to_end(&mut Vec::new()).await });
        }
    });
    let gateway = simulated()
        .route("/upload", proxy)
        .body_limit(1000)
        .body_idle_timeout(Duration::from_millis(200));
    let server = start(gateway, |server| server);
    let post = "POST /upload HTTP/1.1\r\nhost: a\r\n";
    let chunk = format!("3e8\r\n{}\r\n", "a".repeat(1000));
    for (request, status, code) in [
        (
            format!("{post}content-length: 10\r\n\r\nabc"),
            "408",
            "request_timeout",
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\n{chunk}"),
            "408",
            "request_timeout",
        ),
        (
            format!("{post}content-length: 1001\r\n\r\n"),
            "413",
            "request_too_large",
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\n{chunk}1\r\na\r\n"),
            "413",
            "request_too_large",
        ),
    ] {
        let answer = rest(open(server.addr, &request).await).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.contains(code) && answer.contains("connection: close"),
            "{answer}"
        );
    }
}

/// What was used in the last minute is not lost with the process.
#[tokio::test]
async fn the_uses_of_stored_keys_are_written_when_it_has_drained() {
    let store = MemoryKeys::new();
    let pepper = Pepper::new(1, "a secret of the tests, of 32 bytes and more").unwrap();
    let keyring = Keyring::new(Arc::new(store.clone()), pepper.clone());
    let (key, secret) = keyring.issue(Grant::new("alice")).await.unwrap();
    let builder = simulated().stored_keys(StoredKeys::new(store, pepper));
    let started = start(builder, |server| server);
    let head = format!(
        "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-api-key: {}\r\n\r\n",
        secret.expose()
    );
    let mut stream = open(started.addr, &head).await;
    let answer = until(&mut stream, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let used = async || {
        keyring
            .find(key.id())
            .await
            .unwrap()
            .unwrap()
            .last_used_at()
    };
    assert_eq!(used().await, None);
    started.end().await;
    assert!(used().await.is_some());
}
