//! One connection: what it speaks, how it begins, and how it ends.

use super::clients::Clients;
use crate::{
    bell::Bell,
    gateway::{
        connection::{Arriving, Connection, ResponseFuture},
        flood::Resets,
        head,
        socket::{self, Hold, Socket},
        tls::{Opened, PREFACE, Tls, Wire},
    },
    tls::TlsInfo,
};
use http::Request;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};

/// What a connection may speak, by what was agreed on.
pub(super) struct Protocols {
    /// The first bytes say.
    either: auto::Builder<TokioExecutor>,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    clients: Clients,
}

impl Protocols {
    pub(super) fn new(clients: Clients) -> Self {
        Self {
            either: protocols(&clients),
            http1: protocols(&clients).http1_only(),
            http2: protocols(&clients).http2_only(),
            clients,
        }
    }

    /// After TLS nothing is guessed: who agreed on nothing speaks HTTP/1.1 (RFC 9112 section 9.7).
    fn of(&self, tls: Option<&TlsInfo>) -> &auto::Builder<TokioExecutor> {
        match tls.map(TlsInfo::protocol) {
            None => &self.either,
            Some(Some(b"h2")) => &self.http2,
            Some(_) => &self.http1,
        }
    }
}

fn protocols(clients: &Clients) -> auto::Builder<TokioExecutor> {
    let Clients {
        header_time, head, ..
    } = clients;
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(*header_time);
    // hyper's own 100 are on its stack, and its own 400 KiB are room enough.
    if head.headers > 100 {
        http.http1().max_headers(head.headers);
    }
    if head.header_bytes > READ_FOR_A_HEAD {
        http.http1().max_buf_size(head.header_bytes);
    }
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .max_header_list_size(u32::try_from(head.header_bytes).unwrap_or(u32::MAX))
        // Those of h2, which may change.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        // From the preface on: who says nothing after it is found out by these.
        .keep_alive_interval(Some(Duration::from_secs(60)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// How much hyper reads of a request of HTTP/1.1 before it finds its head too large.
const READ_FOR_A_HEAD: usize = 8192 + 4096 * 100;

/// Serves a connection, and asks it to end when `closed` is. Drops it once its requests are a flood of
/// such as are taken back.
///
/// It is woken many times, and asked to end once: whether it is, is looked up, and only the first time
/// waited for. What wakes it is one task for all of its life; what its parts are woken by is a
/// [`Bell`], for many of them wake one another in the midst of a poll.
pub(super) async fn until_closed<C: GracefulConnection>(
    connection: C,
    closed: watch::Receiver<()>,
    resets: &Resets,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut waiting = closed.clone();
    let mut closing = pin!(waiting.changed());
    let (mut registered, mut asked) = (false, false);
    let bell = Bell::new(Arc::default());
    let waker = bell.clone().into();
    poll_fn(|cx| {
        if !asked && (!registered || closed.has_changed().is_err()) {
            registered = true;
            if closing.as_mut().poll(cx).is_ready() {
                asked = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        if resets.are_a_flood() {
            tracing::debug!("a client takes back most of its requests");
            return Poll::Ready(Ok(()));
        }
        bell.poll(cx, |_| {
            connection.as_mut().poll(&mut Context::from_waker(&waker))
        })
    })
    .await
}

/// A connection that can be served.
pub(super) type Begun = (Wire<Socket<TcpStream>>, Option<TlsInfo>);

/// Waits until a connection can be served: the handshake is over, or the client has said which protocol
/// it speaks. The hold on its socket is there from the start.
pub(super) fn begins(
    stream: TcpStream,
    tls: Option<Tls>,
    write_time: Duration,
) -> (impl Future<Output = io::Result<Begun>>, Hold) {
    // Below TLS: what it writes by itself is bounded too.
    let (socket, hold) = socket::bounded(stream, write_time);
    let begun = async move {
        let Some(tls) = tls else {
            speaks(socket.inner()).await?;
            return Ok((Wire::Plain(socket), None));
        };
        let (stream, info) = tls.accept(socket).await?;
        Ok((Wire::Tls(Opened::of(stream).await?.into()), Some(info)))
    };
    (begun, hold)
}

/// Waits until a client has said which protocol it speaks.
///
/// The connection behind this waits for that without a limit: it looks for the preface of HTTP/2 (RFC
/// 9113 section 3.4), and only what is not that has a head that must arrive in time.
pub(super) async fn speaks(stream: &TcpStream) -> io::Result<()> {
    let mut first = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut first).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read == PREFACE.len() || first[..read] != PREFACE[..read] {
            return Ok(());
        }
        // What is there stays readable.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) fn connection<I, S, F>(
    http: &Protocols,
    stream: I,
    (peer, tls): (SocketAddr, Option<TlsInfo>),
    service: S,
    resets: Arc<Resets>,
) -> impl GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: tower_service::Service<
            Request<Arriving>,
            Response = http::Response<crate::Body>,
            Future = F,
        > + Clone
        + Send
        + 'static,
    S::Error: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<S::Response, S::Error>> + Send + 'static,
{
    let Clients { head, rate, .. } = http.clients;
    let http = http.of(tls.as_ref());
    let service = Connection::new(service, peer, tls, resets);
    let service = service_fn(move |request: Request<Incoming>| {
        if let Some(kind) = head.exceeded(&request) {
            return ResponseFuture::refused(head::refused(kind, &request));
        }
        let (request, answered) = Arriving::of(request, rate);
        service.call(request).telling(answered)
    });
    http.serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned()
}

/// Without it the first chunk of a stream, or its end, waits for an acknowledgement.
pub(super) fn tuned(stream: TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    stream
}
