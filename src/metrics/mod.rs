//! Counters and histograms, as Prometheus text.
//!
//! One [`Metrics`] holds the numbers. [`MetricsLayer`] adds to them, [`MetricsService`] shows them.
//!
//! | family | labels |
//! |---|---|
//! | `gateway_http_requests_total` | `route`, `method`, `status` |
//! | `gateway_http_request_duration_seconds`, a histogram | `route` |
//! | `gateway_http_requests_in_flight` | |
//! | `gateway_tokens_total` | `model`, `type`: `input`, `output`, `cache_read`, `cache_write`, `reasoning` |
//! | `gateway_time_to_first_content_seconds`, a histogram: to the [first bytes](Facts::first_content) of a model's answer that are not a comment | `model` |
//! | `gateway_upstream_attempts_total` | `upstream`, `outcome`: `success`, `failure`, `retried` |
//! | `gateway_variant_requests_total` | `variant`, `outcome`: `success`, `failure` |
//! | `gateway_variant_duration_seconds`, a histogram | `variant` |
//! | `gateway_rejections_total` | `code` |
//! | `gateway_authorizations_total` | `rule`, `effect`: `allow`, `deny`, `shadow_allow`, `shadow_deny` |
//! | [gauges](Metrics::gauge) of your own | |
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, extract::MatchedPath, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_gateway::metrics::{Metrics, MetricsLayer, MetricsService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let metrics = Metrics::new();
//! metrics.gauge("cache_entries", "Entries of the cache", || 7);
//! let app: Router = Router::new()
//!     .route("/users/{id}", get(async || "hello"))
//!     .layer(MetricsLayer::new(&metrics).route(|request| Some(request.get::<MatchedPath>()?.as_str().into())))
//!     .route_service("/metrics", MetricsService::new(&metrics));
//!
//! let get = async |path: &str| {
//!     let response = app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
//!     tower_gateway::collect(response.into_body(), 10_000).await.unwrap()
//! };
//! get("/users/1").await;
//! get("/users/2").await;
//!
//! let text = get("/metrics").await;
//! let text = std::str::from_utf8(&text).unwrap();
//! let line = r#"gateway_http_requests_total{route="/users/{id}",method="GET",status="200"} 2"#;
//! assert!(text.contains(line), "{text}");
//! assert!(text.contains("\ncache_entries 7\n"));
//! # }
//! ```
//!
//! # Answers
//!
//! | request | status | code | headers |
//! |---|--:|---|---|
//! | any, of the layer | the service's | | |
//! | `GET` or `HEAD`, of [`MetricsService`] | 200 | | `Content-Type` |
//! | by another method, of it | 405 | `method_not_allowed` | `Allow` |
//! | for another path, of it | 404 | `not_found` | |
//!
//! **What if its store is down**: there is none. The numbers are in memory, and begin anew with the process.
//!
//! # When it counts
//!
//! When the answer is over: at the end of its body, at its first error, or when it is dropped. Until
//! then it is in flight. A caller that hung up before the head of the answer has the status 499; where
//! there was an error and no status, the status is `none`. Durations begin with the [`Exchange`].
//!
//! Model, tokens, upstream and attempts are read from the [`Exchange`], where the layers further in
//! put them. Which upstream an earlier attempt went to is not told there: it counts as `retried`, under
//! the last one's name.
//!
//! # How many series
//!
//! No label holds what a caller wrote: a route is a template, a method is one of nine or `other`, a
//! model is one that is offered. A family has at most 500 series all the same, or
//! [another number](Metrics::with_max_series). What finds no room is counted under `other`, with the
//! class of its status (`5xx`).
//!
//! # What is shared
//!
//! The numbers belong to the [`Metrics`], whose clones are handles to the same. Each layer made with
//! one adds to it: a request that passes two of them is counted twice, with its tokens.
//!
//! # What an operator must know
//!
//! The numbers tell who is served and how much is spent. Show them on a port of their own, or behind
//! the authentication of the rest.

mod classic;
mod families;
mod sample;
mod series;

pub use self::sample::Sample;

use self::families::{
    Attempt, Authorization, Code, Families, Model, Request, Route, Status, Tokens, Variant,
    VariantRequest,
};
use self::sample::Gauges;
use crate::{
    Body, Exchange, Extensible, Follow, Reject, Rejection,
    describe::{self, Describe, Ending, RouteOf, Told, Watch, Watcher},
    exchange::Facts,
    rejection::Kind,
};
use bytes::Bytes;
use http::{Extensions, HeaderValue, Method, Response, StatusCode, header};
use pin_project_lite::pin_project;
use prometheus_client::{
    encoding::text,
    metrics::{MetricType, gauge::Gauge},
    registry::Registry,
};
use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// The numbers. Cloning makes another handle to the same.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    families: Families,
    registry: Registry,
    gauges: Gauges,
}

