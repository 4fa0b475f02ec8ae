//! A chat service as an HTTP service, in the words of the client.
//!
//! [`Serve`] stands between the two planes: it reads a request in the protocol of its path, hands it
//! to a `Service<ChatRequest>`, and writes the answer in the same protocol. Headers and extensions go
//! over from one plane to the other, both ways.
//!
//! | path | |
//! |---|---|
//! | `POST /v1/chat/completions`, `/v1/completions`, `/v1/embeddings` | OpenAI |
//! | `GET /v1/models`, `/v1/models/{id}` | what [`models`](Serve::models) lists |
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use tower::ServiceExt;
//! use tower_gateway::llm::{Simulator, serve::Serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let serve = Serve::new(Simulator::new());
//! let body = r#"{"model":"sim-chat","messages":[{"role":"user","content":"Hello"}]}"#;
//! let request = Request::post("/v1/chat/completions")
//!     .header("content-type", "application/json")
//!     .body(Full::new(Bytes::from(body)))?;
//! let response = serve.oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
//! # assert!(std::str::from_utf8(&bytes)?.contains("chat.completion"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is read
//!
//! The body must be JSON: `content-type: application/json`, else 415. It may be compressed with
//! `gzip` (of one member) or `deflate`. It has at most [`limit`](Serve::limit) bytes before and after,
//! 32 MiB by default, else 413; what is longer is not read on. It has
//! [two minutes](Serve::body_time) to arrive, else 408. Of a request for a vendor of the same protocol
//! only the model's name and the wish for a stream are parsed.
//!
//! # What is written
//!
//! The bytes of a vendor that speaks the client's protocol, as they came; else the events, encoded.
//! When an answer breaks off after its head, the client gets whole events, one error event in its
//! protocol, and the end.
//!
//! # Cancellation
//!
//! A client that hangs up drops the answer, and with it the call upstream.

use super::{
    ChatRequest, ChatResponse, Error, Framing, Operation, Protocol, Want,
    codec::{self, Asked, Encode},
    dialect,
    event::{Event, Start},
    response::MOST_WHOLE,
};
use crate::{
    Body, BoxError, CollectError, End, Exchange, Reject, Rejection, collect,
    principal::{Carried, Extensible},
    problem,
    rejection::Kind,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::{Body as HttpBody, Frame};
use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io::Read,
    mem,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_service::Service;

/// 32 MiB: room for a conversation with pictures, and a bound on what a caller can make us hold.
const LIMIT: usize = 32 << 20;

/// Two minutes for all of a body: a caller that trickles holds a connection and a buffer.
const TIME: Duration = Duration::from_secs(120);

/// Serves a chat service over HTTP.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Serve<S> {
    chat: S,
    models: Arc<dyn Models>,
    bounds: Bounds,
}

/// What is read of a request.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: usize,
    time: Duration,
}

impl<S> Serve<S> {
    /// Serves this, lists no models, and reads bodies of at most 32 MiB.
    #[must_use]
    pub fn new(chat: S) -> Self {
        Self {
            chat,
            models: Arc::new(Vec::new()),
            bounds: Bounds {
                bytes: LIMIT,
                time: TIME,
            },
        }
    }

    /// Sets what `GET /v1/models` lists.
    #[must_use]
    pub fn models(mut self, models: impl Models) -> Self {
        self.models = Arc::new(models);
        self
    }

    /// Sets how many bytes a body has at the most, before and after it is decompressed.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Sets how long the body of a request may take to arrive. Then the answer is 408.
    #[must_use]
    pub fn body_time(mut self, time: Duration) -> Self {
        self.bounds.time = time;
        self
    }
}

impl<S: fmt::Debug> fmt::Debug for Serve<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("chat", &self.chat)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// A model that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// Its name.
    pub id: Arc<str>,
    /// Who runs it.
    pub owner: Arc<str>,
}

impl Model {
    /// A model and who runs it.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, owner: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            owner: owner.into(),
        }
    }
}

