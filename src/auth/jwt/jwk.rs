//! The keys of an issuer: RFC 7517, and which of them may verify what.

use super::{
    algorithm::Algorithm,
    roca,
    token::{Header, Reason, Token},
};
use crate::auth::{
    base64::{Form, decode},
    json,
};
use jsonwebtoken::{DecodingKey, DecodingKeyKind, crypto::aws_lc};
use serde_json::{Map, Value};
use std::{error::Error, fmt};

/// The most bytes of a set.
pub(super) const LARGEST: usize = 512 * 1024;
/// The most keys of a set.
const MOST: usize = 1000;

/// Keys that verify tokens.
///
/// ```
/// use tower_gateway::auth::jwt::{Algorithm, JwkSet};
///
/// let keys = JwkSet::from_json(r#"{"keys": [{
///     "kty": "OKP", "crv": "Ed25519", "kid": "2026", "use": "sig", "alg": "EdDSA",
///     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
/// }]}"#)?;
///
/// // The example of RFC 8037, whose payload is no set of claims. Its key has no name there.
/// let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
///            hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
/// assert_eq!(keys.verify(jws, &[Algorithm::EdDSA])?, b"Example of Ed25519 signing");
/// assert!(keys.verify(jws, &[Algorithm::ES256]).is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Which keys are taken
///
/// Those of a type and a curve that are known here (see [`Algorithm`]), that are for signatures (`use`,
/// `key_ops`), and whose `alg`, if there is one, is among those of their type. An RSA key has 2048 to
/// 8192 bits, an exponent that is odd and above 1, and is not one of those that a broken generator made
/// (ROCA, CVE-2017-15361); a symmetric key is no shorter than the hash (RFC 7518 §3.2). All others are
/// left out, as if they were not there.
///
/// A set in which two of the keys taken have one name, or of which some are symmetric and some are not,
/// is refused as a whole: nobody can say what its author meant.
///
/// # Which key verifies a token
///
/// The one whose name is exactly the `kid` of the token, if the token's `alg` is one that the key
/// permits. A token without `kid` is verified if exactly one of the keys permits its `alg`.
#[derive(Clone)]
pub struct JwkSet {
    keys: Vec<Key>,
    left_out: usize,
}

#[derive(Clone)]
pub(super) struct Key {
    kid: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Which key may verify a token.
pub(super) enum Selected<'a> {
    Key(&'a Key),
    /// There is none of this name, or none at all: another set might have it.
    Unknown,
    /// The one of this name may not, or more than one may.
    Unfit(Reason),
}

impl JwkSet {
    /// Reads a set, or one key, as JSON.
    ///
    /// # Errors
    ///
    /// If it is neither, is above 512 KiB, has no key that can be [taken](Self#which-keys-are-taken), or is
    /// ambiguous.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, InvalidKeySet> {
        Self::read(json.as_ref(), true)
    }

    /// Of a set that is published, symmetric keys are left out: they would be known to all.
    pub(super) fn read(json: &[u8], symmetric: bool) -> Result<Self, InvalidKeySet> {
        if json.len() > LARGEST {
            return Err(InvalidKeySet(Fault::TooLarge));
        }
        let mut object = json::object(json).ok_or(InvalidKeySet(Fault::Malformed))?;
        let entries = match object.remove("keys") {
            Some(Value::Array(entries)) => entries,
            None if object.contains_key("kty") => vec![Value::Object(object)],
            _ => return Err(InvalidKeySet(Fault::Malformed)),
        };
        if entries.len() > MOST {
            return Err(InvalidKeySet(Fault::TooLarge));
        }
        let mut this = Self {
            keys: Vec::new(),
            left_out: 0,
        };
        for entry in &entries {
            match entry.as_object().and_then(Key::read) {
                Some(key) if symmetric || !key.is_symmetric() => this.add(key)?,
                _ => this.left_out += 1,
            }
        }
        if this.keys.is_empty() {
            return Err(InvalidKeySet(Fault::Empty));
        }
        Ok(this)
    }

