//! Counts who is in, and lets in who waits.

use super::{
    Priority, Stats,
    adaptive::{Core, Sample},
    keyed::{Held, Table},
    queue::{Place, Pushed, Queue, Rules},
    stats::{Counts, Reason},
};
use crate::{Rejection, answer::Outcome, rejection::Kind};
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// What holds for a limit, and what was counted of all its gates.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limit: Limit,
    pub(super) rules: Rules,
    pub(super) until_head: bool,
    pub(super) refusal: Kind,
    pub(super) counts: Counts,
}

#[derive(Clone, Debug)]
pub(super) enum Limit {
    Fixed(u64),
    Adaptive(super::adaptive::AdaptiveLimit),
}

impl Shared {
    pub(super) fn refuse(&self, reason: Reason) -> Rejection {
        let mut rejection = Rejection::new(self.refusal).with_retry_after(self.counts.shed(reason));
        if self.refusal == Kind::RateLimited {
            rejection = rejection.with_detail("Too many calls at once.");
        }
        rejection
    }
}

/// Set while somebody waits. The rest of the state is how many are in.
const WAITED_FOR: u64 = 1 << 63;
/// More than can ever be in.
pub(super) const MOST: u64 = WAITED_FOR - 1;

/// One limit, and the queue before it.
///
/// To go is one atomic operation, and so is to come while nobody waits. While somebody does, who is let in
/// is decided under the lock of the queue, so that nobody overtakes it.
pub(super) struct Gate {
    pub(super) shared: Arc<Shared>,
    state: AtomicU64,
    limit: AtomicU64,
    queue: Mutex<Queue<oneshot::Sender<Verdict>>>,
    adaptive: Option<Mutex<Core>>,
    /// Where it is found, if it is one of many.
    pub(super) home: Option<Home>,
}

/// A gate of a key.
pub(super) struct Home {
    pub(super) table: Arc<Table>,
    pub(super) key: u64,
    /// How many use the gate. Changed under the lock of the table.
    pub(super) users: AtomicU64,
}

/// What one who waits hears.
type Verdict = Result<Permit, Reason>;

/// Whoever is told, once the lock is free: a permit that finds nobody goes back through the gate.
type Told = (oneshot::Sender<Verdict>, Verdict);

/// Waits for a permit. Boxed, for only those who wait pay for it.
pub(super) type Wait = Pin<Box<dyn Future<Output = Verdict> + Send>>;

