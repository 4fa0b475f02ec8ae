//! Tokens that say nothing of themselves: whoever issued them is asked, RFC 7662.
//!
//! [`Introspection`] is an [`Authenticate`] for the [`AuthLayer`](super::AuthLayer).
//!
//! ```no_run
//! use tower_gateway::auth::{AnyOf, AuthLayer, introspection::Introspection, jwt::{Issuer, Jwt}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let opaque = Introspection::new("https://issuer.example/introspect", "gateway", "its secret")?
//!     .issuer("https://issuer.example")
//!     .audience("gateway");
//! let layer = AuthLayer::new(opaque.clone());
//!
//! // Tokens that can be read are read, and the issuer is asked for the others.
//! let jwt = Jwt::new([Issuer::discover("https://issuer.example")?.audience("gateway")])?;
//! let layer = AuthLayer::new(AnyOf::new(jwt, opaque));
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! | what was sent | status | code | headers |
//! |---|--:|---|---|
//! | no token | 401 | `missing_api_key` | `WWW-Authenticate: Bearer realm="api"` |
//! | a token that is not active, has expired, is for others, or [bound](super::jwt#bound-tokens) to another certificate | 401 | `invalid_api_key` | the same with `error="invalid_token"` |
//! | two credentials, or a token above 8 KiB | 400 | `invalid_request` | the same with `error="invalid_request"` |
//! | a token without a scope that is required | 403 | `insufficient_permissions` | the same with `error="insufficient_scope", scope="…"` |
//! | a token of which the issuer does not tell | 503 | `auth_unavailable` | `Retry-After: 1` |
//!
//! **What if its store is down**, here the issuer: what it said within the last minute holds for as long as it would have
//! held anyway; all else is 503, after 5 seconds at the most. To leave an issuer that is down alone, give a
//! [`client`](Introspection::client) with a circuit breaker around it.
//!
//! # What is asked, and what is kept
//!
//! The issuer is asked once for all calls that bring one token at one time, by a task of its own, which no
//! call that is dropped takes along; of at most 1,000 tokens at once. That a token is active is kept until
//! it expires, and for a minute at the most; that it is not, for 10 seconds. So long a token still lets in
//! that was revoked. Of either kind there are 10,000 entries at the most, under the SHA-256 of the whole
//! token, and a flood of wrong ones drives out none that is right. Two values of [`Introspection`] share
//! nothing; clones share all of it, and every setter starts afresh.

use super::{
    Authenticate, Credential, Verdict,
    base64::{Form, encode},
    cache::{Cache, Digest},
    json,
    jwt::{
        Demand, Demands, InvalidUrl, Mapping, Tenant, Verified, hash, lasting, refused, seconds,
        verified,
    },
    outward::{Caller, endpoint},
};
use crate::{Body, BoxError, Principal, Rejection, rejection::Kind};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    fmt,
    fmt::Write,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::{runtime::Handle, sync::watch, time::Instant};
use tower_service::Service;

/// The most bytes of an answer.
const LARGEST: usize = 64 * 1024;
/// The most tokens that are asked for at once.
const MOST_ASKED: usize = 1000;
/// How long it is kept that a token is active, and that it is not.
const ACTIVE: Duration = Duration::from_secs(60);
const INACTIVE: Duration = Duration::from_secs(10);

