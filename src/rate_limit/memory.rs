//! Buckets in this process, and who decides on them.

use super::{
    gcra::{Rate, Time},
    kept::{self, Kept, Named},
    meter::{self, Decision, Rule, State},
    quota::Quota,
    store::Taken,
    table::{Slot, Table},
};
use governor::{RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore};
use std::{
    borrow::BorrowMut,
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    slice,
    sync::Arc,
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
        self.then
            .saturating_add(whole(self.start.elapsed().as_micros()))
    }
}

#[derive(Debug)]
pub(super) struct Memory {
    /// Decides on all who have no limits of their own.
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

    /// For keys that are counted elsewhere as well.
    pub(super) fn beside_a_store(max_keys: usize) -> Self {
        Self {
            governor: None,
            own: Own::new(max_keys),
        }
    }

    /// By these rules, which are those of the quotas unless somebody has limits of their own.
    pub(super) fn take(&self, slot: Slot, rules: &[Rule], limited: bool, cost: u64) -> Decided {
        match &self.governor {
            Some(governor) if !limited => Decided::One(governor.take(slot, cost)),
            _ => self.own.take(slot, rules, cost, self.own.clock.now()),
        }
    }

    /// Brings the buckets up to what a store has said of them.
    pub(super) fn warm(&self, slot: Slot, rules: &[Rule], taken: &Taken, part: f64) {
        self.own
            .warm(slot, rules, taken, part, self.own.clock.now());
    }

    pub(super) fn tracked(&self) -> usize {
        self.own.table.tracked()
    }

    pub(super) fn bytes(&self, quotas: usize) -> usize {
        let governor = self.governor.as_ref();
        self.own.table.bytes()
            + self.own.table.len() * kept::heap(quotas)
            + governor.map_or(0, |governor| governor.table.bytes())
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

    pub(super) fn take(&self, slot: Slot, rules: &[Rule], cost: u64, now: u64) -> Decided {
        self.with(slot, rules, now, |states| {
            let mut one = None;
            let mut several = Vec::new();
            meter::take_all(states, rules, cost, now, |rule, fits, state| {
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
    pub(super) fn take_raw(&self, slot: Slot, rules: &[Rule], cost: u64, now: u64) -> Taken {
        self.with(slot, rules, now, |states| {
            let mut taken = Taken::at(now);
            let mut reset = 0;
            meter::take_all(states, rules, cost, now, |rule, fits, state| {
                reset = reset.max(rule.meter.look(state, now).reset);
                taken.push(fits, state);
            });
            (taken, reset)
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
    table: Arc<Table<u64>>,
    start: Instant,
    /// The same quota in nanoseconds, which tells what governor does not: the times to come.
    rate: Rate,
    burst: u32,
}

impl Governor {
    fn new(quota: &Quota, table: Table<u64>) -> Option<Self> {
        let (interval, burst) = quota.nanoseconds()?;
        let table = Arc::new(table);
        let quota = governor::Quota::with_period(Duration::from_nanos(interval))?
            .allow_burst(NonZeroU32::new(burst)?);
        Some(Self {
            limiter: RateLimiter::new(quota, Store(table.clone()), Now),
            table,
            start: Instant::now(),
            rate: Rate::new(1, interval, burst.into()),
            burst,
        })
    }

    fn take(&self, slot: Slot, cost: u64) -> Decision {
        let call = Call {
            slot,
            now: whole(self.start.elapsed().as_nanos()),
            debt: Cell::new(0),
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
                call.bucket(&self.table, |_| {});
                (cost == 0, (cost == 0).then_some(0))
            }
        };
        let mut left = self.rate.look(Time::at(call.debt.get()), 0);
        left.next = micros(left.next);
        left.reset = micros(left.reset);
        Decision {
            allowed,
            retry_after,
            left,
        }
    }
}

/// What governor takes for a key. It also brings home how long the bucket takes to be full.
#[derive(Clone, Debug)]
struct Call {
    slot: Slot,
    /// In nanoseconds, as are the buckets.
    now: u64,
    debt: Cell<u64>,
}

impl Call {
    fn bucket<R>(&self, table: &Table<u64>, with: impl FnOnce(&mut u64) -> R) -> R {
        let idle = |tat: &u64| *tat <= self.now;
        table.with(self.slot, self.now / 1000, idle, |tat| {
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
struct Store(Arc<Table<u64>>);

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

    #[tokio::test(start_paused = true)]
    async fn both_tell_the_same() {
        let quota = Quota::per_second(10).burst(3);
        let memory = Memory::new(std::slice::from_ref(&quota), 10);
        assert!(memory.governor.is_some());
        let rules = [quota.rule()];
        for (cost, rest) in [
            (1, 0),
            (1, 30),
            (4, 1),
            (0, 1),
            (2, 0),
            (2, 170),
            (1, 0),
            (3, 900),
        ] {
            let take = |limited| {
                let decided = memory.take(Slot::Named(7), &rules, limited, cost);
                decided.as_slice()[0]
            };
            assert_eq!(take(false), take(true), "{cost} {rest}");
            tokio::time::advance(Duration::from_millis(rest)).await;
        }
    }

    #[test]
    fn who_has_limits_of_their_own_finds_room_among_the_others() {
        let quota = Quota::per_second(10);
        let memory = Memory::new(std::slice::from_ref(&quota), 3);
        for key in 0..5 {
            memory.take(Slot::Named(key), &[quota.rule()], key % 2 == 0, 1);
        }
        assert_eq!(memory.tracked(), 3, "together");
    }
}
