//! Buckets in this process, and who decides on them.

use super::{
    gcra::{Rate, Time},
    kept::{self, Kept, Named},
    meter::{self, Decision, Known, Rule, State},
    quota::Quota,
    store::{Take, Taken},
    table::{Slot, Table},
};
use governor::{RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore};
use std::{
    borrow::{Borrow, BorrowMut},
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// One decision for each quota, with times in microseconds.
#[derive(Debug)]
pub(super) enum Decided {
    One(Decision),
    Several(Vec<Decision>),
}

impl Decided {
    pub(super) fn as_slice(&self) -> &[Decision] {
        match self {
            Self::One(decision) => slice::from_ref(decision),
            Self::Several(decisions) => decisions,
        }
    }
}

/// Microseconds since 1970.
///
/// What the system's clock said once, and what has gone by since: a clock that is set back or forward
/// grants nothing and takes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    then: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let then = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: Instant::now(),
            then: then.map_or(0, |then| whole(then.as_micros())),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.micros(self.nanos())
    }

    /// Nanoseconds since it was made.
    fn nanos(&self) -> u64 {
        whole(self.start.elapsed().as_nanos())
    }

    fn micros(&self, nanos: u64) -> u64 {
        self.then.saturating_add(nanos / 1000)
    }
}

/// Each key is counted in one place. That is governor's, until a call comes that shares the bucket and
/// has other limits, of which governor knows nothing: then all are moved to the place of the others.
#[derive(Debug)]
pub(super) struct Memory {
    governor: Option<Governor>,
    own: Own,
}

impl Memory {
    pub(super) fn new(quotas: &[Quota], max_keys: usize) -> Self {
        let own = Own::new(max_keys);
        let governor = match quotas {
            [quota] => Governor::new(quota, own.table.beside()),
            _ => None,
        };
        Self { governor, own }
    }

    /// The same, made at this time in microseconds since 1970.
    #[cfg(all(test, feature = "rate-limit-redis"))]
    pub(super) fn made_at(mut self, then: u64) -> Self {
        self.own.clock.then = then;
        self
    }

    #[cfg(all(test, feature = "rate-limit-redis"))]
    pub(super) fn is_governed(&self) -> bool {
        self.governor.is_some()
    }

    /// For keys that are counted elsewhere as well.
    pub(super) fn beside_a_store(max_keys: usize) -> Self {
        Self {
            governor: None,
            own: Own::new(max_keys),
        }
    }

    /// By these rules, which are those of the quotas unless somebody has limits of their own.
    pub(super) fn take(&self, slot: Slot, rules: &[Rule], limited: bool, cost: u64) -> Decided {
        self.take_at(slot, rules, limited, cost, self.own.clock.nanos())
    }

    /// At so many nanoseconds since it was made.
    pub(super) fn take_at(
        &self,
        slot: Slot,
        rules: &[Rule],
        limited: bool,
        cost: u64,
        nanos: u64,
    ) -> Decided {
        let now = self.own.clock.micros(nanos);
        let governor = self.governor.as_ref();
        if let Some(governor) = governor.filter(|_| !limited)
            && let Some(decision) = governor.take(slot, cost, nanos)
        {
            return Decided::One(decision);
        }
        let owed = || governor.and_then(|governor| governor.owed(slot, rules, nanos));
        self.own.take(slot, rules, cost, now, owed)
    }

    /// Brings the buckets up to what a store has said of them.
    pub(super) fn warm(&self, slot: Slot, rules: &[Rule], taken: &Taken, part: f64) {
        self.own
            .warm(slot, rules, taken, part, self.own.clock.now());
    }

    /// What is to be told to a store that may have forgotten the buckets.
    pub(super) fn known(&self, slot: Slot, rules: &[Rule], part: f64) -> Option<Box<[Known]>> {
        self.own.known(slot, rules, part, self.now())
    }

    pub(super) fn now(&self) -> u64 {
        self.own.clock.now()
    }

    pub(super) fn tracked(&self) -> usize {
        self.own.table.tracked()
    }

    pub(super) fn bytes(&self, quotas: usize) -> usize {
        let governor = self.governor.as_ref();
        self.own.table.bytes()
            + self.own.table.len() * kept::heap(quotas)
            + governor.map_or(0, |governor| governor.lean.table.bytes())
    }
}

/// Quotas of any algorithm, all or nothing.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) table: Table<Kept>,
    pub(super) clock: Clock,
}

