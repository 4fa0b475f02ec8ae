//! TLS where the gateway ends it: certificates from files, and again from them when they change.

mod error;
mod wire;

pub use self::error::TlsError;
pub(super) use self::wire::{Opened, PREFACE, Wire};

use crate::tls::TlsInfo;
use bytes::Bytes;
use rustls::{
    RootCertStore, ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName,
        pem::{Error as PemError, PemObject},
    },
    server::{
        ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use tokio_rustls::server::TlsStream;

/// Certificates of a server, and whom it asks for theirs.
///
/// TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1 by ALPN, the cryptography of aws-lc-rs.
///
/// ```no_run
/// use tower_gateway::{gateway::{Gateway, Server, Tls}, llm::Simulator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gateway = Gateway::builder().simulator(Simulator::new()).build()?;
/// let tls = Tls::files("fullchain.pem", "privkey.pem")?;
/// Server::bind(gateway, "0.0.0.0:8443")?.tls(tls).run().await?;
/// # Ok(())
/// # }
/// ```
///
/// # When files change
///
/// While a [`Server`](super::Server) runs it looks at the files every [10 seconds](Self::reload_every),
/// and at what links point to. New connections get what was read last; those that are open keep what
/// they began with. Files that do not fit together, as between the renewal of a certificate and that of
/// its key, are told of in the log, and the last good ones go on. A file that cannot be read is tried again
/// each time.
///
/// # Certificates of clients
///
/// With [`client_authorities`](Self::client_authorities) a connection needs a certificate that one of
/// them has signed, and none is accepted without; with
/// [`optional_client_certificates`](Self::optional_client_certificates) a client may show none, and one
/// that is wrong is still refused. What was verified stands in the extensions of each request as
/// [`TlsInfo`]. It says which key a client holds. What it may do is for a layer to say.
///
/// # Requests for another name
///
/// Where there is more than one certificate, or clients are asked for theirs, a connection is for the name
/// that was asked for in its handshake: a request for another one (`Host`, `:authority`) is answered with
/// 421 `misdirected_request`, see [`server_name`](crate::server_name). With one certificate and no
/// authorities of clients nothing depends on the name, and any will do.
/// [`any_host`](Self::any_host) lets all pass.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    every: Duration,
    any_host: bool,
    current: Arc<RwLock<Current>>,
}

/// Where it is all read from.
#[derive(Clone, Default)]
struct Files {
    /// Certificates with their keys, the one for names that nobody knows first.
    pairs: Vec<(PathBuf, PathBuf)>,
    authorities: Option<PathBuf>,
    revoked: Option<PathBuf>,
    optional: bool,
}

struct Current {
    config: Arc<ServerConfig>,
    /// How the files looked that it was made from, or that were found to be wrong since.
    seen: Vec<Look>,
}

/// What tells one state of a file from another.
type Look = Option<(SystemTime, u64)>;

impl Tls {
    /// A chain of certificates in PEM, the server's own first, and its private key in PEM (PKCS #8, PKCS
    /// #1 or SEC1).
    ///
    /// # Errors
    ///
    /// [`TlsError`], if a file cannot be read, holds something else, or the key is another
    /// certificate's.
    pub fn files(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let files = Files {
            pairs: vec![(certificates.into(), key.into())],
            ..Files::default()
        };
        Ok(Self {
            current: Arc::new(RwLock::new(files.read()?)),
            files,
            every: Duration::from_secs(10),
            any_host: false,
        })
    }

    /// Adds another certificate, for clients that ask for a name that is in it. Those that ask for a name
    /// that is in none, or for none, are shown the first.
    ///
    /// # Errors
    ///
    /// As of [`files`](Self::files).
    pub fn and_files(
        self,
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        self.with(|files| files.pairs.push((certificates.into(), key.into())))
    }

