//! Amazon Bedrock's Converse and ConverseStream, as a client.
//!
//! # What is read
//!
//! Answers are [read](decode) with patience: events, blocks and fields that nobody knows are passed over,
//! or kept in `bedrock_content` of the message. What a guardrail found is kept as `trace` of the choice.
//! A stream is of [binary frames](frame), whose sums are checked where it is cut.
//!
//! # What is written
//!
//! [Requests](request::encode), with a list of what the protocol cannot say. Pictures and documents are
//! sent as bytes; one that is somewhere else is refused, whatever it is: to fetch it is not for a gateway, and
//! a bucket (`s3://…`) would be opened with the gateway's own credentials.
//!
//! What a client says in fields that are the protocol's own (`guardrailConfig`, `performanceConfig`,
//! `requestMetadata`, `serviceTier`, `additionalModelRequestFields` and its like) goes along, whatever
//! protocol the client speaks.

mod citation;
mod decode;
mod error;
pub(crate) mod frame;
mod model;
mod request;
#[cfg(test)]
mod tests;
mod usage;

#[cfg(all(feature = "client", feature = "tokens"))]
pub(crate) use self::model::counts;

use super::{Codec, Decode, Encoded, Framing, Maker, Scan};
use crate::{
    Rejection,
    llm::{ChatRequest, Operation, Protocol, Usage, VendorError, request::Wire},
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use std::{borrow::Cow, fmt::Write};

/// The codec.
pub(crate) struct Bedrock;

/// The content type of a stream.
pub(crate) const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// Bytes that are in this protocol's words already.
fn own(request: &ChatRequest) -> Option<&Wire> {
    request
        .wire()
        .filter(|wire| wire.protocol == Protocol::Bedrock)
}

fn streams(request: &ChatRequest) -> bool {
    let converses = matches!(
        request.operation(),
        Operation::Chat | Operation::Completions
    );
    converses && request.streams()
}

impl Codec for Bedrock {
    fn path(&self, request: &ChatRequest) -> Cow<'static, str> {
        let model = request.model();
        match request.operation() {
            // It counts for models, and not for profiles of them.
            Operation::CountTokens => path(model::foundation(model), "count-tokens").into(),
            _ if streams(request) => path(model, "converse-stream").into(),
            _ => path(model, "converse").into(),
        }
    }

    fn models_path(&self) -> &'static str {
        "/foundation-models?byOutputModality=TEXT"
    }

    /// Newer models answer to the names of profiles only.
    fn more_models_path(&self) -> Option<&'static str> {
        Some("/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED")
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (header::AUTHORIZATION, "Bearer ")
    }

    fn headers(&self, request: Option<&ChatRequest>, out: &mut HeaderMap) {
        if request.is_some_and(streams) {
            out.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        }
    }

    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
        if let Some(wire) = own(request) {
            return Ok(wire.bytes.clone().into());
        }
        match request.operation() {
            Operation::Embeddings => Err(Kind::NotSupported.into()),
            _ => request::encode(request, request.chat()?, to),
        }
    }

    fn scan(&self, raw: &[u8], framing: Framing, _: Option<Usage>) -> Scan {
        let error = match framing {
            Framing::EventStream => frame::frames(raw).find_map(|frame| error::within(&frame)),
            _ => None,
        };
        Scan {
            usage: usage::scan(raw, framing),
            error: error.map(Box::new),
        }
    }

    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode> {
        Box::new(decode::Decoder::new(operation, framing))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError {
        error::read(status, headers, body)
    }

    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>> {
        let all: Value = serde_json::from_slice(body).ok()?;
        let text = |one: &Value, key: &str| one.get(key)?.as_str().map(str::to_owned);
        let on_demand = |one: &&Value| {
            let ways = one.get("inferenceTypesSupported").and_then(Value::as_array);
            ways.is_none_or(|ways| ways.iter().any(|way| way == "ON_DEMAND"))
        };
        if let Some(models) = all.get("modelSummaries").and_then(Value::as_array) {
            let models = models.iter().filter(on_demand);
            return Some(models.filter_map(|one| text(one, "modelId")).collect());
        }
        let profiles = all.get("inferenceProfileSummaries")?.as_array()?;
        let profiles = profiles.iter();
        Some(
            profiles
                .filter_map(|one| text(one, "inferenceProfileId"))
                .collect(),
        )
    }
}

/// The path of a model, whose name may be an ARN with slashes and colons.
fn path(model: &str, operation: &str) -> String {
    let mut out = String::from("/model/");
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out.push('/');
    out.push_str(operation);
    out
}
