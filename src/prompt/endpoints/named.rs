//! Which prompt a path names, for policies.

use super::asked::Place;
use crate::{
    admit::{Edit, Edited},
    authorize::PromptAsked,
};
use http::Request;
use std::sync::Arc;
use tower_layer::Layer;

/// Tells policies further in which prompt a path names, for
/// [`Rule::prompts`](crate::authorize::Rule::prompts).
///
/// It stands outside of the [`AuthorizeLayer`](crate::authorize::AuthorizeLayer). Paths that are not
/// below its root go through it as they are.
#[derive(Clone, Debug)]
pub struct PromptNameLayer {
    root: Arc<str>,
}

impl PromptNameLayer {
    /// For [`Endpoints`](super::Endpoints) below this path, as requests have it here.
    #[must_use]
    pub fn new(root: impl Into<Arc<str>>) -> Self {
        Self { root: root.into() }
    }
}

impl<B> Edit<Request<B>> for PromptNameLayer {
    fn edit(&self, request: &mut Request<B>) {
        let asked = match Place::of(&self.root, request.uri().path()) {
            Some(Place::Prompt(name)) => Some(PromptAsked(name.into())),
            _ => None,
        };
        let extensions = request.extensions_mut();
        match asked {
            Some(asked) => drop(extensions.insert(asked)),
            // A layer in between has made another request of it.
            None => drop(extensions.remove::<PromptAsked>()),
        }
    }
}

/// The service that [`PromptNameLayer`] makes.
pub type NamePrompt<S> = Edited<S, PromptNameLayer>;

impl<S> Layer<S> for PromptNameLayer {
    type Service = NamePrompt<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edited::new(inner, self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::Ask as _;

    #[test]
    fn a_policy_learns_which_prompt_a_path_names() {
        for (path, name) in [
            ("/prompts/a.b", Some("a.b")),
            ("/prompts/a?label=b", Some("a")),
            ("/prompts", None),
            ("/prompts/", None),
            ("/prompts/openapi.json", None),
            ("/v1/models", None),
        ] {
            let mut request = Request::post(path).body(()).unwrap();
            PromptNameLayer::new("/prompts").edit(&mut request);
            assert_eq!(request.ask().prompt(), name, "{path}");
        }
    }
}
