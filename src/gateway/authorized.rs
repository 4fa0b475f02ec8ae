//! A policy in its places: on the HTTP plane, around the routes, around the models.

use super::{directory::ChatService, planes, slot::Entry};
use crate::{
    Body,
    authorize::{Asked, AuthorizeLayer, Policy, Prompt},
    llm::serve,
    route::Router,
};
use http::Method;
use std::sync::{Arc, OnceLock};
use tower_layer::Layer;

/// A policy, and the routes by which it decides, which are known when the gateway is built.
#[derive(Clone)]
pub(super) struct Authorized {
    policy: Policy,
    served: Arc<OnceLock<Served>>,
}

/// What is served where.
pub(super) struct Served {
    pub(super) chat: bool,
    pub(super) routes: Option<Router<Body>>,
    pub(super) prompts: Option<ServedPrompts>,
}

/// Where prompts are endpoints.
pub(super) struct ServedPrompts {
    /// The path below which they stand.
    pub(super) root: Arc<str>,
    /// The template of the route of each.
    pub(super) template: Arc<str>,
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
    pub(super) fn settle(&self, served: Served) {
        let _ = self.served.set(served);
    }

    /// Knows the route and the prompt of a request, and leaves those to others that `defers` says.
    fn layer(
        &self,
        defers: impl Fn(&Served, &Asked<'_>) -> bool + Send + Sync + 'static,
    ) -> AuthorizeLayer {
        let [routes, prompts, models] = [(); 3].map(|()| self.served.clone());
        AuthorizeLayer::new(self.policy.clone())
            .route(move |asked| routes.get()?.template(asked))
            .prompt(move |asked| {
                prompts
                    .get()
                    .map_or(Prompt::Unknown, |served| served.prompt(asked))
            })
            .deferring(move |asked| models.get().is_some_and(|served| defers(served, asked)))
    }

    /// For the HTTP plane: models are known further in.
    pub(super) fn outer(&self) -> AuthorizeLayer {
        self.layer(|served, asked| {
            let of_models = served.chat && asked.path().is_some_and(planes::of_models);
            of_models || served.decides_on_prompt(asked)
        })
    }

    /// For the routes: a layer between here and the outer one may have made another request of it.
    pub(super) fn inner(&self) -> AuthorizeLayer {
        self.layer(Served::decides_on_prompt).recheck()
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

    /// The endpoints of prompts, if one of them will answer: by its route, for what a path looks like others
    /// may stand at.
    fn endpoints(&self, asked: &Asked<'_>) -> Option<&ServedPrompts> {
        let prompts = self.prompts.as_ref()?;
        (**asked.route()? == *prompts.template).then_some(prompts)
    }

    /// Which prompt is called. Of a model it is known further in, and of endpoints of one's own by a layer of
    /// one's own.
    fn prompt<'a>(&self, asked: &Asked<'a>) -> Prompt<'a> {
        let Some(path) = asked.path() else {
            return Prompt::Unknown;
        };
        match self.endpoints(asked) {
            Some(prompts) => prompts.name(path).map_or(Prompt::Unknown, Prompt::Named),
            None if asked.prompt().is_some() => asked.prompt,
            None if self.chat && planes::of_models(path) => Prompt::Unknown,
            None => Prompt::None,
        }
    }

    /// Whether the endpoint of a prompt will answer, which knows by its model whether it may.
    fn decides_on_prompt(&self, asked: &Asked<'_>) -> bool {
        let decides = [Method::GET, Method::HEAD, Method::POST];
        asked
            .method()
            .is_some_and(|method| decides.contains(method))
            && self.endpoints(asked).is_some()
    }
}

impl ServedPrompts {
    /// Which one stands at a path.
    fn name<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&*self.root)?.strip_prefix('/')
    }
}
