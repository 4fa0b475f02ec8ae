//! One connection, driven by whoever waits for it.

use super::{
    super::{connect::Stream, fault::broken_off, stream::Outgoing},
    host::Host,
};
use crate::{Body, BoxError, bell::Bell};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;

/// A connection, and what its parts know of each other.
pub(super) struct Connection {
    /// `None`: it is over.
    driver: Option<http1::Connection<Stream, Outgoing>>,
    sender: http1::SendRequest<Outgoing>,
    pub(super) bell: Arc<Bell>,
    waker: Waker,
    /// Whether the last write had to wait.
    stalled: Arc<AtomicBool>,
}

impl Connection {
    pub(super) async fn greet(
        builder: &http1::Builder,
        stream: Stream,
        keeper: Arc<Notify>,
    ) -> hyper::Result<Box<Self>> {
        let stalled = stream.stalled();
        let (sender, driver) = builder.handshake(stream).await?;
        let bell = Bell::new(keeper);
        let waker = bell.clone().into();
        Ok(Box::new(Self {
            driver: Some(driver),
            sender,
            bell,
            waker,
            stalled,
        }))
    }

    /// Goes on as far as it goes. To be called within a poll of the bell.
    fn drive(&mut self) {
        if let Some(driver) = &mut self.driver {
            let over = Pin::new(driver).poll(&mut Context::from_waker(&self.waker));
            if over.is_ready() {
                // With it goes all that waits for an answer, and hears why. The error was told before,
                // or there was nobody to tell it to.
                self.driver = None;
            }
        }
    }

    /// Hands over a request. What it gives is to be polled with the connection.
    pub(super) fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>> + use<>
    {
        self.bell.begin();
        let answer = self.sender.try_send_request(request);
        self.bell.end();
        self.bell.ring();
        answer
    }

    /// Polls what waits for the connection; and the connection, if that stirred and the other has to wait.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let (bell, waker) = (self.bell.clone(), self.waker.clone());
        let inner = &mut Context::from_waker(&waker);
        bell.poll(cx, |stirred| {
            let polled = poll(inner);
            if polled.is_ready() || !stirred {
                return polled;
            }
            self.drive();
            poll(inner)
        })
    }

    /// Whether it has done with one request, and can take another.
    fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// The same, having seen to what happened meanwhile.
    pub(super) fn comes_to_rest(&mut self) -> bool {
        if !self.is_idle() || self.bell.rang() {
            self.bell.begin();
            self.drive();
            // What rang within was of its own doing.
            self.bell.end();
            self.bell.hush();
        }
        self.is_idle()
    }

    /// Whether all of the last request is out, so that it goes on only when the answer does.
    pub(super) fn has_flushed(&self) -> bool {
        !self.stalled.load(Ordering::Relaxed)
    }

    /// Drives it in a task of its own, to its rest or to its end.
    pub(super) fn spawn(mut self: Box<Self>, home: Arc<Host>) {
        let Some(mut driver) = self.driver.take() else {
            return;
        };
        tokio::spawn(async move {
            let rests = poll_fn(|cx| {
                if Pin::new(&mut driver).poll(cx).is_ready() {
                    return Poll::Ready(false);
                }
                self.sender.poll_ready(cx).map(|ready| ready.is_ok())
            });
            if rests.await {
                self.driver = Some(driver);
                // Its parts are to know the bell again.
                self.bell.ring();
                if self.comes_to_rest() {
                    home.put(self);
                }
            }
        });
    }
}

/// The body of an answer, and the connection that it comes by.
pub(super) struct Answer {
    incoming: Option<Incoming>,
    /// `None`: it is over, or driven by a task of its own.
    connection: Option<Box<Connection>>,
    home: Arc<Host>,
    /// Whether the head or a piece was given since it last had to wait.
    gave: bool,
    /// What it broke off with, if that was not told yet.
    broken: Option<hyper::Error>,
}

impl Answer {
    /// `connection` is the one it comes by, unless a task drives that.
    pub(super) fn body(
        incoming: Incoming,
        connection: Option<Box<Connection>>,
        home: Arc<Host>,
    ) -> Body {
        let over = incoming.is_end_stream();
        let mut answer = Self {
            incoming: Some(incoming),
            connection,
            home,
            gave: true,
            broken: None,
        };
        if over {
            answer.release();
            return Body::empty();
        }
        Body::boxed(answer)
    }

    /// Gives the connection back if it can take another request.
    fn release(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if connection.is_idle() {
            // To take the last piece rings for the next, of which there is none.
            connection.bell.hush();
            self.home.put(connection);
        } else if connection.comes_to_rest() {
            self.home.put(connection);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        if let Some(error) = this.broken.take() {
            this.incoming = None;
            return Poll::Ready(Some(Err(broken_off(error).into())));
        }
        let polled = match &mut this.connection {
            Some(connection) => {
                connection.poll_with(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx))
            }
            None => Pin::new(&mut *incoming).poll_frame(cx),
        };
        let Poll::Ready(frame) = polled else {
            this.gave = false;
            return Poll::Pending;
        };
        let over = matches!(frame, None | Some(Err(_))) || incoming.is_end_stream();
        let reads_on = this.connection.is_some() && !over;
        if over {
            this.release();
        }
        match frame.transpose() {
            // A server that hears of it in the turn in which it was given the rest would drop that unsent.
            Err(error) if mem::take(&mut this.gave) => {
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Some(Err(broken_off(error).into()))),
            Ok(frame) => {
                this.gave = true;
                let frame = frame.map(|frame| match reads_on {
                    true => frame.map_data(apart),
                    false => frame,
                });
                Poll::Ready(frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.as_ref().map(HttpBody::size_hint);
        hint.unwrap_or(SizeHint::with_exact(0))
    }
}

/// A small piece in memory of its own. As part of the buffer it was read into it would keep that from
/// being used for the next one, and a stream would take a new buffer for each event.
fn apart(piece: Bytes) -> Bytes {
    const SMALL: usize = 2048;
    if piece.len() <= SMALL {
        Bytes::copy_from_slice(&piece)
    } else {
        piece
    }
}

/// An answer that is not read to its end closes its connection, unless the rest is there already.
impl Drop for Answer {
    fn drop(&mut self) {
        self.incoming = None;
        if !std::thread::panicking() {
            self.release();
        }
    }
}
