//! Prompts are managed over HTTP: created, compared, released, tried.
//!
//! [`Manage`] is a service that stands where you mount it, behind your own authentication:
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the prompts, `limit` of them after the name `after`, and what is [wrong](Registry::problems) |
//! | `GET /{name}` | the number of its latest version, its labels, and which of them are protected |
//! | `POST /{name}/versions` | creates a version: `prompt`, and if you like `message`, and `after`, the number of the latest version that was seen |
//! | `GET /{name}/versions` | its versions without what they say, the newest first, `limit` of them with numbers below `before` |
//! | `GET /{name}/versions/{number}` | a version |
//! | `GET /{name}/diff?from=1&to=2` | what differs from one version to another, as a unified diff |
//! | `PUT /{name}/labels/{label}` | moves a label: `to`, the number of a version, a list of `{"version": 3, "weight": 9500}`, or `null` to take it away; if you like `from`, what it points at now (`null`: nothing), and `message` |
//! | `GET /{name}/history` | the moves of its labels, or of one `label`, the newest first, `limit` of them with revisions below `before` |
//! | `POST /{name}/preview` | what the model would be asked: `version`, `label` or a whole `prompt` that is kept nowhere, and `variables` |
//! | `POST /{name}/runs` | asks a model, or compares two versions: see [below](#runs) |
//! | `GET /{name}/results` | how the versions do in this process |
//! | `POST /{name}/scores` | notes a score: `version`, `score`, `value` |
//!
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use serde_json::{Value, json};
//! use tower::ServiceExt;
//! use tower_gateway::{Principal, prompt::{Registry, manage::Manage}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let registry = Registry::in_memory();
//! let manage = Manage::new(registry.clone());
//! let ask = async |who: Principal, method: &str, path: &str, body: Value| {
//!     let request = Request::builder().method(method).uri(format!("/admin/prompts{path}"));
//!     let request = request.header("content-type", "application/json").extension(who);
//!     let request = request.body(Full::from(body.to_string())).unwrap();
//!     let response = manage.clone().oneshot(request).await.unwrap();
//!     let status = response.status().as_u16();
//!     let body = response.into_body().collect().await.unwrap().to_bytes();
//!     (status, serde_json::from_slice::<Value>(&body).unwrap())
//! };
//! // Authentication further out has found out who calls.
//! let author = || Principal::new("alice").with_scopes(["prompts:admin"]);
//! let prompt = json!({
//!     "model": "fast",
//!     "messages": [{"role": "user", "content": "Translate into French: {{ text }}"}],
//!     "variables": {"text": {"type": "string"}},
//! });
//! let (status, created) = ask(author(), "POST", "/translate/versions", json!({"prompt": prompt})).await;
//! assert_eq!((status, &created["version"]), (201, &json!(1)));
//!
//! let preview = json!({"version": 1, "variables": {"text": "{{ 7 * 7 }}"}});
//! let (_, preview) = ask(author(), "POST", "/translate/preview", preview).await;
//! assert_eq!(preview["messages"][0]["content"], "Translate into French: {{ 7 * 7 }}");
//!
//! // Whoever writes prompts need not be who releases them.
//! let (status, _) = ask(author(), "PUT", "/translate/labels/production", json!({"to": 1})).await;
//! assert_eq!(status, 403);
//! let owner = || Principal::new("bob").with_scopes(["prompts:admin", "prompts:release"]);
//! let (status, _) = ask(owner(), "PUT", "/translate/labels/production", json!({"to": 1, "from": null})).await;
//! assert_eq!(status, 200);
//! assert!(registry.by_label::<str>("translate", "production", None).is_some());
//!
//! let (status, problem) = ask(owner(), "PUT", "/translate/labels/production", json!({"too": 1})).await;
//! assert_eq!(status, 400);
//! assert_eq!(problem["errors"][0]["param"], "/to");
//! assert_eq!(problem["errors"][1]["param"], "/too");
//! # }
//! ```
//!
//! # Where it is
//!
//! Below `/admin/prompts`, or another [`root`](Manage::root). Where a router takes that off before requests
//! come here, say [below which path](Manage::mounted_at) clients see it:
//!
//! ```
//! # use tower_gateway::prompt::{Registry, manage::Manage};
//! # let registry = Registry::in_memory();
//! let manage = Manage::new(registry).root("").mounted_at("/admin/prompts");
//! let app: axum::Router = axum::Router::new().nest_service("/admin/prompts", manage);
//! # let _ = app;
//! ```
//!
//! # Who may
//!
//! Whoever has the scope [`prompts:admin`](Manage::scope). A
//! [protected](super::RegistryBuilder::protect) label is moved by whoever has
//! [`prompts:release`](Manage::release_scope) or the scope of that label beside it. Scores are taken
//! from whoever has [`prompts:score`](Manage::score_scope) too, which is all that an application needs.
//! Without a [`Principal`] nobody is let in: it is 401. It is the principal's name that is recorded, and
//! nothing that a body says.
//!
//! # Runs
//!
//! `versions`, one number or two; `cases`, 50 [at the most](Manage::most_cases), each with
//! `variables`, and if you like a `name` and what to `expect`: a `text` that is the answer, one that it
//! `contains`, or the `output` as JSON, where `1` is `1.0`; and if you like a
//! `model` in the place of the prompt's. The answer has of each version how many cases passed, failed or
//! ended with an error, tokens, price and latency, and each case. Each case is asked once of each version, four at the same time, and all of it ends after [two minutes](Manage::deadline): what is not over then has the error `timeout`.
//! Calls are made by the caller: its limits count, and it must be allowed to use the model. They are in
//! no [results](Registry::results). The [`Exchange`](crate::Exchange) of the run, and so the access log,
//! tells the prompt, the version if it is one, and what all of them used. Without a [chat service](Manage::chat) each case has the error
//! `model_not_found`.
//!
//! # Answers
//!
//! Bodies are JSON of 4 MiB at the most. What is not known in a body or in a query is an error, and so
//! is a field that is there twice.
//!
//! | what | status | code | headers |
//! |---|--:|---|---|
//! | something is not valid: `errors` say where, by JSON pointers into the body, and for templates in which `line` and `about` what | 400 | `invalid_request` | |
//! | nobody is known to call | 401 | `missing_api_key` | `WWW-Authenticate` |
//! | a scope is missing | 403 | `insufficient_permissions` | `WWW-Authenticate: Bearer error="insufficient_scope", scope="…"` |
//! | no such prompt, label or version | 404 | `prompt_not_found` | |
//! | another method | 405 | `method_not_allowed` | `Allow` |
//! | `after` or `from` is not what is there | 409 | `conflict` | |
//! | the body is too large, or no JSON by its header | 413, 415 | `request_too_large`, `unsupported_media_type` | |
//! | the store does not answer | 503 | `prompts_unavailable` | |
//! | created | 201 | | `Location` |
//!
//! **What if its store is down**: what is released is told, and previewed and run, all else is 503.
//!
//! # What is shared
//!
//! Clones share the registry and the settings.
//!
//! # Cancellation
//!
//! A change that is dropped while it is under way was made or was not, never half. A run that is dropped
//! calls no model from then on.

