//! HTTP/1.1 by hand: requests are read strictly, answers are written as told.

use super::{
    reply::Step,
    upstream::{Recorded, State},
};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::JoinSet,
};

/// The longest head that is read.
const HEAD: usize = 1 << 20;
/// The largest body that is read.
const BODY: usize = 256 << 20;
/// How much of the next request is read while an answer goes out.
const AHEAD: usize = 1 << 16;

/// Takes connections for as long as it is polled; dropping it closes them.
pub(super) async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            connections.spawn(serve(stream, state.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let connection = state.connected();
    let (mut read, mut write) = stream.split();
    let mut buffer = BytesMut::new();
    loop {
        let request = match request(&mut read, &mut write, &mut buffer, connection).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                // A connection that breaks between requests says nothing about them.
                if error.kind() == io::ErrorKind::InvalidData {
                    state.malformed();
                    let answer = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
                                  content-length: 0\r\n\r\n";
                    let _ = write.write_all(answer.as_bytes()).await;
                    let _ = write.shutdown().await;
                }
                return;
            }
        };
        let last = closes(&request);
        let steps = {
            let head_only = request.method == Method::HEAD;
            state.answer(request).steps(head_only)
        };
        let sent = race(send(&mut write, &steps), hang_up(&mut read, &mut buffer));
        match sent.await {
            Some(Ok(())) if steps.last() != Some(&Step::Close) && !last => {}
            Some(Ok(())) => {
                let _ = write.shutdown().await;
                return;
            }
            Some(Err(_)) | None => {
                state.hung_up();
                return;
            }
        }
    }
}

async fn send(write: &mut WriteHalf<'_>, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Wait(time) => tokio::time::sleep(*time).await,
            Step::Write(bytes) => write.write_all(bytes).await?,
            Step::Endless(bytes) => loop {
                write.write_all(bytes).await?;
                tokio::task::yield_now().await;
            },
            Step::Stall => std::future::pending().await,
            Step::Close => break,
        }
    }
    Ok(())
}

/// Ready when the client is gone. What it sends meanwhile is kept for the next request.
async fn hang_up(read: &mut ReadHalf<'_>, buffer: &mut BytesMut) {
    while buffer.len() < AHEAD {
        match read.read_buf(buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}

/// `None` if the second is ready and the first is not.
async fn race<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        if let Poll::Ready(done) = first.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        second.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// `None` if the client closed the connection between requests.
async fn request(
    read: &mut ReadHalf<'_>,
    write: &mut WriteHalf<'_>,
    buffer: &mut BytesMut,
    connection: usize,
) -> io::Result<Option<Recorded>> {
    let Some(head) = head(read, buffer).await? else {
        return Ok(None);
    };
    let (method, path, headers) = parse(&head).ok_or_else(|| invalid("the head"))?;
    if headers
        .get("expect")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        write.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = match (
        headers.get("transfer-encoding"),
        headers.get("content-length"),
    ) {
        (Some(_), Some(_)) => return Err(invalid("two framings")),
        (Some(coding), None) if coding == "chunked" => chunks(read, buffer).await?,
        (Some(_), None) => return Err(invalid("the transfer coding")),
        (None, Some(length)) => {
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            let length = length.filter(|length| *length <= BODY);
            let length = length.ok_or_else(|| invalid("the length"))?;
            exactly(read, buffer, length).await?
        }
        (None, None) => Bytes::new(),
    };
    Ok(Some(Recorded {
        method,
        path,
        headers,
        body,
        head,
        connection,
    }))
}

async fn head(read: &mut ReadHalf<'_>, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let mut from = 0;
    loop {
        if let Some(end) = find(&buffer[from..], b"\r\n\r\n") {
            return Ok(Some(buffer.split_to(from + end + 4).freeze()));
        }
        from = buffer.len().saturating_sub(3);
        if buffer.len() > HEAD {
            return Err(invalid("a head without end"));
        }
        if read.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(invalid("half a head"))
            };
        }
    }
}

fn parse(head: &[u8]) -> Option<(Method, String, HeaderMap)> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let method = Method::from_bytes(start.next()?.as_bytes()).ok()?;
    let path = start.next()?.to_owned();
    let version = start.next()?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || start.next().is_some() {
        return None;
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some((method, path, headers))
}

fn closes(request: &Recorded) -> bool {
    let asked = |word| {
        request
            .header("connection")
            .is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    let line = request.head.split(|byte| *byte == b'\r').next();
    let old = line.is_some_and(|line| line.ends_with(b"HTTP/1.0"));
    asked("close") || (old && !asked("keep-alive"))
}

async fn exactly(
    read: &mut ReadHalf<'_>,
    buffer: &mut BytesMut,
    length: usize,
) -> io::Result<Bytes> {
    while buffer.len() < length {
        if read.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.split_to(length).freeze())
}

async fn line(read: &mut ReadHalf<'_>, buffer: &mut BytesMut) -> io::Result<Bytes> {
    loop {
        if let Some(end) = find(buffer, b"\r\n") {
            let line = buffer.split_to(end).freeze();
            buffer.advance(2);
            return Ok(line);
        }
        if buffer.len() > HEAD {
            return Err(invalid("a line without end"));
        }
        if read.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The body without its chunks. Trailers are read and dropped.
async fn chunks(read: &mut ReadHalf<'_>, buffer: &mut BytesMut) -> io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let size = line(read, buffer).await?;
        let size = size.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.filter(|size| *size <= BODY - body.len());
        match size.ok_or_else(|| invalid("the size of a chunk"))? {
            0 => break,
            size => {
                body.extend_from_slice(&exactly(read, buffer, size).await?);
                if !line(read, buffer).await?.is_empty() {
                    return Err(invalid("the end of a chunk"));
                }
            }
        }
    }
    while !line(read, buffer).await?.is_empty() {}
    Ok(body.freeze())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
