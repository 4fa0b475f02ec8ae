//! The layers, assembled.
//!
//! A [`GatewayService`] is what its layers add up to: the layers of this crate in the one order that
//! is right, around routes of your own and around language models. It is a tower service, `Clone`,
//! and never fails: it can be mounted in an `axum::Router` with `fallback_service` or `nest_service`,
//! called from bare hyper, or left to [`serve`](GatewayService::serve).
//!
//! ```
//! use axum::{body::{Body, to_bytes}, http::Request};
//! use tower::ServiceExt;
//! use tower_gateway::{auth::ApiKeys, gateway::Gateway, llm::Simulator, rate_limit::Quota};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::builder()
//!     .api_keys(ApiKeys::new().add("alice", "a-secret-of-alice"))
//!     .rate_limit(Quota::per_minute(60))
//!     .model("fast", [Simulator::new()])
//!     .build()?;
//!
//! let ask = |key: &str| {
//!     Request::post("/v1/chat/completions")
//!         .header("authorization", format!("Bearer {key}"))
//!         .header("content-type", "application/json")
//!         .body(Body::from(r#"{"model":"fast","messages":[{"role":"user","content":"Hello"}]}"#))
//! };
//! let response = gateway.clone().oneshot(ask("a-secret-of-alice")?).await?;
//! assert_eq!(response.status(), 200);
//!
//! // Errors are in the words of the client's protocol, also those of policies that know nothing of it.
//! let response = gateway.oneshot(ask("another-secret-key")?).await?;
//! assert_eq!(response.status(), 401);
//! let body = to_bytes(axum::body::Body::new(response.into_body()), 1000).await?;
//! assert!(std::str::from_utf8(&body)?.contains(r#""code":"invalid_api_key""#));
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! [`describe`](GatewayService::describe) prints it, outermost first. [`Slot`] names the places on the
//! HTTP plane; what you add with [`layer`](GatewayBuilder::layer) stands innermost, just outside of the
//! routes, and with [`layer_at`](GatewayBuilder::layer_at) where you say. On the LLM plane layers of
//! your own stand between the protocol and the directory of models; each service of a model has a
//! circuit breaker of its own.
//!
//! # Who is let in, and how often
//!
//! Whatever the order of the calls, each layer stands in its place; those of one place in the order of their
//! calls. Without the first four everyone is let in.
//!
//! | call | place | takes |
//! |---|---|---|
//! | [`api_keys`](GatewayBuilder::api_keys), [`stored_keys`](GatewayBuilder::stored_keys) | `Auth` | keys |
//! | [`auth`](GatewayBuilder::auth) | `Auth` | any authenticator, or an [`AuthLayer`](crate::auth::AuthLayer) |
//! | [`client_certificates`](GatewayBuilder::client_certificates) | `Auth` | a [`ClientCertLayer`](crate::auth::client_cert::ClientCertLayer) |
//! | [`signed_requests`](GatewayBuilder::signed_requests) | `Auth` | a [`SignatureLayer`](crate::auth::signature::SignatureLayer) |
//! | [`address_list`](GatewayBuilder::address_list) | `Limits` | an [`AddressListLayer`](crate::address_list::AddressListLayer) |
//! | [`rate_limit`](GatewayBuilder::rate_limit) | `RateLimit` | a [`Quota`](crate::rate_limit::Quota), or a [`RateLimitLayer`](crate::rate_limit::RateLimitLayer) |
//! | [`chat_rate_limit`](GatewayBuilder::chat_rate_limit) | around the models | a `RateLimitLayer` by model |
//!
//! What these keep in memory, and whether a limit goes without its store, is among the
//! [metrics](GatewayService::metrics).
//!
//! # Models
//!
//! A name is looked up in this order: what was given with [`model`](GatewayBuilder::model);
//! `vendor/name`; a [`vendor`](GatewayBuilder::vendor) that lists the name; the only vendor there is.
//! Else the answer is 404 `model_not_found`. The lists of vendors are fetched in the background, kept
//! for ten minutes, and never waited for at the start.
//!
//! # Thoughts
//!
//! Where several vendors speak one protocol, what proves a thought is
//! [bound](crate::llm::Provider::bind_reasoning) to the vendor and model that made it: it has a mark
//! before it on its way to the client, and goes back to nobody else. With one vendor of a protocol the
//! bytes of its clients are not touched.
//!
//! # What needs no key
//!
//! `GET /health/live` (200 as long as the process answers) and `GET /health/ready` (503 while shutting
//! down). They touch no upstream.

mod authorized;
mod bounds;
mod builder;
mod connection;
mod directory;
mod drain;
mod env;
mod fault;
mod flood;
mod gauges;
mod head;
mod health;
mod pace;
mod planes;
mod server;
mod settled;
mod slot;
mod socket;
mod speakers;
mod stack;
mod tls;

pub use self::{
    builder::GatewayBuilder,
    directory::ChatService,
    drain::Drain,
    env::{Env, EnvError},
    fault::BuildError,
    server::Server,
    settled::HttpService,
    slot::Slot,
    tls::{Tls, TlsError},
};

use self::directory::Directory;
use crate::{
    Body, BoxError,
    auth::stored::StoredKeys,
    metrics::{Metrics, MetricsService},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use std::{
    convert::Infallible,
    fmt, io,
    net::ToSocketAddrs,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Where a gateway begins.
#[derive(Clone, Copy, Debug)]
pub struct Gateway;

impl Gateway {
    /// A builder without keys, limits or models.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::new()
    }
}

/// The gateway: one service for any request body. Its type can be written down.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct GatewayService {
    http: HttpService,
    shared: Arc<Shared>,
}

struct Shared {
    described: String,
    directory: Directory,
    metrics: Metrics,
    drain: Drain,
    /// Whose uses are to be written before the process ends.
    stored: Vec<StoredKeys>,
}

impl GatewayService {
    /// The layers, a line each, outermost first: plane, place and name.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.shared.described
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// A service that answers `GET /metrics`. It asks for no credentials: mount it where only those
    /// who may read it can reach it.
    #[must_use]
    pub fn metrics_service(&self) -> MetricsService {
        MetricsService::new(&self.shared.metrics)
    }

    /// The handle that makes `/health/ready` answer 503. [`Server`] uses it when it shuts down.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.shared.drain.clone()
    }

    /// Asks the vendors for their lists of models, where the last ones are old. [`Server`] does so at
    /// the start, and a request for `/v1/models` when it finds them old.
    pub async fn refresh_models(&self) {
        self.shared.directory.refresh().await;
    }

    /// Writes which keys were used, where they are in a store. A failure is in the log.
    async fn write_uses(&self) {
        for keys in &self.shared.stored {
            let _ = keys.write_uses().await;
        }
    }

    /// Serves on `addr` until Ctrl-C or SIGTERM, and then drains. [`Server`] has more to set.
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or bound.
    pub async fn serve(self, addr: impl ToSocketAddrs) -> io::Result<()> {
        Server::bind(self, addr)?.run().await
    }
}

impl fmt::Debug for GatewayService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayService")
            .field("layers", &self.shared.described.lines().count())
            .field("directory", &self.shared.directory)
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for GatewayService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GatewayFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.http.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        GatewayFuture(self.http.call(request.map(Body::new)))
    }
}

/// Response future of [`GatewayService`].
pub struct GatewayFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

impl Future for GatewayFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for GatewayFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayFuture").finish_non_exhaustive()
    }
}
