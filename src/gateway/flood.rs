//! Who opens too much: connections of one client, and requests that are taken back at once.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How many connections each client has.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Peers {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: Arc::default(),
        }
    }

    /// One more of this client, unless it has as many as it may.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<Entered> {
        let peer = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_default();
        if *count >= self.most {
            if *count == 0 {
                open.remove(&peer);
            }
            return None;
        }
        *count += 1;
        drop(open);
        let peers = self.clone();
        Some(Entered { peers, peer })
    }
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Entered {
    peers: Peers,
    peer: IpAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let open = &self.peers.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// IPv4 whole, IPv6 by its /64: that is what one client gets.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// How many requests of one HTTP/2 connection were taken back before they had a second to be answered
/// (CVE-2023-44487, "rapid reset").
///
/// h2 bounds those that were taken back before they were looked at. These were looked at, and cost as much
/// as any. The numbers are Envoy's: of at least 500 requests more than half.
#[derive(Debug, Default)]
pub(super) struct Resets {
    begun: AtomicU64,
    taken_back: AtomicU64,
}

const LOOKED_AT_FROM: u64 = 500;
const SOON: Duration = Duration::from_secs(1);

impl Resets {
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Begun {
            resets: self.clone(),
            since: Some(Instant::now()),
        }
    }

    /// Whether the connection is to be closed.
    pub(super) fn are_a_flood(&self) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        begun >= LOOKED_AT_FROM && self.taken_back.load(Ordering::Relaxed) * 2 > begun
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Begun {
    resets: Arc<Resets>,
    since: Option<Instant>,
}

impl Begun {
    pub(super) fn answered(&mut self) {
        self.since = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() < SOON) {
            self.resets.taken_back.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_so_many_and_nobody_is_remembered() {
        let peers = Peers::new(2);
        let [a, b] = ["2001:db8::1", "2001:db8:0:1::1"].map(|ip| ip.parse().unwrap());
        let neighbour = "2001:db8::ffff:2".parse().unwrap();
        let first = peers.enter(a).unwrap();
        let second = peers.enter(neighbour).unwrap();
        assert!(peers.enter(a).is_none());
        let other = peers.enter(b).unwrap();
        drop(first);
        assert!(peers.enter(a).is_some());
        drop((second, other));
        assert!(peers.open.lock().unwrap().is_empty());
        let mapped = network("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(mapped, "192.0.2.1".parse::<IpAddr>().unwrap());
        assert!(Peers::new(0).enter(a).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_taken_back_soon_and_often_is_a_flood() {
        let resets = Arc::new(Resets::default());
        for _ in 0..499 {
            drop(resets.begin());
        }
        assert!(!resets.are_a_flood(), "too few to tell");
        drop(resets.begin());
        assert!(resets.are_a_flood());

        let resets = Arc::new(Resets::default());
        for nth in 0..2000 {
            let mut begun = resets.begin();
            match nth % 4 {
                0 => tokio::time::advance(SOON).await,
                1 => begun.answered(),
                _ => {}
            }
        }
        assert!(!resets.are_a_flood(), "half of them");
    }
}
