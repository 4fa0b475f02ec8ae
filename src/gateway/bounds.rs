//! What a route is spared: bodies that are too large or do not come, and calls that outlast the
//! gateway.
//!
//! Nothing is buffered. The bytes of a body are counted as the service reads them, and waited for only
//! while it asks for more, and until it has begun to answer: from then on the two may take turns, as in a
//! gRPC stream, and who is silent may be waiting for the other. Models need none of this: their bodies are read whole, within bounds of
//! [their own](crate::llm::serve).

use super::drain::{self, Drain, UntilOver};
use crate::{Body, BoxError, Reject, Rejection, rejection::Kind};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    mem,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

/// What holds for the body of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many bytes it has at the most.
    pub(super) bytes: Option<u64>,
    /// How long it may keep the service waiting for its next piece.
    pub(super) idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: Some(32 << 20),
            idle: Some(Duration::from_secs(60)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Bounded<S> {
    inner: S,
    limits: Limits,
    drain: Drain,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S, limits: Limits, drain: Drain) -> Self {
        Self {
            inner,
            limits,
            drain,
        }
    }
}

impl<S, E> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = E>,
    Response<Body>: Reject<E>,
{
    type Response = Response<Body>;
    type Error = E;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let closes = request.version() < Version::HTTP_2;
        let mut told = None;
        let request = if request.body().is_end_stream() {
            request
        } else {
            let limit = self.limits.bytes.unwrap_or(u64::MAX);
            if request.body().size_hint().lower() > limit {
                // It is not read at all.
                return ResponseFuture::Refused { closes };
            }
            let told = told.get_or_insert_with(Arc::<Told>::default).clone();
            request.map(|body| Body::boxed(Upload::new(body, self.limits, told)))
        };
        ResponseFuture::Called {
            future: UntilOver::new(self.inner.call(request), self.drain.clone()),
            told,
            closes,
        }
    }
}

