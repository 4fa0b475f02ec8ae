//! Which addresses are let in.
//!
//! A list that allows, a list that denies, and no other question: what is denied is refused, and so is
//! what is not allowed where anything is. The address is the [`ClientAddr`] that
//! [`ClientAddrLayer`](crate::client_addr::ClientAddrLayer) has found, so that layer stands further out;
//! without it, the [`PeerAddr`] of the connection. Behind a proxy that is the proxy, so that the first such request is
//! warned of; where nobody stands before this service, a `ClientAddrLayer` that trusts nobody says so.
//!
//! # Example
//!
//! ```
//! use axum::{Extension, Router, body::Body, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_gateway::{address_list::{AddressListLayer, Addresses}, client_addr::ClientAddr};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ours = Addresses::new().allow(["10.0.0.0/8", "2001:db8::/32"])?.deny(["10.6.6.6"])?;
//! let layer = AddressListLayer::new(ours);
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
//!
//! let ask = async |client: &str| {
//!     let client = ClientAddr(client.parse().unwrap());
//!     let request = Request::get("/").extension(client).body(Body::empty()).unwrap();
//!     app.clone().oneshot(request).await.unwrap().status().as_u16()
//! };
//! assert_eq!(ask("10.1.2.3").await, 200);
//! assert_eq!(ask("10.6.6.6").await, 403, "what denies comes first");
//! assert_eq!(ask("192.0.2.1").await, 403);
//!
//! // From the next request on, for every service that the layer wraps.
//! layer.replace(Addresses::new().deny(["10.6.6.6"])?);
//! assert_eq!(ask("192.0.2.1").await, 200);
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! | address | status | code | headers |
//! |---|--:|---|---|
//! | one that is let in | the service's | | |
//! | one that is not | 403 | `request_blocked` | |
//! | none at all, as over a Unix socket | the same, or [let in](AddressListLayer::admit_unknown) | `request_blocked` | |
//!
//! **What if its store is down**: there is none. The lists are in memory.
//!
//! A look-up is two binary searches, whatever the length of the lists:
//! networks that touch or overlap become one range. IPv4 within IPv6 (`::ffff:192.0.2.1`) is IPv4.
//!
//! # What is shared
//!
//! The lists belong to the layer value: services that it or its clones wrap all follow
//! [`replace`](AddressListLayer::replace). A request is judged by the lists that stood when it came; those
//! that are under way go on.

use crate::{
    Extensible, Rejection,
    admit::{Admit, Admitted},
    client_addr::{ClientAddr, InvalidNetwork, PeerAddr, networks},
    rejection::Kind,
};
use ipnet::IpNet;
use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tower_layer::Layer;

/// Networks that are let in, and networks that are not.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// `None`: everybody.
    allowed: Option<Ranges>,
    denied: Ranges,
}

impl Addresses {
    /// Everybody is let in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets these in, beside those that were allowed before, and nobody else: networks such as
    /// `10.0.0.0/8`, or single addresses. An empty list lets nobody in.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] with the first text that is neither.
    pub fn allow(
        mut self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidNetwork> {
        let allowed = self.allowed.take().unwrap_or_default();
        self.allowed = Some(allowed.with(networks(texts)?));
        Ok(self)
    }

    /// Keeps these out, beside those that were denied before, also if they are allowed.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] with the first text that is neither.
    pub fn deny(
        mut self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidNetwork> {
        self.denied = self.denied.with(networks(texts)?);
        Ok(self)
    }

    /// Whether this address is let in.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let allowed = self.allowed.as_ref();
        !self.denied.contain(address) && allowed.is_none_or(|allowed| allowed.contain(address))
    }
}

/// Ranges that neither touch nor overlap, in their order, of both kinds of address.
#[derive(Clone, Debug, Default)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    fn with(mut self, networks: Vec<IpNet>) -> Self {
        for network in networks {
            match network {
                IpNet::V4(v4) => self.v4.push((v4.network().into(), v4.broadcast().into())),
                IpNet::V6(v6) => self.v6.push((v6.network().into(), v6.broadcast().into())),
            }
        }
        Self {
            v4: merged(&mut self.v4, |end| end.checked_add(1)),
            v6: merged(&mut self.v6, |end| end.checked_add(1)),
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => within(&self.v4, v4.into()),
            IpAddr::V6(v6) => within(&self.v6, v6.into()),
        }
    }
}

