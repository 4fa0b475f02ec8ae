//! One call: let in, waiting, or refused.

use super::{
    Gates,
    gate::{Permit, Wait},
};
use crate::{Follow, Reject, Rejection, answer::Classify};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// Response future of [`Concurrency`](super::Concurrency).
    pub struct ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        #[pin]
        call: Call<S, Req>,
        classify: C,
    }
}

impl<S: Service<Req>, Req, C> ResponseFuture<S, Req, C> {
    pub(super) fn new(call: Call<S, Req>, classify: C) -> Self {
        Self { call, classify }
    }
}

pin_project! {
    #[project = CallProj]
    pub(super) enum Call<S, Req>
    where
        S: Service<Req>,
    {
        Called {
            // Before the permit, so that it is dropped before.
            #[pin]
            future: S::Future,
            permit: Option<Permit>,
        },
        Waiting {
            wait: Wait,
            call: Option<(S, Req)>,
            gates: Gates,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

impl<S, Req, C> Future for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<<S::Response as Follow<S::Error>>::Followed, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.call.as_mut().project() {
                CallProj::Called { future, permit } => {
                    let answer = ready!(future.poll(cx));
                    let mut permit = permit.take();
                    // What the call held is free before its permit is.
                    this.call.set(Call::Refused { rejection: None });
                    if let Some(permit) = &mut permit {
                        permit.answered(|| this.classify.classify(answer.as_ref()));
                    }
                    // An error drops the permit here, and not with this future: its caller may be
                    // about to try again.
                    let permit = permit.filter(|permit| !permit.until_head());
                    return Poll::Ready(answer.map(|answer| match permit {
                        Some(permit) => answer.follow(move |_| drop(permit)),
                        None => answer.unfollowed(),
                    }));
                }
                CallProj::Waiting { wait, call, gates } => {
                    let permit = ready!(wait.as_mut().poll(cx));
                    let (mut service, req) = call.take().expect("polled after completion");
                    match permit {
                        Ok(permit) => Call::Called {
                            future: service.call(req),
                            permit: Some(permit),
                        },
                        Err(reason) => Call::Refused {
                            rejection: Some(gates.shared().refuse(reason)),
                        },
                    }
                }
                CallProj::Refused { rejection } => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(Reject::reject(rejection));
                }
            };
            this.call.set(next);
        }
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
