//! A policy in its places: on the HTTP plane, around the routes, around the models.

use super::{directory::ChatService, planes, slot::Entry};
use crate::{
    Body,
    authorize::{Asked, AuthorizeLayer, Policy},
    llm::serve,
    route::Router,
};
use std::sync::{Arc, OnceLock};
use tower_layer::Layer;

/// A policy, and the routes by which it decides, which are known when the gateway is built.
#[derive(Clone)]
pub(super) struct Authorized {
    policy: Policy,
    served: Arc<OnceLock<Served>>,
}

/// What is served where.
struct Served {
    chat: bool,
    routes: Option<Router<Body>>,
}

impl Authorized {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            served: Arc::default(),
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Says what is served. To be called once, before the first request.
    pub(super) fn settle(&self, chat: bool, routes: Option<Router<Body>>) {
        let _ = self.served.set(Served { chat, routes });
    }

    fn found(&self) -> AuthorizeLayer {
        let served = self.served.clone();
        AuthorizeLayer::new(self.policy.clone()).route(move |asked| served.get()?.template(asked))
    }

    /// For the HTTP plane: models are known further in.
    pub(super) fn outer(&self) -> AuthorizeLayer {
        let served = self.served.clone();
        let of_models = move |asked: &Asked<'_>| {
            let path = asked.path();
            served.get().is_some_and(|served| served.chat) && path.is_some_and(planes::of_models)
        };
        self.found().deferring(of_models)
    }

    /// For the routes: a layer between here and the outer one may have made another request of it.
    pub(super) fn inner(&self) -> AuthorizeLayer {
        self.found().recheck()
    }

    /// For what serves models, likewise: with what is seen here the layer around them decides.
    pub(super) fn before_models(&self) -> AuthorizeLayer {
        self.outer().recheck()
    }

    /// For the models.
    pub(super) fn chat(&self) -> Entry<(), ChatService> {
        let layer = AuthorizeLayer::new(self.policy.clone());
        Entry {
            place: (),
            name: "AuthorizeLayer",
            wrap: Box::new(move |inner| ChatService::new(layer.layer(inner))),
        }
    }
}

impl Served {
    /// The template of what will answer.
    fn template(&self, asked: &Asked<'_>) -> Option<Arc<str>> {
        let (method, uri) = (asked.method()?, asked.uri()?);
        if self.chat && planes::of_models(asked.path()?) {
            return serve::template(method, uri, asked.headers());
        }
        let routes = self.routes.as_ref()?;
        routes.template(method, uri, asked.headers()).cloned()
    }
}
