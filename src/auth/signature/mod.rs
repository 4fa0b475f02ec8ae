//! Requests that are signed with a shared secret: the Standard Webhooks specification.
//!
//! The sender names the request (`webhook-id`), says when it sends it (`webhook-timestamp`), and signs
//! both and the body by HMAC-SHA256 (`webhook-signature: v1,…`). The layer reads the body as it came, byte
//! for byte, compares in constant time, takes each request once, and puts the [`Principal`] whose secret
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
//! | any, from an address that has [shown too many](#wrong-signatures) that were wrong | 429 | `rate_limit_exceeded` | `Retry-After` |
//! | a body above 1 MiB | 413 | `request_too_large` | |
//! | the same request again: one of this sender, id and time | 409 | `replay` | |
//! | more requests than can be remembered | 503 | `auth_unavailable` | `Retry-After: 1` |
//!
//! A sender that tries again signs again, for the time is another one: that is no replay. A request with
//! several signatures, as while secrets change, is one request, whichever of them it is sent with again.
//! Where the clock goes back, a request of a time of which some are forgotten is refused as of another time.
//!
//! **What if its store is down**: requests are remembered in this process, and whatever another one has
//! taken is not known here. Where several serve one sender, have it reach one of them by its id, or let the
//! handler look at `webhook-id`, which stays in the request.
//!
//! # Wrong signatures
//!
//! All of the body must be read and hashed, by every secret, before anything is known of its sender. So
//!
//! - at most 64 MiB are hashed for one request: with `n` secrets a body may have 64 MiB / `n`, whatever
//!   [`body_limit`](SignatureLayer::body_limit) says, which up to 64 secrets is no less than the default.
//!   After every 64 KiB other tasks get their turn.
//! - an address may send [20 wrong ones in a minute](super::FailureLimit). Then, until the minute is over, it
//!   hears 429 and nothing of it is read, be it signed well or not: which of them it is cannot be known for
//!   less. It is the [`ClientAddr`](crate::client_addr::ClientAddr), as of [wrong keys](super#wrong-keys); be sure
//!   that it is not a proxy's. [`failure_limit`](SignatureLayer::failure_limit) sets this, or turns it off.
//!
//! # What goes further
//!
//! The body, in one piece, and the request without `webhook-signature` and without
//! [headers in which a caller claims to be someone](super#what-goes-further).
//!
//! # What is shared
//!
//! The requests that were taken, at most 100,000 at some 70 bytes each, and the count of wrong ones belong to
//! the layer value and to all services that it wraps. Every setter starts afresh.
//!
//! # Cancellation
//!
//! A call that is dropped while its body is read leaves no trace. One that is dropped later was taken, and
//! is not taken again.

mod replay;
mod webhook;

pub use self::webhook::InvalidSecret;

