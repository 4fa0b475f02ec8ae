//! Language models: one request format, one answer, whatever the vendor speaks.
//!
//! Everything here is a [`Service`](tower_service::Service) of [`ChatRequest`] that answers
//! [`ChatResponse`] or [`Error`]; so the layers of this crate guard a model as they guard an HTTP
//! service. A request carries the client's own bytes beside a typed view that is parsed on demand;
//! an answer is a stream of batches, each the whole events of one chunk, decoded only if someone
//! asks. Between a client and a vendor of the same protocol nothing is parsed and nothing is
//! rewritten but the model's name.

mod any_model;
mod by_fault;
pub mod catalog;
mod codec;
pub mod dialect;
mod error;
mod event;
mod explain;
mod message;
mod passthrough;
pub mod pool;
mod prompted;
#[cfg(feature = "client")]
pub mod provider;
pub mod query_key;
pub mod rate_limits;
mod request;
mod rerank;
mod response;
pub mod serve;
pub mod simulator;
#[cfg(feature = "tokens")]
pub mod tokens;

#[cfg(feature = "prompts")]
#[cfg(feature = "prompts")]
pub(crate) use self::codec::says;
#[cfg(feature = "prompts")]
pub(crate) use self::prompted::{Unprompted, names_model};
#[cfg(feature = "client")]
#[doc(inline)]
pub use self::provider::Provider;
#[doc(inline)]
pub use self::{
    any_model::AnyModel,
    by_fault::ByFault,
    codec::Framing,
    error::{Error, VendorError, VendorFault},
    event::{Choice, Completion, Delta, Event, FinishReason, Start},
    message::{
        Chat, Content, Embed, EmbedInput, Extra, Media, Message, Part, Reasoning, ResponseFormat,
        Role, Sampling, Tool, ToolCall, ToolChoice,
    },
    passthrough::Passthrough,
    pool::Pool,
    prompted::Prompted,
    rate_limits::RateLimits,
    request::{ChatRequest, Operation, Protocol, Wire},
    rerank::{Document, Ranked, Rerank},
    response::{Batch, Batches, ChatResponse, Spoken, Summary, Want},
    simulator::Simulator,
};
pub use crate::exchange::{Loss, Usage};
#[cfg(feature = "gateway")]
pub(crate) use codec::envelope::Shared;

use crate::key::Key;
use std::sync::Arc;

/// The name of the model that is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByModel;

impl Key<ChatRequest> for ByModel {
    type Key = Arc<str>;

    fn key(&self, req: &ChatRequest) -> Option<Arc<str>> {
        Some(req.model().clone())
    }
}
