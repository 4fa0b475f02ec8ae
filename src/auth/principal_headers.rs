//! Telling a service who calls, in headers.

use crate::{
    Extensible, Principal,
    admit::{Edit, Edited},
    identity::{self, Vouched},
};
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use tower_layer::Layer;

/// What is told of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Id,
    KeyId,
    Team,
    Tenant,
    Scopes,
    Roles,
}

impl Fact {
    fn of(self, principal: &Principal) -> Option<HeaderValue> {
        let text = |text: &Arc<str>| identity::told(text);
        let all = |value: HeaderValue| (!value.is_empty()).then_some(value);
        match self {
            Self::Id => Some(text(principal.id())),
            Self::KeyId => principal.key_id().map(text),
            Self::Team => principal.team().map(text),
            Self::Tenant => principal.tenant().map(text),
            Self::Scopes => all(identity::told_all(principal.scopes())),
            Self::Roles => all(identity::told_all(principal.roles())),
        }
    }
}

/// Applies [`PrincipalHeaders`] to a service: writes who calls into headers, behind a layer that found out.
///
/// ```
/// use axum::{Router, http::HeaderMap, routing::get};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_gateway::auth::{ApiKeys, AuthLayer, PrincipalHeadersLayer};
/// # use axum::{body::Body, http::Request};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let keys = ApiKeys::new().add("alice", "the key that alice has");
/// let app: Router = Router::new()
///     .route("/", get(async |headers: HeaderMap| headers["x-user-id"].to_str().unwrap().to_owned()))
///     .layer(
///         ServiceBuilder::new()
///             .layer(AuthLayer::new(keys))
///             .layer(PrincipalHeadersLayer::new().id("x-user-id").scopes("x-user-scopes")),
///     );
///
/// let request = Request::get("/")
///     .header("authorization", "Bearer the key that alice has")
///     .header("x-user-id", "admin")
///     .body(Body::empty())
///     .unwrap();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(tower_gateway::collect(response.into_body(), 100).await.unwrap(), "alice");
/// # }
/// ```
///
/// What callers send under these names is taken out of every request, with `_` for `-` too, also where
/// nobody is logged in and where the principal has no such fact: then the header is not there. A
/// [`Proxy`](https://docs.rs/tower-gateway/latest/tower_gateway/proxy/struct.Proxy.html) further in passes
/// them on, and callers cannot have it drop them by `Connection`: the layer [vouches](Vouched) for them.
///
/// Names come from issuers, and may hold anything. In a header they are printable ASCII: all else, spaces
/// and `%` are escaped as in a URI (`%0D%0A`), so that no name breaks out of its header, and no two become
/// one. Scopes and roles stand in one header each, in alphabetical order, with a space between them.
#[derive(Clone, Debug)]
#[must_use]
pub struct PrincipalHeadersLayer {
    told: Arc<[(HeaderName, Fact)]>,
    vouched: Vouched,
}

impl PrincipalHeadersLayer {
    /// Tells nothing yet.
    pub fn new() -> Self {
        Self {
            told: Arc::default(),
            vouched: Vouched::new([]),
        }
    }

    /// Tells the [name](Principal::id).
    ///
    /// # Panics
    ///
    /// If `name` is not the name of a header, in lower case. It is known when the program is written.
    pub fn id(self, name: &'static str) -> Self {
        self.with(name, Fact::Id)
    }

    /// Tells the name of the [credential](Principal::key_id).
    ///
    /// # Panics
    ///
    /// As [`id`](Self::id).
    pub fn key_id(self, name: &'static str) -> Self {
        self.with(name, Fact::KeyId)
    }

    /// Tells the [team](Principal::team).
    ///
    /// # Panics
    ///
    /// As [`id`](Self::id).
    pub fn team(self, name: &'static str) -> Self {
        self.with(name, Fact::Team)
    }

    /// Tells the [tenant](Principal::tenant).
    ///
    /// # Panics
    ///
    /// As [`id`](Self::id).
    pub fn tenant(self, name: &'static str) -> Self {
        self.with(name, Fact::Tenant)
    }

    /// Tells the [scopes](Principal::scopes).
    ///
    /// # Panics
    ///
    /// As [`id`](Self::id).
    pub fn scopes(self, name: &'static str) -> Self {
        self.with(name, Fact::Scopes)
    }

    /// Tells the [roles](Principal::roles).
    ///
    /// # Panics
    ///
    /// As [`id`](Self::id).
    pub fn roles(self, name: &'static str) -> Self {
        self.with(name, Fact::Roles)
    }

    fn with(self, name: &'static str, fact: Fact) -> Self {
        let name = HeaderName::from_static(name);
        let others = self.told.iter().filter(|(other, _)| *other != name);
        let told: Arc<[_]> = others.cloned().chain([(name.clone(), fact)]).collect();
        let vouched = Vouched::new(told.iter().map(|(name, _)| name.clone()));
        Self { told, vouched }
    }

    fn write(&self, req: &mut impl Extensible) {
        identity::remove(req.headers_mut(), self.vouched.names());
        if let Some(principal) = Principal::of(req).cloned() {
            for (name, fact) in &*self.told {
                if let Some(value) = fact.of(&principal) {
                    req.headers_mut().insert(name, value);
                }
            }
        }
        self.vouched.add(req);
    }
}

impl Default for PrincipalHeadersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for PrincipalHeadersLayer {
    type Service = PrincipalHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edited::new(inner, self.clone())
    }
}

impl<Req: Extensible> Edit<Req> for PrincipalHeadersLayer {
    fn edit(&self, req: &mut Req) {
        self.write(req);
    }
}

/// Tells who calls, in headers.
///
/// See [`PrincipalHeadersLayer`].
pub type PrincipalHeaders<S> = Edited<S, PrincipalHeadersLayer>;

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn told(layer: &PrincipalHeadersLayer, principal: Option<Principal>) -> Request<()> {
        let mut request = Request::builder()
            .header("x-user-id", "admin")
            .header("x_user_id", "admin")
            .header("x-roles", "admin")
            .header("x-other", "stays")
            .body(())
            .unwrap();
        request.extensions_mut().extend({
            let mut extensions = http::Extensions::new();
            principal.map(|principal| extensions.insert(principal));
            extensions
        });
        layer.write(&mut request);
        request
    }

    #[test]
    fn abuse_5_10_only_what_was_found_out_is_told() {
        let layer = PrincipalHeadersLayer::new()
            .id("x-user-id")
            .team("x-team")
            .roles("x-roles");
        let nobody = told(&layer, None);
        assert_eq!(nobody.headers().len(), 1, "{:?}", nobody.headers());
        let alice = Principal::new("alice\r\nx-admin: 1").with_roles(["ops", "on call"]);
        let request = told(&layer, Some(alice));
        assert_eq!(
            request.headers()["x-user-id"],
            "alice%0D%0Ax-admin:%201",
            "in one line"
        );
        assert_eq!(request.headers()["x-roles"], "on%20call ops");
        assert_eq!(request.headers().len(), 3);
        assert_eq!(Vouched::of(&request).unwrap().names().len(), 3);
    }
}
