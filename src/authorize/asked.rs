//! What is asked for, by whom and from where: all that a policy looks at.

use super::Policy;
use crate::{
    Exchange, Extensible, Principal,
    client_addr::{ClientAddr, PeerAddr},
    path::Rules,
};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};
use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc, time::SystemTime};

/// A request of which a policy can be asked.
///
/// `http::Request` and the chat request are. For a type of your own:
///
/// ```
/// use http::{Extensions, HeaderMap};
/// use tower_gateway::{Extensible, authorize::{Ask, Asked}, principal::Carried};
///
/// struct Question { model: String, carried: Carried }
///
/// impl Extensible for Question {
///     fn headers(&self) -> &HeaderMap { &self.carried.headers }
///     fn headers_mut(&mut self) -> &mut HeaderMap { &mut self.carried.headers }
///     fn extensions(&self) -> &Extensions { &self.carried.extensions }
///     fn extensions_mut(&mut self) -> &mut Extensions { &mut self.carried.extensions }
/// }
///
/// impl Ask for Question {
///     fn ask(&self) -> Asked<'_> {
///         Asked::of(self).with_model(&self.model)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "nothing says what a `{Self}` asks for",
    note = "`http::Request` and `ChatRequest` say it; for a request of your own, write `impl Ask for {Self}`"
)]
pub trait Ask: Extensible {
    /// Says what is asked for.
    fn ask(&self) -> Asked<'_>;
}

impl<B> Ask for Request<B> {
    fn ask(&self) -> Asked<'_> {
        Asked::of(self)
            .with_method(self.method())
            .with_uri(self.uri())
    }
}

/// What is asked for. What is not known is `None`, and no condition on it can be evaluated then.
#[derive(Clone)]
pub struct Asked<'a> {
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    method: Option<&'a Method>,
    uri: Option<&'a Uri>,
    /// `None` also where the URI has one that is not in its normal form.
    path: Option<&'a str>,
    route: Option<Arc<str>>,
    pub(super) model: Model<'a>,
    pub(crate) prompt: Prompt<'a>,
    pub(super) now: Option<SystemTime>,
    /// About how many tokens a call of a model has.
    #[cfg(all(feature = "cel", feature = "llm"))]
    pub(super) tokens: Option<u64>,
    /// What the client says of such a call.
    #[cfg(all(feature = "cel", feature = "llm"))]
    pub(super) metadata: &'a [(&'a str, &'a str)],
}

/// What is known of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model<'a> {
    /// Nothing, and nobody will know more.
    Unknown,
    /// A layer further in will know it.
    Later,
    Named(&'a str),
}

/// What is known of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt<'a> {
    /// Nothing. It would be known with the model.
    Unknown,
    /// That none is called.
    None,
    /// That one is called, which a layer further in will know.
    #[cfg(feature = "llm")]
    Later,
    Named(&'a str),
}

/// What was asked for over HTTP. In the extensions, for layers of the same policy further in, on the other
/// plane too.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) method: Option<Method>,
    pub(super) uri: Option<Uri>,
    /// Of HTTP/1.1. `None` where there is none, or more than one.
    pub(super) host: Option<HeaderValue>,
    pub(super) route: Option<Arc<str>>,
    /// Who decided.
    pub(super) by: Policy,
    /// That it is allowed, and not left to a layer further in.
    pub(super) allowed: bool,
}

/// The prompt that a request over HTTP is for, where its path names one. In the extensions.
#[cfg(feature = "prompts")]
#[derive(Clone)]
pub(crate) struct PromptAsked(pub(crate) Arc<str>);

impl<'a> Asked<'a> {
    /// What a carrier of headers and extensions tells: the principal, the address of the client, and what
    /// was noted further out of the method, the path and the route.
    #[must_use]
    pub fn of(carrier: &'a impl Extensible) -> Self {
        let route = Exchange::of(carrier).and_then(|it| it.read(|facts| facts.route.clone()));
        Self::parts(carrier.headers(), carrier.extensions(), route)
    }

