use super::*;
use crate::exchange::Usage;
use serde_json::{Value, json};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

async fn connect(upstream: &MockUpstream) -> TcpStream {
    TcpStream::connect(upstream.address()).await.unwrap()
}

fn message(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Sends, closes the sending half only when all was read.
async fn raw(upstream: &MockUpstream, bytes: &str) -> String {
    let mut stream = connect(upstream).await;
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// The status, and the body without its chunks.
async fn call(upstream: &MockUpstream, path: &str, body: &Value) -> (u16, String) {
    let method = if body.is_null() { "GET" } else { "POST" };
    let request = message(method, path, &body.to_string());
    let request = request.replacen("host: x", "connection: close", 1);
    let answer = raw(upstream, &request).await;
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    if !head.contains("chunked") {
        return (status, rest.to_owned());
    }
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&tail[..size]);
        rest = &tail[size + 2..];
    }
    (status, body)
}

fn chat(stream: bool) -> Value {
    json!({
        "model": "any", "stream": stream,
        "stream_options": { "include_usage": true },
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "Say three words" }] },
        ],
    })
}

fn events(body: &str) -> Vec<Value> {
    let events = body
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "));
    let events = events.filter(|data| *data != "[DONE]");
    events
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn text_of(events: &[Value]) -> String {
    let texts = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    texts.collect()
}

#[tokio::test]
async fn what_came_is_kept_in_order() {
    let upstream = MockUpstream::start(Reply::status(204)).await.unwrap();
    let mut stream = connect(&upstream).await;
    let chunked = "PUT /b HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                   3;x=y\r\nabc\r\n2\r\nde\r\n0\r\ntrailer: 1\r\n\r\n";
    let both = message("POST", "/a?b=%20", "one") + chunked;
    stream.write_all(both.as_bytes()).await.unwrap();
    upstream.received(2).await;
    let requests = upstream.requests();
    assert_eq!(requests[0].path, "/a?b=%20");
    assert_eq!(requests[0].route(), "/a");
    assert_eq!(requests[0].body, "one");
    assert_eq!(requests[1].method, "PUT");
    assert_eq!(requests[1].body, "abcde");
    assert_eq!(requests[1].header("host"), Some("x"));
    assert!(
        requests[1]
            .head
            .starts_with(b"PUT /b HTTP/1.1\r\nHost: x\r\n")
    );
    assert_eq!((upstream.connections(), upstream.hang_ups()), (1, 0));
}

#[tokio::test]
async fn a_connection_is_kept_until_it_is_told_otherwise() {
    let script = vec![Reply::status(200), Reply::status(200).close()];
    let upstream = MockUpstream::start(script).await.unwrap();
    let both = message("GET", "/", "").repeat(3);
    let answer = raw(&upstream, &both).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!((upstream.count(), upstream.connections()), (2, 1));
}

#[tokio::test]
async fn a_closure_answers_by_what_is_asked() {
    let upstream = MockUpstream::start(|request: &Recorded| Reply::json(200, &request.path));
    let upstream = upstream.await.unwrap();
    assert_eq!(
        call(&upstream, "/x", &Value::Null).await,
        (200, "/x".to_owned())
    );
}

#[tokio::test]
async fn an_expected_continue_is_given() {
    let upstream = MockUpstream::start(Reply::status(200)).await.unwrap();
    let mut stream = connect(&upstream).await;
    let head = "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").await.unwrap();
    upstream.received(1).await;
    assert_eq!(upstream.last().unwrap().body, "ok");
}

#[tokio::test]
async fn a_malformed_request_is_answered_and_counted() {
    let upstream = MockUpstream::start(Reply::status(200)).await.unwrap();
    for bytes in [
        "GET / HTTP/3.0\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        assert!(raw(&upstream, bytes).await.starts_with("HTTP/1.1 400"));
    }
    assert_eq!((upstream.malformed(), upstream.count()), (4, 0));
}

