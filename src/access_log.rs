//! One line for each exchange, when it is over.
//!
//! The line comes after the last byte of the answer, for only then is it known how much went out, what
//! it cost and how it ended. It comes exactly once, also if the caller hangs up, if the answer breaks
//! off, and if the call is dropped before it is answered.
//!
//! # Example
//!
//! By default the line is an event of [`tracing`], of level `INFO` and target
//! `tower_gateway::access`, whose fields a subscriber writes as text or as JSON. A
//! [`sink`](AccessLogLayer::sink) takes its place.
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use std::sync::{Arc, Mutex};
//! use tower::ServiceExt;
//! use tower_gateway::access_log::AccessLogLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let lines = Arc::new(Mutex::new(Vec::new()));
//! let sink = lines.clone();
//! let app: Router = Router::new()
//!     .route("/users/{id}", get(async || "hello"))
//!     .layer(
//!         AccessLogLayer::new()
//!             .route(|request| Some(request.get::<axum::extract::MatchedPath>()?.as_str().into()))
//!             .sink(move |record| sink.lock().unwrap().push(record.to_string())),
//!     );
//!
//! let request = Request::get("/users/7?token=secret").body(Body::empty()).unwrap();
//! let response = app.oneshot(request).await.unwrap();
//! assert!(lines.lock().unwrap().is_empty(), "the answer is not over yet");
//!
//! tower_gateway::collect(response.into_body(), 100).await.unwrap();
//! let line = lines.lock().unwrap().pop().unwrap();
//! assert!(line.contains(" method=GET route=/users/{id} status=200 "), "{line}");
//! assert!(line.contains(" bytes=5 ") && line.ends_with(" outcome=complete"), "{line}");
//! assert!(!line.contains("secret"));
//! # }
//! ```
//!
//! # What stands in it
//!
//! What a [`Record`] has: who and from where, the method, the template of the route, the status, the
//! model and its tokens, how long it took, how it ended. Never content, never a header, never a query.
//! The path itself holds what callers write, so it is left out unless [`paths`](AccessLogLayer::paths)
//! asks for it. A value is cut at 1 KiB, what is shaped like an API key or a token becomes `sk-…` or
//! `eyJ…`, and characters that would break, turn or hide in a line (controls, line separators,
//! bidirectional overrides, spaces of no width) are escaped as `\u{1b}`.
//!
//! Principal, model, upstream and tokens are read from the [`Exchange`], where the layers further in
//! put them. A caller that hung up before the head of the answer has the status 499; one that did so
//! later has the status it was sent, and the outcome `client_gone`.
//!
//! # Answers
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | any | the service's | |  |
//!
//! **What if its store is down**: there is none. A [sink](AccessLogLayer::sink) of yours is called by
//! whoever ends the answer, and holds it up for as long as it takes: hand over, and write elsewhere.
//!
//! # What is shared
//!
//! Nothing. Each service tells of its own exchanges, and two of these layers make two lines.

mod printable;

use self::printable::{Quoted, printable};
use crate::{
    Exchange, Extensible, Follow, Principal,
    client_addr::ClientAddr,
    describe::{Describe, Ending, RouteOf, Status, Told, Watch, Watcher},
    exchange::{Ruling, Usage},
};
use http::{Extensions, StatusCode};
use pin_project_lite::pin_project;
use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

/// Applies [`AccessLog`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct AccessLogLayer {
    /// `None`: an event.
    sink: Option<Arc<Sink>>,
    route: RouteOf,
    paths: bool,
}

const TARGET: &str = "tower_gateway::access";

