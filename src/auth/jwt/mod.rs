//! Tokens that say themselves whose they are: JSON Web Tokens, RFC 7519.
//!
//! [`Jwt`] is an [`Authenticate`] for the [`AuthLayer`](super::AuthLayer). A token is read by a strict
//! pass over its form, its header and its claims, its signature is verified by a key of the issuer that
//! it names, and its claims become a [`Principal`].
//!
//! # Example
//!
//! ```
//! use axum::{Extension, Router, http::StatusCode, routing::get};
//! use tower_gateway::{Principal, auth::{AuthLayer, Place, jwt::{Algorithm, Issuer, JwkSet, Jwt}}};
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Keys are most often not in the program: `Issuer::discover("https://issuer.example")`.
//! let keys = JwkSet::from_secret(Algorithm::HS256, b"a secret of 32 bytes, which is..")?;
//! let issuer = Issuer::new("https://issuer.example", keys).audience("gateway");
//! let jwt = Jwt::new([issuer])?;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|Extension(who): Extension<Principal>| async move { who.id().to_string() }))
//!     .layer(AuthLayer::new(jwt).places([Place::bearer()]).require_scope("chat"));
//! # let get = |token: &str| app.clone().oneshot(Request::get("/").header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap());
//!
//! // {"alg":"HS256"}, {"iss":"https://issuer.example","aud":"gateway","sub":"alice","scope":"chat","exp":4102444800}
//! let token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiZ2F0ZXdheSIsInN1YiI6Im\
//!     FsaWNlIiwic2NvcGUiOiJjaGF0IiwiZXhwIjo0MTAyNDQ0ODAwfQ.6e1RpSNtJmg-dvjG8sem8wQL4m0MojPjTYTHEh6gFjo";
//! assert_eq!(get(token).await?.status(), StatusCode::OK);
//!
//! let forged = token.replace("IUzI1NiJ9", "ub25lIn0");
//! let answer = get(&forged).await?;
//! assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(answer.headers()["www-authenticate"], r#"Bearer realm="api", error="invalid_token""#);
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! | what was sent | status | code | headers |
//! |---|--:|---|---|
//! | no token | 401 | `missing_api_key` | `WWW-Authenticate: Bearer realm="api"` |
//! | a token that is not in order, not verified, not (any more) valid, for others, or [bound](#bound-tokens) to another certificate | 401 | `invalid_api_key` | the same with `error="invalid_token"` |
//! | two credentials, or a token above 8 KiB | 400 | `invalid_request` | the same with `error="invalid_request"` |
//! | a token without a scope that is required | 403 | `insufficient_permissions` | the same with `error="insufficient_scope", scope="…"` |
//! | a token of an issuer whose keys were never to be had | 503 | `auth_unavailable` | `Retry-After` |
//! | a token whose key is not known, while the issuer does not answer or [may not be asked](#keys) | 503 | `auth_unavailable` | `Retry-After` |
//!
//! RFC 6750 §3. Which of the reasons it was shows in the source of the rejection, for logs, and not in the
//! answer.
//!
//! **What if its store is down**, here the issuer: the last good keys go on for [a day](Jwks::max_stale), and no call waits
//! for an issuer that is known to be down. Without any keys, 503.
//!
//! # What is refused
//!
//! In this order, and whoever signed it:
//!
//! 1. *Form* (RFC 7515 §3.1): more than 8 KiB; not three parts; an empty part; Base64 that is not
//!    canonical; a member of the header or of the claims, at any depth, that stands twice.
//! 2. *Header*: an `alg` that is not one of the issuer's; `crit` and `b64`, as no extension is understood;
//!    anything encrypted or nested. `jku`, `x5u`, `jwk` and `x5c` are not looked at.
//! 3. *Issuer*: an `iss` that is not, letter by letter, that of one of the issuers. It chooses whose keys
//!    are asked; nothing that a token says is ever fetched.
//! 4. *Key*: see [`JwkSet`]. Symmetric algorithms only where the keys are symmetric, and never for keys that
//!    are published.
//! 5. *Signature*.
//! 6. *Claims*: dates that are no numbers, negative, or past the year 9999; no `exp`; `exp`, `nbf` and
//!    `iat` that are not of now, give or take a minute; another `aud`; another `typ`; whatever else the
//!    [`Issuer`] asks for.
//!
//! # Bound tokens
//!
//! A token with `cnf` was issued to one client and to nobody who gets hold of it (RFC 7800). With
//! `x5t#S256` and nothing else in it, it lets in by the certificate of this thumbprint alone (RFC 8705): that
//! of the [connection](crate::tls::TlsInfo), or of what a trusted proxy tells of it, for which a
//! [`ClientCertLayer`](super::client_cert#bound-tokens) stands further out. By another one, or by none, it is
//! 401 `invalid_token`, as often as it is shown. With anything else in it, such as `jkt` (DPoP, RFC 9449),
//! it is refused, for nobody here could see the proof. [`Issuer::require_certificate`] refuses tokens that
//! are not bound at all.
//!
//! # Keys
//!
//! Keys at a [URL](Jwks::url) are fetched when they are first needed, within 5 seconds and 512 KiB, and
//! never from where a redirect points. They are fresh for as long as `Cache-Control: max-age` says, between
//! a minute and a day, else for 10 minutes. After 80 % of that they are fetched again behind the back of a
//! call, conditionally where there is an `ETag`. Nobody fetches twice at once. After a failure it is tried
//! again after a second, then after two, at last every minute.
//!
//! A `kid` that is not among them may be new: then they are fetched once more, with whatever the issuer says
//! of itself, and the call waits. That happens once in [10 seconds](Jwks::cooldown) at the most, so that a storm
//! of made-up names costs the issuer next to nothing. 401 is said only if the issuer was asked after the call
//! came; within those seconds it is 503 with the rest of them in `Retry-After`, for the key may have been
//! published since. So nobody who makes up names can have a good token refused with 401 when keys are rotated,
//! and a token whose claims would be refused under any key is refused at once. An issuer should still publish a
//! key a while before it signs by it: then nobody waits, and nobody is told to.
//!
//! A set that cannot be read, or is ambiguous, counts as a failure: the last good one stays.
//!
//! # What is shared
//!
//! Clones of a [`Jwt`] share the keys and the verified tokens. Of these at most 10,000 are kept, under the
//! SHA-256 of the whole token, each until it expires, and for a minute at the most: so long a token still
//! lets in whose key was withdrawn. Tokens that were refused are not kept.
//!
//! # Cancellation
//!
//! Keys are fetched by a task of its own. A call that is dropped while it waits for them leaves no trace.

