//! A client for upstreams and vendors: pooled connections, HTTP/1.1 and HTTP/2, TLS.
//!
//! ```no_run
//! use http::Request;
//! use tower_gateway::{Body, client::Client};
//!
//! # async fn call() -> Result<(), tower_gateway::Rejection> {
//! let client = Client::new();
//! let request = Request::new(Body::empty());
//! # let request = { let mut r = request; *r.uri_mut() = "https://example.com/".parse().unwrap(); r };
//! let response = client.send(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! It follows no redirect, keeps no cookie, decodes no content, and asks no proxy named in the
//! environment: whatever a caller can bring an upstream to say, it reaches no host but the one in the
//! URI. Both bodies are streamed, with their trailers. Deadlines beyond that of connecting are for
//! the layers around it.
//!
//! # Which protocol
//!
//! Over `https` the server chooses HTTP/2 or HTTP/1.1 (ALPN). Over `http` it is HTTP/1.1, unless
//! [`http2_only`](Client::http2_only) says that the server is known to speak HTTP/2. The version of
//! the request is not looked at.
//!
//! HTTP/2 has one name for the server and none for a `Host` beside it (RFC 9113 §8.3.1). A request
//! whose `Host` is not that of its URI goes by HTTP/1.1 where the server would choose; if it is
//! HTTP/2 only, the `Host` is dropped.
//!
//! # TLS
//!
//! Certificates are verified by the verifier of the platform, and by
//! [`trust_pem`](Client::trust_pem) beside it. It is set up when `https` is first asked for: where
//! the trust store is broken, plain `http` goes on working. The provider of cryptography is
//! aws-lc-rs; the default of the process is neither read nor set.
//!
//! # Failures
//!
//! A [`Rejection`] says in [`Proxy-Status`](https://www.rfc-editor.org/rfc/rfc9209) what went wrong,
//! and never where: neither its text nor its headers name the upstream. The cause is its
//! [`source`](std::error::Error::source), for logs.
//!
//! | what went wrong | kind | `error` |
//! |---|---|---|
//! | no connection in time | [`ConnectTimeout`] | `connection_timeout` |
//! | connection refused | [`BadGateway`] | `connection_refused` |
//! | name unknown | [`BadGateway`] | `dns_error` |
//! | TLS, certificate | [`BadGateway`] | `tls_protocol_error`, `tls_alert_received`, `tls_certificate_error` |
//! | no route, any other reason not to connect | [`BadGateway`] | `destination_ip_unroutable`, `destination_unavailable` |
//! | an answer that is not HTTP | [`BadGateway`] | `http_protocol_error` |
//! | an answer that breaks off | [`BadGateway`] | `http_response_incomplete` |
//! | the connection breaks off | [`BadGateway`] | `connection_terminated` |
//! | the trust store cannot be read | [`Internal`] | `proxy_configuration_error` |
//! | the body of the *request* breaks off | what its error says, else [`InvalidRequest`] | |
//!
//! A rejection [is unsent](Rejection::is_unsent) where nothing of the request left: there was no connection,
//! or none of it was written to one, or an HTTP/2 server says that it has not looked at it
//! (`REFUSED_STREAM`, a `GOAWAY` that leaves it out).
//!
//! An answer that breaks off after its head is an error of its body, and that error is a
//! [`Rejection`] too. Likewise a body that a layer further out ended with a [`Rejection`], say for
//! its size, while it was being sent: the call fails with that very rejection.
//!
//! # Trying again
//!
//! A connection that waited in the pool may be closed by the server in the very moment in which a
//! request is written to it. A request of which nothing was written is always tried again. One that
//! was written is tried again once, if the connection was a used one, the method is idempotent
//! (RFC 9110 §9.2.2) and there is no body. All else is for a retry layer.
//!
//! # Who drives a connection
//!
//! What is HTTP/1.1 from the start (`http`, or [`http1_only`](Client::http1_only)) is driven by whoever
//! polls the call and then the body of its answer, in the same turn of the scheduler: an answer that
//! nobody polls is not read. Where it begins before the request is over, a task takes the connection
//! over, so that the rest goes up all the same. HTTP/2, connections for which a protocol is negotiated,
//! and upgrades have tasks of their own.
//!
//! # What is shared, and cancellation
//!
//! Clones share one pool; a clone costs one counter. Every setter starts a pool of its own. To drop
//! the future or the body of the response ends the call: HTTP/2 resets the stream, HTTP/1.1 closes
//! the connection, unless all of the answer had come. A connection that is not used is closed when the
//! server closes it, or when it has been idle for too long.
//!
//! [`BadGateway`]: crate::rejection::Kind::BadGateway
//! [`ConnectTimeout`]: crate::rejection::Kind::ConnectTimeout
//! [`Internal`]: crate::rejection::Kind::Internal
//! [`InvalidRequest`]: crate::rejection::Kind::InvalidRequest

