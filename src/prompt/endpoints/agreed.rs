//! What endpoints and a layer of the same prompts have in common: which version a caller gets.

use super::{Endpoints, Settings};
use crate::prompt::{At, LabelName, PromptLayer, layer::sticky};
use http::request::Parts;
use std::sync::Arc;

impl<S> Endpoints<S> {
    /// Gives a call the same version as this layer gives it: its default, its key and its scope, but for
    /// those that were set here. A default that is a number is not taken: not every prompt has that one.
    ///
    /// ```
    /// use tower_gateway::llm::Simulator;
    /// use tower_gateway::prompt::{At, PromptLayer, Registry, endpoints::Endpoints};
    /// use tower_layer::Layer;
    ///
    /// let registry = Registry::in_memory();
    /// let layer = PromptLayer::new(registry.clone()).unless_said(At::Latest);
    /// let endpoints = Endpoints::new(registry)
    ///     .like(&layer)
    ///     .rendered_by(layer.layer(Simulator::new()));
    /// # let _ = endpoints;
    /// ```
    #[must_use]
    pub fn like(self, layer: &PromptLayer) -> Self {
        self.set(|settings| {
            let label = match layer.at() {
                At::Latest => Some(None),
                At::Label(label) => Some(Some(label.clone())),
                At::Version(_) => None,
            };
            settings.label = settings.label.take().or(label);
            settings.key = settings.key.take().or_else(|| layer.sticky());
            let scope = settings.choice_scope.take();
            settings.choice_scope = scope.or_else(|| layer.scope().cloned());
        })
    }

    /// A layer for calls that are not of these endpoints, and get the same versions.
    #[cfg(feature = "gateway")]
    pub(crate) fn layer(&self) -> PromptLayer {
        let settings = &self.settings;
        let mut layer = PromptLayer::new(settings.registry.clone());
        if let Some(label) = &settings.label {
            layer = layer.unless_said(label.clone().map_or(At::Latest, At::Label));
        }
        if let Some(key) = &settings.key {
            layer = layer.sticky_as(key.clone());
        }
        self.guard(layer)
    }

    /// The layer, with the scope that these need where it has none.
    #[cfg(feature = "gateway")]
    pub(crate) fn guard(&self, layer: PromptLayer) -> PromptLayer {
        match (&self.settings.choice_scope, layer.scope()) {
            (Some(scope), None) => layer.choice_scope(scope.clone()),
            _ => layer,
        }
    }
}

impl Settings {
    /// The label of a call that names none. `None`: the newest version.
    pub(super) fn label(&self) -> Option<LabelName> {
        match &self.label {
            Some(label) => label.clone(),
            None => LabelName::new("production").ok(),
        }
    }

    /// By what a call keeps its version.
    pub(super) fn key(&self, parts: &Parts) -> Option<Arc<str>> {
        match &self.key {
            Some(key) => key(&parts.headers, &parts.extensions),
            None => sticky::by_principal(&parts.extensions),
        }
    }
}