mod algorithm;
mod binding;
mod claims;
mod discovery;
mod freshness;
mod issuer;
mod jwk;
mod jwks;
mod mapping;
mod roca;
mod token;

pub use self::{
    algorithm::{Algorithm, UnknownAlgorithm},
    issuer::{InvalidIssuers, Issuer},
    jwk::{InvalidKeySet, InvalidSignature, JwkSet},
    jwks::Jwks,
};
pub(super) use self::{
    binding::{Verified, verified},
    claims::{Demand, Demands},
    mapping::{Mapping, Tenant},
};
pub use super::outward::InvalidUrl;

use self::{
    jwk::Selected,
    jwks::{Answer, Flight},
    token::{Reason, Token},
};
use super::{
    Authenticate, Credential, Verdict,
    cache::{Cache, Digest},
};
use crate::{Principal, Rejection, rejection::Kind};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How long a token is taken without verifying it again.
const KEPT: Duration = Duration::from_secs(60);

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Says whose a token is.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Jwt {
    issuers: Arc<HashMap<Box<str>, Issuer>>,
    verified: Arc<Cache<Verified>>,
    clock: Clock,
}

impl Jwt {
    /// Takes tokens of these issuers, and of nobody else. Keeps 10,000 that were verified.
    ///
    /// # Errors
    ///
    /// If there is none, one is there twice or asks for no audience, if algorithms and keys do not fit, or if
    /// principals of two issuers could have one name.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, InvalidIssuers> {
        let issuers: Vec<_> = issuers.into_iter().collect();
        issuer::check(&issuers)?;
        let named = issuers.into_iter().map(|it| (it.name.clone(), it));
        Ok(Self {
            issuers: Arc::new(named.collect()),
            verified: Arc::new(Cache::new(10_000)),
            clock: Arc::new(SystemTime::now),
        })
    }

    /// Sets how many verified tokens are kept, at some 200 bytes each. Zero: none, so that every call pays
    /// for a signature. What was kept before is forgotten.
    #[must_use]
    pub fn keep(mut self, tokens: usize) -> Self {
        self.verified = Arc::new(Cache::new(tokens));
        self
    }

    /// Sets what tells the time. By default the system.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How many verified tokens are kept now. For a gauge.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.verified.len()
    }

    /// Fetches the keys of all issuers that have none yet, so that the first call need not wait, or nobody
    /// is called ready before.
    ///
    /// # Errors
    ///
    /// With [`Kind::AuthUnavailable`] if the keys of one are not to be had.
    pub async fn ready(&self) -> Result<(), Rejection> {
        for issuer in self.issuers.values() {
            let keys = match issuer.keys.keys() {
                Answer::Wait(flight) => {
                    flight.landed().await;
                    issuer.keys.keys_after_flight()
                }
                other => other,
            };
            if let Answer::Down(rejection) = keys {
                return Err(rejection);
            }
        }
        Ok(())
    }

    /// Judges a token, after a wait for keys with what was told of when it came.
    fn judge(&self, credential: &Credential, digest: Digest, came: Option<u64>) -> Judged {
        let refuse = |reason: Reason| Judged::Done(Err(refused(reason)));
        let token = match Token::read(credential.expose()) {
            Ok(token) => token,
            Err(reason) => return refuse(reason),
        };
        let claims = match token.claims() {
            Ok(claims) => claims,
            Err(reason) => return refuse(reason),
        };
        // It only chooses whose keys are to say whether it is true.
        let issuer = claims.get("iss").and_then(|iss| iss.as_str());
        let Some(issuer) = issuer.and_then(|iss| self.issuers.get(iss)) else {
            return refuse("its issuer is not known");
        };
        if !issuer.permits(token.header.algorithm) {
            return refuse("its algorithm is not allowed");
        }
        let late = came.is_some();
        let came = came.unwrap_or_else(|| issuer.keys.asked());
        let loaded = match issuer.keys.keys() {
            Answer::Wait(_) if late => issuer.keys.keys_after_flight(),
            other => other,
        };
        let loaded = match loaded {
            Answer::Now(loaded) => loaded,
            Answer::Wait(flight) => return Judged::Wait(flight, came),
            Answer::Down(rejection) => return Judged::Done(Err(rejection)),
        };
        let selected = if loaded.permits(token.header.algorithm) {
            loaded.keys.select(&token.header)
        } else {
            // Its issuer may have changed its mind.
            Selected::Unknown
        };
        match selected {
            Selected::Key(key) if key.verifies(&token) => {}
            Selected::Key(_) => return refuse("its signature is wrong"),
            Selected::Unfit(reason) => return refuse(reason),
            Selected::Unknown => {
                // What no key makes good needs none to be refused.
                let now = seconds((self.clock)());
                if let Err(reason) = issuer.principal(&token.header, &claims, now) {
                    return refuse(reason);
                }
                return match issuer.keys.for_unknown(came) {
                    Answer::Now(()) => refuse("its key or its algorithm is not its issuer's"),
                    Answer::Wait(flight) => Judged::Wait(flight, came),
                    Answer::Down(rejection) => Judged::Done(Err(rejection)),
                };
            }
        }
        let now = seconds((self.clock)());
        match issuer.principal(&token.header, &claims, now) {
            Ok((verified, exp)) => {
                let left = exp.map_or(KEPT, |exp| lasting(exp - now));
                if !left.is_zero() {
                    let until = Instant::now() + left.min(KEPT);
                    self.verified.put(digest, verified.clone(), until);
                }
                Judged::Done(verified.shown_with(credential.certificate.as_ref()))
            }
            Err(reason) => refuse(reason),
        }
    }
}

