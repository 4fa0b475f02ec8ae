//! The layer, and what it decides.

use super::{
    Ask, Asked, Decision, Effect, Policy,
    asked::{Model, Prompt},
};
use crate::{
    Exchange, Rejection,
    admit::{Admit, Admitted},
};
use std::{fmt, sync::Arc};
use tower_layer::Layer;

/// Applies [`Authorize`] to a service.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct AuthorizeLayer {
    policy: Policy,
    route: Option<Arc<RouteOf>>,
    prompt: Option<Arc<PromptOf>>,
    deferring: Option<Arc<Deferring>>,
    recheck: bool,
}

type PromptOf = dyn for<'a> Fn(&Asked<'a>) -> Prompt<'a> + Send + Sync;
type RouteOf = dyn Fn(&Asked<'_>) -> Option<Arc<str>> + Send + Sync;
type Deferring = dyn Fn(&Asked<'_>) -> bool + Send + Sync;

impl AuthorizeLayer {
    /// Lets pass what this policy allows. The template of the route is that of the
    /// [`Exchange`](crate::exchange::Facts::route), if a router further out has matched one. What cannot be
    /// decided is denied.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            route: None,
            prompt: None,
            deferring: None,
            recheck: false,
        }
    }

    /// Sets where the template of the route is found: in the extensions, such as axum's `MatchedPath`, or
    /// by the method, the host and the path, by the same table that will choose the service. It alone says
    /// what the route is then, and it is noted in the exchange.
    #[must_use]
    pub fn route(
        mut self,
        route: impl Fn(&Asked<'_>) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.route = Some(Arc::new(route));
        self
    }

    /// Sets where it is found which prompt is called, or that none is, once the route is known.
    #[cfg(feature = "gateway")]
    pub(crate) fn prompt(
        mut self,
        prompt: impl for<'a> Fn(&Asked<'a>) -> Prompt<'a> + Send + Sync + 'static,
    ) -> Self {
        self.prompt = Some(Arc::new(prompt));
        self
    }

    /// Leaves rules that need a model to a layer of the same policy further in, around the models, for
    /// requests of which the closure says that they come there.
    ///
    /// What passes it undecided is decided nowhere else, so that layer must be there, and the closure must
    /// be the one that leads the request there.
    #[must_use]
    pub fn deferring(
        mut self,
        reaches_models: impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.deferring = Some(Arc::new(reaches_models));
        self
    }

    /// Decides only on what a [deferring](Self::deferring) layer of the same policy further out has not
    /// allowed as it is now: where layers between the two may change the method, the host or the path, so
    /// that what was decided on is not what is served. One that defers as well takes what was deferred as it
    /// is now for decided.
    #[must_use]
    pub fn recheck(mut self) -> Self {
        self.recheck = true;
        self
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Lets a call pass, or says why not.
    fn decide(&self, req: &mut impl Ask) -> Result<(), Rejection> {
        let policy = &self.policy;
        let mut asked = req.ask();
        let decided = asked.was_decided(policy).filter(|_| self.recheck);
        if decided.is_some_and(|allowed| allowed || self.deferring.is_some()) {
            return Ok(());
        }
        if let Some(route) = &self.route {
            let found = route(&asked);
            asked = asked.with_route(found);
        }
        if let Some(prompt) = &self.prompt {
            asked.prompt = prompt(&asked);
        }
        let deferring = self.deferring.as_ref();
        let deferred = asked.model().is_none() && deferring.is_some_and(|is| is(&asked));
        asked.model = match asked.model {
            Model::Named(model) => Model::Named(model),
            _ if deferred => Model::Later,
            _ => Model::Unknown,
        };
        let effect = policy.ruled(&mut asked, deferred)?;
        if self.deferring.is_some() {
            let allowed = effect == Effect::Allow;
            let seen = asked.seen(policy.clone(), allowed);
            req.extensions_mut().insert(seen);
        }
        Ok(())
    }
}

impl Policy {
    /// Decides on a call, now, and tells of it in its exchange and in what is counted. What is decided once
    /// more `further_in` is counted there, if it comes there.
    pub(crate) fn ruled(
        &self,
        asked: &mut Asked<'_>,
        further_in: bool,
    ) -> Result<Effect, Rejection> {
        asked.now = self.now().or(asked.now);
        let decided = self.decide(asked);
        let shadow = self.shadowed(asked);
        if !further_in || decided.effect == Effect::Deny {
            self.count(&decided, shadow.as_ref());
        }
        if let Some(exchange) = asked.extensions().get() {
            note(exchange, asked, &decided, shadow.as_ref());
        }
        match decided.effect {
            Effect::Deny => Err(self.rejection(&decided, asked)),
            effect => Ok(effect),
        }
    }
}

/// What is decided later is told then.
fn note(exchange: &Exchange, asked: &Asked<'_>, decided: &Decision, shadow: Option<&Decision>) {
    let ruling =
        |decision: &Decision| (decision.effect != Effect::Undecided).then(|| decision.ruling());
    let (rule, shadow) = (ruling(decided), shadow.and_then(ruling));
    let route = asked.route().cloned();
    exchange.update(|facts| {
        if facts.route.is_none() {
            facts.route = route;
        }
        facts.rule = rule;
        facts.shadow_rule = shadow;
    });
}

impl fmt::Debug for AuthorizeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeLayer")
            .field("policy", &self.policy)
            .field("recheck", &self.recheck)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}

impl<Req: Ask> Admit<Req> for AuthorizeLayer {
    fn admit(&self, req: &mut Req) -> Result<(), Rejection> {
        self.decide(req)
    }
}

/// Turns away calls that a policy does not allow.
///
/// See the [module docs](super) for an example.
pub type Authorize<S> = Admitted<S, AuthorizeLayer>;
