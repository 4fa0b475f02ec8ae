//! The normal form of a path, for layers that stand outside of the routes.

pub use crate::admit::ResponseFuture as NormaliseFuture;

use crate::{Reject, path::Rules};
use http::Request;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Applies [`NormalisePath`] to a service.
///
/// It belongs outside of whatever decides by the path: authorisation, limits, caches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NormalisePathLayer(Rules);

impl NormalisePathLayer {
    /// Goes by the default [`Rules`].
    #[must_use]
    pub const fn new() -> Self {
        Self(Rules::new())
    }

    /// Goes by other rules.
    #[must_use]
    pub const fn rules(rules: Rules) -> Self {
        Self(rules)
    }
}

impl<S> Layer<S> for NormalisePathLayer {
    type Service = NormalisePath<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NormalisePath {
            inner,
            rules: self.0,
        }
    }
}

/// Rewrites the path of each request to its [normal form](crate::path), and refuses those that have
/// none: 400.
#[derive(Clone, Copy, Debug)]
pub struct NormalisePath<S> {
    inner: S,
    rules: Rules,
}

impl<S, B> Service<Request<B>> for NormalisePath<S>
where
    S: Service<Request<B>>,
    S::Response: Reject<S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = NormaliseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let normal = self.rules.apply(request.uri_mut());
        NormaliseFuture::new(match normal {
            Ok(()) => Ok(self.inner.call(request)),
            Err(fault) => Err(fault.into()),
        })
    }
}
