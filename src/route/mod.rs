//! Which service answers, by host, path and method.
//!
//! ```
//! use http::{Method, Request, Response};
//! use tower::{ServiceExt, service_fn};
//! use tower_gateway::{Body, route::{Methods, PathParams, Routes}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let user = service_fn(async |request: Request<Body>| {
//!     let params: &PathParams = request.extensions().get().unwrap();
//!     Ok(Response::new(Body::from(params.get("id").unwrap().into_owned())))
//! });
//! let router = Routes::new()
//!     .route("/users/{id}", Method::GET, user)
//!     .route("/files/{*path}", Methods::ANY, user)
//!     .route("admin.example.com/users/{id}", [Method::GET, Method::DELETE], user)
//!     .build()
//!     .unwrap();
//!
//! let call = async |method: Method, path| {
//!     let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
//!     let response: Result<_, std::convert::Infallible> = router.clone().oneshot(request).await;
//!     response.unwrap()
//! };
//! assert_eq!(call(Method::GET, "/users/7").await.status(), 200);
//! assert_eq!(call(Method::GET, "/nobody/../users/7").await.status(), 200);
//! assert_eq!(call(Method::GET, "/users").await.status(), 404);
//! assert_eq!(call(Method::POST, "/users/7").await.headers()["allow"], "GET, HEAD");
//! # }
//! ```
//!
//! # Templates
//!
//! A template is a path whose segments are names, parameters `{id}` that stand for one segment that
//! is not empty, or at the end `{*rest}` that stands for all there is, also for nothing:
//! `/files/{*path}` matches `/files/` and not `/files`. A host may come first, `api.example.com/v1`,
//! or all below one, `*.example.com/v1`; the port of a request does not matter.
//!
//! Names win over parameters, and parameters over the rest, segment by segment. Routes with a host
//! are looked at before those without, and the exact host before the one with `*`; the first that has
//! the path decides. A path with a slash at its end is another path.
//!
//! # Methods
//!
//! `HEAD` is answered by the route for `GET`, unless it has one of its own. `OPTIONS` is a method
//! like the others; CORS is for a layer further out. A method in a header is not looked at.
//!
//! # What everyone further in sees
//!
//! The URI of the request is rewritten to the [normal form](crate::path) of its path, so that what
//! is matched is what is forwarded. Layers further out that decide by the path need
//! [`NormalisePathLayer`] around them. The parameters are in the extensions, as [`PathParams`], and
//! the template is the [`route`](crate::exchange::Facts::route) of the exchange, if there is one.
//!
//! | answer | when |
//! |---|---|
//! | 400 `invalid_request` | the path has no normal form |
//! | 404 `not_found` | no template matches |
//! | 405 `method_not_allowed`, `Allow` | one does, by other methods |
//! | 403 `insufficient_permissions` | one does, and the [principal may not use it](Principal::may_use_route) |
//!
//! # Readiness and cancellation
//!
//! A router is always ready. A service is cloned for each call and waited for in the call's future,
//! so that one that is not ready holds up its own callers only. To drop the future drops the call.

mod methods;
mod normalise;
mod params;
mod template;
mod tree;

pub use self::{
    methods::Methods,
    normalise::{NormalisePath, NormalisePathLayer},
    params::PathParams,
};

use self::{
    methods::ByMethod,
    template::segments,
    tree::{Places, Segment, Tree},
};
use crate::{Body, BoxError, Exchange, Principal, Reject, Rejection, path::Rules, rejection::Kind};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header, uri::Authority};
use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;
type Boxed<B, E> = Box<dyn Fn(Request<B>) -> Answering<E> + Send + Sync>;

/// Routes, to make a [`Router`] of.
///
/// See the [module docs](self) for an example.
pub struct Routes<B = Body, E = Infallible> {
    routes: Vec<(Box<str>, Methods, Boxed<B, E>)>,
    rules: Rules,
}

impl<B, E> Routes<B, E> {
    /// None, and the default [`Rules`] for paths.
    #[must_use]
    pub fn new() -> Self {
        Self {
            routes: Vec::new(),
            rules: Rules::new(),
        }
    }

