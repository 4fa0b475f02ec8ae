//! In whose name a call is made, and how much it weighs.
//!
//! ```
//! use http::Request;
//! use tower_gateway::key::{ByHeader, ByPrincipal, Key};
//!
//! // Named keys, closures, and pairs of them.
//! let key = (ByPrincipal, |req: &Request<()>| Some(req.uri().path().to_owned()));
//! assert_eq!(key.key(&Request::new(())), None, "nobody is logged in");
//!
//! let request = Request::builder().header("x-tenant", "acme").body(()).unwrap();
//! assert_eq!(ByHeader::new("x-tenant").key(&request).as_deref(), Some("acme"));
//! ```
//!
//! # Keys of several parts
//!
//! | part | says |
//! |---|---|
//! | [`ByPrincipal`] | who calls; [`ByTeam`] and [`ByTenant`] for whom |
//! | [`ByRoute`] | by which route: around the services of a router |
//! | [`ByClientAddr`](crate::client_addr::ByClientAddr) | from where: IPv4 whole, IPv6 by its /64, or another prefix |
//! | [`ByHeader`] | what a header says |
//! | [`ByModel`](crate::llm::ByModel) | which model is asked: around a model |
//! | a closure | anything else |
//!
//! A tuple of up to six is one key. Its parts are kept apart, whatever is in them: `("a", "bc")` is
//! another name than `("ab", "c")`.
//!
//! A call that lacks a part has no key, and the policy says what then (a limiter:
//! [`OnMissingKey`](crate::rate_limit::OnMissingKey)). [`Optional`] makes one name of all calls that
//! lack the part, and [`FirstOf`] looks for another part in its place.
//!
//! ```
//! use http::Request;
//! use tower_gateway::{Principal, key::{ByHeader, ByPrincipal, ByTenant, FirstOf, Key, Optional}};
//!
//! let app = || ByHeader::new("x-app");
//! let mut request = Request::builder().header("x-app", "mobile").body(()).unwrap();
//! assert!((ByTenant, app()).key(&request).is_none(), "no tenant, no key");
//! assert!((Optional(ByTenant), app()).key(&request).is_some(), "no tenant is one of the tenants");
//!
//! let who = FirstOf(ByPrincipal, app());
//! let app = who.key(&request).unwrap();
//! request.extensions_mut().insert(Principal::new("mobile"));
//! assert_ne!(who.key(&request).unwrap(), app, "a principal of the app's name");
//! ```

use crate::{
    Exchange,
    principal::{Extensible, Limit, Principal},
};
use http::HeaderName;
use std::{hash::Hash, sync::Arc};

/// In whose name a call is made. `None`: it has no such name, and the policy says what then.
///
/// Closures `Fn(&Req) -> Option<K>` and pairs of keys implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name the caller of a `{Req}`",
    note = "a closure must name its argument's type and own what it returns: `.key(|req: &{Req}| Some(req…to_owned()))`"
)]
pub trait Key<Req> {
    /// What names are made of. Policies keep a hash of it, never the name.
    type Key: Hash + Eq + Clone + Send + Sync + 'static;

    /// The name.
    fn key(&self, req: &Req) -> Option<Self::Key>;

    /// What is granted under this name in the place of what everyone is granted. `None`: nothing else.
    ///
    /// [`ByPrincipal`] finds it in the [`Principal`], [`WithLimits`] by a closure. Of a tuple the first
    /// part that has limits is asked.
    fn limits(&self, _req: &Req) -> Option<Arc<[Limit]>> {
        None
    }
}

impl<Req, K, F> Key<Req> for F
where
    F: Fn(&Req) -> Option<K>,
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    type Key = K;

    fn key(&self, req: &Req) -> Option<K> {
        self(req)
    }
}

macro_rules! tuples {
    ($(($($part:ident $at:tt)*))*) => {
        $(impl<Req, $($part: Key<Req>),*> Key<Req> for ($($part,)*) {
            type Key = ($($part::Key,)*);

            fn key(&self, req: &Req) -> Option<Self::Key> {
                Some(($(self.$at.key(req)?,)*))
            }

            fn limits(&self, req: &Req) -> Option<Arc<[Limit]>> {
                None$(.or_else(|| self.$at.limits(req)))*
            }
        })*
    };
}

