//! Find out who calls, by the certificate that it showed (mutual TLS).
//!
//! The certificate was verified by whoever ended TLS: this process, which leaves a [`TlsInfo`] in the
//! extensions of the request, or a proxy that is [trusted](ClientCertLayer::trusted_proxies), which tells of
//! it in a header. Its name becomes the [`Principal`]: a SPIFFE id, else another URI, else a host, else an
//! address of mail, of the *subject alternative names*; never the common name.
//!
//! ```
//! use axum::{Extension, Router, http::StatusCode, routing::get};
//! use tower_gateway::{Principal, auth::client_cert::{CertHeader, ClientCertLayer}, client_addr::PeerAddr};
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = ClientCertLayer::new().trusted_proxies(["10.0.0.0/8"], CertHeader::Xfcc)?;
//! let app: Router = Router::new()
//!     .route("/", get(|Extension(who): Extension<Principal>| async move { who.id().to_string() }))
//!     .layer(layer);
//!
//! let request = |peer: [u8; 4]| {
//!     Request::get("/")
//!         .extension(PeerAddr((peer, 4711).into()))
//!         .header("x-forwarded-client-cert", "URI=spiffe://acme.example/ns/billing")
//!         .body(Body::empty())
//! };
//! let proxy = app.clone().oneshot(request([10, 1, 2, 3])?).await?;
//! assert_eq!(proxy.status(), StatusCode::OK);
//! let anyone = app.oneshot(request([192, 0, 2, 1])?).await?;
//! assert_eq!(anyone.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! | what was shown | status | code | headers |
//! |---|--:|---|---|
//! | no certificate | 401 | `missing_api_key` | `WWW-Authenticate: Certificate realm="api"` |
//! | one without a name, with several of the kind that counts, or that cannot be read | 401 | `invalid_api_key` | the same |
//! | a header of a trusted proxy that stands twice, tells of several, or is none | 400 | `invalid_request` | |
//!
//! **What if its store is down**: there is none. Nothing is shared, and nothing is kept.
//!
//! # Headers
//!
//! [`Client-Cert`](CertHeader::ClientCert) (RFC 9440) or [`X-Forwarded-Client-Cert`](CertHeader::Xfcc) (Envoy):
//! the one that is chosen, and only if the peer is a trusted proxy. For such a peer the header alone counts,
//! for its own certificate is the proxy's. A proxy must set the header, and not append to it. Whoever sent
//! them, `client-cert`, `client-cert-chain` and `x-forwarded-client-cert` are taken out of the request, also
//! with `_` for `-`, and so are [other headers](super#what-goes-further) in which a caller claims to be
//! someone.
//!
//! # Bound tokens
//!
//! A [token](super::jwt#bound-tokens) may be bound to a certificate (RFC 8705). An
//! [`AuthLayer`](super::AuthLayer) further in takes that of the connection, or what this layer has found out:
//! where the connection is a proxy's, the header counts, of [`Xfcc`](CertHeader::Xfcc) its `Hash`.
//! [`for_tokens`](ClientCertLayer::for_tokens) is for that alone.

mod names;
mod xfcc;

use self::names::Names;
use super::{
    base64::{Form, decode},
    certificate::{Certificate, Found, Thumbprint},
    credential::{Places, malformed},
};
use crate::{
    Exchange, Extensible, Principal, Rejection,
    admit::{Admit, Admitted},
    client_addr::{InvalidNetwork, PeerAddr, networks},
    rejection::Kind,
    tls::TlsInfo,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use std::sync::Arc;
use tower_layer::Layer;

/// In which header trusted proxies tell of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertHeader {
    /// `Client-Cert`: the certificate itself, RFC 9440.
    ClientCert,
    /// `X-Forwarded-Client-Cert`: its names, as Envoy has them. Of it `URI` and `DNS` are read.
    Xfcc,
}

impl CertHeader {
    fn name(self) -> &'static str {
        match self {
            Self::ClientCert => "client-cert",
            Self::Xfcc => "x-forwarded-client-cert",
        }
    }
}

/// Applies [`ClientCert`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct ClientCertLayer {
    trusted: Arc<[IpNet]>,
    header: Option<CertHeader>,
    prefix: Arc<str>,
    optional: bool,
    /// Whether somebody is let in by a name.
    names: bool,
}

impl ClientCertLayer {
    /// Asks for the certificate of the connection, and trusts no proxy.
    #[must_use]
    pub fn new() -> Self {
        Self {
            trusted: Arc::default(),
            header: None,
            prefix: "".into(),
            optional: false,
            names: true,
        }
    }

    /// Sets which peers are proxies that are believed, as networks or single addresses, and in which header
    /// they tell of a certificate.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] with the first text that is neither a network nor an address.
    pub fn trusted_proxies(
        mut self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        header: CertHeader,
    ) -> Result<Self, InvalidNetwork> {
        self.trusted = networks(texts)?.into();
        self.header = Some(header);
        Ok(self)
    }