/// What models are offered.
pub trait Models: Send + Sync + 'static {
    /// All of them, for the caller of this request.
    fn list(&self) -> Pin<Box<dyn Future<Output = Vec<Model>> + Send + '_>>;
}

impl Models for Vec<Model> {
    fn list(&self) -> Pin<Box<dyn Future<Output = Vec<Model>> + Send + '_>> {
        Box::pin(async { self.clone() })
    }
}

impl<S, B> Service<Request<B>> for Serve<S>
where
    S: Service<ChatRequest, Response = ChatResponse> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    // The body is read before the inner service is called: its readiness is awaited there.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let target = Target::of(request.method(), request.uri().path());
        if let (Ok(target), Some(exchange)) = (&target, Exchange::of(&request)) {
            exchange.update(|facts| facts.route = Some(target.template()));
        }
        let protocol = dialect::of_path(request.uri().path()).unwrap_or(Protocol::OpenAi);
        let serve = self.clone();
        ResponseFuture(Box::pin(async move {
            Ok(match target {
                Ok(Target::Ask(operation)) => serve.answer(protocol, operation, request).await,
                Ok(Target::List(id)) => serve.list(protocol, id).await,
                Err(rejection) if rejection.kind() == Kind::NotFound => {
                    return Response::reject(rejection);
                }
                Err(rejection) => refusal(protocol, &rejection.into()),
            })
        }))
    }
}

/// Response future of [`Serve`].
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What a path asks for.
enum Target {
    Ask(Operation),
    List(Option<String>),
}

impl Target {
    /// Its path, for labels. Made once, and shared.
    fn template(&self) -> Arc<str> {
        static TEMPLATES: LazyLock<[Arc<str>; 5]> = LazyLock::new(|| {
            [
                "/v1/chat/completions".into(),
                "/v1/completions".into(),
                "/v1/embeddings".into(),
                "/v1/models".into(),
                "/v1/models/{id}".into(),
            ]
        });
        let index = match self {
            Self::Ask(Operation::Chat) => 0,
            Self::Ask(Operation::Completions) => 1,
            Self::Ask(Operation::Embeddings) => 2,
            Self::List(None) => 3,
            Self::List(Some(_)) => 4,
        };
        TEMPLATES[index].clone()
    }

    fn of(method: &Method, path: &str) -> Result<Self, Rejection> {
        let (target, allowed) = match path {
            "/v1/chat/completions" => (Self::Ask(Operation::Chat), Method::POST),
            "/v1/completions" => (Self::Ask(Operation::Completions), Method::POST),
            "/v1/embeddings" => (Self::Ask(Operation::Embeddings), Method::POST),
            "/v1/models" => (Self::List(None), Method::GET),
            _ => match path.strip_prefix("/v1/models/") {
                Some(id) if !id.is_empty() => (Self::List(Some(decoded(id))), Method::GET),
                _ if path.starts_with("/v1/") => return Err(Kind::NotSupported.into()),
                _ => return Err(Kind::NotFound.into()),
            },
        };
        if *method == allowed || (*method == Method::HEAD && allowed == Method::GET) {
            return Ok(target);
        }
        let allow = HeaderValue::from_static(if allowed == Method::POST {
            "POST"
        } else {
            "GET, HEAD"
        });
        Err(Rejection::new(Kind::MethodNotAllowed).with_header(header::ALLOW, allow))
    }
}