    /// Asks clients for a certificate that one of these has signed, in PEM, and refuses connections
    /// without.
    ///
    /// # Errors
    ///
    /// [`TlsError`], if the file cannot be read or holds no certificate.
    pub fn client_authorities(self, authorities: impl Into<PathBuf>) -> Result<Self, TlsError> {
        self.with(|files| files.authorities = Some(authorities.into()))
    }

    /// Lets clients in that show no certificate.
    ///
    /// # Errors
    ///
    /// [`TlsError`], if a file cannot be read any more, or if no
    /// [`client_authorities`](Self::client_authorities) were named before: then nobody is asked for one.
    pub fn optional_client_certificates(self) -> Result<Self, TlsError> {
        if self.files.authorities.is_none() {
            return Err(TlsError::of_clients(&self.files.pairs[0].0));
        }
        self.with(|files| files.optional = true)
    }

    /// Refuses certificates of clients that these lists revoke (RFC 5280 section 5), in PEM. A
    /// certificate whose authority has no list here is not refused. Where its list is past its `nextUpdate` it
    /// is, for nobody knows what was revoked since: renew lists in time.
    ///
    /// # Errors
    ///
    /// [`TlsError`], if the file cannot be read or holds no list, or if no
    /// [`client_authorities`](Self::client_authorities) were named before.
    pub fn revocation_lists(self, lists: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let lists = lists.into();
        if self.files.authorities.is_none() {
            return Err(TlsError::of_clients(&lists));
        }
        self.with(|files| files.revoked = Some(lists))
    }

    /// Lets requests pass that are for another name than their connection. Then whoever is let in by one
    /// name reaches what is behind the others.
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// Sets how often a running server looks whether files have changed: every 10 seconds. Zero: never.
    #[must_use]
    pub fn reload_every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// Reads the files again, now. All clones and the server that runs with one of them follow.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; what was read before goes on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = self.files.read()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    fn with(mut self, change: impl FnOnce(&mut Files)) -> Result<Self, TlsError> {
        change(&mut self.files);
        // What clones of it have is not changed.
        self.current = Arc::new(RwLock::new(self.files.read()?));
        Ok(self)
    }

    fn config(&self) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.config.clone()
    }

    /// Looks at the files again and again, and never returns.
    pub(super) async fn watch(self) {
        if self.every.is_zero() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(self.every).await;
            let this = self.clone();
            // Disks may be slow.
            let _ = tokio::task::spawn_blocking(move || this.look()).await;
        }
    }

    /// Reads the files again if they look other than before.
    fn look(&self) {
        let seen = self.files.look();
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if known.seen == seen {
            return;
        }
        drop(known);
        match self.reload() {
            Ok(()) => tracing::info!(tls = ?self, "certificates were read again"),
            Err(error) => {
                tracing::warn!(%error, "the old certificates go on");
                // What could not be read says nothing: it is tried again the next time.
                if !error.is_passing() {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    current.seen = seen;
                }
            }
        }
    }

    /// The handshake. How long it may take is for the caller to say.
    pub(super) async fn accept<I>(&self, stream: I) -> std::io::Result<(TlsStream<I>, TlsInfo)>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let acceptor = tokio_rustls::TlsAcceptor::from(self.config());
        let stream = acceptor.accept(stream).await?;
        let info = told(stream.get_ref().1);
        let info = match self.is_by_name() {
            true => info.one_name(),
            false => info,
        };
        Ok((stream, info))
    }

    /// Whether something depends on the name that a client asks for.
    fn is_by_name(&self) -> bool {
        let chosen = self.files.pairs.len() > 1 || self.files.authorities.is_some();
        chosen && !self.any_host
    }
}

fn told(connection: &rustls::ServerConnection) -> TlsInfo {
    let mut info = TlsInfo::new();
    match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => info = info.tls_version("TLSv1.3"),
        Some(rustls::ProtocolVersion::TLSv1_2) => info = info.tls_version("TLSv1.2"),
        _ => {}
    }
    if let Some(name) = connection.server_name() {
        info = info.server_name(name);
    }
    if let Some(protocol) = connection.alpn_protocol() {
        info = info.alpn(protocol);
    }
    match connection.peer_certificates() {
        Some(chain) => {
            info.peer_certificates(chain.iter().map(|one| Bytes::copy_from_slice(one.as_ref())))
        }
        None => info,
    }
}

