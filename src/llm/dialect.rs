//! Says a rejection again, in the words of the client's protocol.
//!
//! A key is checked and a limit is held where nothing is known of language models, and what those
//! policies answer is a problem document. A client of a language model expects an error in the form
//! of its protocol, or it raises the wrong exception. [`DialectLayer`] stands outside of such
//! policies: it finds the [`Rejection`] in the extensions of an answer and writes the body anew.
//! Status, `Retry-After`, other headers and the rejection stay.
//! A client of Anthropic's is told its request's id in `request-id` too, whatever the answer: its SDKs look
//! there, and not at `x-request-id`.
//!
//! | path | form |
//! |---|---|
//! | `/v1/messages…`, and what is nobody's own below `/v1` with the headers of an Anthropic client | Anthropic: `{"type":"error","error":{"type","message"},"request_id"}` |
//! | `/v1/rerank`, `/v2/rerank` | Cohere: `{"message","code"}` |
//! | `/v1beta…`, and `/v1alpha…`, `/upload/v1beta…`, `/upload/v1alpha…`, of which nothing is served | Google: `{"error":{"code","message","status","details"}}` |
//! | any other below `/v1`, `/v1/responses` among them | OpenAI: `{"error":{"message","type","param","code"}}` |
//! | any other | the problem document, with the request id in it |
//!
//! ```
//! use axum::{Router, body::to_bytes, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_gateway::{concurrency::ConcurrencyLayer, llm::dialect::DialectLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app: Router = Router::new()
//!     .route("/v1/models", get(|| async {}))
//!     .layer(ConcurrencyLayer::new(0))
//!     .layer(DialectLayer::new());
//! let request = Request::get("/v1/models").body(axum::body::Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.status(), 503);
//! let body = to_bytes(response.into_body(), 1000).await?;
//! assert!(std::str::from_utf8(&body)?.contains(r#""code":"overloaded""#));
//! # Ok(())
//! # }
//! ```

use super::{
    Error, Protocol,
    codec::{self, ErrorAnswer, anthropic, cohere, gemini},
};
use crate::{Body, BoxError, Exchange, Rejection, problem};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Marks an answer whose rejection is in the client's words already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendered;

/// Whether a path is Google's alone, by its version. Of these only some below `/v1beta` are served.
pub(crate) fn is_google(path: &str) -> bool {
    ["/v1beta", "/v1alpha", "/upload/v1beta", "/upload/v1alpha"]
        .iter()
        .filter_map(|root| path.strip_prefix(root))
        .any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The protocol of a request, if its path is one of a language model.
///
/// Protocols share what is below `/v1`. Where the path itself does not tell whose it is, as
/// `/v1/models`, the client does: Anthropic's send `anthropic-version`, or their key in `x-api-key`
/// and nothing in `authorization`, Google's `x-goog-api-client`, or their key in `x-goog-api-key`.
#[must_use]
pub fn of(path: &str, headers: &HeaderMap) -> Option<Protocol> {
    if is_google(path) {
        return Some(Protocol::Gemini);
    }
    if cohere::is_served(path) {
        return Some(Protocol::Cohere);
    }
    let below = path.strip_prefix("/v1")?;
    let first = match below.strip_prefix('/') {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None if below.is_empty() => "",
        None => return None,
    };
    let anthropic = || {
        headers.contains_key("anthropic-version")
            || headers.contains_key("x-api-key") && !headers.contains_key(header::AUTHORIZATION)
    };
    let google = || {
        headers.contains_key("x-goog-api-client")
            || headers.contains_key("x-goog-api-key")
                && !headers.contains_key(header::AUTHORIZATION)
    };
    Some(match first {
        "models" | "tunedModels" if gemini::ends_in_method(path) || google() => Protocol::Gemini,
        "messages" => Protocol::Anthropic,
        "responses" => Protocol::Responses,
        "chat" | "completions" | "embeddings" => Protocol::OpenAi,
        "moderations" | "images" | "audio" => Protocol::OpenAi,
        _ if anthropic() => Protocol::Anthropic,
        _ => Protocol::OpenAi,
    })
}

/// What Anthropic's SDKs look for a request's id in.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Tells a client of Anthropic's the id of its request, in the header that its SDK reads.
pub(crate) fn identify(protocol: Protocol, exchange: Option<&Exchange>, headers: &mut HeaderMap) {
    if protocol == Protocol::Anthropic
        && let Some(exchange) = exchange
        && let Ok(id) = HeaderValue::try_from(exchange.id())
    {
        headers.insert(REQUEST_ID, id);
    }
}

/// An error in the words of a protocol: the body, with the id of the request where that has a place.
pub(crate) fn error(protocol: Protocol, error: &Error, exchange: Option<&Exchange>) -> ErrorAnswer {
    let mut answer = codec::of(protocol).encode_error(error);
    let theirs = match error {
        Error::Vendor(vendor) => vendor.original(protocol).is_some(),
        Error::Rejected(_) => false,
    };
    if protocol == Protocol::Anthropic
        && !theirs
        && let Some(exchange) = exchange
        && let Some(body) = anthropic::error::identified(&answer.body, exchange.id())
    {
        answer.body = body;
    }
    answer
}

/// An error in the middle of a stream in the words of a protocol, likewise.
pub(crate) fn error_event(protocol: Protocol, error: &Error, exchange: Option<&Exchange>) -> Bytes {
    match protocol {
        Protocol::Anthropic => anthropic::error::write_event(error, exchange.map(Exchange::id)),
        protocol => codec::of(protocol).encode_error_event(error),
    }
}

/// Applies [`Dialect`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DialectLayer;

impl DialectLayer {
    /// Goes by the path of the request.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for DialectLayer {
    type Service = Dialect<S>;

    fn layer(&self, inner: S) -> Dialect<S> {
        Dialect { inner }
    }
}

/// Writes rejections in the words of the client's protocol.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Dialect<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Dialect<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let protocol = of(request.uri().path(), request.headers());
        let head = request.method() == Method::HEAD;
        let exchange = Exchange::of(&request).cloned();
        ResponseFuture {
            future: self.inner.call(request),
            protocol,
            head,
            exchange,
        }
    }
}

pin_project! {
    /// Response future of [`Dialect`].
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        protocol: Option<Protocol>,
        head: bool,
        exchange: Option<Exchange>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?.map(Body::new);
        if let Some(protocol) = *this.protocol {
            identify(protocol, this.exchange.as_ref(), response.headers_mut());
        }
        if response.extensions().get::<Rendered>().is_none()
            && let Some(rejection) = response.extensions().get::<Rejection>()
        {
            let (body, media_type) = match this.protocol {
                Some(protocol) => {
                    let told = rejection.clone().into();
                    let answer = error(*protocol, &told, this.exchange.as_ref());
                    (answer.body, HeaderValue::from_static("application/json"))
                }
                None => {
                    let id = this.exchange.as_ref().map(Exchange::id);
                    (problem::document(rejection, id), problem::MEDIA_TYPE)
                }
            };
            if let Some(exchange) = this.exchange {
                let code = rejection.kind().code();
                exchange.update(|facts| facts.error = Some(code));
            }
            let headers = response.headers_mut();
            headers.remove(header::CONTENT_LENGTH);
            headers.insert(header::CONTENT_TYPE, media_type);
            let body = if *this.head { Bytes::new() } else { body };
            response.body_mut().replace(body);
        }
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
