//! Wakes whoever waits for a connection, and nobody while he is at it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Wake, Waker},
};
use tokio::sync::Notify;

/// What the parts of a connection are given for a waker.
///
/// They belong to one task, and wake one another through it: each would have it polled once more for what
/// it is just doing. So a bell that rings within a poll is only remembered.
#[derive(Debug)]
pub(super) struct Bell {
    /// [`POLLED`] and [`RUNG`].
    state: AtomicU8,
    /// `None`: the connection is idle.
    waiter: Mutex<Option<Waker>>,
    /// Whom it concerns that an idle connection stirs.
    keeper: Arc<Notify>,
}

const POLLED: u8 = 1;
const RUNG: u8 = 2;

impl Bell {
    pub(super) fn new(keeper: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(0),
            waiter: Mutex::new(None),
            keeper,
        })
    }

    /// From now on it is this one who waits.
    pub(super) fn wakes(&self, waker: &Waker) {
        let mut waiter = self.lock();
        match &mut *waiter {
            Some(same) if same.will_wake(waker) => {}
            Some(other) => other.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// From now on nobody waits.
    pub(super) fn wakes_nobody(&self) {
        drop(self.lock().take());
    }

    /// A poll begins. Whether it rang since the last one began: there is something to see to.
    pub(super) fn begin(&self) -> bool {
        self.state.swap(POLLED, Ordering::SeqCst) & RUNG != 0
    }

    /// A poll is over. Whether it rang meanwhile.
    pub(super) fn end(&self) -> bool {
        self.state.fetch_and(!POLLED, Ordering::SeqCst) & RUNG != 0
    }

    /// Whether it rang since the last poll began.
    pub(super) fn rang(&self) -> bool {
        self.state.load(Ordering::SeqCst) & RUNG != 0
    }

    /// Has the next poll see to everything, though nobody rang.
    pub(super) fn ring(&self) {
        self.state.fetch_or(RUNG, Ordering::SeqCst);
    }

    /// Forgets that it rang.
    pub(super) fn hush(&self) {
        self.state.fetch_and(!RUNG, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(RUNG, Ordering::SeqCst) & POLLED != 0 {
            return;
        }
        let waiter = self.lock().clone();
        match waiter {
            Some(waiter) => waiter.wake(),
            None => self.keeper.notify_one(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_rings_within_a_poll_is_told_at_its_end_and_wakes_nobody() {
        let bell = Bell::new(Arc::default());
        let count = Arc::new(Count::default());
        let woken = || count.0.load(Ordering::SeqCst);
        bell.wakes(&count.clone().into());
        assert!(!bell.begin());
        bell.wake_by_ref();
        assert!(bell.end());
        assert_eq!(woken(), 0);
        assert!(bell.begin());
        assert!(!bell.end(), "it was seen to");
        bell.wake_by_ref();
        assert_eq!(woken(), 1);
        assert!(bell.rang());
    }

    #[tokio::test]
    async fn an_idle_connection_tells_its_keeper() {
        let keeper = Arc::new(Notify::new());
        let bell = Bell::new(keeper.clone());
        bell.wakes(Waker::noop());
        bell.wakes_nobody();
        bell.wake_by_ref();
        keeper.notified().await;
    }
}
