//! A connection, with TLS or without.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// One type for both, so that what serves a connection is compiled, and fills caches, once.
pub(in crate::gateway) enum Wire<I> {
    Plain(I),
    Tls(Box<Opened<I>>),
}

/// What a client of HTTP/2 says first (RFC 9113 section 3.4).
pub(in crate::gateway) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has said which protocol it speaks. What was read for that is read again.
pub(in crate::gateway) struct Opened<I> {
    stream: TlsStream<I>,
    first: [u8; PREFACE.len()],
    /// Of the first bytes, those that are there and were not read again.
    unread: Range<usize>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Opened<I> {
    /// Waits for the whole preface of HTTP/2, or for what is none.
    pub(in crate::gateway) async fn of(mut stream: TlsStream<I>) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        let mut read = 0;
        while read < first.len() && first[..read] == PREFACE[..read] {
            match stream.read(&mut first[read..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        Ok(Self {
            stream,
            first,
            unread: 0..read,
        })
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Opened<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let end = this.unread.end.min(this.unread.start + buffer.remaining());
        buffer.put_slice(&this.first[this.unread.start..end]);
        this.unread.start = end;
        Poll::Ready(Ok(()))
    }
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Wire::Tls(stream) => {
                let $stream = Pin::new(&mut stream.stream);
                $call
            }
        }
    };
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(opened) => Pin::new(&mut **opened).poll_read(cx, buffer),
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(opened) => opened.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