/// The name of a model in a path, where clients escape slashes and colons. What is not an escape
/// stays.
fn decoded(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let escape = rest.get(..2).filter(|_| *first == b'%');
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(*first));
        bytes = if value.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl<S> Serve<S> {
    async fn list(self, protocol: Protocol, id: Option<String>) -> Response<Body> {
        let models = self.models.list().await;
        let entry = |model: &Model| serde_json::json!({"id": &*model.id, "object": "model", "created": 0, "owned_by": &*model.owner});
        let body = match id {
            None => {
                let data: Vec<_> = models.iter().map(entry).collect();
                serde_json::json!({"object": "list", "data": data})
            }
            Some(id) => match models.iter().find(|model| *model.id == *id) {
                Some(model) => entry(model),
                None => {
                    let unknown = Rejection::new(Kind::ModelNotFound).with_param("model");
                    return refusal(protocol, &unknown.into());
                }
            },
        };
        let mut response = Response::new(Body::from(body.to_string()));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    }

    async fn answer<B>(
        mut self,
        protocol: Protocol,
        operation: Operation,
        request: Request<B>,
    ) -> Response<Body>
    where
        S: Service<ChatRequest, Response = ChatResponse>,
        S::Error: Into<Error>,
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let exchange = Exchange::of(&request).cloned();
        let answer = async {
            let request = read(protocol, operation, request, self.bounds).await?;
            let asked = codec::of(protocol).asked(&request);
            poll_fn(|cx| self.chat.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let answer = self.chat.call(request).await.map_err(Into::into)?;
            Ok((answer, asked))
        };
        let answer = match answer.await {
            Ok((answer, asked)) => {
                written(
                    followed(answer, exchange.clone()),
                    protocol,
                    asked,
                    exchange.clone(),
                )
                .await
            }
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| {
            tell(exchange.as_ref(), &error);
            refusal(protocol, &error)
        })
    }
}

async fn read<B>(
    protocol: Protocol,
    operation: Operation,
    request: Request<B>,
    bounds: Bounds,
) -> Result<ChatRequest, Error>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    is_json(&parts.headers)?;
    let body = tokio::time::timeout(bounds.time, collect(body, bounds.bytes))
        .await
        .map_err(|_| {
            Rejection::new(Kind::RequestTimeout)
                .with_header(header::CONNECTION, HeaderValue::from_static("close"))
        })?
        .map_err(|error| match error {
            CollectError::TooLarge => Rejection::new(Kind::TooLarge),
            CollectError::Broken(error) => match error.downcast::<Rejection>() {
                Ok(rejection) => *rejection,
                Err(error) => Rejection::new(Kind::InvalidRequest)
                    .with_detail("The body of the request broke off.")
                    .with_source(error),
            },
        })?;
    let body = decompressed(&parts.headers, body, bounds.bytes)?;
    let request = codec::of(protocol).peek(operation, body)?;
    Ok(request.with_carried(Carried {
        headers: parts.headers,
        extensions: parts.extensions,
    }))
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether the content type is one of JSON. An absent one is a mistake of the client, and no guess.
fn is_json(headers: &HeaderMap) -> Result<(), Rejection> {
    let of_json = |value: &HeaderValue| {
        let essence = value
            .to_str()
            .ok()?
            .split(';')
            .next()?
            .trim()
            .to_ascii_lowercase();
        let json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        json.then_some(())
    };
    headers
        .get(header::CONTENT_TYPE)
        .and_then(of_json)
        .ok_or_else(|| {
            Rejection::new(Kind::UnsupportedMediaType)
                .with_param("content-type")
                .with_detail("Expected the header `content-type: application/json`.")
        })
}

/// Undoes the content encoding. What comes out is bounded, whatever went in.
fn decompressed(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, Rejection> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Ok(body);
    };
    let mut out = Vec::new();
    let most = (limit as u64).saturating_add(1);
    let mut left = &*body;
    let read = match &*encoding.as_bytes().to_ascii_lowercase() {
        _ if encodings.next().is_some() => return Err(unknown_encoding()),
        b"" | b"identity" => return Ok(body),
        // One member: many that are empty cost time, and never come to the limit.
        b"gzip" | b"x-gzip" => flate2::bufread::GzDecoder::new(&mut left)
            .take(most)
            .read_to_end(&mut out),
        b"deflate" => flate2::bufread::ZlibDecoder::new(&mut left)
            .take(most)
            .read_to_end(&mut out),
        _ => return Err(unknown_encoding()),
    };
    if out.len() > limit {
        return Err(Rejection::new(Kind::TooLarge)
            .with_detail("The request is too large when decompressed."));
    }
    let wrong = || {
        Rejection::new(Kind::InvalidRequest)
            .with_param("content-encoding")
            .with_detail("The body is not in the encoding that its header names.")
    };
    read.map_err(|error| wrong().with_source(error))?;
    if !left.is_empty() {
        return Err(wrong().with_source("bytes after the end of what was compressed"));
    }
    Ok(out.into())
}

