//! Where an issuer publishes its keys: OpenID Connect Discovery 1.0 §4, RFC 8414 §3.

use super::{algorithm::Algorithm, jwks::max_age};
use crate::{
    Body, BoxError,
    auth::{
        json,
        outward::{Caller, InvalidUrl, endpoint, is_loopback, may_be_this_machine},
    },
};
use http::{Request, StatusCode, Uri, header};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of a document.
const LARGEST: usize = 256 * 1024;

/// What an issuer says of itself.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) jwks_uri: Uri,
    /// How it signs, of what is verified here. `None`: it does not say.
    pub(super) algorithms: Option<Vec<Algorithm>>,
    until: Instant,
}

impl Found {
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// The URLs at which an issuer may say it, in the order in which they are asked.
pub(super) fn documents(issuer: &str) -> Result<[Uri; 2], InvalidUrl> {
    let uri = endpoint(issuer)?;
    if issuer.contains('?') {
        // An issuer has no query: OpenID Connect Discovery §3, RFC 8414 §2.
        return Err(InvalidUrl(()));
    }
    let authority = uri.authority().map_or("", |it| it.as_str());
    let start = format!("{}://{authority}", uri.scheme_str().unwrap_or("https"));
    let path = uri.path().trim_end_matches('/');
    Ok([
        endpoint(&format!("{start}{path}/.well-known/openid-configuration"))?,
        endpoint(&format!(
            "{start}/.well-known/oauth-authorization-server{path}"
        ))?,
    ])
}

/// Asks an issuer. What is not there is asked for at the other URL.
pub(super) async fn discover(caller: &Caller, issuer: &str) -> Result<Found, BoxError> {
    let mut missing: BoxError = "no document".into();
    for url in documents(issuer)? {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())?;
        let answer = caller.ask(request, LARGEST).await?;
        if answer.status == StatusCode::OK {
            let lifetime = max_age(&answer.headers).unwrap_or(Duration::from_secs(60 * 60));
            return read(issuer, &answer.body, lifetime);
        }
        missing = format!("no document: the answer was {}", answer.status).into();
        if !matches!(answer.status.as_u16(), 400..=499) {
            break;
        }
    }
    Err(missing)
}

fn read(issuer: &str, body: &[u8], lifetime: Duration) -> Result<Found, BoxError> {
    let document = json::object(body).ok_or("the document is not one plain JSON object")?;
    // Letter by letter, else anyone could speak for anyone (Discovery §4.3, RFC 8414 §3.3).
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("the document is of another issuer".into());
    }
    let jwks_uri = document.get("jwks_uri").and_then(Value::as_str);
    let jwks_uri = endpoint(jwks_uri.ok_or("the document names no keys")?)?;
    // Nobody out there says what to fetch from this machine.
    let own = endpoint(issuer).is_ok_and(|issuer| is_loopback(&issuer));
    if may_be_this_machine(&jwks_uri) && !own {
        return Err("the keys are said to be on this machine, and the issuer is not".into());
    }
    let algorithms = document
        .get("id_token_signing_alg_values_supported")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(Value::as_str))
        .map(|all| all.filter_map(Algorithm::named).collect());
    let lifetime = lifetime.clamp(Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
    Ok(Found {
        jwks_uri,
        algorithms,
        until: Instant::now() + lifetime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_stands_before_one_name_and_behind_the_other() {
        let urls = |issuer| documents(issuer).unwrap().map(|url| url.to_string());
        for issuer in ["https://a.example", "https://a.example/"] {
            assert_eq!(
                urls(issuer),
                [
                    "https://a.example/.well-known/openid-configuration",
                    "https://a.example/.well-known/oauth-authorization-server",
                ]
            );
        }
        assert_eq!(
            urls("https://a.example:8443/realms/x"),
            [
                "https://a.example:8443/realms/x/.well-known/openid-configuration",
                "https://a.example:8443/.well-known/oauth-authorization-server/realms/x",
            ]
        );
        for issuer in [
            "http://a.example",
            "https://a.example?b",
            "https://a.example/#b",
            "a",
        ] {
            assert!(documents(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn a_document_speaks_for_the_issuer_that_it_names_letter_by_letter() {
        let found = |issuer: &str, document: Value| {
            read(issuer, document.to_string().as_bytes(), Duration::ZERO)
        };
        let keys = "https://keys.example/jwks";
        let own = "https://a.example";
        let document = json!({
            "issuer": own, "jwks_uri": keys,
            "id_token_signing_alg_values_supported": ["none", "HS256", "RS256", "XX1", 7],
        });
        let fine = found(own, document.clone()).unwrap();
        assert_eq!(fine.jwks_uri, keys);
        assert_eq!(
            fine.algorithms,
            Some(vec![Algorithm::HS256, Algorithm::RS256])
        );
        for other in [
            "https://a.example/",
            "https://A.example",
            "https://a.example.b",
        ] {
            assert!(found(other, document.clone()).is_err(), "{other}");
        }
        for document in [
            json!({"issuer": own}),
            json!({"jwks_uri": keys}),
            json!({"issuer": [own], "jwks_uri": keys}),
            json!({"issuer": own, "jwks_uri": "http://keys.example/jwks"}),
            json!({"issuer": own, "jwks_uri": "http://127.0.0.1/jwks"}),
            json!({"issuer": own, "jwks_uri": "https://localhost/jwks"}),
            json!({"issuer": own, "jwks_uri": "https://localhost./jwks"}),
            json!({"issuer": own, "jwks_uri": "https://[::ffff:127.0.0.1]/jwks"}),
            json!({"issuer": own, "jwks_uri": "https://127.1/jwks"}),
            json!({"issuer": own, "jwks_uri": "https://0.0.0.0/jwks"}),
            json!({"issuer": own, "jwks_uri": "file:///etc/passwd"}),
        ] {
            assert!(found(own, document.clone()).is_err(), "{document}");
        }
        let near = "http://127.0.0.1:3000";
        let document = json!({"issuer": near, "jwks_uri": "http://127.0.0.1:3000/jwks"});
        assert_eq!(found(near, document).unwrap().algorithms, None);
    }
}
