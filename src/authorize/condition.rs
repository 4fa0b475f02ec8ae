//! What a rule asks of a call.

#[cfg(feature = "cel")]
use super::Expression;
use super::{Asked, Window, asked::Model};
use crate::{Principal, identity, principal::names};
use http::{HeaderName, Method};
use ipnet::IpNet;
use std::{fmt, net::IpAddr, sync::Arc};

/// What a condition says of a call. Of several the greatest is what all of them say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    Yes,
    /// It cannot be evaluated.
    Unknown,
    /// It can be as soon as the model is known.
    Later,
    No,
}

impl From<bool> for Truth {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<Option<bool>> for Truth {
    fn from(answer: Option<bool>) -> Self {
        answer.map_or(Self::Unknown, Self::from)
    }
}

pub(super) type Names = Box<[Arc<str>]>;
pub(super) type When = Arc<dyn Fn(&Asked<'_>) -> Option<bool> + Send + Sync>;
pub(super) type WhenModel = Arc<dyn Fn(&Asked<'_>, &str) -> Option<bool> + Send + Sync>;

#[derive(Clone)]
pub(super) enum Condition {
    Roles(Names),
    AllScopes(Names),
    AnyScope(Names),
    Principals(Names),
    Teams(Names),
    Tenants(Names),
    Attribute(Arc<str>, Names),
    Methods(Box<[Method]>),
    Routes(Names),
    Models(Names),
    Prompts(Names),
    Header(HeaderName, Text),
    Clients(Box<[IpNet]>),
    Time(Box<[Window]>),
    When(When),
    WhenModel(WhenModel),
    #[cfg(feature = "cel")]
    Expression(Expression),
}

/// What is asked of the lines of a header.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Present,
    Equals(Names),
    Prefix(Names),
}

impl Condition {
    /// What it says. A rule that denies takes a model by any of its names.
    pub(super) fn holds(&self, asked: &Asked<'_>, denies: bool) -> Truth {
        match self {
            Self::Roles(roles) => of(asked, |who| any(roles, |role| who.has_role(role))),
            Self::AllScopes(all) => of(asked, |who| {
                !all.is_empty() && all.iter().all(|scope| who.has_scope(scope))
            }),
            Self::AnyScope(some) => of(asked, |who| any(some, |scope| who.has_scope(scope))),
            Self::Principals(ids) => of(asked, |who| any(ids, |id| **id == **who.id())),
            Self::Teams(teams) => of(asked, |who| {
                who.team()
                    .is_some_and(|own| any(teams, |team| **team == **own))
            }),
            Self::Tenants(tenants) => of(asked, |who| {
                who.tenant()
                    .is_some_and(|own| any(tenants, |tenant| **tenant == **own))
            }),
            Self::Attribute(name, values) => {
                let own = asked.principal().and_then(|who| who.attribute(name));
                own.map(|own| own.iter().any(|own| any(values, |value| **value == **own)))
                    .into()
            }
            Self::Methods(methods) => method(methods, asked.method()),
            Self::Routes(routes) => asked.route().map(|route| names(routes, route)).into(),
            Self::Models(models) => match asked.model {
                Model::Unknown => Truth::Unknown,
                Model::Later => Truth::Later,
                Model::Named(model) if denies => models.iter().any(|it| alias(it, model)).into(),
                Model::Named(model) => names(models, model).into(),
            },
            Self::Prompts(prompts) => match asked.prompt() {
                Some(prompt) => names(prompts, prompt).into(),
                None if asked.calls_no_prompt() => Truth::No,
                None if asked.model == Model::Later => Truth::Later,
                None => Truth::Unknown,
            },
            Self::Header(name, text) => header(asked, name, text),
            Self::Clients(networks) => asked
                .client()
                .map(|client: IpAddr| networks.iter().any(|network| network.contains(&client)))
                .into(),
            Self::Time(windows) => {
                let within = |window: &Window| asked.now().and_then(|now| window.holds(now));
                // All of them know the time, or none.
                windows
                    .iter()
                    .map(within)
                    .try_fold(false, |any, one| Some(any || one?))
                    .into()
            }
            Self::When(closure) => closure(asked).into(),
            Self::WhenModel(closure) => match asked.model {
                Model::Unknown => Truth::Unknown,
                Model::Later => Truth::Later,
                Model::Named(model) => closure(asked, model).into(),
            },
            #[cfg(feature = "cel")]
            Self::Expression(expression) => match asked.model {
                Model::Later if expression.reads_model() => Truth::Later,
                _ => expression.evaluate(asked).into(),
            },
        }
    }

    /// The scopes that it asks for, if it asks for nothing else.
    pub(super) fn scopes(&self) -> Option<&[Arc<str>]> {
        match self {
            Self::AllScopes(all) => Some(all),
            // One of them will do.
            Self::AnyScope(some) => some.get(..1),
            _ => None,
        }
    }

    pub(super) fn reads_time(&self) -> bool {
        match self {
            Self::Time(_) | Self::When(_) | Self::WhenModel(_) => true,
            #[cfg(feature = "cel")]
            Self::Expression(expression) => expression.reads_now(),
            _ => false,
        }
    }

    /// Whether it may say another thing of another route or method.
    pub(super) fn reads_route(&self) -> bool {
        match self {
            Self::Routes(_) | Self::Methods(_) | Self::When(_) | Self::WhenModel(_) => true,
            #[cfg(feature = "cel")]
            Self::Expression(expression) => expression.reads_request(),
            _ => false,
        }
    }
}

fn any(names: &[Arc<str>], is: impl Fn(&Arc<str>) -> bool) -> bool {
    names.iter().any(is)
}

/// Without a principal nothing is known of it.
fn of(asked: &Asked<'_>, is: impl FnOnce(&Principal) -> bool) -> Truth {
    asked.principal().map(is).into()
}

/// `HEAD` is `GET` without a body. A method that differs in case only is none that was named, and some
/// servers take it for that.
fn method(methods: &[Method], asked: Option<&Method>) -> Truth {
    let Some(asked) = asked else {
        return Truth::Unknown;
    };
    let is = |method: &Method| method == asked || *asked == Method::HEAD && *method == Method::GET;
    let like = |method: &Method| method.as_str().eq_ignore_ascii_case(asked.as_str());
    if methods.iter().any(is) {
        Truth::Yes
    } else if methods.iter().any(like) {
        Truth::Unknown
    } else {
        Truth::No
    }
}

/// Whether a pattern fits a model, in any case of letters, or what stands behind the name of a vendor.
fn alias(pattern: &str, model: &str) -> bool {
    let fits = |name: &str| match pattern.strip_suffix('*') {
        Some(start) => name
            .get(..start.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(start)),
        None => name.eq_ignore_ascii_case(pattern),
    };
    let behind = model.match_indices('/').map(|(at, _)| &model[at + 1..]);
    fits(model) || behind.into_iter().any(fits)
}

/// Every line counts, and every item of a list: where some fit and others do not, whoever reads it further
/// in may read the one or the other.
fn header(asked: &Asked<'_>, name: &HeaderName, text: &Text) -> Truth {
    type Fits = fn(&[u8], &[u8]) -> bool;
    let lines = asked.headers().get_all(name);
    // Some servers take the one for the other.
    let like = |other: &HeaderName| other != name && identity::alike(other.as_str(), name.as_str());
    let disguised = asked.headers().keys().any(like);
    let (values, is): (_, Fits) = match text {
        Text::Present if disguised && lines.iter().next().is_none() => return Truth::Unknown,
        Text::Present => return lines.iter().next().is_some().into(),
        Text::Equals(values) => (values, |own, value| own == value),
        Text::Prefix(values) => (values, <[u8]>::starts_with),
    };
    let whole = matches!(text, Text::Equals(_));
    let fits = |own: &[u8]| any(values, |value| is(own, value.as_bytes()));
    if disguised {
        return Truth::Unknown;
    }
    let (mut some, mut others) = (false, false);
    for line in lines {
        let line = line.as_bytes();
        if whole && fits(line.trim_ascii()) {
            some = true;
            continue;
        }
        for item in line.split(|byte| *byte == b',') {
            if fits(item.trim_ascii()) {
                some = true;
            } else {
                others = true;
            }
        }
    }
    match (some, others) {
        (true, false) => Truth::Yes,
        (true, true) => Truth::Unknown,
        (false, _) => Truth::No,
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, values): (&str, &dyn fmt::Debug) = match self {
            Self::Roles(names) => ("Roles", names),
            Self::AllScopes(names) => ("AllScopes", names),
            Self::AnyScope(names) => ("AnyScope", names),
            Self::Principals(names) => ("Principals", names),
            Self::Teams(names) => ("Teams", names),
            Self::Tenants(names) => ("Tenants", names),
            Self::Attribute(name, values) => {
                return f
                    .debug_tuple("Attribute")
                    .field(name)
                    .field(values)
                    .finish();
            }
            Self::Methods(methods) => ("Methods", methods),
            Self::Routes(names) => ("Routes", names),
            Self::Models(names) => ("Models", names),
            Self::Prompts(names) => ("Prompts", names),
            // Its values may be secrets.
            Self::Header(name, _) => ("Header", name),
            Self::Clients(networks) => ("Clients", networks),
            Self::Time(windows) => ("Time", windows),
            Self::When(_) => ("When", &"closure"),
            Self::WhenModel(_) => ("WhenModel", &"closure"),
            #[cfg(feature = "cel")]
            Self::Expression(expression) => ("Expression", expression),
        };
        f.debug_tuple(name).field(values).finish()
    }
}
