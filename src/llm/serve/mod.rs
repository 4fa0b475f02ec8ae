//! A chat service as an HTTP service, in the words of the client.
//!
//! [`Serve`] stands between the two planes: it reads a request in the protocol of its path, hands it
//! to a `Service<ChatRequest>`, and writes the answer in the same protocol. Headers and extensions go
//! over from one plane to the other, both ways.
//!
//! | path | |
//! |---|---|
//! | `POST /v1/chat/completions`, `/v1/completions`, `/v1/embeddings` | OpenAI |
//! | `POST /v1/responses`, `/v1/responses/input_tokens` | OpenAI's Responses |
//! | `POST /v1/messages`, `/v1/messages/count_tokens` | Anthropic |
//! | `POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent`, `:countTokens`, `:embedContent`, `:batchEmbedContents` | Gemini |
//! | `POST /v1/rerank`, `/v2/rerank` | documents by how well they fit a question, in the shape of Cohere and Jina |
//! | `POST /v1/moderations`, `/v1/images/…`, `/v1/audio/…` | OpenAI: passed on as they are |
//! | `GET /v1beta/models`, `/v1beta/models/{id}` | the models, in Gemini's form |
//! | `GET /v1/models`, `/v1/models/{id}` | what [`models`](Serve::models) lists, in the form of the [client](dialect::of) |
//!
//! Any other path is 404 in its [dialect](dialect::of). So is what would have to be kept from one call to
//! the next: a response by its id, `previous_response_id`, `conversation`, `background`. A vendor keeps
//! nothing either, unless the client says `"store":true`. And so are the paths of what vendors store, such
//! as `/v1/files` and `/v1/batches`: with one key for all callers, each would be shown what the others
//! have left there. The answer says why.
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
//! # Who may
//!
//! A model that the [principal may not use](Principal::may_use_model) does not exist for it: 404
//! `model_not_found`, and it is in no list. A path that it [may not use](Principal::may_use_route) is 403
//! `insufficient_permissions`.
//!
//! Some vendors take several names, in `models`, and choose. Where the caller may not use every model, or a
//! policy decides on them, that is 403 too. A tool may have a model of its own, such as the one that makes
//! pictures: nobody decides on that one here.
//!
//! # What is read
//!
//! The body must be JSON: `content-type: application/json`, else 415. It may be compressed with
//! `gzip` (of one member) or `deflate`. It has at most [`limit`](Serve::limit) bytes before and after,
//! 32 MiB by default, else 413; what is longer is not read on. It has
//! [two minutes](Serve::body_time) to arrive, else 408. Of a request for a vendor of the same protocol
//! only the model's name and the wish for a stream are parsed. Where [prompts](Serve::prompts) are rendered
//! a conversation that names one is read whole.
//!
//! # What is passed on
//!
//! Requests to moderate, to paint, to speak and to listen go to a vendor that speaks OpenAI's protocol
//! as they came, and so do the answers: documents, event streams, or bytes of any kind. Read is the model's
//! name, for it must be known who is called, and in answers the usage. Where a name may be left out
//! (moderations, images) the vendor has one of its own, and the caller is taken to have said that.
//!
//! Such a request may be a form with files. Then what stands before the end of the model's field is held, and
//! the rest is passed on while it comes, within the same bounds. A client that names the model after its
//! file has the file held here; and what was passed on once cannot be sent to a second vendor.
//!
//! # What is explained
//!
//! A caller that sends `x-gateway-explain: true` and has the [scope](Serve::explain_scope) `gateway:explain`
//! gets, with any answer about a model, the header `x-gateway-explain`: JSON of 4 KiB at the most, as far as
//! things are known when the head of the answer goes out.
//!
//! | field | |
//! |---|---|
//! | `candidates` | those that a [pool](super::pool) considered: `pool`, `entry`, `verdict` ([why](super::pool#who-can) it was dropped, or `answered`, `failed`, `spare`), `price` as estimated, and if it was asked `attempt`: `at_ms` since the exchange began, `took_ms` to its first content or its error, `outcome` (`ok`, or the code of the error) |
//! | `more` | how many candidates had no room |
//! | `attempts` | how often a vendor was called |
//! | `ms` | how long it all took so far |
//! | `upstream` | who was called last |
//! | `loss` | what its protocol could not say |
//!
//! For anyone else the header does nothing.
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

mod form;
#[cfg(feature = "authorize")]
mod listed;
mod passed;
mod read;
mod target;
mod unserved;
mod write;

