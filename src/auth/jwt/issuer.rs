//! Whose tokens are taken, and which of them.

use super::{
    algorithm::Algorithm,
    binding::{self, Verified},
    claims::{Demand, Demands, Type},
    jwks::Jwks,
    mapping::{Mapping, Tenant},
    token::{Header, Reason},
};
use crate::auth::outward::InvalidUrl;
use serde_json::{Map, Value};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// One who issues tokens: its name, its keys, and what is asked of what it issues.
///
/// ```
/// use tower_gateway::auth::jwt::{Algorithm, Issuer};
/// use std::time::Duration;
///
/// let issuer = Issuer::discover("https://issuer.example/realms/acme")?
///     .audience("gateway")
///     .algorithms([Algorithm::ES256, Algorithm::RS256])
///     .max_lifetime(Duration::from_secs(3600))
///     .require_value("/email_verified", "true")
///     .roles("/realm_access/roles")
///     .tenant("/org");
/// # Ok::<_, tower_gateway::auth::jwt::InvalidUrl>(())
/// ```
///
/// A claim is named by its name, or by a JSON pointer (RFC 6901) if that begins with `/`.
#[derive(Clone, Debug)]
pub struct Issuer {
    pub(super) name: Box<str>,
    pub(super) keys: Jwks,
    algorithms: Vec<Algorithm>,
    demands: Demands,
    any_audience: bool,
    typ: Type,
    pub(super) mapping: Mapping,
}

impl Issuer {
    /// One whose tokens have this `iss`, letter by letter, and are signed by one of these keys. See
    /// [`Jwks`] for where they come from.
    ///
    /// A token must be for an [`audience`](Self::audience) that has yet to be named, and must expire. Clocks
    /// may differ by 60 seconds. The algorithms are all that are not symmetric; where the keys are symmetric,
    /// those that are.
    #[must_use]
    pub fn new(name: impl Into<Box<str>>, keys: impl Into<Jwks>) -> Self {
        let keys = keys.into();
        let algorithms = match keys.symmetric() {
            Some(true) => Algorithm::HMAC.into(),
            _ => Algorithm::ASYMMETRIC.into(),
        };
        Self {
            name: name.into(),
            keys,
            algorithms,
            demands: Demands::default(),
            any_audience: false,
            typ: Type::default(),
            mapping: Mapping::default(),
        }
    }

    /// One who says itself where its keys are, see [`Jwks::discover`].
    ///
    /// # Errors
    ///
    /// If its name is not an `https` URL, nor an `http` URL of this machine.
    pub fn discover(name: impl Into<Box<str>>) -> Result<Self, InvalidUrl> {
        let name = name.into();
        let keys = Jwks::discover(&name)?;
        Ok(Self::new(name, keys))
    }

