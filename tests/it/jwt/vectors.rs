//! Tokens of attackers, written down by others, where a folder of them lies beside the project: each goes
//! over HTTP through the layer, and is judged by what comes back.

use super::{ask, serve, text};
use axum::{Router, routing::get};
use http::Request;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};
use tower_gateway::{
    Principal,
    auth::{
        AuthLayer, Place,
        jwt::{Algorithm, Issuer, JwkSet, Jwt},
    },
    client::Client,
};

/// A file of `$SECURITY_VECTORS`, or of the folder beside the project.
fn load(file: &str) -> Option<Value> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/security/own");
    let folder = std::env::var_os("SECURITY_VECTORS").map_or_else(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join(file)) else {
        println!("vectors: {file}: skipped (none beside the project)");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

fn done(file: &str, cases: usize, floor: usize, failed: &[String]) {
    println!("vectors: {file}: {cases} cases, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(cases >= floor, "{cases}");
}

/// Answers with the name of the caller.
fn app(jwt: Jwt) -> Router {
    let who = async |request: Request<axum::body::Body>| {
        Principal::of(&request).unwrap().id().to_string()
    };
    let layer = AuthLayer::new(jwt)
        .places([Place::bearer()])
        .failure_limit(None);
    Router::new().route("/", get(who)).layer(layer)
}

fn algorithms(keys: &Value) -> Vec<Algorithm> {
    let all = keys["keys"].as_array();
    let all = all.map_or_else(|| vec![keys], |all| all.iter().collect());
    let named = all
        .iter()
        .filter_map(|key| key["alg"].as_str()?.parse().ok());
    named.collect()
}

#[tokio::test]
async fn no_token_of_an_attacker_lets_in() {
    const FILE: &str = "jwt_attacks.json";
    let Some(vectors) = load(FILE) else { return };
    let now = UNIX_EPOCH + Duration::from_secs(vectors["now"].as_u64().unwrap());
    let jwt = |key: &Value, change: fn(Issuer) -> Issuer| {
        let keys = JwkSet::from_json(key.to_string()).ok()?;
        let issuer = Issuer::new("https://issuer.example", keys)
            .audience("gateway")
            .leeway(Duration::ZERO)
            .algorithms(algorithms(key));
        Some(Jwt::new([change(issuer)]).unwrap().clock(move || now))
    };
    let (mut lax, mut strict) = (BTreeMap::new(), BTreeMap::new());
    for (name, key) in vectors["keys"].as_object().unwrap() {
        if let Some(jwt) = jwt(key, |issuer| issuer) {
            lax.insert(name.clone(), serve(app(jwt)).await);
        }
        let stricter = |issuer: Issuer| {
            issuer
                .typ("at+jwt")
                .max_lifetime(Duration::from_secs(86_400))
        };
        if let Some(jwt) = jwt(key, stricter) {
            strict.insert(name.clone(), serve(app(jwt)).await);
        }
    }
    let client = Client::new();
    let mut failed = Vec::new();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let text_of = |name: &str| case[name].as_str().unwrap();
        let (token, key, expect) = (text_of("token"), text_of("key"), text_of("expect"));
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_bytes())];
        // A key that is refused when it is loaded verifies nothing, nor does what is no header.
        let answer = async |apps: &BTreeMap<String, String>| {
            let answer = match apps.get(key) {
                Some(url) => ask(&client, url, &headers).await,
                None => None,
            };
            match answer {
                Some(answer) => (answer.status().as_u16(), text(answer).await),
                None => (401, String::new()),
            }
        };
        let (status, name) = answer(&lax).await;
        let refused = matches!(status, 400 | 401);
        let fine = match expect {
            "accept" => status == 200 && name == "alice",
            "either" => refused || status == 200 && name == "alice",
            // It may name its owner so; no header can be made of it.
            "accept-but-header-must-not-carry" => {
                status == 200 && http::HeaderValue::try_from(&name).is_err()
            }
            "reject" | "reject-with-zero-leeway" | "reject-if-iat-checked" => refused,
            "reject-if-typ-pinned" | "reject-if-max-age" => {
                matches!(answer(&strict).await.0, 400 | 401)
            }
            _ => false,
        };
        if !fine {
            failed.push(format!("{}: {status} {name}, {}", case["id"], case["why"]));
        }
    }
    assert!(
        !lax.contains_key("rs1024"),
        "a short key is refused when it is loaded"
    );
    done(FILE, cases.len(), 92, &failed);
}

