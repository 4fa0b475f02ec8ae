//! Composable tower layers for API and AI gateways.
//!
//! Every policy is a [`Layer`](tower_layer::Layer) that is generic over the request and answers for
//! itself: alone around an axum router, a model or a service of your own, or all of them at once as a
//! [`GatewayService`](gateway::GatewayService), which [`Gateway::builder`](gateway::Gateway::builder)
//! assembles.
//!
#![cfg_attr(feature = "llm", doc = "```")]
#![cfg_attr(not(feature = "llm"), doc = "```ignore")]
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_gateway::{circuit_breaker::CircuitBreakerLayer, concurrency::ConcurrencyLayer, rejection::Kind};
//! use tower_gateway::{llm::{ChatRequest, Simulator}, timeout::TimeoutLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_gateway::llm::Error> {
//! let chat = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new())
//!     .layer(TimeoutLayer::llm())
//!     .service(Simulator::new().answer("Paris"));
//! let question = ChatRequest::new().user("The capital of France?");
//! let answer = chat.clone().oneshot(question.clone()).await?;
//! assert_eq!(answer.text().await?, "Paris");
//!
//! // What a layer refuses is an error of the model's own type here, and a response over HTTP.
//! let full = ServiceBuilder::new().layer(ConcurrencyLayer::new(0)).service(chat);
//! assert_eq!(full.oneshot(question).await.unwrap_err().kind(), Kind::Overloaded);
//! # Ok(())
//! # }
//! ```
//!
//! # Two planes
//!
//! There are two kinds of request: `http::Request<B>`, and [`ChatRequest`](llm::ChatRequest), which is
//! answered by a [`ChatResponse`](llm::ChatResponse) whatever the vendor speaks.
//! [`Serve`](llm::serve::Serve) leads from the first to the second. A layer for *any* plane works on
//! both, and on types of your own that implement the few traits it asks for.
//!
//! | layer | what it does | plane | feature |
//! |---|---|---|---|
//! | [`AuthLayer`](auth::AuthLayer) | finds out who calls | any | `auth` |
//! | [`SignatureLayer`](auth::signature::SignatureLayer) | the same, of requests that are signed | HTTP | `auth` |
//! | [`ClientCertLayer`](auth::client_cert::ClientCertLayer) | the same, by a certificate | any | `auth` |
//! | [`AuthorizeLayer`](authorize::AuthorizeLayer) | what they may do | any | `authorize` |
//! | [`PrincipalHeadersLayer`](auth::PrincipalHeadersLayer) | tells a service who calls, in headers | any | `auth` |
//! | [`IdentityLayer`](identity::IdentityLayer) | takes out what callers say of themselves | any | |
//! | [`ExternalLayer`](authorize::external::ExternalLayer) | has someone else decide, over HTTP or in process | any | `authorize` |
//! | [`RateLimitLayer`](rate_limit::RateLimitLayer) | how often each may call | any | `rate-limit` |
//! | [`ConcurrencyLayer`](concurrency::ConcurrencyLayer) | how many at once, each to its last byte | any | |
//! | [`CircuitBreakerLayer`](circuit_breaker::CircuitBreakerLayer) | leaves a failing service alone | any | |
//! | [`FallbackLayer`](fallback::FallbackLayer) | asks another service when one has failed, streams too | any | |
//! | [`AnswerLayer`](fallback::AnswerLayer) | a fixed answer in place of a failure | HTTP | |
//! | [`RetryLayer`](retry::RetryLayer) | asks again, where that may help and does no harm | any | |
//! | [`HedgeLayer`](hedge::HedgeLayer) | asks a second time what is slow to answer | any | |
//! | [`DeadlineLayer`](deadline::DeadlineLayer) | how long an exchange may take, and in how many attempts | any | |
//! | [`TimeoutLayer`](timeout::TimeoutLayer) | to the first byte, between pieces, in all | any | |
//! | [`MirrorLayer`](mirror::MirrorLayer) | sends copies of some calls to another service, for nobody to wait for | any | |
//! | [`ClientAddrLayer`](client_addr::ClientAddrLayer) | the client's address behind trusted proxies | any | |
//! | [`AddressListLayer`](address_list::AddressListLayer) | which addresses are let in | any | |
//! | [`ServerNameLayer`](server_name::ServerNameLayer) | refuses what came by a connection for another name | HTTP | |
//! | [`TraceLayer`](trace::TraceLayer) | request id, W3C Trace Context, a span | any | |
//! | [`AccessLogLayer`](access_log::AccessLogLayer) | one line when an answer is over | any | |
//! | [`MetricsLayer`](metrics::MetricsLayer) | Prometheus counters and histograms | any | `metrics` |
//! | [`NormalisePathLayer`](route::NormalisePathLayer) | one spelling of each path | HTTP | |
//! | [`PromptLayer`](prompt::PromptLayer) | renders the prompt that a call names | chat | `prompts` |
//! | [`DialectLayer`](llm::dialect::DialectLayer) | refusals in the client's protocol | HTTP | `llm` |
//!
//! | service | what it does | plane | feature |
//! |---|---|---|---|
//! | [`Provider`](llm::Provider) | calls a vendor of language models | chat | `llm`, `client` |
//! | [`Pool`](llm::Pool) | one name for several models, of which one is chosen for each call | chat | `llm` |
//! | [`Simulator`](llm::Simulator) | answers as a model would, without one | chat | `llm` |
//! | [`Fallback`](fallback::Fallback) | several services of one type, in order | any | |
//! | [`Balance`](balance::Balance) | spreads calls over many endpoints | any | |
//! | [`Proxy`](proxy::Proxy) | forwards to an upstream, streaming both ways | HTTP | `client` |
//! | [`Split`](split::Split) | canary, A/B test, blue and green: each caller has its variant | any | |
//! | [`Routes`](route::Routes) | chooses a service by path, method and host | HTTP | |
//! | [`GatewayService`](gateway::GatewayService) | all of it, in the one order that is right | both | `gateway` |
//!
//! # How a layer answers
//!
//! A layer that refuses asks the response type to make the answer ([`Reject`]): over HTTP a problem
//! document, for a model an [`llm::Error`], and the error type of the service stays as it was. A layer
//! that judges asks the answer how its service is ([`Health`]), so that `Ok(502)` is not taken for a
//! success. A layer that must last until the last byte follows the answer to its end, or ends it
//! early ([`Follow`]).
//!
//! # Order
//!
//! Each layer works wherever it stands, and stands best in this order, outermost first: trace, metrics
//! and access log, dialect, client address, auth, authorize, rate limit, concurrency, deadline, and around each service that
//! is called retry, then a circuit breaker with a timeout inside of it. The [`gateway`] keeps to it, and
//! [`describe`](gateway::GatewayService::describe) prints it.
//!
//! # Features
//!
//! `gateway` is the default and brings all that it is made of: `llm`, `bedrock`, `tokens`, `auth`,
//! `authorize`, `rate-limit`, `metrics`, `client` and `server`. Each compiles alone, and what names none above needs none.
//! `jwt` adds tokens to [`auth`]: verified here, or by asking their issuer. `cel` adds expressions to
//! [`authorize`], `dns` finds the endpoints of a [`balance`]r by their name. `sqlite` and `postgres` add
//! [stores](store) for what must last, `rate-limit-redis` limits that many processes share; `prompts` keeps
//! [prompts](prompt) in versions; `testing` adds a mock vendor and a mock upstream; `full` is everything.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Tier 0: vocabulary.
pub mod admit;
pub mod answer;
#[cfg(feature = "client")]
mod bell;
mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod client_addr;
pub mod deadline;
pub mod describe;
pub mod exchange;
mod follow;
pub mod identity;
#[cfg(any(feature = "jwt", feature = "llm"))]
mod json;
pub mod key;
pub mod path;
#[cfg(any(feature = "authorize", feature = "rate-limit"))]
mod pause;
pub mod principal;
mod problem;
mod random;
pub mod reissue;
pub mod rejection;
pub mod storage;
pub mod tls;

// Tier 1: policies.
pub mod access_log;
pub mod address_list;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "authorize")]
pub mod authorize;
pub mod balance;
pub mod circuit_breaker;
pub mod concurrency;
pub mod fallback;
pub mod hedge;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod mirror;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod retry;
pub mod server_name;
pub mod split;
pub mod timeout;
pub mod trace;

// Tier 2: domains.
#[cfg(feature = "llm")]
pub mod llm;
#[cfg(feature = "client")]
pub mod proxy;
pub mod route;

// Tier 3: policies of the language model plane.
#[cfg(feature = "prompts")]
pub mod prompt;

// Tier 4: backends.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod store;

// Tier 5: assembly.
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(inline)]
pub use self::{
    answer::{Health, Reject},
    body::{Body, CollectError, collect},
    exchange::Exchange,
    follow::{End, Follow},
    principal::{Extensible, Principal},
    rejection::Rejection,
};

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The programs in the README compile.
#[cfg(all(doctest, feature = "gateway"))]
#[doc = include_str!("../README.md")]
struct Readme;
