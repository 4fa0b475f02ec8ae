//! One deadline and one budget of attempts for an exchange, whoever tries again.
//!
//! Retry, hedging, fallback and pools may stand around one another. Each has its own idea of how often to
//! try, and three times three times three is twenty-seven calls of a service that is down already. So all
//! of them draw on one [`Deadline`] in the extensions of the request: whoever comes first makes it, and
//! its clones are one and the same.
//!
//! ```
//! use std::time::Duration;
//! use tower_gateway::deadline::Deadline;
//!
//! let mut request = http::Request::new(());
//! let outer = Deadline::enter(&mut request);
//! // Four more calls after the first one. One is kept for another service.
//! let mut kept = outer.reserve(1);
//! let inner = Deadline::enter(&mut request);
//! assert_eq!((0..9).filter(|_| inner.take()).count(), 3);
//! assert!(kept.take() && !kept.take());
//! assert_eq!(inner.left(), 0);
//! ```
//!
//! The first call of an exchange is free: it is not further, and nobody asks. The budget is about calls,
//! not about time: an attempt that would begin after the deadline is not made either, and waits between
//! attempts end before it.
//!
//! A [`DeadlineLayer`] sets both, and ends what takes longer. Whoever calls an upstream
//! [tells](Deadline::tell) it how much time is left. A [`Budget`] is another thing: it belongs to a
//! service, and bounds what all exchanges together ask of it again.

mod budget;
mod layer;
mod told;

pub(crate) use self::budget::{Call, Further};
pub use self::{
    budget::Budget,
    layer::{DeadlineLayer, Deadlined, ResponseFuture},
};

use crate::principal::Extensible;
use http::{Extensions, HeaderMap};
use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The handle. Cloning it bumps a counter; all clones draw on the same budget.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Option<Instant>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Further attempts that nobody has taken or reserved.
    left: AtomicU32,
    tried: Tried,
}

impl Deadline {
    /// How many attempts an exchange has in all, unless it is told otherwise: the first, and 4 more.
    pub const ATTEMPTS: u32 = 5;

    /// No end, and [`ATTEMPTS`](Self::ATTEMPTS) in all.
    #[must_use]
    pub fn new() -> Self {
        Self::of_parts(None, Self::ATTEMPTS, Tried::default())
    }

    /// With so many attempts in all, in a budget of its own, and of its own memory from here on. Zero is taken
    /// as one.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self::of_parts(self.at, attempts, self.shared.tried.so_far())
    }

    /// Over at this instant, if it was not over before. The budget stays one and the same.
    #[must_use]
    pub fn until(mut self, at: Instant) -> Self {
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
        self
    }

    fn of_parts(at: Option<Instant>, attempts: u32, tried: Tried) -> Self {
        let left = AtomicU32::new(attempts.saturating_sub(1));
        let shared = Arc::new(Shared { left, tried });
        Self { at, shared }
    }

    /// That of a request, if someone further out made one.
    #[must_use]
    pub fn of(carrier: &impl Extensible) -> Option<&Self> {
        carrier.extensions().get()
    }

    /// That of a request, made now if nobody did before.
    pub fn enter(carrier: &mut impl Extensible) -> Self {
        let extensions = carrier.extensions_mut();
        extensions.get_or_insert_with(Self::new).clone()
    }

    /// Tells an upstream how much time is left: where a request names a time in `grpc-timeout`, or in the
    /// header that a [`DeadlineLayer`] was [asked to read](DeadlineLayer::header), that is replaced by
    /// what is left of it. What names none is not told.
    ///
    /// For whoever forwards a request, just before it does: an attempt that comes later has less.
    pub fn tell(extensions: &Extensions, headers: &mut HeaderMap) {
        if let Some(at) = extensions.get().and_then(Self::at) {
            let rest = at.saturating_duration_since(Instant::now());
            told::replace(rest, extensions.get(), headers);
        }
    }

    /// When the exchange is to be over, if it is.
    #[must_use]
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whom the attempts so far went to.
    #[must_use]
    pub fn tried(&self) -> &Tried {
        &self.shared.tried
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Whether there is time to wait for so long and still do something.
    #[must_use]
    pub fn allows(&self, wait: Duration, now: Instant) -> bool {
        match (self.at, now.checked_add(wait)) {
            (Some(at), Some(then)) => then < at,
            (at, _) => at.is_none(),
        }
    }

    /// Takes one further attempt. `false`: there is none left, and none is to be made.
    #[must_use]
    pub fn take(&self) -> bool {
        self.shared.take_up_to(1) == 1
    }

    /// Says that a service may have seen the request. Whoever asks again says so of each answer that does
    /// not [say otherwise](crate::Health::is_unsent), before it is replaced.
    pub fn note_sent(&self) {
        self.shared.tried.sent.store(true, Ordering::Relaxed);
    }

    /// Whether a service may have seen it. One that is not idempotent is not sent again then, whatever came
    /// of the last attempt: an open circuit is told of as unsent, and an attempt before may have opened it.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.shared.tried.sent.load(Ordering::Relaxed)
    }

    /// How many further attempts are left that nobody has reserved.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.shared.left.load(Ordering::Relaxed)
    }

    /// Keeps so many further attempts, as far as they are there, for whoever holds the reserve: a fallback
    /// keeps one for each service that it has not asked, so that retries of the first do not use up those
    /// of the second. What is not taken is given back when the reserve is dropped.
    pub fn reserve(&self, attempts: u32) -> Reserve {
        Reserve {
            held: self.shared.take_up_to(attempts),
            shared: self.shared.clone(),
        }
    }
}

