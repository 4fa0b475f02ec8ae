//! The attempts of one exchange, one after the other.

use super::{Config, Policy, When, backoff::dice, stats::Denied};
use crate::{
    Extensible, Health, Reject,
    answer::{Begin, Remedy},
    deadline::Deadline,
    reissue::Reissue,
};
use http::{HeaderName, HeaderValue};
use std::{future::poll_fn, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tower_service::Service;

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-gateway-attempt-count");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(super) async fn attempts<S, Req, W>(
    mut inner: S,
    mut req: Req,
    policy: Arc<Policy>,
    when: W,
) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
    S::Response: Health<S::Error> + Begin<S::Error> + Reject<S::Error> + Send,
    S::Error: Send,
    W: When<S::Response, S::Error>,
    Req: Reissue + Extensible,
{
    let config = &policy.config;
    if config.retries == 0 {
        return inner.call(req).await;
    }
    let deadline = Deadline::enter(&mut req);
    let call = policy
        .budget
        .as_ref()
        .map(|budget| budget.call(Instant::now()));
    let repeatable = config.may_repeat(&req);
    let (mut req, copy) = match req.keep(config.body_limit).await {
        Ok(kept) => kept,
        Err(rejection) => return S::Response::reject(rejection),
    };
    config.number(&mut req, 1);
    let first = inner.call(req);
    let Some(copy) = copy else {
        return first.await;
    };
    let mut answer = begun(first, repeatable).await;
    for nth in 1..=config.retries {
        let Some(after) = config.delay(when.remedy(answer.as_ref())) else {
            return answer;
        };
        if !S::Response::is_unsent(answer.as_ref()) {
            deadline.note_sent();
        }
        if !repeatable && deadline.was_sent() {
            return answer;
        }
        let now = Instant::now();
        let wait = config.backoff.wait(nth, dice());
        let wait = wait.saturating_add(after.unwrap_or_default());
        let late = after.is_some_and(|after| after > config.longest_wait);
        if late || !deadline.allows(wait, now) {
            policy.counts.deny(Denied::Time);
            return answer;
        }
        // Asked before, so that what the exchange has not is not taken from the service.
        if deadline.left() == 0 {
            policy.counts.deny(Denied::Attempts);
            return answer;
        }
        let further = match &call {
            Some(call) => match call.further(now) {
                Some(further) => Some(further),
                None => {
                    policy.counts.deny(Denied::Budget);
                    return answer;
                }
            },
            None => None,
        };
        // Taken when it is made: whoever is dropped while he waits has made none.
        let mut place = deadline.reserve(1);
        if place.held() == 0 {
            policy.counts.deny(Denied::Attempts);
            return answer;
        }
        // With its permits, and with its connection.
        drop(answer);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        poll_fn(|cx| inner.poll_ready(cx)).await?;
        policy.counts.retry();
        tracing::debug!(attempt = nth + 1, ?wait, "asks again");
        let mut again = Req::again(&copy);
        config.number(&mut again, nth + 1);
        let _held = place.take();
        answer = begun(inner.call(again), repeatable).await;
        drop(further);
    }
    answer
}

/// Waits until an answer has begun that may have to give its place to another.
async fn begun<F, Res, E>(call: F, holds: bool) -> Result<Res, E>
where
    F: Future<Output = Result<Res, E>>,
    Res: Begin<E> + Send,
    E: Send,
{
    let answer = call.await;
    match answer {
        Ok(answer) if holds => answer.begin().await,
        answer => answer,
    }
}

impl Config {
    fn may_repeat<Req: Reissue + Extensible>(&self, req: &Req) -> bool {
        let has_key = || req.headers().contains_key(IDEMPOTENCY_KEY);
        self.assume_idempotent || req.is_idempotent() || self.idempotency_keys && has_key()
    }

    fn number(&self, req: &mut impl Extensible, attempt: u32) {
        if self.attempt_header {
            let attempt = HeaderValue::from(attempt);
            req.headers_mut().insert(ATTEMPT_COUNT, attempt);
        }
    }

    /// How long the service asked to be left alone before it is asked again. `None`: it is not.
    fn delay(&self, remedy: Remedy) -> Option<Option<Duration>> {
        match remedy {
            Remedy::Nothing => None,
            Remedy::Again { .. } | Remedy::Elsewhere if self.elsewhere => Some(None),
            Remedy::Again { after } => Some(after.map(|after| after.min(Remedy::LONGEST))),
            Remedy::Elsewhere => None,
        }
    }
}