    /// Lets `service` answer for what matches `template` by one of `methods`: a
    /// [`Method`], an array of them, or [`Methods::ANY`].
    #[must_use]
    pub fn route<S, R>(
        mut self,
        template: impl Into<Box<str>>,
        methods: impl Into<Methods>,
        service: S,
    ) -> Self
    where
        B: Send + 'static,
        S: Service<Request<B>, Response = Response<R>, Error = E> + Clone + Send + Sync + 'static,
        S::Future: Send,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let answer: Boxed<B, E> = Box::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                Ok(service.call(request).await?.map(Body::new))
            })
        });
        self.routes.push((template.into(), methods.into(), answer));
        self
    }

    /// Sets what is done with paths on which servers differ.
    #[must_use]
    pub fn path_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Makes the router.
    ///
    /// # Errors
    ///
    /// [`RouteFaults`], with every template that cannot be read or is there twice.
    pub fn build(self) -> Result<Router<B, E>, RouteFaults> {
        let mut table = Table {
            rules: self.rules,
            any_host: Tree::default(),
            hosts: HashMap::new(),
            below: HashMap::new(),
            routes: Vec::with_capacity(self.routes.len()),
        };
        let mut faults = Vec::new();
        for (template, methods, answer) in self.routes {
            if let Err(detail) = table.add(&template, &methods, answer) {
                faults.push((template, detail));
            }
        }
        if faults.is_empty() {
            Ok(Router(Arc::new(table)))
        } else {
            Err(RouteFaults(faults))
        }
    }
}

impl<B, E> Default for Routes<B, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B, E> fmt::Debug for Routes<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self
            .routes
            .iter()
            .map(|(template, methods, _)| (template, methods));
        f.debug_list().entries(routes).finish()
    }
}

/// What is wrong with the templates of [`Routes`].
#[derive(Clone, Debug)]
pub struct RouteFaults(Vec<(Box<str>, &'static str)>);

impl RouteFaults {
    /// Each template, and what is wrong with it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.0
            .iter()
            .map(|(template, detail)| (&**template, *detail))
    }
}

impl fmt::Display for RouteFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (template, detail)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}route `{template}`: {detail}")?;
        }
        Ok(())
    }
}

impl Error for RouteFaults {}

/// Answers with the service of the route that matches.
///
/// See the [module docs](self) for an example. A clone costs one counter.
pub struct Router<B = Body, E = Infallible>(Arc<Table<B, E>>);

struct Table<B, E> {
    rules: Rules,
    any_host: Templates,
    hosts: HashMap<Box<str>, Templates>,
    /// Without the `*.`.
    below: HashMap<Box<str>, Templates>,
    routes: Vec<Route<B, E>>,
}

/// By indices of the list of routes.
type Templates = Tree<ByMethod<usize>>;

struct Route<B, E> {
    template: Arc<str>,
    names: Arc<[Box<str>]>,
    answer: Boxed<B, E>,
}

