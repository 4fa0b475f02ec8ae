//! Makes any layer fit: one body, no error.

use crate::{Body, BoxError, Reject, Rejection, rejection::Kind};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::util::BoxCloneSyncService;
use tower_service::Service;

/// What a layer on the HTTP plane wraps.
pub type HttpService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Makes an answer of what a foreign layer throws, and one body of all.
///
/// A service that fails to get ready says so in the answer to the next call: the gateway as a whole
/// stays up, and so does the connection.
#[derive(Debug)]
pub(super) struct Settled<S> {
    inner: S,
    failed: Option<Rejection>,
}

impl<S> Settled<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            failed: None,
        }
    }
}

/// Readiness belongs to the one that was asked.
impl<S: Clone> Clone for Settled<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S, B> Service<Request<Body>> for Settled<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if let Err(error) = ready!(self.inner.poll_ready(cx)) {
            self.failed = Some(rejection(error.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.failed.take() {
            None => ResponseFuture::Called {
                future: self.inner.call(request),
            },
            failed => ResponseFuture::Failed { failed },
        }
    }
}

/// What a foreign layer threw. A rejection of ours is found again.
fn rejection(error: BoxError) -> Rejection {
    match error.downcast::<Rejection>() {
        Ok(rejection) => *rejection,
        Err(error) => {
            tracing::error!(error = &*error as &dyn std::error::Error, "a layer failed");
            Rejection::new(Kind::Internal).with_source(error)
        }
    }
}

pin_project! {
    #[project = ResponseFutureProj]
    pub(super) enum ResponseFuture<F> {
        Called {
            #[pin]
            future: F,
        },
        Failed {
            failed: Option<Rejection>,
        },
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let rejection = match self.project() {
            ResponseFutureProj::Called { future } => match ready!(future.poll(cx)) {
                Ok(response) => return Poll::Ready(Ok(response.map(Body::new))),
                Err(error) => rejection(error.into()),
            },
            ResponseFutureProj::Failed { failed } => {
                failed.take().unwrap_or_else(|| Kind::Internal.into())
            }
        };
        Poll::Ready(Response::<Body>::reject(rejection))
    }
}