impl Metrics {
    /// All zero. At most 500 series for each family.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max_series(500)
    }

    /// All zero, with another number of series that a family may have.
    #[must_use]
    pub fn with_max_series(most: usize) -> Self {
        let families = Families::new(most);
        let gauges = Gauges::new(most);
        let mut registry = Registry::default();
        families.register(&mut registry);
        registry.register_collector(Box::new(gauges.clone()));
        Self(Arc::new(Inner {
            families,
            registry,
            gauges,
        }))
    }

    /// Adds a gauge, which is read whenever the numbers are asked for: how many keys a limiter holds,
    /// how a breaker stands. A gauge that had this name before is replaced.
    ///
    /// In `name`, what cannot stand in a name becomes `_`, and so does no name at all. Where it would
    /// be taken for a family of this module, `custom_` is put before it.
    pub fn gauge(&self, name: &str, help: &str, read: impl Fn() -> i64 + Send + Sync + 'static) {
        let read = move || vec![Sample::new(read() as f64)];
        self.0.gauges.add(name, help, MetricType::Gauge, read);
    }

    /// The same, of several series that differ by their labels. Those beyond the most that a family may
    /// have are left out, and no two may have the same labels.
    ///
    /// ```
    /// use tower_gateway::{circuit_breaker::CircuitBreakerLayer, metrics::{Metrics, Sample}};
    ///
    /// let (metrics, layer) = (Metrics::new(), CircuitBreakerLayer::gateway());
    /// let handle = layer.handle();
    /// metrics.gauges("breaker_buffered_calls", "Calls in the window", move || {
    ///     let stats = handle.stats();
    ///     let failed = Sample::new(stats.buffered_failed_calls() as f64).label("kind", "failed");
    ///     vec![Sample::new(stats.buffered_calls() as f64).label("kind", "all"), failed]
    /// });
    /// assert!(metrics.encode().contains("breaker_buffered_calls{kind=\"failed\"} 0"));
    /// ```
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.0.gauges.add(name, help, MetricType::Gauge, read);
    }

    /// The same of what only grows, by whole numbers. `_total` is added to the name.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.0.gauges.add(name, help, MetricType::Counter, read);
    }

    /// Several of both kinds, of which the first `counters` only grow, that are read at once.
    #[cfg(all(feature = "gateway", feature = "prompts"))]
    pub(crate) fn together(
        &self,
        families: &[(&str, &str)],
        counters: usize,
        read: impl Fn() -> Vec<Vec<Sample>> + Send + Sync + 'static,
    ) {
        let kind = |at| match at < counters {
            true => MetricType::Counter,
            false => MetricType::Gauge,
        };
        let families = families.iter().enumerate();
        let families: Vec<_> = families
            .map(|(at, &(name, help))| (name, help, kind(at)))
            .collect();
        self.0.gauges.add_together(&families, read);
    }

    /// The numbers as OpenMetrics 1.0 text. [`MetricsService`] also tells them in the text that
    /// Prometheus has always read.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if text::encode(&mut out, &self.0.registry).is_err() {
            // Half an exposition would be taken for a whole one.
            out.clear();
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Applies [`MetricsRecorder`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct MetricsLayer {
    metrics: Metrics,
    route: RouteOf,
}

impl MetricsLayer {
    /// Adds to these numbers.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.clone(),
            route: RouteOf::default(),
        }
    }

    /// Sets where the template of the route is found, if a foreign router has matched it: in the
    /// extensions of the request, such as axum's `MatchedPath`. Never the path itself.
    #[must_use]
    pub fn route(
        mut self,
        route: impl Fn(&Extensions) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.route = RouteOf::new(route);
        self
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = MetricsRecorder<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        MetricsRecorder { inner, layer }
    }
}

/// Counts each exchange, when it is over.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct MetricsRecorder<S> {
    inner: S,
    layer: MetricsLayer,
}

impl<S, Req> Service<Req> for MetricsRecorder<S>
where
    S: Service<Req>,
    S::Response: Follow<S::Error> + describe::Status<S::Error>,
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
        let method = req.describe().method;
        let metrics = self.layer.metrics.clone();
        metrics.0.families.in_flight.inc();
        let watch = Some(Watch::new(exchange, method, Count { metrics, method }));
        let future = self.inner.call(req);
        ResponseFuture { future, watch }
    }
}