mod connect;
mod fault;
mod http1;
#[cfg(any(feature = "authorize", feature = "jwt"))]
#[cfg_attr(
    not(feature = "jwt"),
    allow(dead_code, reason = "issuers need all of it")
)]
pub(crate) mod outward;
mod stream;

use self::{
    connect::{Connector, Used},
    fault::Fault,
    stream::{Answer, Outgoing, Sent},
};
use crate::{Body, Rejection};
use http::{
    HeaderValue, Method, Request, Response, Version, header,
    uri::{Authority, Scheme},
};
use http_body::Body as _;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_service::Service;

/// A client with a pool of connections.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    /// For what is HTTP/1.1 from the start.
    http1: http1::Pool,
    /// For what may be HTTP/2, and for upgrades.
    pool: legacy::Client<Connector, Outgoing>,
    /// The same, by HTTP/1.1. Made when it is first needed.
    http1_only: OnceLock<Client>,
}

#[derive(Clone, Debug)]
struct Config {
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_idle_per_host: usize,
    versions: Versions,
    roots: Vec<CertificateDer<'static>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    Both,
    Http1,
    Http2,
}

/// More than anyone waits, and less than a clock can count.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Versions {
    /// The names by which TLS negotiates them.
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
        }
    }
}

impl Client {
    /// Connects within 10 seconds, keeps at most 256 idle connections for each host, and each of
    /// them for 60 seconds.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Config {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_idle_per_host: 256,
            versions: Versions::Both,
            roots: Vec::new(),
        })
    }

    /// Sets how long it may take to find, reach and greet (TLS) a server, all in all. At most a year.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.connect_timeout = timeout.min(YEAR))
    }

    /// Sets how long a connection that is not used is kept. It should be less than the server keeps
    /// it: nginx closes after 75 seconds, many others after 5. At most
    /// a year.
    #[must_use]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.idle_timeout = timeout.min(YEAR))
    }

    /// Sets how many unused connections are kept for each host. With zero every call has a
    /// connection of its own.
    #[must_use]
    pub fn max_idle_per_host(self, connections: usize) -> Self {
        self.set(|config| config.max_idle_per_host = connections)
    }

    /// Speaks HTTP/2 only, also over `http` (prior knowledge, RFC 9113 §3.3), as gRPC servers ask.
    #[must_use]
    pub fn http2_only(self) -> Self {
        self.set(|config| config.versions = Versions::Http2)
    }

    /// Speaks HTTP/1.1 only, also where the server would choose HTTP/2.
    #[must_use]
    pub fn http1_only(self) -> Self {
        self.set(|config| config.versions = Versions::Http1)
    }

    /// Trusts these authorities too. `pem` holds one certificate or several.
    ///
    /// # Errors
    ///
    /// [`InvalidCertificate`] if `pem` holds none, or one that cannot be read.
    pub fn trust_pem(self, pem: &[u8]) -> Result<Self, InvalidCertificate> {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidCertificate(()))?;
        let mut scratch = rustls::RootCertStore::empty();
        for root in &roots {
            scratch
                .add(root.clone())
                .map_err(|_| InvalidCertificate(()))?;
        }
        if scratch.is_empty() {
            return Err(InvalidCertificate(()));
        }
        Ok(self.set(|config| config.roots.extend(roots)))
    }

    fn set(&self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.0.config.clone();
        set(&mut config);
        Self::of(config)
    }

    fn of(config: Config) -> Self {
        let connector = Connector::new(&config);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.max_idle_per_host)
            .http1_max_buf_size(128 * 1024)
            .http2_max_header_list_size(64 * 1024)
            // A peer that is gone without a word is found out while calls wait for it.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .http2_only(config.versions == Versions::Http2)
            .build(connector.clone());
        Self(Arc::new(Inner {
            http1: http1::Pool::new(&config, connector),
            config,
            pool,
            http1_only: OnceLock::new(),
        }))
    }

    /// Sends a request, whose URI names scheme and host, and waits for the head of the answer.
    ///
    /// Fails with a [`Rejection`], see the [module docs](self). Must be polled in a tokio runtime.
    pub fn send(&self, mut request: Request<Body>) -> ResponseFuture {
        // The pool refuses to carry what says HTTP/2 over a connection that turns out as HTTP/1.1,
        // and itself overrides what says HTTP/1.1.
        *request.version_mut() = Version::HTTP_11;
        let versions = self.0.config.versions;
        if versions == Versions::Http2 {
            request.headers_mut().remove(header::HOST);
        } else if versions == Versions::Both
            && request.uri().scheme() == Some(&Scheme::HTTPS)
            && names_another_host(&request)
        {
            let http1 = self.0.http1_only.get_or_init(|| self.clone().http1_only());
            return http1.send(request);
        }
        let bare = request.body().is_end_stream();
        if !bare
            && matches!(*request.method(), Method::GET | Method::HEAD)
            && request.body().size_hint().exact().is_none()
            && !request.headers().contains_key(header::CONTENT_LENGTH)
        {
            // Over HTTP/1.1 hyper drops such a body if nothing else says that there is one. Over
            // HTTP/2 it drops the header.
            let chunked = HeaderValue::from_static("chunked");
            request
                .headers_mut()
                .insert(header::TRANSFER_ENCODING, chunked);
        }
        let again = (bare && request.method().is_idempotent()).then(|| {
            let mut again = Request::new(Outgoing::empty());
            again.method_mut().clone_from(request.method());
            again.uri_mut().clone_from(request.uri());
            again.headers_mut().clone_from(request.headers());
            Again {
                client: self.clone(),
                request: again,
            }
        });
        let (request, sent) = if bare {
            (request.map(|_| Outgoing::empty()), None)
        } else {
            let sent = Sent::default();
            let report = sent.clone();
            (request.map(|body| Outgoing::new(body, report)), Some(sent))
        };
        ResponseFuture {
            pending: self.begin(request, sent.clone()),
            sent,
            again: again.map(Box::new),
        }
    }

    fn begin(&self, request: Request<Outgoing>, sent: Option<Sent>) -> Pending {
        let http1 = match self.0.config.versions {
            Versions::Http1 => true,
            Versions::Http2 => false,
            Versions::Both => request.uri().scheme() == Some(&Scheme::HTTP),
        };
        let becomes_another =
            request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE);
        if http1 && !becomes_another {
            Pending::Http1(self.0.http1.call(request, sent))
        } else {
            Pending::Pooled(self.0.pool.request(request))
        }
    }
}

