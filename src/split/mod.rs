//! One service in several variants: canary, A/B test, blue and green.
//!
//! A [`Split`] has named variants, services of one type ([boxed](https://docs.rs/tower/latest/tower/util/struct.BoxCloneSyncService.html), if they differ), each with a share of the callers in *basis points*, which
//! are hundredths of a percent. Who a caller is decides which variant answers, so that nobody sees one
//! now and the other then. The shares are set [while calls come](SplitHandle), all at once, and no call is lost by it.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceExt, service_fn};
//! use tower_gateway::{Body, BoxError, Principal, split::Split};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let says = |text: &'static str| {
//!     service_fn(move |_: Request<Body>| async move {
//!         Ok::<_, BoxError>(Response::new(Body::from(text)))
//!     })
//! };
//! let split = Split::new(
//!     "new-search",
//!     [("stable", 9_500, says("old")), ("canary", 500, says("new"))],
//! )?;
//! let handle = split.handle();
//!
//! let ask = async |name: String| {
//!     let mut request = Request::new(Body::empty());
//!     request.extensions_mut().insert(Principal::new(name));
//!     split.clone().oneshot(request).await.unwrap().headers()["x-gateway-variant"].clone()
//! };
//! let mut before = Vec::new();
//! for nth in 0..1_000 {
//!     before.push(ask(nth.to_string()).await);
//! }
//! let canaries = before.iter().filter(|name| *name == "canary").count();
//! assert!((20..80).contains(&canaries), "5 % of 1000, and not {canaries}");
//!
//! // Twice as many: those who have the new one keep it.
//! handle.set_weights([("stable", 9_000), ("canary", 1_000)])?;
//! for (nth, before) in before.iter().enumerate() {
//!     assert!(before != "canary" || ask(nth.to_string()).await == "canary");
//! }
//!
//! // All of them, at once.
//! handle.switch_to("canary")?;
//! assert_eq!(ask("anybody".into()).await, "canary");
//! # Ok(())
//! # }
//! ```
//!
//! # Who gets which variant
//!
//! A caller is told by a [`Key`](crate::key): the [principal](crate::key::ByPrincipal) by default, or
//! [another one](Split::key), such as its address, a header or a closure. A hash of it
//! puts the caller into one of 10,000 buckets, for good: SipHash-2-4, keyed by the name of the
//! experiment, so that it is the same in every process, and so that who is in one experiment says
//! nothing of who is in another. The first variant has the buckets that are left by the others, each of
//! which takes its own from a place of its own on. So
//!
//! - of up to three variants, one that grows only gains callers, and one that shrinks only loses some;
//! - of four or five the same holds as long as none but the first has more than a quarter. Where two
//!   run into one another, the one that was named first keeps its own;
//! - a variant that is added at the end, or taken away there, moves nobody between the others.
//!
//! Without a key any variant may answer, by its weight, each time anew. [`cookie`](Split::cookie) gives
//! browsers a name to keep, and [`refuse_without_key`](Split::refuse_without_key) refuses.
//!
//! # Who may choose
//!
//! Nobody, by default. With [`overridable_when`](Split::overridable_when) those of whom it says so name
//! the variant themselves, by a header (`x-gateway-variant: canary`) or a
//! [cookie](Split::override_cookie). From all others the header is taken out, so that no service takes
//! it for the word of a gateway. A [`Gateway`](https://docs.rs/tower-gateway/latest/tower_gateway/gateway/struct.Gateway.html)
//! takes it out of every request, with all of `x-gateway-*`, unless it is told to `keep_headers`.
//!
//! # Answers
//!
//! | call | status | code | headers |
//! |---|--:|---|---|
//! | any | the variant's | | `x-gateway-variant`, or [another](Split::header), or none; `Set-Cookie` for a browser that has [none](Split::cookie) |
//! | names a variant that there is not, and may choose | 400 | `invalid_request` | |
//! | no key, with [`refuse_without_key`](Split::refuse_without_key) | 401 | `missing_api_key` | `WWW-Authenticate` |
//!
//! **What if its store is down**: there is none. A bucket is computed; shares that were set through a
//! [`SplitHandle`] last as long as the process.
//!
//! Access log, metrics and trace tell the variant: `variant` in the [facts](crate::exchange::Facts) of
//! the [`Exchange`]. It is always one of the names that were given here, so there are few.
//!
//! # What is shared
//!
//! Clones of a split share the shares, and the counts of calls. A change of shares takes effect with the
//! next call, and is one change: no call sees half of it. Calls that are under way stay where they are,
//! to the last byte of their answers; the variant that gets no more is still there, to go back to.
//!
//! Each call goes to a clone of its variant's service, which is made ready in the future. So a variant
//! that is not ready holds up only those who are its own, and limits inside of a variant hold.
//!
//! # Cancellation
//!
//! A call that is dropped drops the variant's call. It stays counted.
//!
//! # What an operator must know
//!
//! A cache further out does not know that there are variants: put it inside of them, or
//! let it tell callers apart as the split does. Whoever may set the header or the cookie that is the key
//! can choose a bucket, and by trying a variant: that is no way to keep somebody out.

