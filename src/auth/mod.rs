//! Find out who calls, by an API key, and turn away who cannot show one.
//!
//! The layer takes the key out of the request, asks an [`Authenticate`] whose it is, and puts the
//! [`Principal`] in the request's extensions: for limits, access rules and logs further in. The key
//! itself goes no further, neither to a handler nor to an upstream.
//!
//! Here are [API keys](ApiKeys). Beside them there are [tokens](jwt) that say themselves whose they are,
//! tokens of which [their issuer is asked](introspection), requests that are [signed](signature), and
//! [certificates](client_cert) of clients.
//!
//! # Example
//!
//! ```
//! use axum::{Extension, Router, http::StatusCode, routing::get};
//! use tower_gateway::{Principal, auth::{ApiKeys, AuthLayer}};
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let keys = ApiKeys::new().add("alice", "the key that alice has");
//! assert!(keys.check().is_ok());
//!
//! let app: Router = Router::new()
//!     .route("/", get(|Extension(who): Extension<Principal>| async move { who.id().to_string() }))
//!     .layer(AuthLayer::new(keys));
//! # let get = |key: &str| app.clone().oneshot(Request::get("/").header("authorization", key).body(Body::empty()).unwrap());
//!
//! let known = get("Bearer the key that alice has").await.unwrap();
//! assert_eq!(known.status(), StatusCode::OK);
//!
//! let unknown = get("Bearer the key of nobody").await.unwrap();
//! assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(unknown.headers()["www-authenticate"], r#"Bearer realm="api", error="invalid_token""#);
//! # }
//! ```
//!
//! # Where the key stands
//!
//! In `Authorization: Bearer …`, `x-api-key`, `api-key` (Azure) or `x-goog-api-key`, or where
//! [`places`](AuthLayer::places) says. In one of them, and once: a request with two is refused, for
//! whoever reads it after us might read the other one. Never in a URL, where logs would keep it.
//!
//! # Answers
//!
//! | what was sent | status | code | headers: `WWW-Authenticate: Bearer realm="api"` with |
//! |---|--:|---|---|
//! | no key, or another scheme | 401 | `missing_api_key` | nothing |
//! | a key that is unknown, wrong, expired, or not valid yet | 401 | `invalid_api_key` | `error="invalid_token"` |
//! | two keys, or one twice; a key that is empty or above 8 KiB; no scheme | 400 | `invalid_request` | `error="invalid_request"` |
//! | a key without a [required scope](AuthLayer::require_scope) | 403 | `insufficient_permissions` | `error="insufficient_scope", scope="…"` |
//! | a wrong key, from an address that has [shown too many](#wrong-keys) | 429 | `rate_limit_exceeded` | no challenge, but `Retry-After` |
//! | a key that the authenticator forbids, where no scope is required | 403 | `insufficient_permissions` | `error="insufficient_scope"` |
//! | a key that cannot be checked, for its store or its issuer does not answer | 503 | `auth_unavailable` | no challenge, but `Retry-After` |
//!
//! Which of the reasons for `invalid_api_key` it was shows neither in the answer nor in its time.
//!
//! **What if its store is down**: fixed [keys](ApiKeys) have none. What an authenticator that asks somebody
//! does then is told where it is: [stored keys](stored#answers), [tokens](jwt#answers),
//! [introspection](introspection#answers). None of them lets in whom it does not know.
//!
//! # More than one scheme
//!
//! - *Any of*: [`AnyOf`] asks the first authenticator that recognises the form of the credential, and
//!   no other. Where a scheme is a layer of its own, that layer stands further out and is optional, and
//!   [`or_outer`](AuthLayer::or_outer) lets pass whom it has let in. Two credentials are refused in
//!   either case.
//! - *All of*: one layer further out, and [`and_outer`](AuthLayer::and_outer) further in, each with
//!   [places](AuthLayer::places) of its own.
//! - *Optional*: [`optional`](AuthLayer::optional).
//!
//! # Names of several schemes
//!
//! What counts and what permits goes by the tenant and the [id](Principal::id) of a principal, whichever scheme
//! found it: the owner `billing` of a key and the `sub` `billing` of a token are one. Keys and secrets have names
//! that you give; what an issuer or an authority names is its choice. So where there is more than one scheme set
//! a prefix for each that names people by itself, such as `sso:`: of an [`Issuer`](jwt::Issuer::prefix), of
//! [introspection](introspection::Introspection::prefix), of [certificates](client_cert::ClientCertLayer::prefix).
//! It stands before teams and tenants too. Of an issuer that belongs to a customer say
//! [in which tenant](jwt::Issuer::in_tenant) it is.
//!
//! # Wrong keys
//!
//! An address may show [20 wrong keys in a minute](FailureLimit), counted from the first one. Then,
//! until the minute is over, it hears 429 with `Retry-After`, and an authenticator that would have to
//! wait for its answer, such as for a database, is not asked at all: neither for good keys nor for bad
//! ones. A good key that is [found in memory](Verdict::Now) lets in all the same. So nobody who shares
//! an address with someone else, behind one router or behind a balancer that is not
//! [trusted](crate::client_addr), can lock the others out. [`strict`](FailureLimit::strict) refuses
//! these too.
//!
//! The address is the [`ClientAddr`](crate::client_addr::ClientAddr) of the request, IPv6 by its /64;
//! where there is none, nothing is counted. No key at all, two keys and malformed ones do not count, nor
//! does a key without a scope. Of 10,000 addresses failures are counted at once; all others share one
//! count until there is room. [`failure_limit`](AuthLayer::failure_limit) sets all of this, or turns it
//! off. A call with a good key takes no part in it, and pays nothing for it.
//!
//! # What goes further
//!
//! - The headers in which a key may stand are taken out, unless
//!   [`keep_credentials`](AuthLayer::keep_credentials) is set.
//! - [Headers by which a gateway tells a service who calls](crate::identity) are taken out, as Envoy and
//!   Kong do, such as those whose names begin with `x-user-`, or the same with `_`. Here they are but
//!   what the caller claims, so `keep_credentials` does not keep them, nor does
//!   [`optional`](AuthLayer::optional). A header that is a [place](AuthLayer::places) for a key is not
//!   one of them, but the same name with `_` is. To send such headers, add
//!   [`PrincipalHeadersLayer`] further in, or a layer of your own.
//! - A `Principal` that was there before is taken out, also where nobody needs to show a key. So
//!   what is found there further in was put there by this layer.
//! - The name of the principal is noted in the [`Exchange`](crate::Exchange), if there is one.
//!
//! # What is kept
//!
//! Keys that come and go while requests flow are kept in a [store](stored).
//!
//! [`ApiKeys`] keeps SHA-256 hashes, never keys. That is enough for keys that are long and random,
//! and the only thing that is fast enough for every request. Nothing here shows a key in `Debug`.
//!
//! # What is shared
//!
//! The keys, and the count of wrong ones: they belong to the layer value, to every service that it
//! wraps, and to the layers that are made from it by another setting than
//! [`failure_limit`](AuthLayer::failure_limit), which starts afresh.
//!
//! # Cancellation
//!
//! The service is called only after the key was found good. A call that is dropped before leaves no
//! trace.