mod change;
mod expect;
mod failed;
mod place;
mod read;
mod report;
mod run;
#[cfg(test)]
mod tests;
mod told;

use self::{failed::Failed, place::Place};
use super::{Actor, PromptName, Registry, endpoints};
use crate::{
    Body, BoxError, Principal, Rejection,
    llm::{ChatRequest, ChatResponse, Error, catalog::Catalog, serve},
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use serde_json::Value;
use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_service::Service;

/// The most bytes of a body.
const LIMIT: usize = 4 << 20;

/// Serves the management of a registry.
///
/// See the [module docs](self).
#[derive(Clone)]
pub struct Manage<S = NoModels> {
    settings: Arc<Settings>,
    chat: S,
}

#[derive(Clone)]
struct Settings {
    registry: Registry,
    root: Arc<str>,
    /// What was taken off paths before they came here.
    mount: Arc<str>,
    scope: Arc<str>,
    release_scope: Arc<str>,
    score_scope: Arc<str>,
    model: Option<Arc<str>>,
    /// `None`: that which is built in.
    catalog: Option<Catalog>,
    most_cases: usize,
    deadline: Duration,
}

impl Manage {
    /// Below `/admin/prompts`, for whoever has the scope `prompts:admin`. Runs need a
    /// [chat service](Self::chat).
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            settings: Arc::new(Settings {
                registry,
                root: "/admin/prompts".into(),
                mount: Arc::default(),
                scope: "prompts:admin".into(),
                release_scope: "prompts:release".into(),
                score_scope: "prompts:score".into(),
                model: None,
                catalog: None,
                most_cases: 50,
                deadline: Duration::from_secs(120),
            }),
            chat: NoModels,
        }
    }
}

