//! A reverse proxy for one upstream, or for several that stand for one another.
//!
//! ```no_run
//! use http::Method;
//! use tower_gateway::{Body, proxy::Proxy, route::{Methods, Routes}};
//!
//! # fn build() -> Result<(), Box<dyn std::error::Error>> {
//! let users = Proxy::to("http://users.internal:8080/v1")?.strip_prefix("/api");
//! let files = Proxy::to("http://files.internal")?;
//! let router = Routes::new()
//!     .route("/api/users/{*rest}", Methods::ANY, users)
//!     .route("/files/{*path}", Method::GET, files)
//!     .build()?;
//! # let _: tower_gateway::route::Router = router;
//! # Ok(())
//! # }
//! ```
//!
//! Both bodies are streamed, with their trailers. Nothing is held back and nothing is buffered but
//! what the connections buffer. What comes from the upstream is the answer, errors too; there is no
//! retry and no deadline but that of connecting. For those put layers around a proxy, or around the
//! [`client`](Proxy::client) in it.
//!
//! # Pools
//!
//! [`Proxy::pool`] makes one service of several upstreams: a [`Balance`](crate::balance::Balance) of
//! proxies, with its strategies, and without those that fail or do not pass their checks. Layers around it see
//! one service. A [retry](crate::retry) that is told to ask [elsewhere](crate::retry::RetryLayer::elsewhere) goes to another
//! upstream each time.
//!
//! ```
//! use std::time::Duration;
//! use tower_gateway::{balance::{Checks, Strategy}, proxy::{HttpCheck, Proxy, Upstream}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let checks = Checks::new().interval(Duration::from_secs(5));
//! let pool = Proxy::pool([
//!     Upstream::new("http://10.0.0.1:8080/v1").weight(2),
//!     Upstream::new("http://10.0.0.2:8080/v1"),
//!     Upstream::new("http://spare.internal:8080/v1").priority(1),
//! ])?
//! .rules(Strategy::PeakEwma)
//! .check(HttpCheck::get("/health")?.port(9090).every(checks))
//! .each(|proxy| proxy.strip_prefix("/api"))
//! .build()?;
//!
//! // What is known of each, and may be set, while calls come.
//! pool.endpoints().drain("10.0.0.1:8080");
//! let status = pool.endpoints().status("10.0.0.1:8080").ok_or("it is there")?;
//! assert_eq!((status.state.as_str(), status.weight), ("draining", 2));
//! # Ok(())
//! # }
//! ```
//!
//! Upstreams are named by their host and port, there and in the [`Exchange`]. They can come from a
//! [source](Pool::discover), such as the DNS. With nobody to be called the answer is 503
//! `upstream_unavailable`, with `Proxy-Status: tower-gateway; error=destination_unavailable`. All of a pool
//! share one client, the places for tunnels, and the name by which a loop is detected. A tunnel is no
//! call that is out.
//!
//! # What is forwarded
//!
//! | | request | answer |
//! |---|---|---|
//! | path | as it came, if that is its [normal form](crate::path), joined to that of the upstream | |
//! | `Host` | that of the upstream, or [the caller's](Proxy::preserve_host) | |
//! | hop-by-hop headers, and those that `Connection` names | removed | removed |
//! | `TE` | `trailers` at most | |
//! | `Expect` | removed: the server answers `100 Continue` when the upstream wants the body | |
//! | `Via` | appended | appended |
//! | [`X-Forwarded-*` or `Forwarded`](Forwarding) | appended, or replaced | |
//! | `X-Client-IP`, `True-Client-IP`, `CF-Connecting-IP`, for which nobody vouches | removed | |
//! | `X_Forwarded_For` and the like, which some servers take for the real ones | removed | |
//! | [what callers do not get to say](crate::identity), such as `X-User-*` and `X-Original-URL` | removed, unless a layer [vouches](Vouched) for it, or it is [protected](Proxy::protect_header) | |
//! | trailers that are for a head: framing, credentials, [who calls](crate::identity), what is protected, removed or sent here | removed | |
//! | several `Cookie` lines | joined, as HTTP/1.1 asks | |
//! | `grpc-timeout`, where a [deadline](crate::deadline) holds | what is left of it | |
//! | all else, also `Authorization` | as it came, unless [removed](Proxy::remove_header) | as it came |
//!
//! `X-Forwarded-*` and `Forwarded` that came with the request are appended to only if a
//! [`ClientAddrLayer`](crate::client_addr::ClientAddrLayer) further out has found them trustworthy;
//! without one they are replaced. The peer is the [`PeerAddr`].
//!
//! # Routers
//!
//! The [routes](crate::route) of this crate, and
//! [`NormalisePathLayer`](crate::route::NormalisePathLayer), rewrite a path to its normal form.
//! Other routers, axum's among them, match what came: `/public/%2e%2e/admin` is below `/public` to
//! them, and is `/admin` to the upstream. So a path that is not in its normal form is refused here;
//! to have it rewritten, put a `NormalisePathLayer` around the router. Parameters (`/a;v=1`) are
//! passed on: an upstream that takes them off should not have guards before it that go by the path.
//!
//! # What is refused
//!
//! | answer | when |
//! |---|---|
//! | 400 `invalid_request` | several `Host`s, one that is not that of the URI, or none; `Transfer-Encoding` beside `Content-Length`, or other than `chunked`; two `Content-Length`s; a `Connection` that names a header which is for the upstream; a path that is not in its normal form |
//! | 404 `not_found` | the path does not begin with the prefix to strip |
//! | 405 `method_not_allowed` | `CONNECT`, `TRACE` |
//! | 502 `bad_gateway`, 504 `connect_timeout` | the upstream, see [`client`](crate::client) |
//! | 503 `overloaded` | as many WebSockets are open as there may be |
//! | 508 `loop_detected` | the request has been at this very proxy before |
//!
//! All of these have `Proxy-Status` (RFC 9209), and none names the upstream. The framing of HTTP/1.1
//! itself is read by the server in front: where both lengths are there hyper takes the chunks, drops
//! the `Content-Length` and closes the connection after it, so that nothing is left to be mistaken.
//!
//! # Failure after the head, and cancellation
//!
//! An upstream that breaks off is an error of the body, by which the server resets the stream or
//! closes the connection: the caller can tell that the answer is not whole. A caller that hangs up
//! drops the call, and with it the connection or the stream to the upstream.
//!
//! # WebSocket
//!
//! An HTTP/1.1 request with `Connection: Upgrade` and `Upgrade: websocket` is forwarded as one, if
//! the server in front can hand over its connection (hyper: `serve_connection_with_upgrades`). When
//! the upstream answers 101 the two connections become a tunnel, for as long as something comes
//! within [five minutes](Proxy::tunnel_idle_timeout). All other upgrades are removed from the
//! request, `h2c` above all; a 101 that was not asked for is a bad gateway. WebSocket over HTTP/2
//! (RFC 8441) is not forwarded. An upstream behind `https` that would choose HTTP/2 needs a client
//! that is [`http1_only`](Client::http1_only), for only HTTP/1.1 has upgrades.
//!
//! A tunnel outlives the call: what holds a permit until the end of the answer holds none for it. So
//! a proxy and its clones have at most [1,024 tunnels](Proxy::max_tunnels) at once, counted from the
//! call on, and one more is refused before the upstream is asked. The rest is up to the server in
//! front. To [`gateway::Server`](https://docs.rs/tower-gateway/latest/tower_gateway/gateway/struct.Server.html)
//! a tunnel is one of its connections: it counts among them until it is closed, a client that does
//! not read is given up, and when the time to drain is over both sides are closed, without a close
//! frame. axum's own server does not count tunnels, nor wait for them: they end with the process.
//!
//! # gRPC
//!
//! Streams and trailers pass, over HTTP/2 on both sides: give the proxy a client that is
//! [`http2_only`](Client::http2_only) where the upstream speaks it without TLS. What is refused here
//! is refused in the words of HTTP.
//!
//! # What is shared
//!
//! Clones share the client and its pool, and the places for tunnels. The name by which a loop is detected belongs to the proxy
//! and its clones: make it once, not per request.

