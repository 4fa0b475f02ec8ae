//! The normal form of a path, for layers that stand outside of the routes.

use crate::{
    Rejection,
    admit::{Admit, Admitted},
    path::Rules,
};
use http::Request;
use tower_layer::Layer;

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
        Admitted::new(inner, *self)
    }
}

impl<B> Admit<Request<B>> for NormalisePathLayer {
    fn admit(&self, request: &mut Request<B>) -> Result<(), Rejection> {
        self.0.apply(request.uri_mut()).map_err(Into::into)
    }
}

/// Rewrites the path of each request to its [normal form](crate::path), and refuses those that have
/// none: 400.
pub type NormalisePath<S> = Admitted<S, NormalisePathLayer>;