    pub(crate) fn parts(
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
        route: Option<Arc<str>>,
    ) -> Self {
        let asked = Self {
            headers,
            extensions,
            method: None,
            uri: None,
            path: None,
            route,
            model: Model::Unknown,
            #[cfg(feature = "prompts")]
            prompt: match extensions.get::<PromptAsked>() {
                Some(PromptAsked(name)) => Prompt::Named(name),
                None => Prompt::Unknown,
            },
            #[cfg(not(feature = "prompts"))]
            prompt: Prompt::Unknown,
            now: None,
            #[cfg(all(feature = "cel", feature = "llm"))]
            tokens: None,
            #[cfg(all(feature = "cel", feature = "llm"))]
            metadata: &[],
        };
        let Some(seen) = extensions.get::<Seen>() else {
            return asked;
        };
        let mut asked = match &seen.uri {
            Some(uri) => asked.with_uri(uri),
            None => asked,
        };
        asked.method = seen.method.as_ref();
        if asked.route.is_none() {
            asked.route.clone_from(&seen.route);
        }
        asked
    }

    /// With this method.
    #[must_use]
    pub fn with_method(mut self, method: &'a Method) -> Self {
        self.method = Some(method);
        self
    }

    /// With the path and the host of this URI.
    #[must_use]
    pub fn with_uri(mut self, uri: &'a Uri) -> Self {
        self.uri = Some(uri);
        self.path = is_normal(uri.path()).then(|| uri.path());
        self
    }

    /// With this template of a route, such as `/users/{id}`.
    #[must_use]
    pub fn with_route(mut self, route: impl Into<Option<Arc<str>>>) -> Self {
        self.route = route.into();
        self
    }

    /// With this model.
    #[must_use]
    pub fn with_model(mut self, model: &'a str) -> Self {
        self.model = Model::Named(model);
        self
    }

    /// Of this prompt.
    #[must_use]
    pub fn with_prompt(mut self, prompt: &'a str) -> Self {
        self.prompt = Prompt::Named(prompt);
        self
    }

    /// Of a prompt that is not known yet.
    #[cfg(feature = "llm")]
    pub(crate) fn with_later_prompt(mut self) -> Self {
        self.prompt = Prompt::Later;
        self
    }

    /// Of no prompt, which is known before the model is.
    #[must_use]
    pub fn without_prompt(mut self) -> Self {
        self.prompt = Prompt::None;
        self
    }

    /// At this time.
    #[must_use]
    pub fn with_now(mut self, now: SystemTime) -> Self {
        self.now = Some(now);
        self
    }

    /// A call of a model with about so many tokens.
    #[cfg(all(feature = "cel", feature = "llm"))]
    pub(crate) fn with_tokens(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// One of which the client says this.
    #[cfg(all(feature = "cel", feature = "llm"))]
    pub(crate) fn with_metadata(mut self, metadata: &'a [(&'a str, &'a str)]) -> Self {
        self.metadata = metadata;
        self
    }

    /// Before the model is known, as it is outside of where requests to models are read.
    #[must_use]
    pub fn with_model_later(mut self) -> Self {
        self.model = Model::Later;
        self
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// Who asks.
    #[must_use]
    pub fn principal(&self) -> Option<&'a Principal> {
        self.extensions.get()
    }

    /// From where: the [`ClientAddr`], or without one the [`PeerAddr`].
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        let client = self.extensions.get().map(|&ClientAddr(client)| client);
        let peer = || self.extensions.get().map(|&PeerAddr(peer)| peer.ip());
        client.or_else(peer).map(|address| address.to_canonical())
    }