impl Own {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            table: Table::new(max_keys),
            clock: Clock::new(),
        }
    }

    /// `owed` is what was taken of the first quota elsewhere, and comes to what was taken here.
    pub(super) fn take(
        &self,
        slot: Slot,
        rules: &[Rule],
        cost: u64,
        now: u64,
        owed: impl FnOnce() -> Option<Time>,
    ) -> Decided {
        self.with(slot, rules, now, |states| {
            if let (Some(owed), Some(first), Some(rule)) =
                (owed(), states.first_mut(), rules.first())
            {
                let state: &mut State = first.borrow_mut();
                *state = rule.meter.owe(*state, owed, now);
            }
            let mut one = None;
            let mut several = Vec::new();
            meter::take_all(states, rules, &[], cost, now, |rule, fits, state| {
                let decision = rule.meter.tell(fits, state, cost, now);
                match rules {
                    [_] => one = Some(decision),
                    _ => several.push(decision),
                }
            });
            let decided = one.map_or(Decided::Several(several), Decided::One);
            let resets = decided.as_slice().iter().map(|one| one.left.reset);
            let reset = resets.max().unwrap_or(0);
            (decided, reset)
        })
    }

    /// The numbers themselves, for who asks as a store is asked.
    pub(super) fn take_raw(&self, slot: Slot, take: &Take, now: u64) -> Taken {
        let rules = &take.rules.rules;
        self.with(slot, rules, now, |states| {
            let mut taken = Taken::at(now);
            let mut reset = 0;
            let told = |rule: &Rule, fits, state| {
                reset = reset.max(rule.meter.look(state, now).reset);
                taken.push(fits, state);
            };
            meter::take_all(states, rules, &take.known, take.cost, now, told);
            (taken, reset)
        })
    }

    /// What the buckets of a key say, if it has any.
    fn known(&self, slot: Slot, rules: &[Rule], part: f64, now: u64) -> Option<Box<[Known]>> {
        self.table.look(slot, |kept| {
            let both = kept.states(rules).iter().zip(rules);
            both.map(|(named, rule)| {
                let state: &State = named.borrow();
                rule.meter.known(*state, now, part)
            })
            .collect()
        })
    }

    fn warm(&self, slot: Slot, rules: &[Rule], taken: &Taken, part: f64, now: u64) {
        let idle = |kept: &Kept| kept.until <= now;
        // What one key has used is nothing to all those who find no room.
        let _ = self.table.if_room(slot, now, idle, |kept| {
            let mut reset = 0;
            let states = kept.states(rules).iter_mut();
            for ((named, rule), (_, there)) in states.zip(rules).zip(taken.buckets()) {
                let clocks = (taken.now(), now);
                let state: &mut State = named.borrow_mut();
                *state = rule.meter.warm(*state, there, clocks, part);
                reset = reset.max(rule.meter.look(*state, now).reset);
            }
            kept.keep(rules, now.saturating_add(reset));
        });
    }

    /// Does something with the buckets of a key, and learns in what time they are full again.
    fn with<R>(
        &self,
        slot: Slot,
        rules: &[Rule],
        now: u64,
        with: impl FnOnce(&mut [Named]) -> (R, u64),
    ) -> R {
        let idle = |kept: &Kept| kept.until <= now;
        self.table.with(slot, now, idle, |kept| {
            let (answer, reset) = with(kept.states(rules));
            kept.keep(rules, now.saturating_add(reset));
            answer
        })
    }
}

/// One quota, decided by governor. The buckets are ours, for governor's own grow without bound.
///
/// One reading of tokio's clock serves the whole call: governor decides at zero, on a bucket whose
/// times count from now on.
#[derive(Debug)]
struct Governor {
    limiter: RateLimiter<Call, Store, Now, NoOpMiddleware<Nanos>>,
    lean: Arc<Lean>,
    /// The same quota in nanoseconds, which tells what governor does not: the times to come.
    rate: Rate,
    burst: u32,
    /// The same quota in microseconds, and under which name it is kept among others.
    micros: Rate,
    field: u64,
}

/// The buckets that governor decides on, in nanoseconds.
#[derive(Debug)]
struct Lean {
    table: Table<u64>,
    /// Whether they are moved away. It is read under the lock of a bucket, so that what was taken before
    /// is found by who moves it.
    moved: AtomicBool,
}

