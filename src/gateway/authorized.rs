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
    /// Below which path prompts are called.
    #[cfg(feature = "prompts")]
    prompts: Arc<OnceLock<Arc<str>>>,
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
            #[cfg(feature = "prompts")]
            prompts: Arc::default(),
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Says what is served. To be called once, before the first request.
    pub(super) fn settle(&self, chat: bool, routes: Option<Router<Body>>) {
        let _ = self.served.set(Served { chat, routes });
    }

    /// Says where prompts are called, likewise.
    #[cfg(feature = "prompts")]
    pub(super) fn settle_prompts(&self, root: Arc<str>) {
        let _ = self.prompts.set(root);
    }

    /// Whether a call of a route comes to a model, as those of prompts do.
    #[cfg(feature = "prompts")]
    fn calls_prompt(&self) -> impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static {
        let prompts = self.prompts.clone();
        move |asked| {
            let root = prompts.get().zip(asked.path());
            asked.method() == Some(&http::Method::POST)
                && root
                    .is_some_and(|(root, path)| crate::prompt::endpoints::is_of_prompt(root, path))
        }
    }

    #[cfg(not(feature = "prompts"))]
    fn calls_prompt(&self) -> impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static {
        |_| false
    }

    fn found(&self) -> AuthorizeLayer {
        let served = self.served.clone();
        AuthorizeLayer::new(self.policy.clone()).route(move |asked| served.get()?.template(asked))
    }

    /// For the HTTP plane: models are known further in.
    pub(super) fn outer(&self) -> AuthorizeLayer {
        let served = self.served.clone();
        let calls_prompt = self.calls_prompt();
        let of_models = move |asked: &Asked<'_>| {
            let path = asked.path();
            let serves = served.get().is_some_and(|served| served.chat);
            serves && (path.is_some_and(planes::of_models) || calls_prompt(asked))
        };
        self.found().deferring(of_models)
    }

    /// For the routes: a layer between here and the outer one may have made another request of it.
    pub(super) fn inner(&self) -> AuthorizeLayer {
        // Calls of prompts are decided around the models.
        self.found().deferring(self.calls_prompt()).recheck()
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
