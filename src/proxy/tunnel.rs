//! Connections that become something else after their head: WebSocket.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

/// The protocol that is let through.
pub(super) const PROTOCOL: &str = "websocket";

/// The caller's half of a tunnel that may come about, and its place among those there may be.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Copies both ways until both sides are done, one fails, or nothing comes for `idle`.
///
/// It runs on its own, for the server has sent the head by then and is done with the call. What the
/// server holds for the connection is in the connection: a server that bounds its sockets, or cuts them,
/// does so here too.
pub(super) fn spawn(tunnel: Tunnel, upstream: OnUpgrade, idle: Duration) {
    tokio::spawn(async move {
        let Tunnel {
            client,
            permit: _permit,
        } = tunnel;
        // The caller has its connection only when it has read the head.
        let both = async { Some((client.await.ok()?, upstream.await.ok()?)) };
        let Ok(Some((client, upstream))) = timeout(idle, both).await else {
            return;
        };
        let count = Arc::new(AtomicU64::new(0));
        let mut client = Counted {
            inner: TokioIo::new(client),
            count: count.clone(),
        };
        let mut upstream = Counted {
            inner: TokioIo::new(upstream),
            count: count.clone(),
        };
        let mut copying = pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
        loop {
            let before = count.load(Ordering::Relaxed);
            match timeout(idle, &mut copying).await {
                Err(_) if count.load(Ordering::Relaxed) != before => {}
                Err(_) => return tracing::debug!("a tunnel was idle for too long"),
                Ok(Err(error)) => return tracing::debug!(%error, "a tunnel broke off"),
                Ok(Ok(_)) => return,
            }
        }
    });
}

/// Counts the bytes that are read.
struct Counted<I> {
    inner: I,
    count: Arc<AtomicU64>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