#[cfg(feature = "prompts")]
pub(crate) use self::read::json_body;
pub(super) use self::target::decoded;
use self::{
    passed::passed,
    read::{Bounds, LIMIT, TIME, read},
    write::{JSON, followed, refusal, tell, written},
};
use super::{
    ChatRequest, ChatResponse, Error, Operation, Prompted, Protocol,
    catalog::{Entry, ModelFacts},
    codec::{self, Target},
    dialect, explain, prompted,
};
use crate::{
    Body, BoxError, Exchange, Extensible, Principal, Reject, Rejection, principal::Carried,
    rejection::Kind,
};
use bytes::Bytes;
#[cfg(feature = "gateway")]
use http::{HeaderMap, Method, Uri};
use http::{Request, Response, header};
use http_body::Body as HttpBody;
use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_service::Service;

/// Serves a chat service over HTTP.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Serve<S> {
    chat: S,
    models: Arc<dyn Models>,
    bounds: Bounds,
    explain_scope: Arc<str>,
    prompts: bool,
    #[cfg(feature = "authorize")]
    policy: Option<crate::authorize::Policy>,
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
            explain_scope: explain::SCOPE.into(),
            prompts: false,
            #[cfg(feature = "authorize")]
            policy: None,
        }
    }

    /// Lists no models but those that this policy allows the caller on one of the paths above. Who may ask
    /// them is decided by a layer of the same policy around the chat service.
    #[cfg(feature = "authorize")]
    #[cfg_attr(docsrs, doc(cfg(feature = "authorize")))]
    #[must_use]
    pub fn listed_by(mut self, policy: crate::authorize::Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets what `GET /v1/models` lists.
    #[must_use]
    pub fn models(mut self, models: impl Models) -> Self {
        self.models = Arc::new(models);
        self
    }

    /// Sets which scope lets a principal ask [how its call was answered](self#what-is-explained):
    /// `gateway:explain` by default.
    #[must_use]
    pub fn explain_scope(mut self, scope: impl Into<Arc<str>>) -> Self {
        self.explain_scope = scope.into();
        self
    }

    /// Lets a conversation that names a prompt of the gateway leave its model out, or call it `-`, for the prompt
    /// to name one: where the chat service has a layer that renders prompts. Without such a layer the field
    /// `prompt` is the vendor's.
    #[must_use]
    pub fn prompts(mut self) -> Self {
        self.prompts = true;
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

/// The template of what is asked for, as the [exchange](crate::exchange::Facts::route) will tell it.
#[cfg(feature = "gateway")]
pub(crate) fn template(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Arc<str>> {
    let protocol = dialect::of(uri.path(), headers);
    let (_, template) = target::of(protocol, method, uri).ok()?;
    Some(template)
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
    /// What is known of it, for dialects that have fields for that.
    pub facts: Option<Arc<ModelFacts>>,
}

impl Model {
    /// A model and who runs it.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, owner: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            owner: owner.into(),
            facts: None,
        }
    }

    /// With what a catalog found of it.
    #[must_use]
    pub fn known(mut self, found: Option<Entry>) -> Self {
        self.facts = found.map(Entry::into_facts);
        self
    }

    /// What people call it, or its id.
    pub(crate) fn display_name(&self) -> &str {
        let name = self.facts.as_ref().and_then(|facts| facts.name.as_deref());
        name.unwrap_or(&self.id)
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let explains = explain::wanted(&mut request, &self.explain_scope);
        let protocol = dialect::of(request.uri().path(), request.headers());
        let target = target::of(protocol, request.method(), request.uri());
        let exchange = Exchange::of(&request).cloned();
        if let (Ok((_, template)), Some(exchange)) = (&target, &exchange) {
            exchange.update(|facts| facts.route = Some(template.clone()));
        }
        let target = target.and_then(|(target, template)| {
            let may = |caller: &Principal| caller.may_use_route(&template);
            let may = Principal::of(&request).is_none_or(may);
            may.then_some(target).ok_or(Kind::Forbidden.into())
        });
        let protocol = protocol.unwrap_or(Protocol::OpenAi);
        let serve = self.clone();
        // No more of it goes along than is needed.
        let (parts, body) = request.into_parts();
        let carried = Carried {
            headers: parts.headers,
            extensions: parts.extensions,
        };
        ResponseFuture(Box::pin(async move {
            let exchange = exchange.as_ref();
            let mut answer = match target {
                Ok(Target::Model(ask)) => {
                    let request = read(protocol, &ask, carried, body, serve.bounds).await;
                    let mut answer = serve.answer(protocol, request, exchange).await;
                    if explains && let Some(told) = exchange.and_then(explain::header) {
                        answer.headers_mut().insert(explain::HEADER, told);
                    }
                    answer
                }
                Ok(Target::List(id)) => Box::pin(serve.list(protocol, id, carried, exchange)).await,
                Err(rejection) if rejection.kind() == Kind::NotFound => {
                    return Response::reject(rejection);
                }
                Err(rejection) => refusal(protocol, &rejection.into(), exchange),
            };
            dialect::identify(protocol, exchange, answer.headers_mut());
            Ok(answer)
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

impl<S> Serve<S> {
    async fn list(
        self,
        protocol: Protocol,
        id: Option<String>,
        caller: Carried,
        exchange: Option<&Exchange>,
    ) -> Response<Body> {
        let mut models = self.models.list().await;
        if let Some(caller) = caller.extensions.get::<Principal>() {
            models.retain(|model| caller.may_use_model(&model.id));
        }
        #[cfg(feature = "authorize")]
        if let Some(policy) = &self.policy {
            let (headers, extensions) = (&caller.headers, &caller.extensions);
            let routes = listed::templates();
            models.retain(|model| policy.offers(headers, extensions, routes, &model.id));
        }
        let codec = codec::of(protocol);
        let body = match id {
            None => codec.encode_models(&models),
            Some(id) => match models.iter().find(|model| *model.id == *id) {
                Some(model) => codec.encode_model(model),
                None => {
                    let unknown = Rejection::new(Kind::ModelNotFound).with_param("model");
                    return refusal(protocol, &unknown.into(), exchange);
                }
            },
        };
        let mut response = Response::new(Body::from(body.to_string()));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    }

    /// Refuses what names other models that may answer, where not everyone may use every model: who of them
    /// answers is up to the vendor.
    fn one_model(&self, request: &ChatRequest) -> Result<(), Rejection> {
        let names_others = request.wire().is_some_and(|wire| wire.names_others);
        let held = || Principal::of(request).is_some_and(Principal::is_held_to_models);
        #[cfg(feature = "authorize")]
        let held = || self.policy.is_some() || held();
        if names_others && held() {
            return Err(Rejection::new(Kind::Forbidden)
                .with_param("models")
                .with_detail("Only one model may be named, in `model`."));
        }
        Ok(())
    }

    /// Whether the model is left to the prompt. Who may use that one is decided where it is known.
    fn leaves_model(&self, request: &ChatRequest) -> Result<bool, Rejection> {
        let names_prompt = request.wire().is_some_and(|wire| wire.prompt.is_some());
        let left = names_prompt && !prompted::names_model(request.model());
        if left && !self.prompts && request.model().is_empty() {
            return Err(Rejection::new(Kind::InvalidRequest)
                .with_param("model")
                .with_detail("A model is required."));
        }
        Ok(left && self.prompts)
    }

    async fn answer(
        mut self,
        protocol: Protocol,
        request: Result<ChatRequest, Error>,
        exchange: Option<&Exchange>,
    ) -> Response<Body>
    where
        S: Service<ChatRequest, Response = ChatResponse>,
        S::Error: Into<Error>,
    {
        let answer = async {
            let request = request?;
            let left = self.leaves_model(&request)?;
            let may_not = |who: &Principal| !who.may_use_model(request.model());
            if !left && Principal::of(&request).is_some_and(may_not) {
                let unknown = Rejection::new(Kind::ModelNotFound).with_param("model");
                return Err(Error::from(unknown));
            }
            self.one_model(&request)?;
            let mut asked = codec::of(protocol).asked(&request);
            poll_fn(|cx| self.chat.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let answer = self.chat.call(request).await.map_err(Into::into)?;
            if let Some(prompted) = answer.extensions().get::<Prompted>() {
                asked.model = prompted.model.clone();
            }
            Ok((answer, asked))
        };
        let answer = match answer.await {
            Ok((answer, asked)) => {
                let answer = followed(answer, exchange.cloned());
                match asked.operation {
                    Operation::Passthrough(_) => passed(answer, exchange.cloned()).await,
                    _ => written(answer, protocol, asked, exchange.cloned()).await,
                }
            }
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| {
            tell(exchange, &error);
            refusal(protocol, &error, exchange)
        })
    }
}
