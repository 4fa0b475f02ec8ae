//! How much may be asked of a service again, all in all.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How many further attempts all exchanges together may make at one service.
///
/// A service that fails half of its calls is not helped by half as many again. So further attempts are a
/// share of what is asked of it anyway, in one of two ways:
///
/// | | counts | share | at least |
/// |---|---|--:|--:|
/// | [`rate`](Self::rate), of Finagle and tower | calls of the last 10 seconds | 20 % | 10 a second |
/// | [`concurrent`](Self::concurrent), of Envoy | calls under way | 20 % | 3 at once |
///
/// The first is for services that are called often, the second for those whose calls take long. Clones are
/// one and the same budget; every setter starts another.
///
/// ```
/// use tower_gateway::{deadline::Budget, retry::RetryLayer};
///
/// let budget = Budget::concurrent().percent(10);
/// let (users, orders) = (RetryLayer::new(), RetryLayer::new());
/// // Two ways to one service, which share what may be asked of it again.
/// let both = [users.budget(budget.clone()), orders.budget(budget)];
/// # let _ = both;
/// ```
#[derive(Clone)]
pub struct Budget {
    config: Config,
    state: Arc<State>,
}

#[derive(Clone, Copy, Debug)]
struct Config {
    percent: u32,
    minimum: u32,
    /// `None`: those under way.
    window: Option<Duration>,
}

enum State {
    Rate(Mutex<Rate>),
    Concurrent(Concurrent),
}

impl Budget {
    /// 20 % of the calls of the last 10 seconds, and 10 a second beside.
    #[must_use]
    pub fn rate() -> Self {
        Self::of(Config {
            percent: 20,
            minimum: 10,
            window: Some(Duration::from_secs(10)),
        })
    }

    /// 20 % of the calls under way, or 3 at once if that is more. A call is under way until its answer has
    /// begun.
    #[must_use]
    pub fn concurrent() -> Self {
        Self::of(Config {
            percent: 20,
            minimum: 3,
            window: None,
        })
    }