fn merged<N: Ord + Copy>(ranges: &mut [(N, N)], next: fn(N) -> Option<N>) -> Vec<(N, N)> {
    ranges.sort_unstable();
    let mut merged: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for &mut (start, end) in ranges {
        match merged.last_mut() {
            // Without a next one the last range goes to the end of all.
            Some((_, last)) if next(*last).is_none_or(|next| start <= next) => {
                *last = end.max(*last);
            }
            _ => merged.push((start, end)),
        }
    }
    merged.shrink_to_fit();
    merged
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], at: N) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= at);
    after > 0 && ranges[after - 1].1 >= at
}

/// Applies [`AddressList`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
pub struct AddressListLayer {
    lists: Arc<RwLock<Arc<Addresses>>>,
    admits_unknown: bool,
    warned: Arc<AtomicBool>,
}

impl AddressListLayer {
    /// Lets in whom these admit, and nobody whose address is not known.
    #[must_use]
    pub fn new(addresses: Addresses) -> Self {
        Self {
            lists: Arc::new(RwLock::new(Arc::new(addresses))),
            admits_unknown: false,
            warned: Arc::default(),
        }
    }

    /// Lets requests in that have no address.
    #[must_use]
    pub fn admit_unknown(mut self) -> Self {
        self.admits_unknown = true;
        self
    }

    /// Puts other lists in the place of those that there are.
    pub fn replace(&self, addresses: Addresses) {
        *self.lists.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(addresses);
    }

    /// The lists, as they are now.
    #[must_use]
    pub fn addresses(&self) -> Arc<Addresses> {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.clone()
    }

    fn admits(&self, req: &impl Extensible) -> bool {
        let extensions = req.extensions();
        let client = extensions.get().map(|&ClientAddr(client)| client);
        let client = client.or_else(|| {
            let peer = extensions.get().map(|&PeerAddr(peer)| peer.ip())?;
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "addresses are judged by who opened the connection, which may be a proxy: put a \
                     ClientAddrLayer further out"
                );
            }
            Some(peer)
        });
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        client.map_or(self.admits_unknown, |client| lists.admits(client))
    }
}

impl fmt::Debug for AddressListLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressListLayer")
            .field("admits_unknown", &self.admits_unknown)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AddressListLayer {
    type Service = AddressList<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}

impl<Req: Extensible> Admit<Req> for AddressListLayer {
    fn admit(&self, req: &mut Req) -> Result<(), Rejection> {
        match self.admits(req) {
            true => Ok(()),
            false => Err(Kind::Blocked.into()),
        }
    }
}

/// Lets only some addresses in.
///
/// See the [module docs](self) for an example.
pub type AddressList<S> = Admitted<S, AddressListLayer>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admits(lists: &Addresses, address: &str) -> bool {
        lists.admits(address.parse().unwrap())
    }

    #[test]
    fn what_denies_comes_first_and_an_empty_list_lets_nobody_in() {
        let all = Addresses::new();
        assert!(admits(&all, "192.0.2.1") && admits(&all, "2001:db8::1"));
        let none = Addresses::new().allow([""; 0]).unwrap();
        assert!(!admits(&none, "192.0.2.1"));
        let some = none
            .allow(["192.0.2.0/24"])
            .unwrap()
            .deny(["192.0.2.6"])
            .unwrap();
        assert!(admits(&some, "192.0.2.1"));
        assert!(
            admits(&some, "::ffff:192.0.2.1"),
            "the same, written otherwise"
        );
        assert!(!admits(&some, "192.0.2.6"));
        assert!(!admits(&some, "::ffff:192.0.2.6"));
        assert!(!admits(&some, "2001:db8::1"), "IPv6 is not let in by IPv4");
    }

    #[test]
    fn the_ends_of_all_belong_to_the_ranges() {
        for (network, address) in [("0.0.0.0/0", "255.255.255.255"), ("::/0", "ffff::")] {
            let lists = Addresses::new().deny([network, network]).unwrap();
            assert!(!admits(&lists, address));
        }
        assert!(Addresses::new().deny(["10.0.0.0/33"]).is_err());
    }

    fn network() -> impl Strategy<Value = String> {
        // Few addresses, so that networks meet.
        (0_u8..2, 0_u8..4, any::<u8>(), 20_u8..=32)
            .prop_map(|(b, c, d, bits)| format!("10.{b}.{c}.{d}/{bits}"))
    }

    proptest! {
        #[test]
        fn ranges_say_what_the_networks_say(
            networks in prop::collection::vec(network(), 0..12),
            addresses in prop::collection::vec((0_u8..2, 0_u8..4, any::<u8>()), 50),
        ) {
            let lists = Addresses::new().deny(&networks).unwrap();
            let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
            for (b, c, d) in addresses {
                let address = IpAddr::from([10, b, c, d]);
                let denied = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(lists.admits(address), !denied);
            }
            for pair in lists.denied.v4.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "merged, and in their order");
            }
        }
    }
}
