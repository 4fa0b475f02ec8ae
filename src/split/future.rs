//! The answer of a variant, awaited.

use crate::{Extensible, Reject, Rejection};
use http::{HeaderName, HeaderValue, header};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

#[cfg(doc)]
use super::Split;

pin_project! {
    /// Response future of [`Split`].
    pub struct ResponseFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, S::Future>,
        tell: Tell,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<S, Req, F> {
        Waiting {
            call: Option<(S, Req)>,
        },
        Calling {
            #[pin]
            future: F,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

/// What is written on the answer.
#[derive(Default)]
pub(super) struct Tell {
    pub(super) variant: Option<(HeaderName, HeaderValue)>,
    pub(super) set_cookie: Option<HeaderValue>,
}

impl<S: Service<Req>, Req> ResponseFuture<S, Req> {
    pub(super) fn new(state: State<S, Req, S::Future>, tell: Tell) -> Self {
        Self { state, tell }
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Response: Extensible + Reject<S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Waiting { call } => {
                    let (service, _) = call.as_mut().expect("polled after completion");
                    ready!(service.poll_ready(cx))?;
                    let (mut service, req) = call.take().expect("polled after completion");
                    let future = service.call(req);
                    this.state.set(State::Calling { future });
                }
                StateProj::Calling { future } => {
                    let mut response = ready!(future.poll(cx))?;
                    let headers = response.headers_mut();
                    // Another experiment further in may have said what it is, too.
                    if let Some((name, value)) = this.tell.variant.take() {
                        headers.append(name, value);
                    }
                    if let Some(line) = this.tell.set_cookie.take() {
                        headers.append(header::SET_COOKIE, line);
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused { rejection } => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(S::Response::reject(rejection));
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
