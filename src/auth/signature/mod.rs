//! Requests that are signed with a shared secret: the Standard Webhooks specification.
//!
//! The sender names the request (`webhook-id`), says when it sends it (`webhook-timestamp`), and signs
//! both and the body by HMAC-SHA256 (`webhook-signature: v1,…`). The layer reads the body as it came, byte
//! for byte, compares in constant time, takes each signature once, and puts the [`Principal`] whose secret
//! it was in the request's extensions.
//!
//! # Example
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::post};
//! use std::time::{Duration, SystemTime};
//! use tower_gateway::auth::signature::SignatureLayer;
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = SignatureLayer::new()
//!     .secret("billing", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?
//!     // The request below is of 2021.
//!     .clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_614_265_333));
//!
//! let app: Router = Router::new().route("/", post(async |body: String| body)).layer(layer);
//! let request = |signature: &str| {
//!     Request::post("/")
//!         .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
//!         .header("webhook-timestamp", "1614265330")
//!         .header("webhook-signature", signature)
//!         .body(Body::from(r#"{"test": 2432232314}"#))
//! };
//!
//! let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
//! assert_eq!(app.clone().oneshot(request(signature)?).await?.status(), StatusCode::OK);
//! assert_eq!(app.clone().oneshot(request(signature)?).await?.status(), StatusCode::CONFLICT);
//! let forged = signature.replace('g', "h");
//! assert_eq!(app.oneshot(request(&forged)?).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! | what was sent | status | code | headers |
//! |---|--:|---|---|
//! | none of the three headers | 401 | `missing_api_key` | `WWW-Authenticate: Signature realm="api"` |
//! | a signature that is nobody's, or of another time (5 minutes) | 401 | `invalid_api_key` | the same |
//! | one or two of the headers, one twice, or an id or a time that is none | 400 | `invalid_request` | |
//! | a body above 1 MiB | 413 | `request_too_large` | |
//! | the same signature again | 409 | `replay` | |
//! | more signatures than can be remembered | 503 | `auth_unavailable` | `Retry-After: 1` |
//!
//! A sender that tries again signs again, for the time is another one: that is no replay.
//!
//! **What if its store is down**: signatures are remembered in this process, and whatever another one has
//! taken is not known here. Where several serve one sender, have it reach one of them by its id, or let the
//! handler look at `webhook-id`, which stays in the request.
//!
//! # What goes further
//!
//! The body, in one piece, and the request without `webhook-signature` and without
//! [headers in which a caller claims to be someone](super#what-goes-further).
//!
//! # What is shared
//!
//! The signatures that were taken, at most 100,000 at some 60 bytes each, belong to the layer value and to
//! all services that it wraps. Every setter starts afresh.
//!
//! # Cancellation
//!
//! A call that is dropped while its body is read leaves no trace. One that is dropped later was taken: its
//! signature is not taken again.

mod replay;
mod webhook;

pub use self::webhook::InvalidSecret;

use self::{
    replay::{Noted, Replays},
    webhook::{Claim, Fault, Key, SIGNATURE},
};
use super::credential::Places;
use crate::{
    Body, BoxError, CollectError, Exchange, Principal, Reject, Rejection, collect, rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use std::{
    error::Error,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};
use subtle::{Choice, ConditionallySelectable};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// Applies [`Signature`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct SignatureLayer {
    config: Config,
    replays: Arc<Replays>,
}

#[derive(Clone)]
struct Config {
    keys: Arc<[(Principal, Key)]>,
    tolerance: Duration,
    body_limit: usize,
    remembered: usize,
    optional: bool,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl SignatureLayer {
    /// Takes nothing, for there is no secret yet. A request may be 5 minutes old or early, its body 1 MiB
    /// long, and 100,000 signatures are remembered.
    #[must_use]
    pub fn new() -> Self {
        let config = Config {
            keys: Arc::default(),
            tolerance: Duration::from_secs(5 * 60),
            body_limit: 1024 * 1024,
            remembered: 100_000,
            optional: false,
            clock: Arc::new(SystemTime::now),
        };
        Self::of(config)
    }

    fn of(config: Config) -> Self {
        let replays = Arc::new(Replays::new(config.remembered));
        Self { config, replays }
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.config);
        Self::of(self.config)
    }