    /// Sets what stands before the names of principals. Nothing by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Lets calls without a certificate pass, as nobody, so that a layer further in asks for something else
    /// ([`or_outer`](super::AuthLayer::or_outer)).
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Lets nobody in by a name, and asks for no certificate: what is found out of one is for
    /// [tokens that are bound to it](self#bound-tokens).
    #[must_use]
    pub fn for_tokens(mut self) -> Self {
        self.names = false;
        self
    }

    /// Whether somebody is let in by a name.
    #[cfg(feature = "gateway")]
    pub(crate) fn lets_in(&self) -> bool {
        self.names
    }

    fn prove(&self, req: &mut impl Extensible) -> Result<(), Rejection> {
        let shown = self.shown(req);
        // Whoever put it there, it was not us.
        req.extensions_mut().remove::<Principal>();
        strip(req.headers_mut());
        Places::new([]).strip_claims(req);
        let shown = shown?;
        let certificate = shown.as_ref().and_then(Shown::certificate);
        req.extensions_mut().insert(Found(certificate));
        if !self.names {
            return Ok(());
        }
        let Some(shown) = shown else {
            return if self.optional {
                Ok(())
            } else {
                Err(challenge(Kind::Unauthenticated))
            };
        };
        let names = shown.names().ok_or_else(|| invalid("it cannot be read"))?;
        let name = names
            .first()
            .ok_or_else(|| invalid("it has not one name"))?;
        let principal = Principal::new(format!("{}{name}", self.prefix));
        if let Some(exchange) = Exchange::of(req) {
            exchange.update(|facts| facts.principal = Some(principal.id().clone()));
        }
        req.extensions_mut().insert(principal);
        Ok(())
    }

    /// What a trusted proxy tells, else the connection. `None`: there is no certificate.
    fn shown(&self, req: &impl Extensible) -> Result<Option<Shown>, Rejection> {
        let peer = req.extensions().get::<PeerAddr>();
        let proxy = peer.is_some_and(|PeerAddr(peer)| {
            let peer = peer.ip().to_canonical();
            self.trusted.iter().any(|network| network.contains(&peer))
        });
        match self.header {
            Some(header) if proxy => told(header, req.headers()),
            _ => {
                let tls = req.extensions().get::<TlsInfo>();
                let own = tls.and_then(|tls| tls.certificates().first());
                Ok(own.cloned().map(Shown::Whole))
            }
        }
    }
}

/// What is known of a certificate.
enum Shown {
    /// In DER.
    Whole(Bytes),
    Xfcc(Names, Option<Thumbprint>),
}

impl Shown {
    fn names(self) -> Option<Names> {
        match self {
            Self::Whole(der) => Names::of(&der),
            Self::Xfcc(names, _) => Some(names),
        }
    }

    fn certificate(&self) -> Option<Certificate> {
        match self {
            Self::Whole(der) => Some(Certificate::Der(der.clone())),
            Self::Xfcc(_, hash) => hash.map(Certificate::Hash),
        }
    }
}

/// What a trusted proxy tells.
fn told(header: CertHeader, headers: &HeaderMap) -> Result<Option<Shown>, Rejection> {
    let mut values = headers.get_all(header.name()).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| no_header())?,
        _ => return Err(no_header()),
    };
    let shown = match header {
        CertHeader::Xfcc => xfcc::read(value).map(|(names, hash)| Shown::Xfcc(names, hash)),
        CertHeader::ClientCert => {
            // A byte sequence of RFC 8941 §3.3.5.
            let inner = value
                .trim()
                .strip_prefix(':')
                .and_then(|it| it.strip_suffix(':'));
            let der = inner.and_then(|it| decode(Form::Padded, it.as_bytes()));
            der.map(|der| Shown::Whole(der.into()))
        }
    };
    shown.map(Some).ok_or_else(no_header)
}

fn no_header() -> Rejection {
    malformed("What a proxy told of the certificate is not in order.")
}

fn invalid(reason: &'static str) -> Rejection {
    challenge(Kind::InvalidCredentials).with_source(reason)
}

fn challenge(kind: Kind) -> Rejection {
    let challenge = HeaderValue::from_static(r#"Certificate realm="api""#);
    Rejection::new(kind).with_header(header::WWW_AUTHENTICATE, challenge)
}

/// Takes out what only proxies may say.
fn strip(headers: &mut HeaderMap) {
    let says = |name: &&HeaderName| {
        let name = name.as_str().replace('_', "-");
        matches!(
            &*name,
            "client-cert" | "client-cert-chain" | "x-forwarded-client-cert"
        )
    };
    let said: Vec<HeaderName> = headers.keys().filter(says).cloned().collect();
    for name in said {
        headers.remove(name);
    }
}

impl Default for ClientCertLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ClientCertLayer {
    type Service = ClientCert<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}

impl<Req: Extensible> Admit<Req> for ClientCertLayer {
    fn admit(&self, req: &mut Req) -> Result<(), Rejection> {
        self.prove(req)
    }
}

/// Turns away calls that came without a certificate, or by one that names nobody.
///
/// See the [module docs](self) for an example.
pub type ClientCert<S> = Admitted<S, ClientCertLayer>;

#[cfg(test)]
mod tests;