use self::{
    replay::{Mark, Noted, Replays},
    webhook::{Claim, Fault, Key, SIGNATURE},
};
use super::{
    credential::Places,
    failures::{FailureLimit, Failures},
};
use crate::{
    Body, BoxError, CollectError, Exchange, Principal, Reject, Rejection,
    client_addr::ByClientAddr, collect, key::Key as _, rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use sha2::{Digest as _, Sha256};
use std::{
    error::Error,
    fmt,
    future::Future,
    mem,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// The most bytes that are hashed for one request, of all its secrets.
const HASHED: usize = 64 << 20;
/// So many at once, before others get their turn.
const PIECE: usize = 64 << 10;

/// Applies [`Signature`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct SignatureLayer {
    config: Config,
    replays: Arc<Replays>,
    failures: Option<Arc<Failures>>,
}

#[derive(Clone)]
struct Config {
    keys: Arc<[(Principal, Key)]>,
    tolerance: Duration,
    body_limit: usize,
    remembered: usize,
    optional: bool,
    failure_limit: Option<FailureLimit>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl SignatureLayer {
    /// Takes nothing, for there is no secret yet. A request may be 5 minutes old or early, its body 1 MiB
    /// long, 100,000 are remembered, and an address may send 20 wrong ones in a minute.
    #[must_use]
    pub fn new() -> Self {
        let config = Config {
            keys: Arc::default(),
            tolerance: Duration::from_secs(5 * 60),
            body_limit: 1024 * 1024,
            remembered: 100_000,
            optional: false,
            failure_limit: Some(FailureLimit::default()),
            clock: Arc::new(SystemTime::now),
        };
        Self::of(config)
    }

    fn of(config: Config) -> Self {
        let failures = config.failure_limit.map(Failures::new).map(Arc::new);
        Self {
            replays: Arc::new(Replays::new(config.remembered)),
            failures,
            config,
        }
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

    /// Sets how many bytes of a body are read. With many secrets they are
    /// [fewer](self#wrong-signatures).
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|config| config.body_limit = bytes)
    }

    /// Sets how many requests are remembered, of each as many as there are principals whose secrets it is
    /// signed by. When there is no room, requests are refused with 503, for
    /// nobody can say that they are new.
    #[must_use]
    pub fn remembered(self, requests: usize) -> Self {
        self.set(|config| config.remembered = requests)
    }

    /// Sets how many wrong signatures an address may send; `None`: any number. See the
    /// [module docs](self#wrong-signatures). Here every limit is [strict](FailureLimit::strict).
    #[must_use]
    pub fn failure_limit(self, limit: impl Into<Option<FailureLimit>>) -> Self {
        self.set(|config| config.failure_limit = limit.into())
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

    /// How many requests are remembered now. For a gauge.
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
    async fn verify(&self, claim: &Claim, body: &[u8]) -> Result<&Principal, Rejection> {
        let mut right = Vec::with_capacity(self.config.keys.len());
        for (_, key) in &*self.config.keys {
            let mut signing = key.begin(claim);
            for piece in body.chunks(PIECE) {
                signing.update(piece);
                if piece.len() == PIECE {
                    tokio::task::yield_now().await;
                }
            }
            right.push(claim.bears(&signing.finish()));
        }
        let all = self.config.keys.iter().zip(right);
        let owners = all.filter(|(_, right)| bool::from(*right));
        let owners: Vec<&Principal> = owners.map(|((owner, _), _)| owner).collect();
        let Some(first) = owners.first() else {
            return Err(challenge(Kind::InvalidCredentials));
        };
        let mut marks: Vec<Mark> = owners.iter().map(|owner| mark(owner, claim)).collect();
        marks.sort_unstable();
        marks.dedup();
        let now = Instant::now();
        // From the earliest moment at which it is taken to the last.
        let until = now + self.config.tolerance * 2 + Duration::from_secs(1);
        match self.replays.note(&marks, claim.at, until, now) {
            Noted::First => Ok(*first),
            Noted::Again => Err(Kind::Replayed.into()),
            Noted::Forgotten => Err(challenge(Kind::InvalidCredentials)),
            Noted::Full => {
                Err(Rejection::new(Kind::AuthUnavailable).with_retry_after(Duration::from_secs(1)))
            }
        }
    }

    /// How many bytes of a body are read and hashed.
    fn most(&self) -> usize {
        let each = HASHED / self.config.keys.len().max(1);
        self.config.body_limit.min(each)
    }

    /// Whether the address has sent too much that was wrong.
    fn check(&self, address: Option<IpAddr>) -> Result<(), Rejection> {
        match (&self.failures, address) {
            (Some(failures), Some(address)) => failures.check(address),
            _ => Ok(()),
        }
    }

    /// Reads the body, and puts the principal in its place.
    async fn admit<B>(
        self,
        claim: Claim,
        address: Option<IpAddr>,
        request: Request<B>,
    ) -> Result<Request<Body>, Rejection>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        let body = collect(body, self.most())
            .await
            .map_err(|error| match error {
                CollectError::TooLarge => Rejection::new(Kind::TooLarge),
                CollectError::Broken(error) => broken(error),
            })?;
        // Others of this address may have been found wrong while it was read.
        self.check(address)?;
        let principal = match self.verify(&claim, &body).await {
            Err(wrong) if wrong.kind() == Kind::InvalidCredentials => {
                if let (Some(failures), Some(address)) = (&self.failures, address) {
                    failures.fail(address)?;
                }
                return Err(wrong);
            }
            verified => verified?,
        };
        if let Some(exchange) = head.extensions.get::<Exchange>() {
            exchange.update(|facts| facts.principal = Some(principal.id().clone()));
        }
        head.extensions.insert(principal.clone());
        head.headers.remove(SIGNATURE);
        Ok(Request::from_parts(head, Body::from(body)))
    }
}

/// The request of this sender, id and time. No part can be taken for the beginning of the next: each
/// says before how long it is.
fn mark(owner: &Principal, claim: &Claim) -> Mark {
    let mut hash = Sha256::new();
    for part in [owner.tenant().map_or("", |it| it), owner.id(), &*claim.id] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(claim.at.to_be_bytes());
    hash.finalize().into()
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
        let address = ByClientAddr.key(&request);
        let claim = self.layer.claim(request.headers());
        let claim = claim.and_then(|claim| match &claim {
            Some(_) => self.layer.check(address).map(|()| claim),
            None => Ok(None),
        });
        let state = match claim {
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
                            reading: Box::pin(self.layer.clone().admit(claim, address, request)),
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
