//! One key: what it is made of, and what is kept of it.

use super::Grant;
use crate::Principal;
use sha2::{Digest as _, Sha256};
use std::{error::Error, fmt, sync::Arc};

/// The fewest characters of a key.
pub(super) const SHORTEST: usize = 16;
/// The most bytes of a key.
pub(super) const LONGEST: usize = 8 * 1024;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62²⁴ > 2¹⁴².
const SECRET_CHARS: usize = 24;
const ID_CHARS: usize = 8;
/// 62⁶ > 2³².
const CHECKSUM_CHARS: usize = 6;

/// An API key and what it [grants](Grant). Of the key itself only the SHA-256 hash is kept.
///
/// ```
/// use tower_gateway::auth::{ApiKey, ApiKeys, Grant};
/// use std::time::{Duration, SystemTime};
///
/// let grant = Grant::new("alice")
///     .scopes(["chat", "embeddings"])
///     .models(["fast", "claude-*"])
///     .expires_at(SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60));
/// let (key, secret) = ApiKey::generate("acme_live", grant)?;
///
/// // Shown once, to the person who asked for it: acme_live_5kBvYqLW_3xK…
/// assert!(secret.expose().starts_with("acme_live_"));
/// assert!(ApiKey::is_well_formed(secret.expose()));
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
///
/// ApiKeys::new().add_key(key).check()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ApiKey {
    pub(super) hash: Result<Hash, KeyFault>,
    id: Arc<str>,
    pub(super) grant: Grant,
}

/// SHA-256 of a whole key.
pub(super) type Hash = [u8; 32];

pub(super) fn hash(key: &[u8]) -> Hash {
    Sha256::digest(key).into()
}

impl ApiKey {
    /// A key that exists already: any text of 16 characters or more, and of no more than 8 KiB.
    ///
    /// A text or a grant that does not do is told by [`ApiKeys::check`](super::ApiKeys::check), and lets
    /// nobody in.
    #[must_use]
    pub fn new(grant: impl Into<Grant>, secret: impl AsRef<str>) -> Self {
        Self::from_hash(grant.into(), hash_of(secret.as_ref()))
    }

    /// A key of which only the SHA-256 hash is at hand. It must have been hard to guess: whoever
    /// knows the hash of a short one can find the key.
    #[must_use]
    pub fn from_sha256(grant: impl Into<Grant>, sha256: [u8; 32]) -> Self {
        Self::from_hash(grant.into(), Ok(sha256))
    }

    /// Makes a new key, `<prefix>_<id>_<secret>`, where the secret holds 142 random bits and ends in
    /// six characters of CRC-32 over all before them. So a typing error is found without a look-up,
    /// and a scanner finds a key that got into a repository.
    ///
    /// # Errors
    ///
    /// If the prefix is not 1 to 32 letters, digits, `-` and `_` of ASCII, or if the system has no
    /// random numbers.
    pub fn generate(prefix: &str, grant: impl Into<Grant>) -> Result<(Self, Secret), KeyFault> {
        let (id, secret) = Self::generate_text(prefix)?;
        let key = Self::from_hash(grant.into(), hash_of(secret.expose()));
        Ok((key.id(id), secret))
    }

    /// The id of a new key, and the key.
    pub(super) fn generate_text(prefix: &str) -> Result<(String, Secret), KeyFault> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=32).contains(&prefix.len()) || !prefix.bytes().all(fine) {
            return Err(KeyFault::Prefix);
        }
        let id = random::<ID_CHARS>()?;
        let mut text = format!("{prefix}_{id}_{}", random::<SECRET_CHARS>()?);
        text.push_str(&checksum(&text));
        Ok((id, Secret(text.into())))
    }

    /// Whether a text looks like a key that was [made](Self::generate) here, without a typing error.
    /// It says nothing about whether the key is one.
    #[must_use]
    pub fn is_well_formed(text: &str) -> bool {
        Self::id_in(text).is_some()
    }

    /// The id in a key that looks like one that was made here.
    pub(super) fn id_in(text: &str) -> Option<&str> {
        let mut parts = text.rsplitn(3, '_');
        let (secret, id, prefix) = (parts.next()?, parts.next()?, parts.next()?);
        let base62 = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let well_formed = !prefix.is_empty()
            && id.len() == ID_CHARS
            && base62(id)
            && secret.len() == SECRET_CHARS + CHECKSUM_CHARS
            && base62(secret)
            && text.ends_with(&checksum(&text[..text.len() - CHECKSUM_CHARS]));
        well_formed.then_some(id)
    }

    fn from_hash(grant: Grant, hash: Result<Hash, KeyFault>) -> Self {
        Self {
            hash,
            id: "".into(),
            grant,
        }
    }

    /// Sets a name for the key itself, which may stand in logs. By default that of the principal and
    /// a number, or the middle part of a key that was made here.
    #[must_use]
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = id.into();
        self
    }

    pub(super) fn fault(&self) -> Option<KeyFault> {
        let nobody = self.grant.owner.is_empty().then_some(KeyFault::NoPrincipal);
        let unfit = || self.grant.check().is_err().then_some(KeyFault::Grant);
        self.hash.err().or(nobody).or_else(unfit)
    }

    pub(super) fn owner(&self) -> &Arc<str> {
        &self.grant.owner
    }

    /// The principal that the key stands for. `nth` key, in case that it has no name.
    pub(super) fn grants(&self, nth: usize) -> Principal {
        self.grant.principal(if self.id.is_empty() {
            format!("{}-{nth}", self.grant.owner).into()
        } else {
            self.id.clone()
        })
    }
}

