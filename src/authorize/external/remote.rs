//! Asking over HTTP, in the manner of Envoy's `ext_authz`.

use super::{Decide, Decision, Question, is_framing};
use crate::{
    Body, BoxError, Principal, Rejection,
    client::outward::{Caller, InvalidUrl, endpoint},
    collect,
    identity::{told, told_all},
    problem::retry_after,
    rejection::Kind,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header,
    uri::{PathAndQuery, Scheme},
};
use http_body::Body as _;
use std::{error::Error, fmt, pin::Pin, sync::Arc, task, time::Duration};
use tower_service::Service;

/// The most bytes of an answer that are read, so that its connection can be used again.
const MOST_READ: u64 = 16 * 1024;
/// How long these are waited for: the decision stands already.
const READ_WITHIN: Duration = Duration::from_millis(20);
/// The longest wait that a decider may ask a caller for.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// A [`Decide`] that asks a server over HTTP, as Envoy's `ext_authz` does.
///
/// ```
/// use http::HeaderName;
/// use std::time::Duration;
/// use tower_gateway::authorize::external::{ExternalLayer, HttpDecider, OnFailure};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let decider = HttpDecider::new("https://policy.example/check")?
///     .request_headers([HeaderName::from_static("x-request-id")])?;
/// let layer = ExternalLayer::new(decider)
///     .upstream_headers([HeaderName::from_static("x-tier")])
///     .timeout(Duration::from_millis(100))
///     .on_failure(OnFailure::Deny);
///
/// assert!(HttpDecider::new("http://policy.example/check").is_err(), "neither https nor this machine");
/// # Ok(())
/// # }
/// ```
///
/// # What it is sent
///
/// The method of the request, and the decider's own path with that of the request behind it and the query:
/// `GET /check/users/7?x=1`.
///
/// | header | what |
/// |---|---|
/// | `host` | the decider's, or [the caller's](Self::preserve_host) |
/// | `x-forwarded-host` | the one that the caller asked for |
/// | `x-gateway-principal`, `-key-id`, `-team`, `-tenant`, `-scopes`, `-roles` | who calls, as [`PrincipalHeadersLayer`](https://docs.rs/tower-gateway/latest/tower_gateway/auth/struct.PrincipalHeadersLayer.html) writes it; not there where it is not known |
/// | `x-gateway-client` | the address of the client |
/// | `x-gateway-route`, `x-gateway-model` | the template of the route, and the model, where they are known |
/// | `x-gateway-body-truncated: true` | the body is the beginning of a longer one |
/// | those that [`request_headers`](Self::request_headers) names | as the caller sent them, all values |
/// | those that [`header`](Self::header) sets | |
///
/// And nothing else: no credential reaches the decider unless its header is named. The query does.
///
/// What is answered comes to what the [module docs](super) say. A redirect is a denial, as it is for Envoy:
/// it is not followed. To have it asked by a client with a certificate, or through other layers, give a
/// [`client`](Self::client).
#[derive(Clone)]
pub struct HttpDecider {
    config: Arc<Config>,
    caller: Caller,
}

#[derive(Clone)]
struct Config {
    base: Uri,
    sent: Vec<HeaderName>,
    passed: Vec<HeaderName>,
    added: Vec<(HeaderName, HeaderValue)>,
    preserve_host: bool,
}

impl HttpDecider {
    /// Asks at this URL, below whose path those of the requests stand, by a
    /// [`Client`](crate::client::Client) of its own.
    ///
    /// # Errors
    ///
    /// If it is neither an `https` URL nor an `http` URL of this machine; or has a query.
    pub fn new(url: impl AsRef<str>) -> Result<Self, InvalidUrl> {
        Self::at(endpoint(url.as_ref())?)
    }