type Sink = dyn Fn(&Record<'_>) + Send + Sync;

impl AccessLogLayer {
    /// Writes to [`tracing`], without paths.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sink: None,
            route: RouteOf::default(),
            paths: false,
        }
    }

    /// Hands the records to a closure, and no longer to [`tracing`]. It is called where the answer
    /// ends, which may be a destructor: it must be quick, and must not panic.
    #[must_use]
    pub fn sink(mut self, sink: impl Fn(&Record<'_>) + Send + Sync + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Whether paths are told, beside the templates of routes. They are not by default: a path may
    /// hold names, and tokens.
    #[must_use]
    pub fn paths(mut self, paths: bool) -> Self {
        self.paths = paths;
        self
    }

    /// Sets where the template of the route is found, if a foreign router has matched it: in the
    /// extensions of the request, such as axum's `MatchedPath`.
    #[must_use]
    pub fn route(
        mut self,
        route: impl Fn(&Extensions) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.route = RouteOf::new(route);
        self
    }
}

impl Default for AccessLogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AccessLogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogLayer")
            .field("route", &self.route)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        AccessLog { inner, layer }
    }
}

/// Tells of each exchange, when it is over.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct AccessLog<S> {
    inner: S,
    layer: AccessLogLayer,
}

impl<S, Req> Service<Req> for AccessLog<S>
where
    S: Service<Req>,
    S::Response: Follow<S::Error> + Status<S::Error>,
    Req: Extensible + Describe,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        let exchange = Exchange::enter(&mut req);
        self.layer.route.note(&req, &exchange);
        let sink = &self.layer.sink;
        // Where nobody reads it nothing is written down.
        let read = sink.is_some() || tracing::enabled!(target: TARGET, tracing::Level::INFO);
        let watch = read.then(|| {
            let described = req.describe();
            let extensions = req.extensions();
            let line = Line {
                sink: sink.clone(),
                method: described.method,
                path: described.path.filter(|_| self.layer.paths).map(Box::from),
                principal: extensions.get().map(|who: &Principal| who.id().clone()),
                client: extensions.get().map(|&ClientAddr(client)| client),
            };
            Watch::new(exchange, described.method, line)
        });
        let future = self.inner.call(req);
        ResponseFuture { future, watch }
    }
}

