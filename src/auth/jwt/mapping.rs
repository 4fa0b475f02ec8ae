//! From claims to a principal.

use super::{claims::at, token::Reason};
use crate::Principal;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Which claims say what of a principal.
#[derive(Clone, Debug, Default)]
pub(in crate::auth) struct Mapping {
    /// What stands before the subject, the team and the tenant.
    pub(in crate::auth) prefix: Box<str>,
    pub(in crate::auth) subject: Option<Box<str>>,
    pub(in crate::auth) scopes: Option<Box<str>>,
    pub(in crate::auth) roles: Option<Box<str>>,
    pub(in crate::auth) team: Option<Box<str>>,
    pub(in crate::auth) tenant: Option<Tenant>,
}

/// Who says to which tenant a principal belongs.
#[derive(Clone, Debug)]
pub(in crate::auth) enum Tenant {
    /// The claims, within what the issuer may name.
    Claim(Box<str>),
    /// The operator.
    Is(Arc<str>),
}

impl Mapping {
    pub(in crate::auth) fn principal(
        &self,
        claims: &Map<String, Value>,
    ) -> Result<Principal, Reason> {
        let subject = at(claims, self.subject.as_deref().unwrap_or("sub"));
        let subject = match subject {
            Some(Value::String(subject)) if !subject.is_empty() => subject,
            _ => return Err("it says not whose it is"),
        };
        let mut principal = Principal::new(format!("{}{subject}", self.prefix));
        let words = |pointer: &str| at(claims, pointer).map(words).unwrap_or_default();
        principal = match &self.scopes {
            Some(pointer) => principal.with_scopes(words(pointer)),
            None => principal
                .with_scopes(words("scope"))
                .with_scopes(words("scp")),
        };
        if let Some(pointer) = &self.roles {
            principal = principal.with_roles(words(pointer));
        }
        // Whoever is asked for a tenant and names none is not let in as one without.
        let text = |pointer: &str| match at(claims, pointer) {
            Some(Value::String(text)) if !text.is_empty() => Ok(format!("{}{text}", self.prefix)),
            _ => Err("it says not to which team or tenant its owner belongs"),
        };
        if let Some(pointer) = &self.team {
            principal = principal.with_team(text(pointer)?);
        }
        Ok(match &self.tenant {
            Some(Tenant::Claim(pointer)) => principal.with_tenant(text(pointer)?),
            Some(Tenant::Is(tenant)) => principal.with_tenant(tenant.clone()),
            None => principal,
        })
    }
}

/// Words in one string, as in `scope` (RFC 8693 §4.2), or strings in an array. All else says nothing.
fn words(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(text) => text.split(' ').filter(|word| !word.is_empty()).collect(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(mapping: &Mapping, claims: &Value) -> Result<Principal, Reason> {
        mapping.principal(claims.as_object().unwrap())
    }

    #[test]
    fn scopes_stand_in_a_string_or_in_an_array() {
        for claims in [
            json!({"sub": "alice", "scope": "chat  files"}),
            json!({"sub": "alice", "scope": ["chat", "files"]}),
            json!({"sub": "alice", "scp": ["files"], "scope": "chat"}),
            json!({"sub": "alice", "scp": "files chat"}),
        ] {
            let principal = map(&Mapping::default(), &claims).unwrap();
            assert_eq!(
                principal.scopes().collect::<Vec<_>>(),
                ["chat", "files"],
                "{claims}"
            );
            assert_eq!(&**principal.id(), "alice");
        }
        let odd = json!({"sub": "alice", "scope": {"admin": true}, "scp": [1, ["admin"]]});
        assert_eq!(map(&Mapping::default(), &odd).unwrap().scopes().count(), 0);
    }

    #[test]
    fn what_the_mapping_asks_for_must_be_there() {
        let mapping = Mapping {
            prefix: "corp:".into(),
            subject: Some("/user/id".into()),
            scopes: Some("/permissions".into()),
            roles: Some("/realm_access/roles".into()),
            team: Some("team".into()),
            tenant: Some(Tenant::Claim("/org/0".into())),
        };
        let claims = json!({
            "sub": "other", "scope": "unseen", "user": {"id": "alice"}, "permissions": ["chat"],
            "realm_access": {"roles": ["admin", "ops"]}, "team": "red", "org": ["acme"],
        });
        let principal = map(&mapping, &claims).unwrap();
        assert_eq!(&**principal.id(), "corp:alice");
        assert_eq!(principal.scopes().collect::<Vec<_>>(), ["chat"]);
        assert!(principal.has_role("ops") && !principal.has_role("chat"));
        // No issuer speaks for the teams and tenants of another.
        assert_eq!(principal.team().map(|team| &**team), Some("corp:red"));
        let tenant = |principal: &Principal| principal.tenant().map(ToString::to_string);
        assert_eq!(tenant(&principal).as_deref(), Some("corp:acme"));
        let constant = Mapping {
            tenant: Some(Tenant::Is("acme".into())),
            ..mapping.clone()
        };
        let others = json!({"user": {"id": "bob"}, "team": "red", "org": ["globex"]});
        let principal = map(&constant, &others).unwrap();
        assert_eq!(tenant(&principal).as_deref(), Some("acme"));
        for missing in ["/user/id", "/team", "/org/0"] {
            for value in [json!(null), json!(""), json!(7)] {
                let mut claims = claims.clone();
                *claims.pointer_mut(missing).unwrap() = value;
                assert!(map(&mapping, &claims).is_err(), "{missing}");
            }
        }
    }
}
