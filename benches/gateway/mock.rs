//! The upstream: as little work as an upstream can be, so that the core it shares is the client's.

use crate::Fallible;
use memchr::memmem;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Events of a stream, unless the request says otherwise.
pub(crate) const EVENTS: usize = 50;

const ANSWER: &str = r#"{"id":"chatcmpl-9xYz0123456789","object":"chat.completion","created":1731000000,"model":"gpt-5-mini-2026-01-01","service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"message":{"role":"assistant","content":"TEXT","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":120,"total_tokens":320,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#;

pub(crate) async fn serve(address: SocketAddr) -> Fallible {
    let text = "All work and no play. ".repeat(40);
    let body = ANSWER.replace("TEXT", &text[..1024 - ANSWER.len() + 4]);
    let length = body.len();
    let answer: &'static str = Box::leak(
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_boxed_str(),
    );
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = connection(stream, answer).await;
        });
    }
}

async fn connection(mut stream: TcpStream, answer: &'static str) -> Fallible {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(1 << 17);
    loop {
        buffer.clear();
        let body = loop {
            if let Some(body) = complete(&buffer) {
                break body;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        // What concerns the mock stands at the beginning of the body.
        let body = &buffer[body..];
        let start = &body[..body.len().min(512)];
        if memmem::find(start, br#""stream":true"#).is_some() {
            let events = told(start, b"events=").unwrap_or(EVENTS);
            let pace = told(start, b"pace=").unwrap_or(5);
            let usage = memmem::find(body, br#""include_usage":true"#).is_some();
            let pace = Duration::from_millis(u64::try_from(pace)?);
            events_to(&mut stream, events, pace, usage).await?;
        } else {
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

async fn events_to(stream: &mut TcpStream, events: usize, pace: Duration, usage: bool) -> Fallible {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let null = if usage { r#","usage":null"# } else { "" };
    let mut ticks = tokio::time::interval(pace.max(Duration::from_millis(1)));
    for n in 0..events {
        ticks.tick().await;
        let event = format!(
            "data: {{\"id\":\"chatcmpl-9xYz0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1731000000,\"model\":\"gpt-5-mini-2026-01-01\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{n}\"}},\"logprobs\":null,\"finish_reason\":null}}]{null}}}\n\n"
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).await?;
    }
    let mut end = String::new();
    if usage {
        let event = format!(
            "data: {{\"id\":\"chatcmpl-9xYz0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1731000000,\"model\":\"gpt-5-mini-2026-01-01\",\"choices\":[],\"usage\":{{\"prompt_tokens\":200,\"completion_tokens\":{events},\"total_tokens\":{}}}}}\n\n",
            200 + events
        );
        end.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    }
    end.push_str("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    Ok(stream.write_all(end.as_bytes()).await?)
}

/// Where the body begins, once all of it is there.
fn complete(buffer: &[u8]) -> Option<usize> {
    let body = memmem::find(buffer, b"\r\n\r\n")? + 4;
    let head = buffer[..body].to_ascii_lowercase();
    if let Some(length) = told(&head, b"content-length: ") {
        return (buffer.len() >= body + length).then_some(body);
    }
    if memmem::find(&head, b"transfer-encoding").is_some() {
        return buffer.ends_with(b"0\r\n\r\n").then_some(body);
    }
    Some(body)
}

/// The number after a name.
fn told(text: &[u8], name: &[u8]) -> Option<usize> {
    let digits = &text[memmem::find(text, name)? + name.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
