//! What TLS told of the connection that a request came by.
//!
//! The server that ends TLS puts a [`TlsInfo`] into the extensions of each request, as
//! [`gateway::Server`](crate::gateway::Server) does. Where another server stands in front of a layer of
//! this crate, it is made from what that one knows:
//!
//! ```
//! use tower_gateway::tls::TlsInfo;
//!
//! let leaf = b"the DER of a certificate".to_vec();
//! let tls = TlsInfo::new().server_name("api.example.com").peer_certificates([leaf]);
//! assert_eq!(tls.name(), Some("api.example.com"));
//! assert_eq!(tls.certificates().len(), 1);
//! ```

use bytes::Bytes;
use std::{fmt, sync::Arc};

/// TLS of one connection. To clone it is cheap: the requests of a connection share it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsInfo(Arc<Told>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Told {
    version: Option<&'static str>,
    name: Option<Box<str>>,
    protocol: Option<Box<[u8]>>,
    certificates: Vec<Bytes>,
    one_name: bool,
}

impl TlsInfo {
    /// TLS of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the version, as `TLSv1.3`.
    #[must_use]
    pub fn tls_version(mut self, version: &'static str) -> Self {
        Arc::make_mut(&mut self.0).version = Some(version);
        self
    }

    /// Sets the name that the client asked for (RFC 6066 section 3, SNI).
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).name = Some(name.into().into());
        self
    }

    /// Sets the protocol that was agreed on (RFC 7301, ALPN): `h2`, `http/1.1`.
    #[must_use]
    pub fn alpn(mut self, protocol: impl Into<Vec<u8>>) -> Self {
        Arc::make_mut(&mut self.0).protocol = Some(protocol.into().into());
        self
    }

    /// Sets the client's certificates, each in DER, its own first. Whoever sets them has verified
    /// them.
    #[must_use]
    pub fn peer_certificates<C: Into<Bytes>>(
        mut self,
        certificates: impl IntoIterator<Item = C>,
    ) -> Self {
        let certificates = certificates.into_iter().map(Into::into);
        Arc::make_mut(&mut self.0).certificates = certificates.collect();
        self
    }

    /// Says that what comes by this connection is for its [name](Self::name) alone. A
    /// [`ServerNameLayer`](crate::server_name::ServerNameLayer) holds requests to it.
    #[must_use]
    pub fn one_name(mut self) -> Self {
        Arc::make_mut(&mut self.0).one_name = true;
        self
    }

    /// The version, as `TLSv1.3`.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        self.0.version
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Whether what comes by this connection is for its name alone.
    #[must_use]
    pub fn is_of_one_name(&self) -> bool {
        self.0.one_name
    }

    /// The protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.0.protocol.as_deref()
    }

    /// The client's certificates, verified, each in DER, its own first. None: it showed none.
    #[must_use]
    pub fn certificates(&self) -> &[Bytes] {
        &self.0.certificates
    }
}

impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.0.version)
            .field("name", &self.0.name)
            .field("protocol", &self.protocol().map(String::from_utf8_lossy))
            .field("certificates", &self.0.certificates.len())
            .field("one_name", &self.0.one_name)
            .finish()
    }
}
