//! Prompts by name.

use super::GatewayBuilder;
use crate::{
    gateway::{directory::ChatService, slot::Entry},
    prompt::PromptLayer,
};

impl GatewayBuilder {
    /// Lets conversations name one of these [prompts](crate::prompt::layer): a registry, or a [`PromptLayer`] with
    /// settings of its own.
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
    /// ([`authorize`](Self::authorize)) decides on the prompt and on the model that it leads to, before anything is
    /// rendered: [`Rule::prompts`](crate::authorize::Rule::prompts) says who may call which. The metrics tell
    /// how the versions do.
    #[cfg_attr(docsrs, doc(cfg(feature = "prompts")))]
    pub fn prompts(mut self, layer: impl Into<PromptLayer>) -> Self {
        self.once("prompts", "put all prompts into one registry");
        let layer = layer.into();
        self.gauges.prompts(layer.registry().clone());
        self.prompts = Some(layer);
        self
    }
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
