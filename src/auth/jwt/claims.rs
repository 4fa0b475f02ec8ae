//! What is asked of claims once the signature is right. No clock, no lock.

use super::token::{Header, Reason};
use serde_json::{Map, Value};
use std::time::Duration;

/// What is asked of the tokens of one issuer, whoever vouches for them: a signature, or the issuer's
/// own answer (RFC 7662).
#[derive(Clone, Debug)]
pub(in crate::auth) struct Demands {
    /// One of these must be among those for whom the token is. None: any will do.
    pub(in crate::auth) audiences: Vec<Box<str>>,
    pub(in crate::auth) leeway: Duration,
    pub(in crate::auth) expiry: bool,
    pub(in crate::auth) max_lifetime: Option<Duration>,
    pub(in crate::auth) claims: Vec<Demand>,
    /// It must be bound to a certificate.
    pub(in crate::auth) bound: bool,
}

/// A claim that must be there.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Demand {
    pub(in crate::auth) pointer: Box<str>,
    /// What it must be, or hold.
    pub(in crate::auth) value: Option<Box<str>>,
}

impl Default for Demands {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            leeway: Duration::from_secs(60),
            expiry: true,
            max_lifetime: None,
            claims: Vec::new(),
            bound: false,
        }
    }
}

/// The last second of the year 9999. What is meant to last longer was meant to be something else.
const LAST: f64 = 253_402_300_799.0;

impl Demands {
    /// Judges claims at a time in seconds since 1970, and says when they expire.
    pub(in crate::auth) fn check(
        &self,
        claims: &Map<String, Value>,
        now: f64,
    ) -> Result<Option<f64>, Reason> {
        let leeway = self.leeway.as_secs_f64();
        let (exp, nbf, iat) = (
            date(claims, "exp")?,
            date(claims, "nbf")?,
            date(claims, "iat")?,
        );
        match exp {
            Some(exp) if exp + leeway <= now => return Err("it has expired"),
            None if self.expiry => return Err("it does not say when it expires"),
            _ => {}
        }
        if nbf.is_some_and(|nbf| nbf - leeway > now) {
            return Err("it is not valid yet");
        }
        if iat.is_some_and(|iat| iat - leeway > now) {
            return Err("it was issued in the future");
        }
        if let Some(max) = self.max_lifetime {
            let max = max.as_secs_f64();
            let (Some(exp), Some(iat)) = (exp, iat) else {
                return Err("it does not say how long it lives");
            };
            if exp - iat > max || now - iat > max + leeway {
                return Err("it lives too long");
            }
        }
        if !self.audiences.is_empty() {
            self.audience(claims.get("aud"))?;
        }
        for demand in &self.claims {
            demand.check(claims)?;
        }
        Ok(exp)
    }

    fn audience(&self, aud: Option<&Value>) -> Result<(), Reason> {
        let ours = |aud: &Value| {
            let aud = aud.as_str();
            aud.is_some_and(|aud| self.audiences.iter().any(|ours| **ours == *aud))
        };
        let fine = match aud {
            Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if fine {
            Ok(())
        } else {
            Err("it is for another audience")
        }
    }
}

impl Demand {
    fn check(&self, claims: &Map<String, Value>) -> Result<(), Reason> {
        let claim = at(claims, &self.pointer).filter(|claim| !claim.is_null());
        let claim = claim.ok_or("a claim is missing")?;
        let Some(value) = &self.value else {
            return Ok(());
        };
        let is = |claim: &Value| match claim {
            Value::String(text) => **text == **value,
            Value::Bool(true) => **value == *"true",
            Value::Bool(false) => **value == *"false",
            Value::Number(number) => *number.to_string() == **value,
            _ => false,
        };
        let fine = match claim {
            Value::Array(all) => all.iter().any(is),
            one => is(one),
        };
        if fine {
            Ok(())
        } else {
            Err("a claim is not what it must be")
        }
    }
}

/// A date as RFC 7519 §2 has it: seconds since 1970, with a fraction or without.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Reason> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(seconds) if value.is_number() && (0.0..=LAST).contains(&seconds) => Ok(Some(seconds)),
        _ => Err("one of its dates is none"),
    }
}

/// Finds a claim: by a JSON pointer (RFC 6901) if it begins with `/`, else by its name.
pub(in crate::auth) fn at<'a>(claims: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let Some(path) = pointer.strip_prefix('/') else {
        return claims.get(pointer);
    };
    let mut names = path
        .split('/')
        .map(|name| name.replace("~1", "/").replace("~0", "~"));
    let mut found = claims.get(&names.next()?)?;
    for name in names {
        found = match found {
            Value::Object(object) => object.get(&name)?,
            Value::Array(items) if name == "0" || !name.starts_with(['0', '+']) => {
                items.get(name.parse::<usize>().ok()?)?
            }
            _ => return None,
        };
    }
    Some(found)
}

/// Which types of token are taken (RFC 8725 §3.11).
#[derive(Clone, Debug, Default)]
pub(super) enum Type {
    /// None, `JWT`, or that of an access token. So a logout token or a DPoP proof is not taken for one.
    #[default]
    Usual,
    Only(Box<str>),
}

