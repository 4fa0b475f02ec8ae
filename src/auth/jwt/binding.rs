//! To what a token is bound: `cnf`, RFC 7800 and RFC 8705.

use super::{claims::Demands, mapping::Mapping, refused, token::Reason};
use crate::{
    Principal, Rejection,
    auth::{
        base64::{Form, decode},
        certificate::{Certificate, Thumbprint},
    },
};
use serde_json::{Map, Value};

/// Whose a token is that was found in order, and by which certificate alone it lets in.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Verified {
    pub(in crate::auth) principal: Principal,
    /// `None`: whoever has the token may use it.
    pub(in crate::auth) bound_to: Option<Thumbprint>,
}

impl Verified {
    /// Lets in whom came by this certificate. To be asked for every call: what is known of a token is known
    /// for all connections.
    pub(in crate::auth) fn shown_with(
        self,
        certificate: Option<&Certificate>,
    ) -> Result<Principal, Rejection> {
        let Some(bound_to) = self.bound_to else {
            return Ok(self.principal);
        };
        match certificate {
            Some(certificate) if certificate.thumbprint() == bound_to => Ok(self.principal),
            Some(_) => Err(refused("it is bound to another certificate")),
            None => Err(refused("it is bound to a certificate, and none was shown")),
        }
    }
}

/// Whose a token is of which these claims are true, and when it expires.
pub(in crate::auth) fn verified(
    demands: &Demands,
    mapping: &Mapping,
    claims: &Map<String, Value>,
    now: f64,
) -> Result<(Verified, Option<f64>), Reason> {
    let exp = demands.check(claims, now)?;
    let bound_to = bound_to(claims)?;
    if demands.bound && bound_to.is_none() {
        return Err("it is not bound to a certificate");
    }
    let principal = mapping.principal(claims)?;
    Ok((
        Verified {
            principal,
            bound_to,
        },
        exp,
    ))
}

/// The certificate that a token is bound to. `None`: it is for whoever has it.
///
/// A token that is bound to something else, such as to a key that proves itself by DPoP (`jkt`, RFC 9449),
/// or to more than one thing, is refused: it was not issued to be used by whoever has it.
fn bound_to(claims: &Map<String, Value>) -> Result<Option<Thumbprint>, Reason> {
    let Some(cnf) = claims.get("cnf") else {
        return Ok(None);
    };
    let members = cnf.as_object().ok_or("its `cnf` is no object")?;
    let known = members.get("x5t#S256").filter(|_| members.len() == 1);
    let known = known.ok_or("it is bound to something that is not known here")?;
    let hash = known
        .as_str()
        .and_then(|text| decode(Form::Url, text.as_bytes()));
    let hash = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
    let hash = hash.ok_or("its `x5t#S256` is none")?;
    Ok(Some(hash.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 8705 section 3.1.
    const EXAMPLE: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";

    fn read(claims: &Value) -> Result<Option<Thumbprint>, Reason> {
        bound_to(claims.as_object().unwrap())
    }

    #[test]
    fn a_token_says_by_which_certificate_it_is_used() {
        assert_eq!(read(&json!({"sub": "alice"})), Ok(None));
        let hash = "A".repeat(43);
        let bound = read(&json!({"cnf": {"x5t#S256": hash}}));
        assert_eq!(bound, Ok(Some([0; 32].into())));
        // The example of the RFC is not canonical: its last character has bits that say nothing.
        assert!(read(&json!({"cnf": {"x5t#S256": EXAMPLE}})).is_err());
    }

    #[test]
    fn what_is_not_understood_binds_all_the_same() {
        let hash = "A".repeat(43);
        for cnf in [
            json!(null),
            json!({}),
            json!([]),
            json!("x5t#S256"),
            json!({"jkt": hash}),
            json!({"x5t#S256": hash, "jkt": hash}),
            json!({"x5t#S256": null}),
            json!({"x5t#S256": ""}),
            json!({"x5t#S256": [hash]}),
            json!({"x5t#S256": format!("{hash}=")}),
            json!({"x5t#S256": "A".repeat(42)}),
            json!({"x5t#S256": "A".repeat(64)}),
            json!({"x5t": hash}),
            json!({"X5T#S256": hash}),
            json!({"jwk": {"kty": "EC"}}),
            json!({"kid": "key"}),
        ] {
            assert!(read(&json!({"cnf": cnf})).is_err(), "{cnf}");
        }
    }

    #[test]
    fn it_lets_in_by_that_certificate_alone() {
        let der = |byte: u8| Certificate::Der(vec![byte; 100].into());
        let verified = |bound_to| Verified {
            principal: Principal::new("alice"),
            bound_to,
        };
        let own = der(1);
        let bound = || verified(Some(own.thumbprint()));
        assert!(bound().shown_with(Some(&own)).is_ok());
        assert!(
            bound()
                .shown_with(Some(&Certificate::Hash(own.thumbprint())))
                .is_ok()
        );
        assert!(bound().shown_with(Some(&der(2))).is_err());
        assert!(bound().shown_with(None).is_err());
        for certificate in [None, Some(&own)] {
            assert!(verified(None).shown_with(certificate).is_ok());
        }
    }
}
