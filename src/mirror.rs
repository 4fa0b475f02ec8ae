//! Sends copies of some calls to another service, whose answers nobody waits for.
//!
//! A new version meets what real callers send before one of them depends on it. Its answers are read and
//! dropped; that it fails, is slow, or is down changes nothing for anybody.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_gateway::{Body, BoxError, mirror::MirrorLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let service = service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Body::from("old"))));
//! let (heard, mut hears) = tokio::sync::mpsc::channel(1);
//! let shadow = service_fn(move |request: Request<Body>| {
//!     let heard = heard.clone();
//!     async move {
//!         heard.send(request.headers().clone()).await?;
//!         Err::<Response<Body>, BoxError>("down".into())
//!     }
//! });
//!
//! // One call of ten would be 1_000.
//! let layer = MirrorLayer::new(shadow, 10_000);
//! let mirrored = layer.layer(service);
//! let request = Request::post("/").body(Body::from("{}"))?;
//! assert!(mirrored.oneshot(request).await.is_ok(), "whatever becomes of the shadow");
//!
//! let headers = hears.recv().await.ok_or("it got none")?;
//! assert_eq!(headers["x-gateway-mirrored"], "true");
//! assert_eq!(layer.handle().stats().sent, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What the copy is
//!
//! The same request with the header `x-gateway-mirrored: true`, credentials and all: take out what is not
//! for the shadow by a layer around it, or by [`Proxy::remove_header`](https://docs.rs/tower-gateway/latest/tower_gateway/proxy/struct.Proxy.html#method.remove_header).
//! A request that has this header is not mirrored again. The copy does what the request does: that a second
//! order is not a second delivery is up to the shadow.
//!
//! Its extensions are fresh, but for who calls and from where ([`Principal`], [`ClientAddr`],
//! [`PeerAddr`], [`TlsInfo`], [`Vouched`]) and what is to be [carried](MirrorLayer::carry). There is no
//! [`Exchange`](crate::Exchange) and no [`Deadline`](crate::deadline::Deadline) among them, so that logs
//! and metrics of the call do not tell of the shadow, and it uses up none of the attempts. What limits
//! callers stands further out, and has counted the call once; a breaker stands around the service or
//! around the shadow, and counts its own.
//!
//! # What is not sent
//!
//! | call | what becomes of the copy | counted as |
//! |---|---|---|
//! | is one of the share | sent | `sent` |
//! | while [32](MirrorLayer::at_once) are under way | not made | `full` |
//! | body over [64 KiB](MirrorLayer::body_limit), of unknown size, or an upgrade | not made | `too_large` |
//!
//! Whether it is too large is known before its body is read. A body that is not is read before the
//! service is called, of those calls alone that are mirrored.
//!
//! # Answers
//!
//! | call | status | code | headers |
//! |---|--:|---|---|
//! | any | the service's | | |
//! | whose body breaks off while the copy is made | 400, or as whoever broke it off says | `invalid_request` | |
//!
//! **What if its store is down**: there is none.
//!
//! # The answer of the shadow
//!
//! It is read to its end, up to [1 MiB](MirrorLayer::answer_limit), within
//! [30 seconds](MirrorLayer::timeout) from the call, and dropped. [`compare`](MirrorLayer::compare) gets
//! both statuses and both times. A shadow that panics does so in a task of its own.
//!
//! # What is shared
//!
//! The bound, the share and the counts belong to the layer value: all services that it and its clones
//! wrap share them. Every setter begins anew.
//!
//! # Cancellation
//!
//! A call that is dropped before it was sent on has no copy. Afterwards the copy goes its own way, also
//! when the call is dropped; it ends with the runtime. Outside of tokio nothing is mirrored.

mod copy;
mod shared;
#[cfg(test)]
mod tests;

pub use self::{
    copy::{Answered, Compared, Exhaust},
    shared::{MirrorHandle, MirrorStats},
};

use self::{
    copy::{Carry, Compare, Copied},
    shared::Shared,
};
use crate::{
    Extensible, Reject, Rejection,
    client_addr::{ClientAddr, PeerAddr},
    describe::Status,
    identity::Vouched,
    principal::Principal,
    reissue::Reissue,
    tls::TlsInfo,
};
use http::HeaderName;
use pin_project_lite::pin_project;
use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};
use tower_layer::Layer;
use tower_service::Service;

const X_GATEWAY_MIRRORED: HeaderName = HeaderName::from_static("x-gateway-mirrored");

/// Applies [`Mirror`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct MirrorLayer<T> {
    config: Arc<Config<T>>,
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Config<T> {
    shadow: T,
    body_limit: usize,
    answer_limit: usize,
    timeout: Duration,
    carry: Vec<Carry>,
    compare: Option<Arc<Compare>>,
}

impl<T> MirrorLayer<T> {
    /// Sends a share of the calls to this service, too: so many basis points, at most 10,000, which is
    /// all. At most 32 copies are under way at once.
    #[must_use]
    pub fn new(shadow: T, share: u32) -> Self {
        Self {
            config: Arc::new(Config {
                shadow,
                body_limit: 64 * 1024,
                answer_limit: 1024 * 1024,
                timeout: Duration::from_secs(30),
                carry: vec![
                    Carry::of::<Principal>(),
                    Carry::of::<ClientAddr>(),
                    Carry::of::<PeerAddr>(),
                    Carry::of::<TlsInfo>(),
                    Carry::of::<Vouched>(),
                ],
                compare: None,
            }),
            shared: Arc::new(Shared::new(share, 32)),
        }
    }