/// Whether what follows the host, if anything does, is a port. Else it would be taken for none, and a
/// request would go to whoever listens at the port of the scheme.
pub(crate) fn has_plain_port(authority: &Authority) -> bool {
    let text = authority.as_str();
    let host = text.rsplit('@').next().unwrap_or(text);
    match host.strip_prefix(authority.host()) {
        Some("") => true,
        _ => authority.port_u16().is_some_and(|port| port > 0),
    }
}

fn names_another_host(request: &Request<Body>) -> bool {
    let own = request.uri().authority().map(|own| own.as_str().as_bytes());
    let host = request.headers().get(header::HOST);
    host.is_some_and(|host| own.is_none_or(|own| !own.eq_ignore_ascii_case(host.as_bytes())))
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.0.config;
        f.debug_struct("Client")
            .field("connect_timeout", &config.connect_timeout)
            .field("idle_timeout", &config.idle_timeout)
            .field("max_idle_per_host", &config.max_idle_per_host)
            .field("versions", &config.versions)
            .finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Client {
    type Response = Response<Body>;
    type Error = Rejection;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        self.send(request)
    }
}

/// Response future of [`Client`].
#[must_use = "nothing is sent unless it is polled"]
pub struct ResponseFuture {
    pending: Pending,
    sent: Option<Sent>,
    again: Option<Box<Again>>,
}

enum Pending {
    Http1(http1::Calling),
    Pooled(legacy::ResponseFuture),
}

impl Pending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Fault>> {
        Poll::Ready(match self {
            Self::Http1(calling) => ready!(calling.as_mut().poll(cx)).map_err(Fault::Http1),
            Self::Pooled(pending) => match ready!(Pin::new(pending).poll(cx)) {
                Ok(mut response) => {
                    if let Some(used) = response.extensions_mut().remove::<Used>() {
                        used.mark();
                    }
                    Ok(response.map(Answer::body))
                }
                Err(error) => Err(Fault::Pooled(error)),
            },
        })
    }
}

/// What it takes to send a request a second time.
struct Again {
    client: Client,
    request: Request<Outgoing>,
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let fault = match ready!(self.pending.poll(cx)) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(fault) => fault,
            };
            if let Some(rejection) = self.sent.as_ref().and_then(Sent::fault) {
                return Poll::Ready(Err(rejection));
            }
            match self.again.take() {
                Some(again) if fault.is_worn() => {
                    self.pending = again.client.begin(again.request, None);
                }
                _ => return Poll::Ready(Err(fault.into())),
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// No certificate, or one that cannot be read.
#[derive(Debug)]
pub struct InvalidCertificate(());

impl fmt::Display for InvalidCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a list of PEM certificates")
    }
}

impl Error for InvalidCertificate {}

#[cfg(test)]
mod tests;
