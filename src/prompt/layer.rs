//! Chat requests that name a prompt, rendered.
//!
//! A request with `"prompt": {"name": "greet", "variables": {"who": "Ada"}}` is answered as if it had said what the
//! prompt says. [`PromptLayer`] finds the version, renders it, and puts it before what the request says itself, so
//! that all layers further in (guards, budgets, caches) see an ordinary request. One without the field passes as it
//! came, to the byte.
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use serde_json::json;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_gateway::llm::{Simulator, serve::Serve};
//! use tower_gateway::prompt::{Actor, At, Change, Prompt, PromptLayer, Registry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::in_memory();
//! let greet = Prompt::new()
//!     .model("sim-chat")
//!     .user("Greet {{ who }}.")
//!     .variable("who", json!({"type": "string"}));
//! registry.create(&Actor::code("setup"), "greet", greet, Change::new()).await?;
//!
//! let layer = PromptLayer::new(registry.clone()).unless_said(At::Latest);
//! let chat = ServiceBuilder::new().layer(layer).service(Simulator::new());
//! let serve = Serve::new(chat).prompts();
//! let ask = |prompt| {
//!     Request::post("/v1/chat/completions")
//!         .header("content-type", "application/json")
//!         .body(Full::new(Bytes::from(json!({"prompt": prompt}).to_string())))
//! };
//! let request = ask(json!({"name": "greet", "variables": {"who": "Ada"}}))?;
//! let response = serve.clone().oneshot(request).await?;
//! assert_eq!(response.headers()["x-gateway-prompt"], "greet@1");
//! # response.into_body().collect().await.map_err(|error| error.to_string())?;
//! assert_eq!(registry.results("greet")[0].calls, 1);
//!
//! // What is wrong is told with its place.
//! let request = ask(json!({"name": "greet", "variables": {"whom": "Ada"}}))?;
//! let response = serve.oneshot(request).await?;
//! assert_eq!(response.status(), 400);
//! # let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
//! # let body = std::str::from_utf8(&body)?;
//! assert!(body.contains("/prompt/variables/whom") && body.contains("/prompt/variables/who"), "{body}");
//! # Ok(())
//! # }
//! ```
//!
//! # How a prompt is named
//!
//! By the field `prompt` at the top of a request to chat, in the words of OpenAI, of OpenAI's Responses (whose own
//! field it is), of Anthropic and of Gemini; also where tokens are counted. It is an object:
//!
//! | field | |
//! |---|---|
//! | `name`, or `id` | the name of the prompt |
//! | `version` | a number, or a text of digits. Another text stands for a label: clients of Responses have no other field for it |
//! | `label` | a label. Without both it is the version that `production` points at, or [another](PromptLayer::unless_said) |
//! | `variables` | an object |
//!
//! A `prompt` that is no object is none of this, as the text of `/v1/completions`. In code it is a [`Call`] in the
//! extensions of the request. The field never reaches a vendor: a prompt that a vendor keeps cannot be named where
//! this layer stands.
//!
//! # What is asked then
//!
//! | | |
//! |---|---|
//! | messages | those of the prompt, and then those of the request, if there are any |
//! | model | the request's; the prompt's if it names none, or `-`, which is for protocols that cannot leave it out |
//! | settings, form of the answer, choice of tools | the request's, and where it says nothing the prompt's |
//! | tools | the prompt's and the request's; of two with one name the request's |
//! | all else | the request's |
//!
//! Of a prompt that is [locked](PromptLayer::locked) all that it says holds: model, settings, form, tools. Then the
//! request may say what the prompt leaves open, and messages, but none of the operator's. Of the fields that this
//! crate has no place for it may have those that change nothing of what is asked. Any other is refused: it may
//! name other models, bring tools, or stand for texts that the vendor keeps (`models`, `functions`,
//! `cachedContent`).
//!
//! | | of all else a locked call may have |
//! |---|---|
//! | who asks | `user`, `safety_identifier`, `metadata`, `labels` |
//! | how it is kept | `prompt_cache_key`, `prompt_cache_retention`, `cache_control`, `store` |
//! | how it is served | `service_tier`, `serviceTier`, `stream_options` |
//! | what is told of the answer | `logprobs`, `top_logprobs`, `include`, `reasoning.summary`, `generationConfig.responseLogprobs`, `generationConfig.logprobs`, `generationConfig.thinkingConfig.includeThoughts` |
//!
//! The values of variables stand in the one text of the one part that the prompt has put them in, in any protocol.
//! Who may use which model is decided on the model that is asked.
//!
//! # Who gets which version
//!
//! Of a label with shares, always the same version for the same key. The key is the principal; without one the
//! user whom the request names (`user`, `safety_identifier`, `metadata.user_id`); without that any version, by its
//! share. [`sticky_by`](PromptLayer::sticky_by) sets another. Whether a caller may name a version or a label itself
//! can be [a matter of a scope](PromptLayer::choice_scope).
//!
//! [Endpoints](super::endpoints) find the versions of their calls by themselves: by the same key, if they are
//! [like](super::endpoints::Endpoints::like) the layer, as they are in a gateway.
//!
//! # Answers
//!
//! | call | status | code | headers |
//! |---|--:|---|---|
//! | without a prompt | the service's | | |
//! | with one | the service's | | `x-gateway-prompt: greet@1`, and with an answer `x-gateway-prompt-call` |
//! | variables that are missing, unknown or wrong, with their JSON pointers from the top of the request | 400 | `invalid_request` | `x-gateway-prompt` |
//! | a `prompt` that is wrong otherwise; nobody names a model | 400 | `invalid_request` | |
//! | a field beside a locked prompt that could change what is asked, with its name | 400 | `invalid_request` | `x-gateway-prompt` |
//! | a version or a label, without the [scope](PromptLayer::choice_scope) | 403 | `insufficient_permissions` | |
//! | there is no such prompt, label or version | 404 | `prompt_not_found` | |
//! | a model that the caller may not use | 404 | `model_not_found` | |
//! | what is rendered becomes too large | 413 | `request_too_large` | `x-gateway-prompt` |
//! | an old version that the store cannot give, or one that cannot be read | 503 | `prompts_unavailable` | |
//!
//! **What if its store is down**: see [the registry](super).
//!
//! # What is told
//!
//! The version stands in the headers of the answer, as `prompt` in the [facts](crate::exchange::Facts) of the
//! exchange and so in access log and trace, and as [`Prompted`](crate::llm::Prompted) in the extensions of request and answer. When an
//! answer is over its time, tokens, price and error are [recorded](Registry::record) for the version. The price is by a
//! [catalog](PromptLayer::catalog), for the model of the vendor that was called last. A caller that hangs up is a call,
//! and no error. To count the tokens of a prompt is no call of it: the answer names the version, and nothing is recorded.
//!
//! How good an answer was the application says: with the value of `x-gateway-prompt-call`, to
//! [`Scores`](Scores::score).
//!
//! # What is shared
//!
//! Clones of a layer are one. It keeps nothing but the registry.
//!
//! # Cancellation
//!
//! A call that is dropped drops the service's call, and is recorded.
//!
//! # What an operator must know
//!
//! Who may call a prompt is decided by [rules](crate::authorize::Rule::prompts) of a layer further in that asks about
//! chat requests. In a gateway that one decides before anything is rendered, so nobody learns of the variables of a
//! prompt that he may not call, nor whether there is one: of one that is not there, it decides by the name, and by the
//! model that the request names. With layers of one's own it stands further in than all of this one.

