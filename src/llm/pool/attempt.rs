//! One call of an entry, up to its first content: what stands inside its circuit.

use super::{
    entry::{Answering, EntryService},
    pick::streams,
};
use crate::{
    Extensible,
    answer::Begin,
    circuit_breaker::CircuitBreakerLayer,
    llm::{ChatRequest, ChatResponse, Error},
    rejection::Kind,
    timeout::TimeoutLayer,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// How long an answer may take. `None`: as long as its service takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of a stream, to its first content, and then to the next piece.
    pub(super) first: Option<Duration>,
    pub(super) idle: Option<Duration>,
    /// Of an answer in one piece.
    pub(super) whole: Option<Duration>,
}

/// A service, its timers and its circuit.
///
/// The timers stand inside the circuit: a stream that stalls is a failure of the entry, where a call that
/// is dropped would be nobody's.
pub(super) fn guarded(
    service: EntryService,
    limits: Limits,
    circuit: Option<&CircuitBreakerLayer>,
) -> EntryService {
    let attempt = Attempt { service, limits };
    match circuit {
        Some(circuit) => EntryService::ready(circuit.layer(attempt)),
        None => EntryService::ready(attempt),
    }
}

#[derive(Clone)]
struct Attempt {
    service: EntryService,
    limits: Limits,
}

impl Service<ChatRequest> for Attempt {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Answering {
        let mark = request.extensions().get::<Mark>().cloned();
        let (first, idle) = match streams(&request) {
            true => (self.limits.first, self.limits.idle),
            false => (self.limits.whole, None),
        };
        let until = mark.as_ref().and_then(|mark| mark.lock().until);
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        let first = [first, rest].into_iter().flatten().min();
        let timers = TimeoutLayer::new().first_byte(first).idle(idle);
        let answer = timers.layer(Begun(self.service.clone())).call(request);
        let Some(mark) = mark else {
            return Box::pin(answer);
        };
        mark.lock().calls += 1;
        Box::pin(async move {
            let answer = answer.await;
            if let Err(error) = &answer {
                mark.failed(error);
            }
            answer
        })
    }
}

/// A service whose answers are there when they have content.
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

/// What becomes of an entry inside its circuit, in the extensions of a request: a retry further out may hear
/// last of all that the circuit is open, though the entry was called before, and opened it so.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark(Arc<Mutex<Marked>>);

#[derive(Debug, Default)]
pub(super) struct Marked {
    /// How often it was called.
    calls: u32,
    /// How that failed, the last time.
    error: Option<Error>,
    /// When the next entry has its turn, if that is for this one to answer for.
    until: Option<Instant>,
}

impl Mark {
    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next entry is asked.
    pub(super) fn next(&self, until: Option<Instant>) {
        *self.lock() = Marked {
            until,
            ..Marked::default()
        };
    }

    fn failed(&self, error: &Error) {
        let mut marked = self.lock();
        match error.kind() {
            // Nobody was called further in, either.
            Kind::CircuitOpen => marked.calls = marked.calls.saturating_sub(1),
            _ => marked.error = Some(error.clone()),
        }
    }

    /// How it failed, if it was called. `Err`: nobody was called, and the refusal stands.
    pub(super) fn own(&self, refusal: Error) -> Result<Error, Error> {
        let mut marked = self.lock();
        match marked.calls {
            0 => Err(refusal),
            _ => Ok(marked.error.take().unwrap_or(refusal)),
        }
    }
}
