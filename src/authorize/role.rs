//! Roles, and what they may.

use super::Rule;
use http::Method;
use std::sync::Arc;

/// What whoever has a role may do: rules that allow, and nothing else.
///
/// ```
/// use http::Method;
/// use tower_gateway::authorize::{Policy, Role};
///
/// let policy = Policy::new().role(
///     Role::new("analyst")
///         .may(Method::POST, "/v1/chat/completions", ["fast*"])
///         .may(Method::GET, "/reports/*", ["*"]),
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Role {
    name: Arc<str>,
    id: Arc<str>,
    rules: Vec<Rule>,
}

impl Role {
    /// A role of this name, who may do nothing. Its rules have the id `role:` and the name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        Self {
            id: format!("role:{name}").into(),
            name,
            rules: Vec::new(),
        }
    }

    /// Lets it use a method, `GET` with `HEAD`, on a route, with these models. A `*` at the end stands for
    /// any ending; for what is not about models, name `["*"]`.
    #[must_use]
    pub fn may(
        self,
        method: Method,
        route: impl Into<Arc<str>>,
        models: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        self.with(|rule| rule.methods([method]).routes([route]).models(models))
    }

    /// The same by any method.
    #[must_use]
    pub fn may_all(
        self,
        route: impl Into<Arc<str>>,
        models: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        self.with(|rule| rule.routes([route]).models(models))
    }

    fn with(mut self, conditions: impl FnOnce(Rule) -> Rule) -> Self {
        let rule = Rule::allow(self.id.clone()).roles([self.name.clone()]);
        self.rules.push(conditions(rule));
        self
    }

    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.rules
    }
}