    /// Adds a secret, `whsec_…`, and whose it is. There may be several for one sender, as while one replaces
    /// another; all of them are tried for each request.
    ///
    /// # Errors
    ///
    /// If it is not 24 to 512 bytes in Base64.
    pub fn secret(
        self,
        principal: impl Into<Arc<str>>,
        secret: impl AsRef<str>,
    ) -> Result<Self, InvalidSecret> {
        self.secret_of(Principal::new(principal), secret)
    }

    /// Adds a secret, and whose it is with all that goes with it.
    ///
    /// # Errors
    ///
    /// If it is not 24 to 512 bytes in Base64.
    pub fn secret_of(
        self,
        principal: Principal,
        secret: impl AsRef<str>,
    ) -> Result<Self, InvalidSecret> {
        let key = Key::read(secret.as_ref())?;
        let one = (principal, key);
        Ok(self.set(|config| config.keys = config.keys.iter().cloned().chain([one]).collect()))
    }

    /// Sets how old or early a request may be. At most an hour.
    #[must_use]
    pub fn tolerance(self, tolerance: Duration) -> Self {
        let hour = Duration::from_secs(60 * 60);
        self.set(|config| config.tolerance = tolerance.min(hour))
    }

    /// Sets how many bytes of a body are read.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|config| config.body_limit = bytes)
    }

    /// Sets how many signatures are remembered. When there is no room, requests are refused with 503, for
    /// nobody can say that they are new.
    #[must_use]
    pub fn remembered(self, signatures: usize) -> Self {
        self.set(|config| config.remembered = signatures)
    }

    /// Lets requests without any of the three headers pass, as nobody, so that a layer further in asks for
    /// something else ([`or_outer`](super::AuthLayer::or_outer)). Their bodies are not read.
    #[must_use]
    pub fn optional(self) -> Self {
        self.set(|config| config.optional = true)
    }

    /// Sets what tells the time. By default the system.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.set(|config| config.clock = Arc::new(clock))
    }

    /// How many signatures are remembered now. For a gauge.
    #[must_use]
    pub fn remembers(&self) -> usize {
        self.replays.len()
    }

    /// Judges the head of a request. `None`: it says nothing, and need not.
    fn claim(&self, headers: &http::HeaderMap) -> Result<Option<Claim>, Rejection> {
        let claim = match Claim::read(headers) {
            Ok(claim) => claim,
            Err(Fault::Absent) if self.config.optional => return Ok(None),
            Err(Fault::Absent) => return Err(challenge(Kind::Unauthenticated)),
            Err(Fault::Unsigned) => return Err(challenge(Kind::InvalidCredentials)),
            Err(Fault::Malformed) => {
                let detail = "The headers webhook-id, webhook-timestamp and webhook-signature must \
                              each be there once, and in order.";
                return Err(Rejection::new(Kind::InvalidRequest).with_detail(detail));
            }
        };
        let now = (self.config.clock)().duration_since(SystemTime::UNIX_EPOCH);
        let apart = now.unwrap_or_default().as_secs().abs_diff(claim.at);
        if apart > self.config.tolerance.as_secs() {
            return Err(challenge(Kind::InvalidCredentials));
        }
        Ok(Some(claim))
    }

    /// Whose signature it is. Each secret is tried, and takes as long as another.
    fn verify(&self, claim: &Claim, body: &[u8]) -> Result<&Principal, Rejection> {
        let (mut found, mut tag, mut nth) = (Choice::from(0), [0; 32], 0);
        for (at, (_, key)) in (0_u32..).zip(&*self.config.keys) {
            let own = key.sign(claim, body);
            let right = claim.bears(&own) & !found;
            nth = u32::conditional_select(&nth, &at, right);
            for (kept, own) in tag.iter_mut().zip(own) {
                kept.conditional_assign(&own, right);
            }
            found |= right;
        }
        let principal = self.config.keys.get(nth as usize);
        let Some((principal, _)) = principal.filter(|_| found.into()) else {
            return Err(challenge(Kind::InvalidCredentials));
        };
        let now = Instant::now();
        // From the earliest moment at which it is taken to the last.
        let until = now + self.config.tolerance * 2 + Duration::from_secs(1);
        match self.replays.note(tag, until, now) {
            Noted::First => Ok(principal),
            Noted::Again => Err(Kind::Replayed.into()),
            Noted::Full => {
                Err(Rejection::new(Kind::AuthUnavailable).with_retry_after(Duration::from_secs(1)))
            }
        }
    }

    /// Reads the body, and puts the principal in its place.
    async fn admit<B>(self, claim: Claim, request: Request<B>) -> Result<Request<Body>, Rejection>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        let body = collect(body, self.config.body_limit)
            .await
            .map_err(|error| match error {
                CollectError::TooLarge => Rejection::new(Kind::TooLarge),
                CollectError::Broken(error) => broken(error),
            })?;
        let principal = self.verify(&claim, &body)?;
        if let Some(exchange) = head.extensions.get::<Exchange>() {
            exchange.update(|facts| facts.principal = Some(principal.id().clone()));
        }
        head.extensions.insert(principal.clone());
        head.headers.remove(SIGNATURE);
        Ok(Request::from_parts(head, Body::from(body)))
    }
}