impl Type {
    pub(super) fn check(&self, header: &Header) -> Result<(), Reason> {
        let fine = match self {
            Self::Usual => header.typ.is_none() || header.is_of("JWT") || header.is_of("at+jwt"),
            Self::Only(typ) => header.is_of(typ),
        };
        if fine {
            Ok(())
        } else {
            Err("it is of another type")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: f64 = 1_800_000_000.0;

    fn demands() -> Demands {
        Demands {
            audiences: vec!["gateway".into(), "other".into()],
            leeway: Duration::ZERO,
            ..Demands::default()
        }
    }

    fn check(demands: &Demands, with: &Value) -> Result<Option<f64>, Reason> {
        let mut claims = json!({"aud": "gateway", "iat": NOW - 10.0, "exp": NOW + 10.0});
        for (name, value) in with.as_object().unwrap() {
            claims[name] = value.clone();
        }
        demands.check(claims.as_object().unwrap(), NOW)
    }

    #[test]
    fn dates_are_numbers_that_can_be_meant() {
        let fine = [
            json!({"exp": NOW + 0.5}),
            json!({"exp": 1_800_000_001}),
            json!({"exp": 1.800000001e9}),
            json!({"exp": LAST}),
            json!({"nbf": NOW}),
            json!({"nbf": 0}),
            json!({"iat": NOW}),
        ];
        for claims in fine {
            assert!(check(&demands(), &claims).is_ok(), "{claims}");
        }
        for name in ["exp", "nbf", "iat"] {
            for value in [
                json!("1800003600"),
                json!(null),
                json!(true),
                json!([1_800_003_600]),
                json!({}),
                json!(-1),
                json!(-0.5),
                json!(1e30),
                json!(u64::MAX),
            ] {
                let claims = json!({name: value});
                assert!(check(&demands(), &claims).is_err(), "{claims}");
            }
        }
        for late in [
            json!({"exp": NOW}),
            json!({"exp": NOW - 0.5}),
            json!({"exp": 0}),
        ] {
            assert_eq!(check(&demands(), &late), Err("it has expired"));
        }
        assert!(check(&demands(), &json!({"nbf": NOW + 1.0})).is_err());
        assert!(check(&demands(), &json!({"iat": NOW + 1.0})).is_err());
        assert!(
            demands()
                .check(json!({"aud": "gateway"}).as_object().unwrap(), NOW)
                .is_err()
        );
    }

    #[test]
    fn clocks_may_differ_by_the_leeway() {
        let mut demands = demands();
        demands.leeway = Duration::from_secs(60);
        for (claims, fine) in [
            (json!({"exp": NOW - 59.0}), true),
            (json!({"exp": NOW - 60.0}), false),
            (json!({"nbf": NOW + 60.0}), true),
            (json!({"nbf": NOW + 61.0}), false),
            (json!({"iat": NOW + 60.0}), true),
            (json!({"iat": NOW + 61.0}), false),
        ] {
            assert_eq!(check(&demands, &claims).is_ok(), fine, "{claims}");
        }
    }

    #[test]
    fn a_token_that_lives_longer_than_it_may_is_refused() {
        let mut demands = demands();
        demands.max_lifetime = Some(Duration::from_secs(100));
        assert!(check(&demands, &json!({})).is_ok());
        assert!(check(&demands, &json!({"exp": NOW + 91.0})).is_err());
        assert!(check(&demands, &json!({"iat": 1})).is_err());
        assert!(
            demands
                .check(
                    json!({"aud": "other", "exp": NOW + 1.0})
                        .as_object()
                        .unwrap(),
                    NOW
                )
                .is_err()
        );
    }

    #[test]
    fn an_audience_is_one_of_ours_letter_by_letter() {
        for aud in [json!("gateway"), json!(["a", "other"]), json!(["gateway"])] {
            assert!(check(&demands(), &json!({"aud": aud})).is_ok(), "{aud}");
        }
        for aud in [
            json!("Gateway"),
            json!("gateway "),
            json!("gatewa"),
            json!("gateway/"),
            json!(""),
            json!([]),
            json!([["gateway"]]),
            json!(["gateway", 7]),
            json!({"gateway": 1}),
            json!(7),
            json!(null),
        ] {
            assert!(check(&demands(), &json!({"aud": aud})).is_err(), "{aud}");
        }
    }

    #[test]
    fn a_claim_that_is_demanded_is_there_and_is_or_holds_the_value() {
        let demand = |pointer: &str, value: Option<&str>| Demand {
            pointer: pointer.into(),
            value: value.map(Into::into),
        };
        let claims = json!({"a": "x", "b": {"c": ["y", "z"], "d/e": true}, "n": null, "i": 7});
        let claims = claims.as_object().unwrap();
        for (pointer, value, fine) in [
            ("a", None, true),
            ("a", Some("x"), true),
            ("a", Some("X"), false),
            ("/b/c", Some("z"), true),
            ("/b/c/0", Some("y"), true),
            ("/b/c/00", Some("y"), false),
            ("/b/c/2", None, false),
            ("/b/d~1e", Some("true"), true),
            ("/i", Some("7"), true),
            ("n", None, false),
            ("/b", Some("c"), false),
            ("b/c", None, false),
            ("none", None, false),
        ] {
            assert_eq!(
                demand(pointer, value).check(claims).is_ok(),
                fine,
                "{pointer}"
            );
        }
    }
}