    /// Sets which share of the calls may be asked again. At most 1,000 %.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        Self::of(Config {
            percent: percent.min(1000),
            ..self.config
        })
    }

    /// Sets how many may be asked again however few calls there are: each second, of a
    /// [`rate`](Self::rate), and else at once. At most a million.
    #[must_use]
    pub fn minimum(self, minimum: u32) -> Self {
        Self::of(Config {
            minimum: minimum.min(1_000_000),
            ..self.config
        })
    }

    /// Sets for how long a call counts, of a [`rate`](Self::rate): from 1 to 60 seconds.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        let second = Duration::from_secs(1);
        let window = window.clamp(second, 60 * second);
        Self::of(Config {
            window: self.config.window.map(|_| window),
            ..self.config
        })
    }

    fn of(config: Config) -> Self {
        let state = match config.window {
            Some(window) => State::Rate(Mutex::new(Rate::new(config, window, Instant::now()))),
            None => State::Concurrent(Concurrent::default()),
        };
        let state = Arc::new(state);
        Self { config, state }
    }

    /// The same numbers, and nothing spent.
    pub(crate) fn fresh(&self) -> Self {
        Self::of(self.config)
    }

    /// Counts a call, which is under way until what is returned is dropped.
    pub(crate) fn call(&self, now: Instant) -> Call {
        match &*self.state {
            State::Rate(rate) => lock(rate).deposit(now),
            State::Concurrent(calls) => {
                calls.active.fetch_add(1, Ordering::Relaxed);
            }
        }
        Call(self.clone())
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call(Budget);

impl Call {
    /// Takes a further attempt, which lasts until what is returned is dropped. `None`: none is to be made.
    pub(crate) fn further(&self, now: Instant) -> Option<Further> {
        let Budget { config, state } = &self.0;
        match &**state {
            State::Rate(rate) => lock(rate).withdraw(now).then_some(Further(None)),
            State::Concurrent(calls) => calls
                .take(config.percent, config.minimum)
                .then(|| Further(Some(state.clone()))),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let State::Concurrent(calls) = &*self.0.state {
            calls.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A further attempt under way.
pub(crate) struct Further(Option<Arc<State>>);

impl Drop for Further {
    fn drop(&mut self) {
        if let Some(State::Concurrent(calls)) = self.0.as_deref() {
            calls.further.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// What is in it is valid after every statement.
fn lock(rate: &Mutex<Rate>) -> MutexGuard<'_, Rate> {
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Concurrent {
    active: AtomicUsize,
    further: AtomicUsize,
}

impl Concurrent {
    fn take(&self, percent: u32, minimum: u32) -> bool {
        let most = share(self.active.load(Ordering::Relaxed), percent, minimum);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let taken = |further: usize| (further < most).then(|| further + 1);
        self.further.fetch_update(set, fetch, taken).is_ok()
    }
}

fn share(active: usize, percent: u32, minimum: u32) -> usize {
    let (percent, minimum) = (percent as usize, minimum as usize);
    (active.saturating_mul(percent) / 100).max(minimum)
}

/// In so many parts the time is cut in which a call counts.
const SLOTS: usize = 10;

/// A further attempt, in the hundredths in which is counted.
const WHOLE: i64 = 100;

/// What was earned and spent in each of the last slots, in hundredths of an attempt.
#[derive(Debug)]
struct Rate {
    each: i64,
    reserve: i64,
    slot: Duration,
    slots: [i64; SLOTS],
    sum: i64,
    current: usize,
    /// When the current slot is over.
    end: Instant,
}

impl Rate {
    fn new(config: Config, window: Duration, now: Instant) -> Self {
        let seconds = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
        let slot = window / SLOTS as u32;
        Self {
            each: config.percent.into(),
            reserve: i64::from(config.minimum) * seconds * WHOLE,
            slot,
            slots: [0; SLOTS],
            sum: 0,
            current: 0,
            end: now + slot,
        }
    }

    fn deposit(&mut self, now: Instant) {
        self.advance(now);
        self.add(self.each);
    }

    fn withdraw(&mut self, now: Instant) -> bool {
        self.advance(now);
        let enough = self.reserve + self.sum >= WHOLE;
        if enough {
            self.add(-WHOLE);
        }
        enough
    }

    fn add(&mut self, amount: i64) {
        self.slots[self.current] += amount;
        self.sum += amount;
    }

    fn advance(&mut self, now: Instant) {
        let Some(late) = now.checked_duration_since(self.end) else {
            return;
        };
        let steps = late.as_nanos() / self.slot.as_nanos() + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        for _ in 0..steps.min(SLOTS as u32) {
            self.current = (self.current + 1) % SLOTS;
            self.sum -= std::mem::take(&mut self.slots[self.current]);
        }
        let on = self.slot.checked_mul(steps);
        self.end = on.and_then(|on| self.end.checked_add(on)).unwrap_or(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(call: &Call, now: Instant) -> usize {
        (0..1000)
            .take_while(|_| call.further(now).is_some())
            .count()
    }

    #[test]
    fn a_fifth_of_the_calls_and_ten_a_second() {
        let budget = Budget::rate();
        let now = Instant::now();
        let calls: Vec<_> = (0..500).map(|_| budget.call(now)).collect();
        assert_eq!(taken(&calls[0], now), 100 + 100);
        assert_eq!(taken(&calls[0], now + 5 * SECOND), 0);
        // Neither what was earned counts any more, nor what was spent.
        assert_eq!(taken(&calls[0], now + 11 * SECOND), 100);
        assert_eq!(taken(&calls[0], now + 1000 * SECOND), 100);
    }

    #[test]
    fn nothing_is_nothing() {
        let budget = Budget::rate().percent(0).minimum(0);
        let now = Instant::now();
        assert_eq!(taken(&budget.call(now), now), 0);
        let budget = Budget::concurrent().percent(0).minimum(0);
        assert_eq!(taken(&budget.call(now), now), 0);
    }

    #[test]
    fn a_fifth_of_those_under_way_and_no_fewer_than_three() {
        let budget = Budget::concurrent();
        let now = Instant::now();
        let mut calls = vec![budget.call(now)];
        let all = |call: &Call| -> Vec<_> { (0..99).map_while(|_| call.further(now)).collect() };
        let few = all(&calls[0]);
        assert_eq!(few.len(), 3);
        calls.extend((1..50).map(|_| budget.clone().call(now)));
        let more = all(&calls[7]);
        assert_eq!((few.len(), more.len()), (3, 7));
        drop(few);
        calls.truncate(20);
        assert_eq!(all(&calls[0]).len(), 0, "7 are out, and 4 may be");
        drop(more);
        assert_eq!(all(&calls[0]).len(), 4);
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let budget = Budget::concurrent().minimum(500);
        let now = Instant::now();
        let call = budget.call(now);
        let taken: usize = std::thread::scope(|scope| {
            let take = || {
                (0..200)
                    .filter_map(|_| call.further(now))
                    .collect::<Vec<_>>()
            };
            let takers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            let taken: Vec<_> = takers
                .into_iter()
                .map(|taker| taker.join().unwrap())
                .collect();
            taken.iter().map(Vec::len).sum()
        });
        assert_eq!(taken, 500);
    }

    proptest! {
        #[test]
        fn a_rate_grants_what_a_recount_does_and_never_more_than_its_share(
            percent in 0_u32..300,
            minimum in 0_u32..3,
            steps in proptest::collection::vec((any::<bool>(), 0_u64..1500), 1..400),
        ) {
            let mut now = Instant::now();
            let start = now;
            let config = Config { percent, minimum, window: None };
            let mut rate = Rate::new(config, 10 * SECOND, now);
            let mut all: Vec<(u128, i64)> = Vec::new();
            for (call, pause) in steps {
                now += Duration::from_millis(pause);
                let slot = (now - start).as_millis() / 1000;
                let recent = all.iter().filter(|(then, _)| then + 10 > slot);
                let sum: i64 = recent.clone().map(|(_, amount)| amount).sum();
                if call {
                    rate.deposit(now);
                    all.push((slot, percent.into()));
                } else {
                    let granted = rate.withdraw(now);
                    prop_assert_eq!(granted, i64::from(minimum) * 1000 + sum >= 100);
                    if granted {
                        let spent = 1 + recent.clone().filter(|(_, amount)| *amount < 0).count();
                        let calls = recent.filter(|(_, amount)| *amount >= 0).count();
                        let most = minimum as usize * 10 + calls * percent as usize / 100;
                        prop_assert!(spent <= most, "{} of {}", spent, most);
                        all.push((slot, -100));
                    }
                }
            }
        }

        #[test]
        fn a_share_of_what_is_under_way(active in 0_usize..10_000, percent in 0_u32..100, minimum in 0_u32..10) {
            let most = share(active, percent, minimum);
            prop_assert!(most <= minimum as usize || most * 100 <= active * percent as usize);
        }
    }
}