pub(crate) mod bucket;
mod cookie;
mod future;
mod handle;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

pub use self::{
    future::ResponseFuture,
    handle::{SplitHandle, VariantStatus},
};

use self::{
    bucket::{Salt, Source},
    future::{State, Tell},
    handle::Shared,
    plan::Plan,
};
use crate::{
    Exchange, Extensible, Principal, Reject, Rejection,
    exchange::fresh_id,
    key::{ByPrincipal, Key},
    rejection::Kind,
    tls::TlsInfo,
};
use http::{HeaderName, HeaderValue, header};
use std::{
    error::Error,
    fmt,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};
use tower_service::Service;

const X_GATEWAY_VARIANT: HeaderName = HeaderName::from_static("x-gateway-variant");

/// Answers each caller by its variant of a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Split<S, K = ByPrincipal, O = Nobody> {
    shared: Arc<Shared>,
    services: Arc<[S]>,
    settings: Arc<Settings>,
    key: K,
    may_choose: O,
}

#[derive(Clone, Debug)]
struct Settings {
    salt: Salt,
    header: Option<HeaderName>,
    override_header: HeaderName,
    override_cookie: Option<Box<str>>,
    cookie: Option<Box<str>>,
    secure: bool,
    refuses: bool,
}

/// Makes a plan of names and weights.
type Planning = fn(&[Arc<str>], &[u32]) -> Result<Plan, InvalidSplit>;

/// What was given is no split of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSplit {
    variant: Option<Box<str>>,
    what: Box<str>,
}

impl InvalidSplit {
    fn of(variant: &str, what: &str) -> Self {
        Self {
            variant: Some(variant.into()),
            what: what.into(),
        }
    }

    fn of_all(what: impl Into<Box<str>>) -> Self {
        Self {
            variant: None,
            what: what.into(),
        }
    }

    /// The variant that is at fault, if it is one alone.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }
}

impl fmt::Display for InvalidSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "variant {variant:?}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl Error for InvalidSplit {}

/// Who may choose a variant.
///
/// Closures `Fn(&Req) -> bool` implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell whether a `{Req}` may choose its variant",
    note = "a closure must name its argument's type: `.overridable_when(|req: &{Req}| …)`"
)]
pub trait MayChoose<Req> {
    /// Whether whoever sent this may.
    fn may_choose(&self, req: &Req) -> bool;
}

impl<Req, F: Fn(&Req) -> bool> MayChoose<Req> for F {
    fn may_choose(&self, req: &Req) -> bool {
        self(req)
    }
}

/// Nobody may choose a variant.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Nobody;

impl<Req> MayChoose<Req> for Nobody {
    fn may_choose(&self, _: &Req) -> bool {
        false
    }
}

/// Principals that have this scope may choose a variant.
#[derive(Clone, Debug)]
pub struct HasScope(pub Arc<str>);

impl HasScope {
    /// Those that have it.
    #[must_use]
    pub fn new(scope: impl Into<Arc<str>>) -> Self {
        Self(scope.into())
    }
}

impl<Req: Extensible> MayChoose<Req> for HasScope {
    fn may_choose(&self, req: &Req) -> bool {
        Principal::of(req).is_some_and(|principal| principal.has_scope(&self.0))
    }
}

