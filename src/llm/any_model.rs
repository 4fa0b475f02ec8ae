//! What a gateway or a pool takes for a model.

use super::{ChatRequest, ChatResponse, Error};
use tower_service::Service;

/// A service that answers as a model does, and that many may share: a [`Provider`](super::Provider), a
/// [`Pool`](super::Pool), a [`Simulator`](super::Simulator), any of them behind layers, or one of your own.
///
/// Implemented for each of them; there is nothing to implement but the [`Service`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer as a model does",
    label = "no `Service<ChatRequest, Response = ChatResponse, Error = llm::Error>` that is `Clone + Send + Sync + 'static`",
    note = "a layer of the HTTP plane does not fit around a model, nor a model in the place of a route"
)]
pub trait AnyModel:
    Service<ChatRequest, Response = ChatResponse, Error = Error, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> AnyModel for S where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}
