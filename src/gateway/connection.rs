//! What one connection asks of a service.

use super::{
    flood::{Begun, Resets},
    pace::{Pace, Rate},
};
use crate::{BoxError, Rejection, bell, client_addr::PeerAddr, tls::TlsInfo};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Version,
    header::{CONNECTION, CONTENT_TYPE, EXPECT},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, service::Service as HyperService};
use pin_project_lite::pin_project;
use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::runtime::Handle;
use tower_service::Service;

/// A service for one connection, told who is at its other end.
///
/// To clone a stack costs as much as several of its layers, so one clone serves a connection: it is
/// lent to a request until that is on its way. Another is made only while it is lent, for an HTTP/2
/// request that comes at the same time.
#[derive(Clone, Debug)]
pub(super) struct Connection<S> {
    service: S,
    spare: Spare<S>,
    peer: SocketAddr,
    tls: Option<TlsInfo>,
    resets: Arc<Resets>,
}

type Spare<S> = Arc<Mutex<Option<S>>>;

impl<S> Connection<S> {
    pub(super) fn new(
        service: S,
        peer: SocketAddr,
        tls: Option<TlsInfo>,
        resets: Arc<Resets>,
    ) -> Self {
        Self {
            service,
            spare: Spare::default(),
            peer,
            tls,
            resets,
        }
    }
}

impl<S, B> HyperService<Request<B>> for Connection<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request<B>, S::Future, S::Response>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        // Over HTTP/1.1 nothing can be taken back but with the connection.
        let taken_back = request.version() == Version::HTTP_2;
        let begun = taken_back.then(|| self.resets.begin());
        request.extensions_mut().insert(PeerAddr(self.peer));
        if let Some(tls) = &self.tls {
            request.extensions_mut().insert(tls.clone());
        }
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let lent = Some(Lent {
            service: spare.unwrap_or_else(|| self.service.clone()),
            request,
            home: self.spare.clone(),
        });
        ResponseFuture {
            lent,
            future: None,
            refused: None,
            begun,
            answered: None,
        }
    }
}

/// The body of a request, as it arrives.
///
/// To take a piece asks the connection for the next. Over HTTP/1.1 there is none after the last one of a
/// known length, and the connection, which is of the same task, need not be looked at again.
///
/// A body of which nobody read anything, because its request was refused, is read and thrown away, if it
/// is no more than 1 MiB and comes within 2 seconds. Else the connection would have to be closed after the
/// answer, and a client that sends head and body apart would meet a closed connection with its next
/// request.
///
/// It must come at a [rate](Rate), as long as somebody waits for it and the request is not being answered.
/// Streams of gRPC are spared that: they wait by design, and routes bound their silence.
#[derive(Debug)]
pub(super) struct Arriving {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    http1: bool,
    /// Somebody reads it, or the client sends it only if it is told to.
    kept: bool,
    pace: Option<Pace>,
}

/// How much of a body that nobody wants is read.
const UNWANTED: u64 = 1 << 20;
const UNWANTED_WITHIN: Duration = Duration::from_secs(2);

impl Arriving {
    /// And what is to be told when the request is being answered.
    pub(super) fn of(
        request: Request<Incoming>,
        rate: Option<Rate>,
    ) -> (Request<Self>, Option<Arc<AtomicBool>>) {
        let http1 = request.version() < Version::HTTP_2;
        let kept = http1 && request.headers().contains_key(EXPECT);
        let rate = rate.filter(|_| !request.body().is_end_stream() && !is_grpc(&request));
        let answered = rate.is_some().then(Arc::<AtomicBool>::default);
        let pace = rate.zip(answered.clone());
        let request = request.map(|incoming| Self {
            incoming: Some(incoming),
            http1,
            kept,
            pace: pace.map(|(rate, answered)| Pace::new(rate, answered)),
        });
        (request, answered)
    }

    /// Reads no more of it.
    fn too_slow(&mut self) -> Option<BoxError> {
        let pace = self.pace.take()?;
        let mut rejection = Rejection::new(pace.refusal());
        if self.http1 {
            // What is left of it is not read.
            rejection = rejection.with_header(CONNECTION, HeaderValue::from_static("close"));
        }
        self.incoming = None;
        Some(rejection.into())
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    let says_so = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    // It needs HTTP/2: over HTTP/1.1 that is only said.
    request.version() == Version::HTTP_2 && content_type.is_some_and(says_so)
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        let left = incoming.size_hint().upper().unwrap_or(0);
        if !self.http1 || self.kept || incoming.is_end_stream() || left > UNWANTED {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(UNWANTED_WITHIN, discard(incoming)));
        }
    }
}