impl<S> Split<S> {
    /// Splits callers among variants: the name of each, its weight in basis points, and its service. The
    /// weights are 10,000 together. The first variant is the one that the others grow at the cost of.
    ///
    /// The experiment has a name, by which callers are mixed: another experiment has others of them.
    /// Whoever changes the name mixes them anew.
    ///
    /// # Errors
    ///
    /// [`InvalidSplit`] if there is no variant, or more than 256; if a name is not 1 to 64 letters,
    /// digits, `-`, `_` and `.`, or is there twice; if the weights are not 10,000 together.
    pub fn new<N: AsRef<str>>(
        experiment: &str,
        variants: impl IntoIterator<Item = (N, u32, S)>,
    ) -> Result<Self, InvalidSplit> {
        Self::of(experiment, variants, plan::exact)
    }

    /// As [`new`](Self::new), with weights that are meant in relation to one another: 1 and 1 are a half
    /// each. They are rounded to basis points.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new); if all weights are zero; if one that is not is less than a basis point.
    pub fn relative<N: AsRef<str>>(
        experiment: &str,
        variants: impl IntoIterator<Item = (N, u32, S)>,
    ) -> Result<Self, InvalidSplit> {
        Self::of(experiment, variants, plan::relative)
    }

    fn of<N: AsRef<str>>(
        experiment: &str,
        variants: impl IntoIterator<Item = (N, u32, S)>,
        plan: Planning,
    ) -> Result<Self, InvalidSplit> {
        let (mut names, mut weights, mut services) = (Vec::new(), Vec::new(), Vec::new());
        for (name, weight, service) in variants {
            names.push(Arc::from(name.as_ref()));
            weights.push(weight);
            services.push(service);
        }
        plan::check_names(&names)?;
        let plan = plan(&names, &weights)?;
        Ok(Self {
            shared: Arc::new(Shared::new(experiment, &names, plan)?),
            services: services.into(),
            settings: Arc::new(Settings {
                salt: Salt::new(experiment),
                header: Some(X_GATEWAY_VARIANT),
                override_header: X_GATEWAY_VARIANT,
                override_cookie: None,
                cookie: None,
                secure: false,
                refuses: false,
            }),
            key: ByPrincipal,
            may_choose: Nobody,
        })
    }
}

impl<S, K, O> Split<S, K, O> {
    /// Sets who a caller is. By default the [principal](ByPrincipal).
    #[must_use]
    pub fn key<T>(self, key: T) -> Split<S, T, O> {
        Split {
            shared: self.shared,
            services: self.services,
            settings: self.settings,
            key,
            may_choose: self.may_choose,
        }
    }

    /// Refuses whoever has no key, in the place of any variant. With a [`cookie`](Self::cookie) everybody
    /// has one.
    #[must_use]
    pub fn refuse_without_key(self) -> Self {
        self.set(|settings| settings.refuses = true)
    }

    /// Gives whoever has no key a cookie to keep, so that an anonymous browser stays with its variant: 32
    /// random hexadecimal digits for 30 days, with `Path=/`, `HttpOnly`, `SameSite=Lax`, and `Secure` if
    /// the request came over [TLS](TlsInfo).
    ///
    /// # Errors
    ///
    /// [`InvalidSplit`] if this is no name of a cookie.
    pub fn cookie(self, name: &str) -> Result<Self, InvalidSplit> {
        let name = cookie_name(name)?;
        Ok(self.set(|settings| settings.cookie = Some(name)))
    }

    /// Makes the cookie `Secure` in any case: where a proxy further out ends TLS.
    #[must_use]
    pub fn secure_cookie(self) -> Self {
        self.set(|settings| settings.secure = true)
    }

    /// Lets those of whom this says so choose their variant: a closure `Fn(&Req) -> bool`, or
    /// [`HasScope`].
    #[must_use]
    pub fn overridable_when<T>(self, may_choose: T) -> Split<S, K, T> {
        Split {
            shared: self.shared,
            services: self.services,
            settings: self.settings,
            key: self.key,
            may_choose,
        }
    }

    /// Sets by which header they do, in the place of `x-gateway-variant`. Two experiments around one
    /// another need two.
    #[must_use]
    pub fn override_header(self, name: HeaderName) -> Self {
        self.set(|settings| settings.override_header = name)
    }

    /// Sets by which cookie they do, where they send no such header. One that names no variant counts
    /// for nothing: browsers keep what has long been over.
    ///
    /// # Errors
    ///
    /// [`InvalidSplit`] if this is no name of a cookie.
    pub fn override_cookie(self, name: &str) -> Result<Self, InvalidSplit> {
        let name = cookie_name(name)?;
        Ok(self.set(|settings| settings.override_cookie = Some(name)))
    }

