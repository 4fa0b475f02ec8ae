//! Where a layer stands.

use super::settled::{HttpService, Settled};
use crate::{Body, BoxError};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use std::{any::type_name, fmt};
use tower_layer::Layer;
use tower_service::Service;

/// Where a layer stands on the HTTP plane, outermost first. The one place that knows the order.
///
/// Layers in one slot stand in the order in which they were added, the first outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Slot {
    /// Request ids and spans. All that follows happens within.
    Trace,
    /// What is told of an exchange when it is over: metrics, access log.
    Tell,
    /// Health checks. While shutting down they say so, and requests are still answered.
    Drain,
    /// What concerns browsers and the wire: security headers, compression, CORS. Preflights end here.
    Edge,
    /// Errors in the client's words. Just within, the host is [held](crate::server_name) to the name of the
    /// connection, and the path is normalised.
    Dialect,
    /// The client's address.
    ClientAddr,
    /// Bounds on sizes and on slow clients; inspection.
    Limits,
    /// Who calls.
    Auth,
    /// What they may do.
    Authorize,
    /// How often they may.
    RateLimit,
    /// Answers that were given before.
    Cache,
    /// How many at once.
    Concurrency,
    /// Anything else: just outside of the routes.
    Inner,
}

pub(super) type Wrap<S> = Box<dyn FnOnce(S) -> S + Send>;

/// A layer that waits for its turn.
pub(super) struct Entry<P, S> {
    pub(super) place: P,
    pub(super) name: &'static str,
    pub(super) wrap: Wrap<S>,
}

impl<P: fmt::Debug, S> fmt::Debug for Entry<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("place", &self.place)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Entry<Slot, HttpService> {
    /// Boxed for itself: optional layers must not square the type of the stack.
    pub(super) fn http<L, B>(slot: Slot, layer: L) -> Self
    where
        L: Layer<HttpService> + Send + 'static,
        L::Service: Service<
                Request<Body>,
                Response = Response<B>,
                Error: Into<BoxError>,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self {
            place: slot,
            name: short(type_name::<L>()),
            wrap: Box::new(move |inner| HttpService::new(Settled::new(layer.layer(inner)))),
        }
    }
}

/// The name of a type without its path and its parameters.
pub(super) fn short(name: &'static str) -> &'static str {
    let end = name.find('<').unwrap_or(name.len());
    name[..end].rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_of_its_path() {
        assert_eq!(short(type_name::<Option<Vec<u8>>>()), "Option");
        assert_eq!(short(type_name::<Slot>()), "Slot");
    }
}
