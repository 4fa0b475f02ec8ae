//! How fast the body of a request must come.

use crate::rejection::Kind;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// So many bytes a second, on the average of all the time in which somebody waits for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) bytes_per_second: u64,
    /// How long may be waited before that is looked at.
    pub(super) grace: Duration,
    pub(super) refusal: Kind,
}

impl Rate {
    /// How long may be waited in all for what has come so far.
    fn allows(&self, received: u64) -> Duration {
        let millis = received.saturating_mul(1000) / self.bytes_per_second.max(1);
        self.grace.max(Duration::from_millis(millis))
    }
}

/// The pace of one body.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// Whether the request is being answered. From then on the two may take turns, as in a stream of
    /// gRPC, and who is silent may be waiting for the other.
    answered: Arc<AtomicBool>,
    received: u64,
    waited: Duration,
    waits: Option<Instant>,
    /// Made when the body first keeps its reader waiting, and kept.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(rate: Rate, answered: Arc<AtomicBool>) -> Self {
        Self {
            rate,
            answered,
            received: 0,
            waited: Duration::ZERO,
            waits: None,
            timer: None,
        }
    }

    pub(super) fn refusal(&self) -> Kind {
        self.rate.refusal
    }

    /// A piece has come.
    pub(super) fn came(&mut self, bytes: usize) {
        if let Some(since) = self.waits.take() {
            self.waited += since.elapsed();
        }
        self.received += bytes as u64;
    }

    /// There is none. Ready when that has been so for too long.
    pub(super) fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let begins = self.waits.is_none();
        let since = *self.waits.get_or_insert_with(Instant::now);
        let left = self.rate.allows(self.received).saturating_sub(self.waited);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(since + left)));
        if begins {
            timer.as_mut().reset(since + left);
        }
        let slow = timer.as_mut().poll(cx);
        if slow.is_ready() && self.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::{sleep, timeout};

    const RATE: Rate = Rate {
        bytes_per_second: 100,
        grace: Duration::from_secs(5),
        refusal: Kind::RequestTimeout,
    };

    fn pace() -> Pace {
        Pace::new(RATE, Arc::default())
    }

    /// Waits for a piece that comes after so many seconds, if it may.
    async fn waits(pace: &mut Pace, seconds: u64, bytes: usize) -> bool {
        let wait = Duration::from_millis(seconds * 1000 + 1);
        let slow = timeout(wait, poll_fn(|cx| pace.poll_slow(cx))).await;
        pace.came(bytes);
        slow.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn for_the_grace_nothing_need_come() {
        assert!(waits(&mut pace(), 4, 0).await);
        assert!(!waits(&mut pace(), 5, 0).await);
        let mut twice = pace();
        assert!(waits(&mut twice, 3, 1).await);
        assert!(!waits(&mut twice, 3, 1).await, "in all");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_buys_time_at_the_rate() {
        let mut pace = pace();
        for _ in 0..100 {
            assert!(waits(&mut pace, 1, 250).await);
        }
        // 25,000 bytes in 100 seconds are good for 250.
        assert!(waits(&mut pace, 140, 0).await);
        assert!(!waits(&mut pace, 10, 0).await);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_does_not_count() {
        let mut pace = pace();
        for _ in 0..3 {
            sleep(Duration::from_secs(100)).await;
            assert!(waits(&mut pace, 1, 1).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_it_is_answered_it_may_take_any_time() {
        let answered = Arc::new(AtomicBool::new(false));
        let mut pace = Pace::new(RATE, answered.clone());
        assert!(waits(&mut pace, 1, 1).await);
        answered.store(true, Ordering::Relaxed);
        assert!(waits(&mut pace, 1000, 1).await);
    }
}
