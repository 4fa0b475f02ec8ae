//! How many copies there may be, and how many there were.

use crate::random::{below, random};
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All calls, in basis points.
const ALL: u32 = 10_000;

/// Sees how many copies were sent, and sends another share. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct MirrorHandle(pub(super) Arc<Shared>);

impl MirrorHandle {
    /// What became of the copies so far.
    #[must_use]
    pub fn stats(&self) -> MirrorStats {
        self.0.stats()
    }

    /// Mirrors so many basis points of the calls from now on; none at 0. More than 10,000 is all.
    pub fn set_share(&self, share: u32) {
        self.0.share.store(share.min(ALL), Ordering::Relaxed);
    }
}

/// What became of the copies so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorStats {
    /// Which share of the calls is mirrored, in basis points.
    pub share: u32,
    /// How many are under way.
    pub in_flight: u64,
    /// How many were sent.
    pub sent: u64,
    /// How many of these were answered to the end, or to the limit, whatever was said.
    pub answered: u64,
    /// How many of these failed, panicked, or took too long.
    pub failed: u64,
    /// How many were not made because too many were under way.
    pub full: u64,
    /// How many could not be made, because a request was too large or cannot be copied.
    pub too_large: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    share: AtomicU32,
    most: usize,
    room: Arc<Semaphore>,
    sent: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    full: AtomicU64,
    too_large: AtomicU64,
}

impl Shared {
    pub(super) fn new(share: u32, most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            share: AtomicU32::new(share.min(ALL)),
            most,
            room: Arc::new(Semaphore::new(most)),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            full: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
        }
    }

    pub(super) fn anew(&self) -> Self {
        Self::new(self.share(), self.most)
    }

    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    /// Whether this call is one of the share, and there is room for its copy.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Permit> {
        let share = self.share();
        if share == 0 || (share < ALL && below(random(), ALL) >= share) {
            return None;
        }
        match self.room.clone().try_acquire_owned() {
            Ok(room) => Some(Permit {
                shared: self.clone(),
                sent: false,
                answered: false,
                _room: room,
            }),
            Err(_) => {
                self.full.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    pub(super) fn stats(&self) -> MirrorStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (answered, failed) = (read(&self.answered), read(&self.failed));
        let sent = read(&self.sent);
        MirrorStats {
            share: self.share(),
            in_flight: sent.saturating_sub(answered + failed),
            sent,
            answered,
            failed,
            full: read(&self.full),
            too_large: read(&self.too_large),
        }
    }
}

/// Room for one copy. A copy that was sent has failed, unless it is said to be answered.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    sent: bool,
    answered: bool,
    _room: OwnedSemaphorePermit,
}

impl Permit {
    pub(super) fn too_large(self) {
        self.shared.too_large.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&mut self) {
        self.sent = true;
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.sent {
            let count = match self.answered {
                true => &self.shared.answered,
                false => &self.shared.failed,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
