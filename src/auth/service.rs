//! The service, and its future.

use super::{ApiKeys, AuthLayer, Authenticate, Verdict, rules::Rules};
use crate::{Extensible, Principal, Reject, Rejection};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

impl<S, A> Layer<S> for AuthLayer<A> {
    type Service = Auth<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        Auth { inner, layer }
    }
}

/// Turns away calls that show no key, or a bad one.
///
/// The service is cloned only for a look-up that [waits](Verdict::Later).
///
/// See the [module docs](super) for an example.
pub struct Auth<S, A = ApiKeys> {
    inner: S,
    layer: AuthLayer<A>,
}

impl<S: Clone, A> Clone for Auth<S, A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for Auth<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

impl<S, A, Req> Service<Req> for Auth<S, A>
where
    S: Service<Req> + Clone,
    S::Response: Reject<S::Error>,
    A: Authenticate,
    Req: Extensible,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<A::Future, S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        let AuthLayer {
            authenticate,
            rules,
        } = &self.layer;
        let admitted = match rules.credential(&mut req) {
            Err(rejection) => Err(rejection),
            Ok(None) => Ok(()),
            Ok(Some(credential)) => match rules.verify(&**authenticate, credential, &req) {
                Err(rejection) => Err(rejection),
                Ok(Verdict::Now(verdict)) => rules.admit(verdict, &mut req),
                Ok(Verdict::Later(verdict)) => {
                    let rules = rules.clone();
                    // The clone may not be ready: leave it here, and take the one that is.
                    let clone = self.inner.clone();
                    let inner = mem::replace(&mut self.inner, clone);
                    return ResponseFuture {
                        state: State::Verifying {
                            verdict,
                            waiting: Some((inner, req, rules)),
                        },
                    };
                }
            },
        };
        let state = match admitted {
            Ok(()) => State::Called {
                future: self.inner.call(req),
            },
            Err(rejection) => State::Rejected {
                rejection: Some(rejection),
            },
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// Response future of [`Auth`].
    pub struct ResponseFuture<V, S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<V, S, Req>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S, Req>
    where
        S: Service<Req>,
    {
        Verifying {
            #[pin]
            verdict: V,
            waiting: Option<(S, Req, Arc<Rules>)>,
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

impl<V, S, Req> Future for ResponseFuture<V, S, Req>
where
    V: Future<Output = Result<Principal, Rejection>>,
    S: Service<Req>,
    S::Response: Reject<S::Error>,
    Req: Extensible,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Verifying { verdict, waiting } => {
                    let verdict = ready!(verdict.poll(cx));
                    let (mut inner, mut req, rules) =
                        waiting.take().expect("polled after completion");
                    match rules.admit(verdict, &mut req) {
                        Ok(()) => State::Called {
                            future: inner.call(req),
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

impl<V, S: Service<Req>, Req> fmt::Debug for ResponseFuture<V, S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
