//! OpenAI Responses.
//!
//! # What is read
//!
//! A request is peeked at, and goes on as the bytes it came in to a vendor of this protocol, unless
//! someone edits it; only `"store":false` is put in where the client has left it open. Nothing is
//! [kept](kept) here, so what refers to another call is refused. When it is [read](request) whole,
//! items that follow one another in the assistant's turn are one message of the model of this crate;
//! items and tools of the vendor's own are kept whole.
//!
//! Answers are [read](decode) with patience: events that nobody knows are passed over, and items that
//! nobody knows are kept in `output_items` of the message.
//!
//! # What is written
//!
//! [Requests](request::encode) of other protocols, with a list of what this one cannot say.
//! [Streams](encode) in the strict order of the protocol: each event has its number, each item a
//! beginning and an end, and the last event holds all of the response, with what the request
//! [asked for](repeated).

mod decode;
mod encode;
mod error;
mod kept;
mod repeated;
mod request;
mod target;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use self::error::Trail;
pub(super) use self::request::{ITEM, answer, says_nothing, shared};

use super::{
    Ask, Asked, Codec, Decode, Encode, Encoded, ErrorAnswer, Framing, Maker, Scan, Target, fault,
    openai::OpenAi, peek, proofs,
};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Error, Operation, Protocol, Usage, VendorError, request::Typed, serve::Model,
    },
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// The codec.
pub(crate) struct Responses;

impl Codec for Responses {
    fn target(&self, path: &str, _: Option<&str>) -> Option<(Target, Arc<str>)> {
        target::of(path)
    }

    fn unserved(&self, path: &str) -> Rejection {
        target::unserved(path)
    }

    fn peek(&self, ask: &Ask, body: Bytes) -> Result<ChatRequest, Rejection> {
        let mut request = peek::peek(Protocol::Responses, ask, &body)?;
        if let Some(wire) = request.wire_mut() {
            kept::check(wire)?;
            if ask.operation == Operation::CountTokens {
                // Nothing is made that could be kept.
                wire.decided = None;
            }
        }
        Ok(request)
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
        let wire = request.wire();
        Asked {
            operation: request.operation(),
            model: request.model().clone(),
            framing,
            include_usage: true,
            base64: false,
            single: false,
            repeated: wire.map(|wire| repeated::of(&wire.bytes)),
        }
    }

    fn encode_models(&self, models: &[Model]) -> Value {
        OpenAi.encode_models(models)
    }

    fn encode_model(&self, model: &Model) -> Value {
        OpenAi.encode_model(model)
    }

    fn encoder(&self, asked: Asked) -> Box<dyn Encode> {
        Box::new(encode::Encoder::new(asked))
    }

    /// The two protocols of the vendor have one form of errors.
    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        OpenAi.encode_error(error)
    }

    fn encode_error_event(&self, error: &Error) -> Bytes {
        error::write_event(error)
    }

    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        Cow::Borrowed(match request.operation() {
            Operation::CountTokens => "/responses/input_tokens",
            _ => "/responses",
        })
    }

    fn models_path(&self) -> &'static str {
        OpenAi.models_path()
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        OpenAi.key_header()
    }

    fn headers(&self, _: Option<&ChatRequest>, _: &mut HeaderMap) {}

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        if let Some(wire) = request.wire()
            && wire.protocol == Protocol::Responses
            && let Some(bytes) = proofs::homeward(peek::splice(request, wire)?, to)
        {
            return Ok(bytes.into());
        }
        match request.operation() {
            Operation::Chat | Operation::Completions | Operation::CountTokens => {
                request::encode(request, request.chat()?, to)
            }
            // What nobody could make anything of is the client's fault, whoever is asked.
            Operation::Rerank => {
                request.reranking()?;
                Err(Kind::NotSupported.into())
            }
            _ => Err(Kind::NotSupported.into()),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, _: Option<Usage>) -> Scan {
        Scan {
            usage: usage::scan(raw, framing),
            error: error::scan(raw, framing),
        }
    }

    /// An event has a number, and names the item that it belongs to.
    fn mixes(&self) -> bool {
        false
    }

    fn is_end(&self, raw: &[u8]) -> bool {
        decode::has_end(raw)
    }

    /// It is a part of the last event.
    fn without_usage(&self, raw: Bytes) -> Bytes {
        raw
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        fault::read(Protocol::OpenAi, status, headers, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        OpenAi.decode_models(body)
    }
}