enum Judged {
    Done(Result<Principal, Rejection>),
    /// And when the token came.
    Wait(Flight, u64),
}

impl Authenticate for Jwt {
    type Future = JwtFuture;

    fn verify(&self, credential: Credential) -> Verdict<JwtFuture> {
        let digest = hash(credential.expose());
        if let Some(verified) = self.verified.get(&digest, Instant::now()) {
            return Verdict::Now(verified.shown_with(credential.certificate.as_ref()));
        }
        let (first, came) = match self.judge(&credential, digest, None) {
            Judged::Done(verdict) => return Verdict::Now(verdict),
            Judged::Wait(flight, came) => (flight, came),
        };
        let this = self.clone();
        Verdict::Later(JwtFuture(Box::pin(async move {
            let mut flight = first;
            loop {
                flight.landed().await;
                flight = match this.judge(&credential, digest, Some(came)) {
                    Judged::Done(verdict) => return verdict,
                    Judged::Wait(flight, _) => flight,
                };
            }
        })))
    }

    /// If it has three parts, and the first begins as an object does.
    fn recognises(&self, credential: &Credential) -> bool {
        token::looks_like_one(credential.expose())
    }

    fn kept(&self) -> usize {
        self.verified.len()
    }
}

/// What is awaited where keys must be fetched.
pub struct JwtFuture(Pin<Box<dyn Future<Output = Result<Principal, Rejection>> + Send>>);

impl Future for JwtFuture {
    type Output = Result<Principal, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for JwtFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuers", &self.issuers)
            .field("kept", &self.kept())
            .finish_non_exhaustive()
    }
}

pub(super) fn hash(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// The reason is for logs.
pub(super) fn refused(reason: Reason) -> Rejection {
    Rejection::new(Kind::InvalidCredentials).with_source(reason)
}

/// Since 1970.
pub(super) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Nothing, if it is over.
pub(super) fn lasting(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests;