mod check;
mod forwarded;
mod framing;
mod future;
mod hop;
mod pool;
mod target;
mod trailers;
mod tunnel;
mod via;

pub use self::{
    check::HttpCheck,
    forwarded::Forwarding,
    future::ResponseFuture,
    pool::{InvalidPool, Pool, PoolService, Upstream},
    target::InvalidUpstream,
};

use self::{
    forwarded::{Asked, Caller},
    future::State,
    target::Target,
    tunnel::Tunnel,
    via::Pseudonym,
};
use crate::{
    Body, BoxError, Exchange, Rejection,
    client::Client,
    client_addr::{ClientAddr, PeerAddr},
    deadline::Deadline,
    identity::Vouched,
    path::Rules,
    rejection::Kind,
    tls::TlsInfo,
};
use bytes::Bytes;
use http::{
    Extensions, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header,
    uri::Scheme,
};
use hyper::upgrade::OnUpgrade;
use std::{
    borrow::Cow,
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tower_service::Service;

/// Forwards requests to one upstream.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct Proxy<C = Client> {
    client: C,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
struct Shared {
    target: Target,
    name: Arc<str>,
    pseudonym: Pseudonym,
    rules: Rules,
    preserve_host: bool,
    forwarding: Forwarding,
    /// `None`: what the connection says.
    scheme: Option<Scheme>,
    protected: Vec<HeaderName>,
    removed: Vec<HeaderName>,
    added: Vec<(HeaderName, HeaderValue)>,
    tunnel_idle_timeout: Duration,
    tunnels: Arc<Semaphore>,
}

impl Proxy {
    /// Forwards to `http://host:port/path`, or `https`, by a [`Client`] of its own.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream`] if that is no such URL, or has credentials or a query.
    pub fn to(upstream: impl AsRef<str>) -> Result<Self, InvalidUpstream> {
        let target = Target::parse(upstream.as_ref())?;
        Ok(Self {
            client: Client::new(),
            shared: Arc::new(Shared {
                name: target.name().into(),
                target,
                pseudonym: Pseudonym::new(),
                rules: Rules::new(),
                preserve_host: false,
                forwarding: Forwarding::default(),
                scheme: None,
                protected: Vec::new(),
                removed: Vec::new(),
                added: Vec::new(),
                tunnel_idle_timeout: Duration::from_secs(5 * 60),
                tunnels: Arc::new(Semaphore::new(1024)),
            }),
        })
    }
}

impl<C> Proxy<C> {
    /// Calls the upstream by another client: one with other settings, one that is shared with other
    /// proxies, or one in layers.
    #[must_use]
    pub fn client<T>(self, client: T) -> Proxy<T> {
        Proxy {
            client,
            shared: self.shared,
        }
    }

    /// Sets the name of the upstream in logs and metrics, which by default is its host and port.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        self.set(|shared| shared.name = name.into())
    }

    /// Takes `prefix` off the path. A path that does not begin with it, segment by segment, is
    /// answered with 404.
    #[must_use]
    pub fn strip_prefix(self, prefix: impl AsRef<str>) -> Self {
        let prefix = prefix.as_ref().trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        self.set(|shared| shared.target.strip = format!("{slash}{prefix}").into())
    }

    /// Sets which form of a path is normal. Those of the router around it, if they are others.
    #[must_use]
    pub fn path_rules(self, rules: Rules) -> Self {
        self.set(|shared| shared.rules = rules)
    }

    /// Sends the caller's `Host` on. Only HTTP/1.1 can: a [`Client`] then speaks that where the
    /// server would choose HTTP/2, and one that is [`http2_only`](Client::http2_only) names the
    /// upstream.
    #[must_use]
    pub fn preserve_host(self) -> Self {
        self.set(|shared| shared.preserve_host = true)
    }

    /// Sets in which headers the upstream is told of the caller.
    #[must_use]
    pub fn forwarding(self, forwarding: Forwarding) -> Self {
        self.set(|shared| shared.forwarding = forwarding)
    }

    /// Sets by which scheme callers reach this server, if no trusted proxy says. Without it that is
    /// `https` where the request has a [`TlsInfo`], and `http` where it has none.
    #[must_use]
    pub fn scheme(self, scheme: Scheme) -> Self {
        self.set(|shared| shared.scheme = Some(scheme))
    }

    /// Names a header that layers further out write for the upstream. Callers cannot have it taken
    /// out by `Connection`, nor write it with underscores.
    ///
    /// It is passed on also if it tells who calls, such as `X-User-Id`, which otherwise is removed:
    /// so the layer that writes it has to replace what the caller sent, on every request. One that says so
    /// itself, by [`Vouched`], needs none of this. A layer
    /// around the [`client`](Proxy::client) needs none of this, for it stands behind the removal.
    #[must_use]
    pub fn protect_header(self, name: HeaderName) -> Self {
        self.set(|shared| shared.protected.push(name))
    }

    /// Keeps a header of the caller from the upstream, such as the credentials that were meant for
    /// the gateway.
    #[must_use]
    pub fn remove_header(self, name: HeaderName) -> Self {
        self.set(|shared| shared.removed.push(name))
    }

    /// Sends a header to the upstream, in the place of what the caller sent under this name.
    #[must_use]
    pub fn header(self, name: HeaderName, mut value: HeaderValue) -> Self {
        // It may be a secret, and this way nobody logs it.
        value.set_sensitive(true);
        self.set(|shared| {
            // With what a caller sends under a name that is taken for this one.
            shared.removed.push(name.clone());
            shared.added.push((name, value));
        })
    }

    /// Sets how long a WebSocket stays open on which nothing comes from either side. 5 minutes by
    /// default.
    #[must_use]
    pub fn tunnel_idle_timeout(self, timeout: Duration) -> Self {
        self.set(|shared| shared.tunnel_idle_timeout = timeout)
    }

    /// Sets how many WebSockets are open at once: 1,024 by default. One more is answered with 503.
    #[must_use]
    pub fn max_tunnels(self, tunnels: usize) -> Self {
        let tunnels = Semaphore::new(tunnels.min(Semaphore::MAX_PERMITS));
        self.set(|shared| shared.tunnels = Arc::new(tunnels))
    }

    /// The same for another upstream, with a name of its own in logs and metrics. Client, places for
    /// tunnels, and the name by which a loop is detected are shared.
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream`] as of [`to`](Proxy::to).
    pub fn beside(&self, upstream: impl AsRef<str>) -> Result<Self, InvalidUpstream>
    where
        C: Clone,
    {
        let mut target = Target::parse(upstream.as_ref())?;
        target.strip = self.shared.target.strip.clone();
        Ok(self.at(target))
    }

    /// The same at a host and port that were found out. `None`: it cannot be called there.
    fn found(&self, name: &str) -> Option<Self>
    where
        C: Clone,
    {
        let target = self.shared.target.found(name)?;
        Some(self.at(target))
    }

    fn at(&self, target: Target) -> Self
    where
        C: Clone,
    {
        self.clone().set(|shared| {
            shared.name = target.name().into();
            shared.target = target;
        })
    }

    fn set(mut self, set: impl FnOnce(&mut Shared)) -> Self {
        set(Arc::make_mut(&mut self.shared));
        self
    }
}

impl<C> fmt::Debug for Proxy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes the request for the upstream, and keeps what a tunnel needs of the one that came.
    fn outbound(
        &self,
        request: Request<Body>,
    ) -> Result<(Request<Body>, Option<Tunnel>), Rejection> {
        let (mut parts, body) = request.into_parts();
        let host = framing::check(&parts)?;
        if self.pseudonym.is_in(&parts.headers) {
            let rejection = Rejection::new(Kind::LoopDetected);
            return Err(with_status(rejection, "proxy_loop_detected"));
        }
        self.check_path(parts.uri.path())?;
        parts.uri = self.target.uri(&parts.uri)?;

        let upgrade_to = parts.extensions.remove::<OnUpgrade>();
        let upgrades = hop::upgrades_to(&parts.headers, tunnel::PROTOCOL);
        let tunnel = match upgrade_to.filter(|_| upgrades) {
            Some(client) => Some(self.tunnel(client)?),
            None => None,
        };

        let headers = &mut parts.headers;
        // For what is added below: to grow once is cheaper than to grow twice.
        headers.reserve(4);
        let vouched = parts.extensions.get::<Vouched>();
        let protected: Cow<'_, [HeaderName]> = match vouched.map(Vouched::names) {
            None | Some([]) => self.protected.as_slice().into(),
            Some(names) => [&self.protected, names].concat().into(),
        };
        hop::strip_request(headers, &protected, &self.removed)?;
        let added = self.added.iter().map(|(name, _)| name);
        let ours = protected.iter().chain(&self.removed).chain(added);
        let body = trailers::guarded(body, parts.version, ours);
        let ended_here = parts.extensions.get::<TlsInfo>().is_some();
        let scheme = match &self.scheme {
            Some(scheme) => scheme,
            None if ended_here => &Scheme::HTTPS,
            None => &Scheme::HTTP,
        };
        let asked = Asked {
            caller: caller(&parts.extensions),
            scheme,
            host: &host,
            prefix: &self.target.strip,
        };
        self.forwarding.write(headers, &asked);
        self.pseudonym.add_to(headers, parts.version);
        let host = if self.preserve_host {
            host
        } else {
            self.target.host.clone()
        };
        headers.insert(header::HOST, host);
        for name in &self.removed {
            headers.remove(name);
        }
        for (name, value) in &self.added {
            headers.insert(name, value.clone());
        }
        if tunnel.is_some() {
            upgrade(headers);
        }
        Deadline::tell(&parts.extensions, &mut parts.headers);
        parts.version = Version::HTTP_11;
        if let Some(exchange) = parts.extensions.get::<Exchange>() {
            exchange.update(|facts| {
                facts.upstream = Some(self.name.clone());
                facts.upstream_model = None;
                facts.attempts = facts.attempts.saturating_add(1);
            });
        }
        Ok((Request::from_parts(parts, body), tunnel))
    }

    fn tunnel(&self, client: OnUpgrade) -> Result<Tunnel, Rejection> {
        let Ok(permit) = self.tunnels.clone().try_acquire_owned() else {
            let rejection = Rejection::new(Kind::Overloaded)
                .with_detail("Too many tunnels are open.")
                .with_retry_after(Duration::from_secs(1));
            return Err(with_status(rejection, "connection_limit_reached"));
        };
        Ok(Tunnel { client, permit })
    }

    /// Refuses a path that routers may have taken for another one.
    ///
    /// The routes of this crate rewrite the path that they match. Others match what came, so that to
    /// rewrite it behind them would lead past them.
    fn check_path(&self, path: &str) -> Result<(), Rejection> {
        match self.rules.normalise(path)? {
            // Only the digits of escapes may change their case.
            Cow::Owned(normal) if !normal.eq_ignore_ascii_case(path) => {
                Err(framing::bad("The path is not in its normal form."))
            }
            _ => Ok(()),
        }
    }

    /// Makes the answer of what the upstream answered.
    fn inbound(
        &self,
        mut response: Response<Body>,
        tunnel: Option<Tunnel>,
    ) -> Result<Response<Body>, Rejection> {
        let received = std::mem::take(response.version_mut());
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = switched && hop::upgrades_to(response.headers(), tunnel::PROTOCOL);
        let upstream = response.extensions_mut().remove::<OnUpgrade>();
        let headers = response.headers_mut();
        // For this, and for what limiters and the like further out add.
        headers.reserve(8);
        hop::strip_response(headers);
        self.pseudonym.add_to(headers, received);
        if switched {
            let (Some(tunnel), Some(upstream), true) = (tunnel, upstream, agreed) else {
                let rejection = Rejection::new(Kind::BadGateway);
                return Err(with_status(rejection, "http_upgrade_failed"));
            };
            upgrade(headers);
            tunnel::spawn(tunnel, upstream, self.tunnel_idle_timeout);
        }
        Ok(response)
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

fn upgrade(headers: &mut http::HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    let protocol = HeaderValue::from_static(tunnel::PROTOCOL);
    headers.insert(header::UPGRADE, protocol);
}

/// With `Proxy-Status`, unless it has one.
fn with_status(rejection: Rejection, error: &'static str) -> Rejection {
    if rejection.headers().contains_key(PROXY_STATUS) {
        return rejection;
    }
    match HeaderValue::try_from(format!("tower-gateway; error={error}")) {
        Ok(status) => rejection.with_header(PROXY_STATUS, status),
        Err(_) => rejection,
    }
}

fn caller(extensions: &Extensions) -> Caller {
    let peer = extensions.get::<PeerAddr>();
    Caller {
        peer: peer.map(|peer| peer.0.ip().to_canonical()),
        client: extensions.get::<ClientAddr>().map(|client| client.0),
    }
}

impl<C, B> Service<Request<B>> for Proxy<C>
where
    C: Service<Request<Body>, Response = Response<Body>, Error = Rejection> + Clone,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<C, C::Future>;

    // The client is made ready in the future: what it fails with is an answer.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let version = request.version();
        let state = match self.shared.outbound(request.map(Body::new)) {
            Ok((request, tunnel)) => State::Waiting {
                call: Some((self.client.clone(), request)),
                tunnel,
            },
            Err(rejection) => State::Rejected {
                rejection: Some(with_status(rejection, "http_request_error")),
            },
        };
        ResponseFuture {
            state,
            shared: self.shared.clone(),
            version,
        }
    }
}
