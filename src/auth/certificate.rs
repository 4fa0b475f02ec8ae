//! The certificate by which a client came, for what is bound to it.

use crate::{Extensible, tls::TlsInfo};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The SHA-256 of a certificate in DER, as tokens name the one that they are bound to (`x5t#S256`, RFC 8705
/// section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// That of this certificate, in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Thumbprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// In hexadecimal digits.
impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thumbprint(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// What is known of a client's certificate. The hash is made when somebody asks for it.
#[derive(Clone, Debug)]
pub(super) enum Certificate {
    Der(Bytes),
    Hash(Thumbprint),
}

impl Certificate {
    /// Of the client, as [a layer further out](super::client_cert) has found out, else that of the
    /// connection.
    pub(super) fn of(req: &impl Extensible) -> Option<Self> {
        let extensions = req.extensions();
        if let Some(Found(found)) = extensions.get() {
            return found.clone();
        }
        let own = extensions.get::<TlsInfo>()?.certificates().first()?;
        Some(Self::Der(own.clone()))
    }

    pub(super) fn thumbprint(&self) -> Thumbprint {
        match self {
            Self::Der(der) => Thumbprint::of(der),
            Self::Hash(hash) => *hash,
        }
    }
}

/// In the extensions of a request: the certificate of its client, who may be behind a proxy. `None`: the
/// client has shown none, whatever the connection says.
#[derive(Clone, Debug)]
pub(super) struct Found(pub(super) Option<Certificate>);
