//! Building a gateway.

mod admission;
mod browsers;
mod models;
#[cfg(feature = "prompts")]
mod prompts;

use self::models::Offered;
use super::{
    GatewayService, Shared,
    authorized::{Authorized, Served},
    bounds::{Bounded, Limits},
    directory::{ChatService, Directory, List, Vendor},
    drain::{Drain, DrainLayer},
    fault::{BuildError, Fault},
    gauges::Gauges,
    planes::{self, Planes},
    settled::{HttpService, Settled},
    slot::{Entry, Slot, short},
    speakers::Speakers,
    stack::{Own, Stack},
};
use crate::{
    Body, BoxError,
    access_log::AccessLogLayer,
    answer::Classify,
    auth::stored::StoredKeys,
    circuit_breaker::CircuitBreakerHandle,
    client_addr::ClientAddrLayer,
    concurrency::{ConcurrencyLayer, Triage},
    identity::IdentityLayer,
    key::Key,
    llm::{self, ChatRequest, ChatResponse, Provider, Simulator, catalog::Catalog, serve::Serve},
    metrics::Metrics,
    route::{Methods, Routes},
};
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::Body as HttpBody;
use std::{
    any::type_name,
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    fmt,
    sync::Arc,
    time::Duration,
};
use tower::util::{BoxCloneSyncService, Either, MapErr, option_layer};
use tower_layer::Layer;
use tower_service::Service;

/// Builds a [`GatewayService`]. Nothing fails before [`build`](Self::build), which reports every fault
/// that it finds.
#[must_use]
pub struct GatewayBuilder {
    http: Vec<Entry<Slot, HttpService>>,
    chat: Vec<Entry<(), ChatService>>,
    named: BTreeMap<Arc<str>, ChatService>,
    /// What was given by each call with the name.
    models: BTreeMap<Arc<str>, Vec<Vec<Offered>>>,
    vendors: Vec<Vendor>,
    speakers: Speakers,
    catalog: Option<Catalog>,
    /// Those whose row nobody has held against what they answer.
    unverified: Vec<String>,
    routes: Routes,
    has_routes: bool,
    metrics: Metrics,
    access_log: Option<AccessLogLayer>,
    client_addr: ClientAddrLayer,
    identity: IdentityLayer,
    authorized: Option<Authorized>,
    body_limit: Option<usize>,
    route_limits: Limits,
    faults: Vec<Fault>,
    /// What may be called once only.
    called: HashSet<&'static str>,
    /// For the metrics, which are known at the end.
    gauges: Gauges,
    stored: Vec<StoredKeys>,
    explain_scope: Option<Arc<str>>,
    #[cfg(feature = "prompts")]
    prompts: Option<crate::prompt::PromptLayer>,
    #[cfg(feature = "prompts")]
    prompt_endpoints: Option<Option<crate::prompt::endpoints::Endpoints>>,
    #[cfg(feature = "prompts")]
    prompt_management: Option<crate::prompt::manage::Manage>,
}

impl GatewayBuilder {
    pub(super) fn new() -> Self {
        Self {
            http: Vec::new(),
            chat: Vec::new(),
            named: BTreeMap::new(),
            models: BTreeMap::new(),
            vendors: Vec::new(),
            speakers: Speakers::default(),
            catalog: None,
            unverified: Vec::new(),
            routes: Routes::new(),
            has_routes: false,
            metrics: Metrics::new(),
            access_log: Some(AccessLogLayer::new()),
            client_addr: ClientAddrLayer::new(),
            identity: IdentityLayer::new(),
            authorized: None,
            body_limit: None,
            route_limits: Limits::default(),
            faults: Vec::new(),
            called: HashSet::new(),
            gauges: Gauges::default(),
            stored: Vec::new(),
            explain_scope: None,
            #[cfg(feature = "prompts")]
            prompts: None,
            #[cfg(feature = "prompts")]
            prompt_endpoints: None,
            #[cfg(feature = "prompts")]
            prompt_management: None,
        }
    }

    // Admission.

    /// Lets so many exchanges run at once; each lasts until the last byte of its answer.
    pub fn concurrency(mut self, limit: usize) -> Self {
        self.once("concurrency", "the smaller limit would always hold");
        self.concurrency_layer(ConcurrencyLayer::new(limit))
    }