/// What a layer further out ended the body with, wherever frameworks have wrapped it; else the caller did.
fn broken(error: BoxError) -> Rejection {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        if let Some(rejection) = error.downcast_ref::<Rejection>() {
            return rejection.clone();
        }
        cause = error.source();
    }
    Rejection::new(Kind::InvalidRequest)
        .with_detail("The body broke off.")
        .with_source(error)
}

fn challenge(kind: Kind) -> Rejection {
    let challenge = HeaderValue::from_static(r#"Signature realm="api""#);
    Rejection::new(kind).with_header(header::WWW_AUTHENTICATE, challenge)
}

impl Default for SignatureLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SignatureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        let owners = config.keys.iter().map(|(principal, _)| principal.id());
        f.debug_struct("SignatureLayer")
            .field("secrets_of", &owners.collect::<Vec<_>>())
            .field("tolerance", &config.tolerance)
            .field("body_limit", &config.body_limit)
            .field("optional", &config.optional)
            .field("remembers", &self.remembers())
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SignatureLayer {
    type Service = Signature<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        Signature { inner, layer }
    }
}

/// Turns away requests that are not signed, or not by one of those whose secrets are known.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Signature<S> {
    inner: S,
    layer: SignatureLayer,
}

impl<S, B> Service<Request<B>> for Signature<S>
where
    S: Service<Request<Body>> + Clone,
    S::Response: Reject<S::Error>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Whoever put it there, it was not us.
        request.extensions_mut().remove::<Principal>();
        let state = match self.layer.claim(request.headers()) {
            Err(rejection) => State::Rejected {
                rejection: Some(rejection),
            },
            Ok(claim) => {
                Places::new([]).strip_claims(&mut request);
                match claim {
                    None => State::Called {
                        future: self.inner.call(request.map(Body::new)),
                    },
                    Some(claim) => {
                        // The clone may not be ready: leave it here, and take the one that is.
                        let clone = self.inner.clone();
                        State::Reading {
                            reading: Box::pin(self.layer.clone().admit(claim, request)),
                            inner: Some(mem::replace(&mut self.inner, clone)),
                        }
                    }
                }
            }
        };
        ResponseFuture { state }
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Request<Body>, Rejection>> + Send>>;

pin_project! {
    /// Response future of [`Signature`].
    pub struct ResponseFuture<S>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S>
    where
        S: Service<Request<Body>>,
    {
        Reading {
            reading: Reading,
            inner: Option<S>,
        },
        Called {
            #[pin]
            future: S::Future,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<S> Future for ResponseFuture<S>
where
    S: Service<Request<Body>>,
    S::Response: Reject<S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { reading, inner } => match ready!(reading.as_mut().poll(cx)) {
                    Ok(request) => State::Called {
                        future: inner.take().expect("polled after completion").call(request),
                    },
                    Err(rejection) => State::Rejected {
                        rejection: Some(rejection),
                    },
                },
                StateProj::Called { future } => return future.poll(cx),
                StateProj::Rejected { rejection } => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(S::Response::reject(rejection));
                }
            };
            state.set(next);
        }
    }
}

impl<S: Service<Request<Body>>> fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
