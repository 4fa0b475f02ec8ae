//! Prompts by name.

use super::GatewayBuilder;
use crate::{
    Body,
    authorize::Policy,
    gateway::{
        authorized::ServedPrompts,
        directory::ChatService,
        planes,
        slot::{Entry, Slot},
    },
    llm::{ChatRequest, ChatResponse, Error, catalog::Catalog},
    prompt::{
        PromptLayer,
        endpoints::{Endpoints, PageLayer, PromptNameLayer},
        manage::Manage,
    },
    route::{Methods, Routes},
};
use tower_service::Service;

impl GatewayBuilder {
    /// Lets conversations name one of these [prompts](crate::prompt::layer): a registry, or a
    /// [`PromptLayer`] with settings of its own.
    ///
    /// ```
    /// use tower_gateway::{gateway::Gateway, llm::Simulator, prompt::Registry};
    ///
    /// let gateway = Gateway::builder()
    ///     .prompts(Registry::in_memory())
    ///     .simulator(Simulator::new())
    ///     .build()?;
    /// assert!(gateway.describe().contains("llm   PromptLayer"));
    /// # Ok::<_, tower_gateway::gateway::BuildError>(())
    /// ```
    ///
    /// It stands in front of all [layers](Self::chat_layer) around the models. A policy
    /// ([`authorize`](Self::authorize)) decides on the prompt and on the model that it leads to, before
    /// anything is rendered: [`Rule::prompts`](crate::authorize::Rule::prompts) says who may call which.
    /// The metrics tell how the versions do. And each of them is an [endpoint](Self::prompt_endpoints),
    /// unless you say otherwise, [like](Endpoints::like) the layer: which version is meant by default, by
    /// which key a caller keeps one, and which scope it needs to choose, is set once for both.
    #[cfg_attr(docsrs, doc(cfg(feature = "prompts")))]
    pub fn prompts(mut self, layer: impl Into<PromptLayer>) -> Self {
        self.once("prompts", "put all prompts into one registry");
        let layer = layer.into();
        self.gauges.prompts(layer.registry().clone());
        self.prompts = Some(layer);
        self
    }
}

impl GatewayBuilder {
    /// Sets how the prompts are [endpoints](crate::prompt::endpoints), or with
    /// `None` that they are none. By default those of [`prompts`](Self::prompts) are, at `/prompts` and
    /// below; with this call alone conversations can name them as well.
    ///
    /// ```
    /// use tower_gateway::{gateway::Gateway, llm::Simulator, prompt::{Registry, endpoints::Endpoints}};
    ///
    /// let registry = Registry::in_memory();
    /// let endpoints = Endpoints::new(registry.clone()).root("/ask").public_page();
    /// let gateway = Gateway::builder()
    ///     .prompts(registry)
    ///     .prompt_endpoints(endpoints)
    ///     .simulator(Simulator::new())
    ///     .build()?;
    /// # Ok::<_, tower_gateway::gateway::BuildError>(())
    /// ```
    ///
    /// They ask the models of the gateway, through all layers around these. A policy
    /// ([`authorize`](Self::authorize)) decides on the route `/prompts/{name}`, on the prompt, and on
    /// the model, where it is described as where it is called; a prompt that it does not allow to be called is
    /// in no list. A path below that you give to another [`route`](Self::route) is that route's.
    #[cfg_attr(docsrs, doc(cfg(feature = "prompts")))]
    pub fn prompt_endpoints(mut self, endpoints: impl Into<Option<Endpoints>>) -> Self {
        self.once("prompt_endpoints", "one `Endpoints` serves all prompts");
        self.prompt_endpoints = Some(endpoints.into());
        self
    }

    /// Serves the [management](crate::prompt::manage) of prompts, where it says, with runs against the
    /// models of the gateway. Without a layer that finds out who calls, nobody is let in there.
    #[cfg_attr(docsrs, doc(cfg(feature = "prompts")))]
    pub fn manage_prompts(mut self, manage: Manage) -> Self {
        self.once("manage_prompts", "one `Manage` serves all prompts");
        self.prompt_management = Some(manage);
        self
    }

