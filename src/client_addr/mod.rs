//! The address of the client, behind proxies that are trusted and no others.
//!
//! Whoever connects can write `X-Forwarded-For`. So the layer believes it only where a proxy that you
//! named has written it: it goes from the peer of the connection outwards, hop by hop, and the first
//! address that is not a trusted proxy is the client. Nothing further out is looked at.
//!
//! ```text
//! X-Forwarded-For: 6.6.6.6,  203.0.113.7,  10.0.0.2      peer 10.0.0.1
//!                  forged    the client    trusted       trusted
//! ```
//!
//! # Example
//!
//! ```
//! use axum::{Extension, Router, body::Body, extract::ConnectInfo, http::Request, routing::get};
//! use std::net::SocketAddr;
//! use tower::ServiceExt;
//! use tower_gateway::client_addr::{ClientAddr, ClientAddrLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app: Router = Router::new()
//!     .route("/", get(async |Extension(client): Extension<ClientAddr>| client.to_string()))
//!     .layer(
//!         ClientAddrLayer::new()
//!             .trusted_proxies(["10.0.0.0/8"])?
//!             // axum keeps the peer in an extension of its own.
//!             .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0)),
//!     );
//!
//! let ask = async |peer: &str| {
//!     let request = Request::get("/")
//!         .extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()))
//!         .header("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.0.0.2")
//!         .body(Body::empty())
//!         .unwrap();
//!     let response = app.clone().oneshot(request).await.unwrap();
//!     tower_gateway::collect(response.into_body(), 100).await.unwrap()
//! };
//! assert_eq!(ask("10.0.0.1:443").await, "203.0.113.7");
//! assert_eq!(ask("192.0.2.1:443").await, "192.0.2.1", "a stranger is believed nothing");
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | any | the service's | | |
//!
//! **What if its store is down**: there is none. Nobody is asked, DNS neither.
//!
//! # The rules
//!
//! - Exactly one [family of headers](ForwardedHeader) is read. A fallback to another would be what the
//!   caller chooses.
//! - All lines of it count as one, from the right. A hop that is no address (`unknown`, `_hidden`, a
//!   host name, rubbish) ends the walk, and the last good hop is the client: never one further out.
//!   So does the hundredth hop, or 8 KiB.
//! - If all hops are trusted, the outermost is the client.
//! - Ports, brackets and zones are dropped. IPv4 within IPv6 (`::ffff:192.0.2.1`) is IPv4.
//! - The headers of the other families are removed, and all of them if the peer is not trusted:
//!   `Forwarded`, `X-Real-IP`, `X-Forwarded-*`, and the same with underscores. Of these
//!   `X-Forwarded-Client-Cert` belongs to no family, and stays if the peer is trusted. What stands behind can
//!   rely on what is left as far as it relies on your proxies.
//!
//! The peer is the [`PeerAddr`] in the extensions of the request, or what [`peer`](ClientAddrLayer::peer)
//! finds. Where there is neither, as over a Unix socket, there is no [`ClientAddr`], the headers are
//! removed, and the first such request is warned of. Keys [by client address](ByClientAddr) are `None`
//! then.

mod hops;

pub(crate) use self::hops::networks;
pub use self::hops::{Config, ForwardedHeader, InvalidNetwork, resolve};

use crate::{
    Exchange, Extensible,
    admit::{Edit, Edited},
    key::Key,
};
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv6Net};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tower_layer::Layer;

/// The address of who opened the connection, which may be a proxy. Put in the extensions of a request
/// by who accepted the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// The address of the client. Put in the extensions of a request by [`ClientAddrLayer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub IpAddr);

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

type FindPeer = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

/// Applies [`ClientAddrs`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct ClientAddrLayer {
    config: Arc<Config>,
    peer: Arc<FindPeer>,
    warned: Arc<AtomicBool>,
}

impl ClientAddrLayer {
    /// Trusts nobody: the peer is the client, and what it says of others is removed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::default(),
            peer: Arc::new(|extensions| extensions.get().map(|&PeerAddr(peer)| peer)),
            warned: Arc::default(),
        }
    }

    /// Sets which proxies are believed: networks such as `10.0.0.0/8`, or single addresses.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] with the first text that is neither.
    pub fn trusted_proxies(
        mut self,
        networks: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidNetwork> {
        let config = Arc::unwrap_or_clone(self.config).trusted_proxies(networks)?;
        self.config = Arc::new(config);
        Ok(self)
    }

    /// Sets how many proxies are believed whatever their addresses, counted from the peer, which is
    /// the first. None by default. For proxies whose addresses change; whoever can reach this service
    /// without passing them all is believed as well.
    #[must_use]
    pub fn trusted_hops(mut self, hops: u8) -> Self {
        self.config = Arc::new(Arc::unwrap_or_clone(self.config).trusted_hops(hops));
        self
    }

    /// Sets which header the trusted proxies write. [`ForwardedHeader::XForwardedFor`] by default.
    #[must_use]
    pub fn header(mut self, header: ForwardedHeader) -> Self {
        self.config = Arc::new(Arc::unwrap_or_clone(self.config).header(header));
        self
    }

    /// Sets how the peer is found. By default it is the [`PeerAddr`]; what is found otherwise becomes
    /// the `PeerAddr` for all further in, such as a proxy that appends it to the hops.
    #[must_use]
    pub fn peer(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Arc::new(peer);
        self
    }

    /// Puts the client's address in its place, and removes what nobody vouches for.
    fn stamp(&self, req: &mut impl Extensible) {
        let Some(peer) = (self.peer)(req.extensions()) else {
            strip(req.headers_mut(), None);
            req.extensions_mut().remove::<ClientAddr>();
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "a request has no peer address, so its client is unknown: serve with connection \
                     info, and tell ClientAddrLayer by `.peer(…)` where it is"
                );
            }
            return;
        };
        // What stands behind may name the peer, and does not know how it was found.
        if req.extensions().get() != Some(&PeerAddr(peer)) {
            req.extensions_mut().insert(PeerAddr(peer));
        }
        let peer = peer.ip().to_canonical();
        let client = resolve(peer, req.headers(), &self.config);
        let kept = self.config.trusts(peer, 0).then_some(self.config.family());
        strip(req.headers_mut(), kept);
        if let Some(exchange) = Exchange::of(req) {
            exchange.update(|facts| facts.client = Some(client));
        }
        req.extensions_mut().insert(ClientAddr(client));
    }
}

