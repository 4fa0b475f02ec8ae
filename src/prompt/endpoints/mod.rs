//! Each prompt an endpoint: variables in as JSON, an answer out as JSON or as events.
//!
//! [`Endpoints`] serves the prompts of a [`Registry`] over HTTP, so that whoever can post JSON can use a
//! model, and knows of no model, no message and no template.
//!
//! | request | answer |
//! |---|---|
//! | `POST /prompts/{name}` | fills the variables in, asks the model, answers |
//! | `GET /prompts/{name}` | what it is: variables with schemas and defaults, the schema of its output, version, labels |
//! | `GET /prompts` | those that the caller may use, `limit` of them (100 by default, 1,000 at the most) after the name `after` |
//! | `GET /prompts/openapi.json` | an OpenAPI 3.1 document of those, 1,000 at the most: clients can be generated from it |
//! | `GET /prompts/` | a page to try them |
//!
//! [`root`](Endpoints::root) sets another path. Where a router takes it off before requests come here, as
//! axum does, say [below which path](Endpoints::mounted_at) clients see them. List and page are one path
//! then: whoever accepts `text/html` gets the page.
//!
//! ```
//! # use tower_gateway::{llm::Simulator, prompt::{Registry, endpoints::Endpoints}};
//! # let (registry, models) = (Registry::in_memory(), Simulator::new());
//! let prompts = Endpoints::new(registry).root("").mounted_at("/prompts").chat(models);
//! let app: axum::Router = axum::Router::new().nest_service("/prompts", prompts);
//! # let _ = app;
//! ```
//!
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use serde_json::{Value, json};
//! use std::num::NonZeroU32;
//! use tower::ServiceExt;
//! use tower_gateway::llm::Simulator;
//! use tower_gateway::prompt::{Actor, Assignment, Change, Prompt, Registry, endpoints::Endpoints};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::in_memory();
//! let code = Actor::code("setup");
//! let prompt = Prompt::new()
//!     .model("sim-chat")
//!     .user("How do people feel who say this? {{ text }}")
//!     .variable("text", json!({"type": "string", "minLength": 1}))
//!     .output_schema("mood", json!({
//!         "type": "object",
//!         "properties": {"mood": {"enum": ["good", "bad"]}},
//!         "required": ["mood"],
//!         "additionalProperties": false,
//!     }));
//! registry.create(&code, "mood", prompt, Change::new()).await?;
//! let to = Assignment::to(NonZeroU32::MIN);
//! registry.move_label(&code, "mood", "production", Some(to), Change::new()).await?;
//!
//! let endpoints = Endpoints::new(registry).chat(Simulator::new());
//! let ask = async |body: Value| {
//!     let request = Request::post("/prompts/mood").header("content-type", "application/json");
//!     let request = request.body(Full::from(body.to_string())).unwrap();
//!     let response = endpoints.clone().oneshot(request).await.unwrap();
//!     let status = response.status().as_u16();
//!     let body = response.into_body().collect().await.unwrap().to_bytes();
//!     (status, serde_json::from_slice::<Value>(&body).unwrap())
//! };
//! let (status, answer) = ask(json!({"text": "What a day!"})).await;
//! assert_eq!(status, 200);
//! assert_eq!(answer["output"], json!({"mood": "good"}));
//! assert_eq!((&answer["prompt"], &answer["version"]), (&json!("mood"), &json!(1)));
//!
//! let (status, problem) = ask(json!({"text": "", "tone": 1})).await;
//! assert_eq!(status, 400);
//! assert_eq!(problem["errors"][0]["param"], "/text");
//! assert_eq!(problem["errors"][1]["param"], "/tone");
//! # Ok(())
//! # }
//! ```
//!
//! # What is asked
//!
//! The body is the object of the variables, as `application/json`, of 1 MiB
//! [at the most](Endpoints::body_limit), and may be compressed with `gzip` or `deflate`. A field that is there twice is an error. Which version is meant is in the query: `?version=3`,
//! `?label=staging`, `?label=latest`; by default that of the label [`production`](Endpoints::label).
//! Whether other ones may be asked for can be [a matter of a scope](Endpoints::choice_scope). Where a
//! label points at several versions, the caller has one of them by who it is, or by
//! [what you say](Endpoints::key). What is asked by default, and by which key, a [`PromptLayer`] says of
//! its own calls: let the endpoints be [like](Endpoints::like) it, and both give a caller the same
//! version. In a gateway they are.
//!
//! # What is answered
//!
//! | field | |
//! |---|---|
//! | `prompt`, `version`, `label` | what was used; no label if a version was asked for |
//! | `text` | what the model said, of a prompt without a schema |
//! | `output` | the same as JSON, of a prompt with one. It satisfies the schema |
//! | `tool_calls` | what tools the model calls, each with `id`, `name` and `arguments`, of a prompt with tools |
//! | `finish_reason` | `stop`, `length`, `tool_calls`, `content_filter` or `paused` |
//! | `usage` | `input_tokens` and `output_tokens` of all attempts, where the vendor tells them |
//! | `attempts` | 2 if the first answer had to be repaired |
//!
//! Where `n` is set, that is the first choice.
//!
//! **Output** is checked against the schema of the prompt. An answer that is no JSON or not of the
//! schema goes back to the model once, with what is wrong and where. If that does not help, the answer
//! is 502 `output_invalid`. An answer that was cut off, held back or refused by the model is not asked
//! again. A refusal is an error of a prompt without a schema too; what was cut off or held back is told by
//! its `finish_reason` there.
//!
//! **Events** (`Accept: text/event-stream`, or `?stream=true`) are `text` with `{"text": …}`, as often
//! as there is more, and at the end `done` with the same document that is answered otherwise, or `error`
//! with a problem document. What was shown cannot be repaired: an output that is not of the schema ends
//! with `error`.
//!
//! # Who may
//!
//! A prompt whose model or route the caller's key is not for ([`may_use_model`](crate::Principal::may_use_model)) is not there:
//! 404, and in no list or document. Neither is a partial.
//!
//! A policy decides on the route `/prompts/{name}`, on the name of the prompt, on its model and on the
//! method, when a prompt is called and when it is described, so that one rule gives `POST`, `GET` and the
//! place in list and document. A prompt that it does not allow to be called is in neither; whoever names it
//! is answered by the policy: 403 `insufficient_permissions`. A policy that
//! conceals (`Policy::conceal`) says 404 `prompt_not_found`, as for a prompt that there is not.
//!
//! `Endpoints::listed_by` gives the policy to the endpoints; a layer of it around the models decides on the
//! calls once more, and `PromptNameLayer` tells one around the endpoints which prompt is meant. In a
//! gateway all of this is done by [`prompt_endpoints`](https://docs.rs/tower-gateway/latest/tower_gateway/gateway/struct.GatewayBuilder.html).
//!
//! ```
//! # #[cfg(feature = "authorize")] {
//! use tower_gateway::authorize::{Policy, Rule};
//!
//! let policy = Policy::new().rule(
//!     Rule::allow("translators")
//!         .teams(["translators"])
//!         .routes(["/prompts/{name}"])
//!         .prompts(["translate", "summarise"]),
//! );
//! # let _ = policy; }
//! ```
//!
//! # Answers
//!
//! Errors are problem documents (RFC 9457), those of the [models](crate::llm) among them.
//!
//! | what | status | code | headers |
//! |---|--:|---|---|
//! | the variables, the query or the JSON are not valid; `param` or `errors` say where, variables by JSON pointers | 400 | `invalid_request` | |
//! | another version, without the [scope](Endpoints::choice_scope) | 403 | `insufficient_permissions` | |
//! | the policy does not allow it | 403 | `insufficient_permissions` | as the policy says |
//! | no such prompt, label or version, or not for this caller | 404 | `prompt_not_found` | |
//! | another method | 405 | `method_not_allowed` | `Allow` |
//! | the body does not come | 408 | `request_timeout` | |
//! | the body, or what is made of it, is too large | 413 | `request_too_large` | |
//! | the body is no JSON by its header | 415 | `unsupported_media_type` | |
//! | the model refused to answer, or answered twice what is not of the schema | 502 | `output_invalid` | those of an answer |
//! | the version cannot be had, or is broken | 503 | `prompts_unavailable` | |
//! | answered | 200 | | `x-gateway-prompt: name@version`, `x-gateway-prompt-call` |
//!
//! **What if its store is down**: see the [registry](super): what is released is served on.
//!
//! # What is told
//!
//! The models are asked through a [`PromptLayer`]: calls are told and recorded as there. Of a prompt
//! with a schema the [results](Registry::results) have the score `output_valid`: its mean is the share
//! of answers that were of it, so that a repair is one answer that was not and one that was.
//!
//! # What is shared
//!
//! Clones share the registry and the settings; each call clones the chat service, and waits for it in
//! its future.
//!
//! # Cancellation
//!
//! To drop the future, or the events, drops the call of the model.

