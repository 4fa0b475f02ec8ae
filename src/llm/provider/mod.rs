//! Vendors of language models, as values.
//!
//! ```
//! use tower_gateway::llm::Provider;
//!
//! # fn main() -> Result<(), tower_gateway::llm::provider::InvalidProvider> {
//! # let key = "sk-example";
//! let openai = Provider::openai(key).model("gpt-5-mini");
//! let own = Provider::custom("lab", "http://10.0.0.7:8000/v1")?.key(key);
//! assert_eq!((openai.name(), own.name()), ("openai", "lab"));
//! assert!(!format!("{openai:?} {own:?}").contains(key));
//! # Ok(())
//! # }
//! ```
//!
//! A provider is a [`Service`] of [`ChatRequest`], so whatever layer is put around it, it guards that
//! vendor alone. It makes one call for each request, and tries nothing again.
//!
//! # What is sent
//!
//! A request that came in a protocol that the vendor speaks goes on in its own bytes, edited where the
//! model's name stands; the usage of a stream is always asked for. Any other is written anew in the
//! first of the vendor's protocols, by what the [catalog](Provider::catalog) knows of the model, and what
//! that cannot say is [told](Provider::strict). Of the client's headers only `traceparent` and
//! `tracestate` go along, and between Anthropic and its own clients `anthropic-version` and
//! `anthropic-beta`: no credentials, no cookies, no address. The key is sent in a header and is shown
//! nowhere else. What is [passed on](super::Passthrough) goes to vendors of OpenAI's protocol alone; a
//! form with files while it comes. What is no key, and has to be asked for or made for each call, is a [`Credential`].
//!
//! # What comes back
//!
//! | the vendor answers | the caller gets |
//! |---|---|
//! | 2xx and JSON | one batch, when all of it is there; at most 64 MiB |
//! | 2xx and an event stream, Ollama's lines, or Amazon's binary frames | a batch for each chunk, in the bytes that came. The event that tells the usage is taken out if the client did not ask for it; proofs of thoughts are [marked](Provider::bind_reasoning) if another vendor could be shown them |
//! | 401, 403 | [`Kind::UpstreamAuth`]: it is the gateway's key that is refused. `x-should-retry: false` |
//! | 402, or `insufficient_quota` and its like under any status | [`Kind::UpstreamQuota`]: 502 and not 429, for it is the operator who must do something. `x-should-retry: false` |
//! | 429 | [`Kind::UpstreamRateLimited`], with the delay that the vendor names (`retry-after-ms`, else `retry-after` in seconds), an hour at most |
//! | 3xx | [`Kind::BadGateway`]: no redirect is followed |
//! | any other status | a [`VendorError`](super::VendorError) as its body tells, of which 1 MiB is read |
//! | an error inside a stream | the same, as the end of the stream |
//! | HTML, nothing, or compressed bytes under a 2xx | [`Kind::UpstreamMalformed`] |
//! | half an answer | [`Kind::BadGateway`]; the event that is not whole is dropped |
//!
//! Whether an answer is an event stream is told by its content type, and where that is neither of
//! the two expected or not what was asked for, by its first byte. A stream that ends in good order
//! without a last word (`[DONE]`) is taken as whole: to know better it would have to be parsed.
//!
//! Of the vendor's headers the caller gets `openai-processing-ms`, and its `x-request-id`, `request-id` or
//! `x-amzn-requestid` under the name `x-upstream-request-id`. What it says of rate limits is about the gateway's account, not about
//! the caller's, and is kept: in the extensions of the answer, as [`RateLimits`](super::RateLimits).
//!
//! The vendor's own words are logged once, as a warning, with what looks like a key masked. They
//! reach the caller only if they are about its request.
//!
//! # Time
//!
//! 10 seconds to connect; then as [`TimeoutLayer::llm`] says, 600 seconds to the head of the answer,
//! or to the end of one that does not stream, and 300 seconds between two chunks.
//!
//! # What is shared, and cancellation
//!
//! Clones share one pool of connections. To drop the future or the answer ends the call and its
//! connection (HTTP/2: its stream), and with it, most vendors stop counting.

mod address;
mod answer;
#[cfg(feature = "bedrock")]
pub mod aws;
mod base_url;
mod bedrock;
mod call;
mod cloud;
#[cfg(feature = "tokens")]
mod count;
pub mod credential;
mod environment;
mod framing;
mod google;
mod invalid;
mod key;
mod media;
mod models;
mod passed;
mod quirks;
mod refusal;
mod splice;
mod table;

