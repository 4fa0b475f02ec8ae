//! What a pool did with a call: told to the exchange and to the trace when it is done, or dropped.

use super::{Inner, Verdict, pick::Picked};
use crate::{
    Exchange,
    exchange::{Attempt, Candidates, Considered},
    llm::{Error, catalog::Money},
};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Level;

/// How many candidates an exchange keeps at the most.
const MOST: usize = 64;

pub(super) struct Trail {
    pool: Arc<Inner>,
    exchange: Option<Exchange>,
    /// The name of the model that was asked for.
    name: Arc<str>,
    pub(super) picked: Picked,
    tries: Vec<Try>,
    start: Instant,
}

struct Try {
    at: usize,
    began: Instant,
    over: Option<Instant>,
    verdict: Verdict,
    outcome: &'static str,
}

impl Trail {
    pub(super) fn new(
        pool: Arc<Inner>,
        exchange: Option<Exchange>,
        name: Arc<str>,
        picked: Picked,
    ) -> Self {
        let start = exchange.as_ref().map_or_else(Instant::now, Exchange::start);
        Self {
            pool,
            exchange,
            name,
            picked,
            tries: Vec::new(),
            start,
        }
    }

    /// One is asked. Unless more is said it was dropped.
    pub(super) fn begins(&mut self, at: usize, began: Instant) {
        self.tries.push(Try {
            at,
            began,
            over: None,
            verdict: Verdict::Failed,
            outcome: "dropped",
        });
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.last(now, Verdict::Answered, "ok");
    }

    pub(super) fn failed(&mut self, error: &Error, now: Instant) {
        self.last(now, Verdict::Failed, error.kind().code());
    }

    fn last(&mut self, now: Instant, verdict: Verdict, outcome: &'static str) {
        if let Some(last) = self.tries.last_mut() {
            (last.over, last.verdict, last.outcome) = (Some(now), verdict, outcome);
        }
    }

    /// Its circuit was open, and nobody was asked.
    pub(super) fn refused(&mut self) {
        if let Some(last) = self.tries.pop() {
            self.passed_over(last.at, Verdict::CircuitOpen);
        }
    }

    /// It was in the order, and was not asked.
    pub(super) fn passed_over(&mut self, at: usize, verdict: Verdict) {
        // Where it was to be left alone it has a verdict already.
        self.picked.dropped.retain(|(other, _)| *other != at);
        self.picked.dropped.push((at, verdict));
    }

    fn considered(&self) -> Vec<Considered> {
        let tries = self.tries.iter().map(|one| {
            let over = one.over.unwrap_or_else(Instant::now);
            let attempt = Attempt {
                began: one.began.saturating_duration_since(self.start),
                took: over.saturating_duration_since(one.began),
                outcome: one.outcome,
            };
            (one.at, one.verdict, Some(attempt))
        });
        let is_told = |at: usize| {
            let tried = self.tries.iter().any(|one| one.at == at);
            tried || self.picked.dropped.iter().any(|(other, _)| *other == at)
        };
        let spare = self.picked.order.iter().map(|one| one.at);
        let spare = spare.filter(|at| !is_told(*at));
        let spare = spare.map(|at| (at, Verdict::Spare, None));
        // Among those that were to be left alone one may have been asked all the same.
        let was_tried = |at: usize| self.tries.iter().any(|one| one.at == at);
        let dropped = self.picked.dropped.iter();
        let dropped = dropped.filter(|(at, _)| !was_tried(*at));
        let dropped = dropped.map(|(at, verdict)| (*at, *verdict, None));
        let all = tries.chain(spare).chain(dropped).take(MOST);
        all.map(|(at, verdict, attempt)| Considered {
            pool: self.name.clone(),
            entry: self.pool.names[at].clone(),
            verdict: verdict.as_str(),
            price: self.picked.price(at).map(Money::picos),
            attempt,
        })
        .collect()
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let traced = tracing::enabled!(Level::DEBUG);
        if self.exchange.is_none() && !traced {
            return;
        }
        let considered = self.considered();
        if traced {
            tracing::debug!(
                pool = &*self.name,
                candidates = %Candidates(&considered),
                "a pool was asked"
            );
        }
        if let Some(exchange) = &self.exchange {
            exchange.update(|facts| {
                let room = MOST.saturating_sub(facts.candidates.len());
                facts.candidates.extend(considered.into_iter().take(room));
            });
        }
    }
}
