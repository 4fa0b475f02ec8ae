//! A span for each exchange, its request id, and its place in a trace.
//!
//! Stands outermost. It begins the [`Exchange`], which the layers further in add to, and lets a span of
//! [`tracing`] last from here to the end of the answer's body.
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, http::{HeaderMap, Request}, routing::get};
//! use tower::ServiceExt;
//! use tower_gateway::trace::TraceLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     // What an upstream would be sent.
//!     .route("/", get(async |headers: HeaderMap| headers["traceparent"].to_str().unwrap().to_owned()))
//!     .layer(TraceLayer::new());
//!
//! let request = Request::get("/")
//!     .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
//!     .header("x-request-id", "from-a-stranger")
//!     .body(Body::empty())
//!     .unwrap();
//! let response = app.oneshot(request).await.unwrap();
//!
//! let id = response.headers()["x-request-id"].to_str().unwrap();
//! assert_eq!(id.len(), 32, "an id of our own");
//! let sent = tower_gateway::collect(response.into_body(), 100).await.unwrap();
//! assert!(sent.starts_with(b"00-0af7651916cd43dd8448eb211c80319c-"), "the trace goes on");
//! assert!(!sent.ends_with(b"-b7ad6b7169203331-01"), "in a span of our own");
//! # }
//! ```
//!
//! # Answers
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | any | the service's | | `x-request-id` |
//!
//! **What if its store is down**: there is none. Spans go to the subscriber of the process, which should not
//! make a call wait for whoever collects them.
//!
//! # The request id
//!
//! 32 hexadecimal digits, made here. With [`trust_request_id`](TraceLayer::trust_request_id) the
//! caller's `x-request-id` is taken if there is one, of `[A-Za-z0-9._-]{1,128}`. It is set on the
//! request, for those further in, and on every answer. An answer has no other: a vendor's is replaced.
//!
//! # The trace context
//!
//! W3C Trace Context: a valid `traceparent` is gone on with, under a new span id. One that is not valid
//! (in upper case, all zero, of another length), or that comes twice, is dropped with its `tracestate`,
//! and a new trace begins, whose id is the request id if that was made here. `traceparent` on the
//! request names what upstreams are to take for their parent. A new trace counts as sampled if someone
//! listens to the span. [`trust_traceparent`](TraceLayer::trust_traceparent) decides whether callers
//! can choose the trace at all.
//!
//! # The span
//!
//! `request`, of level `INFO` and target `tower_gateway::trace`, with the names of OpenTelemetry:
//!
//! | when | fields |
//! |---|---|
//! | at the start | `otel.kind`, `http.request.method`, `request_id`, `trace_id`, `span_id`, `parent_span_id` |
//! | at the end | `otel.name`, `otel.status_code`, `http.route`, `http.response.status_code`, `error.type`, `outcome`, `gateway.attempts`, `gateway.prompt`, `gateway.variant`, `gateway.upstream`, `enduser.id`, `client.address`, `gen_ai.request.model`, `gen_ai.provider.name`, `gen_ai.response.time_to_first_chunk`, `gen_ai.usage.input_tokens`, `.output_tokens`, `.cache_read.input_tokens`, `.cache_creation.input_tokens`, `.reasoning.output_tokens` |
//!
//! Never a path, a query, a header or content. It is entered while the call is polled, so that spans and
//! events further in are its children, and it closes with the end of the body, or when the caller hangs
//! up. Without a subscriber that wants it nothing of it is computed.

mod context;

use self::context::TraceContext;
use crate::{
    Exchange, Extensible, Follow,
    describe::{Describe, Ending, OTHER, RouteOf, Status, Told, Watch, Watcher},
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Span, field};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Applies [`Trace`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    request_id: bool,
    traceparent: bool,
    route: RouteOf,
}

