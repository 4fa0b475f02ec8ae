//! Cohere, the second version of its API: `chat`, `embed` and `rerank`, as a client of the vendor, and
//! [`rerank`](super::rerank) as a server too, for its shape is everyone's.
//!
//! # What is read
//!
//! Answers are [read](decode) with patience: events and parts that nobody knows are passed over, and
//! `[DONE]` is understood and not required. What the model plans before it calls tools is a thought, whose
//! proof says that it was a plan, so that it comes back in its place. Citations are kept as they are, in
//! the message.
//!
//! # What is counted
//!
//! The vendor tells two counts: `tokens`, what the model saw and wrote, and `billed_units`, what is paid for.
//! They differ by much, for the vendor's own preamble is not billed. [Usage](usage) is the former:
//! limits and windows are of tokens. What is billed stands beside the answer, under its own name.
//!
//! # What is written
//!
//! [Requests](request) of other protocols, with a list of what this one cannot say. Fields that the
//! vendor has and others have not, such as `documents`, go along from clients of any protocol.

mod decode;
mod embed;
mod request;
mod server;
#[cfg(test)]
mod tests;
mod usage;

use super::{
    Ask, Asked, Codec, Decode, Encode, Encoded, ErrorAnswer, Framing, Maker, Scan, Target, fault,
    mute::Mute, peek, rerank,
};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Error, Operation, Protocol, Usage, VendorError, VendorFault, request::Typed,
    },
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header::AUTHORIZATION};
use std::{borrow::Cow, sync::Arc};

/// The codec.
pub(crate) struct Cohere;

/// What a plan is proven with: no more than that it was one.
const PLAN: &str = "tool_plan";

/// Whether a path is one that clients ask in these words.
pub(crate) fn is_served(path: &str) -> bool {
    server::PATHS.contains(&path)
}

impl Codec for Cohere {
    fn target(&self, path: &str, _: Option<&str>) -> Option<(Target, Arc<str>)> {
        server::target(path)
    }

    fn peek(&self, ask: &Ask, body: Bytes) -> Result<ChatRequest, Rejection> {
        peek::peek(Protocol::Cohere, ask, &body)
    }

    fn parse(&self, operation: Operation, body: &[u8]) -> Result<Typed, Rejection> {
        match operation {
            Operation::Rerank => rerank::parse(body).map(Typed::Rerank),
            _ => Err(Kind::NotSupported.into()),
        }
    }

    fn encoder(&self, asked: Asked) -> Box<dyn Encode> {
        match asked.operation {
            Operation::Rerank => Box::new(rerank::Answer::new(&asked.model)),
            _ => Box::new(Mute),
        }
    }

    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        server::refused(error)
    }

    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        Cow::Borrowed(match request.operation() {
            Operation::Embeddings => "/v2/embed",
            Operation::Rerank => "/v2/rerank",
            _ => "/v2/chat",
        })
    }

    fn models_path(&self) -> &'static str {
        "/v1/models?page_size=1000"
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (AUTHORIZATION, "Bearer ")
    }

    fn headers(&self, _: Option<&ChatRequest>, _: &mut HeaderMap) {}

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        match request.operation() {
            Operation::Chat | Operation::Completions => request::encode(request, to),
            Operation::Embeddings => embed::write(request, request.embedding()?),
            Operation::Rerank => rerank::write(request, true),
            _ => Err(Kind::NotSupported.into()),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, _: Option<Usage>) -> Scan {
        let mut scan = usage::scan(raw, framing);
        scan.error = fault::scan(raw, framing).or(scan.error);
        scan
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        let error = fault::read(Protocol::Cohere, status, headers, body);
        // Here it is a word on the vendor's list that stands in what was said.
        match status.as_u16() {
            498 => VendorError::new(VendorFault::ContentFilter).with_message(error.message()),
            _ => error,
        }
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        super::openai::models(body)
    }
}
