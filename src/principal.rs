//! Who calls, and where requests and answers carry such things.

use http::{Extensions, HeaderMap};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Where headers and typed extensions live, on the way in and on the way out.
///
/// Implemented for `http::Request`, `http::Response`, and the chat request and answer: a codec
/// carries them over between HTTP and chat, both ways. So a limiter finds the caller on either
/// plane, and what it says about what is left reaches the caller from either.
#[diagnostic::on_unimplemented(
    message = "`{Self}` carries no headers and no extensions",
    note = "`http::Request`, `http::Response`, `ChatRequest` and `ChatResponse` do; for your own type write `impl Extensible for {Self}`"
)]
pub trait Extensible {
    /// The headers.
    fn headers(&self) -> &HeaderMap;
    /// The headers, to be changed. Append, or merge: an outer layer must not undo what an inner one said.
    fn headers_mut(&mut self) -> &mut HeaderMap;
    /// The extensions.
    fn extensions(&self) -> &Extensions;
    /// The extensions, to be changed.
    fn extensions_mut(&mut self) -> &mut Extensions;
}

macro_rules! extensible {
    ($($carrier:ident)*) => {
        $(impl<B> Extensible for http::$carrier<B> {
            fn headers(&self) -> &HeaderMap {
                http::$carrier::headers(self)
            }
            fn headers_mut(&mut self) -> &mut HeaderMap {
                http::$carrier::headers_mut(self)
            }
            fn extensions(&self) -> &Extensions {
                http::$carrier::extensions(self)
            }
            fn extensions_mut(&mut self) -> &mut Extensions {
                http::$carrier::extensions_mut(self)
            }
        })*
    };
}

extensible!(Request Response);

/// What a message brought from HTTP, or will take there.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its extensions.
    pub extensions: Extensions,
}

/// Who calls, as authentication found out.
///
/// Stands in the extensions of a request from authentication on. Cloning it bumps a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    id: Arc<str>,
    key_id: Option<Arc<str>>,
    team: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    scopes: BTreeSet<Arc<str>>,
    roles: BTreeSet<Arc<str>>,
    attributes: BTreeMap<Arc<str>, Arc<[Arc<str>]>>,
    limits: Arc<[Limit]>,
    /// `None`: the name of the credential.
    limited_as: Option<Arc<str>>,
    /// `None`: all.
    models: Option<Arc<[Arc<str>]>>,
    routes: Option<Arc<[Arc<str>]>>,
}

/// So many units in so much time, for one principal alone, such as 600 calls a minute.
///
/// A limiter that counts by principal goes by these in the place of its own quotas, and counts them for
/// each [credential](Principal::limited_as) by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    name: Arc<str>,
    units: u64,
    period: Duration,
    burst: u64,
}

impl Limit {
    /// So many units in this time. As many may be used at once after a rest. Callers learn of it by
    /// its name. In no time at all there are none: a period of zero grants nothing.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, units: u64, period: Duration) -> Self {
        Self {
            name: name.into(),
            units,
            period,
            burst: units,
        }
    }

    /// Sets how many units may be used at once after a rest.
    #[must_use]
    pub fn with_burst(mut self, units: u64) -> Self {
        self.burst = units;
        self
    }

    /// By which name callers learn of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many units the period grants.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// In what time.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How many units may be used at once after a rest.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
    }
}

const MOST_ATTRIBUTES: usize = 32;
const MOST_VALUES: usize = 64;
const LONGEST_VALUE: usize = 256;

/// Whether one of these names it: exactly, or by its beginning and a `*`.
pub(crate) fn names(patterns: &[Arc<str>], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => **pattern == *name,
        })
}

