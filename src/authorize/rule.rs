//! Rules.

#[cfg(feature = "cel")]
use super::Expression;
use super::{
    Asked, Window,
    condition::{Condition, Names, Text, Truth},
};
use crate::client_addr::{InvalidNetwork, networks};
use http::{HeaderName, Method};
use std::sync::Arc;

/// A rule: whom it is for, and whether it lets them in.
///
/// It applies where all of its conditions hold, and a condition holds where one of its values fits. Each
/// call of a method adds a condition. Without any the rule applies to every call; one of no values fits
/// nothing.
///
/// ```
/// use http::Method;
/// use tower_gateway::authorize::{Rule, Window};
///
/// let rule = Rule::allow("support-by-day")
///     .roles(["support", "lead"])
///     .methods([Method::GET])
///     .routes(["/tickets/*"])
///     .time([Window::utc("Mon-Fri 08:00-18:00")?]);
/// assert_eq!(&**rule.id(), "support-by-day");
/// # Ok::<_, tower_gateway::authorize::InvalidWindow>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    id: Arc<str>,
    denies: bool,
    conditions: Vec<Condition>,
}

fn named(names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Names {
    names.into_iter().map(Into::into).collect()
}

impl Rule {
    /// Allows what it applies to, unless another rule denies it. Logs and metrics know it by `id`; callers
    /// never hear of it.
    #[must_use]
    pub fn allow(id: impl Into<Arc<str>>) -> Self {
        Self::new(id, false)
    }

    /// Denies what it applies to, whatever other rules allow.
    #[must_use]
    pub fn deny(id: impl Into<Arc<str>>) -> Self {
        Self::new(id, true)
    }

    fn new(id: impl Into<Arc<str>>, denies: bool) -> Self {
        Self {
            id: id.into(),
            denies,
            conditions: Vec::new(),
        }
    }

    fn with(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// For principals with one of these roles.
    #[must_use]
    pub fn roles(self, roles: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::Roles(named(roles)))
    }

    /// For principals with all of these scopes.
    #[must_use]
    pub fn all_scopes(self, scopes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::AllScopes(named(scopes)))
    }

    /// For principals with one of these scopes.
    #[must_use]
    pub fn any_scope(self, scopes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::AnyScope(named(scopes)))
    }

    /// For principals of one of these ids. Where there are tenants name theirs as well: each may have an
    /// `alice`.
    #[must_use]
    pub fn principals(self, ids: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::Principals(named(ids)))
    }

    /// For principals of one of these teams.
    #[must_use]
    pub fn teams(self, teams: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::Teams(named(teams)))
    }

    /// For principals of one of these tenants.
    #[must_use]
    pub fn tenants(self, tenants: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::Tenants(named(tenants)))
    }

    /// For principals with this [attribute](crate::Principal::attribute), such as a claim of their token,
    /// if one of its values is one of these.
    #[must_use]
    pub fn attribute(
        self,
        name: impl Into<Arc<str>>,
        values: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        self.with(Condition::Attribute(name.into(), named(values)))
    }

    /// For requests by one of these methods. `GET` stands for `HEAD`, too.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.with(Condition::Methods(methods.into_iter().collect()))
    }

    /// For routes of one of these templates, such as `/users/{id}`. A `*` at the end stands for any ending.
    #[must_use]
    pub fn routes(self, templates: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::Routes(named(templates)))
    }

    /// For models of one of these names. A `*` at the end stands for any ending, and a `*` alone for any
    /// model and for none: it is no condition.
    ///
    /// A rule that denies goes by more than the name: the case of letters does not matter, and neither does
    /// what stands before a `/`, which may be the vendor.
    #[must_use]
    pub fn models(self, names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let models = named(names);
        if models.iter().any(|name| **name == *"*") {
            self
        } else {
            self.with(Condition::Models(models))
        }
    }

    /// For calls of prompts of one of these names, over HTTP or as a model's. A `*` at the end stands for any
    /// ending, and a `*` alone for any prompt.
    ///
    /// A call that is known to be of no prompt is none of them: a plain route of a gateway, and a conversation
    /// that names none. Where that [cannot be known](super#what-cannot-be-evaluated), as in a layer of one's
    /// own around routes, a rule that denies prompts names the routes that it is for. Endpoints of prompts that
    /// you mount as a route of a gateway are plain routes for it, unless their `name_layer` stands outside of
    /// the policy.
    ///
    /// A rule that allows prompts and names no models allows whatever model the prompt or the caller names.
    #[must_use]
    pub fn prompts(self, names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.with(Condition::Prompts(named(names)))
    }

    /// For requests with this header.
    #[must_use]
    pub fn header_present(self, name: HeaderName) -> Self {
        self.with(Condition::Header(name, Text::Present))
    }

    /// For requests in which this header is one of these values: in all of its lines, and in all items of
    /// a list. Where only some are, the condition cannot be evaluated.
    #[must_use]
    pub fn header(
        self,
        name: HeaderName,
        values: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        self.with(Condition::Header(name, Text::Equals(named(values))))
    }

    /// For requests in which this header begins with one of these, likewise.
    #[must_use]
    pub fn header_prefix(
        self,
        name: HeaderName,
        values: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        self.with(Condition::Header(name, Text::Prefix(named(values))))
    }

    /// For clients in one of these networks, such as `10.0.0.0/8`, or at one of these addresses.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] with the first text that is neither.
    pub fn clients(
        self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidNetwork> {
        let networks = networks(texts)?.into();
        Ok(self.with(Condition::Clients(networks)))
    }

    /// At one of these times.
    #[must_use]
    pub fn time(self, windows: impl IntoIterator<Item = Window>) -> Self {
        self.with(Condition::Time(windows.into_iter().collect()))
    }

    /// Where a closure says so. `None`: it cannot tell.
    ///
    /// It is asked on each plane, and on the HTTP plane the model is not known yet: ask
    /// [`when_model`](Self::when_model) for that. It must be quick, and must not panic.
    #[must_use]
    pub fn when(
        self,
        closure: impl Fn(&Asked<'_>) -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        self.with(Condition::When(Arc::new(closure)))
    }

    /// Where a closure says so of the model. It is asked as soon as the model is known.
    #[must_use]
    pub fn when_model(
        self,
        closure: impl Fn(&Asked<'_>, &str) -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        self.with(Condition::WhenModel(Arc::new(closure)))
    }

    /// Where an expression is true.
    #[cfg(feature = "cel")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
    #[must_use]
    pub fn expression(self, expression: Expression) -> Self {
        self.with(Condition::Expression(expression))
    }

    /// By what name logs and metrics know it.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn denies(&self) -> bool {
        self.denies
    }

    /// Whether it applies.
    pub(super) fn applies(&self, asked: &Asked<'_>) -> Truth {
        let mut all = Truth::Yes;
        for condition in &self.conditions {
            all = all.max(condition.holds(asked, self.denies));
            if all == Truth::No {
                break;
            }
        }
        all
    }

    /// The scopes that would make it apply, if they are all that is missing.
    pub(super) fn missing_scopes(&self, asked: &Asked<'_>) -> Option<Vec<Arc<str>>> {
        let mut missing = Vec::new();
        for condition in &self.conditions {
            match (condition.holds(asked, self.denies), condition.scopes()) {
                (Truth::Yes, _) => {}
                (Truth::No, Some(scopes)) if !scopes.is_empty() => {
                    missing.extend_from_slice(scopes);
                }
                _ => return None,
            }
        }
        let mut told = std::collections::HashSet::new();
        missing.retain(|scope| told.insert(scope.clone()));
        (!missing.is_empty()).then_some(missing)
    }

    pub(super) fn any(&self, is: impl Fn(&Condition) -> bool) -> bool {
        self.conditions.iter().any(is)
    }
}