mod agreed;
mod answer;
mod asked;
mod call;
mod describe;
mod events;
#[cfg(feature = "authorize")]
mod named;
mod openapi;
mod page;
mod rights;
mod service;
#[cfg(test)]
mod tests;

#[cfg(feature = "authorize")]
#[cfg_attr(docsrs, doc(cfg(feature = "authorize")))]
pub use self::named::{NamePrompt, PromptNameLayer};
pub use self::page::{Page, PageFuture, PageLayer};
pub use self::service::ResponseFuture;
pub(crate) use self::{
    answer::{Noted, answered, refusal, sum},
    asked::Query,
    call::{TIME, parsed},
    service::json,
};

use super::{
    LabelName, PromptLayer, Registry,
    layer::{Prompting, Rendered, sticky::KeyOf},
};
#[cfg(feature = "authorize")]
use crate::authorize::Policy;
use http::{Extensions, HeaderMap};
use std::{fmt, sync::Arc};
use tower_layer::Layer as _;

/// The most bytes of a body, by default.
const LIMIT: usize = 1 << 20;

/// Serves the prompts of a registry over HTTP.
///
/// It serves as soon as it has a [chat service](Self::chat). See the [module docs](self).
#[derive(Clone)]
pub struct Endpoints<S = ()> {
    settings: Arc<Settings>,
    chat: S,
}