async fn discard(mut incoming: Incoming) {
    let mut left = UNWANTED;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        let read = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = self.poll_incoming(cx) else {
            if let Some(pace) = &mut self.pace {
                ready!(pace.poll_slow(cx));
                return Poll::Ready(self.too_slow().map(Err));
            }
            return Poll::Pending;
        };
        if let Some(pace) = &mut self.pace
            && let Some(Ok(frame)) = &frame
        {
            pace.came(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let incoming = self.incoming.as_ref();
        incoming.is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.incoming.as_ref();
        incoming.map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Arriving {
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let http1 = self.http1;
        self.kept = true;
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let mut take = || {
            let frame = Pin::new(&mut *incoming).poll_frame(cx);
            (frame, incoming.is_end_stream())
        };
        if !http1 {
            return take().0;
        }
        let is_last = |(frame, over): &(Poll<Option<_>>, bool)| {
            *over && matches!(frame, Poll::Ready(Some(Ok(_))))
        };
        bell::hold(take, is_last).0
    }
}

struct Lent<S, R> {
    service: S,
    request: R,
    home: Spare<S>,
}

pin_project! {
    /// Response future of [`Connection`].
    pub(super) struct ResponseFuture<S, R, F, A> {
        lent: Option<Lent<S, R>>,
        #[pin]
        future: Option<F>,
        // The answer, if nobody is called for it.
        refused: Option<A>,
        begun: Option<Begun>,
        // To be told that there is an answer.
        answered: Option<Arc<AtomicBool>>,
    }
}

impl<S, R, F, A> ResponseFuture<S, R, F, A> {
    /// An answer for which nobody is called.
    pub(super) fn refused(answer: A) -> Self {
        Self {
            lent: None,
            future: None,
            refused: Some(answer),
            begun: None,
            answered: None,
        }
    }

    pub(super) fn telling(mut self, answered: Option<Arc<AtomicBool>>) -> Self {
        self.answered = answered;
        self
    }
}

impl<S, R> Future for ResponseFuture<S, R, S::Future, S::Response>
where
    S: Service<R>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(answer) = this.refused.take() {
            return Poll::Ready(Ok(answer));
        }
        if let Some(lent) = this.lent {
            ready!(lent.service.poll_ready(cx))?;
        }
        if let Some(mut lent) = this.lent.take() {
            this.future.set(Some(lent.service.call(lent.request)));
            *lent.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(lent.service);
        }
        let future = this.future.as_mut().as_pin_mut();
        let answer = ready!(future.expect("polled after completion").poll(cx));
        if let Some(begun) = this.begun {
            begun.answered();
        }
        if let Some(answered) = this.answered {
            answered.store(true, Ordering::Relaxed);
        }
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{convert::Infallible, sync::atomic::AtomicUsize};
    use tokio::sync::Semaphore;

    /// Counts its clones, and is ready as long as there are permits.
    #[derive(Debug)]
    struct Counted {
        clones: Arc<AtomicUsize>,
        ready: Arc<Semaphore>,
    }

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.clones.fetch_add(1, Ordering::Relaxed);
            Self {
                clones: self.clones.clone(),
                ready: self.ready.clone(),
            }
        }
    }

    impl Service<Request<()>> for Counted {
        type Response = Option<PeerAddr>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Option<PeerAddr>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            match self.ready.available_permits() {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            std::future::ready(Ok(request.extensions().get().copied()))
        }
    }

    #[tokio::test]
    async fn one_clone_serves_all_requests_of_a_connection() {
        let peer = SocketAddr::from(([192, 0, 2, 1], 80));
        let (clones, ready) = (Arc::default(), Arc::new(Semaphore::new(1)));
        let service = Counted { clones, ready };
        let clones = service.clones.clone();
        let connection = Connection::new(service, peer, None, Arc::default());
        for _ in 0..3 {
            let who = connection.call(Request::new(())).await.unwrap();
            assert_eq!(who, Some(PeerAddr(peer)));
        }
        assert_eq!(clones.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn requests_at_the_same_time_do_not_wait_for_one_another() {
        let (clones, ready) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let service = Counted { clones, ready };
        let (clones, ready) = (service.clones.clone(), service.ready.clone());
        let peer = SocketAddr::from(([192, 0, 2, 1], 80));
        let connection = Connection::new(service, peer, None, Arc::default());
        let mut waiting = connection.call(Request::new(()));
        poll_fn(|cx| {
            assert!(Pin::new(&mut waiting).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        ready.add_permits(1);
        assert!(connection.call(Request::new(())).await.is_ok());
        assert!(waiting.await.is_ok());
        assert_eq!(clones.load(Ordering::Relaxed), 2);
    }
}
