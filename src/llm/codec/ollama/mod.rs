//! Ollama's own protocol: `/api/chat` and `/api/embed`, as a client of the vendor.
//!
//! It can say more than the vendor's imitation of OpenAI's: how long the context is, how long a model
//! stays in memory, whether it thinks. A stream is [a document on each line](super::lines).
//!
//! # What is read
//!
//! [Answers](decode), whose calls come whole, with or without a name. An error may stand on any line.
//!
//! # What is written
//!
//! [Requests](request) of other protocols, with a list of what this one cannot say. Pictures are
//! sent as bytes: one that is told by its address is refused, for nothing is fetched here. `options`,
//! `keep_alive` and other fields of the vendor go along from clients of any protocol.

mod decode;
mod embed;
mod request;
#[cfg(test)]
mod tests;
mod usage;

use super::{Codec, Decode, Encoded, Framing, Maker, Scan, fault};
use crate::{
    Rejection,
    llm::{ChatRequest, Operation, Protocol, Usage, VendorError},
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header::AUTHORIZATION};
use std::borrow::Cow;

/// The codec.
pub(crate) struct Ollama;

impl Codec for Ollama {
    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        Cow::Borrowed(match request.operation() {
            Operation::Embeddings => "/api/embed",
            _ => "/api/chat",
        })
    }

    fn models_path(&self) -> &'static str {
        "/api/tags"
    }

    /// For the vendor's cloud. On one's own machine there is none.
    fn key_header(&self) -> (HeaderName, &'static str) {
        (AUTHORIZATION, "Bearer ")
    }

    fn headers(&self, _: Option<&ChatRequest>, _: &mut HeaderMap) {}

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        match request.operation() {
            Operation::Chat | Operation::Completions => request::encode(request, to),
            Operation::Embeddings => embed::write(request, request.embedding()?),
            _ => Err(Kind::NotSupported.into()),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, _: Option<Usage>) -> Scan {
        Scan {
            usage: usage::scan(raw),
            error: fault::scan(raw, framing),
        }
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        fault::read(Protocol::Ollama, status, headers, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        super::openai::models(body)
    }
}
