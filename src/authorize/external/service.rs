//! The glue between the decision and the service.

use super::{Decide, ExternalLayer, Question, Subject};
use crate::{Reject, Rejection};
use pin_project_lite::pin_project;
use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Turns away calls that someone else does not permit.
///
/// See the [module docs](super) for an example.
pub struct External<S, D> {
    inner: S,
    layer: ExternalLayer<D>,
}

impl<S, D> External<S, D> {
    pub(super) fn new(inner: S, layer: ExternalLayer<D>) -> Self {
        Self { inner, layer }
    }
}

impl<S: Clone, D> Clone for External<S, D> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, D> fmt::Debug for External<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

impl<S, D, R> Service<R> for External<S, D>
where
    S: Service<R::Asked> + Clone,
    S::Response: Reject<S::Error>,
    D: Decide,
    R: Subject,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, R::Asked>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let layer = &self.layer;
        layer.strip(&mut request);
        if let Err(rejection) = request.check() {
            let rejection = Some(rejection);
            return ResponseFuture {
                state: State::Rejected { rejection },
            };
        }
        let question = Question::of(&request);
        let name = layer.name(&question);
        let state = match name.as_ref().and_then(|name| layer.kept(name)) {
            Some(Ok(headers)) => {
                let mut request = request.asked();
                layer.shared.counts.decided(true);
                layer.tell(&mut request, headers);
                State::Called {
                    future: self.inner.call(request),
                }
            }
            Some(Err(rejection)) => {
                layer.shared.counts.decided(false);
                State::Rejected {
                    rejection: Some(rejection),
                }
            }
            None => {
                let admitting = Box::pin(layer.clone().admit(request, question, name));
                // The clone may not be ready: leave it here, and take the one that is.
                let clone = self.inner.clone();
                State::Admitting {
                    admitting,
                    inner: Some(mem::replace(&mut self.inner, clone)),
                }
            }
        };
        ResponseFuture { state }
    }
}

type Admitting<R> = Pin<Box<dyn Future<Output = Result<R, Rejection>> + Send>>;

pin_project! {
    /// Response future of [`External`].
    pub struct ResponseFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R>
    where
        S: Service<R>,
    {
        Admitting {
            admitting: Admitting<R>,
            inner: Option<S>,
        },
        Called {
            #[pin]
            future: S::Future,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R>,
    S::Response: Reject<S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Admitting { admitting, inner } => {
                    match ready!(admitting.as_mut().poll(cx)) {
                        Ok(request) => State::Called {
                            future: inner.take().expect("polled after completion").call(request),
                        },
                        Err(rejection) => State::Rejected {
                            rejection: Some(rejection),
                        },
                    }
                }
                StateProj::Called { future } => return future.poll(cx),
                StateProj::Rejected { rejection } => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(S::Response::reject(rejection));
                }
            };
            state.set(next);
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
