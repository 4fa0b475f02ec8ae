//! OpenAI Chat Completions.

use super::{Asked, Codec, Decode, Encode, ErrorAnswer, Framing, Scan};
use crate::{
    Rejection,
    llm::{ChatRequest, Error, Operation, VendorError, request::Typed},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// The codec.
pub(crate) struct OpenAi;

impl Codec for OpenAi {
    fn peek(&self, _: Operation, _: Bytes) -> Result<ChatRequest, Rejection> {
        unimplemented!()
    }
    fn parse(&self, _: Operation, _: &[u8]) -> Result<Typed, Rejection> {
        unimplemented!()
    }
    fn asked(&self, _: &ChatRequest) -> Asked {
        unimplemented!()
    }
    fn encoder(&self, _: Asked) -> Box<dyn Encode> {
        unimplemented!()
    }
    fn encode_error(&self, _: &Error) -> ErrorAnswer {
        unimplemented!()
    }
    fn encode_error_event(&self, _: &Error) -> Bytes {
        unimplemented!()
    }
    fn path(&self, _: &ChatRequest) -> &'static str {
        unimplemented!()
    }
    fn encode_request(&self, _: &ChatRequest) -> Result<Bytes, Rejection> {
        unimplemented!()
    }
    fn scan(&self, _: &[u8], _: Framing) -> Scan {
        unimplemented!()
    }
    fn without_usage(&self, _: Bytes) -> Bytes {
        unimplemented!()
    }
    fn decoder(&self, _: Operation, _: Framing) -> Box<dyn Decode> {
        unimplemented!()
    }
    fn decode_error(&self, _: StatusCode, _: &HeaderMap, _: &Bytes) -> VendorError {
        unimplemented!()
    }
    fn decode_models(&self, _: &[u8]) -> Option<Vec<String>> {
        unimplemented!()
    }
}
