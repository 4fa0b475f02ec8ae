//! The HTTP plane, put together.

use super::{
    drain::Drain,
    health::HealthLayer,
    settled::HttpService,
    slot::{Entry, Slot, short},
};
use crate::{
    Body,
    access_log::AccessLogLayer,
    client_addr::ClientAddrLayer,
    identity::IdentityLayer,
    llm::{dialect::DialectLayer, query_key::QueryKeyLayer},
    metrics::{Metrics, MetricsLayer},
    path::Rules,
    route::NormalisePathLayer,
    server_name::ServerNameLayer,
    trace::TraceLayer,
};
use http::{Request, Response};
use std::{any::type_name, convert::Infallible};
use tower::util::{Either, option_layer};
use tower_layer::Layer;
use tower_service::Service;

/// What the HTTP plane is made of. Our own layers always stand there, so they are one type, and one
/// allocation for a call; what a user adds is boxed where it stands.
pub(super) struct Stack {
    /// Sorted by their places.
    added: Vec<Entry<Slot, HttpService>>,
    /// A line for each layer, the innermost first.
    lines: Vec<String>,
}

/// The settings of our own layers.
pub(super) struct Own<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) access_log: Option<AccessLogLayer>,
    pub(super) drain: Drain,
    pub(super) client_addr: ClientAddrLayer,
    pub(super) identity: IdentityLayer,
}

impl Stack {
    pub(super) fn new(mut added: Vec<Entry<Slot, HttpService>>, lines: Vec<String>) -> Self {
        added.sort_by_key(|entry| entry.place);
        Self { added, lines }
    }

    /// All layers around this, and a line for each, the innermost first.
    pub(super) fn around<S>(mut self, own: Own<'_>, inner: S) -> (HttpService, Vec<String>)
    where
        S: Service<
                Request<Body>,
                Response = Response<Body>,
                Error = Infallible,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        // What guards a path must see the one that is served. The name of a model may hold an escaped
        // slash; routes refuse it.
        let rules = Rules::new().keep_encoded_slashes();
        let (drain, log) = (own.drain, own.access_log);
        let log_name = log.is_some().then(type_name::<AccessLogLayer>);

        let inner = self.added_from(Slot::ClientAddr, inner);
        let inner = self.own(Slot::ClientAddr, &own.client_addr, inner);
        let inner = self.added_from(Slot::Dialect, inner);
        let inner = self.own(Slot::Dialect, &NormalisePathLayer::rules(rules), inner);
        let inner = self.own(Slot::Dialect, &ServerNameLayer::new(), inner);
        let inner = self.own(Slot::Dialect, &DialectLayer::new(), inner);
        let inner = self.added_from(Slot::Drain, inner);
        let inner = self.own(Slot::Drain, &HealthLayer { drain }, inner);
        let inner = self.added_from(Slot::Tell, inner);
        let inner = option_layer(log).layer(inner);
        log_name
            .into_iter()
            .for_each(|name| self.line(Slot::Tell, name));
        let inner = self.own(Slot::Tell, &MetricsLayer::new(own.metrics), inner);
        let inner = self.added_from(Slot::Trace, inner);
        let inner = self.own(Slot::Trace, &TraceLayer::new(), inner);
        // Nobody reads who a caller says it is, nor sees a key in a URI, whoever comes first.
        let inner = self.own(Slot::Trace, &own.identity, inner);
        let inner = self.own(Slot::Trace, &QueryKeyLayer::new(), inner);
        (HttpService::new(inner), self.lines)
    }

    fn own<L: Layer<S>, S>(&mut self, slot: Slot, layer: &L, inner: S) -> L::Service {
        self.line(slot, type_name::<L>());
        layer.layer(inner)
    }

    /// Those that stand here or further in, and were not put around it yet.
    fn added_from<S>(&mut self, slot: Slot, inner: S) -> Either<HttpService, S>
    where
        S: Service<
                Request<Body>,
                Response = Response<Body>,
                Error = Infallible,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let start = self.added.partition_point(|entry| entry.place < slot);
        let here = self.added.split_off(start);
        if here.is_empty() {
            return Either::Right(inner);
        }
        let inner = HttpService::new(inner);
        Either::Left(here.into_iter().rev().fold(inner, |inner, entry| {
            self.line(entry.place, entry.name);
            (entry.wrap)(inner)
        }))
    }

    fn line(&mut self, slot: Slot, name: &'static str) {
        let (slot, name) = (format!("{slot:?}"), short(name));
        self.lines.push(format!("http  {slot:<12} {name}"));
    }
}
