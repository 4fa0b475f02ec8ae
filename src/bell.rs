//! Wakes a task, but not for what it is just doing.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};
use tokio::sync::Notify;

/// How often what rang within a poll is seen to at once, before others have their turn.
const TURNS: usize = 4;

/// What the parts of a connection are given for a waker.
///
/// They belong to one task, and wake one another through it: each would have all of it polled once more,
/// in another turn of the scheduler. So a bell that rings within a poll is only remembered.
#[derive(Debug)]
pub(crate) struct Bell {
    /// [`POLLED`] and [`RUNG`].
    state: AtomicU8,
    /// `None`: nobody waits.
    waiter: Mutex<Option<Waker>>,
    /// Whom it concerns when it rings and nobody waits.
    keeper: Arc<Notify>,
}

const POLLED: u8 = 1;
const RUNG: u8 = 2;

thread_local! {
    /// The bell that rang on this thread while that was [held](hold).
    static HELD: Cell<Held> = const { Cell::new(Held::Nothing) };
}

#[derive(Default)]
enum Held {
    /// Bells ring as ever.
    #[default]
    Nothing,
    Ring(Option<Arc<Bell>>),
}

/// Does something, and has a bell that it rings ring after it, unless it was in vain.
#[cfg_attr(not(feature = "gateway"), allow(dead_code))]
pub(crate) fn hold<T>(act: impl FnOnce() -> T, in_vain: impl FnOnce(&T) -> bool) -> T {
    /// Lets go, also of what panics.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            if let Held::Ring(Some(bell)) = HELD.take() {
                bell.wake();
            }
        }
    }
    HELD.set(Held::Ring(None));
    let release = Release;
    let done = act();
    if in_vain(&done) {
        HELD.set(Held::Nothing);
    }
    drop(release);
    done
}

impl Bell {
    pub(crate) fn new(keeper: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(0),
            waiter: Mutex::new(None),
            keeper,
        })
    }

    /// From now on it is this one who waits.
    pub(crate) fn wakes(&self, waker: &Waker) {
        let mut waiter = self.lock();
        match &mut *waiter {
            Some(same) if same.will_wake(waker) => {}
            Some(other) => other.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// From now on nobody waits.
    pub(crate) fn wakes_nobody(&self) {
        drop(self.lock().take());
    }

    /// Polls with this as the waker, until it does not ring within or enough was done at once.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(bool) -> Poll<T>,
    ) -> Poll<T> {
        self.wakes(cx.waker());
        for _ in 0..TURNS {
            let rang_before = self.begin();
            let polled = poll(rang_before);
            let rang = self.end();
            if polled.is_ready() || !rang {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A poll begins. Whether it rang since the last one began: there is something to see to.
    pub(crate) fn begin(&self) -> bool {
        self.state.swap(POLLED, Ordering::SeqCst) & RUNG != 0
    }

    /// A poll is over. Whether it rang meanwhile.
    pub(crate) fn end(&self) -> bool {
        self.state.fetch_and(!POLLED, Ordering::SeqCst) & RUNG != 0
    }

    /// Whether it rang since the last poll began.
    pub(crate) fn rang(&self) -> bool {
        self.state.load(Ordering::SeqCst) & RUNG != 0
    }

    /// Has the next poll see to everything, though nobody rang.
    pub(crate) fn ring(&self) {
        self.state.fetch_or(RUNG, Ordering::SeqCst);
    }

    /// Forgets that it rang.
    pub(crate) fn hush(&self) {
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
        let held = HELD.try_with(|held| match held.take() {
            Held::Ring(None) => {
                held.set(Held::Ring(Some(self.clone())));
                true
            }
            other => {
                held.set(other);
                false
            }
        });
        if held == Ok(true) {
            return;
        }
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

    #[test]
    fn what_rings_while_it_is_held_rings_after_it_or_was_in_vain() {
        let bell = Bell::new(Arc::default());
        let count = Arc::new(Count::default());
        bell.wakes(&count.clone().into());
        for (in_vain, woken) in [(true, 0), (false, 1)] {
            let told = hold(
                || {
                    bell.wake_by_ref();
                    count.0.load(Ordering::SeqCst)
                },
                |_| in_vain,
            );
            assert_eq!((told, count.0.load(Ordering::SeqCst)), (0, woken));
        }
        bell.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_rings_on_another_thread_is_not_held() {
        let bell = Bell::new(Arc::default());
        let count = Arc::new(Count::default());
        bell.wakes(&count.clone().into());
        let ringing = bell.clone();
        hold(
            || std::thread::spawn(move || ringing.wake()).join().unwrap(),
            |()| true,
        );
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
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
