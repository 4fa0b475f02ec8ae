//! One codec per wire protocol, used in both directions.
//!
//! As a server, a codec decodes requests and encodes answers; as a client, the reverse. Its wire
//! structs are private to it. `N` protocols need `N` codecs to one model, never `N × M` translators.
//!
//! Laws, tested for every codec: `decode(encode(x)) == x` for what the protocol can express; the
//! events of a stream decode to the same completion however its bytes are cut; the accumulated
//! stream equals the answer in one piece.

// Without `client` there is nobody to be a client.
#![cfg_attr(not(feature = "client"), allow(dead_code))]

mod allowed;
pub(crate) mod anthropic;
pub(crate) mod base64;
pub(crate) mod bedrock;
pub(crate) mod cohere;
#[cfg(test)]
mod crossing;
pub(crate) mod custom;
pub(crate) mod envelope;
pub(crate) mod fault;
mod function;
pub(crate) mod gemini;
mod held;
mod hop;
pub(crate) mod lines;
mod literal;
pub(crate) mod loss;
mod messages;
mod mute;
mod names;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod peek;
#[cfg(test)]
#[path = "../../../tests/it/corpora/pieces.rs"]
mod pieces;
mod plain;
pub(crate) mod proofs;
#[cfg(test)]
mod reading;
#[cfg(test)]
pub(crate) mod recordings;
pub(crate) mod rerank;
pub(crate) mod responses;
pub(crate) mod skim;
pub(crate) mod sse;
mod translation;
mod turns;
pub(crate) mod value;
mod whole;
pub(crate) mod words;

#[cfg_attr(not(feature = "client"), allow(unused_imports))]
pub(crate) use self::hop::encoded;
pub(crate) use self::{
    envelope::{Maker, Sealer},
    loss::Losses,
    names::{Names, Numbered},
    translation::says,
};

use super::{
    Error, Event, Loss, VendorError,
    request::{ChatRequest, Operation, Protocol, Typed},
    serve::Model,
};
use crate::{Rejection, exchange::Usage, rejection::Kind};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// The codec of a protocol.
pub(crate) fn of(protocol: Protocol) -> &'static dyn Codec {
    match protocol {
        Protocol::OpenAi => &openai::OpenAi,
        Protocol::Responses => &responses::Responses,
        Protocol::Anthropic => &anthropic::Anthropic,
        Protocol::Gemini => &gemini::Gemini,
        Protocol::Bedrock => &bedrock::Bedrock,
        Protocol::Cohere => &cohere::Cohere,
        Protocol::Ollama => &ollama::Ollama,
    }
}

/// Whether an answer is a stream or one JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// `application/json`.
    Json,
    /// `application/json`: one array, whose elements come one by one.
    Array,
    /// `application/vnd.amazon.eventstream`: binary frames.
    EventStream,
    /// `application/x-ndjson`: a JSON document on each line.
    Ndjson,
    /// Bytes of any kind, passed on as they are.
    Opaque,
}

/// What a path asks of a model, and what it tells of the request besides.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) operation: Operation,
    /// The model's name, where it stands in the path.
    pub(crate) model: Option<String>,
    /// The wish for a stream, where it stands in the path.
    pub(crate) stream: Option<bool>,
    /// What of the query goes on to a vendor of the same protocol.
    pub(crate) query: Option<&'static str>,
}

impl From<Operation> for Ask {
    fn from(operation: Operation) -> Self {
        Self {
            operation,
            model: None,
            stream: None,
            query: None,
        }
    }
}

/// What a path asks for.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// An answer of a model.
    Model(Ask),
    /// The models there are, or the one of this name.
    List(Option<String>),
}

/// A request for a vendor.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) body: Bytes,
    /// What the protocol cannot say.
    pub(crate) losses: Vec<Loss>,
    /// Tools that have another name for the vendor.
    pub(crate) names: Names,
}

impl From<Bytes> for Encoded {
    /// A request that goes on as it is.
    fn from(body: Bytes) -> Self {
        Self {
            body,
            losses: Vec::new(),
            names: Names::default(),
        }
    }
}

/// What must be known of a request to read or write its answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    /// The name that the client used.
    pub(crate) model: Arc<str>,
    pub(crate) framing: Framing,
    /// Whether the client wants to see the usage of a stream.
    pub(crate) include_usage: bool,
    /// Whether vectors are asked for in base64 rather than as numbers.
    pub(crate) base64: bool,
    /// Whether one vector is asked for, and not a list of them.
    pub(crate) single: bool,
    /// Settings of the request that the answers of its protocol repeat, or depend on: the text of a JSON
    /// object. In OpenAI's chat, the text of an array: the names of tools that take any text.
    pub(crate) repeated: Option<Arc<str>>,
}

impl Asked {
    /// What any request tells.
    pub(crate) fn of(request: &ChatRequest) -> Self {
        Self {
            operation: request.operation(),
            model: request.model().clone(),
            framing: match request.streams() {
                true => Framing::Sse,
                false => Framing::Json,
            },
            include_usage: true,
            base64: false,
            single: false,
            repeated: None,
        }
    }
}

/// What was found in passing in bytes that nobody decodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// The last usage in them.
    pub(crate) usage: Option<Usage>,
    /// An error that the vendor reports in the middle of a stream, or inside a 200.
    pub(crate) error: Option<Box<VendorError>>,
}

