//! Services that let a call in as it is, let it in changed, or refuse it, and need not wait to know which.
//!
//! Such a layer says in one function what it does, and the service that it makes is here. What is refused is
//! refused in the future, never in `poll_ready`.
//!
//! ```
//! use tower::{ServiceBuilder, layer::layer_fn};
//! use tower_gateway::{Rejection, Extensible, admit::{Admit, Admitted}, rejection::Kind};
//! # use tower::{ServiceExt, service_fn};
//! # use http::{Request, Response};
//!
//! /// Lets nobody in who does not say please.
//! #[derive(Clone)]
//! struct Polite;
//!
//! impl<Req: Extensible> Admit<Req> for Polite {
//!     fn admit(&self, req: &mut Req) -> Result<(), Rejection> {
//!         match req.headers_mut().remove("x-please") {
//!             Some(_) => Ok(()),
//!             None => Err(Rejection::new(Kind::Forbidden)),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(layer_fn(|inner| Admitted::new(inner, Polite)))
//!     .service_fn(async |_: Request<()>| Ok::<_, ()>(Response::new(bytes::Bytes::from("hello"))));
//! # let rude = service.oneshot(Request::new(())).await.unwrap();
//! # assert_eq!(rude.status(), 403);
//! # }
//! ```

use crate::{Reject, Rejection};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// What a layer does to requests.
pub trait Edit<Req> {
    /// Changes one.
    fn edit(&self, req: &mut Req);
}

/// A service whose requests a layer changes.
#[derive(Clone, Debug)]
pub struct Edited<S, L> {
    inner: S,
    layer: L,
}

impl<S, L> Edited<S, L> {
    /// Changes the requests of a service.
    #[must_use]
    pub fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }
}

impl<S, L, Req> Service<Req> for Edited<S, L>
where
    S: Service<Req>,
    L: Edit<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        self.layer.edit(&mut req);
        self.inner.call(req)
    }
}

/// Which requests a layer lets in.
pub trait Admit<Req> {
    /// Lets one in, changed or not, or says why not.
    ///
    /// # Errors
    ///
    /// What is answered in the place of the service.
    fn admit(&self, req: &mut Req) -> Result<(), Rejection>;
}

/// A service some of whose requests a layer refuses.
#[derive(Clone, Debug)]
pub struct Admitted<S, L> {
    inner: S,
    layer: L,
}

impl<S, L> Admitted<S, L> {
    /// Refuses requests of a service.
    #[must_use]
    pub fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }
}

impl<S, L, Req> Service<Req> for Admitted<S, L>
where
    S: Service<Req>,
    S::Response: Reject<S::Error>,
    L: Admit<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    // Whether a call is let in does not show here: it is another one every time.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        let admitted = self.layer.admit(&mut req);
        ResponseFuture::new(admitted.map(|()| self.inner.call(req)))
    }
}

pin_project! {
    /// Response future of a service that lets calls in or refuses them at once.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called { #[pin] future: F },
        Refused { rejection: Option<Rejection> },
    }
}

impl<F> ResponseFuture<F> {
    /// What the service answers, or what is answered in its place.
    pub(crate) fn new(called: Result<F, Rejection>) -> Self {
        let state = match called {
            Ok(future) => State::Called { future },
            Err(rejection) => State::Refused {
                rejection: Some(rejection),
            },
        };
        Self { state }
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Reject<E>,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { future } => future.poll(cx),
            StateProj::Refused { rejection } => {
                let rejection = rejection.take().expect("polled after completion");
                Poll::Ready(Res::reject(rejection))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