    /// Sets how many copies are under way at once. Beyond them none is sent.
    #[must_use]
    pub fn at_once(mut self, copies: usize) -> Self {
        self.shared = Arc::new(Shared::new(self.shared.share(), copies));
        self
    }

    /// Sees how many were sent, and sends another share.
    #[must_use]
    pub fn handle(&self) -> MirrorHandle {
        MirrorHandle(self.shared.clone())
    }
}

impl<T: Clone> MirrorLayer<T> {
    /// Sets how large the body of a request is at most that is mirrored. 64 KiB by default.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|config| config.body_limit = bytes)
    }

    /// Sets how many bytes of the shadow's answer are read. 1 MiB by default.
    #[must_use]
    pub fn answer_limit(self, bytes: usize) -> Self {
        self.set(|config| config.answer_limit = bytes)
    }

    /// Sets how long the shadow has for all of its answer. 30 seconds by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.timeout = timeout)
    }

    /// Gives the copy another extension of the request, if it has one of this type.
    #[must_use]
    pub fn carry<X: Clone + Send + Sync + 'static>(self) -> Self {
        self.set(|config| config.carry.push(Carry::of::<X>()))
    }

    /// Compares what both have answered, once the shadow's answer is over. It is called in the task of
    /// the copy, and not of a call that was dropped before it was answered.
    #[must_use]
    pub fn compare(self, compare: impl Fn(&Compared) + Send + Sync + 'static) -> Self {
        self.set(|config| config.compare = Some(Arc::new(compare)))
    }

    fn set(mut self, set: impl FnOnce(&mut Config<T>)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self.shared = Arc::new(self.shared.anew());
        self
    }
}

impl<T> fmt::Debug for MirrorLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorLayer")
            .field("stats", &self.shared.stats())
            .finish_non_exhaustive()
    }
}

impl<S, T> Layer<S> for MirrorLayer<T> {
    type Service = Mirror<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Mirror {
            inner,
            config: self.config.clone(),
            shared: self.shared.clone(),
        }
    }
}

/// Sends copies of some calls to another service.
///
/// See the [module docs](self) for an example.
pub struct Mirror<S, T> {
    inner: S,
    config: Arc<Config<T>>,
    shared: Arc<Shared>,
}

impl<S: Clone, T> Clone for Mirror<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            config: self.config.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Mirror<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("inner", &self.inner)
            .field("stats", &self.shared.stats())
            .finish_non_exhaustive()
    }
}

impl<S, T, Req> Service<Req> for Mirror<S, T>
where
    S: Service<Req> + Clone,
    S::Response: Reject<S::Error> + Status<S::Error>,
    T: Service<Req, Error: Send, Future: Send> + Clone + Send + Sync + 'static,
    T::Response: Exhaust + Status<T::Error> + Send,
    Req: Extensible + Reissue,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let mirrored_before = req.headers().contains_key(X_GATEWAY_MIRRORED);
        let permit = match mirrored_before {
            true => None,
            false => self.shared.admit(),
        };
        let Some(permit) = permit else {
            let future = self.inner.call(req);
            return ResponseFuture::new(State::Calling { future });
        };
        let config = self.config.clone();
        let keep = Box::pin(async move {
            let (req, copy) = req.keep(config.body_limit).await?;
            let report = match copy {
                Some(copy) => Copied::<T, Req>::new(config, permit, copy).send(),
                None => {
                    permit.too_large();
                    None
                }
            };
            Ok((req, report))
        });
        // The one that is ready is the one to call.
        let clone = self.inner.clone();
        let inner = Some(mem::replace(&mut self.inner, clone));
        ResponseFuture::new(State::Keeping { keep, inner })
    }
}

type Keep<Req> = Pin<Box<dyn Future<Output = Result<(Req, Option<Report>), Rejection>> + Send>>;

/// Tells the copy how the call was answered.
struct Report {
    since: Instant,
    tell: oneshot::Sender<Answered>,
}

pin_project! {
    /// Response future of [`Mirror`].
    pub struct ResponseFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, S::Future>,
        report: Option<Report>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F> {
        Keeping {
            keep: Keep<Req>,
            inner: Option<S>,
        },
        Calling {
            #[pin]
            future: F,
        },
    }
}

impl<S: Service<Req>, Req> ResponseFuture<S, Req> {
    fn new(state: State<S, Req, S::Future>) -> Self {
        Self {
            state,
            report: None,
        }
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Response: Reject<S::Error> + Status<S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Keeping { keep, inner } => match ready!(keep.as_mut().poll(cx)) {
                    Ok((req, report)) => {
                        let mut inner = inner.take().expect("polled after completion");
                        *this.report = report;
                        let future = inner.call(req);
                        this.state.set(State::Calling { future });
                    }
                    Err(rejection) => return Poll::Ready(S::Response::reject(rejection)),
                },
                StateProj::Calling { future } => {
                    let answer = ready!(future.poll(cx));
                    if let Some(report) = this.report.take() {
                        let answered = Answered::of(answer.as_ref(), report.since);
                        // The copy may be over already, and nobody listens.
                        let _ = report.tell.send(answered);
                    }
                    return Poll::Ready(answer);
                }
            }
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