tuples! {
    (A 0 B 1)
    (A 0 B 1 C 2)
    (A 0 B 1 C 2 D 3)
    (A 0 B 1 C 2 D 3 E 4)
    (A 0 B 1 C 2 D 3 E 4 F 5)
}

/// A part that may be missing: all calls without it have one name, which is nobody else's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Optional<K>(pub K);

impl<Req, K: Key<Req>> Key<Req> for Optional<K> {
    type Key = Option<K::Key>;

    fn key(&self, req: &Req) -> Option<Self::Key> {
        Some(self.0.key(req))
    }

    fn limits(&self, req: &Req) -> Option<Arc<[Limit]>> {
        self.0.limits(req)
    }
}

/// A part, and another one for calls that lack it. No name of the one is a name of the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstOf<A, B>(pub A, pub B);

/// A name by one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Either<A, B> {
    /// By the first.
    First(A),
    /// By the second, where the first knew none.
    Second(B),
}

impl<Req, A: Key<Req>, B: Key<Req>> Key<Req> for FirstOf<A, B> {
    type Key = Either<A::Key, B::Key>;

    fn key(&self, req: &Req) -> Option<Self::Key> {
        let first = self.0.key(req).map(Either::First);
        first.or_else(|| self.1.key(req).map(Either::Second))
    }

    fn limits(&self, req: &Req) -> Option<Arc<[Limit]>> {
        match self.key(req)? {
            Either::First(_) => self.0.limits(req),
            Either::Second(_) => self.1.limits(req),
        }
    }
}

/// A key, and a closure `Fn(&Req) -> Option<Arc<[Limit]>>` that knows what is granted under it. Where it
/// knows nothing, what the key says holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct WithLimits<K, F>(pub K, pub F);

impl<Req, K, F> Key<Req> for WithLimits<K, F>
where
    K: Key<Req>,
    F: Fn(&Req) -> Option<Arc<[Limit]>>,
{
    type Key = K::Key;

    fn key(&self, req: &Req) -> Option<Self::Key> {
        self.0.key(req)
    }

    fn limits(&self, req: &Req) -> Option<Arc<[Limit]>> {
        (self.1)(req).or_else(|| self.0.limits(req))
    }
}

/// One name for all calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Global;

impl<Req> Key<Req> for Global {
    type Key = ();

    fn key(&self, _: &Req) -> Option<()> {
        Some(())
    }
}

/// The principal that authentication found, with its tenant: of two tenants' principals of one id,
/// neither uses up what is the other's.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByPrincipal;

impl<Req: Extensible> Key<Req> for ByPrincipal {
    /// The tenant and the id.
    type Key = (Option<Arc<str>>, Arc<str>);

    fn key(&self, req: &Req) -> Option<Self::Key> {
        let principal = Principal::of(req)?;
        Some((principal.tenant().cloned(), principal.id().clone()))
    }

    fn limits(&self, req: &Req) -> Option<Arc<[Limit]>> {
        let limits = Principal::of(req)?.limits();
        (!limits.is_empty()).then(|| limits.clone())
    }
}

/// The team of the principal, with its tenant. There is none if the principal has no team.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTeam;

impl<Req: Extensible> Key<Req> for ByTeam {
    /// The tenant and the team.
    type Key = (Option<Arc<str>>, Arc<str>);

    fn key(&self, req: &Req) -> Option<Self::Key> {
        let principal = Principal::of(req)?;
        Some((principal.tenant().cloned(), principal.team()?.clone()))
    }
}

/// The tenant of the principal. There is none if the principal has no tenant.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTenant;

impl<Req: Extensible> Key<Req> for ByTenant {
    type Key = Arc<str>;

    fn key(&self, req: &Req) -> Option<Arc<str>> {
        Principal::of(req)?.tenant().cloned()
    }
}

/// The template of the route, such as `/users/{id}`, never the path. A router knows it: there is none
/// further out, and none without an [`Exchange`] around the router.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRoute;

impl<Req: Extensible> Key<Req> for ByRoute {
    type Key = Arc<str>;

    fn key(&self, req: &Req) -> Option<Arc<str>> {
        Exchange::of(req)?.read(|facts| facts.route.clone())
    }
}

