//! The secret without which the hashes of keys are worth nothing.

use crate::storage::StoreError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{fmt, sync::Arc};

/// HMAC-SHA256 of a whole key.
pub(super) type Digest = [u8; 32];

/// The fewest bytes of a pepper.
const SHORTEST: usize = 32;

/// What keys are hashed with, beside themselves: HMAC-SHA256 under a secret that is not in the store.
/// Whoever has the store alone can make nothing of it, not even with a guess at a key.
///
/// It has versions. New keys are hashed with the newest; keys that were hashed with an older one are
/// good as long as that is [given](Self::previous) too.
///
/// ```
/// use tower_gateway::auth::stored::Pepper;
///
/// let pepper = Pepper::new(2, "5f0e…, as `openssl rand -hex 32` makes it")?
///     .previous(1, "the one before: 32 bytes or more of it")?;
/// assert_eq!(format!("{pepper:?}"), "Pepper { newest: 2, versions: 2 }");
/// # Ok::<_, tower_gateway::storage::StoreError>(())
/// ```
#[derive(Clone)]
pub struct Pepper {
    newest: Version,
    older: Arc<[Version]>,
}

#[derive(Clone)]
struct Version {
    number: u32,
    /// Has taken in the secret, and nothing else.
    mac: Hmac<Sha256>,
}

impl Version {
    fn new(number: u32, secret: &[u8]) -> Result<Self, StoreError> {
        if secret.len() < SHORTEST {
            return Err(StoreError::invalid("a pepper must have 32 bytes or more"));
        }
        let mac = Hmac::new_from_slice(secret);
        let mac = mac.map_err(|_| StoreError::invalid("the pepper is not valid"))?;
        Ok(Self { number, mac })
    }

    fn digest(&self, text: &[u8]) -> Digest {
        let mut mac = self.mac.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

impl Pepper {
    /// A secret of 32 bytes or more, and its number, which is stored with each key.
    ///
    /// # Errors
    ///
    /// If it is shorter.
    pub fn new(version: u32, secret: impl AsRef<[u8]>) -> Result<Self, StoreError> {
        Ok(Self {
            newest: Version::new(version, secret.as_ref())?,
            older: Arc::default(),
        })
    }

    /// Adds one that was used before, for the keys that were made then.
    ///
    /// # Errors
    ///
    /// If it is shorter than 32 bytes, or its number is there already.
    pub fn previous(self, version: u32, secret: impl AsRef<[u8]>) -> Result<Self, StoreError> {
        if self.version(version).is_some() {
            return Err(StoreError::invalid("two peppers have one version"));
        }
        let older = Version::new(version, secret.as_ref())?;
        Ok(Self {
            newest: self.newest,
            older: self.older.iter().cloned().chain([older]).collect(),
        })
    }

    fn version(&self, number: u32) -> Option<&Version> {
        let mut all = [&self.newest].into_iter().chain(self.older.iter());
        all.find(|version| version.number == number)
    }

    /// Of the newest version.
    pub(super) fn digest(&self, text: &[u8]) -> (u32, Digest) {
        (self.newest.number, self.newest.digest(text))
    }

    /// Of one version. `None`: it is not known.
    pub(super) fn digest_as(&self, version: u32, text: &[u8]) -> Option<Digest> {
        Some(self.version(version)?.digest(text))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper")
            .field("newest", &self.newest.number)
            .field("versions", &(1 + self.older.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "canary: a secret of 32 bytes or more";

    #[test]
    fn a_hash_depends_on_the_pepper_and_on_the_whole_key() {
        let one = Pepper::new(1, SECRET).unwrap();
        let two = Pepper::new(2, "another secret of 32 bytes or more").unwrap();
        let both = two.clone().previous(1, SECRET).unwrap();
        let digest = one.digest(b"key");
        assert_eq!(digest.0, 1);
        assert_ne!(digest.1, two.digest(b"key").1);
        assert_ne!(digest.1, one.digest(b"kez").1);
        assert_eq!(both.digest(b"key"), two.digest(b"key"));
        assert_eq!(both.digest_as(1, b"key"), Some(digest.1));
        assert_eq!(both.digest_as(3, b"key"), None);
    }

    #[test]
    fn it_is_the_hmac_of_rfc_4231() {
        // Test case 6 has a key of 131 bytes.
        let pepper = Pepper::new(1, [0xaa; 131]).unwrap();
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let digest = pepper.digest(text).1;
        assert_eq!(digest[..4], [0x60, 0xe4, 0x31, 0x59]);
        assert_eq!(digest[28..], [0x0e, 0xe3, 0x7f, 0x54]);
    }

    #[test]
    fn abuse_51_a_pepper_that_does_not_do_is_told_without_it() {
        for wrong in [
            Pepper::new(1, "canary, but short").unwrap_err(),
            Pepper::new(1, SECRET)
                .unwrap()
                .previous(1, SECRET)
                .unwrap_err(),
        ] {
            assert!(!format!("{wrong} {wrong:?}").contains("canary"));
        }
        assert!(!format!("{:?}", Pepper::new(1, SECRET).unwrap()).contains("canary"));
    }
}