impl<S> Manage<S> {
    /// Runs ask these models.
    #[must_use]
    pub fn chat<T>(self, chat: T) -> Manage<T> {
        Manage {
            settings: self.settings,
            chat,
        }
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    /// Sets the path below which it is served, in the place of `/admin/prompts`, as requests have it when
    /// they come here. It is empty where a router has taken it off.
    #[must_use]
    pub fn root(self, root: &str) -> Self {
        self.set(|settings| settings.root = root.trim_end_matches('/').into())
    }

    /// Sets what was taken off the paths of requests before they came here, as axum's `nest_service` does
    /// or a proxy in front: what clients see, and so `Location`, is this and then the
    /// [`root`](Self::root).
    #[must_use]
    pub fn mounted_at(self, path: &str) -> Self {
        self.set(|settings| settings.mount = path.trim_end_matches('/').into())
    }

    /// Sets the scope that everything needs but scores.
    #[must_use]
    pub fn scope(self, scope: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.scope = scope.into())
    }

    /// Sets the scope that moving any protected label needs.
    #[must_use]
    pub fn release_scope(self, scope: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.release_scope = scope.into())
    }

    /// Sets the scope that noting scores needs, unless the caller may do everything.
    #[must_use]
    pub fn score_scope(self, scope: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.score_scope = scope.into())
    }

    /// Sets the model of runs of prompts that name none.
    #[must_use]
    pub fn model(self, model: impl Into<Arc<str>>) -> Self {
        self.set(|settings| settings.model = Some(model.into()))
    }

    /// Sets what models cost.
    #[must_use]
    pub fn catalog(self, catalog: Catalog) -> Self {
        self.set(|settings| settings.catalog = Some(catalog))
    }

    /// The same, unless that was said before.
    #[cfg(feature = "gateway")]
    pub(crate) fn priced_by(self, catalog: Option<Catalog>) -> Self {
        self.set(|settings| settings.catalog = settings.catalog.take().or(catalog))
    }

    /// Sets how many cases a run has at the most.
    #[must_use]
    pub fn most_cases(self, cases: usize) -> Self {
        self.set(|settings| settings.most_cases = cases)
    }

    /// Sets how long a run takes at the most.
    #[must_use]
    pub fn deadline(self, time: Duration) -> Self {
        self.set(|settings| settings.deadline = time)
    }

    /// The paths at which it wants to be served, as templates of [routes](crate::route): for all
    /// methods.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        let root = &self.settings.root;
        let own = if root.is_empty() { "/" } else { root };
        vec![own.to_owned(), format!("{root}/{{*rest}}")]
    }
}

impl<S: fmt::Debug> fmt::Debug for Manage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manage")
            .field("registry", &self.settings.registry)
            .field("root", &self.settings.root)
            .field("scope", &self.settings.scope)
            .field("chat", &self.chat)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Who does it, if it may.
    fn actor<'a>(&self, place: Place<'_>, parts: &'a Parts) -> Result<&'a Principal, Rejection> {
        let Some(principal) = parts.extensions.get::<Principal>() else {
            let challenge = HeaderValue::from_static("Bearer");
            return Err(Rejection::new(Kind::Unauthenticated)
                .with_header(header::WWW_AUTHENTICATE, challenge));
        };
        let scores = matches!(place, Place::Scores(_)) && principal.has_scope(&self.score_scope);
        if scores || principal.has_scope(&self.scope) {
            return Ok(principal);
        }
        Err(missing(&self.scope))
    }
}

