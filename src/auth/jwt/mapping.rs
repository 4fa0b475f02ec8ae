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
    pub(in crate::auth) models: Option<Box<str>>,
    pub(in crate::auth) routes: Option<Box<str>>,
    pub(in crate::auth) team: Option<Box<str>>,
    pub(in crate::auth) tenant: Option<Tenant>,
    /// The names of attributes, and the claims that hold them.
    pub(in crate::auth) attributes: Vec<(Box<str>, Box<str>)>,
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
        // A token that names no models is not let in to all of them.
        let only = |pointer: &str| match at(claims, pointer) {
            Some(names @ (Value::String(_) | Value::Array(_))) => Ok(self::words(names)),
            _ => Err("it says not which models or routes it is for"),
        };
        if let Some(pointer) = &self.models {
            principal = principal.with_models(only(pointer)?);
        }
        if let Some(pointer) = &self.routes {
            principal = principal.with_routes(only(pointer)?);
        }
        // Whoever is asked for a tenant and names none is not let in as one without.
        let text = |pointer: &str| match at(claims, pointer) {
            Some(Value::String(text)) if !text.is_empty() => Ok(format!("{}{text}", self.prefix)),
            _ => Err("it says not to which team or tenant its owner belongs"),
        };
        if let Some(pointer) = &self.team {
            principal = principal.with_team(text(pointer)?);
        }
        match &self.tenant {
            Some(Tenant::Claim(pointer)) => principal = principal.with_tenant(text(pointer)?),
            Some(Tenant::Is(tenant)) => principal = principal.with_tenant(tenant.clone()),
            None => {}
        }
        for (name, pointer) in &self.attributes {
            // One that is missing, or holds what is no text, is not known: no rule that asks for it allows.
            if let Some(values) = at(claims, pointer).and_then(texts) {
                principal = principal.with_attribute(&**name, values);
            }
        }
        Ok(principal)
    }
}

/// A string, a number or a boolean, or an array of these, whole.
fn texts(claim: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    };
    match claim {
        Value::Array(all) => all.iter().map(text).collect(),
        one => Some(vec![text(one)?]),
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
    fn an_attribute_is_whole_or_not_known() {
        let mapping = Mapping {
            attributes: vec![("level".into(), "/account/level".into())],
            ..Mapping::default()
        };
        for (level, expected) in [
            (json!("gold"), Some(vec!["gold"])),
            (json!(3), Some(vec!["3"])),
            (json!(true), Some(vec!["true"])),
            (json!(["gold", 3]), Some(vec!["gold", "3"])),
            (json!([]), Some(vec![])),
            (json!(null), None),
            (json!({"a": 1}), None),
            (json!(["gold", null]), None),
            (json!(["gold", ["x"]]), None),
            (json!("a".repeat(257)), None),
        ] {
            let claims = json!({"sub": "alice", "account": {"level": level}});
            let principal = map(&mapping, &claims).unwrap();
            let values = principal.attribute("level");
            let values = values.map(|all| all.iter().map(|value| &**value).collect::<Vec<_>>());
            assert_eq!(values, expected, "{level}");
        }
        let without = map(&mapping, &json!({"sub": "alice"})).unwrap();
        assert_eq!(without.attribute("level"), None);
    }

    #[test]
    fn what_the_mapping_asks_for_must_be_there() {
        let mapping = Mapping {
            prefix: "corp:".into(),
            subject: Some("/user/id".into()),
            scopes: Some("/permissions".into()),
            roles: Some("/realm_access/roles".into()),
            models: Some("/use/models".into()),
            routes: Some("/use/routes".into()),
            team: Some("team".into()),
            tenant: Some(Tenant::Claim("/org/0".into())),
            attributes: Vec::new(),
        };
        let claims = json!({
            "sub": "other", "scope": "unseen", "user": {"id": "alice"}, "permissions": ["chat"],
            "realm_access": {"roles": ["admin", "ops"]}, "team": "red", "org": ["acme"],
            "use": {"models": "fast gpt-*", "routes": []},
        });
        let principal = map(&mapping, &claims).unwrap();
        assert_eq!(&**principal.id(), "corp:alice");
        assert_eq!(principal.scopes().collect::<Vec<_>>(), ["chat"]);
        assert!(principal.has_role("ops") && !principal.has_role("chat"));
        // No issuer speaks for the teams and tenants of another.
        assert_eq!(principal.team().map(|team| &**team), Some("corp:red"));
        let tenant = |principal: &Principal| principal.tenant().map(ToString::to_string);
        assert_eq!(tenant(&principal).as_deref(), Some("corp:acme"));
        assert!(principal.may_use_model("gpt-5") && !principal.may_use_model("slow"));
        assert!(!principal.may_use_route("/any"));
        let constant = Mapping {
            tenant: Some(Tenant::Is("acme".into())),
            models: None,
            routes: None,
            ..mapping.clone()
        };
        let others = json!({"user": {"id": "bob"}, "team": "red", "org": ["globex"]});
        let principal = map(&constant, &others).unwrap();
        assert_eq!(tenant(&principal).as_deref(), Some("acme"));
        let without = |missing: &str, value: Value| {
            let mut claims = claims.clone();
            *claims.pointer_mut(missing).unwrap() = value;
            map(&mapping, &claims)
        };
        for missing in ["/user/id", "/team", "/org/0"] {
            for value in [json!(null), json!(""), json!(7)] {
                assert!(without(missing, value).is_err(), "{missing}");
            }
        }
        for missing in ["/use/models", "/use/routes"] {
            for value in [json!(null), json!(true), json!({"all": true})] {
                assert!(without(missing, value).is_err(), "{missing}");
            }
        }
    }
}