fn unknown_encoding() -> Rejection {
    Rejection::new(Kind::UnsupportedMediaType)
        .with_param("content-encoding")
        .with_detail("Expected one of the encodings gzip, deflate and identity.")
        .with_header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("gzip, deflate, identity"),
        )
}

/// Lets the exchange know what the answer came to.
fn followed(answer: ChatResponse, exchange: Option<Exchange>) -> ChatResponse {
    let Some(exchange) = exchange else {
        return answer;
    };
    answer.settle(move |end, summary| {
        exchange.update(|facts| {
            facts.usage = summary.usage;
            if let End::Failed(error) = end {
                facts.error = Some(error.kind().code());
            }
        });
    })
}

fn tell(exchange: Option<&Exchange>, error: &Error) {
    if let Some(exchange) = exchange {
        exchange.update(|facts| facts.error = Some(error.kind().code()));
    }
}

/// An error in place of an answer, in the words of a protocol.
///
/// The rejection is left in the extensions, and with it the mark that it was rendered.
fn refusal(protocol: Protocol, error: &Error) -> Response<Body> {
    let answer = codec::of(protocol).encode_error(error);
    let rejection = error.rejection().into_owned();
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    problem::write_headers(&rejection, headers);
    if let Error::Vendor(error) = error {
        headers.extend(error.headers().clone());
    }
    headers.insert(header::CONTENT_TYPE, JSON);
    response.extensions_mut().insert(rejection);
    response.extensions_mut().insert(dialect::Rendered);
    response
}