/// An error in the words of a protocol.
#[derive(Clone, Debug)]
pub(crate) struct ErrorAnswer {
    pub(crate) status: StatusCode,
    /// A JSON document.
    pub(crate) body: Bytes,
}

/// A wire protocol, in both directions.
pub(crate) trait Codec: Send + Sync {
    // As a server. A protocol that is spoken to vendors alone has nothing to say here.

    /// What a path asks for, with its query, and the template of the path for labels; `None` if it is
    /// none of this protocol's.
    fn target(&self, _path: &str, _query: Option<&str>) -> Option<(Target, Arc<str>)> {
        None
    }

    /// What is told of a path that is none of this protocol's.
    fn unserved(&self, _path: &str) -> Rejection {
        Kind::NotSupported.into()
    }

    /// Reads what a gateway must know of a request (the model's name, whether to stream) and where in
    /// the bytes it stands. Nothing else is parsed, but all of it is checked to be JSON.
    ///
    /// Nothing is carried over yet: see `ChatRequest::with_carried`.
    fn peek(&self, _ask: &Ask, _body: Bytes) -> Result<ChatRequest, Rejection> {
        Err(Kind::NotSupported.into())
    }

    /// Reads the whole request. The error names the path of what is wrong.
    fn parse(&self, _operation: Operation, _body: &[u8]) -> Result<Typed, Rejection> {
        Err(Kind::NotSupported.into())
    }

    /// Reads what a conversation says beside a prompt of the gateway: it may be nothing.
    fn parse_beside(&self, _body: &[u8]) -> Result<Typed, Rejection> {
        Err(Kind::NotSupported.into())
    }

    /// What must be known of a request to write its answer in this protocol.
    fn asked(&self, request: &ChatRequest) -> Asked {
        Asked::of(request)
    }

    /// The models there are, as this protocol lists them.
    fn encode_models(&self, _models: &[Model]) -> Value {
        Value::Null
    }

    /// One of them.
    fn encode_model(&self, _model: &Model) -> Value {
        Value::Null
    }

    /// A writer for one answer.
    fn encoder(&self, _asked: Asked) -> Box<dyn Encode> {
        Box::new(mute::Mute)
    }

    /// An error in place of an answer. `Rejection` headers and `Retry-After` are written by the
    /// caller.
    fn encode_error(&self, error: &Error) -> ErrorAnswer {
        openai::OpenAi.encode_error(error)
    }

    /// An error in the middle of a stream: whole events, the last of it.
    fn encode_error_event(&self, _error: &Error) -> Bytes {
        Bytes::new()
    }

    // As a client.

    /// The path below a vendor's base URL, and the query.
    fn path(&self, request: &ChatRequest) -> Cow<'static, str>;

    /// The same for the list of its models.
    fn models_path(&self) -> &'static str;

    /// Where more of them are listed, if that is elsewhere.
    fn more_models_path(&self) -> Option<&'static str> {
        None
    }

    /// The header for a key, and what stands before the key in it.
    fn key_header(&self) -> (HeaderName, &'static str);

    /// Headers of the protocol. What a client of the same protocol says in them goes on.
    fn headers(&self, request: Option<&ChatRequest>, out: &mut HeaderMap);

    /// The request for a vendor: the client's own bytes with the smallest edit where it spoke this
    /// protocol, else the typed view. The usage of a stream is always asked for.
    fn encode_request(&self, request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection>;

    /// Whether a body, or an event stream, has what a ledger must know. Cheap: no full parse. What was
    /// `before` is the usage found so far, for those that tell it in parts. A byte order mark at the
    /// start of the stream is not passed here, nor to `without_usage`.
    fn scan(&self, raw: &[u8], framing: Framing, before: Option<Usage>) -> Scan;

    /// Whether what is encoded may stand between bytes that came so: no event refers to another.
    fn mixes(&self) -> bool {
        false
    }

    /// Whether the last word of a stream is in these whole events.
    fn is_end(&self, _raw: &[u8]) -> bool {
        false
    }

    /// Takes out of whole events those that were only sent because usage was asked for.
    fn without_usage(&self, raw: Bytes) -> Bytes {
        raw
    }

    /// A reader for one answer.
    fn decoder(&self, operation: Operation, framing: Framing) -> Box<dyn Decode>;

    /// Reads a vendor's answer that is not a success.
    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> VendorError;

    /// Reads a vendor's list of models: their ids.
    fn decode_models(&self, body: &[u8]) -> Option<Vec<String>>;
}

/// Writes one answer. An encoder has state: what was said before, and in which order.
pub(crate) trait Encode: Send {
    /// Writes what these events say. In one-piece framing nothing is written before the end.
    fn events(&mut self, events: Vec<Event>, out: &mut BytesMut);

    /// Writes the end.
    fn finish(&mut self, out: &mut BytesMut);

    /// Writes the end of a stream that breaks off, if that depends on what was said before. Else it says
    /// nothing, and an [event](Codec::encode_error_event) by itself does.
    fn fail(&mut self, _error: &Error, _out: &mut BytesMut) {}
}

/// Reads one answer. A decoder has state, so it must see all of the bytes, in order.
pub(crate) trait Decode: Send {
    /// Reads whole events, or the one document. An error that the vendor reports ends the answer.
    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error>;
}
