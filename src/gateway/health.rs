//! Health checks, which need no credentials and touch no upstream.

use super::drain::Drain;
use crate::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// Answers `/health/live` and `/health/ready`.
#[derive(Clone, Debug)]
pub(super) struct HealthLayer {
    pub(super) drain: Drain,
}

impl<S> Layer<S> for HealthLayer {
    type Service = Health<S>;

    fn layer(&self, inner: S) -> Health<S> {
        Health {
            inner,
            drain: self.drain.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Health<S> {
    inner: S,
    drain: Drain,
}

impl<S> Health<S> {
    fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let (status, text) = match request.uri().path() {
            "/health/live" => (StatusCode::OK, r#"{"status":"live"}"#),
            "/health/ready" if self.drain.has_started() => {
                (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#)
            }
            "/health/ready" => (StatusCode::OK, r#"{"status":"ready"}"#),
            _ => return None,
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let mut response = Response::new(Body::from(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}

impl<S, B> Service<Request<B>> for Health<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.answer(&request) {
            None => ResponseFuture::Inner {
                future: self.inner.call(request),
            },
            answer => ResponseFuture::Answer { answer },
        }
    }
}

pin_project! {
    #[project = ResponseFutureProj]
    pub(super) enum ResponseFuture<F> {
        Inner {
            #[pin]
            future: F,
        },
        Answer {
            answer: Option<Response<Body>>,
        },
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseFutureProj::Inner { future } => future.poll(cx),
            ResponseFutureProj::Answer { answer } => {
                Poll::Ready(Ok(answer.take().expect("polled after completion")))
            }
        }
    }
}
