//! An answer that is always there.

use super::{ByRemedy, ByStatus, When};
use crate::answer::Remedy;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Answers in the place of a service that has failed, over HTTP: a status, headers, a body.
///
/// It is no further attempt, and so asks nothing of the request: neither that it is idempotent, nor that
/// its body is small, nor that there is an attempt left. What the service answered is dropped, and with it
/// why a policy refused: stand further in than what tells of that (access log, metrics).
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct AnswerLayer<W = ByRemedy> {
    answer: Arc<Answer>,
    when: W,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl AnswerLayer {
    /// This status, without headers or a body.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let answer = Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        Self {
            answer: Arc::new(answer),
            when: ByRemedy,
        }
    }
}

impl<W> AnswerLayer<W> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        let answer = Arc::make_mut(&mut self.answer);
        answer.headers.append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        Arc::make_mut(&mut self.answer).body = body.into();
        self
    }

    /// Sets when it is given: a closure `Fn(Result<&Res, &E>) -> Remedy`, or another [`When`].
    #[must_use]
    pub fn when<V>(self, when: V) -> AnswerLayer<V> {
        AnswerLayer {
            answer: self.answer,
            when,
        }
    }

    /// Sets after which statuses it is given. See
    /// [`Fallback::when_status`](super::Fallback::when_status).
    #[must_use]
    pub fn when_status<F: Fn(StatusCode) -> bool>(self, status: F) -> AnswerLayer<ByStatus<F>> {
        self.when(ByStatus(status))
    }
}

impl<S, W: Clone> Layer<S> for AnswerLayer<W> {
    type Service = AnswerInstead<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        AnswerInstead {
            inner,
            layer: self.clone(),
        }
    }
}

impl<W> fmt::Debug for AnswerLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerLayer")
            .field("status", &self.answer.status)
            .field("bytes", &self.answer.body.len())
            .finish_non_exhaustive()
    }
}

/// Gives another answer when the inner service has failed.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct AnswerInstead<S, W = ByRemedy> {
    inner: S,
    layer: AnswerLayer<W>,
}

impl<S, W, Req, B> Service<Req> for AnswerInstead<S, W>
where
    S: Service<Req, Response = Response<B>>,
    W: When<Response<B>, S::Error> + Clone,
    B: From<Bytes>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        AnswerFuture {
            future: self.inner.call(req),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, W> fmt::Debug for AnswerInstead<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerInstead")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

pin_project! {
    /// Response future of [`AnswerInstead`].
    pub struct AnswerFuture<F, W> {
        #[pin]
        future: F,
        layer: AnswerLayer<W>,
    }
}

impl<F, W, B, E> Future for AnswerFuture<F, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: When<Response<B>, E>,
    B: From<Bytes>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        if this.layer.when.remedy(answer.as_ref()) == Remedy::Nothing {
            return Poll::Ready(answer);
        }
        drop(answer);
        tracing::info!("a service failed, and a fixed answer is given");
        let Answer {
            status,
            headers,
            body,
        } = &*this.layer.answer;
        let mut instead = Response::new(B::from(body.clone()));
        *instead.status_mut() = *status;
        *instead.headers_mut() = headers.clone();
        Poll::Ready(Ok(instead))
    }
}

impl<F, W> fmt::Debug for AnswerFuture<F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerFuture").finish_non_exhaustive()
    }
}