/// Asks the issuer whose a token is.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Introspection {
    config: Arc<Config>,
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Config {
    endpoint: Uri,
    authorization: HeaderValue,
    caller: Option<Caller>,
    issuer: Option<Box<str>>,
    demands: Demands,
    mapping: Mapping,
    active: Duration,
    kept: usize,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

struct Shared {
    active: Cache<Verified>,
    inactive: Cache<()>,
    asked: Mutex<HashMap<Digest, Told>>,
    caller: OnceLock<Caller>,
}

/// What an issuer says of one token, once it does.
type Told = watch::Receiver<Option<Result<Verified, Rejection>>>;

impl Introspection {
    /// Asks at this URL, as a client of this id and secret (HTTP Basic, RFC 6749 §2.3.1).
    ///
    /// # Errors
    ///
    /// If it is not an `https` URL, nor an `http` URL of this machine.
    pub fn new(
        endpoint: impl AsRef<str>,
        client_id: impl AsRef<str>,
        client_secret: impl AsRef<str>,
    ) -> Result<Self, InvalidUrl> {
        let endpoint = self::endpoint(endpoint.as_ref())?;
        let (id, secret) = (form(client_id.as_ref()), form(client_secret.as_ref()));
        let basic = encode(Form::Padded, format!("{id}:{secret}").as_bytes());
        let basic = HeaderValue::try_from(format!("Basic {basic}"));
        let mut authorization = basic.map_err(|_| InvalidUrl(()))?;
        authorization.set_sensitive(true);
        Ok(Self::of(Config {
            endpoint,
            authorization,
            caller: None,
            issuer: None,
            demands: Demands {
                expiry: false,
                ..Demands::default()
            },
            mapping: Mapping::default(),
            active: ACTIVE,
            kept: 10_000,
            clock: Arc::new(SystemTime::now),
        }))
    }

    fn of(config: Config) -> Self {
        let shared = Shared {
            active: Cache::new(config.kept),
            inactive: Cache::new(config.kept),
            asked: Mutex::default(),
            caller: OnceLock::new(),
        };
        Self {
            config: Arc::new(config),
            shared: Arc::new(shared),
        }
    }

    fn set(self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        set(&mut config);
        Self::of(config)
    }

    /// Takes tokens only of which the answer says that they are of this issuer, letter by letter.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<Box<str>>) -> Self {
        self.set(|config| config.issuer = Some(issuer.into()))
    }

    /// Adds one for whom tokens may be meant (`aud`). Of those that are added one must then be among a
    /// token's. Without any, whatever the issuer tells this client of will do.
    #[must_use]
    pub fn audience(self, audience: impl Into<Box<str>>) -> Self {
        self.set(|config| config.demands.audiences.push(audience.into()))
    }

    /// Takes tokens only of which this member of the answer is this string, number or boolean, or an array
    /// that holds it. It is named by its name, or by a JSON pointer that begins with `/`.
    #[must_use]
    pub fn require_value(self, member: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        let (pointer, value) = (member.into(), Some(value.into()));
        self.set(|config| config.demands.claims.push(Demand { pointer, value }))
    }

    /// Sets by how much clocks may differ. 60 seconds by default, 5 minutes at the most.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        let most = Duration::from_secs(5 * 60);
        self.set(|config| config.demands.leeway = leeway.min(most))
    }

    /// Sets what stands before the names of principals, and of the teams and tenants that answers name. Nothing
    /// by default. Set one where this is [not the only scheme](super#names-of-several-schemes).
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.prefix = prefix.into())
    }

    /// Sets which member names the principal. `sub` by default; some issuers tell only `client_id` of
    /// tokens that belong to no person.
    #[must_use]
    pub fn subject(self, member: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.subject = Some(member.into()))
    }

    /// Sets which member holds the roles. None by default.
    #[must_use]
    pub fn roles(self, member: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.roles = Some(member.into()))
    }

    /// Sets which member holds the only models that a token may use: words in a string, or strings in an
    /// array, which may end in `*`. It must then be there. By default a token may use all.
    #[must_use]
    pub fn models(self, member: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.models = Some(member.into()))
    }

    /// Sets which member holds the only routes that a token may use, by their templates, as for
    /// [models](Self::models).
    #[must_use]
    pub fn routes(self, member: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.routes = Some(member.into()))
    }

    /// Takes tokens only that are [bound to a certificate](super::jwt#bound-tokens).
    #[must_use]
    pub fn require_certificate(self) -> Self {
        self.set(|config| config.demands.bound = true)
    }

    /// Sets which member names the team, which it then must. None by default.
    #[must_use]
    pub fn team(self, member: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.team = Some(member.into()))
    }

    /// Sets which member names the tenant, which it then must. None by default.
    #[must_use]
    pub fn tenant(self, member: impl Into<Box<str>>) -> Self {
        self.set(|config| config.mapping.tenant = Some(Tenant::Claim(member.into())))
    }

    /// Sets the tenant to which all principals belong, whatever the answers say; without a prefix. This and
    /// [`tenant`](Self::tenant) stand for one another.
    #[must_use]
    pub fn in_tenant(self, name: impl Into<Arc<str>>) -> Self {
        self.set(|config| config.mapping.tenant = Some(Tenant::Is(name.into())))
    }

    /// Keeps a member as an [attribute](crate::Principal::attribute) of the principal, by this name, as
    /// [`Issuer::attribute`](super::jwt::Issuer::attribute) does.
    #[must_use]
    pub fn attribute(self, name: impl Into<Box<str>>, member: impl Into<Box<str>>) -> Self {
        let attribute = (name.into(), member.into());
        self.set(|config| config.mapping.attributes.push(attribute))
    }

    /// Sets for how long it is kept that a token is active: so long one still lets in that was revoked. A
    /// minute by default, and at the most. Zero: the issuer is asked for every call.
    #[must_use]
    pub fn keep_for(self, time: Duration) -> Self {
        self.set(|config| config.active = time.min(ACTIVE))
    }

    /// Sets of how many tokens it is kept what they are, of either kind. 10,000 by default.
    #[must_use]
    pub fn keep(self, tokens: usize) -> Self {
        self.set(|config| config.kept = tokens)
    }

    /// Sets by what the issuer is asked. By default by a [`Client`](crate::client::Client) of its own. It
    /// must not follow redirects.
    #[must_use]
    pub fn client<S>(self, client: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.set(|config| config.caller = Some(Caller::new(client)))
    }

    /// Sets what tells the time. By default the system.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.set(|config| config.clock = Arc::new(clock))
    }

    /// Of how many tokens it is kept now what they are. For a gauge.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.shared.active.len() + self.shared.inactive.len()
    }

    /// Asks the issuer, unless someone is at it for the same token.
    fn ask(&self, credential: Credential, digest: Digest) -> Result<Told, Rejection> {
        let mut asked = self.shared.lock();
        if let Some(told) = asked.get(&digest) {
            return Ok(told.clone());
        }
        if asked.len() >= MOST_ASKED {
            return Err(unavailable("too many tokens are asked for at once"));
        }
        let Ok(runtime) = Handle::try_current() else {
            let source = "issuers are asked in a tokio runtime, and there is none";
            return Err(Rejection::new(Kind::Internal).with_source(source));
        };
        let (tell, told) = watch::channel(None);
        asked.insert(digest, told.clone());
        let this = self.clone();
        runtime.spawn(async move {
            // Whatever becomes of the task.
            let asking = Asking(this.shared.clone(), digest);
            let verdict = this.answer(credential.expose(), digest).await;
            drop(asking);
            let _ = tell.send(Some(verdict));
        });
        Ok(told)
    }

    async fn answer(&self, token: &[u8], digest: Digest) -> Result<Verified, Rejection> {
        let members = self.introspect(token).await.map_err(|error| {
            tracing::warn!(%error, "an issuer did not tell of a token");
            unavailable(error)
        })?;
        let now = seconds((self.config.clock)());
        match self.verified(&members, now) {
            Ok((verified, exp)) => {
                let left = exp.map_or(self.config.active, |exp| lasting(exp - now));
                let left = left.min(self.config.active);
                if !left.is_zero() {
                    let until = Instant::now() + left;
                    self.shared.active.put(digest, verified.clone(), until);
                }
                Ok(verified)
            }
            Err(reason) => {
                let until = Instant::now() + INACTIVE;
                self.shared.inactive.put(digest, (), until);
                Err(refused(reason))
            }
        }
    }

    async fn introspect(&self, token: &[u8]) -> Result<Map<String, Value>, BoxError> {
        let token = form(str::from_utf8(token)?);
        let request = Request::post(self.config.endpoint.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, self.config.authorization.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(format!(
                "token={token}&token_type_hint=access_token"
            )))?;
        let make = || self.config.caller.clone().unwrap_or_default();
        let caller = self.shared.caller.get_or_init(make);
        let answer = caller.ask(request, LARGEST).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("the answer was {}", answer.status).into());
        }
        let members = json::object(&answer.body).ok_or("the answer is not one JSON object")?;
        if !members.get("active").is_some_and(Value::is_boolean) {
            return Err("the answer does not say whether the token is active".into());
        }
        Ok(members)
    }

    fn verified(
        &self,
        members: &Map<String, Value>,
        now: f64,
    ) -> Result<(Verified, Option<f64>), &'static str> {
        if members.get("active") != Some(&Value::Bool(true)) {
            return Err("it is not active");
        }
        if let Some(issuer) = self.config.issuer.as_deref()
            && members.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err("it is of another issuer");
        }
        verified(&self.config.demands, &self.config.mapping, members, now)
    }
}

