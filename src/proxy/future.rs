//! The answer of an upstream, awaited.

use super::{Shared, tunnel::Tunnel};
use crate::{Body, Reject, Rejection, rejection::Kind};
use http::{HeaderValue, Request, Response, Version, header};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// Response future of [`Proxy`].
    pub struct ResponseFuture<C, F> {
        #[pin]
        pub(super) state: State<C, F>,
        pub(super) shared: Arc<Shared>,
        pub(super) version: Version,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<C, F> {
        Waiting {
            call: Option<(C, Request<Body>)>,
            tunnel: Option<Tunnel>,
        },
        Calling {
            #[pin]
            future: F,
            tunnel: Option<Tunnel>,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<C> Future for ResponseFuture<C, C::Future>
where
    C: Service<Request<Body>, Response = Response<Body>, Error = Rejection>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let rejection = loop {
            match this.state.as_mut().project() {
                StateProj::Waiting { call, tunnel } => {
                    let (client, _) = call.as_mut().expect("polled after completion");
                    if let Err(rejection) = ready!(client.poll_ready(cx)) {
                        break rejection;
                    }
                    let (mut client, request) = call.take().expect("polled after completion");
                    let future = client.call(request);
                    let tunnel = tunnel.take();
                    this.state.set(State::Calling { future, tunnel });
                }
                StateProj::Calling { future, tunnel } => {
                    let answer = ready!(future.poll(cx));
                    let tunnel = tunnel.take();
                    match answer.and_then(|response| this.shared.inbound(response, tunnel)) {
                        Ok(response) => return Poll::Ready(Ok(response)),
                        Err(rejection) => break rejection,
                    }
                }
                StateProj::Rejected { rejection } => {
                    break rejection.take().expect("polled after completion");
                }
            }
        };
        if rejection.kind().status().is_server_error() {
            tracing::warn!(
                upstream = &*this.shared.name,
                code = rejection.kind().code(),
                error = std::error::Error::source(&rejection),
                "the upstream gives no answer"
            );
        }
        let blames_framing = rejection.kind() == Kind::InvalidRequest;
        let mut answer = <Response<Body> as Reject<Infallible>>::reject(rejection);
        if let Ok(response) = &mut answer
            && blames_framing
            && *this.version < Version::HTTP_2
        {
            // Who sends one such message may have another behind it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Poll::Ready(answer)
    }
}

impl<C, F> fmt::Debug for ResponseFuture<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
