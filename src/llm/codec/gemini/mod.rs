//! Google's Gemini: `generateContent`, `streamGenerateContent`, `countTokens` and `embedContent`.
//!
//! # What is read
//!
//! A request is peeked at, and goes on as the bytes it came in to a vendor of this protocol, unless
//! someone edits it: the model's name stands in the path. When it is [read](request) whole, names of
//! fields are taken in either spelling (`inlineData`, `inline_data`), calls that have no id are given
//! one, and answers to them are matched by their order and name. Settings that have no place in the
//! model of this crate are kept under their paths, such as `generationConfig.mediaResolution`.
//!
//! Answers are [read](decode) with patience. They are event streams, or [arrays](array) whose elements
//! come one by one. There is no last word: a stream ends when the connection does.
//!
//! # What is written
//!
//! [Requests](request::encode) of other protocols, with a list of what this one cannot say.
//! [Answers](encode) in which a call is always whole. What proves a thought stands in the part that
//! follows it; that of another protocol's vendor on the thought itself.

mod array;
mod decode;
mod embed;
mod encode;
mod error;
mod model;
pub(crate) mod proof;
mod request;
mod target;
#[cfg(test)]
mod tests;
mod usage;

#[cfg_attr(not(feature = "client"), allow(unused_imports))]
pub(crate) use self::{
    array::{Cutter, elements, joined},
    target::ends_in_method,
};

use super::{
    Ask, Asked, Codec, Decode, Encode, Encoded, ErrorAnswer, Framing, Maker, Scan, Target, fault,
    peek, proofs,
};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Error, Operation, Protocol, Usage, VendorError, Wire, request::Typed,
        serve::Model,
    },
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// The codec.
pub(crate) struct Gemini;

/// Under which name a number of tokens for thoughts is kept.
pub(crate) const BUDGET: &str = "generationConfig.thinkingConfig.thinkingBudget";

/// An error as the last element of an array.
pub(crate) fn error_element(error: &Error) -> BytesMut {
    BytesMut::from(&error::write_element(error)[..])
}

/// The bytes of a client of this protocol.
fn own(request: &ChatRequest) -> Option<&Wire> {
    request
        .wire()
        .filter(|wire| wire.protocol == Protocol::Gemini)
}

impl Codec for Gemini {
    fn target(&self, path: &str, query: Option<&str>) -> Option<(Target, Arc<str>)> {
        target::of(path, query)
    }

    fn peek(&self, ask: &Ask, body: Bytes) -> Result<ChatRequest, Rejection> {
        peek::peek(Protocol::Gemini, ask, &body)
    }

    fn parse(&self, operation: Operation, body: &[u8]) -> Result<Typed, Rejection> {
        match operation {
            Operation::Embeddings => embed::parse(body).map(Typed::Embed),
            _ => request::parse(body, false).map(Typed::Chat),
        }
    }

    fn parse_beside(&self, body: &[u8]) -> Result<Typed, Rejection> {
        request::parse(body, true).map(Typed::Chat)
    }

    fn asked(&self, request: &ChatRequest) -> Asked {
        let framing = match own(request) {
            _ if !request.streams() => Framing::Json,
            Some(wire) if wire.query.is_none() => Framing::Array,
            _ => Framing::Sse,
        };
        let single = request.operation() == Operation::Embeddings
            && own(request).is_some_and(|wire| !embed::is_batch(&wire.bytes));
        Asked {
            operation: request.operation(),
            model: request.model().clone(),
            framing,
            include_usage: true,
            base64: false,
            single,
            repeated: None,
        }
    }

    fn encode_models(&self, models: &[Model]) -> Value {
        target::list(models)
    }

    fn encode_model(&self, model: &Model) -> Value {
        target::model(model)
    }

    fn encoder(&self, asked: Asked) -> Box<dyn Encode> {
        match asked.framing {
            Framing::Json => Box::new(encode::Document::new(asked)),
            _ => Box::new(encode::Stream::new(asked)),
        }
    }

    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        error::write(error)
    }

    fn encode_error_event(&self, error: &Error) -> Bytes {
        error::write_event(error)
    }

    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        let wire = own(request);
        let method = match request.operation() {
            Operation::CountTokens => "countTokens",
            Operation::Embeddings => match wire {
                Some(wire) if !embed::is_batch(&wire.bytes) => "embedContent",
                _ => "batchEmbedContents",
            },
            _ if !request.streams() => "generateContent",
            _ => match wire {
                Some(wire) if wire.query.is_none() => "streamGenerateContent",
                _ => "streamGenerateContent?alt=sse",
            },
        };
        format!("{}:{method}", target::escaped(request.model())).into()
    }

    fn models_path(&self) -> &'static str {
        "/models?pageSize=1000"
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (HeaderName::from_static("x-goog-api-key"), "")
    }

    fn headers(&self, _: Option<&ChatRequest>, _: &mut HeaderMap) {}

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        if let Some(wire) = own(request)
            && let Some(bytes) = proofs::homeward(wire.bytes.clone(), to)
        {
            return Ok(match request.operation() {
                Operation::Embeddings | Operation::CountTokens => {
                    embed::renamed(&bytes, request.model())?.into()
                }
                _ => bytes.into(),
            });
        }
        match request.operation() {
            Operation::Embeddings => embed::write(request, request.embedding()?),
            _ => request::encode(request, request.chat()?, to),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, _: Option<Usage>) -> Scan {
        Scan {
            usage: usage::scan(raw, framing),
            error: fault::scan(raw, framing),
        }
    }

    /// Calls, and why it ended, are held back until they are whole.
    fn mixes(&self) -> bool {
        false
    }

    /// There is no last word, but a reason for the end, or the end of an array.
    fn is_end(&self, raw: &[u8]) -> bool {
        array::is_end(raw) || memchr::memmem::rfind(raw, b"\"finishReason\"").is_some()
    }

    /// It is a part of events that say other things, too, and every client expects it.
    fn without_usage(&self, raw: Bytes) -> Bytes {
        raw
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        let error = fault::read(Protocol::Gemini, status, headers, body);
        error::with_delay(error, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        target::models(body)
    }
}
