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
//! `reasoning_details`.

mod base64;
mod decode;
mod embed;
mod encode;
mod error;
mod peek;
mod request;
#[cfg(test)]
mod tests;
mod thought;
mod usage;
mod value;
mod wire;

use super::{Asked, Codec, Decode, Encode, ErrorAnswer, Framing, Scan};
use crate::{
    Rejection,
    llm::{ChatRequest, Error, Operation, Protocol, VendorError, request::Typed},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// The codec.
pub(crate) struct OpenAi;

impl Codec for OpenAi {
    fn peek(&self, operation: Operation, body: Bytes) -> Result<ChatRequest, Rejection> {
        peek::peek(operation, body)
    }

    fn parse(&self, operation: Operation, body: &[u8]) -> Result<Typed, Rejection> {
        request::parse(operation, body)
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
        }
    }

    fn encoder(&self, asked: Asked) -> Box<dyn Encode> {
        match asked.framing {
            Framing::Sse => Box::new(encode::Chunks::new(asked)),
            Framing::Json => Box::new(encode::Document::new(asked)),
        }
    }

    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        error::write(error)
    }

    fn encode_error_event(&self, error: &Error) -> Bytes {
        error::write_event(error)
    }

    fn path(&self, request: &ChatRequest) -> &'static str {
        match request.operation() {
            Operation::Chat => "/chat/completions",
            Operation::Completions => "/completions",
            Operation::Embeddings => "/embeddings",
        }
    }

    fn encode_request(&self, request: &ChatRequest) -> Result<Bytes, Rejection> {
        if let Some(wire) = request.wire() {
            if wire.protocol == Protocol::OpenAi {
                return peek::splice(request, wire);
            }
        }
        let body = match request.operation() {
            Operation::Chat | Operation::Completions => {
                request::write_chat(request, request.chat()?)?
            }
            Operation::Embeddings => request::write_embed(request, request.embedding()?),
        };
        Ok(body.to_string().into())
    }

    fn scan(&self, raw: &[u8], framing: Framing) -> Scan {
        Scan {
            usage: usage::scan(raw, framing),
            error: decode::scan_error(raw, framing),
        }
    }

    fn without_usage(&self, raw: Bytes) -> Bytes {
        usage::without(raw)
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        error::read(status, headers, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        models(body)
    }
}

/// A vendor that lists more is not believed.
const MOST_MODELS: usize = 10_000;

/// `{"data":[{"id":…}]}`; some call it `models`, and some have no object around the list.
fn models(body: &[u8]) -> Option<Vec<String>> {
    let whole: Value = serde_json::from_slice(body).ok()?;
    let list = match &whole {
        Value::Array(list) => list,
        whole => whole.get("data").or(whole.get("models"))?.as_array()?,
    };
    let name = |model: &Value| {
        let id = model.get("id").or(model.get("name"));
        id.unwrap_or(model).as_str().map(str::to_owned)
    };
    Some(list.iter().filter_map(name).take(MOST_MODELS).collect())
}
