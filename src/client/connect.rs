//! Making connections: names, TCP, TLS, one deadline over all of it.

use super::{Config, Versions};
use crate::BoxError;
use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        Connected, Connection, HttpConnector,
        dns::{GaiAddrs, GaiResolver, Name},
    },
    rt::TokioIo,
};
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tower_service::Service;

type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Connects to where a URI points. The pool clones it for each call.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    tcp: HttpConnector<Resolver>,
    tls: OnceLock<Arc<ClientConfig>>,
    roots: Vec<CertificateDer<'static>>,
    timeout: Duration,
    versions: Versions,
}

impl Connector {
    pub(super) fn new(config: &Config) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        // Shared out among the addresses of a name, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(config.connect_timeout));
        Self(Arc::new(Shared {
            tcp,
            tls: OnceLock::new(),
            roots: config.roots.clone(),
            timeout: config.connect_timeout,
            versions: config.versions,
        }))
    }

    async fn connect(self, uri: Uri) -> Result<Stream, BoxError> {
        let mut tcp = self.0.tcp.clone();
        let stream = if uri.scheme() == Some(&Scheme::HTTPS) {
            let tls = self.tls().await?;
            HttpsConnector::from((tcp, tls)).call(uri).await?
        } else {
            MaybeHttpsStream::Http(tcp.call(uri).await?)
        };
        Ok(Stream {
            stream,
            used: Used::default(),
            stalled: Arc::default(),
        })
    }

    /// Reading the trust store takes milliseconds of disk, so it is kept off the runtime's threads.
    /// What failed is tried again by the next call.
    async fn tls(&self) -> Result<Arc<ClientConfig>, TlsUnavailable> {
        if let Some(tls) = self.0.tls.get() {
            return Ok(tls.clone());
        }
        let shared = self.0.clone();
        let made = tokio::task::spawn_blocking(move || shared.make_tls()).await;
        let tls = made
            .map_err(|error| TlsUnavailable(error.into()))?
            .map_err(|error| TlsUnavailable(error.into()))?;
        Ok(self.0.tls.get_or_init(|| Arc::new(tls)).clone())
    }
}

impl Shared {
    fn make_tls(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            Verifier::new_with_extra_roots(self.roots.iter().cloned(), provider.clone())?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        tls.alpn_protocols = self.versions.alpn();
        Ok(tls)
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Connecting<Stream, BoxError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let limit = this.0.timeout;
            match tokio::time::timeout(limit, this.connect(uri)).await {
                Ok(connected) => connected,
                Err(elapsed) => Err(io::Error::from(elapsed).into()),
            }
        })
    }
}

/// The resolver of the system, whose failures can be told from others.
#[derive(Clone)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = Unresolved;
    type Future = Connecting<GaiAddrs, Unresolved>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        self.0.poll_ready(cx).map_err(Unresolved)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { resolving.await.map_err(Unresolved) })
    }
}

/// The name has no address.
#[derive(Debug)]
pub(super) struct Unresolved(io::Error);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address")
    }
}

impl Error for Unresolved {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// TLS could not be set up on our side.
#[derive(Debug)]
pub(super) struct TlsUnavailable(BoxError);

impl fmt::Display for TlsUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS could not be set up")
    }
}

impl Error for TlsUnavailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Whether a connection has carried an answer before. It comes with each answer and each error, in
/// the place of the addresses that hyper-util would put there.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(Arc<AtomicBool>);

impl Used {
    pub(super) fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection.
pub(super) struct Stream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    used: Used,
    /// Whether the last write had to wait.
    stalled: Arc<AtomicBool>,
}

impl Stream {
    /// A handle to whether the last write had to wait.
    pub(super) fn stalled(&self) -> Arc<AtomicBool> {
        self.stalled.clone()
    }

    fn written<T>(&self, written: Poll<T>) -> Poll<T> {
        self.stalled.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.used.clone());
        if self.stream.connected().is_negotiated_h2() {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[tokio::test]
    async fn a_connection_does_not_wait_for_acknowledgements() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let connector = Connector::new(&Client::new().0.config);
        let stream = connector.connect(uri.parse().unwrap()).await.unwrap();
        match stream.stream {
            MaybeHttpsStream::Http(stream) => assert!(stream.inner().nodelay().unwrap()),
            MaybeHttpsStream::Https(_) => panic!("no TLS was asked for"),
        }
    }
}