pub(super) enum Entry {
    Permit(Permit),
    Queue(Wait),
    Refused(Reason),
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>, home: Option<Home>) -> Self {
        let (limit, adaptive) = match &shared.limit {
            Limit::Fixed(limit) => (*limit, None),
            Limit::Adaptive(adaptive) => {
                let core = Core::new(adaptive, Instant::now());
                (core.limit() as u64, Some(Mutex::new(core)))
            }
        };
        Self {
            shared,
            state: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            queue: Mutex::new(Queue::new()),
            adaptive,
            home,
        }
    }

    fn in_flight(&self) -> u64 {
        self.state.load(Ordering::Relaxed) & !WAITED_FOR
    }

    pub(super) fn add_to(&self, stats: &mut Stats) {
        let limit = usize::try_from(self.limit.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        stats.limit = stats.limit.max(limit);
        stats.in_flight += usize::try_from(self.in_flight()).unwrap_or(usize::MAX);
        if self.shared.rules.places > 0 {
            for (sum, some) in stats.waiting.iter_mut().zip(self.lock().waiting()) {
                *sum += some;
            }
        }
    }

    /// Lets in at once, if there is room and nobody waits.
    fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut state = self.state.load(Ordering::Relaxed);
        // The bit of those who wait makes it larger than any limit.
        while state < limit {
            let one_more = self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match one_more {
                Ok(_) => return true,
                Err(other) => state = other,
            }
        }
        false
    }

    // Whoever panicked with the lock left a valid queue: it is one after every statement.
    fn lock(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Verdict>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The permit's time begins now, if it is one to learn from.
    fn permit(held: Held, sample: bool) -> Permit {
        let since = sample.then(Instant::now);
        Permit { held, since }
    }

    pub(super) fn enter(
        held: Held,
        priority: impl FnOnce() -> Priority,
        is_sample: impl FnOnce() -> bool,
    ) -> Entry {
        if held.take() {
            let learns = held.adaptive.is_some();
            // It gives itself back, should what comes next not return.
            let mut permit = Self::permit(held, false);
            if learns && is_sample() {
                permit.since = Some(Instant::now());
            }
            return Entry::Permit(permit);
        }
        if held.shared.rules.places == 0 {
            return Entry::Refused(Reason::Full);
        }
        let sample = held.adaptive.is_some() && is_sample();
        Self::wait(held, priority(), sample)
    }

    fn wait(held: Held, priority: Priority, sample: bool) -> Entry {
        let rules = held.shared.rules;
        let (sender, receiver) = oneshot::channel();
        let mut told = Vec::new();
        let mut queue = held.lock();
        // From here on nobody is let in but under the lock.
        let state = held.state.fetch_or(WAITED_FOR, Ordering::AcqRel) & !WAITED_FOR;
        let free = queue.is_empty() && state < held.limit.load(Ordering::Relaxed);
        let now = Instant::now();
        let pushed = if free {
            // Somebody has gone since we found no room.
            held.state.fetch_add(1, Ordering::AcqRel);
            None
        } else {
            held.drop_late(&mut queue, now, &mut told);
            Some(queue.push(&rules, priority, sender, now))
        };
        held.settle(&queue);
        drop(queue);
        let entry = match pushed {
            None => Entry::Permit(Self::permit(held, sample)),
            Some(Pushed::Full(_)) => Entry::Refused(Reason::Full),
            Some(Pushed::Waits {
                place,
                patience,
                displaced,
            }) => {
                told.extend(displaced.map(|who| (who, Err(Reason::Displaced))));
                let standing = patience < rules.max_wait;
                let waiting = Waiting { held, place };
                Entry::Queue(Box::pin(async move {
                    let told = timeout(patience, receiver).await;
                    drop(waiting);
                    match told {
                        Ok(Ok(Ok(mut permit))) => {
                            permit.since = permit.since.filter(|_| sample);
                            Ok(permit)
                        }
                        Ok(Ok(Err(reason))) => Err(reason),
                        // Nobody drops the other end but with a gate that is gone.
                        Ok(Err(_)) => Err(Reason::Full),
                        Err(_) if standing => Err(Reason::Delayed),
                        Err(_) => Err(Reason::Late),
                    }
                }))
            }
        };
        tell(told);
        entry
    }

    /// One has gone. Whoever is just about to wait sees it, or is seen here.
    fn leave(held: &Held) {
        if held.state.fetch_sub(1, Ordering::AcqRel) & WAITED_FOR == 0 {
            return;
        }
        let mut told = Vec::new();
        let mut queue = held.lock();
        Self::serve(held, &mut queue, &mut told);
        drop(queue);
        tell(told);
    }

    /// Lets in as many of those who wait as there is room for.
    fn serve(held: &Held, queue: &mut Queue<oneshot::Sender<Verdict>>, told: &mut Vec<Told>) {
        if !queue.is_empty() {
            let now = Instant::now();
            held.drop_late(queue, now, told);
            let limit = held.limit.load(Ordering::Relaxed);
            while held.in_flight() < limit
                && let Some(next) = queue.pop(&held.shared.rules, now)
            {
                held.state.fetch_add(1, Ordering::AcqRel);
                told.push((
                    next,
                    Ok(Self::permit(held.clone(), held.adaptive.is_some())),
                ));
            }
        }
        held.settle(queue);
    }

    fn drop_late(
        &self,
        queue: &mut Queue<oneshot::Sender<Verdict>>,
        now: Instant,
        told: &mut Vec<Told>,
    ) {
        while let Some(late) = queue.pop_late(&self.shared.rules, now) {
            told.push((late, Err(Reason::Delayed)));
        }
    }

    /// To be called before the lock is let go.
    fn settle(&self, queue: &Queue<oneshot::Sender<Verdict>>) {
        if queue.is_empty() {
            self.state.fetch_and(!WAITED_FOR, Ordering::AcqRel);
        }
    }

    fn learn(held: &Held, since: Instant, outcome: Outcome) {
        let Some(adaptive) = &held.adaptive else {
            return;
        };
        let now = Instant::now();
        let sample = Sample {
            begun: since,
            now,
            in_flight: usize::try_from(held.in_flight()).unwrap_or(usize::MAX),
            outcome,
        };
        let mut core = adaptive.lock().unwrap_or_else(PoisonError::into_inner);
        let before = core.limit();
        core.sample(&sample);
        let limit = core.limit();
        if limit == before {
            return;
        }
        // The lock of the queue within, so that of two changes the later one stays.
        let mut told = Vec::new();
        let mut queue = held.lock();
        held.limit.store(limit as u64, Ordering::Relaxed);
        Self::serve(held, &mut queue, &mut told);
        drop(queue);
        drop(core);
        tell(told);
    }
}

fn tell(told: Vec<Told>) {
    for (who, verdict) in told {
        // Whoever has gone meanwhile gives its permit back here.
        let _ = who.send(verdict);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("in_flight", &self.in_flight())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A place in the queue, for as long as somebody waits.
struct Waiting {
    held: Held,
    place: Place,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut queue = self.held.lock();
        let gone = queue.remove(self.place);
        self.held.settle(&queue);
        drop(queue);
        drop(gone);
    }
}

/// The right to one exchange.
#[derive(Debug)]
pub(super) struct Permit {
    held: Held,
    /// When its call began, as long as there is something to learn from it.
    since: Option<Instant>,
}

impl Permit {
    pub(super) fn until_head(&self) -> bool {
        self.held.shared.until_head
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, outcome: impl FnOnce() -> Outcome) {
        if let Some(since) = mem::take(&mut self.since) {
            Gate::learn(&self.held, since, outcome());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Nobody waited for the answer. How long somebody did may tell something.
        self.answered(|| Outcome::Neutral);
        Gate::leave(&self.held);
    }
}