/// The answer as an HTTP response.
async fn written(
    mut answer: ChatResponse,
    protocol: Protocol,
    asked: Asked,
    exchange: Option<Exchange>,
) -> Result<Response<Body>, Error> {
    let headers = mem::take(answer.headers_mut());
    let extensions = mem::take(answer.extensions_mut());
    let framing = asked.framing;
    let mut body = ChatBody::new(answer, protocol, asked, exchange);
    let (body, content_type) = match framing {
        Framing::Sse => (
            Body::boxed(body),
            HeaderValue::from_static("text/event-stream"),
        ),
        Framing::Json => (Body::from(body.whole().await?), JSON),
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    *response.extensions_mut() = extensions;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if framing == Framing::Sse {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx and others in front of us hold event streams back unless they are told not to.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    Ok(response)
}

/// The bytes of an answer: the vendor's own where they are in the client's words, else encoded.
struct ChatBody {
    answer: ChatResponse,
    protocol: Protocol,
    asked: Asked,
    /// Whether the vendor's bytes are in the client's words.
    same: bool,
    /// Made when the first events must be encoded.
    encoder: Option<Box<dyn Encode>>,
    /// The head, seen in bytes that went out as they came, for an encoder that is made later.
    start: Option<Start>,
    /// How much came of an answer in one piece: none of it is let go before its end.
    size: usize,
    /// Whether the last bytes that went out as they came held the end.
    ended: bool,
    over: bool,
    exchange: Option<Exchange>,
}

impl ChatBody {
    /// Whoever needs more than bytes says so at the head, once.
    fn new(
        mut answer: ChatResponse,
        protocol: Protocol,
        asked: Asked,
        exchange: Option<Exchange>,
    ) -> Self {
        let same = answer.spoken().is_some_and(|spoken| {
            (spoken.protocol, spoken.framing, spoken.operation)
                == (protocol, asked.framing, asked.operation)
        });
        if !same {
            answer.want(Want::Events);
        }
        Self {
            answer,
            protocol,
            asked,
            same,
            encoder: None,
            start: None,
            size: 0,
            ended: false,
            over: false,
            exchange,
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let Some(batch) = ready!(self.answer.poll_batch(cx)).transpose()? else {
                self.over = true;
                return Poll::Ready(self.end().map(Ok));
            };
            if self.asked.framing == Framing::Json {
                self.size = self.size.saturating_add(batch.size());
                if self.size > MOST_WHOLE {
                    self.over = true;
                    return Poll::Ready(Some(Err(Kind::UpstreamTooLarge.into())));
                }
            }
            let raw = batch.raw().filter(|_| self.same).cloned();
            let bytes = match raw {
                Some(raw) => {
                    self.passed(&raw, batch.events());
                    raw
                }
                None => self.encoded(batch.into_events()),
            };
            if !bytes.is_empty() {
                self.begun(&bytes);
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }

    /// Remembers of bytes that go out as they came what an encoder would have to know later.
    fn passed(&mut self, raw: &Bytes, events: &[Event]) {
        // A chunk that holds nothing but the end has no events.
        if events.is_empty() && self.encoder.is_none() {
            return;
        }
        self.ended |= memchr::memmem::rfind(raw, b"[DONE]").is_some()
            && codec::sse::events(raw).any(|event| event.data.trim_ascii() == b"[DONE]");
        if self.start.is_none() {
            self.start = events.iter().find_map(|event| match event {
                Event::Start(start) => Some(start.clone()),
                _ => None,
            });
        }
    }

    fn encoded(&mut self, events: Vec<Event>) -> Bytes {
        let mut out = BytesMut::new();
        let encoder = self.encoder.get_or_insert_with(|| {
            let mut encoder = codec::of(self.protocol).encoder(self.asked.clone());
            if let Some(start) = self.start.take() {
                // What it writes of the head went out before.
                encoder.events(vec![Event::Start(start)], &mut BytesMut::new());
            }
            encoder
        });
        encoder.events(events, &mut out);
        self.ended = false;
        out.freeze()
    }

    /// What an encoder adds at the end. A vendor's own bytes have their end in them.
    fn end(&mut self) -> Option<Bytes> {
        let encoder = match (&mut self.encoder, self.same) {
            (Some(encoder), _) if !self.ended => encoder,
            (None, false) => self
                .encoder
                .insert(codec::of(self.protocol).encoder(self.asked.clone())),
            _ => return None,
        };
        let mut out = BytesMut::new();
        encoder.finish(&mut out);
        (!out.is_empty()).then(|| out.freeze())
    }

    /// Tells the exchange when the first bytes went out, other than comments that keep a connection
    /// open.
    fn begun(&mut self, bytes: &Bytes) {
        if bytes.first() == Some(&b':') {
            return;
        }
        if let Some(exchange) = self.exchange.take() {
            let elapsed = exchange.start().elapsed();
            exchange.update(|facts| {
                facts.first_content.get_or_insert(elapsed);
            });
        }
    }

    /// All of it, for an answer in one piece.
    async fn whole(&mut self) -> Result<Bytes, Error> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(bytes) = poll_fn(|cx| self.poll_bytes(cx)).await {
            let bytes = bytes?;
            if first.is_empty() && all.is_empty() {
                first = bytes;
            } else {
                all.extend_from_slice(&mem::take(&mut first));
                all.extend_from_slice(&bytes);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

impl HttpBody for ChatBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let bytes = match ready!(this.poll_bytes(cx)) {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                this.over = true;
                codec::of(this.protocol).encode_error_event(&error)
            }
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{Batch, Batches, Delta, Spoken};
    use std::{collections::VecDeque, io::Write};

    struct Wire(VecDeque<Batch>);

    impl Batches for Wire {
        fn spoken(&self) -> Option<Spoken> {
            Some(Spoken {
                protocol: Protocol::OpenAi,
                framing: Framing::Sse,
                operation: Operation::Chat,
            })
        }

        fn want(&mut self, _: Want) {}

        fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn asked() -> Asked {
        Asked {
            operation: Operation::Chat,
            model: "m".into(),
            framing: Framing::Sse,
            include_usage: false,
            base64: false,
        }
    }

    /// What goes out of a vendor's chunks when `old` is rewritten to `new`.
    async fn rewritten(chunks: &[&'static str]) -> String {
        let mut decoder = codec::of(Protocol::OpenAi).decoder(Operation::Chat, Framing::Sse);
        let batches = chunks.iter().map(|chunk| {
            let mut events = Vec::new();
            decoder.decode(chunk.as_bytes(), &mut events).unwrap();
            Batch::new(Some(Bytes::from_static(chunk.as_bytes())), events, None)
        });
        let answer = ChatResponse::new(Wire(batches.collect())).map(|event| match event {
            Event::Delta {
                choice,
                delta: Delta::Text(text),
            } => Event::Delta {
                choice,
                delta: Delta::Text(text.replace("old", "new")),
            },
            event => event,
        });
        let mut body = ChatBody::new(answer, Protocol::OpenAi, asked(), None);
        let all = body.whole().await.unwrap();
        String::from_utf8(all.into()).unwrap()
    }

    #[tokio::test]
    async fn a_stream_ends_once_whatever_was_rewritten_in_it() {
        let text = concat!(
            r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"say [DONE]"}}]}"#,
            "\n\n"
        );
        let changed = concat!(
            r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"old"}}]}"#,
            "\n\n"
        );
        let finish = concat!(
            r#"data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "\n\n"
        );
        let done = "data: [DONE]\n\n";
        let out = rewritten(&[text, changed, finish, done]).await;
        assert_eq!(out.matches("finish_reason\":\"stop").count(), 1, "{out}");
        assert_eq!(out.matches("data: [DONE]").count(), 1, "{out}");
        assert!(out.contains("new") && out.ends_with(done), "{out}");
        // A vendor that leaves it out has it added, whatever the model says.
        let out = rewritten(&[changed, text]).await;
        assert_eq!(out.matches("data: [DONE]").count(), 1, "{out}");
    }

    #[test]
    fn a_compressed_body_has_one_member_and_nothing_after_it() {
        let gzip = |text: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(text).unwrap();
            gzip.finish().unwrap()
        };
        let read = |coding: &'static str, body: Vec<u8>, limit| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            decompressed(&headers, body.into(), limit).map_err(|refused| refused.kind())
        };
        assert_eq!(read("gzip", gzip(b"{}"), usize::MAX).unwrap(), "{}");
        assert_eq!(read("GZip", gzip(b"{}"), 2).unwrap(), "{}");
        assert_eq!(read("IDENTITY", b"{}".to_vec(), 2).unwrap(), "{}");
        let bomb = gzip(b"").repeat(1000);
        assert_eq!(read("gzip", bomb, 2), Err(Kind::InvalidRequest));
        let mut more = gzip(b"{}");
        more.push(0);
        assert_eq!(read("gzip", more, 2), Err(Kind::InvalidRequest));
        assert_eq!(read("gzip", gzip(b"{  }"), 2), Err(Kind::TooLarge));
    }

    #[tokio::test]
    async fn an_answer_in_one_piece_is_bounded() {
        let piece = Bytes::from(vec![b' '; 16 << 20]);
        let batches = (0..5).map(|_| Batch::new(Some(piece.clone()), Vec::new(), None));
        let answer = ChatResponse::new(Wire(batches.collect()));
        let asked = Asked {
            framing: Framing::Json,
            ..asked()
        };
        let mut body = ChatBody::new(answer, Protocol::OpenAi, asked, None);
        assert_eq!(
            body.whole().await.unwrap_err().kind(),
            Kind::UpstreamTooLarge
        );
    }
}