#[derive(Clone)]
struct Settings {
    registry: Registry,
    /// As requests have it here.
    root: Arc<str>,
    /// What was taken off before they came.
    mount: Arc<str>,
    /// The route of a prompt, as policies know it.
    template: Arc<str>,
    /// `None`: nobody has said so far. Of a label, `None`: the newest.
    label: Option<Option<LabelName>>,
    model: Option<Arc<str>>,
    limit: usize,
    choice_scope: Option<Arc<str>>,
    /// `None`: nobody has said so far.
    key: Option<Arc<KeyOf>>,
    title: Arc<str>,
    has_security: bool,
    #[cfg_attr(not(feature = "gateway"), allow(dead_code))]
    has_public_page: bool,
    #[cfg(feature = "authorize")]
    policy: Option<Policy>,
}

impl Endpoints {
    /// Below `/prompts`, with the versions of the label `production`, for bodies of 1 MiB at the most.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            settings: Arc::new(Settings {
                registry,
                root: "/prompts".into(),
                mount: Arc::default(),
                template: "/prompts/{name}".into(),
                label: None,
                model: None,
                limit: LIMIT,
                choice_scope: None,
                key: None,
                title: "Prompts".into(),
                has_security: true,
                has_public_page: false,
                #[cfg(feature = "authorize")]
                policy: None,
            }),
            chat: (),
        }
    }

    /// Asks these models, behind a [`PromptLayer`] with defaults, which renders.
    #[must_use]
    pub fn chat<S>(self, models: S) -> Endpoints<Prompting<Rendered<S>>> {
        let layer = PromptLayer::new(self.settings.registry.clone());
        self.rendered_by(layer.layer(models))
    }

    /// Asks a chat service in which there is a [`PromptLayer`] of the same registry, with settings of
    /// your own, or with layers around it.
    #[must_use]
    pub fn rendered_by<S>(self, chat: S) -> Endpoints<S> {
        Endpoints {
            settings: self.settings,
            chat,
        }
    }
}

impl<S> Endpoints<S> {
    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    /// Sets the path below which they are served, in the place of `/prompts`, as requests have it when they
    /// come here. It is empty where a router has taken it off.
    #[must_use]
    pub fn root(self, root: &str) -> Self {
        self.set(|settings| {
            settings.root = root.trim_end_matches('/').into();
            settings.template = format!("{}/{{name}}", settings.path()).into();
        })
    }

    /// Sets what was taken off the paths of requests before they came here, as axum's `nest_service` does
    /// or a proxy in front: what clients see, and so the OpenAPI document and the route that policies know,
    /// is this and then the [`root`](Self::root).
    #[must_use]
    pub fn mounted_at(self, path: &str) -> Self {
        self.set(|settings| {
            settings.mount = path.trim_end_matches('/').into();
            settings.template = format!("{}/{{name}}", settings.path()).into();
        })
    }