/// The value of one header. There is none if it stands in two lines, of which others may read the
/// other one. Whoever can send the header can choose its name: trust who sends it.
#[derive(Clone, Debug)]
pub struct ByHeader(HeaderName);

impl ByHeader {
    /// Takes the name from this header.
    ///
    /// # Panics
    ///
    /// If `name` is not the name of a header, in lower case. It is known when the program is
    /// written.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self(HeaderName::from_static(name))
    }
}

impl<Req: Extensible> Key<Req> for ByHeader {
    type Key = Box<str>;

    fn key(&self, req: &Req) -> Option<Box<str>> {
        let mut lines = req.headers().get_all(&self.0).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Some(line.to_str().ok()?.into()),
            _ => None,
        }
    }
}

/// How much a call weighs, in the unit of the policy that asks.
///
/// Closures `Fn(&Req) -> u64` implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot weigh a `{Req}`",
    note = "a closure must name its argument's type: `.cost(|req: &{Req}| 1)`"
)]
pub trait Cost<Req> {
    /// The weight.
    fn cost(&self, req: &Req) -> u64;
}

impl<Req, F: Fn(&Req) -> u64> Cost<Req> for F {
    fn cost(&self, req: &Req) -> u64 {
        self(req)
    }
}

/// Every call weighs one.
#[derive(Clone, Copy, Debug, Default)]
pub struct One;

impl<Req> Cost<Req> for One {
    fn cost(&self, _: &Req) -> u64 {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn principals_of_two_tenants_share_no_name() {
        let key = |principal: Principal| {
            let mut request = Request::new(());
            request.extensions_mut().insert(principal);
            ByPrincipal.key(&request).unwrap()
        };
        let alice = || Principal::new("alice");
        assert_eq!(key(alice()), key(alice()));
        let acme = key(alice().with_tenant("acme"));
        assert_eq!(acme, key(alice().with_tenant("acme")));
        assert_ne!(acme, key(alice().with_tenant("other")));
        assert_ne!(acme, key(alice()));
    }

    #[test]
    fn a_header_of_two_lines_names_nobody() {
        let request = Request::builder().header("x-tenant", "acme");
        let twice = request.header("x-tenant", "other").body(()).unwrap();
        assert_eq!(ByHeader::new("x-tenant").key(&twice), None);
    }

    #[test]
    fn teams_and_routes_and_what_they_lack() {
        let mut request = Request::new(());
        assert_eq!(ByRoute.key(&request), None);
        Exchange::enter(&mut request).update(|facts| facts.route = Some("/users/{id}".into()));
        assert_eq!(ByRoute.key(&request).as_deref(), Some("/users/{id}"));
        let alice = Principal::new("alice").with_tenant("acme");
        request.extensions_mut().insert(alice.clone());
        assert_eq!(ByTeam.key(&request), None);
        assert_eq!(ByTenant.key(&request).as_deref(), Some("acme"));
        let both = (ByTenant, ByTeam, ByRoute);
        assert_eq!(both.key(&request), None);
        assert!(
            (ByTenant, Optional(ByTeam), ByRoute)
                .key(&request)
                .is_some()
        );
        request.extensions_mut().insert(alice.with_team("red"));
        assert!(both.key(&request).is_some());
    }

    #[test]
    fn the_first_part_that_has_limits_is_asked() {
        let limit = |name: &str| Limit::new(name, 1, std::time::Duration::from_secs(1));
        let all = |name: &str| Some(Arc::from([limit(name)]));
        let mut request = Request::new(());
        let alice = Principal::new("alice").with_limits([limit("hers")]);
        request.extensions_mut().insert(alice);
        let team = WithLimits(Global, move |_: &Request<()>| all("its team's"));
        let none = WithLimits(ByPrincipal, |_: &Request<()>| None);
        assert_eq!((Global, ByPrincipal).limits(&request), all("hers"));
        assert_eq!((team, ByPrincipal).limits(&request), all("its team's"));
        assert_eq!((ByTenant, none, team).limits(&request), all("hers"));
        assert_eq!(FirstOf(ByTenant, ByPrincipal).limits(&request), all("hers"));
        assert_eq!(FirstOf(Global, ByPrincipal).limits(&request), None);
    }
}