mod any_of;
#[cfg_attr(
    not(feature = "jwt"),
    allow(dead_code, reason = "tokens need all of it")
)]
mod base64;
#[cfg(feature = "jwt")]
mod cache;
mod certificate;
pub mod client_cert;
mod credential;
mod failures;
mod grant;
#[cfg(feature = "jwt")]
pub mod introspection;
#[cfg(feature = "jwt")]
mod json;
#[cfg(feature = "jwt")]
pub mod jwt;
mod key;
mod keys;
mod principal_headers;
mod rules;
mod service;
pub mod signature;
pub mod stored;

pub use self::{
    any_of::{AnyOf, AnyOfFuture},
    certificate::Thumbprint,
    credential::{Credential, Place},
    failures::FailureLimit,
    grant::Grant,
    key::{ApiKey, KeyFault, Secret},
    keys::{ApiKeys, InvalidKeys},
    principal_headers::{PrincipalHeaders, PrincipalHeadersLayer},
    service::{Auth, ResponseFuture},
};

use self::{
    credential::Places,
    failures::Failures,
    rules::{Challenges, Outer, Rules},
};
#[cfg(feature = "jwt")]
use crate::client::outward;
use crate::{Principal, Rejection};
use http::HeaderName;
use std::{fmt, future::Future, sync::Arc};