    /// Sets which label is used if a call names none.
    #[must_use]
    pub fn label(self, label: LabelName) -> Self {
        self.set(|settings| settings.label = Some(Some(label)))
    }

    /// Uses the newest version if a call names none: for development.
    #[must_use]
    pub fn latest(self) -> Self {
        self.set(|settings| settings.label = Some(None))
    }

    /// Sets the model of prompts that name none.
    #[must_use]
    pub fn model(self, model: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.model = Some(model.into()))
    }

    /// Sets how many bytes a body has at the most, before and after it is decompressed.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|settings| settings.limit = bytes)
    }

    /// Sets which scope whoever names a version or a label needs. By default whoever may use a prompt
    /// may choose among all of its versions.
    #[must_use]
    pub fn choice_scope(self, scope: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.choice_scope = Some(scope.into()))
    }

    /// Sets by what a call keeps its version, where a label points at several: by default its
    /// principal. Without a key it has any, by their shares.
    #[must_use]
    pub fn key(
        self,
        key: impl Fn(&HeaderMap, &Extensions) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.set(|settings| settings.key = Some(Arc::new(key)))
    }

    /// Sets the title of the OpenAPI document.
    #[must_use]
    pub fn title(self, title: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.title = title.into())
    }

    /// Leaves out of the OpenAPI document that a bearer token is needed.
    #[must_use]
    pub fn without_security(self) -> Self {
        self.set(|settings| settings.has_security = false)
    }

    /// In a gateway, shows the page to try prompts to everyone, for browsers have no token when they
    /// come. It says nothing of any prompt. Elsewhere the [layer](Self::page_layer) does.
    #[must_use]
    pub fn public_page(self) -> Self {
        self.set(|settings| settings.has_public_page = true)
    }

    /// Lets callers find no prompts but those that this policy allows them to use. A layer of the same
    /// policy around the models decides on the calls.
    #[cfg(feature = "authorize")]
    #[cfg_attr(docsrs, doc(cfg(feature = "authorize")))]
    #[must_use]
    pub fn listed_by(self, policy: Policy) -> Self {
        self.set(|settings| settings.policy = Some(policy))
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.settings.registry
    }

    /// The paths at which it wants to be served, as templates of [routes](crate::route): for all
    /// methods.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        let root = &self.settings.root;
        let list = (!root.is_empty()).then(|| root.to_string());
        let below = ["", asked::DOCUMENT, "{name}"].map(|end| format!("{root}/{end}"));
        list.into_iter().chain(below).collect()
    }

    #[cfg(feature = "gateway")]
    pub(crate) fn has_public_page(&self) -> bool {
        self.settings.has_public_page
    }

    #[cfg(feature = "gateway")]
    pub(crate) fn root_path(&self) -> &Arc<str> {
        &self.settings.root
    }

    /// The route of each prompt.
    #[cfg(feature = "gateway")]
    pub(crate) fn route_of_prompts(&self) -> String {
        format!("{}/{{name}}", self.settings.root)
    }

    /// Policies know the route as a router of ours has it, whatever was taken off before.
    #[cfg(feature = "gateway")]
    pub(crate) fn routed(self) -> Self {
        let template = self.route_of_prompts();
        self.set(|settings| settings.template = template.into())
    }

    /// The layer that tells policies which prompt a path names, for where paths are as clients see them.
    #[cfg(feature = "authorize")]
    #[cfg_attr(docsrs, doc(cfg(feature = "authorize")))]
    #[must_use]
    pub fn name_layer(&self) -> PromptNameLayer {
        PromptNameLayer::new(self.settings.path())
    }

    /// The layer that answers with the page to try prompts, for outside of authentication, where paths are
    /// as clients see them.
    #[must_use]
    pub fn page_layer(&self) -> PageLayer {
        PageLayer::new(self.settings.path())
    }
}

impl Settings {
    /// The path below which clients see them.
    fn path(&self) -> String {
        format!("{}{}", self.mount, self.root)
    }
}

impl<S: fmt::Debug> fmt::Debug for Endpoints<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("registry", &self.settings.registry)
            .field("root", &self.settings.root)
            .field("label", &self.settings.label())
            .field("chat", &self.chat)
            .finish_non_exhaustive()
    }
}