    /// Lets in at once as many as this limit says: with a queue and priorities, for each principal, or as
    /// many as the routes and the models turn out to [take](ConcurrencyLayer::adaptive). Several hold
    /// beside each other, the first one outermost. The metrics tell how they stand.
    pub fn concurrency_layer<T, K, C>(mut self, layer: ConcurrencyLayer<T, K, C>) -> Self
    where
        T: Triage<Request<Body>> + Clone + Send + Sync + 'static,
        K: Key<Request<Body>> + Clone + Send + Sync + 'static,
        C: Classify<Response<Body>, Infallible> + Clone + Send + Sync + 'static,
    {
        self.gauges.concurrency(layer.handle());
        self.layer_at(Slot::Concurrency, layer)
    }

    /// Sets how the client's address is found, such as behind which proxies. By default nobody is
    /// trusted, and the client is who connected.
    pub fn client_addr(mut self, layer: ClientAddrLayer) -> Self {
        self.client_addr = layer;
        self
    }

    /// Believes headers that [callers do not get to write](crate::identity), which by default are taken out
    /// of every request: those that a proxy in front writes, past which nobody reaches this gateway, and
    /// those that are places for keys.
    pub fn keep_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.identity = self.identity.keep(names);
        self
    }

    /// Sets how many bytes the body of a request has at the most, for models and for routes: 32 MiB by
    /// default. One byte more is 413 `request_too_large`.
    ///
    /// For models it holds before and after decompression. Routes get their bodies as a stream: what
    /// says beforehand that it is too large does not reach the service, and of what does not say so the
    /// service reads up to the limit, and then an error. Where its answer has not begun, or tells of an
    /// error, the caller gets the 413.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self.route_body_limit(bytes)
    }

    /// The same for routes alone, after [`body_limit`](Self::body_limit). `None`: no limit, for uploads
    /// that a route streams.
    pub fn route_body_limit(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.route_limits.bytes = bytes.into().map(|bytes| bytes as u64);
        self
    }

    /// Sets how long the body of a request may keep a route waiting for its next piece: 60 seconds by
    /// default, as nginx's `client_body_timeout`. Then the service reads an error, and the caller gets
    /// 408 `request_timeout`. `None`: no limit.
    ///
    /// It holds until the route has begun to answer. Then the two may take turns, as in a gRPC stream, and
    /// who is silent may be waiting for the other. It bounds silence and not slowness: a body that comes
    /// byte by byte is bounded by its size. Layers of yours that read bodies further out stand outside of
    /// this.
    ///
    /// Without it a slow upload is time that the route takes, as far as a
    /// [timeout](crate::timeout#whose-time-is-counted) can tell. The bodies of requests for models have
    /// two minutes in all.
    pub fn body_idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        // A year or more is none: the clock must be able to tell its end.
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        self.route_limits.idle = time.into().filter(|time| *time < year);
        self
    }

    // What is told.

    /// Counts in these metrics, which may be shared with others.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Tells also how a circuit breaker of your own stands (`gateway_breaker_state` and others, under its
    /// [name](crate::circuit_breaker::CircuitBreakerLayer::name)). The first 256 keys that have a
    /// [name](crate::circuit_breaker::CircuitBreakerLayer::key_name) are told of apart, with the label `key`,
    /// and all others together, without it.
    pub fn circuit_breaker(mut self, handle: CircuitBreakerHandle) -> Self {
        self.gauges.other_circuit(handle);
        self
    }

    /// Sets what is logged of each exchange; `None`: nothing.
    pub fn access_log(mut self, layer: impl Into<Option<AccessLogLayer>>) -> Self {
        self.access_log = layer.into();
        self
    }

    /// Sets which scope lets a principal ask
    /// [how its call was answered](crate::llm::serve#what-is-explained): `gateway:explain` by default.
    pub fn explain_scope(mut self, scope: impl Into<Arc<str>>) -> Self {
        self.explain_scope = Some(scope.into());
        self
    }

    // Layers of one's own.

    /// Adds any tower layer to the HTTP plane, just outside of the routes.
    ///
    /// It may answer with any body and fail with any error that is `Into<BoxError>`: a
    /// [`Rejection`](crate::Rejection) among them is answered as such, any other is a 500: so is what
    /// `tower::timeout` throws, where [`TimeoutLayer`](crate::timeout::TimeoutLayer) answers 504.
    pub fn layer<L, B>(self, layer: L) -> Self
    where
        L: Layer<HttpService> + Send + 'static,
        L::Service: Service<
                Request<Body>,
                Response = Response<B>,
                Error: Into<BoxError>,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.layer_at(Slot::Inner, layer)
    }

    /// Adds any tower layer to the HTTP plane, at this place.
    pub fn layer_at<L, B>(mut self, slot: Slot, layer: L) -> Self
    where
        L: Layer<HttpService> + Send + 'static,
        L::Service: Service<
                Request<Body>,
                Response = Response<B>,
                Error: Into<BoxError>,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.http.push(Entry::http(slot, layer));
        self
    }

    /// Adds any tower layer to the LLM plane, around all models. The first one stands outermost.
    ///
    /// A layer of the HTTP plane does not fit here: the compiler says that it is no
    /// `Service<ChatRequest>`.
    pub fn chat_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<ChatService> + Send + 'static,
        L::Service: Service<
                ChatRequest,
                Response = ChatResponse,
                Error: Into<llm::Error>,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        self.chat.push(Entry {
            place: (),
            name: short(type_name::<L>()),
            wrap: Box::new(move |inner| {
                BoxCloneSyncService::new(MapErr::new(layer.layer(inner), Into::into))
            }),
        });
        self
    }

    // What is served.

    /// Offers all models of a vendor: those it lists, and any as `vendor/name`. One that is not
    /// [verified](llm::provider::Vendor::is_verified) is named as such where the gateway describes itself.
    pub fn vendor(mut self, provider: Provider) -> Self {
        let name: Arc<str> = provider.name().into();
        let known = provider.known_models();
        if provider.vendor().is_some_and(|row| !row.is_verified()) {
            self.unverified.push(provider.name().to_owned());
        }
        self.speakers.add(&provider);
        let lister = provider.clone();
        let list: List = Arc::new(move || {
            let provider = lister.clone();
            Box::pin(async move { provider.models().await })
        });
        let guarded = self.gauges.guarded_as(&name, provider);
        self.lists(name, guarded, list, (known, false))
    }

    /// Sets what is known of models, for all vendors that have no [catalog](Provider::catalog) of their
    /// own, and for the lists of models. By default it is what is [built in](Catalog::builtin).
    pub fn catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Offers the models of the simulator, and no others.
    pub fn simulator(mut self, simulator: Simulator) -> Self {
        let list: List = Arc::new(|| {
            let models = Simulator::models()
                .iter()
                .map(|&name| name.to_owned())
                .collect();
            Box::pin(async move { Ok(models) })
        });
        let guarded = self.gauges.guarded_as("simulator", simulator);
        self.lists("simulator".into(), guarded, list, (&[], true))
    }

    fn lists(
        mut self,
        name: Arc<str>,
        service: ChatService,
        list: List,
        (known, complete): (&'static [&'static str], bool),
    ) -> Self {
        if self.vendors.iter().any(|vendor| vendor.name == name) {
            self.fault(format!("vendor({name:?})"), "the name is taken");
        }
        self.vendors
            .push(Vendor::new(name, service, list, known, complete));
        self
    }

    /// Serves requests for a path, such as `/users/{id}` or `/files/{*rest}`, by a service of your own:
    /// a [`Proxy`](crate::proxy::Proxy), a [pool](crate::proxy::Proxy::pool) of upstreams, variants in a
    /// [`Split`](crate::split::Split), an axum router, any other.
    pub fn route<S, B>(mut self, path: &str, service: S) -> Self
    where
        S: Service<
                Request<Body>,
                Response = Response<B>,
                Error: Into<BoxError>,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if let Some(mend) = planes::reserved(path) {
            self.fault(format!("route({path:?})"), mend);
        }
        self.routes = self.routes.route(path, Methods::ANY, Settled::new(service));
        self.has_routes = true;
        self
    }

    /// Assembles the gateway.
    ///
    /// # Errors
    ///
    /// All faults at once, each with the call that made it and what would mend it.
    pub fn build(mut self) -> Result<GatewayService, BuildError> {
        self.gather();
        let serves_chat = !self.named.is_empty() || !self.vendors.is_empty();
        if !serves_chat && !self.has_routes {
            self.fault(
                "build",
                "nothing to serve: call `.model(…)`, `.vendor(…)`, `.simulator(…)` or `.route(…)`",
            );
        }
        #[cfg(feature = "prompts")]
        let (prompts, endpoints) = self.take_prompts(serves_chat);
        #[cfg(feature = "prompts")]
        self.check_prompt_paths(endpoints.as_ref());
        #[cfg(feature = "prompts")]
        let catalog = self.catalog.clone();
        let directory = Directory::new(
            std::mem::take(&mut self.named),
            std::mem::take(&mut self.vendors),
            self.catalog.take(),
            self.speakers.shared(),
        );
        let mut lines = Vec::new();
        if serves_chat {
            lines.push("llm   each service: CircuitBreakerLayer".to_owned());
            lines.push(match &*self.unverified.join(", ") {
                "" => "llm   models".to_owned(),
                names => format!("llm   models (of unverified vendors: {names})"),
            });
        }
        let mut added = std::mem::take(&mut self.chat);
        if let Some(authorized) = self.authorized.as_ref().filter(|_| serves_chat) {
            added.insert(0, authorized.chat());
        }
        #[cfg(feature = "prompts")]
        if let Some(layer) = &prompts {
            prompts::add(layer, self.authorized.is_some(), &mut added);
        }
        let chat = if added.is_empty() {
            Either::Right(directory.clone())
        } else {
            let inner = BoxCloneSyncService::new(directory.clone());
            Either::Left(added.into_iter().rev().fold(inner, |inner, entry| {
                lines.push(format!("llm   {}", entry.name));
                (entry.wrap)(inner)
            }))
        };
        let drain = Drain::new();
        if serves_chat {
            lines.push("llm   DrainLayer".to_owned());
        }
        let chat = DrainLayer {
            drain: drain.clone(),
        }
        .layer(chat);
        #[cfg(feature = "prompts")]
        let served_prompts = endpoints.as_ref().map(prompts::served);
        #[cfg(not(feature = "prompts"))]
        let served_prompts = None;
        #[cfg(feature = "prompts")]
        if endpoints.is_some() || self.prompt_management.is_some() {
            let policy = self.authorized.as_ref().map(Authorized::policy);
            let (routes, manage) = (
                std::mem::take(&mut self.routes),
                self.prompt_management.take(),
            );
            self.routes = prompts::routed(routes, endpoints, manage, policy, catalog, &chat);
        }
        let mut serve = Serve::new(chat).models(directory.clone());
        #[cfg(feature = "prompts")]
        if prompts.is_some() {
            serve = serve.prompts();
        }
        if let Some(limit) = self.body_limit {
            serve = serve.limit(limit);
        }
        if let Some(scope) = self.explain_scope.take() {
            serve = serve.explain_scope(scope);
        }
        if let Some(authorized) = &self.authorized {
            serve = serve.listed_by(authorized.policy().clone());
        }
        let routes = std::mem::take(&mut self.routes).build();
        if let Err(faults) = &routes {
            for (template, detail) in faults.iter() {
                self.fault(format!("route({template:?})"), detail);
            }
        }
        if !self.faults.is_empty() {
            return Err(BuildError(self.faults));
        }
        let (limits, spare) = (self.route_limits, drain.clone());
        let routes = routes.ok();
        let rechecked = self.authorized.map(|authorized| {
            authorized.settle(Served {
                chat: serves_chat,
                routes: routes.clone(),
                prompts: served_prompts,
            });
            (authorized.inner(), authorized.before_models())
        });
        let (of_routes, of_models) = rechecked.unzip();
        let bounded = |routes| option_layer(of_routes).layer(Bounded::new(routes, limits, spare));
        let planes = Planes {
            chat: serves_chat.then(|| option_layer(of_models).layer(serve)),
            routes: routes.map(bounded),
        };
        lines.push("http  routes".to_owned());
        let metrics = self.metrics.clone();
        std::mem::take(&mut self.gauges).read_by(&metrics);
        let own = Own {
            metrics: &metrics,
            access_log: self.access_log,
            drain: drain.clone(),
            client_addr: self.client_addr,
            identity: self.identity,
        };
        let (http, mut lines) = Stack::new(self.http, lines).around(own, planes);
        lines.reverse();
        Ok(GatewayService {
            http,
            shared: Arc::new(Shared {
                described: lines.join("\n"),
                directory,
                metrics,
                drain,
                stored: self.stored,
            }),
        })
    }

    /// What would undo its own work if it stood there twice.
    fn once(&mut self, at: &'static str, mend: &'static str) {
        if !self.called.insert(at) {
            self.fault(at, format!("it is called twice: {mend}"));
        }
    }

    fn fault(&mut self, at: impl Into<String>, mend: impl Into<String>) {
        let (at, mend) = (at.into(), mend.into());
        self.faults.push(Fault { at, mend });
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder")
            .field("http", &self.http)
            .field("models", &self.models.keys())
            .field("pools", &self.named.keys())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