/// This scope is needed.
fn missing(scope: &str) -> Rejection {
    let rejection = Rejection::new(Kind::Forbidden);
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => rejection.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => rejection,
    }
}

fn name(text: &str) -> Result<PromptName, Rejection> {
    PromptName::new(text).map_err(|wrong| {
        let rejection = Rejection::new(Kind::InvalidRequest).with_param("name");
        rejection.with_detail(wrong.what())
    })
}

impl<S> Manage<S> {
    async fn answer<B>(self, parts: Parts, body: B) -> Result<Response<Body>, Failed>
    where
        S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let settings = &*self.settings;
        let place = Place::of(&settings.root, parts.uri.path());
        let place = place.ok_or(Rejection::new(Kind::NotFound))?;
        let principal = settings.actor(place, &parts)?.clone();
        let actor = Actor::of(&principal);
        let allow = HeaderValue::from_static(place.allow());
        let query = parts.uri.query();
        let changes = [Method::POST, Method::PUT].contains(&parts.method);
        let reads = [Method::GET, Method::HEAD].contains(&parts.method);
        let is_put = parts.method == Method::PUT;
        if parts.method == Method::OPTIONS {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(header::ALLOW, allow);
            return Ok(response);
        }
        if reads {
            let told = match place {
                Place::All => settings.all(query),
                Place::Head(name) => settings.head(name, query),
                Place::Versions(name) => settings.versions(name, query).await,
                Place::Version(name, number) => settings.version(name, number, query).await,
                Place::Diff(name) => settings.diff(name, query).await,
                Place::History(name) => settings.history(name, query).await,
                Place::Results(name) => settings.results(name, query),
                _ => Err(not_by(allow)),
            };
            return Ok(endpoints::json(&told?));
        }
        let by_method = match place {
            Place::Label(..) => is_put,
            Place::Versions(_) | Place::Preview(_) | Place::Runs(_) | Place::Scores(_) => {
                changes && !is_put
            }
            _ => false,
        };
        if !by_method {
            return Err(not_by(allow));
        }
        endpoints::Query::read(query, &[])?;
        let bytes = serve::json_body(&parts.headers, body, LIMIT, endpoints::TIME).await?;
        let body: Value = endpoints::parsed(&bytes)?;
        match place {
            Place::Versions(name) => {
                let path = format!("{}{}", settings.mount, parts.uri.path());
                settings.create(&actor, &path, name, &body).await
            }
            Place::Label(name, label) => settings.move_label(&principal, name, label, &body).await,
            Place::Preview(name) => settings.preview(&actor, name, &body).await,
            Place::Scores(name) => settings.score(name, &body),
            Place::Runs(name) => {
                let plan = settings.plan(Some(&principal), name, &body).await?;
                let told = plan
                    .run(self.chat, &parts.headers, &parts.extensions, settings)
                    .await;
                Ok(endpoints::json(&told))
            }
            _ => Err(not_by(allow)),
        }
    }
}

fn not_by(allow: HeaderValue) -> Failed {
    let rejection = Rejection::new(Kind::MethodNotAllowed);
    rejection.with_header(header::ALLOW, allow).into()
}

impl<S, B> Service<Request<B>> for Manage<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    // The chat service is awaited where it is called, most often not at all.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let manage = self.clone();
        let (parts, body) = request.into_parts();
        ResponseFuture(Box::pin(async move {
            let answer = manage.answer(parts, body).await;
            answer.or_else(Failed::into_response)
        }))
    }
}

/// Response future of [`Manage`].
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A chat service without a model.
#[derive(Clone, Copy, Debug)]
pub struct NoModels;

impl Service<ChatRequest> for NoModels {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Ready<Result<ChatResponse, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: ChatRequest) -> Self::Future {
        ready(Err(Kind::ModelNotFound.into()))
    }
}
