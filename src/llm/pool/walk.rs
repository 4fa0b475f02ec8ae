//! Those that can take a call, asked in their order until one has begun to answer.

use super::{
    Inner, Verdict,
    entry::{Answering, EntryService},
    pick::{Picked, streams},
    state::Now,
    trail::Trail,
};
use crate::{
    End, Exchange,
    answer::{Begin, Health, Outcome, Remedy},
    deadline::Deadline,
    llm::{ChatRequest, ChatResponse, Error, VendorFault},
    rejection::Kind,
};
use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// What becomes of a call whose entry has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The error stands.
    Stop,
    /// The next one is asked.
    On,
    /// The next one that takes longer conversations is.
    Larger,
}

pub(super) async fn walk(
    pool: Arc<Inner>,
    mut request: ChatRequest,
) -> Result<ChatResponse, Error> {
    let deadline = Deadline::enter(&mut request);
    let streams = streams(&request);
    let exchange = Exchange::of(&request).cloned();
    let picked = pool.pick(&request, pool.now());
    let mut trail = Trail::new(pool.clone(), exchange, request.model().clone(), picked);
    let count = trail.picked.order.len();
    // One for each that was not asked, lest retries further in use them up.
    let further = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    let mut reserve = deadline.reserve(further);
    // The first call of an exchange is free.
    let mut paid = true;
    let (mut failed, mut refused) = (None, None);
    let mut larger_than = None;
    let mut request = Some(request);
    for place in 0..count {
        let at = trail.picked.order[place].at;
        let Some(asked) = &request else {
            break;
        };
        let window = pool.known(at, asked).and_then(|(facts, _)| facts.window);
        if larger_than.is_some_and(|least| window.is_none_or(|window| window <= least)) {
            trail.passed_over(at, Verdict::Window);
            continue;
        }
        if !paid && (deadline.is_over(Instant::now()) || !reserve.take()) {
            break;
        }
        paid = true;
        let asked = match place + 1 < count {
            true => asked.clone(),
            false => match request.take() {
                Some(request) => request,
                None => break,
            },
        };
        let began = Instant::now();
        trail.begins(at, began);
        let in_flight = InFlight::new(&pool, at);
        let error = match pool.attempt(at, asked, streams).await {
            Ok(answer) => {
                let now = pool.now();
                trail.answered(now.now);
                pool.states[at].begun(streams, now.now - began, now.tick());
                return Ok(answer.settle(move |end, summary| {
                    let InFlight { pool, at } = &in_flight;
                    if streams && let End::Complete = end {
                        let ended = pool.now();
                        pool.states[*at].ended(summary, ended.now - now.now, ended.tick());
                    }
                }));
            }
            Err(error) => error,
        };
        if error.kind() == Kind::CircuitOpen {
            // Nobody was called. What was paid is for the next.
            pool.states[at].calls.fetch_sub(1, Ordering::Relaxed);
            trail.refused();
            refused.get_or_insert(error);
            continue;
        }
        paid = false;
        let now = pool.now();
        trail.failed(&error, now.now);
        if blames_entry(&error) {
            pool.states[at].failed(&error, now.now - began, streams, now);
        }
        match pool.next(&error) {
            Next::Stop => return Err(error),
            Next::On => {}
            Next::Larger => larger_than = Some(window.unwrap_or(0)),
        }
        failed = Some(error);
    }
    let nobody = || trail.picked.nobody(&pool, pool.now()).into();
    Err(failed.or(refused).unwrap_or_else(nobody))
}

/// Whether the entry, and not the caller, has to do with it.
fn blames_entry(error: &Error) -> bool {
    ChatResponse::health(Err(error)) == Outcome::Failure
        || ChatResponse::remedy(Err(error)) != Remedy::Nothing
}

impl Inner {
    pub(super) fn now(&self) -> Now {
        Now {
            since: self.since,
            now: Instant::now(),
        }
    }

    /// One call of one entry, up to its first content.
    ///
    /// The timers stand inside the circuit: a stream that stalls is a failure of the entry, where a call
    /// that is dropped would be nobody's.
    fn attempt(&self, at: usize, mut request: ChatRequest, streams: bool) -> Answering {
        let entry = &self.entries[at];
        if let (true, Some(model)) = (entry.renames, &entry.model) {
            request.set_model(model);
        }
        self.states[at].calls.fetch_add(1, Ordering::Relaxed);
        let limits = if streams { self.streams } else { self.whole };
        let mut timed = limits.layer(Begun(entry.service.clone()));
        match &entry.circuit {
            Some(circuit) => Box::pin(circuit.layer(timed).call(request)),
            None => Box::pin(timed.call(request)),
        }
    }

    fn next(&self, error: &Error) -> Next {
        let fault = match error {
            Error::Vendor(error) => Some(error.fault()),
            Error::Rejected(_) => None,
        };
        match (fault, error.kind()) {
            (Some(fault), _) if self.besides.contains(&fault) => Next::On,
            (Some(VendorFault::ContextLength), _) => Next::Larger,
            // That is of this vendor, and the caller has asked for the pool.
            (
                Some(VendorFault::UnknownModel | VendorFault::NotSupported | VendorFault::TooLarge),
                _,
            )
            | (None, Kind::NotSupported | Kind::UnsupportedParameter) => Next::On,
            _ => match ChatResponse::remedy(Err(error)) {
                Remedy::Nothing => Next::Stop,
                Remedy::Again { .. } | Remedy::Elsewhere => Next::On,
            },
        }
    }
}

/// A service whose answers are there when they have content.
#[derive(Clone, Debug)]
struct Begun(EntryService);

impl Service<ChatRequest> for Begun {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: ChatRequest) -> Answering {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await?.begin().await })
    }
}

/// A call that is in flight until this is dropped.
struct InFlight {
    pool: Arc<Inner>,
    at: usize,
}

impl InFlight {
    fn new(pool: &Arc<Inner>, at: usize) -> Self {
        pool.states[at].in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            pool: pool.clone(),
            at,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let in_flight = &self.pool.states[self.at].in_flight;
        in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Picked {
    /// Whether there is more than one to ask.
    #[cfg(test)]
    pub(super) fn places(&self) -> Vec<usize> {
        self.order.iter().map(|one| one.at).collect()
    }
}