pin_project! {
    #[project = ResponseFutureProj]
    pub(super) enum ResponseFuture<F> {
        Called {
            #[pin]
            future: UntilOver<F>,
            told: Option<Arc<Told>>,
            closes: bool,
        },
        Refused {
            closes: bool,
        },
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
    Response<Body>: Reject<E>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (kind, closes) = match self.project() {
            ResponseFutureProj::Refused { closes } => (Kind::TooLarge, *closes),
            ResponseFutureProj::Called {
                future,
                told,
                closes,
            } => {
                let Some(answer) = ready!(future.poll(cx)) else {
                    return Poll::Ready(Response::reject(drain::refusal()));
                };
                let Some(told) = told else {
                    return Poll::Ready(answer);
                };
                told.answered.store(true, Ordering::Relaxed);
                let failed = |response: &Response<Body>| {
                    response.status().is_client_error() || response.status().is_server_error()
                };
                match (&answer, told.fault.get()) {
                    // It knows no more than that the body broke off, and we know why.
                    (Ok(response), Some(kind)) if failed(response) => (*kind, *closes),
                    _ => return Poll::Ready(answer),
                }
            }
        };
        let mut answer = Response::reject(Rejection::new(kind));
        if let Ok(response) = &mut answer
            && closes
        {
            // What is left of the body is not read.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Poll::Ready(answer)
    }
}

/// What the body of a request and the answer to it know of each other.
#[derive(Debug, Default)]
struct Told {
    /// Why the body was ended.
    fault: OnceLock<Kind>,
    answered: AtomicBool,
}

pin_project! {
    /// The body of a request, within its limits.
    struct Upload {
        inner: Body,
        left: u64,
        idle: Option<Duration>,
        // Made when the body first keeps its reader waiting, and kept.
        #[pin]
        late: Option<Sleep>,
        waits: bool,
        told: Arc<Told>,
    }
}

impl Upload {
    fn new(inner: Body, limits: Limits, told: Arc<Told>) -> Self {
        Self {
            inner,
            left: limits.bytes.unwrap_or(u64::MAX),
            idle: limits.idle,
            late: None,
            waits: false,
            told,
        }
    }

    fn poll_late(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(idle) = *this.idle else {
            return Poll::Pending;
        };
        if this.told.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let begins = !mem::replace(this.waits, true);
        match this.late.as_mut().as_pin_mut() {
            None => this.late.set(Some(sleep(idle))),
            Some(late) if begins => late.reset(Instant::now() + idle),
            Some(_) => {}
        }
        match this.late.as_pin_mut() {
            Some(late) => late.poll(cx),
            None => Poll::Pending,
        }
    }

    /// Reads no more of it.
    fn end(self: Pin<&mut Self>, kind: Kind) -> Option<Result<Frame<Bytes>, BoxError>> {
        let this = self.project();
        *this.inner = Body::empty();
        let _ = this.told.fault.set(kind);
        Some(Err(Rejection::new(kind).into()))
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.as_mut().project();
        let Poll::Ready(frame) = Pin::new(this.inner).poll_frame(cx) else {
            ready!(self.as_mut().poll_late(cx));
            return Poll::Ready(self.end(Kind::RequestTimeout));
        };
        *this.waits = false;
        // Somebody further out has ended it.
        if let Some(Err(error)) = &frame
            && let Some(rejection) = error.downcast_ref::<Rejection>()
        {
            let _ = this.told.fault.set(rejection.kind());
        }
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        match this.left.checked_sub(data as u64) {
            Some(left) => *this.left = left,
            None => return Poll::Ready(self.end(Kind::TooLarge)),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    const LIMITS: Limits = Limits {
        bytes: Some(10),
        idle: Some(Duration::from_secs(60)),
    };

    /// A body of pieces, each so many seconds after the one before, without an end of its own.
    fn pieces(pieces: &'static [(u64, &'static str)]) -> Body {
        let stream = futures_util::stream::unfold(pieces.iter(), |mut rest| async {
            match rest.next() {
                Some((after, text)) => {
                    sleep(Duration::from_secs(*after)).await;
                    let frame = Frame::data(Bytes::from_static(text.as_bytes()));
                    Some((Ok::<_, Infallible>(frame), rest))
                }
                None => std::future::pending().await,
            }
        });
        Body::new(StreamBody::new(stream))
    }

    /// What a service that reads its body and calls a broken one a bad request makes of it.
    async fn answer(body: Body) -> Response<Body> {
        let service = service_fn(async |request: Request<Body>| {
            let status = match request.into_body().collect().await {
                Ok(_) => 200,
                Err(_) => 400,
            };
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(response.body(Body::empty()).unwrap())
        });
        let service = Bounded::new(service, LIMITS, Drain::new());
        service.oneshot(Request::new(body)).await.unwrap()
    }

    fn kind(answer: &Response<Body>) -> Option<Kind> {
        answer.extensions().get().map(Rejection::kind)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_a_request_timeout() {
        let start = Instant::now();
        let answer = answer(pieces(&[(50, "a"), (50, "b")])).await;
        assert_eq!(kind(&answer), Some(Kind::RequestTimeout));
        assert_eq!(answer.status(), 408);
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        assert_eq!(start.elapsed().as_secs(), 160);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asks_for_the_body_does_not_count() {
        let upload = Upload::new(pieces(&[(50, "a"), (50, "b")]), LIMITS, Arc::default());
        let mut upload = Body::boxed(upload);
        for _ in 0..2 {
            sleep(Duration::from_secs(1000)).await;
            upload.frame().await.unwrap().unwrap();
        }
        let error = upload.frame().await.unwrap().unwrap_err();
        let rejection = error.downcast::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), Kind::RequestTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_beyond_the_limit_are_too_many_however_they_come() {
        let at_once = answer(Body::from("eleven byte")).await;
        let streamed = answer(pieces(&[(0, "eleven"), (0, " byte")])).await;
        for answer in [at_once, streamed] {
            assert_eq!(kind(&answer), Some(Kind::TooLarge));
            assert_eq!(answer.status(), 413);
            assert_eq!(answer.headers()[header::CONNECTION], "close");
        }
        assert_eq!(answer(Body::from("ten bytes.")).await.status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_begun_is_not_taken_back() {
        let service = service_fn(async |request: Request<Body>| {
            // As an echo does.
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        let service = Bounded::new(service, LIMITS, Drain::new());
        let request = Request::new(pieces(&[(0, "eleven"), (0, " byte")]));
        let mut echo = service.oneshot(request).await.unwrap();
        assert_eq!(echo.status(), 200);
        let first = echo.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "eleven");
        assert!(echo.body_mut().frame().await.unwrap().is_err());
        assert!(echo.body_mut().frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn once_it_has_begun_to_answer_a_service_may_wait_for_its_caller() {
        let service = service_fn(async |request: Request<Body>| {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        let service = Bounded::new(service, LIMITS, Drain::new());
        let request = Request::new(pieces(&[(0, "a"), (1000, "b")]));
        let echo = service.oneshot(request).await.unwrap();
        let mut body = echo.into_body();
        for piece in ["a", "b"] {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
    }

    #[tokio::test]
    async fn a_request_without_a_body_is_left_alone_and_so_is_the_length_of_one() {
        let service = service_fn(async |request: Request<Body>| {
            let exact = request.body().size_hint().exact();
            Ok::<_, Infallible>(Response::new(Body::from(format!("{exact:?}"))))
        });
        let service = Bounded::new(service, LIMITS, Drain::new());
        for (body, length) in [("", "Some(0)"), ("four", "Some(4)")] {
            let request = Request::new(Body::from(body));
            let answer = service.clone().oneshot(request).await.unwrap();
            assert_eq!(
                answer.into_body().collect().await.unwrap().to_bytes(),
                length
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_there_are_none() {
        let none = Limits {
            bytes: None,
            idle: None,
        };
        let upload = Upload::new(pieces(&[(9999, "eleven byte")]), none, Arc::default());
        let frame = Body::boxed(upload).frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "eleven byte");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_outlasts_the_gateway_is_refused() {
        let drain = Drain::new();
        let service = service_fn(async |_: Request<Body>| std::future::pending().await);
        let service = service.map_response(|never: Infallible| match never {});
        let service = Bounded::new(
            service.map_err(|never: Infallible| never),
            LIMITS,
            drain.clone(),
        );
        let call = tokio::spawn(service.oneshot(Request::new(Body::empty())));
        sleep(Duration::from_secs(1)).await;
        drain.end_streams();
        let answer = call.await.unwrap().unwrap();
        assert_eq!(kind(&answer), Some(Kind::Draining));
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    }
}
