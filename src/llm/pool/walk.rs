//! Those that can take a call, asked in their order until one has begun to answer.

#[cfg(test)]
use super::pick::Picked;
use super::{
    Inner, Verdict, attempt::Mark, entry::Answering, pick::streams, state::Now, trail::Trail,
};
use crate::{
    End, Exchange, Extensible, Rejection,
    answer::{Health, Outcome, Remedy},
    deadline::Deadline,
    llm::{ChatRequest, ChatResponse, Error, VendorFault},
    rejection::Kind,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

/// An entry that has had as long as this, and is left because the exchange has a deadline, has failed. One
/// that had less has not: whoever has little time opens no circuit for others.
const FAIR: Duration = Duration::from_secs(10);

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
    let mark = pool.mark(&mut request, &deadline);
    let streams = streams(&request);
    let exchange = Exchange::of(&request).cloned();
    // What comes while it is passed on can be had once.
    let upload = request.wire().and_then(|wire| wire.upload.clone());
    let start = pool.now();
    let picked = pool.pick(&request, start);
    let mut trail = Trail::new(pool.clone(), exchange, request.model().clone(), picked);
    let (able, count) = (trail.picked.order.len(), trail.picked.len());
    // One for each that was not asked, lest retries further in use them up.
    let others = if able > 0 { able } else { count }.saturating_sub(1);
    let mut reserve = deadline.reserve(u32::try_from(others).unwrap_or(u32::MAX));
    // The first call of an exchange is free.
    let mut paid = true;
    let (mut failed, mut refused) = (None, None);
    let mut larger_than = None;
    let mut request = Some(request);
    for turn in 0..count {
        let cooling = trail.picked.is_cooling(turn);
        let (Some(at), Some(asked)) = (trail.picked.at(turn), &request) else {
            break;
        };
        let window = pool.known(at, asked).and_then(|(facts, _)| facts.window);
        if larger_than.is_some_and(|least| window.is_none_or(|window| window <= least)) {
            trail.passed_over(at, Verdict::Window);
            continue;
        }
        let began = match turn {
            0 => start.now,
            _ => Instant::now(),
        };
        if !paid && (deadline.is_over(began) || !reserve.take()) {
            break;
        }
        paid = true;
        let asked = match turn + 1 < count {
            true => asked.clone(),
            false => match request.take() {
                Some(request) => request,
                None => break,
            },
        };
        let left = if cooling { count } else { able } - turn;
        let share = share(deadline.at(), left, began);
        if let Some(mark) = &mark {
            mark.next(share.filter(|until| *until - began >= FAIR));
        }
        trail.begins(at, began);
        let mut in_flight = InFlight::new(&pool, at, streams, began);
        let answer = pool.attempt(at, asked);
        let answer = match share {
            None => answer.await,
            Some(until) => match timeout_at(until, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(late()),
            },
        };
        in_flight.is_settled = true;
        let mut error = match answer {
            Ok(answer) => {
                let now = pool.now();
                trail.answered(now.now);
                pool.states[at].answers(cooling);
                pool.states[at].begun(streams, now.now - began, now.tick());
                return Ok(answer.settle(move |end, summary| {
                    let InFlight { pool, at, .. } = &in_flight;
                    if streams && let End::Complete = end {
                        let ended = pool.now();
                        pool.states[*at].ended(summary, ended.now - now.now, ended.tick());
                    }
                }));
            }
            Err(error) => error,
        };
        if error.kind() == Kind::CircuitOpen {
            let own = match &mark {
                Some(mark) => mark.own(error),
                None => Err(error),
            };
            match own {
                // The circuit was opened by this very call, and a retry heard no more than that.
                Ok(own) => error = own,
                Err(error) => {
                    // Nobody was called. What was paid is for the next.
                    pool.states[at].calls.fetch_sub(1, Ordering::Relaxed);
                    trail.refused();
                    refused.get_or_insert(error);
                    continue;
                }
            }
        }
        paid = false;
        let now = pool.now();
        trail.failed(&error, now.now);
        if blames_entry(&error) {
            pool.states[at].failed(&error, now.now - began, streams, now);
        }
        if upload.as_ref().is_some_and(|upload| upload.is_gone()) {
            // There is nothing left to send to another.
            return Err(error);
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

/// Until when one may take where so many are left, so that all of them have their turn before the end.
fn share(end: Option<Instant>, left: usize, now: Instant) -> Option<Instant> {
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    let time = end?.saturating_duration_since(now);
    (left > 1 && !time.is_zero()).then(|| now + time / left)
}

fn late() -> Error {
    let detail = "The model took longer than its share of the time that is left for all.";
    Rejection::new(Kind::Timeout).with_detail(detail).into()
}

/// Whether the entry, and not the caller, has to do with it.
fn blames_entry(error: &Error) -> bool {
    ChatResponse::health(Err(error)) == Outcome::Failure
        || ChatResponse::remedy(Err(error)) != Remedy::Nothing
}

impl Inner {
    pub(super) fn now(&self) -> Now {
        Now::of(self.since, Instant::now())
    }

    /// What tells that an entry was called, where that cannot be seen from its answer.
    fn mark(&self, request: &mut ChatRequest, deadline: &Deadline) -> Option<Mark> {
        if self.is_layered || deadline.at().is_some() {
            let mark = Mark::default();
            request.extensions_mut().insert(mark.clone());
            return Some(mark);
        }
        // That of a pool further out is not ours.
        if request.extensions().get::<Mark>().is_some() {
            request.extensions_mut().remove::<Mark>();
        }
        None
    }

    /// One entry, with its layers, up to its first content.
    fn attempt(&self, at: usize, mut request: ChatRequest) -> Answering {
        let entry = &self.entries[at];
        if let (true, Some(model)) = (entry.renames, &entry.model) {
            request.set_model(model);
        }
        self.states[at].calls.fetch_add(1, Ordering::Relaxed);
        let mut service = self.services()[at].clone();
        service.call(request)
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

/// A call that is in flight until this is dropped. If nobody has heard of it by then, nobody waits for it
/// any more.
struct InFlight {
    pool: Arc<Inner>,
    at: usize,
    streams: bool,
    began: Instant,
    is_settled: bool,
}

impl InFlight {
    fn new(pool: &Arc<Inner>, at: usize, streams: bool, began: Instant) -> Self {
        pool.states[at].in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            pool: pool.clone(),
            at,
            streams,
            began,
            is_settled: false,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let state = &self.pool.states[self.at];
        state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.is_settled {
            let now = self.pool.now();
            state.gave_up(self.streams, now.now - self.began, now.tick());
        }
    }
}

#[cfg(test)]
impl Picked {
    /// In which order they are asked.
    pub(super) fn places(mut self) -> Vec<usize> {
        (0..self.len()).filter_map(|turn| self.at(turn)).collect()
    }
}
