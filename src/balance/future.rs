//! One call: waiting for its endpoint to be ready, called, or refused.

use super::{
    endpoint::Permit,
    verdict::{Judge, Verdict},
};
use crate::{End, Follow, Reject, Rejection, answer::Outcome};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// Response future of [`Balance`](super::Balance).
    pub struct ResponseFuture<S, Req, J>
    where
        S: Service<Req>,
    {
        #[pin]
        call: Call<S, Req>,
        judge: J,
    }
}

impl<S: Service<Req>, Req, J> ResponseFuture<S, Req, J> {
    pub(super) fn new(call: Call<S, Req>, judge: J) -> Self {
        Self { call, judge }
    }
}

pin_project! {
    #[project = CallProj]
    pub(super) enum Call<S, Req>
    where
        S: Service<Req>,
    {
        Readying {
            service: S,
            req: Option<Req>,
            permit: Option<Permit<S>>,
        },
        Called {
            // Before the permit, so that it is dropped before.
            #[pin]
            future: S::Future,
            permit: Option<Permit<S>>,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

impl<S, Req, J> Future for ResponseFuture<S, Req, J>
where
    S: Service<Req> + Send + 'static,
    S::Response: Follow<S::Error>,
    J: Judge<S::Response, S::Error> + Clone + Send + 'static,
{
    type Output = Result<<S::Response as Follow<S::Error>>::Followed, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (answer, permit) = match this.call.as_mut().project() {
                CallProj::Readying {
                    service,
                    req,
                    permit,
                } => match ready!(service.poll_ready(cx)) {
                    Ok(()) => {
                        let req = req.take().expect("polled after completion");
                        let future = service.call(req);
                        let permit = permit.take();
                        this.call.set(Call::Called { future, permit });
                        continue;
                    }
                    Err(error) => (Err(error), permit.take()),
                },
                CallProj::Called { future, permit } => {
                    let answer = ready!(future.poll(cx));
                    (answer, permit.take())
                }
                CallProj::Refused { rejection } => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(Reject::reject(rejection));
                }
            };
            // What the call held is free before it is not counted any more.
            this.call.set(Call::Refused { rejection: None });
            let mut permit = permit.expect("polled after completion");
            permit.answered(&this.judge.judge(answer.as_ref()));
            // An error drops the permit here, and not with this future: its caller may be about to try
            // again.
            return Poll::Ready(answer.map(|answer| {
                let judge = this.judge.clone();
                answer.follow(move |end| {
                    let verdict = at_end(&judge, end);
                    permit.ended(verdict.outcome, verdict.local);
                })
            }));
        }
    }
}

/// What the end of an answer says, whose head was well.
fn at_end<Res, E>(judge: &impl Judge<Res, E>, end: End<'_, E>) -> Verdict {
    match end {
        End::Complete => Verdict::new(Outcome::Success),
        End::Failed(error) => judge.judge(Err(error)),
        End::Broken(error) => {
            let rejection = error.downcast_ref::<Rejection>();
            let outcome = rejection.map_or(Outcome::Failure, Outcome::from);
            Verdict::new(outcome).local()
        }
        End::Dropped => Verdict::new(Outcome::Neutral),
    }
}

impl<S: Service<Req>, Req, J> fmt::Debug for ResponseFuture<S, Req, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