/// Says whose a credential is.
///
/// Closures `Fn(Credential) -> impl Future<Output = Result<Principal, Rejection>>` implement this,
/// to ask a database or another service:
///
/// ```
/// use tower_gateway::{Principal, Rejection, auth::{AuthLayer, Credential}, rejection::Kind};
///
/// let layer = AuthLayer::new(|credential: Credential| async move {
///     match credential.expose() {
///         b"open sesame" => Ok(Principal::new("ali baba")),
///         _ => Err(Rejection::new(Kind::InvalidCredentials)),
///     }
/// });
/// ```
///
/// Refuse with [`Kind::InvalidCredentials`](crate::rejection::Kind::InvalidCredentials) whatever is
/// the reason, and take the same time for each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say whose a credential is",
    note = "a closure must name its argument's type: \
            `|credential: Credential| async move {{ Ok(Principal::new(…)) }}`"
)]
pub trait Authenticate {
    /// What is awaited where the answer is not at hand.
    type Future: Future<Output = Result<Principal, Rejection>>;

    /// Looks up the principal.
    fn verify(&self, credential: Credential) -> Verdict<Self::Future>;

    /// Whether a credential has the form of those that are known here. By default any has.
    ///
    /// Asked where there is [more than one](AnyOf) who might know it. Judge the form alone: whoever
    /// says yes decides.
    fn recognises(&self, credential: &Credential) -> bool {
        let _ = credential;
        true
    }

    /// Of how many credentials it is known without waiting whose they are. For a gauge; by default of none.
    fn kept(&self) -> usize {
        0
    }
}

/// Whose a credential is, now or later.
#[derive(Debug)]
pub enum Verdict<F> {
    /// Found in memory, without waiting.
    Now(Result<Principal, Rejection>),
    /// To be awaited.
    Later(F),
}

impl<A, F> Authenticate for A
where
    A: Fn(Credential) -> F,
    F: Future<Output = Result<Principal, Rejection>>,
{
    type Future = F;

    fn verify(&self, credential: Credential) -> Verdict<F> {
        Verdict::Later(self(credential))
    }
}

/// Whose the other credential is, where [two are asked for](AuthLayer::and_outer). In the extensions of
/// the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondPrincipal(pub Principal);

/// Applies [`Auth`] to a service.
///
/// See the [module docs](self) for an example.
pub struct AuthLayer<A = ApiKeys> {
    authenticate: Arc<A>,
    rules: Arc<Rules>,
}

impl<A> AuthLayer<A> {
    /// Every call needs a key, in one of the four usual headers, which are then taken out. The realm
    /// is `api`. An address may show 20 wrong keys in a minute.
    #[must_use]
    pub fn new(authenticate: A) -> Self {
        let header = |name| Place::header(HeaderName::from_static(name));
        let places = [
            Place::bearer(),
            header("x-api-key"),
            header("api-key"),
            header("x-goog-api-key"),
        ];
        let rules = Rules {
            places: Places::new(places),
            realm: "api".into(),
            scopes: Vec::new(),
            optional: false,
            keep: false,
            outer: Outer::Nothing,
            failures: Some(Arc::new(Failures::new(FailureLimit::default()))),
            challenges: Challenges::default(),
        };
        Self {
            authenticate: Arc::new(authenticate),
            rules: Arc::new(rules.challenging()),
        }
    }