impl Governor {
    fn new(quota: &Quota, table: Table<u64>) -> Option<Self> {
        let (interval, burst) = quota.nanoseconds()?;
        let (micros, field) = (quota.rate(), quota.rule().field);
        let lean = Arc::new(Lean {
            table,
            moved: AtomicBool::new(false),
        });
        let quota = governor::Quota::with_period(Duration::from_nanos(interval))?
            .allow_burst(NonZeroU32::new(burst)?);
        Some(Self {
            limiter: RateLimiter::new(quota, Store(lean.clone()), Now),
            lean,
            rate: Rate::new(1, interval, burst.into()),
            burst,
            micros,
            field,
        })
    }

    /// `None`: the buckets are not here any more.
    fn take(&self, slot: Slot, cost: u64, now: u64) -> Option<Decision> {
        if self.lean.moved.load(Ordering::Relaxed) {
            return None;
        }
        let call = Call {
            slot,
            now,
            debt: Cell::new(0),
            moved: Cell::new(false),
        };
        let some = u32::try_from(cost).ok().filter(|cost| *cost <= self.burst);
        let (allowed, retry_after) = match some.and_then(NonZeroU32::new) {
            Some(some) => match self.limiter.check_key_n(&call, some) {
                Ok(Ok(())) => (true, Some(0)),
                Ok(Err(until)) => (false, Some(micros(until.earliest_possible().as_u64()))),
                Err(_) => (false, None),
            },
            // Nothing to take, or never to be taken, and yet something to tell.
            None => {
                call.bucket(&self.lean, |_| {});
                (cost == 0, (cost == 0).then_some(0))
            }
        };
        if call.moved.get() {
            return None;
        }
        let mut left = self.rate.look(Time::at(call.debt.get()), 0);
        left.next = micros(left.next);
        left.reset = micros(left.reset);
        Some(Decision {
            allowed,
            retry_after,
            left,
        })
    }

    /// What a bucket lacks here that is to be counted by these rules. From then on none is counted here,
    /// if they share it with who has no limits of their own.
    fn owed(&self, slot: Slot, rules: &[Rule], now: u64) -> Option<Time> {
        let shared = matches!(rules, [rule] if rule.field == self.field);
        if !shared || matches!(slot, Slot::Apart(_)) {
            return None;
        }
        self.lean.moved.store(true, Ordering::Relaxed);
        let tat = self
            .lean
            .table
            .remove(slot, now / 1000, |tat| *tat <= now)?;
        // Times to come count from the same microsecond there.
        let debt = tat.checked_sub(now - now % 1000)?;
        Some(self.micros.fraction(debt, 1000))
    }
}

/// What governor takes for a key. It also brings home how long the bucket takes to be full.
#[derive(Clone, Debug)]
struct Call {
    slot: Slot,
    /// In nanoseconds, as are the buckets.
    now: u64,
    debt: Cell<u64>,
    /// It is to be decided elsewhere.
    moved: Cell<bool>,
}

impl Call {
    fn bucket<R>(&self, lean: &Lean, with: impl FnOnce(&mut u64) -> R) -> R {
        let idle = |tat: &u64| *tat <= self.now;
        lean.table.with(self.slot, self.now / 1000, idle, |tat| {
            if lean.moved.load(Ordering::Relaxed) {
                self.moved.set(true);
                let mut nothing = self.now;
                return with(&mut nothing);
            }
            let answer = with(tat);
            self.debt.set(tat.saturating_sub(self.now));
            answer
        })
    }
}

// governor asks for these, and never uses them: it is the store that looks up.
impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.slot.hash(state);
    }
}

#[derive(Debug)]
struct Store(Arc<Lean>);

impl StateStore for Store {
    type Key = Call;

    // The bucket is locked meanwhile, so nobody else can have changed it.
    fn measure_and_replace<T, F, E>(&self, call: &Call, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        call.bucket(&self.0, |tat| {
            let (answer, next) = f(Some(tat.saturating_sub(call.now).into()))?;
            *tat = call.now.saturating_add(next.as_u64());
            Ok(answer)
        })
    }
}

/// Now, from which all other times count.
#[derive(Clone, Copy, Debug)]
struct Now;

impl governor::clock::Clock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}

