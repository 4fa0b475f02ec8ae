//! Shutting down.

use crate::{
    Follow, Rejection,
    llm::{ChatRequest, ChatResponse, Error},
    rejection::Kind,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::sync::{Notify, futures::OwnedNotified};
use tower_layer::Layer;
use tower_service::Service;

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const OVER: u8 = 2;

/// Whether the gateway is shutting down. Clones tell of the same gateway.
#[derive(Clone)]
pub struct Drain(Arc<Shared>);

struct Shared {
    phase: AtomicU8,
    over: Arc<Notify>,
}

impl Drain {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            phase: AtomicU8::new(RUNNING),
            over: Arc::default(),
        }))
    }

    /// From now on `/health/ready` answers 503, so that whoever balances looks elsewhere. Requests are
    /// still answered.
    pub fn start(&self) {
        self.0.phase.fetch_max(DRAINING, Ordering::SeqCst);
    }

    /// Ends what is still going on. The event streams of models end with an error event in the words of
    /// their clients. A call that waits for the head of an answer, of models or of a route, is answered
    /// with 503 `draining`; so is one that begins later, and cannot be answered at once.
    pub fn end_streams(&self) {
        if self.0.phase.fetch_max(OVER, Ordering::SeqCst) < OVER {
            self.0.over.notify_waiters();
        }
    }

    /// Whether it has started.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.0.phase.load(Ordering::Relaxed) > RUNNING
    }

    /// Ready when what is going on shall end.
    pub(super) fn over(&self) -> Over {
        // First, so that who asks between the two steps of the other side is woken.
        let woken = self.0.over.clone().notified_owned();
        Over {
            already: self.0.phase.load(Ordering::SeqCst) == OVER,
            woken,
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.0.phase.load(Ordering::Relaxed) {
            RUNNING => "Running",
            DRAINING => "Draining",
            _ => "Over",
        };
        f.debug_tuple("Drain").field(&phase).finish()
    }
}

pin_project! {
    pub(super) struct Over {
        already: bool,
        #[pin]
        woken: OwnedNotified,
    }
}

impl Future for Over {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.already {
            return Poll::Ready(());
        }
        self.project().woken.poll(cx)
    }
}

/// What a call hears that has no answer when all is over. Another instance may have one, and soon.
pub(super) fn refusal() -> Rejection {
    Rejection::new(Kind::Draining).with_retry_after(Duration::from_secs(1))
}

pin_project! {
    /// Waits for the head of an answer, until all is over. Nothing is registered for one that is there at
    /// once.
    pub(super) struct UntilOver<F> {
        #[pin]
        future: Option<F>,
        // Boxed, for only those who wait need it.
        over: Option<Pin<Box<Over>>>,
        drain: Drain,
    }
}

impl<F> UntilOver<F> {
    pub(super) fn new(future: F, drain: Drain) -> Self {
        Self {
            future: Some(future),
            over: None,
            drain,
        }
    }
}

impl<F: Future> Future for UntilOver<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        if let Poll::Ready(answer) = future.expect("polled after completion").poll(cx) {
            return Poll::Ready(Some(answer));
        }
        let over = this.over.get_or_insert_with(|| Box::pin(this.drain.over()));
        ready!(over.as_mut().poll(cx));
        // What the call holds must be free before it is answered.
        this.future.set(None);
        Poll::Ready(None)
    }
}

/// Ends streams when [`Drain`] says so.
#[derive(Clone, Debug)]
pub(super) struct DrainLayer {
    pub(super) drain: Drain,
}

impl<S> Layer<S> for DrainLayer {
    type Service = Draining<S>;

    fn layer(&self, inner: S) -> Draining<S> {
        Draining {
            inner,
            drain: self.drain.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Draining<S> {
    inner: S,
    drain: Drain,
}

impl<S> Service<ChatRequest> for Draining<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    type Response = ChatResponse;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        let streams = request.streams();
        ResponseFuture {
            future: UntilOver::new(self.inner.call(request), self.drain.clone()),
            streams,
        }
    }
}

pin_project! {
    pub(super) struct ResponseFuture<F> {
        #[pin]
        future: UntilOver<F>,
        streams: bool,
    }
}

impl<F: Future<Output = Result<ChatResponse, Error>>> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(answer) = ready!(this.future.as_mut().poll(cx)) else {
            return Poll::Ready(Err(refusal().into()));
        };
        let answer = answer?;
        if !*this.streams {
            return Poll::Ready(Ok(answer));
        }
        let this = this.future.project();
        let drain = this.drain.clone();
        // Nothing is registered for a stream that never has to wait.
        let mut over = this.over.take();
        Poll::Ready(Ok(answer.cut(move |cx, _| {
            let over = over.get_or_insert_with(|| Box::pin(drain.over()));
            over.as_mut()
                .poll(cx)
                .map(|()| Rejection::new(Kind::Draining))
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use tokio_test::{assert_pending, assert_ready_eq, task::spawn};

    #[test]
    fn who_waits_hears_the_end_and_lets_go_of_the_call() {
        let drain = Drain::new();
        let held = Arc::new(());
        let inner = held.clone();
        let call = async move {
            let _held = inner;
            pending::<()>().await;
        };
        let mut call = spawn(UntilOver::new(call, drain.clone()));
        assert_pending!(call.poll());
        drain.start();
        assert_pending!(call.poll());
        assert!(!call.is_woken(), "to drain ends nothing");
        drain.end_streams();
        assert!(call.is_woken());
        assert_ready_eq!(call.poll(), None);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn what_comes_after_the_end_is_answered_only_if_it_need_not_wait() {
        let drain = Drain::new();
        drain.end_streams();
        assert!(drain.has_started());
        let mut at_once = spawn(UntilOver::new(ready(7), drain.clone()));
        assert_ready_eq!(at_once.poll(), Some(7));
        let mut waits = spawn(UntilOver::new(pending::<u8>(), drain));
        assert_ready_eq!(waits.poll(), None);
    }

    #[test]
    fn an_answer_at_once_registers_nothing() {
        let drain = Drain::new();
        let mut call = spawn(UntilOver::new(ready(()), drain.clone()));
        assert_ready_eq!(call.poll(), Some(()));
        assert_eq!(Arc::strong_count(&drain.0.over), 1);
    }

    #[test]
    fn an_end_between_two_polls_is_heard() {
        let drain = Drain::new();
        let over = drain.over();
        drain.end_streams();
        drain.start();
        assert_ready_eq!(spawn(over).poll(), ());
        assert_eq!(format!("{drain:?}"), r#"Drain("Over")"#);
    }
}