pin_project! {
    /// Response future of [`MetricsRecorder`].
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        watch: Option<Watch<Count>>,
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E> + describe::Status<E>,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        let watch = this.watch.take().expect("polled after completion");
        Poll::Ready(watch.answered(answer))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

struct Count {
    metrics: Metrics,
    method: &'static str,
}

impl Watcher for Count {
    fn over(self, told: &Told<'_>) {
        let families = &self.metrics.0.families;
        let in_flight: &Gauge = &families.in_flight;
        in_flight.dec();
        let failed = told.ending == Ending::Failed
            || told.status.is_some_and(|status| status.is_server_error());
        let seconds = told.elapsed().as_secs_f64();
        let route = told.exchange.read(|facts| {
            if let Some(code) = told.error(facts) {
                families.rejections.add(&Code(code), |count| count.inc());
            }
            count_rules(families, facts);
            count_model(families, facts);
            count_attempts(families, facts, failed);
            count_variant(families, facts, failed, seconds);
            facts.route.clone()
        });
        let route = Route { route };
        families
            .duration
            .add(&route, |times| times.observe(seconds));
        let request = Request {
            route: route.route,
            method: self.method,
            status: told.status.map_or(Status::None, Status::One),
        };
        families.requests.add(&request, |count| count.inc());
    }
}

fn count_rules(families: &Families, facts: &Facts) {
    let effects = [
        (&facts.rule, ["deny", "allow"]),
        (&facts.shadow_rule, ["shadow_deny", "shadow_allow"]),
    ];
    for (ruling, effects) in effects {
        let Some(ruling) = ruling else { continue };
        let label = Authorization {
            rule: Some(ruling.rule.clone()),
            effect: effects[usize::from(ruling.allowed)],
        };
        families.authorizations.add(&label, |count| count.inc());
    }
}

/// In one answer. A vendor that says more is not believed, or the counter could come round to zero.
const MOST_TOKENS: u64 = u32::MAX as u64;

fn count_model(families: &Families, facts: &Facts) {
    let mut model = Model {
        model: facts.model.clone(),
    };
    if let Some(after) = facts.first_content {
        let seconds = after.as_secs_f64();
        families
            .first_content
            .add(&model, |times| times.observe(seconds));
    }
    let Some(usage) = facts.usage else { return };
    let mut tokens = Tokens {
        model: model.model.take(),
        kind: "",
    };
    for (kind, count) in [
        ("input", Some(usage.input)),
        ("output", Some(usage.output)),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
    ] {
        if let Some(count) = count {
            tokens.kind = kind;
            families
                .tokens
                .add(&tokens, |all| all.inc_by(count.min(MOST_TOKENS)));
        }
    }
}

fn count_variant(families: &Families, facts: &Facts, failed: bool, seconds: f64) {
    if facts.variant.is_none() {
        return;
    }
    let label = VariantRequest {
        variant: facts.variant.clone(),
        outcome: if failed { "failure" } else { "success" },
    };
    families.variants.add(&label, |count| count.inc());
    let label = Variant {
        variant: label.variant,
    };
    families
        .variant_duration
        .add(&label, |times| times.observe(seconds));
}

fn count_attempts(families: &Families, facts: &Facts, failed: bool) {
    if facts.attempts == 0 {
        return;
    }
    let mut attempt = Attempt {
        upstream: facts.upstream.clone(),
        outcome: if failed { "failure" } else { "success" },
    };
    families.attempts.add(&attempt, |count| count.inc());
    if facts.attempts > 1 {
        attempt.outcome = "retried";
        let earlier = u64::from(facts.attempts - 1);
        families
            .attempts
            .add(&attempt, |count| count.inc_by(earlier));
    }
}

/// Answers `GET /metrics` with the numbers, and all else with 404 or 405.
///
/// As OpenMetrics to who accepts that, and else as the text that Prometheus has always read. See the
/// [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct MetricsService(Metrics);

impl MetricsService {
    /// Shows these numbers.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self(metrics.clone())
    }

    fn answer<B>(&self, req: &http::Request<B>) -> Result<Response<Body>, Infallible> {
        if req.uri().path() != "/metrics" {
            return Response::reject(Kind::NotFound.into());
        }
        let accepts = req.headers().get_all(header::ACCEPT).iter();
        let open = accepts
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.contains("application/openmetrics-text"));
        let text = match *req.method() {
            Method::GET if open => Bytes::from(self.0.encode()),
            Method::GET => Bytes::from(classic::classic(&self.0.encode())),
            Method::HEAD => Bytes::new(),
            _ => {
                let allowed = HeaderValue::from_static("GET, HEAD");
                let rejection = Rejection::new(Kind::MethodNotAllowed);
                return Response::reject(rejection.with_header(header::ALLOW, allowed));
            }
        };
        let kind = HeaderValue::from_static(if open {
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        } else {
            "text/plain; version=0.0.4; charset=utf-8"
        });
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl<B> Service<http::Request<B>> for MetricsService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<B>) -> Self::Future {
        ready(self.answer(&req))
    }
}
