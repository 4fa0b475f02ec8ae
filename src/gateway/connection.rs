//! What one connection asks of a service.

use crate::{bell, client_addr::PeerAddr, tls::TlsInfo};
use bytes::Bytes;
use http::{Request, Version, header::EXPECT};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, service::Service as HyperService};
use pin_project_lite::pin_project;
use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
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
}

type Spare<S> = Arc<Mutex<Option<S>>>;

impl<S> Connection<S> {
    pub(super) fn new(service: S, peer: SocketAddr, tls: Option<TlsInfo>) -> Self {
        Self {
            service,
            spare: Spare::default(),
            peer,
            tls,
        }
    }
}

impl<S, B> HyperService<Request<B>> for Connection<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request<B>, S::Future>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
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
        ResponseFuture { lent, future: None }
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
#[derive(Debug)]
pub(super) struct Arriving {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    http1: bool,
    /// Somebody reads it, or the client sends it only if it is told to.
    kept: bool,
}

/// How much of a body that nobody wants is read.
const UNWANTED: u64 = 1 << 20;
const UNWANTED_WITHIN: Duration = Duration::from_secs(2);

impl Arriving {
    pub(super) fn of(request: Request<Incoming>) -> Request<Self> {
        let http1 = request.version() < Version::HTTP_2;
        let kept = http1 && request.headers().contains_key(EXPECT);
        request.map(|incoming| Self {
            incoming: Some(incoming),
            http1,
            kept,
        })
    }
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
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
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

    fn is_end_stream(&self) -> bool {
        let incoming = self.incoming.as_ref();
        incoming.is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.incoming.as_ref();
        incoming.map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

struct Lent<S, R> {
    service: S,
    request: R,
    home: Spare<S>,
}

pin_project! {
    /// Response future of [`Connection`].
    pub(super) struct ResponseFuture<S, R, F> {
        lent: Option<Lent<S, R>>,
        #[pin]
        future: Option<F>,
    }
}

impl<S, R> Future for ResponseFuture<S, R, S::Future>
where
    S: Service<R>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(lent) = this.lent {
            ready!(lent.service.poll_ready(cx))?;
        }
        if let Some(mut lent) = this.lent.take() {
            this.future.set(Some(lent.service.call(lent.request)));
            *lent.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(lent.service);
        }
        let future = this.future.as_mut().as_pin_mut();
        future.expect("polled after completion").poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };
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
        let connection = Connection::new(service, peer, None);
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
        let connection = Connection::new(service, SocketAddr::from(([192, 0, 2, 1], 80)), None);
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
