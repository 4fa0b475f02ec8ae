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

use crate::principal::{Extensible, Principal};
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

impl<Req, A: Key<Req>, B: Key<Req>> Key<Req> for (A, B) {
    type Key = (A::Key, B::Key);

    fn key(&self, req: &Req) -> Option<Self::Key> {
        Some((self.0.key(req)?, self.1.key(req)?))
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
}
