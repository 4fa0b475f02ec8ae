//! Authorities of a test's own, and a client that says one name in the handshake and another in the request.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{env, fs, net::SocketAddr, path::PathBuf, process, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

/// An authority, and a folder for what it signs, gone with it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    folder: PathBuf,
}

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    key: String,
}

impl Identity {
    pub(crate) fn der(&self) -> Vec<u8> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        der.unwrap().to_vec()
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = format!("tower-gateway-it-authority-{}-{name}", process::id());
        let folder = env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        fs::write(folder.join("ca.pem"), &pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            folder,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn sign(&self, name: &str) -> Identity {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// The files of a certificate of this name, and of its key.
    pub(crate) fn files(&self, name: &str) -> (PathBuf, PathBuf) {
        let identity = self.sign(name);
        let (pem, key) = (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        );
        fs::write(&pem, identity.certificate).unwrap();
        fs::write(&key, identity.key).unwrap();
        (pem, key)
    }

    /// Answers to requests that go, one after the other, by one connection for this name.
    pub(crate) async fn ask(
        &self,
        addr: SocketAddr,
        (name, own, http2): (&'static str, Option<&Identity>, bool),
        requests: Vec<Request<Empty<Bytes>>>,
    ) -> Vec<Response<Bytes>> {
        let io = TokioIo::new(self.open(addr, (name, own, http2)).await);
        let mut answers = Vec::new();
        macro_rules! send_all {
            ($sender:expr) => {
                for request in requests {
                    let answer = $sender.send_request(request).await.unwrap();
                    let (head, body) = answer.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    answers.push(Response::from_parts(head, body));
                }
            };
        }
        if http2 {
            let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = made.unwrap();
            tokio::spawn(connection);
            send_all!(sender);
        } else {
            let made = hyper::client::conn::http1::handshake(io).await;
            let (mut sender, connection) = made.unwrap();
            tokio::spawn(connection);
            send_all!(sender);
        }
        answers
    }

    /// A connection for this name, of which the handshake is over.
    pub(crate) async fn open(
        &self,
        addr: SocketAddr,
        (name, own, http2): (&'static str, Option<&Identity>, bool),
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                let chain = vec![own.der().into()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(addr).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name).unwrap();
        connector.connect(name, stream).await.unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A request that says this host where its version of HTTP does.
pub(crate) fn get(host: &str, path: &str, http2: bool) -> http::request::Builder {
    if http2 {
        Request::get(format!("https://{host}{path}"))
    } else {
        Request::get(path).header("host", host)
    }
}