    /// Adds one for whom tokens may be meant (`aud`). One of those that are added must be among a token's.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.demands.audiences.push(audience.into());
        self
    }

    /// Takes tokens that are meant for others too. Whoever gets a token of one of their callers can then
    /// be that caller here.
    #[must_use]
    pub fn any_audience(mut self) -> Self {
        self.any_audience = true;
        self
    }

    /// Sets by which algorithms a token may be signed.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Sets by how much clocks may differ. 60 seconds by default, 5 minutes at the most.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.demands.leeway = leeway.min(Duration::from_secs(5 * 60));
        self
    }

    /// Takes tokens that never expire.
    #[must_use]
    pub fn without_expiry(mut self) -> Self {
        self.demands.expiry = false;
        self
    }

    /// Sets how long a token may live, from `iat` to `exp`, both of which it then must have.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.demands.max_lifetime = Some(lifetime);
        self
    }

    /// Takes tokens of this `typ` only, such as `at+jwt` (RFC 9068). By default those without any, and
    /// `JWT` and `at+jwt`.
    #[must_use]
    pub fn typ(mut self, typ: impl Into<Box<str>>) -> Self {
        self.typ = Type::Only(typ.into());
        self
    }

    /// Takes tokens only that have this claim.
    #[must_use]
    pub fn require(self, claim: impl Into<Box<str>>) -> Self {
        self.demand(claim.into(), None)
    }

    /// Takes tokens only of which this claim is this string, number or boolean, or an array that holds it.
    #[must_use]
    pub fn require_value(self, claim: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.demand(claim.into(), Some(value.into()))
    }

    /// Takes tokens only that are bound to a certificate (`cnf` with `x5t#S256`, RFC 8705 section 3), so
    /// that one which was stolen is worth nothing. By default those that are not bound are taken too; one
    /// that is bound lets in by its certificate alone in any case.
    #[must_use]
    pub fn require_certificate(mut self) -> Self {
        self.demands.bound = true;
        self
    }

    fn demand(mut self, pointer: Box<str>, value: Option<Box<str>>) -> Self {
        self.demands.claims.push(Demand { pointer, value });
        self
    }

    /// Sets what stands before the names of principals, and of the teams and tenants that claims name. There
    /// is nothing by default; where there are several issuers each must have one, and none may begin as another
    /// does, so that nobody is taken for somebody of another issuer's. Set one also where an issuer is
    /// [not the only scheme](crate::auth#names-of-several-schemes).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.mapping.prefix = prefix.into();
        self
    }

    /// Sets which claim names the principal. `sub` by default. It must be a string that is not empty.
    #[must_use]
    pub fn subject(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.subject = Some(claim.into());
        self
    }

    /// Sets which claim holds the scopes: words in a string, or strings in an array. By default `scope`
    /// and `scp` together.
    #[must_use]
    pub fn scopes(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.scopes = Some(claim.into());
        self
    }

    /// Sets which claim holds the roles, likewise. None by default.
    #[must_use]
    pub fn roles(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.roles = Some(claim.into());
        self
    }

    /// Sets which claim holds the only models that a token may use, likewise: words in a string, or strings
    /// in an array, which may end in `*`. Every token must then have it. By default a token may use all.
    #[must_use]
    pub fn models(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.models = Some(claim.into());
        self
    }

    /// Sets which claim holds the only routes that a token may use, by their templates, as for
    /// [models](Self::models).
    #[must_use]
    pub fn routes(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.routes = Some(claim.into());
        self
    }

    /// Sets which claim names the team, which every token must then do. None by default. The
    /// [prefix](Self::prefix) stands before it.
    #[must_use]
    pub fn team(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.team = Some(claim.into());
        self
    }

    /// Sets which claim names the tenant, which every token must then do. None by default. The
    /// [prefix](Self::prefix) stands before it. For an issuer that you trust with all of its tenants, such as
    /// your own; of a customer's own issuer say [in which it is](Self::in_tenant).
    #[must_use]
    pub fn tenant(mut self, claim: impl Into<Box<str>>) -> Self {
        self.mapping.tenant = Some(Tenant::Claim(claim.into()));
        self
    }

    /// Sets the tenant to which all of the issuer's principals belong, whatever its tokens say. As it stands:
    /// there is no prefix before it. This and [`tenant`](Self::tenant) stand for one another.
    #[must_use]
    pub fn in_tenant(mut self, name: impl Into<Arc<str>>) -> Self {
        self.mapping.tenant = Some(Tenant::Is(name.into()));
        self
    }

    /// Keeps a claim as an [attribute](crate::Principal::attribute) of the principal, by this name: a string, a
    /// number or a boolean, or an array of these. A token without it, or with what is none of these, is good
    /// all the same, and its owner has no such attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<Box<str>>, claim: impl Into<Box<str>>) -> Self {
        self.mapping.attributes.push((name.into(), claim.into()));
        self
    }

    pub(super) fn permits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whose a token is that is signed by this issuer, and when it expires.
    pub(super) fn principal(
        &self,
        header: &Header,
        claims: &Map<String, Value>,
        now: f64,
    ) -> Result<(Verified, Option<f64>), Reason> {
        self.typ.check(header)?;
        binding::verified(&self.demands, &self.mapping, claims, now)
    }

    fn fault(&self) -> Option<Fault> {
        let symmetric = self
            .algorithms
            .iter()
            .filter(|it| it.is_symmetric())
            .count();
        let all = self.algorithms.len();
        // Either all of them are or none is, and so are the keys.
        let one_kind = all > 0 && (symmetric == 0 || symmetric == all);
        let fit = self
            .keys
            .symmetric()
            .is_none_or(|keys| keys == (symmetric > 0));
        if self.name.is_empty() {
            Some(Fault::Nameless)
        } else if self.demands.audiences.is_empty() && !self.any_audience {
            Some(Fault::NoAudience)
        } else if !one_kind || !fit {
            Some(Fault::Algorithms)
        } else {
            None
        }
    }
}