/// Without the hash: that of an easily guessed key would give it away.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("grant", &self.grant)
            .field("fault", &self.fault())
            .finish_non_exhaustive()
    }
}

/// A new key, in clear. It is shown once and kept nowhere.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// The key. Take care where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// It has fewer than 16 characters.
    TooShort,
    /// It has more than 8 KiB.
    TooLong,
    /// It has control characters, or white space at its ends, so that no header can carry it.
    Unsendable,
    /// Nobody owns it.
    NoPrincipal,
    /// What it grants [cannot be](Grant::check).
    Grant,
    /// It is there already.
    Duplicate,
    /// The prefix is not 1 to 32 letters, digits, `-` and `_`.
    Prefix,
    /// The system gave no random numbers.
    NoRandomness,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "must have 16 characters or more",
            Self::TooLong => "must have 8 KiB or less",
            Self::Unsendable => "must have no control characters, and no space at its ends",
            Self::NoPrincipal => "must belong to a principal",
            Self::Grant => {
                "must have names of 1 to 256 bytes, periods, and an end after its beginning"
            }
            Self::Duplicate => "is there twice",
            Self::Prefix => "must begin with 1 to 32 letters, digits, `-` and `_`",
            Self::NoRandomness => "needs random numbers, of which the system has none",
        })
    }
}

impl Error for KeyFault {}

fn hash_of(text: &str) -> Result<Hash, KeyFault> {
    if text.chars().count() < SHORTEST {
        Err(KeyFault::TooShort)
    } else if text.len() > LONGEST {
        Err(KeyFault::TooLong)
    } else if text.chars().any(char::is_control) || text.trim() != text {
        Err(KeyFault::Unsendable)
    } else {
        Ok(hash(text.as_bytes()))
    }
}

/// Characters that are all equally likely.
fn random<const N: usize>() -> Result<String, KeyFault> {
    let mut out = String::with_capacity(N);
    while out.len() < N {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).map_err(|_| KeyFault::NoRandomness)?;
        // 248 = 4 × 62. What is above would favour the first characters.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let chars = fair.map(|byte| char::from(BASE62[usize::from(byte % 62)]));
        out.extend(chars.take(N - out.len()));
    }
    Ok(out)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut out = [b'0'; CHECKSUM_CHARS];
    for char in out.iter_mut().rev() {
        *char = BASE62[rest % 62];
        rest /= 62;
    }
    out.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_that_are_made_differ_and_have_their_form() {
        let (a, b) = (
            ApiKey::generate("tgw", "alice").unwrap(),
            ApiKey::generate("tgw", "alice").unwrap(),
        );
        assert_ne!(a.1.expose(), b.1.expose());
        assert_eq!(a.1.expose().len(), "tgw_".len() + 8 + 1 + 30);
        assert_eq!(a.0.hash, Ok(hash(a.1.expose().as_bytes())));
        for prefix in ["", "ä", "a b", &"x".repeat(33)] {
            assert_eq!(
                ApiKey::generate(prefix, "alice").unwrap_err(),
                KeyFault::Prefix
            );
        }
    }

    #[test]
    fn the_checksum_does_not_change_between_versions() {
        assert_eq!(checksum("tgw_00000000_000000000000000000000000").len(), 6);
        // CRC-32 (IEEE) of "123456789" is 0xCBF43926 = 3,421,780,262.
        let mut number = 0_u64;
        for char in checksum("123456789").bytes() {
            let digit = BASE62.iter().position(|other| *other == char).unwrap();
            number = number * 62 + digit as u64;
        }
        assert_eq!(number, 0xCBF4_3926);
    }

    #[test]
    fn what_no_header_can_carry_is_no_key() {
        for (text, fault) in [
            ("fifteen letters", KeyFault::TooShort),
            ("sixteen letters\n", KeyFault::Unsendable),
            (" sixteen letters", KeyFault::Unsendable),
            (&*"x".repeat(8193), KeyFault::TooLong),
        ] {
            assert_eq!(ApiKey::new("a", text).fault(), Some(fault), "{text}");
        }
        assert_eq!(
            ApiKey::new("", "sixteen letters!").fault(),
            Some(KeyFault::NoPrincipal)
        );
        let never = Grant::new("a").team("");
        assert_eq!(
            ApiKey::new(never, "sixteen letters!").fault(),
            Some(KeyFault::Grant)
        );
        assert_eq!(ApiKey::new("a", "sixteen letters!").fault(), None);
        assert_eq!(ApiKey::new("a", "sechzehn Zeichen äöü").fault(), None);
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_found(at in 0..43_usize, to in 0..62_usize) {
            let (_, secret) = ApiKey::generate("tgw", "alice").unwrap();
            let mut text = secret.expose().as_bytes().to_vec();
            prop_assume!(text[at] != BASE62[to]);
            text[at] = BASE62[to];
            prop_assert!(!ApiKey::is_well_formed(std::str::from_utf8(&text).unwrap()));
        }

        #[test]
        fn any_text_may_be_asked_about(text in "\\PC{0,60}") {
            prop_assert!(!ApiKey::is_well_formed(&text));
        }
    }
}
