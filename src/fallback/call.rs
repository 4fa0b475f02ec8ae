//! One call, from service to service.

use super::{Rules, When};
use crate::{
    Extensible, Health, Reject, Rejection,
    answer::{Begin, Remedy},
    deadline::{Deadline, Reserve},
    reissue::Reissue,
    rejection::Kind,
};
use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

pub(super) async fn run<S, W, Req>(
    services: Arc<[S]>,
    rules: Rules,
    when: W,
    mut req: Req,
) -> Result<S::Response, S::Error>
where
    S: Service<Req> + Clone,
    S::Future: Send,
    S::Response: Health<S::Error> + Begin<S::Error> + Reject<S::Error> + Send,
    S::Error: Send,
    W: When<S::Response, S::Error>,
    Req: Reissue + Extensible,
{
    let deadline = Deadline::enter(&mut req);
    let twice = rules.any_method || req.is_idempotent();
    let (mut req, copy) = match services.len() {
        // Nobody else is there to ask.
        ..=1 => (req, None),
        _ => match req.keep(rules.body_limit).await {
            Ok(kept) => kept,
            Err(rejection) => return S::Response::reject(rejection),
        },
    };
    let others = match copy {
        Some(_) => services.len() - 1,
        None => 0,
    };
    let mut reserve = deadline.reserve(u32::try_from(others).unwrap_or(u32::MAX));
    let mut lost = Lost::default();
    let mut asked = 0;
    loop {
        let is_last = asked >= others;
        let patience = match is_last {
            true => Patience::WITHOUT_END,
            false => Patience {
                ready: Some(rules.ready),
                // Given up for whom, if nobody else may be asked?
                shown: rules
                    .stall
                    .filter(|_| twice && may_ask(&deadline, &reserve)),
            },
        };
        let Tried {
            answer,
            given_up,
            unsent,
        } = ask(services[asked].clone(), req, patience).await;
        if !given_up && when.remedy(answer.as_ref()) == Remedy::Nothing {
            return answer;
        }
        lost.note(answer.as_ref());
        let unsent = unsent || S::Response::is_unsent(answer.as_ref());
        if !unsent {
            deadline.note_sent();
        }
        let Some(copy) = copy.as_ref().filter(|_| {
            let may = !is_last && (twice || !deadline.was_sent());
            // What nobody has seen was no attempt.
            may && !deadline.is_over(Instant::now()) && (unsent || reserve.take())
        }) else {
            return lost.over(answer, unsent);
        };
        lost.leave(answer, unsent);
        asked += 1;
        tracing::info!(service = asked, "a service failed, and another is asked");
        req = Req::again(copy);
    }
}

/// Whether another call may be made.
fn may_ask(deadline: &Deadline, reserve: &Reserve) -> bool {
    reserve.held() > 0 || deadline.left() > 0
}

/// How long one is waited for. `None`: without end.
#[derive(Clone, Copy)]
struct Patience {
    ready: Option<Duration>,
    shown: Option<Duration>,
}

impl Patience {
    const WITHOUT_END: Self = Self {
        ready: None,
        shown: None,
    };
}

/// What came of one service.
struct Tried<Res, E> {
    answer: Result<Res, E>,
    /// The answer was made here, because the service took too long.
    given_up: bool,
    /// The service was not called.
    unsent: bool,
}

async fn ask<S, Req>(mut service: S, req: Req, patience: Patience) -> Tried<S::Response, S::Error>
where
    S: Service<Req>,
    S::Response: Begin<S::Error> + Reject<S::Error> + Send,
    S::Error: Send,
{
    let ready = poll_fn(|cx| service.poll_ready(cx));
    let refused = match within(patience.ready, ready).await {
        Some(Ok(())) => None,
        Some(Err(error)) => Some((Err(error), false)),
        None => {
            let rejection = Rejection::new(Kind::Overloaded);
            let rejection = rejection.with_detail("The service was not ready in time.");
            Some((S::Response::reject(rejection), true))
        }
    };
    if let Some((answer, given_up)) = refused {
        return Tried {
            answer,
            given_up,
            unsent: true,
        };
    }
    let begun = async {
        match service.call(req).await {
            Ok(answer) => answer.begin().await,
            Err(error) => Err(error),
        }
    };
    let begun = within(patience.shown, begun).await;
    let given_up = begun.is_none();
    Tried {
        answer: begun.unwrap_or_else(|| S::Response::reject(Kind::Timeout.into())),
        given_up,
        unsent: false,
    }
}

/// What comes of it in time. A future that is ready at once registers no timer; one that is not is dropped
/// before this returns.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|cx| {
        // It is asked first, so that what comes late still counts.
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(limit) = limit else {
            return Poll::Pending;
        };
        if timer.is_none() {
            timer.set(Some(sleep(limit)));
        }
        let Some(timer) = timer.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        // A timer that has gone off does not say so to a task that has used up its budget.
        if timer.is_elapsed() {
            return Poll::Ready(None);
        }
        timer.poll(cx).map(|()| None)
    })
    .await
}

/// What is left of those that have failed.
struct Lost<E> {
    /// The last error of a service that was called.
    error: Option<E>,
    /// The shortest time that one of them named.
    after: Option<Duration>,
}

// Not derived: there is no error yet, whatever its type.
impl<E> Default for Lost<E> {
    fn default() -> Self {
        Self {
            error: None,
            after: None,
        }
    }
}

impl<E> Lost<E> {
    fn note<Res: Health<E>>(&mut self, answer: Result<&Res, &E>) {
        let named = Res::retry_after(answer);
        // To come back at once is no use to anybody: all have just failed.
        let named = named.filter(|after| !after.is_zero());
        self.after = [self.after, named].into_iter().flatten().min();
    }

    /// Another is asked: a response goes, with what it holds, and an error may be told of later.
    fn leave<Res>(&mut self, answer: Result<Res, E>, unsent: bool) {
        match answer {
            Err(error) if !unsent => self.error = Some(error),
            other => drop(other),
        }
    }

    /// Nobody else is asked.
    fn over<Res: Health<E>>(self, answer: Result<Res, E>, unsent: bool) -> Result<Res, E> {
        let answer = match self.error {
            Some(error) if unsent => Err(error),
            _ => answer,
        };
        match self.after {
            Some(after) => Res::with_retry_after(answer, after),
            None => answer,
        }
    }
}