    /// Sets in which header of the answer the variant is named, in the place of `x-gateway-variant`;
    /// `None`: in none.
    #[must_use]
    pub fn header(self, name: impl Into<Option<HeaderName>>) -> Self {
        let name = name.into();
        self.set(|settings| settings.header = name)
    }

    /// Sees how the requests are split, and splits them otherwise.
    #[must_use]
    pub fn handle(&self) -> SplitHandle {
        SplitHandle(self.shared.clone())
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    /// Which variant it is, and what the caller is told of it.
    fn choose<Req>(&self, req: &mut Req) -> Result<(usize, Tell), Rejection>
    where
        Req: Extensible,
        K: Key<Req>,
        O: MayChoose<Req>,
    {
        let settings = &*self.settings;
        let mut set_cookie = None;
        let variant = match self.chosen(req)? {
            Some(variant) => variant,
            None => {
                let bucket = match (self.key.key(req), &settings.cookie) {
                    (Some(key), _) => settings.salt.bucket(Source::Key, &key),
                    (None, Some(name)) => {
                        let kept = cookie::value(req.headers(), name);
                        match kept.filter(|id| cookie::is_id(id)) {
                            Some(id) => settings.salt.bucket(Source::Cookie, &id),
                            None => {
                                let id = fresh_id();
                                let tls = req.extensions().get::<TlsInfo>().is_some();
                                set_cookie = cookie::set(name, &id, tls || settings.secure);
                                settings.salt.bucket(Source::Cookie, &&*id)
                            }
                        }
                    }
                    (None, None) if settings.refuses => {
                        // Every 401 must name a scheme (RFC 9110 §15.5.2).
                        let scheme = HeaderValue::from_static("Bearer");
                        return Err(Rejection::new(Kind::Unauthenticated)
                            .with_header(header::WWW_AUTHENTICATE, scheme));
                    }
                    (None, None) => bucket::any(),
                };
                self.shared.pick(bucket)
            }
        };
        let name = &self.shared.variants[variant];
        name.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(exchange) = Exchange::of(req) {
            exchange.update(|facts| facts.variant = Some(name.name.clone()));
        }
        let header = settings.header.clone();
        Ok((
            variant,
            Tell {
                variant: header.map(|header| (header, name.value.clone())),
                set_cookie,
            },
        ))
    }

    /// The variant that the caller names, if it may.
    fn chosen<Req>(&self, req: &mut Req) -> Result<Option<usize>, Rejection>
    where
        Req: Extensible,
        O: MayChoose<Req>,
    {
        let settings = &*self.settings;
        if !self.may_choose.may_choose(req) {
            req.headers_mut().remove(&settings.override_header);
            return Ok(None);
        }
        let headers = req.headers();
        let mut lines = headers.get_all(&settings.override_header).into_iter();
        let Some(line) = lines.next() else {
            let name = settings.override_cookie.as_deref();
            let named = name.and_then(|name| cookie::value(headers, name));
            return Ok(named.and_then(|name| self.shared.index(name)));
        };
        let one = line.to_str().ok().filter(|_| lines.next().is_none());
        match one.and_then(|name| self.shared.index(name)) {
            Some(variant) => Ok(Some(variant)),
            None => Err(Rejection::new(Kind::InvalidRequest)
                .with_param(settings.override_header.as_str())
                .with_detail("There is no such variant.")),
        }
    }
}

fn cookie_name(name: &str) -> Result<Box<str>, InvalidSplit> {
    if cookie::is_name(name) {
        Ok(name.into())
    } else {
        Err(InvalidSplit::of_all(format!(
            "{name:?} is no name of a cookie: 1 to 64 letters, digits and `-_.`"
        )))
    }
}

impl<S, K, O, Req> Service<Req> for Split<S, K, O>
where
    S: Service<Req> + Clone,
    S::Response: Extensible + Reject<S::Error>,
    Req: Extensible,
    K: Key<Req>,
    O: MayChoose<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    // Which variant must be ready is not known before the request is.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        match self.choose(&mut req) {
            Ok((variant, tell)) => {
                let call = Some((self.services[variant].clone(), req));
                ResponseFuture::new(State::Waiting { call }, tell)
            }
            Err(rejection) => {
                let rejection = Some(rejection);
                ResponseFuture::new(State::Refused { rejection }, Tell::default())
            }
        }
    }
}

impl<S, K, O> fmt::Debug for Split<S, K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split")
            .field("shared", &self.shared)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
