//! The socket of one connection: bounded in its writes, and cut from outside.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot::{self, error::TryRecvError},
    task::unconstrained,
    time::{Instant, Sleep, sleep},
};

/// A socket that gives up when the other side takes nothing for so long, and the hold on it.
pub(super) fn bounded<I>(inner: I, write_time: Duration) -> (Socket<I>, Hold) {
    let (hold, cut) = oneshot::channel();
    let socket = Socket {
        inner,
        write_time,
        stall: None,
        stalled: false,
        cut: Some(cut),
        woken: None,
    };
    (socket, Hold(hold))
}

/// Whoever has this keeps the socket open. It knows when the socket is gone, wherever it has gone to: a
/// connection that became a tunnel ends as a connection, and its socket lives on.
pub(super) struct Hold(oneshot::Sender<Infallible>);

impl Hold {
    /// Waits until the socket is dropped.
    pub(super) async fn gone(mut self) {
        self.0.closed().await;
    }
}

pub(super) struct Socket<I> {
    inner: I,
    write_time: Duration,
    /// Made at the first write that must wait, and kept: a client that reads slowly needs it often.
    stall: Option<Pin<Box<Sleep>>>,
    /// Whether the last write had to wait.
    stalled: bool,
    /// Ready when nobody holds the socket. `None` after that.
    cut: Option<oneshot::Receiver<Infallible>>,
    /// Whom `cut` wakes.
    woken: Option<Waker>,
}

impl<I> Socket<I> {
    pub(super) fn inner(&self) -> &I {
        &self.inner
    }

    /// Looked at only where there is nothing to read or no room to write, for whoever waits must be
    /// woken, and whoever does not wait will.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(cut) = &mut self.cut {
            // A connection waits many times in a request, and always as the same task.
            let known = self.woken.as_ref();
            if known.is_some_and(|known| known.will_wake(cx.waker()))
                && let Err(TryRecvError::Empty) = cut.try_recv()
            {
                return Poll::Pending;
            }
            if !cut.is_terminated() {
                self.woken = Some(cx.waker().clone());
                // Without a budget, for a poll that has none left would wait without being woken.
                let _ = ready!(Pin::new(&mut unconstrained(cut)).poll(cx));
            }
            self.cut = None;
        }
        Poll::Ready(io::ErrorKind::ConnectionAborted.into())
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if let Poll::Ready(error) = self.poll_cut(cx) {
            return Poll::Ready(Err(error));
        }
        let time = self.write_time;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(time)));
        if !self.stalled {
            self.stalled = true;
            stall.as_mut().reset(Instant::now() + time);
        }
        ready!(stall.as_mut().poll(cx));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the client does not read");
        Poll::Ready(Err(error))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Socket<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Pending => self.poll_cut(cx).map(Err),
            read => read,
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (client, server) = duplex(8);
        let (mut socket, _hold) = bounded(server, MINUTE);
        let start = Instant::now();
        let error = socket.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 60);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_byte_now_and_then_is_not() {
        let (mut client, server) = duplex(1);
        let (mut socket, _hold) = bounded(server, MINUTE);
        let start = Instant::now();
        let reading = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(59)).await;
                client.read_u8().await.unwrap();
            }
            client
        };
        let (written, _client) = tokio::join!(socket.write_all(&[0; 21]), reading);
        written.unwrap();
        assert!(start.elapsed() >= 19 * Duration::from_secs(59));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_between_two_writes_does_not_count() {
        let (mut client, server) = duplex(1);
        let (mut socket, _hold) = bounded(server, MINUTE);
        for _ in 0..3 {
            socket.write_all(&[0]).await.unwrap();
            sleep(10 * MINUTE).await;
            client.read_u8().await.unwrap();
            // This one has to wait, and its minute begins here.
            let reading = async {
                sleep(MINUTE / 2).await;
                client.read_u8().await.unwrap();
                client.read_u8().await.unwrap();
            };
            let (written, ()) = tokio::join!(socket.write_all(&[0; 2]), reading);
            written.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_timer_is_made_while_writes_go_through() {
        let (_client, server) = duplex(100);
        let (mut socket, _hold) = bounded(server, MINUTE);
        socket.write_all(&[0; 100]).await.unwrap();
        assert!(socket.stall.is_none());
    }

    #[tokio::test]
    async fn whoever_lets_go_cuts_a_read_and_a_write() {
        for writes in [false, true] {
            let (_client, server) = duplex(1);
            let (mut socket, hold) = bounded(server, MINUTE);
            let waiting = tokio::spawn(async move {
                if writes {
                    socket.write_all(&[0; 2]).await
                } else {
                    socket.read_u8().await.map(drop)
                }
            });
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            drop(hold);
            let error = waiting.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    }

    #[tokio::test]
    async fn whoever_waits_without_a_budget_is_cut_too() {
        let (_client, server) = duplex(1);
        let (mut socket, hold) = bounded(server, MINUTE);
        let mut spent = false;
        let waiting = tokio::spawn(poll_fn(move |cx| {
            if !std::mem::replace(&mut spent, true) {
                while Box::pin(tokio::task::consume_budget())
                    .as_mut()
                    .poll(cx)
                    .is_ready()
                {}
            }
            let mut byte = [0];
            Pin::new(&mut socket).poll_read(cx, &mut ReadBuf::new(&mut byte))
        }));
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        drop(hold);
        let cut = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(cut.expect("it is woken").unwrap().is_err());
    }

    #[tokio::test]
    async fn what_was_cut_stays_cut_and_yet_gives_what_had_come() {
        let (mut client, server) = duplex(8);
        let (mut socket, hold) = bounded(server, MINUTE);
        drop(hold);
        client.write_all(b"a").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'a');
        for _ in 0..2 {
            let error = socket.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    }

    #[tokio::test]
    async fn the_hold_knows_when_the_socket_is_gone() {
        let (_client, server) = duplex(8);
        let (socket, hold) = bounded(server, MINUTE);
        let gone = tokio::spawn(hold.gone());
        tokio::task::yield_now().await;
        assert!(!gone.is_finished());
        drop(socket);
        gone.await.unwrap();
    }

    /// Takes all slices at once.
    struct Vectored(Vec<usize>);

    impl AsyncWrite for Vectored {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.len());
            Poll::Ready(Ok(bytes.iter().map(|slice| slice.len()).sum()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn head_and_body_go_out_in_one_write() {
        let (mut socket, _hold) = bounded(Vectored(Vec::new()), MINUTE);
        assert!(socket.is_write_vectored());
        let slices = [io::IoSlice::new(b"head"), io::IoSlice::new(b"body")];
        let written = poll_fn(|cx| Pin::new(&mut socket).poll_write_vectored(cx, &slices)).await;
        assert_eq!(written.unwrap(), 8);
        assert_eq!(socket.inner.0, [2]);
    }
}