impl Shared {
    fn take_up_to(&self, most: u32) -> u32 {
        let taken = |left: u32| left.checked_sub(left.min(most));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        match self.left.fetch_update(set, fetch, taken) {
            Ok(left) | Err(left) => left.min(most),
        }
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

/// Further attempts that are kept for one. See [`Deadline::reserve`].
#[derive(Debug)]
#[must_use = "what is reserved is given back when this is dropped"]
pub struct Reserve {
    held: u32,
    shared: Arc<Shared>,
}

impl Reserve {
    /// How many are kept.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Takes one of those that are kept, and else of those that are left.
    #[must_use]
    pub fn take(&mut self) -> bool {
        match self.held.checked_sub(1) {
            Some(held) => {
                self.held = held;
                true
            }
            None => self.shared.take_up_to(1) == 1,
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.shared.left.fetch_add(self.held, Ordering::Relaxed);
    }
}

/// The endpoints that an exchange was sent to, so that its next attempt goes to another one. The last 8 are
/// remembered, by a number that no other endpoint of the process has.
#[derive(Debug, Default)]
pub struct Tried {
    ids: [AtomicU64; 8],
    count: AtomicU32,
    sent: AtomicBool,
}

impl Tried {
    /// Whether it was sent to this one.
    #[must_use]
    pub fn contains(&self, id: NonZeroU64) -> bool {
        let is = |tried: &AtomicU64| tried.load(Ordering::Relaxed) == id.get();
        self.ids.iter().any(is)
    }

    fn so_far(&self) -> Self {
        let ids = self.ids.each_ref();
        Self {
            ids: ids.map(|id| AtomicU64::new(id.load(Ordering::Relaxed))),
            count: AtomicU32::new(self.count.load(Ordering::Relaxed)),
            sent: AtomicBool::new(self.sent.load(Ordering::Relaxed)),
        }
    }

    /// Whether it was sent to nobody yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// It is sent to this one now.
    pub fn note(&self, id: NonZeroU64) {
        let at = self.count.fetch_add(1, Ordering::Relaxed) as usize % self.ids.len();
        self.ids[at].store(id.get(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_tried_is_remembered_through_every_setter() {
        let id = |id| NonZeroU64::new(id).unwrap();
        let deadline = Deadline::new();
        assert!(deadline.tried().is_empty());
        deadline.tried().note(id(7));
        let later = deadline.until(Instant::now()).attempts(2);
        assert!(later.tried().contains(id(7)) && !later.tried().contains(id(8)));
        for other in 100..108 {
            later.tried().note(id(other));
        }
        assert!(!later.tried().contains(id(7)), "the last eight");
        assert!(!later.tried().is_empty());
    }

    #[test]
    fn what_is_reserved_is_given_back_and_never_more() {
        let deadline = Deadline::new().attempts(4);
        assert_eq!(deadline.left(), 3);
        let mut reserve = deadline.reserve(9);
        assert_eq!(deadline.left(), 0);
        assert!(reserve.take());
        drop(reserve);
        assert_eq!(deadline.left(), 2);
        let mut none = deadline.reserve(0);
        assert!(none.take() && none.take() && !none.take());
        drop(none);
        assert_eq!(deadline.left(), 0);
    }

    #[test]
    fn threads_share_one_budget() {
        let deadline = Deadline::new().attempts(1001);
        let taken: usize = std::thread::scope(|scope| {
            let takers = (0..8).map(|_| {
                let deadline = deadline.clone();
                scope.spawn(move || (0..1000).filter(|_| deadline.take()).count())
            });
            let takers: Vec<_> = takers.collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!((taken, deadline.left()), (1000, 0));
    }

    #[test]
    fn the_earlier_end_holds() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let deadline = Deadline::new().until(now + 2 * second);
        assert!(deadline.allows(second, now));
        assert!(!deadline.allows(2 * second, now));
        let deadline = deadline.until(now + second).until(now + 3 * second);
        assert_eq!(deadline.at(), Some(now + second));
        assert!(deadline.is_over(now + second) && !deadline.is_over(now));
        assert!(!deadline.allows(Duration::MAX, now));
        assert!(Deadline::new().allows(Duration::MAX, now));
    }

    #[test]
    fn an_earlier_end_is_no_second_budget() {
        let deadline = Deadline::new().attempts(3);
        let earlier = deadline.clone().until(Instant::now());
        assert!(earlier.take() && deadline.take());
        assert!(!earlier.take() && !deadline.take());
    }
}
