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
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Over,
}

/// Whether the gateway is shutting down. Clones tell of the same gateway.
#[derive(Clone)]
pub struct Drain(Arc<watch::Sender<Phase>>);

impl Drain {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Running)))
    }

    /// From now on `/health/ready` answers 503, so that whoever balances looks elsewhere. Requests are
    /// still answered.
    pub fn start(&self) {
        self.enter(Phase::Draining);
    }

    /// Ends the event streams of models that are still going on, each with an error event in the words
    /// of its client.
    pub fn end_streams(&self) {
        self.enter(Phase::Over);
    }

    /// Whether it has started.
    #[must_use]
    pub fn has_started(&self) -> bool {
        *self.0.borrow() > Phase::Running
    }

    fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = *now < phase;
            *now = phase.max(*now);
            later
        });
    }

    /// Ready when streams shall end.
    fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.0.subscribe();
        async move {
            // The sender may go before: then nobody ends them.
            if phase.wait_for(|phase| *phase == Phase::Over).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&*self.0.borrow()).finish()
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
        let drain = request.streams().then(|| self.drain.clone());
        ResponseFuture {
            future: self.inner.call(request),
            drain,
        }
    }
}

pin_project! {
    pub(super) struct ResponseFuture<F> {
        #[pin]
        future: F,
        drain: Option<Drain>,
    }
}

impl<F: Future<Output = Result<ChatResponse, Error>>> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx))?;
        let Some(drain) = this.drain.take() else {
            return Poll::Ready(Ok(answer));
        };
        // Nothing is registered for a stream that never has to wait.
        let mut over = None;
        Poll::Ready(Ok(answer.cut(move |cx, _| {
            let over = over.get_or_insert_with(|| Box::pin(drain.over()));
            over.as_mut()
                .poll(cx)
                .map(|()| Rejection::new(Kind::Draining))
        })))
    }
}