    /// The method. Headers that name another one are not looked at.
    #[must_use]
    pub fn method(&self) -> Option<&'a Method> {
        self.method
    }

    /// The URI, as it came.
    #[must_use]
    pub fn uri(&self) -> Option<&'a Uri> {
        self.uri
    }

    /// The path. There is none where it is not in its [normal form](crate::path): then what is matched
    /// need not be what is served.
    #[must_use]
    pub fn path(&self) -> Option<&'a str> {
        self.path
    }

    /// The template of the route. There is none for a path that is not in its normal form.
    #[must_use]
    pub fn route(&self) -> Option<&Arc<str>> {
        let is_known = self.uri.is_none() || self.path.is_some();
        self.route.as_ref().filter(|_| is_known)
    }

    /// The host, in lower case and without a port. There is none where two lines name one.
    #[must_use]
    pub fn host(&self) -> Option<Cow<'a, str>> {
        let host = match self.uri.and_then(Uri::host) {
            Some(host) => host,
            None => {
                let line = self.host_line()?.to_str().ok()?;
                match line.rsplit_once(':') {
                    Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                    _ => line,
                }
            }
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        Some(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            host.to_ascii_lowercase().into()
        } else {
            host.into()
        })
    }

    /// The model, where it is known.
    #[must_use]
    pub fn model(&self) -> Option<&'a str> {
        match self.model {
            Model::Named(model) => Some(model),
            Model::Unknown | Model::Later => None,
        }
    }

    /// The prompt, where one is called. It is known with the model at the latest.
    #[must_use]
    pub fn prompt(&self) -> Option<&'a str> {
        match self.prompt {
            Prompt::Named(prompt) => Some(prompt),
            _ => None,
        }
    }

    /// Whether it is known that no prompt is called.
    pub(super) fn calls_no_prompt(&self) -> bool {
        match self.prompt {
            Prompt::Named(_) => false,
            #[cfg(feature = "llm")]
            Prompt::Later => false,
            Prompt::None => true,
            // With the model it would be known.
            Prompt::Unknown => self.model().is_some(),
        }
    }

    /// When.
    #[must_use]
    pub fn now(&self) -> Option<SystemTime> {
        self.now
    }

    fn host_line(&self) -> Option<&'a HeaderValue> {
        let mut lines = self.headers.get_all(http::header::HOST).iter();
        lines.next().filter(|_| lines.next().is_none())
    }

    /// What of it layers further in are told.
    pub(super) fn seen(&self, by: Policy, allowed: bool) -> Seen {
        Seen {
            method: self.method.cloned(),
            uri: self.uri.cloned(),
            host: self.host_line().cloned(),
            route: self.route.clone(),
            by,
            allowed,
        }
    }

    /// Whether that policy has decided on this very method, path and host before: `true` if it has allowed
    /// it, `false` if it has left it to a layer further in.
    pub(super) fn was_decided(&self, policy: &Policy) -> Option<bool> {
        let seen = self.extensions.get::<Seen>()?;
        let path = |uri: &'_ Uri| (uri.path().to_owned(), uri.authority().cloned());
        let same = seen.by.is(policy)
            && seen.method.as_ref() == self.method
            && seen.host.as_ref() == self.host_line()
            && match (&seen.uri, self.uri) {
                (Some(then), Some(now)) => then == now || path(then) == path(now),
                (None, None) => true,
                _ => false,
            };
        same.then_some(seen.allowed)
    }
}

/// Neither headers nor paths: they may hold what is secret.
impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("method", &self.method)
            .field("route", &self.route)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// The name of a model may hold an escaped slash.
fn is_normal(path: &str) -> bool {
    let rules = Rules::new().keep_encoded_slashes();
    matches!(rules.normalise(path), Ok(Cow::Borrowed(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_where_one_is_named() {
        let host = |request: http::request::Builder| {
            let request = request.body(()).unwrap();
            request.ask().host().map(Cow::into_owned)
        };
        let request = || Request::get("/");
        assert_eq!(host(request()), None);
        let some = Some("api.example.com".to_owned());
        assert_eq!(host(request().header("host", "API.example.com:80")), some);
        assert_eq!(host(request().header("host", "api.example.com.")), some);
        let v6 = host(request().header("host", "[::1]:8080"));
        assert_eq!(v6.as_deref(), Some("[::1]"));
        let twice = request().header("host", "a").header("host", "b");
        assert_eq!(host(twice), None);
        assert_eq!(host(Request::get("http://Api.Example.com:8080/")), some);
    }

    #[test]
    fn what_is_not_in_its_normal_form_has_neither_path_nor_route() {
        let ask = |path: &str| {
            let request = Request::get(path).body(()).unwrap();
            let asked = request.ask().with_route(Some("/admin".into()));
            (asked.path().is_some(), asked.route().is_some())
        };
        for normal in ["/admin", "/v1/models/a%2Fb", "/"] {
            assert_eq!(ask(normal), (true, true), "{normal}");
        }
        for other in [
            "//admin",
            "/%61dmin",
            "/x/../admin",
            "/admin%00",
            "/admin/.",
        ] {
            assert_eq!(ask(other), (false, false), "{other}");
        }
    }
}
