//! The client: raw HTTP/1.1 on kept connections, one request at a time on each.

use crate::{Fallible, mock};
use memchr::memmem;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How many connections.
const CONNECTIONS: u32 = 64;

/// The key that every contender takes.
pub(crate) const KEY: &str = "bench-0123456789abcdef";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 1 KB in, 1 KB out, as fast as it goes.
    Plain,
    /// 100 KB in, 1 KB out, as fast as it goes.
    Large,
    /// 1 KB in, 50 events out, 5 ms between them.
    Stream,
    /// As `Plain`, so many in a second.
    Paced(u32),
}

/// The bytes of one request.
pub(crate) fn request(path: &str, size: usize, stream: bool, user: &str) -> Vec<u8> {
    let start = format!(
        r#"{{"model":"m","stream":{stream},"user":"{user}","temperature":0.7,"messages":[{{"role":"system","content":"You are terse."}},{{"role":"user","content":""#
    );
    let words = "The quick brown fox jumps over the lazy dog, and all of it counts. ";
    let mut body = start;
    while body.len() < size - words.len() {
        body.push_str(words);
    }
    body.push_str(r#""}]}"#);
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench.test\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\naccept: */*\r\nuser-agent: bench/1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One load on one contender.
pub(crate) struct Load {
    address: SocketAddr,
    shape: Shape,
    request: Arc<[u8]>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) requests: u64,
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    /// From the request to the end of a plain answer, or to the first event of a stream.
    latencies: Vec<Duration>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, path: &str, shape: Shape) -> Self {
        let size = if shape == Shape::Large {
            100 << 10
        } else {
            1 << 10
        };
        let request = request(path, size, shape == Shape::Stream, "bench").into();
        Self {
            address,
            shape,
            request,
        }
    }

    pub(crate) async fn run(&self, time: Duration) -> Fallible<Taken> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(self.address).await?);
        }
        let start = Instant::now();
        let until = start + time;
        let mut tasks = JoinSet::new();
        for (index, mut connection) in (0..).zip(connections) {
            let (request, shape) = (self.request.clone(), self.shape);
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                let between = match shape {
                    Shape::Paced(rate) => Duration::from_secs(CONNECTIONS.into()) / rate,
                    _ => Duration::ZERO,
                };
                let mut next = start + between * index / CONNECTIONS;
                if shape == Shape::Stream {
                    // Streams that begin together have all their events at the same time.
                    sleep_until(start + Duration::from_millis(4) * index).await;
                }
                while Instant::now() < until {
                    if !between.is_zero() {
                        sleep_until(next).await;
                        next += between;
                    }
                    let begin = Instant::now();
                    let first = connection.call(&request).await?;
                    let end = match shape {
                        Shape::Stream => first,
                        _ => Instant::now(),
                    };
                    latencies.push(end - begin);
                }
                Fallible::Ok(latencies)
            });
        }
        let mut taken = Taken::default();
        while let Some(done) = tasks.join_next().await {
            taken.latencies.extend(done??);
        }
        taken.time = start.elapsed();
        taken.requests = taken.latencies.len() as u64;
        taken.latencies.sort_unstable();
        Ok(taken)
    }
}

impl Taken {
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64()
    }

    /// In microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = self.latencies.len() * percent / 100;
        let latency = self.latencies.get(at).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e6
    }

    /// Microseconds of the contender's CPU, for each request or each event.
    pub(crate) fn cost(&self, shape: Shape) -> f64 {
        let events = if shape == Shape::Stream {
            mock::EVENTS
        } else {
            1
        };
        self.cpu.as_secs_f64() * 1e6 / (self.requests.max(1) as f64 * events as f64)
    }
}

/// A kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Fallible<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(1 << 15);
        Ok(Self { stream, buffer })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> Fallible {
        self.buffer.clear();
        Ok(self.stream.write_all(request).await?)
    }

    /// More of the answer; forgets what came before.
    pub(crate) async fn more(&mut self) -> Fallible<&[u8]> {
        self.buffer.clear();
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the contender hung up".into());
        }
        Ok(&self.buffer)
    }

    /// Reads an answer to its end. Returns when its first byte came.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Fallible<Instant> {
        self.send(request).await?;
        let mut first = None;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the contender hung up".into());
            }
            let Some(body) = memmem::find(&self.buffer, b"\r\n\r\n").map(|end| end + 4) else {
                continue;
            };
            // The first event, not the head that may come before it.
            if self.buffer.len() > body {
                first.get_or_insert_with(Instant::now);
            }
            let head = &self.buffer[..body];
            if !head.starts_with(b"HTTP/1.1 200") {
                let text = String::from_utf8_lossy(&self.buffer);
                return Err(format!("the contender answers {text}").into());
            }
            let whole = match length(head) {
                Some(length) => self.buffer.len() >= body + length,
                None => self.buffer.ends_with(b"\r\n0\r\n\r\n"),
            };
            if whole {
                return Ok(first.unwrap_or_else(Instant::now));
            }
        }
    }
}

fn length(head: &[u8]) -> Option<usize> {
    let name = b"ontent-";
    let mut from = 0;
    while let Some(at) = memmem::find(&head[from..], name) {
        from += at + name.len();
        let rest = &head[from..];
        if rest.len() > 8 && rest[..8].eq_ignore_ascii_case(b"length: ") {
            let end = rest[8..].iter().position(|byte| *byte == b'\r')?;
            return std::str::from_utf8(&rest[8..8 + end]).ok()?.parse().ok();
        }
    }
    None
}