/// Where we are of another mind than the vectors.
const OTHERWISE: [(&str, &[u64], &str); 5] = [
    (
        "json_web_signature_test.json",
        &[259, 264, 268, 272, 320, 325],
        "valid, with an empty payload: no token has that, and none of its parts may be empty",
    ),
    (
        "json_web_signature_test.json",
        &[346, 350],
        "valid, by PS384 where the key says PS256: a key is for the algorithm that it names",
    ),
    (
        "json_web_signature_test.json",
        &[347, 351],
        "valid, by ES512 with a key that says ES521: P-521 is not verified here",
    ),
    (
        "json_web_signature_test.json",
        &[372, 373],
        "valid, with a question mark in its Base64: RFC 7515 §2 has no such letter",
    ),
    (
        "json_web_signature_test.json",
        &[367, 370],
        "invalid, for padding that they do not have: letter by letter they are 357, which is valid",
    ),
];

async fn wycheproof(file: &str, floor: usize) {
    let Some(vectors) = load(&format!("../wycheproof/{file}")) else {
        return;
    };
    let client = Client::new();
    let (mut failed, mut cases, mut excused) = (Vec::new(), 0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let keys = JwkSet::from_json(key.to_string()).ok();
        let mut allowed = algorithms(key);
        if allowed.is_empty() {
            allowed = vec![Algorithm::RS256, Algorithm::ES256];
        }
        let url = match keys.clone() {
            Some(keys) => {
                let issuer = Issuer::new("https://issuer.example", keys)
                    .any_audience()
                    .algorithms(allowed.clone());
                match Jwt::new([issuer]) {
                    Ok(jwt) => Some(serve(app(jwt)).await),
                    Err(_) => None,
                }
            }
            None => None,
        };
        for test in group["tests"].as_array().unwrap() {
            cases += 1;
            let id = test["tcId"].as_u64().unwrap();
            // What is encrypted is nobody's token here.
            let valid = test["result"] == "valid" && test.get("jwe").is_none();
            let token = test.get("jws").or(test.get("jwe")).unwrap();
            let token = token
                .as_str()
                .map_or_else(|| token.to_string(), str::to_owned);
            let verified = keys
                .as_ref()
                .is_some_and(|keys| keys.verify(&token, &allowed).is_ok());
            let differs = OTHERWISE
                .iter()
                .any(|(of, ids, _)| *of == file && ids.contains(&id));
            excused += usize::from(differs);
            if verified != (valid != differs) {
                failed.push(format!(
                    "{id}: {} {} {}, header {:?}",
                    test["comment"],
                    test["result"],
                    test["flags"],
                    token.split('.').next(),
                ));
            }
            // None has claims, so that none lets in, whoever signed it.
            let bearer = format!("Bearer {token}");
            if let Some(url) = &url
                && let Some(answer) =
                    ask(&client, url, &[("authorization", bearer.as_bytes())]).await
                && !matches!(answer.status().as_u16(), 400 | 401)
            {
                failed.push(format!("{id}: {}", answer.status()));
            }
        }
    }
    let minds = OTHERWISE.iter().filter(|(of, ..)| *of == file);
    for (_, ids, why) in minds {
        println!("vectors: {file}: of another mind about {ids:?}: {why}");
    }
    let listed = OTHERWISE.iter().filter(|(of, ..)| *of == file);
    assert_eq!(excused, listed.map(|(_, ids, _)| ids.len()).sum::<usize>());
    done(file, cases, floor, &failed);
}

#[tokio::test]
async fn signatures_are_verified_as_wycheproof_has_them() {
    wycheproof("json_web_signature_test.json", 401).await;
}

#[tokio::test]
async fn keys_are_taken_as_wycheproof_has_them() {
    wycheproof("json_web_key_test.json", 26).await;
}

#[tokio::test]
async fn what_is_signed_or_encrypted_is_taken_as_wycheproof_has_it() {
    wycheproof("json_web_crypto_test.json", 83).await;
}
