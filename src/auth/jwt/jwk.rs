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
/// A set in which two keys have one name (be one of them broken), or of which some are symmetric and some are not,
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
        let mut spoiled = Vec::new();
        for entry in &entries {
            let jwk = entry.as_object().filter(|jwk| is_for_signatures(jwk));
            match jwk.map(|jwk| Key::read(jwk).ok_or(jwk)) {
                Some(Ok(key)) if symmetric || !key.is_symmetric() => this.add(key)?,
                other => {
                    this.left_out += 1;
                    if let Some(Err(jwk)) = other {
                        spoiled.extend(jwk.get("kid").and_then(Value::as_str));
                    }
                }
            }
        }
        let taken = |kid: &str| this.keys.iter().any(|key| key.kid.as_deref() == Some(kid));
        if spoiled.into_iter().any(taken) {
            return Err(InvalidKeySet(Fault::Duplicate));
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

/// Whether a key is of a type that is known, and not said to be for something else.
fn is_for_signatures(jwk: &Map<String, Value>) -> bool {
    let types = ["RSA", "EC", "OKP", "oct"];
    let operations = jwk.get("key_ops").map(Value::as_array);
    let verifies = |all: &Vec<Value>| all.iter().any(|it| it == "verify");
    let algorithm = jwk.get("alg").map(Value::as_str);
    types
        .iter()
        .any(|known| jwk.get("kty") == Some(&Value::from(*known)))
        && jwk.get("use").is_none_or(|it| it == "sig")
        && operations.is_none_or(|it| it.is_some_and(verifies))
        && algorithm.is_none_or(|it| it.and_then(Algorithm::named).is_some())
}

/// A member that is text, if it is there. `None`: it is something else.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<Option<&'a str>> {
    match jwk.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

/// The key itself, and by which algorithms it may verify.
fn material(jwk: &Map<String, Value>) -> Option<(DecodingKey, Vec<Algorithm>)> {
    let part = |name: &str| {
        let text = text(jwk, name)??;
        Some((text, decode(Form::Url, text.as_bytes())?))
    };
    let curve = text(jwk, "crv")?;
    Some(match text(jwk, "kty")?? {
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
    })
}

impl Key {
    /// `None` if it cannot be taken.
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let (key, fitting) = material(jwk)?;
        let algorithms = match text(jwk, "alg")? {
            None => fitting,
            Some(name) => {
                let only = Algorithm::named(name)?;
                fitting.into_iter().filter(|it| *it == only).collect()
            }
        };
        let kid = text(jwk, "kid")?.map(Into::into);
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
mod tests;