#[tokio::test]
async fn a_cut_body_has_no_end() {
    let reply = Reply::stream(["one", "two"]).cut_after(11);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let answer = raw(&upstream, &message("GET", "/", "")).await;
    assert!(
        answer.ends_with("\r\n\r\nb\r\ndata: one\n\n\r\n"),
        "{answer}"
    );
    assert_eq!(upstream.hang_ups(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_answer_says_nothing_more() {
    let reply = Reply::json(200, "0123456789").stall_after(4);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let mut stream = connect(&upstream).await;
    let request = message("GET", "/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let minute = Duration::from_secs(60);
    let waited = tokio::time::timeout(minute, stream.read_to_end(&mut answer)).await;
    assert!(waited.is_err());
    assert!(answer.ends_with(b"content-length: 10\r\n\r\n0123"));
    drop(stream);
    upstream.hung_up(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_takes_the_request_and_notices_the_hang_up() {
    let upstream = MockUpstream::start(Reply::silent()).await.unwrap();
    let mut stream = connect(&upstream).await;
    let request = message("GET", "/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    upstream.received(1).await;
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, stream.read_u8()).await.is_err());
    assert_eq!(upstream.hang_ups(), 0);
    drop(stream);
    upstream.hung_up(1).await;
}

#[tokio::test(start_paused = true)]
async fn delay_and_pace_take_their_time() {
    let (delay, pace) = (Duration::from_secs(5), Duration::from_secs(1));
    let reply = Reply::stream(["a", "b", "c"]).delay(delay).pace(pace);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let start = Instant::now();
    call(&upstream, "/", &Value::Null).await;
    let took = start.elapsed();
    assert!(
        took >= delay + 2 * pace && took < delay + 3 * pace,
        "{took:?}"
    );
}

#[tokio::test]
async fn an_endless_line_ends_with_the_client() {
    for reply in [Reply::endless_line(), Reply::endless_head()] {
        let upstream = MockUpstream::start(reply).await.unwrap();
        let mut stream = connect(&upstream).await;
        let request = message("GET", "/", "");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut much = vec![0; 1 << 20];
        stream.read_exact(&mut much).await.unwrap();
        drop(stream);
        upstream.hung_up(1).await;
    }
}

#[tokio::test]
async fn raw_bytes_are_all_there_is() {
    let upstream = MockUpstream::start(vec![Reply::raw("HTTP/9 what\n"), Reply::hang_up()]);
    let upstream = upstream.await.unwrap();
    let request = message("GET", "/", "");
    assert_eq!(raw(&upstream, &request).await, "HTTP/9 what\n");
    assert_eq!(raw(&upstream, &request).await, "");
}

#[tokio::test]
async fn dropping_the_mock_closes_everything() {
    let upstream = MockUpstream::start(Reply::silent()).await.unwrap();
    let address = upstream.address();
    let mut stream = connect(&upstream).await;
    let request = message("GET", "/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    upstream.received(1).await;
    drop(upstream);
    assert!(
        matches!(stream.read_u8().await, Err(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    );
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let port = ClosedPort::new().unwrap();
    let error = TcpStream::connect(port.address()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says_and_costs_the_same() {
    let text = "Seven words, in  events of\nany size.";
    let patterns: [&[usize]; 5] = [&[], &[0], &[7], &[0, 7, 1, 3], &[2, 0, 0]];
    for pattern in patterns {
        let turn = Turn::text(text).tokens_per_event(pattern.iter().copied());
        let vendor = MockVendor::start(turn).await.unwrap();
        let (status, whole) = call(&vendor, "/v1/chat/completions", &chat(false)).await;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let (_, stream) = call(&vendor, "/v1/chat/completions", &chat(true)).await;
        assert!(stream.ends_with("data: [DONE]\n\n"));
        let events = events(&stream);
        assert_eq!(status, 200);
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(text_of(&events), text);
        assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
        // Two words of the system's, three of the user's.
        assert_eq!(vendor.truth(), [Usage::new(5, 7); 2]);
        assert_eq!(vendor.total(), Usage::new(10, 14));
        assert_eq!(whole["usage"]["total_tokens"], 12);
    }
}

#[tokio::test]
async fn events_carry_the_tokens_of_the_pattern() {
    let turn = Turn::text("a b c d")
        .reasoning("x y")
        .tokens_per_event([0, 3]);
    let vendor = MockVendor::start(turn).await.unwrap();
    let (_, body) = call(&vendor, "/v1/chat/completions", &chat(true)).await;
    let events = events(&body);
    let of = |name: &str| {
        let deltas = events
            .iter()
            .map(|event| &event["choices"][0]["delta"][name]);
        deltas.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    assert_eq!(of("reasoning_content"), ["", "x y"]);
    assert_eq!(of("content"), ["", "", "a b c", "", " d"]);
    assert_eq!(vendor.truth()[0].reasoning, Some(2));
}

#[tokio::test]
async fn usage_comes_only_if_asked() {
    let vendor = MockVendor::start(Turn::text("Hello")).await.unwrap();
    let mut request = chat(true);
    request["stream_options"] = Value::Null;
    let (_, body) = call(&vendor, "/v1/chat/completions", &request).await;
    assert!(!body.contains("usage"), "{body}");
    let (_, body) = call(&vendor, "/v1/chat/completions", &chat(true)).await;
    assert_eq!(body.matches(r#""usage":null"#).count(), 3);
}

#[tokio::test]
async fn calls_of_tools_come_in_fragments() {
    let calls = [("weather", json!({ "city": "Oslo" })), ("time", json!({}))];
    let vendor = MockVendor::start(Turn::tool_calls(calls)).await.unwrap();
    let (_, whole) = call(&vendor, "/v1/chat/completions", &chat(false)).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["content"], Value::Null);
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        r#"{"city":"Oslo"}"#
    );
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let (_, body) = call(&vendor, "/v1/chat/completions", &chat(true)).await;
    let mut arguments = [String::new(), String::new()];
    for event in events(&body) {
        let call = &event["choices"][0]["delta"]["tool_calls"][0];
        if let Some(index) = call["index"].as_u64() {
            let fragment = call["function"]["arguments"].as_str().unwrap();
            arguments[usize::try_from(index).unwrap()].push_str(fragment);
        }
    }
    assert_eq!(arguments, [r#"{"city":"Oslo"}"#, "{}"]);
}

#[tokio::test]
async fn a_stream_may_end_in_an_error() {
    let vendor = MockVendor::start(Turn::text("a b c").error_after(2))
        .await
        .unwrap();
    let (status, body) = call(&vendor, "/v1/chat/completions", &chat(true)).await;
    let events = events(&body);
    assert_eq!((status, events.len()), (200, 3));
    assert_eq!(events[2]["error"]["type"], "server_error");
    assert!(!body.contains("[DONE]"));
}

#[tokio::test]
async fn a_queue_of_turns_fails_and_recovers() {
    let vendor = Vendor::new(vec![
        Turn::rate_limited(Duration::from_millis(1500)),
        Turn::overloaded(),
        Turn::text("Fine").on_wire(|reply| reply.header("x-more", "1")),
    ]);
    let vendor = vendor
        .key("sk-mock-1")
        .models(["any"])
        .start()
        .await
        .unwrap();
    let send = async |key: &str, model: &str| {
        let body = chat(false).to_string().replace("any", model);
        let request = message("POST", "/openai/v1/chat/completions", &body);
        let headers = format!("connection: close\r\nauthorization: Bearer {key}");
        raw(&vendor, &request.replacen("host: x", &headers, 1)).await
    };
    assert!(
        send("sk-wrong-key", "any")
            .await
            .starts_with("HTTP/1.1 401")
    );
    assert!(send("sk-mock-1", "none").await.starts_with("HTTP/1.1 404"));
    let limited = send("sk-mock-1", "any").await;
    assert!(limited.contains("\r\nretry-after: 2\r\n"), "{limited}");
    assert!(limited.contains("\r\nx-ratelimit-reset-requests: 1.500s\r\n"));
    assert!(send("sk-mock-1", "any").await.starts_with("HTTP/1.1 503"));
    assert!(send("sk-mock-1", "any").await.contains("\r\nx-more: 1\r\n"));
    assert!(
        send("sk-mock-1", "any")
            .await
            .contains("the script of the mock is over")
    );
    assert_eq!(vendor.truth().len(), 1);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let vendor = MockVendor::start(Turn::text("x")).await.unwrap();
    let (status, body) = call(&vendor, "/v1/chat/completions", &json!({ "model": "m" })).await;
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"messages""#), "{body}");
    let (status, _) = call(&vendor, "/v1/chat/completions", &json!({ "messages": [] })).await;
    assert_eq!(status, 400);
    let (status, _) = call(&vendor, "/v1/nothing", &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn models_completions_and_embeddings_are_served() {
    let vendor = MockVendor::start(Turn::text("two words")).await.unwrap();
    let (_, models) = call(&vendor, "/v1/models", &Value::Null).await;
    assert!(models.contains("mock-chat"));
    assert_eq!(
        call(&vendor, "/v1/models/mock-embed", &Value::Null).await.0,
        200
    );
    assert_eq!(call(&vendor, "/v1/models/none", &Value::Null).await.0, 404);
    let request = json!({ "model": "m", "prompt": "Say it", "stream": true });
    let (_, body) = call(&vendor, "/v1/completions", &request).await;
    let events = events(&body);
    let texts = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str());
    assert_eq!(texts.collect::<String>(), "two words");
    assert_eq!(events[0]["object"], "text_completion");
    let request = json!({ "model": "m", "input": ["one", "two three"] });
    let (_, body) = call(&vendor, "/v1/embeddings", &request).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"][1]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(body["usage"]["total_tokens"], 3);
    assert_eq!(vendor.truth(), [Usage::new(2, 2), Usage::new(3, 0)]);
}

#[tokio::test]
async fn a_fitting_vendor_calls_what_is_offered() {
    let vendor = MockVendor::start(Turn::fitting).await.unwrap();
    let mut request = chat(false);
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
    request["tools"] = json!([tool("one"), tool("two")]);
    let (_, body) = call(&vendor, "/v1/chat/completions", &request).await;
    assert_eq!(body.matches(r#""type":"function""#).count(), 1);
    request["messages"][1]["content"] = json!("Call both");
    let (_, body) = call(&vendor, "/v1/chat/completions", &request).await;
    assert_eq!(body.matches(r#""type":"function""#).count(), 2);
    request["messages"] = json!([{ "role": "tool", "content": "12 degrees" }]);
    let (_, body) = call(&vendor, "/v1/chat/completions", &request).await;
    assert!(body.contains(r#""content":"12 degrees""#), "{body}");
}