    /// Sets where a key may stand.
    #[must_use]
    pub fn places(self, places: impl IntoIterator<Item = Place>) -> Self {
        self.set(|rules| rules.places = Places::new(places))
    }

    /// Sets for what the key is, as `WWW-Authenticate` tells it. What is not printable ASCII becomes
    /// `?`.
    #[must_use]
    pub fn realm(self, realm: impl Into<Box<str>>) -> Self {
        self.set(|rules| rules.realm = realm.into())
    }

    /// Adds a scope that every key must have.
    #[must_use]
    pub fn require_scope(self, scope: impl Into<Box<str>>) -> Self {
        self.set(|rules| rules.scopes.push(scope.into()))
    }

    /// Lets calls without any credential pass, as nobody: there is no [`Principal`]. One that is
    /// there must still be good. Where a scope is required, nobody does not have it.
    #[must_use]
    pub fn optional(self) -> Self {
        self.set(|rules| rules.optional = true)
    }

    /// Lets pass whom a layer further out has let in by name. A credential beside that is one too many,
    /// and refused with 400. See [more than one scheme](self#more-than-one-scheme).
    #[must_use]
    pub fn or_outer(self) -> Self {
        self.set(|rules| rules.outer = Outer::Or)
    }

    /// Asks for a credential beside the one for which a layer further out has let in by name. That name
    /// stays the [`Principal`]; the one found here is the [`SecondPrincipal`], and the scopes that are
    /// required here are required of it. There is no [`optional`](Self::optional) then. See
    /// [more than one scheme](self#more-than-one-scheme).
    #[must_use]
    pub fn and_outer(self) -> Self {
        self.set(|rules| rules.outer = Outer::And)
    }

    /// Leaves the credential in the request. Then whatever the request is forwarded to sees it.
    /// Headers by which a caller claims to be someone are taken out all the same.
    #[must_use]
    pub fn keep_credentials(self) -> Self {
        self.set(|rules| rules.keep = true)
    }

    /// Sets how many wrong keys an address may show; `None`: any number. See the
    /// [module docs](self#wrong-keys).
    #[must_use]
    pub fn failure_limit(self, limit: impl Into<Option<FailureLimit>>) -> Self {
        let failures = limit.into().map(Failures::new).map(Arc::new);
        self.set(|rules| rules.failures = failures)
    }

    /// Of how many addresses wrong keys are counted now. For a gauge.
    #[must_use]
    pub fn failing_addresses(&self) -> usize {
        let failures = self.rules.failures.as_ref();
        failures.map_or(0, |failures| failures.addresses())
    }

    /// Of how many credentials it is known without waiting whose they are. For a gauge.
    #[must_use]
    pub fn kept(&self) -> usize
    where
        A: Authenticate,
    {
        self.authenticate.kept()
    }

    /// Whether whom a layer further out has let in is asked for.
    #[cfg(feature = "gateway")]
    pub(crate) fn heeds_outer(&self) -> bool {
        self.rules.outer != Outer::Nothing
    }

    fn set(mut self, set: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules::clone(&self.rules);
        set(&mut rules);
        self.rules = Arc::new(rules.challenging());
        self
    }
}

/// [Every call needs a credential](AuthLayer::new) that this knows.
impl<A: Authenticate> From<A> for AuthLayer<A> {
    fn from(authenticate: A) -> Self {
        Self::new(authenticate)
    }
}

impl<A> Clone for AuthLayer<A> {
    fn clone(&self) -> Self {
        Self {
            authenticate: self.authenticate.clone(),
            rules: self.rules.clone(),
        }
    }
}

impl<A> fmt::Debug for AuthLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