impl TraceLayer {
    /// Makes the request id, and goes on with the caller's trace.
    #[must_use]
    pub fn new() -> Self {
        Self {
            request_id: false,
            traceparent: true,
            route: RouteOf::default(),
        }
    }

    /// Whether the caller's `x-request-id` is taken. Not by default: it would let callers choose what
    /// is found under an id.
    #[must_use]
    pub fn trust_request_id(mut self, trust: bool) -> Self {
        self.request_id = trust;
        self
    }

    /// Whether the caller's `traceparent` is gone on with. So by default.
    #[must_use]
    pub fn trust_traceparent(mut self, trust: bool) -> Self {
        self.traceparent = trust;
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

    /// The exchange that someone further out began, or one that begins now.
    fn begin(&self, req: &mut impl Extensible) -> Exchange {
        if Exchange::of(req).is_none()
            && self.request_id
            && let Some(id) = request_id(req.headers())
        {
            let exchange = Exchange::with_id(id);
            req.extensions_mut().insert(exchange);
        }
        Exchange::enter(req)
    }
}

/// The request id that a caller chose, if there is exactly one and it can stand anywhere.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return None;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let id = id.to_str().ok()?;
    ((1..=128).contains(&id.len()) && id.bytes().all(plain)).then_some(id)
}

impl Default for TraceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        Trace { inner, layer }
    }
}

/// Begins an exchange for each request, and tells of it in a span.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Trace<S> {
    inner: S,
    layer: TraceLayer,
}

impl<S, Req> Service<Req> for Trace<S>
where
    S: Service<Req>,
    S::Response: Extensible + Follow<S::Error> + Status<S::Error>,
    Req: Extensible + Describe,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        let exchange = self.layer.begin(&mut req);
        self.layer.route.note(&req, &exchange);
        let method = req.describe().method;
        let span = span(method);
        let id = exchange.id();
        let trusted = self.layer.traceparent;
        let context = TraceContext::new(req.headers(), trusted, id, !span.is_disabled());
        if !span.is_disabled() {
            span.record("request_id", id)
                .record("trace_id", field::display(context.trace_id()))
                .record("span_id", field::display(context.span_id()));
            if let Some(parent) = context.parent_id() {
                span.record("parent_span_id", field::display(parent));
            }
        }
        let id = HeaderValue::try_from(id).ok();
        context.write(req.headers_mut());
        if let Some(id) = &id {
            req.headers_mut().insert(X_REQUEST_ID, id.clone());
        }
        let watch = (!span.is_disabled()).then(|| {
            let span = span.clone();
            Watch::new(exchange, method, SpanEnd { span, method })
        });
        let future = {
            let _entered = span.enter();
            self.inner.call(req)
        };
        ResponseFuture {
            future,
            span,
            id,
            watch,
        }
    }
}

fn span(method: &'static str) -> Span {
    tracing::info_span!(
        target: "tower_gateway::trace",
        "request",
        otel.kind = "server",
        otel.name = field::Empty,
        otel.status_code = field::Empty,
        // OpenTelemetry's own word for it.
        http.request.method = if method == OTHER { "_OTHER" } else { method },
        http.route = field::Empty,
        http.response.status_code = field::Empty,
        "error.type" = field::Empty,
        request_id = field::Empty,
        trace_id = field::Empty,
        span_id = field::Empty,
        parent_span_id = field::Empty,
        outcome = field::Empty,
        client.address = field::Empty,
        enduser.id = field::Empty,
        gateway.rule = field::Empty,
        gateway.shadow = field::Empty,
        gateway.shadow_rule = field::Empty,
        gateway.attempts = field::Empty,
        gateway.prompt = field::Empty,
        gateway.variant = field::Empty,
        gateway.upstream = field::Empty,
        gen_ai.request.model = field::Empty,
        gen_ai.provider.name = field::Empty,
        gen_ai.response.time_to_first_chunk = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        gen_ai.usage.cache_read.input_tokens = field::Empty,
        gen_ai.usage.cache_creation.input_tokens = field::Empty,
        gen_ai.usage.reasoning.output_tokens = field::Empty,
    )
}