    /// The layer and the endpoints that were asked for. What needs an outer layer has it from now on.
    pub(super) fn take_prompts(
        &mut self,
        serves_chat: bool,
    ) -> (Option<PromptLayer>, Option<Endpoints>) {
        let (layer, endpoints) = (self.prompts.take(), self.prompt_endpoints.take());
        if !serves_chat {
            return (None, None);
        }
        let endpoints = match (endpoints, &layer) {
            (Some(endpoints), _) => endpoints,
            (None, Some(layer)) => Some(Endpoints::new(layer.registry().clone())),
            (None, None) => None,
        };
        // By either way a caller gets the same version, and needs the same right to choose another.
        let layer = match (layer, &endpoints) {
            (Some(layer), Some(endpoints)) => Some(endpoints.guard(layer)),
            (None, Some(endpoints)) => {
                self.gauges.prompts(endpoints.registry().clone());
                Some(endpoints.layer())
            }
            (layer, None) => layer,
        };
        let endpoints = match &layer {
            Some(layer) => endpoints.map(|endpoints| endpoints.like(layer)),
            None => endpoints,
        };
        let layer = layer.map(|layer| layer.priced_by(self.catalog.clone()));
        if let Some(endpoints) = &endpoints {
            if endpoints.has_public_page() {
                let page = PageLayer::new(endpoints.root_path().clone());
                self.http.push(Entry::http(Slot::Limits, page));
            }
            // A policy of the gateway's knows their routes; others go by paths.
            if self.authorized.is_none() {
                let named = PromptNameLayer::new(endpoints.root_path().clone());
                self.http.push(Entry::http(Slot::Limits, named));
            }
        }
        (layer, endpoints)
    }

    /// What models are asked at, or the gateway itself, prompts cannot be asked at.
    pub(super) fn check_prompt_paths(&mut self, endpoints: Option<&Endpoints>) {
        let manage = self.prompt_management.as_ref();
        let all = [
            ("prompt_endpoints", endpoints.map(Endpoints::routes)),
            ("manage_prompts", manage.map(Manage::routes)),
        ];
        for (at, paths) in all {
            let mut paths = paths.into_iter().flatten();
            let fault = paths.find_map(|path| Some((planes::reserved(&path)?, path)));
            if let Some((mend, path)) = fault {
                self.fault(format!("{at}({path:?})"), mend);
            }
        }
    }
}

/// Where the policy finds them.
pub(super) fn served(endpoints: &Endpoints) -> ServedPrompts {
    ServedPrompts {
        root: endpoints.root_path().clone(),
        template: endpoints.route_of_prompts().into(),
    }
}

/// With the endpoints and the management among the routes.
pub(super) fn routed<S>(
    mut routes: Routes,
    endpoints: Option<Endpoints>,
    manage: Option<Manage>,
    policy: Option<&Policy>,
    catalog: Option<Catalog>,
    chat: &S,
) -> Routes
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    if let Some(endpoints) = endpoints {
        let endpoints = match policy {
            Some(policy) => endpoints.listed_by(policy.clone()),
            None => endpoints,
        };
        let endpoints = endpoints.routed().rendered_by(chat.clone());
        for path in endpoints.routes() {
            routes = routes.route::<_, Body>(path, Methods::ANY, endpoints.clone());
        }
    }
    if let Some(manage) = manage {
        let manage = manage.priced_by(catalog).chat(chat.clone());
        for path in manage.routes() {
            routes = routes.route::<_, Body>(path, Methods::ANY, manage.clone());
        }
    }
    routes
}

/// Outside of what is there. A policy stands between the halves.
pub(super) fn add(
    layer: &PromptLayer,
    is_authorized: bool,
    added: &mut Vec<Entry<(), ChatService>>,
) {
    let entry = |name, wrap| Entry {
        place: (),
        name,
        wrap,
    };
    let (outer, inner) = (layer.clone(), layer.clone());
    let rendering = entry(
        "PromptLayer, which renders",
        Box::new(move |service| ChatService::new(inner.rendering(service))),
    );
    added.insert(usize::from(is_authorized), rendering);
    let choosing = entry(
        "PromptLayer",
        Box::new(move |service| ChatService::new(outer.choosing(service))),
    );
    added.insert(0, choosing);
}