#[cfg(feature = "bedrock")]
pub use self::aws::AwsCredentials;
use self::{address::Place, base_url::BaseUrl, credential::Bearer, key::ApiKey};
pub use self::{
    credential::{Credential, Token},
    invalid::InvalidProvider,
    table::Vendor,
};
use super::{ChatRequest, ChatResponse, Error, Protocol, catalog::Catalog};
use crate::{
    BoxError,
    client::Client,
    timeout::{self, TimeoutLayer},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use crate::rejection::Kind;

/// A vendor, with the gateway's key for it.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    name: Arc<str>,
    vendor: Option<Vendor>,
    base: BaseUrl,
    place: Option<Place>,
    /// Where its models are listed, if that is elsewhere.
    lists: Option<BaseUrl>,
    protocol: Protocol,
    besides: Vec<Protocol>,
    key: Option<ApiKey>,
    credential: Option<Arc<dyn Credential>>,
    model: Option<Arc<str>>,
    headers: HeaderMap,
    strict: bool,
    /// `None`: as the gateway that calls it says.
    binds: Option<bool>,
    catalog: Option<Catalog>,
    timeouts: TimeoutLayer,
    client: Client,
}

impl Inner {
    /// One vendor has two protocols at one address, each below a path of its own; another its older paths
    /// beside the newer.
    fn fit(&mut self) {
        let base = self.base.clone();
        if let Some(Place::Deployments { .. }) = self.place {
            self.base = base.above("/v1");
            return;
        }
        self.base = match (self.protocol, self.vendor) {
            (Protocol::Ollama, _) => base.above("/v1").above("/api"),
            (protocol, Some(vendor)) if protocol == vendor.protocol => base.below(vendor.path),
            _ => base,
        };
    }
}

impl Provider {
    /// OpenAI.
    #[must_use]
    pub fn openai(key: impl AsRef<str>) -> Self {
        Self::of(table::OPENAI).key(key)
    }

    /// Anthropic.
    #[must_use]
    pub fn anthropic(key: impl AsRef<str>) -> Self {
        Self::of(table::ANTHROPIC).key(key)
    }

    /// Gemini, as Google AI Studio has it.
    #[must_use]
    pub fn gemini(key: impl AsRef<str>) -> Self {
        Self::of(table::GEMINI).key(key)
    }

    /// Mistral.
    #[must_use]
    pub fn mistral(key: impl AsRef<str>) -> Self {
        Self::of(table::MISTRAL).key(key)
    }

    /// DeepSeek.
    #[must_use]
    pub fn deepseek(key: impl AsRef<str>) -> Self {
        Self::of(table::DEEPSEEK).key(key)
    }

    /// xAI.
    #[must_use]
    pub fn xai(key: impl AsRef<str>) -> Self {
        Self::of(table::XAI).key(key)
    }

    /// Groq.
    #[must_use]
    pub fn groq(key: impl AsRef<str>) -> Self {
        Self::of(table::GROQ).key(key)
    }

    /// OpenRouter.
    #[must_use]
    pub fn openrouter(key: impl AsRef<str>) -> Self {
        Self::of(table::OPENROUTER).key(key)
    }

    /// Cohere.
    #[must_use]
    pub fn cohere(key: impl AsRef<str>) -> Self {
        Self::of(table::COHERE).key(key)
    }

    /// Ollama, on this machine, as it speaks OpenAI's protocol. [Speaking](Self::speaking)
    /// [`Protocol::Ollama`] it takes what only its own has a place for.
    #[must_use]
    pub fn ollama() -> Self {
        Self::of(table::OLLAMA)
    }

    /// Whoever speaks OpenAI's protocol there, without a key. `base_url` ends before
    /// `/chat/completions`, most often with `/v1`.
    ///
    /// # Errors
    ///
    /// If `base_url` is not an address of `http` or `https`, or has credentials, a query or a
    /// fragment; and if `name` is empty, has a slash, white space or control characters.
    pub fn custom(
        name: impl Into<Arc<str>>,
        base_url: impl AsRef<str>,
    ) -> Result<Self, InvalidProvider> {
        let name = name.into();
        let wrong = |char: char| char == '/' || char.is_whitespace() || char.is_control();
        if name.is_empty() || name.contains(wrong) {
            return Err(InvalidProvider::new(
                "the name is empty or has a slash or white space",
            ));
        }
        let base = BaseUrl::new(base_url.as_ref())?;
        Ok(Self::new(name, None, base, Protocol::OpenAi))
    }

