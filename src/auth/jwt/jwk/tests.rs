use super::*;
use serde_json::json;

/// Of RFC 7517 §A.1.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const K: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

/// As X.509 has public keys.
const ED: &str = "MCowBQYDK2VwAyEAxUWgXJI3zRws9FEkCCYJYs2hhV7B5Tm5dSRwB5wxM74=";
const RSA_1024: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCqWHgZCNnyY5+9f1Qos4NO6QIRnr2uuEGms2iQ8WeOZLq7B1zDtXfIMhkMCJ++Zpt5SIdXAW7sDWUE9a70o/BkbNiwFMetWw4zwDBYY8ZKGvOn8Tj6Yqpf5jd3tUgtGYbbhPCzA7BMQA1s0tkb404ms7CaDcjIcLrSyrY2rHvRswIDAQAB";

fn taken(jwk: &Value) -> Option<Vec<&'static str>> {
    let set = JwkSet::from_json(jwk.to_string()).ok()?;
    Some(set.keys[0].algorithms.iter().map(|it| it.name()).collect())
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

#[test]
fn a_key_permits_what_it_says_and_what_its_type_can() {
    let rsa = json!({"kty": "RSA", "n": N, "e": "AQAB"});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y});
    let oct = json!({"kty": "oct", "k": K});
    assert_eq!(taken(&rsa).unwrap().len(), 6);
    assert_eq!(taken(&ec).unwrap(), ["ES256"]);
    assert_eq!(taken(&oct).unwrap(), ["HS256", "HS384", "HS512"]);
    assert_eq!(
        taken(&with(rsa.clone(), "alg", "PS384")).unwrap(),
        ["PS384"]
    );
    assert!(taken(&with(rsa.clone(), "key_ops", json!(["verify"]))).is_some());

    for refused in [
        with(rsa.clone(), "alg", "HS256"),
        with(rsa.clone(), "alg", "ES256"),
        with(rsa.clone(), "alg", "RSA-OAEP"),
        with(rsa.clone(), "alg", "none"),
        with(rsa.clone(), "alg", 256),
        with(rsa.clone(), "use", "enc"),
        with(rsa.clone(), "use", json!(["sig"])),
        with(rsa.clone(), "key_ops", json!(["encrypt"])),
        with(rsa.clone(), "key_ops", "verify"),
        with(rsa.clone(), "kid", 1),
        with(rsa.clone(), "e", "AQ"),
        with(rsa.clone(), "e", "Ag"),
        with(rsa.clone(), "e", ""),
        with(rsa.clone(), "n", &N[..171]),
        with(rsa.clone(), "n", format!("{N}=")),
        with(rsa.clone(), "kty", "rsa"),
        with(rsa, "kty", "EC"),
        with(ec.clone(), "crv", "P-384"),
        with(ec.clone(), "crv", "P-521"),
        with(ec.clone(), "crv", "secp256k1"),
        with(ec.clone(), "alg", "ES384"),
        with(ec.clone(), "x", &X[..42]),
        with(ec, "kty", "RSA"),
        with(oct.clone(), "k", ""),
        with(oct.clone(), "k", &K[..42]),
        with(oct.clone(), "alg", "A256GCM"),
        with(with(oct, "k", &K[..62]), "alg", "HS384"),
        json!({"kty": "OKP", "crv": "X25519", "x": X}),
        json!({"kty": "XYZ"}),
        json!({"kty": "oct"}),
        json!({}),
    ] {
        assert_eq!(taken(&refused), None, "{refused}");
    }
}

#[test]
fn a_set_that_means_two_things_is_refused() {
    let ec = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "a"});
    let oct = json!({"kty": "oct", "k": K, "kid": "b"});
    let fault = |keys: Value| {
        let set = JwkSet::from_json(json!({"keys": keys}).to_string());
        set.err().map(|fault| fault.0)
    };
    assert_eq!(fault(json!([ec, oct])), Some(Fault::Mixed));
    assert_eq!(fault(json!([ec, ec])), Some(Fault::Duplicate));
    assert_eq!(fault(json!([])), Some(Fault::Empty));
    assert_eq!(fault(json!({"kty": "EC"})), Some(Fault::Malformed));
    // What is left out is not there.
    let other_use = with(ec.clone(), "use", "enc");
    assert_eq!(fault(json!([other_use, {"kty": "new"}, 1, ec])), None);
    // But one that was meant to be there, and is broken, has its name all the same.
    let broken = with(ec.clone(), "x", "broken");
    assert_eq!(fault(json!([broken, ec])), Some(Fault::Duplicate));
    // Nobody publishes a secret.
    let published = json!({"keys": [oct]}).to_string();
    assert!(JwkSet::read(published.as_bytes(), false).is_err());
    assert!(JwkSet::from_json(" ".repeat(LARGEST + 1)).is_err());
    assert!(JwkSet::from_json(r#"{"keys":[],"keys":[]}"#).is_err());
}

#[test]
fn a_key_is_found_by_its_exact_name_or_by_being_the_only_one() {
    let ec = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y});
    let rsa = json!({"kty": "RSA", "n": N, "e": "AQAB"});
    let keys = json!([
        with(ec.clone(), "kid", "a"),
        with(rsa, "kid", "b"),
        with(ec, "kid", "c")
    ]);
    let set = JwkSet::from_json(json!({"keys": keys}).to_string()).unwrap();
    let select = |algorithm, kid: Option<&str>| {
        let kid = kid.map(Into::into);
        match set.select(&Header {
            algorithm,
            kid,
            typ: None,
        }) {
            Selected::Key(key) => key.kid.clone().unwrap(),
            Selected::Unknown => "unknown".into(),
            Selected::Unfit(_) => "unfit".into(),
        }
    };
    assert_eq!(&*select(Algorithm::ES256, Some("a")), "a");
    assert_eq!(&*select(Algorithm::RS256, None), "b");
    assert_eq!(&*select(Algorithm::ES256, None), "unfit");
    assert_eq!(&*select(Algorithm::EdDSA, None), "unknown");
    assert_eq!(&*select(Algorithm::RS256, Some("a")), "unfit");
    for kid in ["A", "", "a ", "a\0", "../a"] {
        assert_eq!(&*select(Algorithm::ES256, Some(kid)), "unknown");
    }
}

#[test]
fn a_key_is_read_as_pem_if_it_is_one_for_the_algorithm() {
    let pem = |kind: &str, base64: &str| {
        format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n")
    };
    let ed = pem("PUBLIC KEY", ED);
    assert_eq!(
        JwkSet::from_pem(Algorithm::EdDSA, ed.as_bytes())
            .unwrap()
            .len(),
        1
    );
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256] {
        assert!(JwkSet::from_pem(algorithm, ed.as_bytes()).is_err());
    }
    let small = pem("PUBLIC KEY", RSA_1024);
    assert!(JwkSet::from_pem(Algorithm::RS256, small.as_bytes()).is_err());
    assert!(JwkSet::from_pem(Algorithm::RS256, b"").is_err());
}

#[test]
fn a_secret_is_as_long_as_the_hash_and_shows_nowhere() {
    assert!(JwkSet::from_secret(Algorithm::HS256, b"canary").is_err());
    assert!(JwkSet::from_secret(Algorithm::RS256, &[7; 64]).is_err());
    let secret = b"canary canary canary canary canary";
    let set = JwkSet::from_secret(Algorithm::HS256, secret).unwrap();
    assert!(!format!("{set:?}").contains("canary"));
}