    /// The same, over a network that is known to be nobody else's: `http` will do.
    ///
    /// # Errors
    ///
    /// If it is neither an `https` nor an `http` URL; or has a query.
    pub fn without_tls(url: impl AsRef<str>) -> Result<Self, InvalidUrl> {
        let url = url.as_ref();
        let secure = match url.strip_prefix("http://") {
            Some(rest) => endpoint(&format!("https://{rest}"))?,
            None => return Self::new(url),
        };
        let mut parts = secure.into_parts();
        parts.scheme = Some(Scheme::HTTP);
        Self::at(Uri::from_parts(parts).map_err(|_| InvalidUrl(()))?)
    }

    fn at(base: Uri) -> Result<Self, InvalidUrl> {
        if base.query().is_some() {
            return Err(InvalidUrl(()));
        }
        Ok(Self {
            config: Arc::new(Config {
                base,
                sent: Vec::new(),
                passed: Vec::new(),
                added: Vec::new(),
                preserve_host: false,
            }),
            caller: Caller::default(),
        })
    }

    /// Sends these headers of the caller's on, all values of each. None by default. A credential is sent
    /// only if its header is named here, and if [`keep_credentials`] has not taken it out before.
    ///
    /// [`keep_credentials`]: https://docs.rs/tower-gateway/latest/tower_gateway/auth/struct.AuthLayer.html#method.keep_credentials
    ///
    /// # Errors
    ///
    /// If one of them says how a message is read or where it goes, such as `host` or `connection`, or is
    /// one that is written here.
    pub fn request_headers(
        self,
        names: impl IntoIterator<Item = HeaderName>,
    ) -> Result<Self, InvalidHeader> {
        let names: Vec<_> = names.into_iter().collect();
        if names.iter().any(|name| is_framing(name) || is_ours(name)) {
            return Err(InvalidHeader(()));
        }
        Ok(self.set(|config| config.sent = names))
    }

    /// Passes these headers of a denial on to the caller. None by default, beside `WWW-Authenticate` and
    /// `Retry-After` in seconds.
    ///
    /// # Errors
    ///
    /// If one of them says how a message is read, such as `content-length` or `content-type`.
    pub fn client_headers(
        self,
        names: impl IntoIterator<Item = HeaderName>,
    ) -> Result<Self, InvalidHeader> {
        let ours = [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CACHE_CONTROL,
            header::RETRY_AFTER,
        ];
        let names: Vec<_> = names.into_iter().collect();
        if names
            .iter()
            .any(|name| is_framing(name) || ours.contains(name))
        {
            return Err(InvalidHeader(()));
        }
        Ok(self.set(|config| config.passed = names))
    }

    /// Sends a header with every question, such as one that shows who asks, in the place of what a caller
    /// sent under this name.
    #[must_use]
    pub fn header(self, name: HeaderName, mut value: HeaderValue) -> Self {
        // It may be a secret, and this way nobody logs it.
        value.set_sensitive(true);
        self.set(|config| config.added.push((name, value)))
    }

    /// Sends the `Host` that the caller asked for, as Envoy does.
    #[must_use]
    pub fn preserve_host(self) -> Self {
        self.set(|config| config.preserve_host = true)
    }

    /// Sets by what the decider is asked. It must not follow redirects.
    #[must_use]
    pub fn client<S>(mut self, client: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.caller = Caller::new(client);
        self
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self
    }
}

impl fmt::Debug for HttpDecider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDecider")
            .field("host", &self.config.base.host())
            .field("request_headers", &self.config.sent)
            .field("client_headers", &self.config.passed)
            .finish_non_exhaustive()
    }
}

/// A header that may be neither sent nor passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHeader(());

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header that says how a message is read, or that is written here")
    }
}

impl Error for InvalidHeader {}

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PRINCIPAL: HeaderName = HeaderName::from_static("x-gateway-principal");
const KEY_ID: HeaderName = HeaderName::from_static("x-gateway-key-id");
const TEAM: HeaderName = HeaderName::from_static("x-gateway-team");
const TENANT: HeaderName = HeaderName::from_static("x-gateway-tenant");
const SCOPES: HeaderName = HeaderName::from_static("x-gateway-scopes");
const ROLES: HeaderName = HeaderName::from_static("x-gateway-roles");
const CLIENT: HeaderName = HeaderName::from_static("x-gateway-client");
const ROUTE: HeaderName = HeaderName::from_static("x-gateway-route");
const MODEL: HeaderName = HeaderName::from_static("x-gateway-model");
const TRUNCATED: HeaderName = HeaderName::from_static("x-gateway-body-truncated");