    /// A vendor of the table, without a key. One that [needs an address](Vendor::needs_address) cannot be
    /// reached without a [`base_url`](Self::base_url).
    #[must_use]
    pub fn of(vendor: Vendor) -> Self {
        // A test holds that every row can be parsed.
        let base = vendor.default_base().expect("a base URL of the table");
        Self::new(vendor.name.into(), Some(vendor), base, vendor.protocol)
    }

    fn new(name: Arc<str>, vendor: Option<Vendor>, base: BaseUrl, protocol: Protocol) -> Self {
        Self(Arc::new(Inner {
            name,
            vendor,
            base,
            place: None,
            lists: None,
            protocol,
            besides: vendor.map_or_else(Vec::new, |vendor| vendor.besides.to_vec()),
            key: None,
            credential: None,
            model: None,
            headers: HeaderMap::new(),
            strict: false,
            binds: None,
            catalog: None,
            timeouts: TimeoutLayer::llm(),
            client: Client::new(),
        }))
    }

    /// Whether its key, if it has one, can stand in a header.
    fn has_plain_key(&self) -> bool {
        let key = self.0.key.as_ref();
        key.is_none_or(|key| key.header("").is_some())
    }

    fn set(mut self, set: impl FnOnce(&mut Inner)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// Sets the key. White space around it is left out. A key that cannot stand in a header fails every
    /// call with [`Kind::UpstreamAuth`].
    #[must_use]
    pub fn key(self, key: impl AsRef<str>) -> Self {
        let key = ApiKey::new(key.as_ref());
        self.set(|inner| inner.key = Some(key))
    }

    /// Shows it tokens of this closure, in `authorization: Bearer`. They are kept until near their
    /// expiry. A closure that has one at hand gives it as [`std::future::ready`]. See
    /// [`credential`] for an example.
    #[must_use]
    pub fn bearer<F, Fut, E>(self, tokens: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.credential(Bearer::new(tokens))
    }

    /// Shows it what is made for each call, after all else of the call is there.
    #[must_use]
    pub fn credential(self, credential: impl Credential) -> Self {
        let credential = Arc::new(credential);
        self.set(|inner| inner.credential = Some(credential))
    }

    /// Sets where it is, in the form in which the vendor's own programs take it.
    ///
    /// # Errors
    ///
    /// As for [`custom`](Self::custom).
    pub fn base_url(self, url: impl AsRef<str>) -> Result<Self, InvalidProvider> {
        let base = match &self.0.vendor {
            Some(vendor) => vendor.base(url.as_ref())?,
            None => BaseUrl::new(url.as_ref())?,
        };
        Ok(self.set(|inner| {
            inner.base = base;
            inner.lists = None;
            inner.fit();
        }))
    }

    /// Sets what it speaks. A [base URL](Self::base_url) ends before `/chat/completions`, before
    /// `/messages`, or before `/models/…`, most often with `/v1` or `/v1beta`; for Bedrock before
    /// `/model/…`, most often with nothing; for Cohere before `/v2`, and for Ollama's own protocol before
    /// `/api`, whether or not there is a `/v1`. What it speaks [besides](Self::speaking_besides) is
    /// nothing then, until it is said anew.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        self.set(|inner| {
            inner.protocol = protocol;
            inner.besides.clear();
            inner.fit();
        })
    }

    /// Sets what it speaks besides, under the same base URL. What a client says in one of these goes on
    /// in it; all else is said in what it [speaks](Self::speaking). A vendor of the table begins with
    /// what it [documents](Vendor::besides); whoever has another server under its name, which is not
    /// as able, names none.
    #[must_use]
    pub fn speaking_besides(self, protocols: impl IntoIterator<Item = Protocol>) -> Self {
        let protocols = protocols.into_iter().collect();
        self.set(|inner| inner.besides = protocols)
    }

    /// Refuses a request that the vendor's protocol cannot say in full, with
    /// [`Kind::UnsupportedParameter`] and the paths of all that would be lost. By default it is sent
    /// without, and the losses are told: in the header `x-gateway-loss` of the answer, and in
    /// [`Facts::losses`](crate::exchange::Facts).
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        self.set(|inner| inner.strict = strict)
    }

    /// Binds what proves the thoughts of its models (signatures, redacted and encrypted thoughts) to this
    /// provider and the model, where the client speaks its protocol too. A proof then has a mark before
    /// it in the bytes of an answer, which are otherwise as they came; it is taken off when the proof
    /// comes back to the same [name](Self::name) and model, and for any other the thought is left out
    /// and told as a [loss](Self::strict). A proof without a mark was made before, or elsewhere: nobody
    /// knows by whom, and it is sent on as it is. Between protocols proofs are always bound.
    ///
    /// By default a gateway decides: it binds where more than one of its vendors, by their names, speaks
    /// the protocol, and a service whose layers hide the provider counts as several. With one vendor, and
    /// without a gateway, no byte is changed. Whoever puts several providers of a protocol together by
    /// himself (a [pool](super::pool), a gateway behind this one) says `true` to each of them; where their
    /// vendors take one another's proofs, as Anthropic documents of its own platforms, `false`.
    #[must_use]
    pub fn bind_reasoning(self, bind: bool) -> Self {
        self.set(|inner| inner.binds = Some(bind))
    }

    /// Sets where the facts come from by which requests of other protocols are written: how long an
    /// answer may be, how hard a model can think, what it does not take. By default they are those of
    /// the gateway, if a gateway calls it, else those [built in](Catalog::builtin). Models are looked up
    /// under this provider's [name](Self::name).
    #[must_use]
    pub fn catalog(self, catalog: Catalog) -> Self {
        self.set(|inner| inner.catalog = Some(catalog))
    }

    /// Asks the vendor for this model, whatever name the request has.
    #[must_use]
    pub fn model(self, model: impl Into<Arc<str>>) -> Self {
        let model = model.into();
        self.set(|inner| inner.model = Some(model))
    }

    /// Adds a header to every call. It takes the place of one that would be sent otherwise.
    #[must_use]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(|inner| {
            inner.headers.insert(name, value);
        })
    }

    /// Sets how long it may take to answer. See [`TimeoutLayer::llm`] for the defaults.
    #[must_use]
    pub fn timeouts(self, timeouts: TimeoutLayer) -> Self {
        self.set(|inner| inner.timeouts = timeouts)
    }

    /// Sets the pool of connections, the time to connect, and whom to trust.
    #[must_use]
    pub fn client(self, client: Client) -> Self {
        self.set(|inner| inner.client = client)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Models that it is known to answer for, without being asked: those of its row in the table.
    #[must_use]
    pub fn known_models(&self) -> &'static [&'static str] {
        self.0.vendor.map_or(&[], |vendor| vendor.models())
    }

    /// The row of the table that it was made of, if it was.
    #[must_use]
    pub fn vendor(&self) -> Option<&Vendor> {
        self.0.vendor.as_ref()
    }

    /// What it speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// What it speaks besides.
    #[must_use]
    pub fn besides(&self) -> &[Protocol] {
        &self.0.besides
    }

    /// The model that it is bound to.
    #[must_use]
    pub fn pinned_model(&self) -> Option<&Arc<str>> {
        self.0.model.as_ref()
    }

    /// The names of the models that the vendor lists. Within 10 seconds, and 4 MiB. One that does not
    /// list what it would answer for (Azure, Vertex, Perplexity) is not asked: it has those of its row.
    ///
    /// # Errors
    ///
    /// As for a call; [`Kind::UpstreamMalformed`] if it is no list.
    pub async fn models(&self) -> Result<Vec<String>, Error> {
        if self.0.vendor.is_some_and(|vendor| !vendor.lists) {
            let known = self.known_models().iter();
            return Ok(known.map(|&name| name.to_owned()).collect());
        }
        models::models(&self.0).await
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let headers: Vec<_> = inner.headers.keys().collect();
        f.debug_struct("Provider")
            .field("name", &inner.name)
            .field("base_url", &inner.base)
            .field("place", &inner.place)
            .field("protocol", &inner.protocol)
            .field("besides", &inner.besides)
            .field("key", &inner.key)
            .field("signs", &inner.credential.is_some())
            .field("model", &inner.model)
            .field("headers", &headers)
            .field("strict", &inner.strict)
            .field("bind_reasoning", &inner.binds)
            .field("timeouts", &inner.timeouts)
            .finish_non_exhaustive()
    }
}

impl Service<ChatRequest> for Provider {
    type Response = ChatResponse;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> ResponseFuture {
        let mut untimed = Untimed(self.0.clone());
        ResponseFuture(self.0.timeouts.layer(&mut untimed).call(request))
    }
}

type Pending = Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;

/// Response future of [`Provider`].
#[must_use = "nothing is sent unless it is polled"]
pub struct ResponseFuture(timeout::ResponseFuture<Pending>);

impl Future for ResponseFuture {
    type Output = Result<ChatResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The call by itself.
struct Untimed(Arc<Inner>);

impl Service<ChatRequest> for &mut Untimed {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Pending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Pending {
        Box::pin(call::complete(self.0.clone(), request))
    }
}