impl Files {
    fn read(&self) -> Result<Current, TlsError> {
        // Before they are read: what changes meanwhile is seen the next time.
        let seen = self.look();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pairs = self.pairs.iter();
        let keys = pairs.map(|(certificates, key)| certified(certificates, key, &provider));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::refused(&self.pairs[0].0, error))?;
        let builder = match &self.authorities {
            Some(path) => builder.with_client_cert_verifier(self.verifier(path, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        Ok(Current { config, seen })
    }

    fn verifier(
        &self,
        authorities: &Path,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(authorities)? {
            roots
                .add(root)
                .map_err(|error| TlsError::refused(authorities, error))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        if let Some(path) = &self.revoked {
            let lists = blocks::<CertificateRevocationListDer<'static>>(path)?;
            if lists.is_empty() {
                return Err(TlsError::empty(path, "no block of `X509 CRL`"));
            }
            builder = builder
                .with_crls(lists)
                .allow_unknown_revocation_status()
                .enforce_revocation_expiration();
        }
        if self.optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build();
        verifier.map_err(|error| TlsError::refused(authorities, error))
    }

    fn look(&self) -> Vec<Look> {
        let pairs = self.pairs.iter().flat_map(|(one, other)| [one, other]);
        let all = pairs.chain(&self.authorities).chain(&self.revoked);
        all.map(|path| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
        .collect()
    }
}

fn certified(
    chain: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificates = certificates(chain)?;
    let private = PrivateKeyDer::from_pem_slice(&contents(key)?);
    let private = private.map_err(|error| match error {
        PemError::NoItemsFound => TlsError::empty(key, "no private key"),
        error => TlsError::refused(key, error),
    })?;
    let certified = CertifiedKey::from_der(certificates, private, provider);
    match certified {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::mismatch(chain, key)),
        Err(error) => Err(TlsError::refused(key, error)),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = blocks::<CertificateDer<'static>>(path)?;
    if all.is_empty() {
        return Err(TlsError::empty(path, "no block of `CERTIFICATE`"));
    }
    // What is none would be found out by the first client.
    for one in &all {
        ParsedCertificate::try_from(one).map_err(|error| TlsError::refused(path, error))?;
    }
    Ok(all)
}

fn blocks<T: PemObject>(path: &Path) -> Result<Vec<T>, TlsError> {
    let text = contents(path)?;
    let all = T::pem_slice_iter(&text).collect::<Result<_, _>>();
    all.map_err(|error| TlsError::refused(path, error))
}

/// Who names a device or a folder by mistake is told, and the memory is not filled.
const LARGEST: u64 = 16 << 20;

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let read = || {
        let mut text = Vec::new();
        let file = fs::File::open(path)?;
        file.take(LARGEST + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text: Vec<u8> = read().map_err(|error| TlsError::unreadable(path, &error))?;
    match text.len() as u64 > LARGEST {
        true => Err(TlsError::empty(path, "more than 16 MiB, and no PEM")),
        false => Ok(text),
    }
}

/// Certificates, chosen by the name that a client asks for. There is one at least.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = name.filter(|_| self.0.len() > 1).and_then(|name| {
            let mut all = self.0.iter();
            all.find(|key| is_for(key, &name))
        });
        named.or(self.0.first()).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let own = key.cert.first().map(ParsedCertificate::try_from);
    own.and_then(Result::ok)
        .is_some_and(|own| verify_server_name(&own, name).is_ok())
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Tls");
        for (certificates, _) in &self.files.pairs {
            shown.field("certificates", certificates);
        }
        if let Some(authorities) = &self.files.authorities {
            shown.field("client_authorities", authorities);
        }
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
