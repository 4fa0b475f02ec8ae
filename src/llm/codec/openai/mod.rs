//! OpenAI Chat Completions, with its embeddings and its older completions: the protocol that most
//! vendors speak, each in its own way.
//!
//! # What is read
//!
//! A request is [peeked](peek) at, and goes on as the bytes it came in, unless someone edits it.
//! When it is [read](request) whole, faults are named by their path, a field that stands there twice
//! is refused, and unknown fields are kept.
//!
//! Answers are [read](decode) with patience: what recorded traffic of a dozen vendors shows is
//! understood, and only what is no JSON at all is an error. `[DONE]` is understood and not required.
//!
//! # What is written
//!
//! [Streams](encode::Chunks) have one id, time and model, the role in the first chunk of a choice,
//! usage only if it was asked for, and `[DONE]`, but not after an error. What the protocol has no
//! field for stands where most vendors have put it: thoughts in `reasoning_content`, their proofs in
//! `reasoning_details`. What vendors put into fields of their own, for such a purpose, is
//! [carried] to clients of other protocols and back.

mod carried;
mod decode;
mod embed;
mod encode;
mod error;
mod foreign;
mod marked;
mod request;
mod target;
#[cfg(test)]
mod tests;
mod thought;
mod usage;
mod wire;

use super::{
    Ask, Asked, Codec, Decode, Encode, Encoded, ErrorAnswer, Framing, Maker, Scan, Target, custom,
    fault, peek, proofs, rerank, sse,
};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Error, Operation, Protocol, Usage, VendorError, request::Typed, serve::Model,
    },
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// The codec.
pub(crate) struct OpenAi;

#[cfg_attr(not(feature = "client"), allow(unused_imports))]
pub(super) use self::target::models;
pub(super) use self::{
    carried::Carrier,
    foreign::{effort, sampling},
    request::reasons,
};

impl Codec for OpenAi {
    fn target(&self, path: &str, _: Option<&str>) -> Option<(Target, Arc<str>)> {
        target::of(path)
    }

    fn peek(&self, ask: &Ask, body: Bytes) -> Result<ChatRequest, Rejection> {
        peek::peek(Protocol::OpenAi, ask, &body)
    }

    fn parse(&self, operation: Operation, body: &[u8]) -> Result<Typed, Rejection> {
        request::parse(operation, body)
    }

    fn parse_beside(&self, body: &[u8]) -> Result<Typed, Rejection> {
        request::parse_beside(body).map(Typed::Chat)
    }

    fn asked(&self, request: &ChatRequest) -> Asked {
        let base64 = request.operation() == Operation::Embeddings
            && match request.wire() {
                Some(wire) => peek::asks_base64(&wire.bytes),
                None => request.embedding().is_ok_and(|embed| {
                    embed.extra.get("encoding_format") == Some(&Value::from("base64"))
                }),
            };
        let framing = match request.streams() {
            true => Framing::Sse,
            false => Framing::Json,
        };
        Asked {
            operation: request.operation(),
            model: request.model().clone(),
            framing,
            include_usage: request.streams() && request.includes_usage(),
            base64,
            single: false,
            repeated: custom::asked(request),
        }
    }

    fn encode_models(&self, models: &[Model]) -> Value {
        let data: Vec<_> = models.iter().map(target::model).collect();
        json!({"object": "list", "data": data})
    }

    fn encode_model(&self, model: &Model) -> Value {
        target::model(model)
    }

    fn encoder(&self, asked: Asked) -> Box<dyn Encode> {
        match asked.framing {
            Framing::Sse => Box::new(encode::Chunks::new(asked)),
            _ => Box::new(encode::Document::new(asked)),
        }
    }

    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        error::write(error)
    }

    fn encode_error_event(&self, error: &Error) -> Bytes {
        error::write_event(error)
    }

    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        Cow::Borrowed(match request.operation() {
            Operation::Chat | Operation::CountTokens => "/chat/completions",
            Operation::Completions => "/completions",
            Operation::Embeddings => "/embeddings",
            Operation::Rerank => "/rerank",
            Operation::Passthrough(asked) => asked.path(),
        })
    }

    fn models_path(&self) -> &'static str {
        "/models"
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (AUTHORIZATION, "Bearer ")
    }

    fn headers(&self, _: Option<&ChatRequest>, _: &mut HeaderMap) {}

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        if let Some(wire) = request.wire()
            && wire.protocol == Protocol::OpenAi
            && let Some(bytes) = proofs::homeward(peek::splice(request, wire)?, to)
        {
            return Ok(bytes.into());
        }
        match request.operation() {
            Operation::Chat | Operation::Completions => foreign::encode(request, to),
            Operation::CountTokens | Operation::Passthrough(_) => Err(Kind::NotSupported.into()),
            Operation::Embeddings => foreign::embed(request, request.embedding()?),
            Operation::Rerank => rerank::write(request, false),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, _: Option<Usage>) -> Scan {
        Scan {
            usage: usage::scan(raw, framing),
            error: fault::scan(raw, framing),
        }
    }

    fn mixes(&self) -> bool {
        true
    }

    fn is_end(&self, raw: &[u8]) -> bool {
        memchr::memmem::rfind(raw, b"[DONE]").is_some()
            && sse::events(raw).any(|event| event.data.trim_ascii() == b"[DONE]")
    }

    fn without_usage(&self, raw: Bytes) -> Bytes {
        usage::without(raw)
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        fault::read(Protocol::OpenAi, status, headers, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        target::models(body)
    }
}
