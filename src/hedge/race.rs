//! The attempts of one exchange, side by side.

use super::Shared;
use crate::{
    Extensible, Health, Reject,
    answer::{Begin, Outcome, Remedy},
    deadline::{Call, Deadline, Further},
    reissue::Reissue,
};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

pub(super) async fn hedged<S, Req>(
    mut inner: S,
    mut req: Req,
    shared: Arc<Shared>,
) -> Result<S::Response, S::Error>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Health<S::Error> + Begin<S::Error> + Reject<S::Error> + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    Req: Reissue + Extensible,
{
    let config = &shared.config;
    let affordable = config.billed || !req.is_billed();
    if config.extra == 0 || !affordable || !req.is_idempotent() {
        return inner.call(req).await;
    }
    let deadline = Deadline::enter(&mut req);
    let call = shared
        .budget
        .as_ref()
        .map(|budget| budget.call(Instant::now()));
    let delay = shared.delay();
    let (req, copy) = match delay {
        Some(_) => match req.keep(config.body_limit).await {
            Ok(kept) => kept,
            Err(rejection) => return S::Response::reject(rejection),
        },
        None => (req, None),
    };
    // What the client's body took to come is no service's slowness.
    let start = Instant::now();
    let mut race = Race::new(begun(inner.call(req)));
    let mut next = delay.filter(|_| copy.is_some());
    let mut nth = 0;
    let (won_by, answer) = loop {
        let at = next.and_then(|delay| start.checked_add(delay.saturating_mul(nth + 1)));
        let mut timer = None;
        let finished = poll_fn(|cx| match (race.poll(cx), at) {
            (Poll::Ready(winner), _) => Poll::Ready(Some(winner)),
            (Poll::Pending, Some(at)) => {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                timer.as_mut().poll(cx).map(|()| None)
            }
            (Poll::Pending, None) => Poll::Pending,
        });
        if let Some(winner) = finished.await {
            break winner;
        }
        match (&copy, permit(&deadline, call.as_ref())) {
            (Some(copy), Ok(further)) => {
                shared.counts.hedge();
                race.add(again(inner.clone(), Req::again(copy)), further);
                nth += 1;
                next = next.filter(|_| nth < config.extra);
            }
            (None, _) => next = None,
            (_, Err(why)) => {
                shared.counts.deny(why);
                next = None;
            }
        }
    };
    if wins(&answer) {
        shared.record(start);
        if won_by > 0 {
            shared.counts.win();
        }
    }
    answer
}

/// Whether one more may be asked.
fn permit(deadline: &Deadline, call: Option<&Call>) -> Result<Option<Further>, &'static str> {
    let now = Instant::now();
    if deadline.is_over(now) {
        return Err("there is no time");
    }
    // Asked before, so that what the exchange has not is not taken from the service.
    if deadline.left() == 0 {
        return Err("the exchange has no attempts left");
    }
    let further = match call {
        Some(call) => Some(call.further(now).ok_or("the budget is used up")?),
        None => None,
    };
    if deadline.take() {
        Ok(further)
    } else {
        Err("the exchange has no attempts left")
    }
}

async fn again<S, Req>(mut service: S, req: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
    S::Response: Begin<S::Error> + Send,
    S::Error: Send,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    begun(service.call(req)).await
}

async fn begun<F, Res, E>(call: F) -> Result<Res, E>
where
    F: Future<Output = Result<Res, E>>,
    Res: Begin<E> + Send,
    E: Send,
{
    let answer = call.await?;
    answer.begin().await
}

fn wins<Res: Health<E>, E>(answer: &Result<Res, E>) -> bool {
    Res::health(answer.as_ref()) != Outcome::Failure
        && Res::remedy(answer.as_ref()) == Remedy::Nothing
}

type Attempt<Res, E> = Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>;

struct Race<Res, E> {
    attempts: Vec<Racing<Res, E>>,
    /// How many there have been.
    count: usize,
}

struct Racing<Res, E> {
    attempt: Attempt<Res, E>,
    nth: usize,
    _further: Option<Further>,
}

impl<Res: Health<E>, E> Race<Res, E> {
    fn new(first: impl Future<Output = Result<Res, E>> + Send + 'static) -> Self {
        let mut race = Self {
            attempts: Vec::with_capacity(1),
            count: 0,
        };
        race.add(first, None);
        race
    }

    fn add(
        &mut self,
        attempt: impl Future<Output = Result<Res, E>> + Send + 'static,
        further: Option<Further>,
    ) {
        self.attempts.push(Racing {
            attempt: Box::pin(attempt),
            nth: self.count,
            _further: further,
        });
        self.count += 1;
    }

    /// The answer that wins, and which attempt's it is. Nothing else of the race is left then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(usize, Result<Res, E>)> {
        let mut place = 0;
        while let Some(racing) = self.attempts.get_mut(place) {
            let Poll::Ready(answer) = racing.attempt.as_mut().poll(cx) else {
                place += 1;
                continue;
            };
            let nth = self.attempts.remove(place).nth;
            if wins(&answer) {
                self.attempts.clear();
            }
            // Another that still runs will say something, and this one is dropped here.
            if self.attempts.is_empty() {
                return Poll::Ready((nth, answer));
            }
        }
        Poll::Pending
    }
}