/// Whether what stands in such a header was written here.
fn is_ours(name: &HeaderName) -> bool {
    *name == FORWARDED_HOST || name.as_str().starts_with("x-gateway-")
}

impl Config {
    /// The request to the decider; or what is decided without it.
    fn request(&self, question: Question) -> Result<Request<Body>, Decision> {
        let uri = self.uri(&question.uri)?;
        let mut headers = HeaderMap::with_capacity(16);
        for name in &self.sent {
            for value in question.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let host = match question.uri.authority() {
            Some(authority) => HeaderValue::try_from(authority.as_str()).ok(),
            None => question.headers.get(header::HOST).cloned(),
        };
        if let Some(host) = host {
            if self.preserve_host {
                headers.insert(header::HOST, host.clone());
            }
            headers.insert(FORWARDED_HOST, host);
        }
        if let Some(principal) = &question.principal {
            write_principal(&mut headers, principal);
        }
        let client = question.client.map(|client| client.to_string());
        for (name, text) in [
            (CLIENT, client.as_deref()),
            (ROUTE, question.route.as_deref()),
            (MODEL, question.model.as_deref()),
        ] {
            if let Some(text) = text {
                headers.insert(name, told(text));
            }
        }
        let body = question.body.unwrap_or_default();
        if body.truncated {
            headers.insert(TRUNCATED, HeaderValue::from_static("true"));
        }
        for (name, value) in &self.added {
            headers.insert(name, value.clone());
        }
        let mut request = Request::new(Body::from(body.bytes));
        *request.method_mut() = question.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The decider's path with that of the request behind it.
    fn uri(&self, asked: &Uri) -> Result<Uri, Decision> {
        let below = asked.path_and_query().map_or("/", PathAndQuery::as_str);
        let joined = format!("{}{below}", self.base.path().trim_end_matches('/'));
        let mut parts = self.base.clone().into_parts();
        // What cannot be asked is the caller's doing, and no sign that nobody answers.
        let too_long = |_| Decision::Deny(Kind::UriTooLong.into());
        parts.path_and_query = Some(PathAndQuery::try_from(joined).map_err(too_long)?);
        Uri::from_parts(parts).map_err(Decision::unknown)
    }

    /// What an answer means.
    fn decision(&self, known: bool, status: StatusCode, headers: HeaderMap) -> Decision {
        if status.is_success() {
            return Decision::Allow(headers);
        }
        if !(status.is_client_error() || status.is_redirection()) {
            return Decision::unknown(format!("the answer was {status}"));
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED if known => Kind::InvalidCredentials,
            StatusCode::UNAUTHORIZED => Kind::Unauthenticated,
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Kind::RateLimited,
            _ => Kind::Forbidden,
        };
        let mut rejection = Rejection::new(kind);
        if let Some(wait) = retry_after(&headers) {
            rejection = rejection.with_retry_after(wait.min(LONGEST_WAIT));
        }
        let challenge = header::WWW_AUTHENTICATE;
        for name in self.passed.iter().filter(|name| **name != challenge) {
            for value in headers.get_all(name) {
                rejection = rejection.with_header(name.clone(), value.clone());
            }
        }
        for value in headers.get_all(&challenge) {
            rejection = rejection.with_header(challenge.clone(), value.clone());
        }
        if status == StatusCode::UNAUTHORIZED && !headers.contains_key(&challenge) {
            // A 401 has one (RFC 9110 §15.5.2).
            let bearer = HeaderValue::from_static(r#"Bearer realm="api""#);
            rejection = rejection.with_header(challenge, bearer);
        }
        Decision::Deny(rejection)
    }
}

fn write_principal(headers: &mut HeaderMap, principal: &Principal) {
    headers.insert(PRINCIPAL, told(principal.id()));
    for (name, text) in [
        (KEY_ID, principal.key_id()),
        (TEAM, principal.team()),
        (TENANT, principal.tenant()),
    ] {
        if let Some(text) = text {
            headers.insert(name, told(text));
        }
    }
    for (name, value) in [
        (SCOPES, told_all(principal.scopes())),
        (ROLES, told_all(principal.roles())),
    ] {
        if !value.is_empty() {
            headers.insert(name, value);
        }
    }
}

impl Decide for HttpDecider {
    type Future = HttpDecision;

    fn decide(&self, question: Question) -> HttpDecision {
        let Self { config, caller } = self.clone();
        HttpDecision(Box::pin(async move {
            let known = question.principal.is_some();
            let request = match config.request(question) {
                Ok(request) => request,
                Err(decision) => return decision,
            };
            match caller.send(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    // To the end, if it is near, for then the connection can be used again.
                    let bytes = body.size_hint().upper();
                    if bytes.is_some_and(|bytes| bytes <= MOST_READ) {
                        let rest = collect(body, MOST_READ as usize);
                        let _ = tokio::time::timeout(READ_WITHIN, rest).await;
                    }
                    config.decision(known, head.status, head.headers)
                }
                Err(error) => Decision::Unknown(error),
            }
        }))
    }
}

/// What is awaited of [`HttpDecider`].
pub struct HttpDecision(Pin<Box<dyn Future<Output = Decision> + Send>>);

impl Future for HttpDecision {
    type Output = Decision;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<Decision> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for HttpDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDecision").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_stands_below_the_path_of_the_decider() {
        for (base, asked, sent) in [
            ("https://a", "/users/7?x=1", "https://a/users/7?x=1"),
            ("https://a/", "/", "https://a/"),
            ("https://a/check/", "/users", "https://a/check/users"),
            ("https://a/check", "http://b/c?d", "https://a/check/c?d"),
            ("http://localhost:1", "/a%2Fb", "http://localhost:1/a%2Fb"),
        ] {
            let decider = HttpDecider::new(base).unwrap();
            let uri = decider.config.uri(&asked.parse().unwrap()).unwrap();
            assert_eq!(uri, sent);
        }
    }

    #[test]
    fn a_decider_is_reached_by_https_or_on_this_machine_or_as_is_said() {
        assert!(HttpDecider::new("http://a.example").is_err());
        assert!(HttpDecider::new("https://a.example/?q").is_err());
        let plain = HttpDecider::without_tls("http://a.example/check").unwrap();
        assert_eq!(plain.config.base, "http://a.example/check");
        assert!(HttpDecider::without_tls("https://a.example").is_ok());
        assert!(HttpDecider::without_tls("ftp://a.example").is_err());
        assert!(HttpDecider::without_tls("http://user@a.example").is_err());
    }

    #[test]
    fn headers_that_frame_or_are_ours_are_not_copied() {
        let decider = || HttpDecider::new("https://a").unwrap();
        for name in [
            "host",
            "connection",
            "content-length",
            "x-gateway-principal",
        ] {
            let name = HeaderName::from_static(name);
            assert!(decider().request_headers([name]).is_err());
        }
        for name in ["content-type", "transfer-encoding", "retry-after"] {
            let name = HeaderName::from_static(name);
            assert!(decider().client_headers([name]).is_err());
        }
        assert!(decider().request_headers([header::AUTHORIZATION]).is_ok());
    }

    #[test]
    fn nothing_printable_shows_a_secret() {
        let name = HeaderName::from_static("x-policy-token");
        let decider = HttpDecider::new("https://a/canary").unwrap();
        let decider = decider.header(name, HeaderValue::from_static("canary"));
        let shown = format!("{decider:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
