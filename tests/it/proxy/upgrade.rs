//! Connections that become tunnels, and those that may not.

use super::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-key: k\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-accept: s\r\n\r\n";

/// An upstream that agrees, and says `early` behind its head. Then it sends back what it gets.
async fn agreeing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let head = read_head(&mut socket).await;
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n")
        );
        assert!(head.contains("sec-websocket-key: k\r\n"), "{head}");
        socket.write_all(AGREE.as_bytes()).await.unwrap();
        socket.write_all(b"early").await.unwrap();
        let (mut from, mut to) = socket.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    });
    address
}

async fn exactly(socket: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut got = vec![0; bytes];
    socket.read_exact(&mut got).await.unwrap();
    got
}

#[tokio::test]
async fn a_web_socket_is_a_tunnel_to_the_end() {
    let gate = serve(to(agreeing().await)).await;
    let mut socket = TcpStream::connect(gate).await.unwrap();
    socket.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"));
    assert!(head.contains("sec-websocket-accept: s\r\n"), "{head}");
    assert_eq!(exactly(&mut socket, 5).await, b"early");
    for piece in [&b"\x81\x05hello"[..], b"\r\n\r\n", b"\0"] {
        socket.write_all(piece).await.unwrap();
        assert_eq!(exactly(&mut socket, piece.len()).await, piece);
    }
    socket.shutdown().await.unwrap();
    assert_eq!(
        socket.read(&mut [0]).await.unwrap(),
        0,
        "both ends are told"
    );
}

#[tokio::test]
async fn a_tunnel_on_which_nothing_comes_is_closed() {
    let idle = Duration::from_millis(20);
    let gate = serve(to(agreeing().await).tunnel_idle_timeout(idle)).await;
    let mut socket = TcpStream::connect(gate).await.unwrap();
    socket.write_all(ASK.as_bytes()).await.unwrap();
    read_head(&mut socket).await;
    exactly(&mut socket, 5).await;
    assert_eq!(socket.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_tunnel_too_many_is_refused_before_the_upstream_is_asked() {
    let proxy = to(agreeing().await).max_tunnels(1);
    let gate = serve(proxy.clone()).await;
    let mut first = TcpStream::connect(gate).await.unwrap();
    first.write_all(ASK.as_bytes()).await.unwrap();
    read_head(&mut first).await;
    exactly(&mut first, 5).await;

    // The upstream takes one connection, so that an answer at all shows that it was not asked.
    let other = serve(proxy.name("shares them")).await;
    for gate in [gate, other] {
        let mut second = TcpStream::connect(gate).await.unwrap();
        second.write_all(ASK.as_bytes()).await.unwrap();
        let head = read_head(&mut second).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("retry-after: 1\r\n"), "{head}");
        assert!(head.contains("error=connection_limit_reached"), "{head}");
    }
}

#[tokio::test]
async fn a_tunnel_that_ends_or_never_comes_about_gives_back_its_place() {
    let (refusing, _) = raw_upstream(OK).await;
    for upstream in [refusing, agreeing().await] {
        let gate = serve(to(upstream).max_tunnels(1)).await;
        let mut socket = TcpStream::connect(gate).await.unwrap();
        socket.write_all(ASK.as_bytes()).await.unwrap();
        assert!(!read_head(&mut socket).await.contains(" 503 "));
        socket.shutdown().await.unwrap();
        // Until it is closed from the other side.
        let _ = socket.read_to_end(&mut Vec::new()).await;
        let again = async {
            loop {
                let mut socket = TcpStream::connect(gate).await.unwrap();
                socket.write_all(ASK.as_bytes()).await.unwrap();
                if !read_head(&mut socket).await.contains(" 503 ") {
                    break;
                }
            }
        };
        let free = tokio::time::timeout(Duration::from_secs(10), again).await;
        free.expect("a place is free");
    }
}

#[tokio::test]
async fn abuse_14_nothing_is_a_tunnel_before_the_upstream_agrees() {
    let (upstream, heads) = raw_upstream(OK).await;
    let gate = serve(to(upstream)).await;
    let mut socket = TcpStream::connect(gate).await.unwrap();
    // The second is a request of its own, and not the content of a tunnel.
    socket.write_all(ASK.as_bytes()).await.unwrap();
    let next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    socket.write_all(next.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    let heads = heads.lock().unwrap();
    assert!(heads[1].starts_with("GET /next "), "{heads:?}");
    assert!(!heads[1].contains("upgrade"), "{heads:?}");
}

#[tokio::test]
async fn other_protocols_are_not_asked_for() {
    for protocol in ["h2c", "websocket, h2c", "TLS/1.0"] {
        let (upstream, heads) = raw_upstream(OK).await;
        let gate = serve(to(upstream)).await;
        let ask = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\n\
             upgrade: {protocol}\r\nhttp2-settings: AAMAAABkAARAAAAA\r\n\r\n"
        );
        let answer = raw(gate, &ask).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let head = heads.lock().unwrap()[0].clone();
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(!head.contains(name), "{head}");
        }
    }
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    for (ask, agree) in [("GET / HTTP/1.1\r\nhost: a\r\n\r\n", AGREE), (ASK, other)] {
        let (upstream, _) = raw_upstream(agree).await;
        let gate = serve(to(upstream)).await;
        let mut socket = TcpStream::connect(gate).await.unwrap();
        socket.write_all(ask.as_bytes()).await.unwrap();
        let head = read_head(&mut socket).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    }
}
