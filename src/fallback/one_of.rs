//! One of two services.

use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// One of two services that answer with the same, so that they can stand in one
/// [`Fallback`](super::Fallback).
#[derive(Clone, Debug)]
pub enum OneOf<S, T> {
    /// The one.
    First(S),
    /// The other.
    Other(T),
}

impl<S, T, Req> Service<Req> for OneOf<S, T>
where
    S: Service<Req>,
    T: Service<Req, Response = S::Response, Error = S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OneOfFuture<S::Future, T::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::First(service) => service.poll_ready(cx),
            Self::Other(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let call = match self {
            Self::First(service) => Call::First {
                future: service.call(req),
            },
            Self::Other(service) => Call::Other {
                future: service.call(req),
            },
        };
        OneOfFuture { call }
    }
}

pin_project! {
    /// Response future of [`OneOf`].
    pub struct OneOfFuture<F, G> {
        #[pin]
        call: Call<F, G>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<F, G> {
        First {
            #[pin]
            future: F,
        },
        Other {
            #[pin]
            future: G,
        },
    }
}

impl<F: Future, G: Future<Output = F::Output>> Future for OneOfFuture<F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().call.project() {
            CallProj::First { future } => future.poll(cx),
            CallProj::Other { future } => future.poll(cx),
        }
    }
}

impl<F, G> fmt::Debug for OneOfFuture<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneOfFuture").finish_non_exhaustive()
    }
}