impl Default for ClientAddrLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClientAddrLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddrLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ClientAddrLayer {
    type Service = ClientAddrs<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edited::new(inner, self.clone())
    }
}

impl<Req: Extensible> Edit<Req> for ClientAddrLayer {
    fn edit(&self, req: &mut Req) {
        self.stamp(req);
    }
}

/// Finds the client of each request.
///
/// See the [module docs](self) for an example.
pub type ClientAddrs<S> = Edited<S, ClientAddrLayer>;

/// What a proxy tells of a client's certificate. It is of no family: there is but this one.
const CERTIFICATE: &str = "x-forwarded-client-cert";

/// Removes all forwarding headers but those of one family.
fn strip(headers: &mut HeaderMap, kept: Option<ForwardedHeader>) {
    let doubtful = |name: &&HeaderName| match forwarding(name.as_str()) {
        None => false,
        _ if name.as_str() == CERTIFICATE => kept.is_none(),
        Some(family) => kept != Some(family) || name.as_str().contains('_'),
    };
    let names: Vec<_> = headers.keys().filter(doubtful).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// To which family a header belongs. Some servers take `_` for `-`.
fn forwarding(name: &str) -> Option<ForwardedHeader> {
    let starts = |with: &str| {
        let mut start = name.bytes().map(|b| if b == b'_' { b'-' } else { b });
        with.bytes().all(|b| start.next() == Some(b))
    };
    match name.len() {
        9 if starts("x-real-ip") => Some(ForwardedHeader::XRealIp),
        9 if starts("forwarded") => Some(ForwardedHeader::Forwarded),
        _ if starts("x-forwarded-") => Some(ForwardedHeader::XForwardedFor),
        _ => None,
    }
}

/// The client's address: IPv4 whole, IPv6 by its /64, which is what one customer has.
///
/// A [`Key`] for limiters. Beside it stands [`ipv6_prefix`](Self::ipv6_prefix).
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClientAddr;

impl ByClientAddr {
    /// Takes another part of an IPv6 address for one client: 48 or 56 bits where that is what
    /// customers are given. At most 128.
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> ByClientNetwork {
        ByClientNetwork(bits.min(128))
    }
}

impl<Req: Extensible> Key<Req> for ByClientAddr {
    type Key = IpAddr;

    fn key(&self, req: &Req) -> Option<IpAddr> {
        self.ipv6_prefix(64).key(req)
    }
}

/// The client's address: IPv4 whole, IPv6 by a prefix. Made by [`ByClientAddr::ipv6_prefix`].
#[derive(Clone, Copy, Debug)]
pub struct ByClientNetwork(u8);

impl<Req: Extensible> Key<Req> for ByClientNetwork {
    type Key = IpAddr;

    fn key(&self, req: &Req) -> Option<IpAddr> {
        let &ClientAddr(client) = req.extensions().get()?;
        Some(match client {
            IpAddr::V4(_) => client,
            IpAddr::V6(addr) => match Ipv6Net::new(addr, self.0) {
                Ok(net) => IpNet::V6(net).network(),
                Err(_) => client,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_peer_that_was_found_elsewhere_is_the_peer_for_all_further_in() {
        let found = SocketAddr::from(([10, 0, 0, 1], 7));
        let layer = ClientAddrLayer::new().peer(|extensions| extensions.get().copied());
        let mut request = Request::new(());
        request.extensions_mut().insert(found);
        request
            .extensions_mut()
            .insert(PeerAddr(([127, 0, 0, 1], 1).into()));
        layer.stamp(&mut request);
        assert_eq!(request.extensions().get(), Some(&PeerAddr(found)));
    }

    #[test]
    fn what_a_trusted_proxy_tells_of_a_certificate_stays_whichever_header_has_addresses() {
        for family in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            let layer = ClientAddrLayer::new().header(family);
            let layer = layer.trusted_proxies(["10.0.0.0/8"]).unwrap();
            for (peer, stays) in [([10, 0, 0, 1], true), ([192, 0, 2, 1], false)] {
                let mut request = Request::new(());
                for name in ["x-forwarded-client-cert", "x-forwarded_client-cert"] {
                    let value = http::HeaderValue::from_static("URI=a");
                    request.headers_mut().insert(name, value);
                }
                request.extensions_mut().insert(PeerAddr((peer, 7).into()));
                layer.stamp(&mut request);
                let left = request.headers();
                assert_eq!(left.contains_key(CERTIFICATE), stays, "{family:?}");
                assert_eq!(left.len(), usize::from(stays));
            }
        }
    }
}