mod call;
mod choose;
mod combine;
mod extras;
mod render;
mod scores;
pub(super) mod sticky;
#[cfg(test)]
mod tests;

pub use self::{
    call::Call,
    choose::{Prompting, ResponseFuture},
    render::{Rendered, RenderedFuture},
    scores::Scores,
};

use self::sticky::Sticky;
use super::{content::At, name::LabelName, registry::Registry, version::Version};
use crate::llm::{Chat, ChatRequest, catalog::Catalog};
use std::{fmt, sync::Arc};
use tower_layer::Layer;

type Locked = Arc<dyn Fn(&Version) -> bool + Send + Sync>;

/// Renders chat requests that name a prompt.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct PromptLayer(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    registry: Registry,
    at: At,
    /// `None`: by default.
    sticky: Option<Sticky>,
    locked: Locked,
    choice_scope: Option<Arc<str>>,
    /// `None`: that which is built in.
    catalog: Option<Catalog>,
    scores: Scores,
}

impl PromptLayer {
    /// Of these prompts: at `production` unless a request says otherwise, none of them locked, priced by the
    /// catalog that is [built in](Catalog::builtin).
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let production = LabelName::new("production");
        Self(Arc::new(Settings {
            at: production.map_or(At::Latest, At::Label),
            sticky: None,
            locked: Arc::new(|_| false),
            choice_scope: None,
            catalog: None,
            scores: Scores::new(registry.clone()),
            registry,
        }))
    }

    /// Which version is meant by a request that does not say.
    #[must_use]
    pub fn unless_said(mut self, at: At) -> Self {
        self.settings().at = at;
        self
    }

    /// By which key a caller stays with a version: a closure of the request, and of what it says beside the
    /// prompt. `None`: any version, by its share.
    #[must_use]
    pub fn sticky_by(
        mut self,
        key: impl Fn(&ChatRequest, &Chat) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.settings().sticky = Some(Arc::new(key));
        self
    }

    /// Sets which scope whoever names a version or a label in the body of a request needs. By default whoever may
    /// use a prompt may choose among all of its versions.
    #[must_use]
    pub fn choice_scope(mut self, scope: impl Into<Arc<str>>) -> Self {
        self.settings().choice_scope = Some(scope.into());
        self
    }

    /// Which versions [hold](self#what-is-asked-then) against what a request says: `|_| true` for all.
    #[must_use]
    pub fn locked(mut self, is: impl Fn(&Version) -> bool + Send + Sync + 'static) -> Self {
        self.settings().locked = Arc::new(is);
        self
    }

    /// Sets what models cost.
    #[must_use]
    pub fn catalog(mut self, catalog: Catalog) -> Self {
        self.settings().catalog = Some(catalog);
        self
    }

    /// The same, unless that was said before.
    #[cfg(feature = "gateway")]
    pub(crate) fn priced_by(mut self, catalog: Option<Catalog>) -> Self {
        let settings = self.settings();
        settings.catalog = settings.catalog.take().or(catalog);
        self
    }

    /// Sets the secret under which calls can be [scored](Scores), of 32 bytes or more: the same for all processes
    /// of a gateway. By default it is made anew for each layer.
    #[must_use]
    pub fn score_secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        let settings = self.settings();
        settings.scores = settings.scores.clone().secret(secret.as_ref());
        self
    }

    /// Takes the scores of calls that it rendered.
    #[must_use]
    pub fn scores(&self) -> Scores {
        self.0.scores.clone()
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Which version is meant by a request that does not say.
    pub(super) fn at(&self) -> &At {
        &self.0.at
    }

    /// The key of whoever says nothing but this beside a prompt. `None`: that by default.
    pub(super) fn sticky(&self) -> Option<Arc<sticky::KeyOf>> {
        self.0.sticky.clone().map(sticky::of_parts)
    }

    #[cfg(feature = "gateway")]
    pub(super) fn sticky_as(mut self, key: Arc<sticky::KeyOf>) -> Self {
        self.settings().sticky = Some(sticky::of_request(key));
        self
    }

    pub(super) fn scope(&self) -> Option<&Arc<str>> {
        self.0.choice_scope.as_ref()
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }

    /// The outer half, for one that puts another layer between: finds the version and the model.
    pub(crate) fn choosing<S>(&self, inner: S) -> Prompting<S> {
        Prompting::new(inner, self.0.clone())
    }

    /// The inner half: renders.
    pub(crate) fn rendering<S>(&self, inner: S) -> Rendered<S> {
        Rendered::new(inner, self.0.clone())
    }
}

/// With [defaults](PromptLayer::new).
impl From<Registry> for PromptLayer {
    fn from(registry: Registry) -> Self {
        Self::new(registry)
    }
}

impl fmt::Debug for PromptLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptLayer")
            .field("registry", &self.0.registry)
            .field("at", &self.0.at)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for PromptLayer {
    type Service = Prompting<Rendered<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.choosing(self.rendering(inner))
    }
}