    /// A secret that is shared with the issuer, for HMAC. Without a name it verifies what names none.
    ///
    /// # Errors
    ///
    /// If it has fewer bytes than the hash of `algorithm`, or `algorithm` is not an HMAC.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidKeySet> {
        let fits = hash_bytes(algorithm).is_some_and(|bytes| secret.len() >= bytes);
        if !fits {
            return Err(InvalidKeySet(Fault::Empty));
        }
        let key = Key {
            kid: None,
            algorithms: vec![algorithm],
            key: DecodingKey::from_secret(secret),
        };
        Ok(Self {
            keys: vec![key],
            left_out: 0,
        })
    }

    /// A public key as PEM. Without a name it verifies what names none.
    ///
    /// # Errors
    ///
    /// If it is none, or not one for `algorithm`.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, InvalidKeySet> {
        let key = match algorithm {
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
            _ if Algorithm::RSA.contains(&algorithm) => DecodingKey::from_rsa_pem(pem),
            _ => return Err(InvalidKeySet(Fault::Empty)),
        };
        let key = key.map_err(|_| InvalidKeySet(Fault::Malformed))?;
        let DecodingKeyKind::SecretOrDer(bytes) = key.kind() else {
            return Err(InvalidKeySet(Fault::Malformed));
        };
        let fits = match algorithm {
            Algorithm::EdDSA => bytes.len() == 32,
            // A point that is not compressed.
            Algorithm::ES256 => bytes.len() == 65,
            Algorithm::ES384 => bytes.len() == 97,
            _ => {
                let parts = aws_lc::DEFAULT_PROVIDER
                    .key_utils
                    .rsa_pub_components_from_public_key;
                parts(bytes).is_ok_and(|(n, e)| is_good_rsa(&unsigned(n), &unsigned(e)))
            }
        };
        if !fits {
            return Err(InvalidKeySet(Fault::Empty));
        }
        Ok(Self {
            keys: vec![Key {
                kid: None,
                algorithms: vec![algorithm],
                key,
            }],
            left_out: 0,
        })
    }

    /// Names the key, if it is the only one.
    #[must_use]
    pub fn named(mut self, kid: impl Into<Box<str>>) -> Self {
        if let [key] = &mut self.keys[..] {
            key.kid = Some(kid.into());
        }
        self
    }

    fn add(&mut self, key: Key) -> Result<(), InvalidKeySet> {
        let same = |held: &Key| held.kid.is_some() && held.kid == key.kid;
        if self.keys.iter().any(same) {
            return Err(InvalidKeySet(Fault::Duplicate));
        }
        let other = |held: &Key| held.is_symmetric() != key.is_symmetric();
        if self.keys.first().is_some_and(other) {
            return Err(InvalidKeySet(Fault::Mixed));
        }
        self.keys.push(key);
        Ok(())
    }

    /// How many keys verify.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none. There always is one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys were read and left out.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    pub(super) fn is_symmetric(&self) -> bool {
        self.keys.first().is_some_and(Key::is_symmetric)
    }

    /// Verifies what is signed in compact form, a token or anything else, and gives its payload.
    ///
    /// Nothing is said of claims, not even when they expire: for those there is [`Jwt`](super::Jwt).
    ///
    /// # Errors
    ///
    /// If it is not in order, is signed by another algorithm than one of `allowed`, or by another key.
    pub fn verify(&self, jws: &str, allowed: &[Algorithm]) -> Result<Vec<u8>, InvalidSignature> {
        let token = Token::read(jws.as_bytes()).map_err(InvalidSignature)?;
        if !allowed.contains(&token.header.algorithm) {
            return Err(InvalidSignature("its algorithm is not allowed"));
        }
        match self.select(&token.header) {
            Selected::Key(key) if key.verifies(&token) => token.payload().map_err(InvalidSignature),
            Selected::Key(_) => Err(InvalidSignature("its signature is wrong")),
            Selected::Unknown => Err(InvalidSignature("its key is not known")),
            Selected::Unfit(reason) => Err(InvalidSignature(reason)),
        }
    }

    pub(super) fn select(&self, header: &Header) -> Selected<'_> {
        let permits = |key: &&Key| key.algorithms.contains(&header.algorithm);
        if let Some(kid) = &header.kid {
            return match self.keys.iter().find(|key| key.kid.as_ref() == Some(kid)) {
                Some(key) if permits(&key) => Selected::Key(key),
                Some(_) => Selected::Unfit("its key is not for its algorithm"),
                None => Selected::Unknown,
            };
        }
        let mut fitting = self.keys.iter().filter(permits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Selected::Key(key),
            (Some(_), Some(_)) => Selected::Unfit("it names no key, and several fit"),
            (None, _) => Selected::Unknown,
        }
    }
}