/// An issuer that is asked for a token, until this is dropped.
struct Asking(Arc<Shared>, Digest);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Shared {
    // The map is valid after every statement, whoever panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Told>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticate for Introspection {
    type Future = IntrospectionFuture;

    fn verify(&self, credential: Credential) -> Verdict<IntrospectionFuture> {
        // What no token can be (RFC 6750 §2.1) is nothing to ask for.
        if !credential.expose().iter().all(u8::is_ascii_graphic) {
            return Verdict::Now(Err(refused("it is no token")));
        }
        let digest = hash(credential.expose());
        let now = Instant::now();
        if let Some(verified) = self.shared.active.get(&digest, now) {
            return Verdict::Now(verified.shown_with(credential.certificate.as_ref()));
        }
        if self.shared.inactive.get(&digest, now).is_some() {
            return Verdict::Now(Err(refused("it was not active a moment ago")));
        }
        let this = self.clone();
        Verdict::Later(IntrospectionFuture(Box::pin(async move {
            let certificate = credential.certificate.clone();
            // Here and not before: a future that is not polled asks nobody.
            let mut told = this.ask(credential, digest)?;
            let verified = match told.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(verdict)) => verdict.clone()?,
                _ => return Err(unavailable("the task that asked is gone")),
            };
            verified.shown_with(certificate.as_ref())
        })))
    }

    fn kept(&self) -> usize {
        self.shared.active.len()
    }
}

/// What is awaited of [`Introspection`].
pub struct IntrospectionFuture(Pin<Box<dyn Future<Output = Result<Principal, Rejection>> + Send>>);

impl Future for IntrospectionFuture {
    type Output = Result<Principal, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for IntrospectionFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionFuture")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("host", &self.config.endpoint.host())
            .field("demands", &self.config.demands)
            .field("kept", &self.kept())
            .finish_non_exhaustive()
    }
}

fn unavailable(source: impl Into<BoxError>) -> Rejection {
    Rejection::new(Kind::AuthUnavailable)
        .with_retry_after(Duration::from_secs(1))
        .with_source(source)
}

/// As `application/x-www-form-urlencoded` has it, with all escaped that might have to be.
fn form(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