pin_project! {
    /// Response future of [`AccessLog`].
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        watch: Option<Watch<Line>>,
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E> + Status<E>,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        Poll::Ready(match this.watch.take() {
            Some(watch) => watch.answered(answer),
            None => answer.map(Follow::unfollowed),
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What was known at the head of the request.
struct Line {
    sink: Option<Arc<Sink>>,
    method: &'static str,
    path: Option<Box<str>>,
    principal: Option<Arc<str>>,
    client: Option<IpAddr>,
}

impl Watcher for Line {
    fn over(self, told: &Told<'_>) {
        let facts = told.exchange.facts();
        let record = Record {
            request_id: told.exchange.id(),
            method: self.method,
            route: facts.route.as_deref(),
            path: self.path.as_deref(),
            status: told.status,
            principal: facts.principal.as_deref().or(self.principal.as_deref()),
            client: facts.client.or(self.client),
            rule: facts.rule.as_ref(),
            shadow_rule: facts.shadow_rule.as_ref(),
            model: facts.model.as_deref(),
            prompt: facts.prompt.as_deref(),
            variant: facts.variant.as_deref(),
            upstream: facts.upstream.as_deref(),
            usage: facts.usage,
            attempts: facts.attempts,
            duration: told.elapsed(),
            first_content: facts.first_content,
            bytes: told.bytes,
            failed_open: facts.failed_open,
            error: told.error(&facts),
            ending: told.ending,
        };
        match &self.sink {
            Some(sink) => sink(&record),
            None => record.emit(),
        }
    }
}

/// One exchange that is over.
///
/// It displays as a line of `key=value` pairs, without those that are not known.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The request id.
    pub request_id: &'a str,
    /// The method, one of few.
    pub method: &'static str,
    /// The template of the route that matched.
    pub route: Option<&'a str>,
    /// The path that the caller sent, if it was asked for. Escape it where you write it.
    pub path: Option<&'a str>,
    /// The status: 499 if the caller hung up before there was one.
    pub status: Option<StatusCode>,
    /// Who called.
    pub principal: Option<&'a str>,
    /// From where.
    pub client: Option<IpAddr>,
    /// By which rule of a policy it was let in or refused.
    pub rule: Option<&'a Ruling>,
    /// What a policy in shadow mode would have done.
    pub shadow_rule: Option<&'a Ruling>,
    /// The model that was asked for.
    pub model: Option<&'a str>,
    /// The version of the prompt that the call was rendered from, as `name@version`.
    pub prompt: Option<&'a str>,
    /// The variant of a service that the caller was given.
    pub variant: Option<&'a str>,
    /// The vendor or upstream that was called last.
    pub upstream: Option<&'a str>,
    /// The tokens.
    pub usage: Option<Usage>,
    /// How often an upstream was called.
    pub attempts: u32,
    /// From the start of the exchange to its end.
    pub duration: Duration,
    /// From the start of the exchange to its first content.
    pub first_content: Option<Duration>,
    /// How many bytes of the body went out, where there are bytes.
    pub bytes: Option<u64>,
    /// Whether a policy that could not decide let the call in. It is told only if so.
    pub failed_open: bool,
    /// The code of the error.
    pub error: Option<&'static str>,
    /// How it ended.
    pub ending: Ending,
}

impl Record<'_> {
    fn emit(&self) {
        // Not by `%`: subscribers quote a `str`, so that a value cannot pass for another field.
        tracing::info!(
            target: TARGET,
            request_id = &*printable(self.request_id),
            method = self.method,
            route = self.route.map(printable).as_deref(),
            path = self.path.map(printable).as_deref(),
            status = self.status.map(|status| status.as_u16()),
            principal = self.principal.map(printable).as_deref(),
            client = self.client.map(tracing::field::display),
            rule = self.rule.map(|it| printable(&it.rule)).as_deref(),
            shadow = self.shadow_rule.map(Ruling::effect),
            shadow_rule = self.shadow_rule.map(|it| printable(&it.rule)).as_deref(),
            model = self.model.map(printable).as_deref(),
            prompt = self.prompt.map(printable).as_deref(),
            variant = self.variant.map(printable).as_deref(),
            upstream = self.upstream.map(printable).as_deref(),
            input_tokens = self.usage.map(|usage| usage.input),
            output_tokens = self.usage.map(|usage| usage.output),
            attempts = self.attempts,
            duration_ms = milliseconds(self.duration),
            first_content_ms = self.first_content.map(milliseconds),
            bytes = self.bytes,
            failed_open = self.failed_open.then_some(true),
            error = self.error,
            outcome = self.ending.as_str(),
        );
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request_id={}", Quoted(self.request_id))?;
        write!(f, " method={}", Quoted(self.method))?;
        let text = |f: &mut fmt::Formatter<'_>, name, value: Option<&str>| match value {
            Some(value) => write!(f, " {name}={}", Quoted(value)),
            None => Ok(()),
        };
        text(f, "route", self.route)?;
        text(f, "path", self.path)?;
        if let Some(status) = self.status {
            write!(f, " status={}", status.as_u16())?;
        }
        text(f, "principal", self.principal)?;
        if let Some(client) = self.client {
            write!(f, " client={client}")?;
        }
        text(f, "rule", self.rule.map(|it| &*it.rule))?;
        text(f, "shadow", self.shadow_rule.map(Ruling::effect))?;
        text(f, "shadow_rule", self.shadow_rule.map(|it| &*it.rule))?;
        text(f, "model", self.model)?;
        text(f, "prompt", self.prompt)?;
        text(f, "variant", self.variant)?;
        text(f, "upstream", self.upstream)?;
        if let Some(usage) = self.usage {
            let (input, output) = (usage.input, usage.output);
            write!(f, " input_tokens={input} output_tokens={output}")?;
        }
        write!(f, " attempts={}", self.attempts)?;
        write!(f, " duration_ms={}", milliseconds(self.duration))?;
        if let Some(after) = self.first_content {
            write!(f, " first_content_ms={}", milliseconds(after))?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, " bytes={bytes}")?;
        }
        if self.failed_open {
            f.write_str(" failed_open=true")?;
        }
        text(f, "error", self.error)?;
        write!(f, " outcome={}", self.ending)
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_the_microsecond() {
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)), 1.234);
    }
}
