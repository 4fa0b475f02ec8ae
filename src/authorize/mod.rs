//! Decide who may do what: by role, scope, team, route, model, header, address, time, and by expressions.
//!
//! A [`Policy`] is made of [rules](Rule) that allow and rules that deny. Nobody may do anything unless a
//! rule allows it, and nothing is allowed that a rule denies:
//!
//! ```text
//! a rule that denies applies? ── yes ──▶ denied
//!            │ no
//! a rule that allows applies? ── yes ──▶ allowed
//!            │ no
//!            └─────────────────────────▶ denied
//! ```
//!
//! The order of rules does not matter. The conditions of a rule must all hold, and of the values of a
//! condition one must fit.
//!
//! # Example
//!
//! ```
//! use axum::{Router, extract::MatchedPath, http::Method, routing::get};
//! use tower_gateway::{Principal, authorize::{AuthorizeLayer, Policy, Role, Rule}};
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::new()
//!     .role(Role::new("staff").may(Method::GET, "/tickets/{id}", ["*"]))
//!     .rule(Rule::allow("closing").all_scopes(["tickets:close"]).methods([Method::DELETE]))
//!     .rule(Rule::deny("old-office").clients(["192.0.2.0/24"])?);
//!
//! let app: Router = Router::new()
//!     .route("/tickets/{id}", get(async || "a ticket").delete(async || "closed"))
//!     .layer(AuthorizeLayer::new(policy).route(|asked| {
//!         let route: &MatchedPath = asked.extensions().get()?;
//!         Some(route.as_str().into())
//!     }));
//! # let ask = async |method: Method, who: Principal| {
//! #     let client = tower_gateway::client_addr::ClientAddr([203, 0, 113, 7].into());
//! #     let request = Request::builder().method(method).uri("/tickets/7").extension(who).extension(client);
//! #     app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
//! # };
//!
//! // The layer of authentication further out has found out who calls.
//! let alice = || Principal::new("alice").with_roles(["staff"]);
//! assert_eq!(ask(Method::GET, alice()).await.status(), 200);
//! let refused = ask(Method::DELETE, alice()).await;
//! assert_eq!(refused.status(), 403);
//! let challenge = r#"Bearer error="insufficient_scope", scope="tickets:close""#;
//! assert_eq!(refused.headers()["www-authenticate"], challenge);
//! assert_eq!(ask(Method::DELETE, alice().with_scopes(["tickets:close"])).await.status(), 200);
//! assert_eq!(ask(Method::GET, Principal::new("bob")).await.status(), 403);
//! # Ok(())
//! # }
//! ```
//!
//! The request type is free ([`Ask`]): the same layer stands around a model, where rules may name models.
//! A whole gateway takes the policy with
//! [`GatewayBuilder::authorize`](crate::gateway::GatewayBuilder::authorize) and puts it everywhere it belongs.
//!
//! # What a rule can ask for
//!
//! | condition | holds for |
//! |---|---|
//! | [`roles`](Rule::roles), [`any_scope`](Rule::any_scope), [`all_scopes`](Rule::all_scopes) | what the [`Principal`](crate::Principal) has. A role that no rule names has no rights |
//! | [`principals`](Rule::principals), [`teams`](Rule::teams), [`tenants`](Rule::tenants) | who it is |
//! | [`attribute`](Rule::attribute) | what its token says, as far as it was [kept](crate::Principal::with_attribute) |
//! | [`methods`](Rule::methods), [`routes`](Rule::routes) | what is called, by the template of the route, never by the path |
//! | [`models`](Rule::models), [`when_model`](Rule::when_model) | which model is asked |
//! | [`prompts`](Rule::prompts) | which prompt is called |
//! | [`header`](Rule::header), [`header_prefix`](Rule::header_prefix), [`header_present`](Rule::header_present) | what all lines of a header say. Trust who sends it |
//! | [`clients`](Rule::clients) | from where: the [`ClientAddr`](crate::client_addr::ClientAddr), or without one the peer |
//! | [`time`](Rule::time) | when, in UTC |
//! | [`when`](Rule::when) | what a closure says |
//! | `expression`, with the feature `cel` | what an expression says |
//!
//! # What cannot be evaluated
//!
//! A rule that allows never applies then, and a rule that denies does, unless another of its conditions
//! does not hold: in doubt nobody is let in.
//!
//! | condition | cannot be evaluated |
//! |---|---|
//! | on the principal | where there is none. One that is there and has no team is in no team, and the same for its tenant, its scopes and its roles |
//! | on an attribute | where the principal lacks it |
//! | on the method | where the request has none, and where it differs from one that is named in the case of letters only |
//! | on the route | where no router has matched one, and for a path that is not in its [normal form](crate::path) |
//! | on the model | where there is none and none to come: a plain route. A rule that denies models names the routes it is for |
//! | on the prompt | where no model is asked, and none will be, unless it is known that none is called. A gateway knows that of each path but those of models and of endpoints of prompts |
//! | on a header | where some of its lines, or items of a list, fit and others do not, and where one is there whose name differs from its own in `_` for `-`. A header that is absent fits nothing |
//! | on the client | where its address is not known |
//! | on the time | before 1970 |
//! | a closure | where it answers `None` |
//! | an expression | where it fails, reads what is not there, or answers anything but a boolean |
//!
//! # Two planes
//!
//! Over HTTP nobody knows yet which model is asked: that is in the body. So the layer there
//! [defers](AuthorizeLayer::deferring) what depends on it, for requests that will come to a model, and a layer
//! of the same policy around the models decides, with what the first one has seen of method, path and
//! route. What does not depend on the model is decided at once, so that a body is not read in vain.
//! Where a request never comes to a model, what is not decided is denied.
//!
//! A layer between the two may make another request of it. So a gateway asks the policy
//! [once more](AuthorizeLayer::recheck) just outside of its routes, about a method, path or host that it
//! has not allowed; and around the models it always decides on all of it. Models that a caller may not use
//! on any route are in no [list](crate::llm::serve::Serve::listed_by).
//!
//! A model is known by the name that was asked for. A rule that denies one takes it by any case of letters
//! and behind any vendor's name, but not by a name that the operator has given to it:
//! where that matters allow some rather than deny others. A list of others that may answer (`models`) is
//! refused where there is a policy; a model that a *tool* of the vendor uses is not looked at.
//!
//! # Paths and methods
//!
//! Rules know routes, and the router says which one it is, so that there is one answer to what a path means.
//! Whoever matches by the path as it came needs [`NormalisePathLayer`](crate::route::NormalisePathLayer)
//! further out: a path in another than its normal form has no route here. Headers that name another method
//! (`X-HTTP-Method-Override`) are not looked at; for an upstream that heeds them write a rule that denies
//! [their presence](Rule::header_present). A CORS preflight is an `OPTIONS` like any other, and its
//! `Access-Control-Request-Method` is not what is asked for: let a layer further out answer it.
//!
//! # Answers
//!
//! | what | status | code | headers |
//! |---|--:|---|---|
//! | allowed | the service's | | |
//! | denied | 403 | `insufficient_permissions` | |
//! | the same, where nothing but scopes is missing | 403 | `insufficient_permissions` | `WWW-Authenticate: Bearer error="insufficient_scope", scope="…"` |
//! | denied, with [`conceal`](Policy::conceal) | 404 | `not_found`; around a model `model_not_found`, of a prompt `prompt_not_found` | |
//!
//! No answer tells of a rule. Which one it was is the [`rule`](crate::exchange::Facts::rule) of the
//! [`Exchange`](crate::Exchange), for the access log, the trace and the metrics; `default` where none applied.
//!
//! # Shadow mode
//!
//! A second policy can be [watched](Policy::shadow) before it is put in force. What it would have decided
//! stands beside what was decided, and [`Stats`] counts where the two differ.
//!
//! **What if its store is down**: it has none. A decision is a pure function of the request, the policy and the time, and never waits.
//!
//! # What is shared
//!
//! The policy, and what it counts, belong to the layer value, and to every layer and clone that is made with
//! the same one. Nothing is made in [`Layer::layer`](tower_layer::Layer::layer).
//!
//! # Cancellation
//!
//! A call is decided on when it is made, before the service is called. To drop its future drops the
//! service's.

mod asked;
mod condition;
#[cfg(feature = "cel")]
mod expression;
pub mod external;
mod policy;
mod role;
mod rule;
mod service;
#[cfg(test)]
mod tests;
mod window;

#[cfg(feature = "gateway")]
pub(crate) use self::asked::Prompt;
#[cfg(feature = "prompts")]
pub(crate) use self::asked::PromptAsked;
#[cfg(feature = "cel")]
#[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
pub use self::expression::{Expression, InvalidExpression};
pub use self::{
    asked::{Ask, Asked},
    policy::{Decision, Effect, Policy, Stats},
    role::Role,
    rule::Rule,
    service::{Authorize, AuthorizeLayer},
    window::{InvalidWindow, Window},
};