impl Key {
    /// `None` if it cannot be taken.
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| match jwk.get(name) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(text.as_str())),
            Some(_) => None,
        };
        if text("use")?.is_some_and(|r#use| r#use != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops")
            && !operations.as_array()?.iter().any(|it| it == "verify")
        {
            return None;
        }
        let part = |name: &str| {
            let text = text(name)??;
            Some((text, decode(Form::Url, text.as_bytes())?))
        };
        let curve = text("crv")?;
        let (key, fitting): (_, Vec<_>) = match text("kty")?? {
            "RSA" => {
                let (n, e) = (unsigned(part("n")?.1), unsigned(part("e")?.1));
                if !is_good_rsa(&n, &e) {
                    return None;
                }
                let key = DecodingKey::from_rsa_raw_components(&n, &e);
                (key, Algorithm::RSA.into())
            }
            "EC" => {
                let (algorithm, bytes) = match curve? {
                    "P-256" => (Algorithm::ES256, 32),
                    "P-384" => (Algorithm::ES384, 48),
                    _ => return None,
                };
                let (x, y) = (part("x")?, part("y")?);
                if x.1.len() != bytes || y.1.len() != bytes {
                    return None;
                }
                let key = DecodingKey::from_ec_components(x.0, y.0).ok()?;
                (key, vec![algorithm])
            }
            "OKP" if curve? == "Ed25519" => {
                let x = part("x")?;
                if x.1.len() != 32 {
                    return None;
                }
                let key = DecodingKey::from_ed_components(x.0).ok()?;
                (key, vec![Algorithm::EdDSA])
            }
            "oct" => {
                let secret = part("k")?.1;
                let long_enough = |algorithm: &Algorithm| {
                    hash_bytes(*algorithm).is_some_and(|bytes| secret.len() >= bytes)
                };
                let fitting = Algorithm::HMAC.into_iter().filter(long_enough).collect();
                (DecodingKey::from_secret(&secret), fitting)
            }
            _ => return None,
        };
        let algorithms = match text("alg")? {
            None => fitting,
            Some(name) => {
                let only = Algorithm::named(name)?;
                fitting.into_iter().filter(|it| *it == only).collect()
            }
        };
        let kid = text("kid")?.map(Into::into);
        (!algorithms.is_empty()).then_some(Self {
            kid,
            algorithms,
            key,
        })
    }

    fn is_symmetric(&self) -> bool {
        self.algorithms.iter().any(|it| it.is_symmetric())
    }

    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        let algorithm = token.header.algorithm.of_library();
        // By name, so that it matters not what else in the process chose for itself.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.key);
        let message = token.signed.as_bytes();
        verifier.is_ok_and(|verifier| verifier.verify(message, &token.signature).is_ok())
    }
}

fn hash_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// Without leading zeros.
fn unsigned(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

fn is_good_rsa(n: &[u8], e: &[u8]) -> bool {
    let bits = |number: &[u8]| match number.first() {
        Some(first) => number.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    };
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    (2048..=8192).contains(&bits(n))
        && odd(n)
        // Above 2³³ an exponent costs more than anyone has a use for.
        && (2..=33).contains(&bits(e))
        && odd(e)
        && !roca::is_suspect(n)
}

impl fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (&key.kid, &key.algorithms));
        f.debug_list().entries(keys).finish()
    }
}

/// A set of keys that cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeySet(Fault);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Malformed,
    TooLarge,
    Empty,
    Duplicate,
    Mixed,
}

impl fmt::Display for InvalidKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Fault::Malformed => "not a set of keys, nor a key",
            Fault::TooLarge => "more than 512 KiB, or more than 1,000 keys",
            Fault::Empty => "no key that could verify a token",
            Fault::Duplicate => "two keys have one name",
            Fault::Mixed => "some keys are symmetric and some are not",
        })
    }
}

impl Error for InvalidKeySet {}

/// Something signed that is not in order, or whose signature is not that of a key at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSignature(Reason);

impl fmt::Display for InvalidSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for InvalidSignature {}

#[cfg(test)]
mod tests {
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

    fn taken(jwk: Value) -> Option<Vec<&'static str>> {
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
        assert_eq!(taken(rsa.clone()).unwrap().len(), 6);
        assert_eq!(taken(ec.clone()).unwrap(), ["ES256"]);
        assert_eq!(taken(oct.clone()).unwrap(), ["HS256", "HS384", "HS512"]);
        assert_eq!(taken(with(rsa.clone(), "alg", "PS384")).unwrap(), ["PS384"]);
        assert!(taken(with(rsa.clone(), "key_ops", json!(["verify"]))).is_some());

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
            assert_eq!(taken(refused.clone()), None, "{refused}");
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
}