fn whole(time: u128) -> u64 {
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// Rounded up, so that nobody comes back early.
fn micros(nanos: u64) -> u64 {
    nanos.div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    fn memory(quota: &Quota) -> (Memory, [Rule; 1]) {
        let memory = Memory::new(slice::from_ref(quota), 10);
        (memory, [quota.rule()])
    }

    #[test]
    fn both_tell_the_same() {
        let quota = Quota::per_second(10).burst(3);
        let ((governed, rules), (own, _)) = (memory(&quota), memory(&quota));
        assert!(governed.governor.is_some());
        let mut now = 0;
        for (cost, rest) in [
            (1, 0),
            (1, 30),
            (4, 1),
            (0, 1),
            (2, 0),
            (2, 170),
            (1, 0),
            (u64::MAX, 0),
            (3, 900),
        ] {
            let take = |memory: &Memory, limited| {
                memory
                    .take_at(Slot::Named(7), &rules, limited, cost, now)
                    .as_slice()[0]
            };
            assert_eq!(take(&governed, false), take(&own, true), "{cost} {rest}");
            now += rest * MILLI;
        }
    }

    #[test]
    fn nobody_is_let_in_more_often_than_granted_whatever_the_interval_is() {
        for limit in [7, 600, 1000, 700_000, 900_001, 999_002] {
            let (memory, rules) = memory(&Quota::per_second(limit).burst(2));
            let times = (0..=100_000).map(|micros| micros * 1000);
            let let_in = times
                .filter(|now| {
                    let decided = memory.take_at(Slot::Named(7), &rules, false, 1, *now);
                    decided.as_slice()[0].allowed
                })
                .count() as u64;
            assert_eq!(
                let_in,
                2 + limit / 10,
                "{limit} a second, in a tenth of one"
            );
        }
    }

    #[test]
    fn who_has_other_limits_for_some_calls_has_one_bucket_for_all() {
        let quota = Quota::per_second(10).burst(4);
        let wider = [Quota::per_second(20).name("per-second").burst(8).rule()];
        for slot in [Slot::Named(7), Slot::Nameless] {
            let (memory, rules) = memory(&quota);
            let take = |rules: &[Rule], limited, cost, now| {
                let decided = memory.take_at(slot, rules, limited, cost, now * MILLI);
                let [one] = decided.as_slice() else {
                    panic!("one quota")
                };
                (one.allowed, one.left.reset)
            };
            assert_eq!(take(&rules, false, 3, 0), (true, 300_000));
            assert_eq!(take(&wider, true, 2, 50), (true, 350_000));
            assert_eq!(take(&rules, false, 1, 50), (false, 350_000));
            assert_eq!(take(&wider, true, 1, 50), (true, 400_000));
            assert_eq!(take(&rules, false, 1, 150), (true, 400_000));
            assert_eq!(take(&rules, false, 1, 150), (false, 400_000));
            assert!(memory.tracked() <= 1, "in one place");
        }
    }

    #[test]
    fn another_period_or_a_credential_apart_leaves_the_others_where_they_are() {
        let (memory, rules) = memory(&Quota::per_second(10));
        let hour = [Quota::per_hour(10).name("per-second").rule()];
        memory.take_at(Slot::Named(7), &hour, true, 1, 0);
        memory.take_at(Slot::Apart(8), &rules, true, 1, 0);
        memory.take_at(Slot::Named(7), &rules, false, 1, 0);
        let governor = memory.governor.as_ref().unwrap();
        assert!(!governor.lean.moved.load(Ordering::Relaxed));
        assert_eq!((governor.lean.table.len(), memory.tracked()), (1, 3));
    }

    /// Whoever moves the buckets, and whenever: what was taken before is not forgotten.
    #[test]
    fn a_crowd_that_moves_a_bucket_gets_the_quota_and_no_more() {
        for round in 0..200 {
            let (memory, rules) = memory(&Quota::per_second(1000).burst(500));
            let let_in = std::thread::scope(|scope| {
                let calls = |task: u64| {
                    let (memory, rules) = (&memory, &rules);
                    move || {
                        (0..250_u64)
                            .filter(|call| {
                                let limited = task == 0 && *call >= round;
                                let decided = memory.take_at(Slot::Named(7), rules, limited, 1, 0);
                                decided.as_slice()[0].allowed
                            })
                            .count()
                    }
                };
                let tasks: Vec<_> = (0..4).map(|task| scope.spawn(calls(task))).collect();
                let counts = tasks.into_iter().map(|task| task.join().unwrap());
                counts.sum::<usize>()
            });
            assert_eq!(let_in, 500);
        }
    }

    #[test]
    fn who_has_limits_of_their_own_finds_room_among_the_others() {
        let (memory, rules) = {
            let quota = Quota::per_second(10);
            (Memory::new(slice::from_ref(&quota), 3), [quota.rule()])
        };
        for key in 0..5 {
            let slot = [Slot::Named(key), Slot::Apart(key)][(key % 2) as usize];
            memory.take(slot, &rules, key % 2 == 1, 1);
        }
        assert_eq!(memory.tracked(), 3, "together");
    }
}