/// Tells what is wrong with several.
pub(super) fn check(issuers: &[Issuer]) -> Result<(), InvalidIssuers> {
    let mut faults = Vec::new();
    for (nth, issuer) in issuers.iter().enumerate() {
        let mut fault = |fault| faults.push((issuer.name.clone(), fault));
        if let Some(found) = issuer.fault() {
            fault(found);
        }
        let earlier = issuers.get(..nth).unwrap_or_default();
        if earlier.iter().any(|other| other.name == issuer.name) {
            fault(Fault::Twice);
        }
        let alike = |other: &Issuer| {
            let (one, other) = (&*issuer.mapping.prefix, &*other.mapping.prefix);
            one.starts_with(other) || other.starts_with(one)
        };
        if earlier.iter().any(alike) {
            fault(Fault::Prefix);
        }
    }
    if issuers.is_empty() {
        faults.push(("".into(), Fault::Nobody));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(InvalidIssuers(faults.into()))
    }
}

/// Issuers that do not do, and why.
#[derive(Clone, Debug)]
pub struct InvalidIssuers(Box<[(Box<str>, Fault)]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Nobody,
    Nameless,
    NoAudience,
    Algorithms,
    Twice,
    Prefix,
}

impl fmt::Display for InvalidIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (name, fault)) in self.0.iter().enumerate() {
            let what = match fault {
                Fault::Nobody => "there is no issuer",
                Fault::Nameless => "has no name",
                Fault::NoAudience => "must have an audience, or take any",
                Fault::Algorithms => "must have algorithms, and ones that its keys are for",
                Fault::Twice => "is there twice",
                Fault::Prefix => "must have a prefix that is not the beginning of another's",
            };
            let semicolon = if nth > 0 { "; " } else { "" };
            match fault {
                Fault::Nobody => write!(f, "{semicolon}{what}")?,
                _ => write!(f, "{semicolon}the issuer `{name}` {what}")?,
            }
        }
        Ok(())
    }
}

impl Error for InvalidIssuers {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwt::JwkSet;

    fn symmetric() -> JwkSet {
        JwkSet::from_secret(Algorithm::HS256, &[7; 32]).unwrap()
    }

    fn fine(name: &str) -> Issuer {
        Issuer::new(name, symmetric()).audience("gateway")
    }

    fn faults(issuers: &[Issuer]) -> Vec<Fault> {
        match check(issuers) {
            Ok(()) => Vec::new(),
            Err(faults) => faults.0.iter().map(|(_, fault)| *fault).collect(),
        }
    }

    #[test]
    fn what_is_wrong_with_issuers_is_told_at_once() {
        let remote = Jwks::url("https://a.example/jwks").unwrap();
        let remote = Issuer::new("a", remote).audience("gateway");
        assert_eq!(faults(&[fine("a")]), []);
        assert_eq!(faults(std::slice::from_ref(&remote)), []);
        assert_eq!(faults(&[]), [Fault::Nobody]);
        assert_eq!(faults(&[fine("")]), [Fault::Nameless]);
        assert_eq!(
            faults(&[Issuer::new("a", symmetric())]),
            [Fault::NoAudience]
        );
        assert_eq!(faults(&[Issuer::new("a", symmetric()).any_audience()]), []);
        for algorithms in [
            vec![],
            vec![Algorithm::HS256],
            vec![Algorithm::HS256, Algorithm::RS256],
        ] {
            let issuer = remote.clone().algorithms(algorithms);
            assert_eq!(faults(&[issuer]), [Fault::Algorithms]);
        }
        let issuer = fine("a").algorithms([Algorithm::RS256]);
        assert_eq!(faults(&[issuer]), [Fault::Algorithms]);
    }

    #[test]
    fn issuers_that_could_name_one_principal_are_refused() {
        let with = |name: &str, prefix: &str| fine(name).prefix(prefix);
        assert_eq!(faults(&[with("a", "a:"), with("b", "b:")]), []);
        assert_eq!(faults(&[with("a", "a:"), with("a", "b:")]), [Fault::Twice]);
        for (one, other) in [("", ""), ("", "b:"), ("a", "ab"), ("ab", "a")] {
            assert_eq!(faults(&[with("a", one), with("b", other)]), [Fault::Prefix]);
        }
        let told = check(&[with("a", ""), with("b", "")])
            .unwrap_err()
            .to_string();
        assert_eq!(
            told,
            "the issuer `b` must have a prefix that is not the beginning of another's"
        );
    }
}
