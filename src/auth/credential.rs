//! Where in a request a key may stand, and what is found there.

use super::{
    certificate::{Certificate, Thumbprint},
    key::LONGEST,
};
use crate::{Extensible, Rejection, identity, rejection::Kind};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};
use std::fmt;

/// Where a key may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Where);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Where {
    Scheme(Box<str>),
    Header(HeaderName),
}

impl Place {
    /// `Authorization: Bearer …` (RFC 6750).
    #[must_use]
    pub fn bearer() -> Self {
        Self::scheme("Bearer")
    }

    /// `Authorization` under a scheme of this name, in upper or lower case.
    #[must_use]
    pub fn scheme(name: impl Into<Box<str>>) -> Self {
        Self(Where::Scheme(name.into()))
    }

    /// A header that holds the key and nothing else, such as `x-api-key`. A gateway takes some out before,
    /// such as `x-auth-token`: there [`keep_headers`](https://docs.rs/tower-gateway/latest/tower_gateway/gateway/struct.GatewayBuilder.html#method.keep_headers)
    /// keeps it.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self(Where::Header(name))
    }
}

/// A key as it was sent. It has not been looked at.
pub struct Credential {
    value: HeaderValue,
    /// Where the key begins, behind the scheme.
    from: usize,
    /// By which the client came that shows it.
    pub(super) certificate: Option<Certificate>,
}

impl Credential {
    /// The key. Take care where it goes: look up its hash, never itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.value.as_bytes().get(self.from..).unwrap_or_default()
    }

    /// Which certificate the client has shown that came with it: the one of its connection, or what a
    /// [`ClientCertLayer`](super::client_cert::ClientCertLayer) further out has heard of it.
    #[must_use]
    pub fn certificate(&self) -> Option<Thumbprint> {
        self.certificate.as_ref().map(Certificate::thumbprint)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// The places of one layer.
#[derive(Clone, Debug)]
pub(super) struct Places {
    schemes: Vec<Box<str>>,
    /// All headers that are looked at, `Authorization` among them if there are schemes.
    headers: Vec<HeaderName>,
}

impl Places {
    pub(super) fn new(places: impl IntoIterator<Item = Place>) -> Self {
        let mut this = Self {
            schemes: Vec::new(),
            headers: Vec::new(),
        };
        for Place(place) in places {
            let name = match place {
                Where::Scheme(scheme) => {
                    this.schemes.push(scheme);
                    header::AUTHORIZATION
                }
                Where::Header(name) => name,
            };
            if !this.headers.contains(&name) {
                this.headers.push(name);
            }
        }
        this
    }

    /// The scheme that a challenge names.
    pub(super) fn scheme(&self) -> &str {
        self.schemes.first().map_or("ApiKey", |scheme| scheme)
    }

    /// Finds the key of a request, and by default takes it out.
    pub(super) fn find(
        &self,
        headers: &mut HeaderMap,
        keep: bool,
    ) -> Result<Option<Credential>, Rejection> {
        // To look at the few headers that there are costs less than to ask for each place.
        let mut values = headers.keys().filter(|name| self.headers.contains(name));
        let (name, other) = (values.next(), values.next());
        let Some(name) = name else {
            return Ok(None);
        };
        if other.is_some() {
            return Err(malformed("More than one credential was given."));
        }
        let Some(name) = self.headers.iter().find(|place| *place == name) else {
            return Ok(None);
        };
        let Entry::Occupied(mut found) = headers.entry(name) else {
            return Ok(None);
        };
        if found.iter().nth(1).is_some() {
            return Err(malformed("More than one credential was given."));
        }
        found.get_mut().set_sensitive(true);
        let value = if keep {
            found.get().clone()
        } else {
            found.remove()
        };
        let from = if *name == header::AUTHORIZATION && !self.schemes.is_empty() {
            self.after_scheme(value.as_bytes())?
        } else {
            0
        };
        let credential = Credential {
            value,
            from,
            certificate: None,
        };
        match credential.expose().len() {
            0 => Err(malformed("The credential is empty.")),
            1..=LONGEST => Ok(Some(credential)),
            _ => Err(malformed("The credential is too long.")),
        }
    }

    /// Takes out the headers in which a caller claims to be someone, and what some servers take for a
    /// place of a key. A place itself stays, for what stands there was looked at.
    pub(super) fn strip_claims(&self, req: &mut impl Extensible) {
        identity::strip(req, |name| self.headers.contains(name));
        let alias = |name: &HeaderName| {
            let name = name.as_str();
            let mut places = self.headers.iter();
            name.contains('_') && places.any(|place| identity::alike(place.as_str(), name))
        };
        let alias = |name: &HeaderName| alias(name) && !self.headers.contains(name);
        identity::remove_where(req.headers_mut(), alias);
    }

    /// Where the key begins in `Bearer key`.
    fn after_scheme(&self, value: &[u8]) -> Result<usize, Rejection> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let end = value.iter().position(blank).unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end);
        let known = |known: &str| known.as_bytes().eq_ignore_ascii_case(scheme);
        if self.schemes.iter().any(|scheme| known(scheme)) {
            let blanks = rest.iter().take_while(|byte| blank(byte)).count();
            Ok(end + blanks)
        } else if rest.is_empty() {
            Err(malformed("The Authorization header has no scheme."))
        } else {
            // As if there were none (RFC 6750 §3.1), except that it is never taken for nobody.
            Err(Rejection::new(Kind::Unauthenticated)
                .with_detail("No credentials of a supported scheme were given."))
        }
    }
}