pin_project! {
    /// Response future of [`Trace`].
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        span: Span,
        id: Option<HeaderValue>,
        watch: Option<Watch<SpanEnd>>,
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Extensible + Follow<E> + Status<E>,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = {
            let _entered = this.span.enter();
            ready!(this.future.poll(cx))
        };
        if let (Ok(response), Some(id)) = (&mut answer, this.id.take()) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        // From here on the answer alone keeps it open.
        *this.span = Span::none();
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

struct SpanEnd {
    span: Span,
    method: &'static str,
}

impl Watcher for SpanEnd {
    fn over(self, told: &Told<'_>) {
        let span = &self.span;
        let facts = told.exchange.facts();
        let text = |name, value: Option<&str>| {
            if let Some(value) = value {
                span.record(name, value);
            }
        };
        let count = |name, value: Option<u64>| {
            if let Some(value) = value {
                span.record(name, value);
            }
        };
        match facts.route.as_deref() {
            Some(route) => {
                let name = format_args!("{} {route}", self.method);
                span.record("otel.name", field::display(name));
            }
            None => text("otel.name", Some(self.method)),
        }
        text("http.route", facts.route.as_deref());
        let status = told.status.map(|status| status.as_u16());
        count("http.response.status_code", status.map(u64::from));
        let failed = told.ending == Ending::Failed || status.is_some_and(|status| status >= 500);
        text("error.type", told.error(&facts));
        text("otel.status_code", failed.then_some("ERROR"));
        text("outcome", Some(told.ending.as_str()));
        if let Some(client) = facts.client {
            span.record("client.address", field::display(client));
        }
        text("enduser.id", facts.principal.as_deref());
        text("gateway.rule", facts.rule.as_ref().map(|it| &*it.rule));
        if let Some(shadow) = &facts.shadow_rule {
            text("gateway.shadow", Some(shadow.effect()));
            text("gateway.shadow_rule", Some(&shadow.rule));
        }
        count("gateway.attempts", Some(facts.attempts.into()));
        text("gateway.prompt", facts.prompt.as_deref());
        text("gateway.variant", facts.variant.as_deref());
        text("gateway.upstream", facts.upstream.as_deref());
        if let Some(model) = facts.model.as_deref() {
            text("gen_ai.request.model", Some(model));
            text("gen_ai.provider.name", facts.upstream.as_deref());
            if let Some(after) = facts.first_content {
                span.record("gen_ai.response.time_to_first_chunk", after.as_secs_f64());
            }
        }
        if let Some(usage) = facts.usage {
            let tokens = |name, tokens| count(name, tokens);
            tokens("gen_ai.usage.input_tokens", Some(usage.input));
            tokens("gen_ai.usage.output_tokens", Some(usage.output));
            tokens("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
            tokens(
                "gen_ai.usage.cache_creation.input_tokens",
                usage.cache_write,
            );
            tokens("gen_ai.usage.reasoning.output_tokens", usage.reasoning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_request_id_is_taken() {
        let with = |ids: &[&str]| {
            let mut headers = HeaderMap::new();
            for id in ids {
                let id = HeaderValue::from_bytes(id.as_bytes()).unwrap();
                headers.append(X_REQUEST_ID, id);
            }
            request_id(&headers).map(str::to_owned)
        };
        let longest = "a".repeat(128);
        for id in ["a", "A-z_0.9", &longest] {
            assert_eq!(with(&[id]).as_deref(), Some(id));
        }
        let long = "a".repeat(129);
        for id in ["", " ", "a b", "a;b", "a\"", "a/b", "\u{e9}", "a\tb", &long] {
            assert_eq!(with(&[id]), None, "{id:?}");
        }
        assert_eq!(with(&["a", "a"]), None);
    }
}
