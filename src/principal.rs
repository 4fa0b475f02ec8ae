//! Who calls, and where requests and answers carry such things.

use http::{Extensions, HeaderMap};
use std::{collections::BTreeSet, sync::Arc};

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
}