impl<B, E> Table<B, E> {
    fn add(
        &mut self,
        template: &str,
        methods: &Methods,
        answer: Boxed<B, E>,
    ) -> Result<(), &'static str> {
        let (host, path) = template::split(template)?;
        let segments = segments(path).collect::<Result<Vec<_>, _>>()?;
        if !template::is_normal(path) {
            return Err("A path is written in its normal form.");
        }
        let mut names = Vec::<Box<str>>::new();
        for segment in &segments {
            if let Segment::Any(name) | Segment::Rest(name) = *segment {
                if names.iter().any(|have| **have == *name) {
                    return Err("A parameter is there twice.");
                }
                names.push(name.into());
            }
        }
        if methods.named().is_some_and(<[_]>::is_empty) {
            return Err("A route has a method.");
        }
        let templates = match host.map(|host| (host.strip_prefix("*."), host)) {
            None => &mut self.any_host,
            Some((None, host)) => self.hosts.entry(host.into()).or_default(),
            Some((Some(below), _)) => self.below.entry(below.into()).or_default(),
        };
        let place = templates.place(segments);
        let by_method = place.get_or_insert_with(ByMethod::new);
        if !by_method.add(methods, self.routes.len()) {
            return Err("Another route answers to the same.");
        }
        self.routes.push(Route {
            template: template.into(),
            names: names.into(),
            answer,
        });
        Ok(())
    }

    /// The templates that may match, the most particular first.
    fn candidates<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Templates> {
        let below = host
            .match_indices('.')
            .filter_map(|(at, _)| self.below.get(&host[at + 1..]));
        let hosts = self.hosts.get(host).into_iter().chain(below);
        hosts.chain([&self.any_host])
    }

    /// What is served at a path, by method, and where its parameters stand.
    fn find(&self, uri: &Uri, headers: &HeaderMap) -> Option<(&ByMethod<usize>, Places)> {
        let host = if self.hosts.is_empty() && self.below.is_empty() {
            None
        } else {
            host(uri, headers)
        };
        self.candidates(host.as_deref().unwrap_or_default())
            .find_map(|templates| templates.find(uri.path()))
    }

    fn route(&self, request: &mut Request<B>) -> Result<&Route<B, E>, Rejection> {
        self.rules.apply(request.uri_mut())?;
        let (by_method, places) = self
            .find(request.uri(), request.headers())
            .ok_or(Kind::NotFound)?;
        let Some(index) = by_method.get(request.method()) else {
            let refused = Rejection::new(Kind::MethodNotAllowed);
            return Err(refused.with_header(header::ALLOW, by_method.allow()));
        };
        let route = &self.routes[index];
        if let Some(exchange) = Exchange::of(request) {
            exchange.update(|facts| facts.route = Some(route.template.clone()));
        }
        if Principal::of(request).is_some_and(|who| !who.may_use_route(&route.template)) {
            return Err(Kind::Forbidden.into());
        }
        if let Some(path) = request
            .uri()
            .path_and_query()
            .filter(|_| !places.is_empty())
        {
            let params = PathParams::new(route.names.clone(), path.clone(), places);
            request.extensions_mut().insert(params);
        }
        Ok(route)
    }
}

/// The host that a request is for, in lower case and without port.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Box<str>> {
    let own = uri.authority().cloned();
    let authority = own.or_else(|| {
        let value = headers.get(header::HOST)?;
        Authority::try_from(value.as_bytes()).ok()
    })?;
    let host = authority.host();
    let host = host.strip_suffix('.').unwrap_or(host);
    // No name is longer (RFC 1035 §2.3.4), and each of its suffixes is looked up.
    if host.len() > 253 {
        return None;
    }
    Some(host.to_ascii_lowercase().into())
}

impl<B, E> Router<B, E> {
    /// The template that a request matches whose path is in its normal form. `None`: it matches none by
    /// this method.
    #[must_use]
    pub fn template(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<&Arc<str>> {
        let (by_method, _) = self.0.find(uri, headers)?;
        Some(&self.0.routes[by_method.get(method)?].template)
    }
}

impl<B, E> Clone for Router<B, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B, E> fmt::Debug for Router<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let templates = self.0.routes.iter().map(|route| &route.template);
        f.debug_list().entries(templates).finish()
    }
}

impl<B, E> Service<Request<B>> for Router<B, E> {
    type Response = Response<Body>;
    type Error = E;
    type Future = ResponseFuture<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<E> {
        ResponseFuture(match self.0.route(&mut request) {
            Ok(route) => State::Routed((route.answer)(request)),
            Err(rejection) => State::Rejected(Some(rejection)),
        })
    }
}

/// Response future of [`Router`].
pub struct ResponseFuture<E>(State<E>);

enum State<E> {
    Routed(Answering<E>),
    Rejected(Option<Rejection>),
}

impl<E> Future for ResponseFuture<E> {
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Routed(answering) => answering.as_mut().poll(cx),
            State::Rejected(rejection) => Poll::Ready(Response::reject(
                rejection.take().expect("polled after completion"),
            )),
        }
    }
}

impl<E> fmt::Debug for ResponseFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_longer_than_a_name_can_be_is_none() {
        let asked = |length: usize| {
            let name = "A.".repeat(length / 2) + &"a"[..length % 2];
            let request = Request::builder().header(header::HOST, format!("{name}b:80"));
            let request = request.body(()).unwrap();
            host(request.uri(), request.headers()).map(|host| host.len())
        };
        assert_eq!(asked(252), Some(253));
        assert_eq!(asked(253), None);
        assert_eq!(asked(60_000), None);
    }
}