pub(super) fn malformed(detail: &'static str) -> Rejection {
    Rejection::new(Kind::InvalidRequest).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::super::{ApiKeys, AuthLayer, rules::Rules};
    use super::*;
    use crate::Principal;
    use http::Request;

    const CLAIMS: [&str; 8] = [
        "x-user-id",
        "X-Auth-Request-Email",
        "x-consumer-username",
        "x-gateway-principal",
        "x_user_id",
        "x-auth_user",
        "x-user",
        "x-internal",
    ];

    fn sent(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn claimed(rules: &Rules, key: &[(&str, &str)]) -> HeaderMap {
        let claims = CLAIMS.map(|name| (name, "admin"));
        let others = ["x-userid", "x-use", "user-agent"].map(|name| (name, "other"));
        let mut request = sent(&[&claims[..], &others, key].concat());
        assert_eq!(
            rules.credential(&mut request).unwrap().is_some(),
            !key.is_empty()
        );
        request.headers().clone()
    }

    #[test]
    fn headers_in_which_a_caller_claims_to_be_someone_go_no_further() {
        let layer = AuthLayer::new(ApiKeys::new());
        let key = &[("x-api-key", "the key")][..];
        for (layer, key, left) in [
            (layer.clone(), key, 3),
            (layer.clone().keep_credentials(), key, 4),
            (layer.optional(), &[][..], 3),
        ] {
            let headers = claimed(&layer.rules, key);
            assert!(!CLAIMS.iter().any(|name| headers.contains_key(*name)));
            assert_eq!(headers.len(), left, "{headers:?}");
        }
    }

    #[test]
    fn a_place_for_a_key_is_no_claim() {
        let place = Place::header(HeaderName::from_static("x-auth-token"));
        let layer = AuthLayer::new(ApiKeys::new()).places([place]);
        let key = [("x-auth-token", "the key")];
        assert!(!claimed(&layer.rules, &key).contains_key("x-auth-token"));
        let kept = claimed(&layer.keep_credentials().rules, &key);
        assert_eq!(kept["x-auth-token"], "the key");
        assert_eq!(kept.len(), 4);
    }

    #[test]
    fn an_authenticator_that_forbids_names_no_scope_where_none_is_required() {
        let forbidden = |layer: AuthLayer| {
            let verdict: Result<Principal, _> = Err(Kind::Forbidden.into());
            let rejection = layer.rules.admit(verdict, &mut sent(&[])).unwrap_err();
            let challenge = &rejection.headers()[header::WWW_AUTHENTICATE];
            challenge.to_str().unwrap().to_owned()
        };
        let layer = AuthLayer::new(ApiKeys::new());
        assert_eq!(
            forbidden(layer.clone()),
            r#"Bearer realm="api", error="insufficient_scope""#
        );
        assert!(forbidden(layer.require_scope("chat")).ends_with(r#", scope="chat""#));
    }
}
