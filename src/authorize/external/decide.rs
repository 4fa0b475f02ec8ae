//! Who is asked, about what, and what is said.

use crate::{BoxError, Exchange, Principal, Rejection, client_addr::ClientAddr, rejection::Kind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::{fmt, net::IpAddr, sync::Arc};

use super::Subject;

/// Says whether a call may be made.
///
/// Closures `Fn(Question) -> impl Future<Output = Decision>` implement this, and so does
#[cfg_attr(feature = "client", doc = "[`HttpDecider`](super::HttpDecider).")]
#[cfg_attr(not(feature = "client"), doc = "`HttpDecider`.")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say whether a call may be made",
    note = "a closure must name its argument's type: \
            `|question: Question| async move {{ Decision::allow() }}`"
)]
pub trait Decide: Send + Sync + 'static {
    /// What is awaited. It is dropped when its time is over, or when the caller hangs up.
    type Future: Future<Output = Decision> + Send;

    /// Decides.
    fn decide(&self, question: Question) -> Self::Future;
}

impl<D, F> Decide for D
where
    D: Fn(Question) -> F + Send + Sync + 'static,
    F: Future<Output = Decision> + Send,
{
    type Future = F;

    fn decide(&self, question: Question) -> F {
        self(question)
    }
}

/// What is known of a call before it is made.
#[derive(Clone)]
#[non_exhaustive]
pub struct Question {
    /// The method. `POST` for what is not HTTP.
    pub method: Method,
    /// The URI, as the services further in see it. `/` for what is not HTTP.
    pub uri: Uri,
    /// All headers of the request, as they came through the layers further out.
    pub headers: HeaderMap,
    /// Who calls, if it is known.
    pub principal: Option<Principal>,
    /// From where, if it is known.
    pub client: Option<IpAddr>,
    /// The template of the route, where the layer stands behind the router.
    pub route: Option<Arc<str>>,
    /// The model that is asked, on the LLM plane.
    pub model: Option<Arc<str>>,
    /// The body, or the beginning of it, if the layer [reads](super::ExternalLayer::body) it.
    pub body: Option<Excerpt>,
}

impl Question {
    pub(super) fn of(subject: &impl Subject) -> Self {
        let extensions = subject.extensions();
        let route = Exchange::of(subject).and_then(|it| it.read(|facts| facts.route.clone()));
        Self {
            method: subject.method(),
            uri: subject.uri(),
            headers: subject.headers().clone(),
            principal: Principal::of(subject).cloned(),
            client: extensions.get().map(|&ClientAddr(client)| client),
            route,
            model: subject.model(),
            body: None,
        }
    }
}

/// Without headers, query and body, in which secrets may stand.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .field("principal", &self.principal)
            .field("client", &self.client)
            .field("route", &self.route)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// The beginning of a body.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Excerpt {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether there are more.
    pub truncated: bool,
}

impl Excerpt {
    /// The beginning of a body, or all of it.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>, truncated: bool) -> Self {
        Self {
            bytes: bytes.into(),
            truncated,
        }
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Excerpt")
            .field("bytes", &self.bytes.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}

/// What was decided.
#[derive(Debug)]
pub enum Decision {
    /// The call may be made. Of these headers those reach the service that the layer
    /// [takes from decisions](super::ExternalLayer::upstream_headers).
    Allow(HeaderMap),
    /// It may not, and this is answered.
    Deny(Rejection),
    /// Nobody can say. What is done then is up to the layer: see [`OnFailure`](super::OnFailure).
    Unknown(BoxError),
}

impl Decision {
    /// The call may be made.
    #[must_use]
    pub fn allow() -> Self {
        Self::Allow(HeaderMap::new())
    }

    /// It may not: 403 `insufficient_permissions`. For another answer give a [`Rejection`] to
    /// [`Decision::Deny`].
    #[must_use]
    pub fn deny() -> Self {
        Self::Deny(Kind::Forbidden.into())
    }

    /// Nobody can say, and this is why. It is for logs.
    #[must_use]
    pub fn unknown(why: impl Into<BoxError>) -> Self {
        Self::Unknown(why.into())
    }

    /// Adds a header: for the service if the call may be made, and for the caller if it may not.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        match self {
            Self::Allow(mut headers) => {
                headers.append(name, value);
                Self::Allow(headers)
            }
            Self::Deny(rejection) => Self::Deny(rejection.with_header(name, value)),
            Self::Unknown(why) => Self::Unknown(why),
        }
    }
}
