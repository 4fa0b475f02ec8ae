//! A gateway on a real socket.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::{sleep, timeout},
};
use tower_gateway::{
    Body,
    auth::ApiKeys,
    gateway::{Gateway, GatewayBuilder, Server},
    llm::{Provider, Simulator},
    testing::{MockVendor, Turn},
};

/// No test waits longer.
const SOON: Duration = Duration::from_secs(10);

/// A server, until it is dropped.
struct Started {
    addr: SocketAddr,
    admin: Option<SocketAddr>,
    _stop: oneshot::Sender<()>,
}

fn start(builder: GatewayBuilder, set: impl FnOnce(Server) -> Server) -> Started {
    let hello = tower::service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Body::from(Bytes::from_static(b"hello"))))
    });
    let gateway = builder.route("/hello", hello).build().unwrap();
    let server = set(Server::bind(gateway, "127.0.0.1:0").unwrap());
    let (addr, admin) = (server.local_addr().unwrap(), server.admin_addr());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(server.run_until(async move {
        let _ = stopped.await;
    }));
    Started {
        addr,
        admin,
        _stop: stop,
    }
}

fn simulated() -> GatewayBuilder {
    Gateway::builder().simulator(Simulator::new())
}

fn chat(stream: bool) -> String {
    format!(
        r#"{{"model":"sim-chat","stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    )
}

async fn open(addr: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads until this has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let read = timeout(SOON, stream.read_buf(&mut text)).await;
        assert_ne!(read.expect("in time").unwrap(), 0, "it closed early");
    }
    String::from_utf8(text).unwrap()
}

/// Reads until it is closed.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut text)).await;
    // A reset closes it as well.
    let _ = read.expect("closed in time");
    String::from_utf8_lossy(&text).into_owned()
}

async fn get(addr: SocketAddr, path: &str) -> String {
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
