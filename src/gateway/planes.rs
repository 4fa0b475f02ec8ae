//! The fork between models and routes.

use super::settled::HttpService;
use crate::{Body, Reject, Rejection, rejection::Kind};
use http::{Request, Response};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// Below `/v1` the protocol of the models, and all else by the routes.
///
/// The paths of models are matched to the letter, so they need no normalising, and the name of a model
/// in one may hold an escaped slash.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    pub(super) chat: Option<HttpService>,
    pub(super) routes: Option<HttpService>,
}

impl Service<Request<Body>> for Planes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    // Both are always ready: they wait for what they call in the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let of_models = request.uri().path().starts_with("/v1/");
        match (&mut self.chat, &mut self.routes) {
            (Some(chat), _) if of_models => chat.call(request),
            (_, Some(routes)) => routes.call(request),
            _ => Box::pin(async { Response::reject(Rejection::new(Kind::NotFound)) }),
        }
    }
}
