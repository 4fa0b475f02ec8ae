//! Anthropic Messages.
//!
//! # What is read
//!
//! A request is peeked at, and goes on as the bytes it came in to a vendor of this protocol, unless
//! someone edits it. When it is [read](request) whole, each kind of block has a place in the model of
//! this crate; blocks and tools of the vendor's own (searches, code that it runs, other servers) are
//! kept whole.
//!
//! Answers are [read](decode) with patience: events that nobody knows are passed over, and blocks that
//! nobody knows are kept in `content_blocks` of the message.
//!
//! # What is written
//!
//! [Requests](request::encode) of other protocols, with a list of what this one cannot say.
//! [Streams](encode) in the strict order of the protocol: one block after the other, each with a start
//! and an end. Pieces of a call that come while another one is open are held back until that is
//! closed.

mod decode;
mod encode;
pub(crate) mod error;
pub(crate) mod model;
mod request;
mod target;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use self::request::{schema, thinking};

use super::{
    Ask, Asked, Codec, Decode, Encode, Encoded, ErrorAnswer, Framing, Maker, Scan, Target, fault,
    peek, proofs, sse,
};
use crate::{
    Extensible, Rejection,
    llm::{
        ChatRequest, Error, Operation, Protocol, Usage, VendorError, request::Typed, serve::Model,
    },
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// The codec.
pub(crate) struct Anthropic;

const KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

impl Codec for Anthropic {
    fn target(&self, path: &str, query: Option<&str>) -> Option<(Target, Arc<str>)> {
        target::of(path, query)
    }

    fn peek(&self, ask: &Ask, body: Bytes) -> Result<ChatRequest, Rejection> {
        peek::peek(Protocol::Anthropic, ask, &body)
    }

    fn parse(&self, _: Operation, body: &[u8]) -> Result<Typed, Rejection> {
        request::parse(body, false).map(Typed::Chat)
    }

    fn parse_beside(&self, body: &[u8]) -> Result<Typed, Rejection> {
        request::parse(body, true).map(Typed::Chat)
    }

    fn asked(&self, request: &ChatRequest) -> Asked {
        let framing = match request.streams() {
            true => Framing::Sse,
            false => Framing::Json,
        };
        Asked {
            operation: request.operation(),
            model: request.model().clone(),
            framing,
            include_usage: true,
            base64: false,
            single: false,
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
            Framing::Sse => Box::new(encode::Stream::new(asked)),
            _ => Box::new(encode::Document::new(asked)),
        }
    }

    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        error::write(error)
    }

    fn encode_error_event(&self, error: &Error) -> Bytes {
        error::write_event(error, None)
    }

    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        let path = match request.operation() {
            Operation::CountTokens => "/messages/count_tokens",
            _ => "/messages",
        };
        let query = request.wire().and_then(|wire| match wire.protocol {
            Protocol::Anthropic => wire.query,
            _ => None,
        });
        match query {
            Some(query) => format!("{path}?{query}").into(),
            None => path.into(),
        }
    }

    fn models_path(&self) -> &'static str {
        "/models?limit=1000"
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (KEY, "")
    }

    fn headers(&self, request: Option<&ChatRequest>, out: &mut HeaderMap) {
        out.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        let own = request.filter(|request| request.origin() == Some(Protocol::Anthropic));
        let Some(said) = own.map(Extensible::headers) else {
            return;
        };
        if let Some(version) = said.get(VERSION) {
            out.insert(VERSION, version.clone());
        }
        for beta in said.get_all(BETA) {
            out.append(BETA, beta.clone());
        }
    }

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        if let Some(wire) = request.wire()
            && wire.protocol == Protocol::Anthropic
            && let Some(bytes) = proofs::homeward(peek::splice(request, wire)?, to)
        {
            return Ok(bytes.into());
        }
        match request.operation() {
            Operation::Embeddings => Err(Kind::NotSupported.into()),
            _ => request::encode(request, request.chat()?, to),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, before: Option<Usage>) -> Scan {
        Scan {
            usage: usage::scan(raw, framing, before),
            error: fault::scan(raw, framing),
        }
    }

    /// A block has a number, a start and an end.
    fn mixes(&self) -> bool {
        false
    }

    fn is_end(&self, raw: &[u8]) -> bool {
        memchr::memmem::rfind(raw, b"message_stop").is_some()
            && sse::events(raw).any(|event| match event.event {
                Some(name) => name == b"message_stop",
                None => decode::is_stop(&event.data),
            })
    }

    /// It is a part of events that say other things, too, and every client expects it.
    fn without_usage(&self, raw: Bytes) -> Bytes {
        raw
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        fault::read(Protocol::Anthropic, status, headers, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        super::openai::models(body)
    }
}

/// A text block.
fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}
