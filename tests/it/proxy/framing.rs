//! What one server may read otherwise than the next.

use super::*;

/// What an upstream sees of a request that was sent as it is, and the answer.
async fn seen(request: &str) -> (Vec<(Method, String, Bytes)>, String) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let upstream = serve(service_fn(move |request: Request<Incoming>| {
        let kept = kept.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            if let Ok(body) = body {
                let request = (parts.method, parts.uri.to_string(), body);
                kept.lock().unwrap().push(request);
            }
            Ok(Response::new(Body::from("answer")))
        }
    }))
    .await;
    let gate = serve(to(upstream)).await;
    let answer = raw(gate, request).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, answer)
}

#[tokio::test]
async fn abuse_12_a_request_with_two_lengths_never_becomes_two() {
    // Behind each stands a request that would be smuggled.
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 0\r\n",
        "POST http://b/ HTTP/1.1\r\nhost: a\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: authorization\r\nauthorization: x\r\n",
        "POST /%2e%2e HTTP/1.1\r\nhost: a\r\n",
    ] {
        let (seen, answer) = seen(&format!("{head}\r\n0\r\n\r\n{SMUGGLED}")).await;
        assert!(seen.is_empty(), "{head:?}: {seen:?}");
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "),
            "{head:?}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn abuse_12_chunks_win_and_the_length_is_gone() {
    let end = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for head in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n{end}");
        let (seen, answer) = seen(&request).await;
        // RFC 9112 §6.1: the connection is closed, so that nothing behind it counts.
        assert_eq!(seen, [(Method::POST, "/".into(), "hello".into())]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn abuse_13_a_refused_body_is_not_the_next_request() {
    let inner = "GET /inner HTTP/1.1\r\nhost: a\r\n\r\n";
    let request = format!(
        "POST /%zz HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{inner}\
         GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        inner.len()
    );
    let (seen, answer) = seen(&request).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close\r\n"));
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn abuse_15_the_body_is_asked_for_when_the_upstream_is_there() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\
                connection: close\r\n\r\n";
    let (_, answer) = seen(&format!("{head}hello")).await;
    let (first, last) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(first, "HTTP/1.1 100 Continue");
    assert!(last.ends_with("answer"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = listener.local_addr().unwrap();
    drop(listener);
    let answer = raw(serve(to(nowhere)).await, head).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let (upstream, _) = raw_upstream(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let inbound = request(Method::GET, "/").body(Body::empty()).unwrap();
    let answer = to(upstream).oneshot(inbound).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), text(answer).await),
        (200, "ok".into())
    );
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_a_bad_gateway() {
    for head in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: +2\r\n",
        "x y: 1\r\n",
    ] {
        let answer: &'static str = format!("HTTP/1.1 200 OK\r\n{head}\r\nok").leak();
        let (upstream, _) = raw_upstream(answer).await;
        let inbound = request(Method::GET, "/").body(Body::empty()).unwrap();
        let answer = to(upstream).oneshot(inbound).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{head}");
        assert_eq!(
            answer.headers()["proxy-status"],
            "tower-gateway; error=http_protocol_error"
        );
    }
}

#[tokio::test]
async fn a_head_without_end_is_a_bad_gateway() {
    let long = "a".repeat(256 << 10);
    let many = "x: 1\r\n".repeat(500);
    for head in [format!("x: {long}\r\n"), many] {
        let answer: &'static str = format!("HTTP/1.1 200 OK\r\n{head}\r\n").leak();
        let (upstream, _) = raw_upstream(answer).await;
        let inbound = request(Method::GET, "/").body(Body::empty()).unwrap();
        let answer = to(upstream).oneshot(inbound).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn nobody_gets_a_tunnel_or_an_echo_by_method() {
    let proxy = Proxy::to("http://up").unwrap();
    for method in [Method::CONNECT, Method::TRACE] {
        let uri = if method == Method::CONNECT {
            "gate:80"
        } else {
            "/"
        };
        let inbound = request(method, uri).body(Body::empty()).unwrap();
        let answer = proxy.clone().oneshot(inbound).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(answer.headers().contains_key(header::ALLOW));
        let status = &answer.headers()["proxy-status"];
        assert_eq!(status, "tower-gateway; error=http_request_error");
    }
}

#[tokio::test]
async fn abuse_16_crumbs_of_a_cookie_are_one_for_http_1() {
    let (upstream, heads) = raw_upstream(OK).await;
    let gate = serve(to(upstream)).await;
    let request = Request::get(format!("http://{gate}/"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Body::empty())
        .unwrap();
    let answer = Client::new().http2_only().send(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.contains("cookie: a=1; b=2\r\n"), "{head}");
    assert!(head.contains(&format!("host: {upstream}\r\n")), "{head}");
    assert!(head.contains("via: 2 tower-gateway-"), "{head}");
    assert_eq!(
        head.matches("host: ").count(),
        1 + 1,
        "and x-forwarded-host: {head}"
    );
}
