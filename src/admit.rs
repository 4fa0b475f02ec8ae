//! The future of a service that lets a call in or refuses it, and need not wait to know which.

use crate::{Reject, Rejection};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

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
