//! The count of a conversation, for vendors that do not count for their callers.

use crate::{
    Extensible, Rejection,
    llm::{
        Batch, Batches, ChatRequest, ChatResponse, Error, Event, Protocol, Want, codec,
        response::Spoken,
    },
    rejection::Kind,
};
use http::{HeaderName, HeaderValue};
use std::task::{Context, Poll};

/// Whether a vendor of this protocol counts for its callers.
pub(super) fn counts(protocol: Protocol, request: &ChatRequest) -> bool {
    match protocol {
        Protocol::Anthropic | Protocol::Gemini => true,
        Protocol::Bedrock => codec::bedrock::counts(request.model()),
        _ => false,
    }
}

/// The count of a conversation for a vendor that has no counter.
pub(super) async fn counted(request: ChatRequest) -> Result<ChatResponse, Error> {
    // The first one loads tables, and for as long nobody else shall wait.
    let count = move || crate::llm::tokens::count(&request);
    let count = tokio::task::spawn_blocking(count).await;
    let count = count.map_err(|error| Rejection::new(Kind::Internal).with_source(error))??;
    let count = count.total();
    let mut answer = ChatResponse::new(Counted(Some(count.tokens)));
    if !count.is_exact() {
        let tokens = HeaderValue::from_static("tokens");
        answer.headers_mut().insert(ESTIMATE, tokens);
    }
    Ok(answer)
}

/// The header of an answer that is an estimate, and of what.
const ESTIMATE: HeaderName = HeaderName::from_static("x-gateway-estimate");

/// A count, as an answer.
struct Counted(Option<u64>);

impl Batches for Counted {
    fn spoken(&self) -> Option<Spoken> {
        None
    }

    fn want(&mut self, _: Want) {}

    fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let count = self.0.take();
        Poll::Ready(count.map(|count| Ok(Batch::made(vec![Event::Tokens(count)]))))
    }
}