impl Principal {
    /// A principal with a name, and nothing else.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Inner {
            id: id.into(),
            key_id: None,
            team: None,
            tenant: None,
            scopes: BTreeSet::new(),
            roles: BTreeSet::new(),
            attributes: BTreeMap::new(),
            limits: Arc::default(),
            limited_as: None,
            models: None,
            routes: None,
        }))
    }

    /// Names the credential that was shown. Never the credential itself.
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).key_id = Some(key_id.into());
        self
    }

    /// Sets the team.
    #[must_use]
    pub fn with_team(mut self, team: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).team = Some(team.into());
        self
    }

    /// Sets the tenant, across which nothing is ever shared.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).tenant = Some(tenant.into());
        self
    }

    /// Adds scopes, what the principal may do.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let all = &mut Arc::make_mut(&mut self.0).scopes;
        all.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds roles, what the principal is to whoever issued its credential.
    #[must_use]
    pub fn with_roles(mut self, roles: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let all = &mut Arc::make_mut(&mut self.0).roles;
        all.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Sets an attribute: what else is known of it, such as a claim of its token, as one or more texts.
    ///
    /// Bounded: an attribute of more than 64 values, or with a value or a name of more than 256 bytes, is
    /// not kept, and neither is a 33rd one. A principal without it is one of whom that is not known.
    #[must_use]
    pub fn with_attribute(
        mut self,
        name: impl Into<Arc<str>>,
        values: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        let name = name.into();
        let values: Arc<[Arc<str>]> = values
            .into_iter()
            .take(MOST_VALUES + 1)
            .map(Into::into)
            .collect();
        let all = &mut Arc::make_mut(&mut self.0).attributes;
        // What stood there before is not what was to be said now.
        all.remove(&name);
        let fits = |text: &Arc<str>| text.len() <= LONGEST_VALUE;
        if all.len() < MOST_ATTRIBUTES
            && values.len() <= MOST_VALUES
            && fits(&name)
            && values.iter().all(fits)
        {
            all.insert(name, values);
        }
        self
    }

    /// Sets what it may use in what time, in the place of what everyone may.
    #[must_use]
    pub fn with_limits(mut self, limits: impl IntoIterator<Item = Limit>) -> Self {
        Arc::make_mut(&mut self.0).limits = limits.into_iter().collect();
        self
    }

    /// Sets under which name its own limits are counted, apart from what others of its
    /// [`id`](Self::id) use. By default that of the [credential](Self::key_id): credentials that
    /// follow one another have one name, so that two that are good for a while are not twice as much.
    #[must_use]
    pub fn with_limited_as(mut self, name: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).limited_as = Some(name.into());
        self
    }

    /// Lets it use no models but those of these names. A `*` at the end stands for any ending.
    #[must_use]
    pub fn with_models(mut self, models: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let models = models.into_iter().map(Into::into).collect();
        Arc::make_mut(&mut self.0).models = Some(models);
        self
    }

    /// Lets it use no routes but those of these templates, such as `/users/{id}`. A `*` at the end
    /// stands for any ending.
    #[must_use]
    pub fn with_routes(mut self, routes: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let routes = routes.into_iter().map(Into::into).collect();
        Arc::make_mut(&mut self.0).routes = Some(routes);
        self
    }

    /// The principal of a request, if authentication found one.
    #[must_use]
    pub fn of(carrier: &impl Extensible) -> Option<&Self> {
        carrier.extensions().get()
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.0.id
    }

    /// The name of the credential that was shown.
    #[must_use]
    pub fn key_id(&self) -> Option<&Arc<str>> {
        self.0.key_id.as_ref()
    }

    /// Its team.
    #[must_use]
    pub fn team(&self) -> Option<&Arc<str>> {
        self.0.team.as_ref()
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&Arc<str>> {
        self.0.tenant.as_ref()
    }

    /// What it may do, in alphabetical order.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.scopes.iter().map(|scope| &**scope)
    }

    /// Whether it may do this.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scopes.contains(scope)
    }

    /// What it is, in alphabetical order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(|role| &**role)
    }

    /// Whether it is this.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.contains(role)
    }

    /// The values of one of its attributes. `None`: it is not known.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&[Arc<str>]> {
        self.0.attributes.get(name).map(|values| &**values)
    }

    /// Its attributes, in alphabetical order.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &[Arc<str>])> {
        let all = self.0.attributes.iter();
        all.map(|(name, values)| (&**name, &**values))
    }

    /// What it may use in what time. Empty: what everyone may.
    #[must_use]
    pub fn limits(&self) -> &Arc<[Limit]> {
        &self.0.limits
    }

    /// Under which name its own limits are counted. `None`: under its id alone.
    #[must_use]
    pub fn limited_as(&self) -> Option<&Arc<str>> {
        self.0.limited_as.as_ref().or(self.0.key_id.as_ref())
    }

    /// Whether it may use the model of this name.
    #[must_use]
    pub fn may_use_model(&self, name: &str) -> bool {
        let models = self.0.models.as_deref();
        models.is_none_or(|models| names(models, name))
    }

    /// Whether there are models that it may not use.
    #[cfg_attr(not(feature = "llm"), allow(dead_code))]
    pub(crate) fn is_held_to_models(&self) -> bool {
        self.0.models.is_some()
    }

    /// Whether it may use the route of this template.
    #[must_use]
    pub fn may_use_route(&self, template: &str) -> bool {
        let routes = self.0.routes.as_deref();
        routes.is_none_or(|routes| names(routes, template))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_restricted_is_allowed_and_an_empty_list_allows_nothing() {
        let all = Principal::new("alice");
        assert!(all.may_use_model("fast") && all.may_use_route("/a/{b}"));
        let none = all.with_models([""; 0]).with_routes([""; 0]);
        assert!(!none.may_use_model("fast") && !none.may_use_route("/a/{b}"));
    }

    #[test]
    fn an_attribute_that_is_too_large_is_not_known() {
        let of = |values: Vec<String>| {
            let before = Principal::new("alice").with_attribute("level", ["gold"]);
            let after = before.with_attribute("level", values);
            after.attribute("level").map(<[_]>::len)
        };
        assert_eq!(of(vec![]), Some(0));
        assert_eq!(of(vec!["a".repeat(256); 64]), Some(64));
        assert_eq!(of(vec!["a".into(); 65]), None);
        assert_eq!(of(vec!["a".repeat(257)]), None);
        let all = (0..40).fold(Principal::new("alice"), |who, nth| {
            who.with_attribute(format!("a{nth:02}"), ["x"])
        });
        assert_eq!(all.attributes().count(), 32);
        assert_eq!(all.attributes().last().unwrap().0, "a31");
    }

    #[test]
    fn a_star_stands_for_any_ending_and_for_nothing_else() {
        let some = Principal::new("alice").with_models(["fast", "claude-*"]);
        for (model, may) in [
            ("fast", true),
            ("faster", false),
            ("fas", false),
            ("claude-opus", true),
            ("Claude-opus", false),
            ("x-claude-opus", false),
        ] {
            assert_eq!(some.may_use_model(model), may, "{model}");
        }
    }
}
