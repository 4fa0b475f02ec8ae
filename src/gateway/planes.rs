//! The fork between models and routes.

use crate::{Body, Reject, Rejection, llm::dialect, rejection::Kind};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// Below `/v1`, `/v1beta` and what else is Google's the protocols of the models, and `/v2/rerank`, and all
/// else by the routes.
///
/// The paths of models are matched to the letter, so they need no normalising, and the name of a model
/// in one may hold an escaped slash.
#[derive(Clone, Debug)]
pub(super) struct Planes<C, R> {
    pub(super) chat: Option<C>,
    pub(super) routes: Option<R>,
}

/// Whether a path is one of the protocols of the models.
pub(super) fn of_models(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/v2/rerank" || dialect::is_google(path)
}

/// What would mend a route of one's own at a path that is none for it.
pub(super) fn reserved(path: &str) -> Option<&'static str> {
    let below = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if below("/v1") || dialect::is_google(path) {
        return Some(
            "paths below /v1, /v1beta, /v1alpha and /upload/v1beta are those of models: choose another",
        );
    }
    matches!(path, "/health/live" | "/health/ready" | "/v2/rerank")
        .then_some("the gateway answers this itself: choose another path")
}

impl<C, R> Service<Request<Body>> for Planes<C, R>
where
    C: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    R: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<C::Future, R::Future>;

    // Both are always ready: they wait for what they call in the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let of_models = of_models(request.uri().path());
        match (&mut self.chat, &mut self.routes) {
            (Some(chat), _) if of_models => ResponseFuture::Chat {
                future: chat.call(request),
            },
            (_, Some(routes)) => ResponseFuture::Routes {
                future: routes.call(request),
            },
            _ => ResponseFuture::Neither,
        }
    }
}

pin_project! {
    #[project = ResponseFutureProj]
    pub(super) enum ResponseFuture<C, R> {
        Chat {
            #[pin]
            future: C,
        },
        Routes {
            #[pin]
            future: R,
        },
        Neither,
    }
}

impl<C, R> Future for ResponseFuture<C, R>
where
    C: Future<Output = Result<Response<Body>, Infallible>>,
    R: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseFutureProj::Chat { future } => future.poll(cx),
            ResponseFutureProj::Routes { future } => future.poll(cx),
            ResponseFutureProj::Neither => {
                Poll::Ready(Response::reject(Rejection::new(Kind::NotFound)))
            }
        }
    }
}
