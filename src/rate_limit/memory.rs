//! Quotas and buckets in this process, and who decides on them.

use super::{
    gcra::{self, Decision, Rate, State},
    quota::Quota,
    table::{Slot, Table},
};
use governor::{
    RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore,
};
use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    slice,
    sync::Arc,
    time::Duration,
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

#[derive(Debug)]
pub(super) enum Memory {
    Governor(Governor),
    Gcra(Gcra),
}

impl Memory {
    pub(super) fn new(quotas: &[Quota], max_keys: usize) -> Self {
        if let [quota] = quotas
            && let Some(governor) = Governor::new(quota, max_keys)
        {
            return Self::Governor(governor);
        }
        Self::Gcra(Gcra {
            rates: quotas.iter().map(Quota::rate).collect(),
            table: Table::new(max_keys),
            start: Instant::now(),
        })
    }

    pub(super) fn take(&self, slot: Slot, cost: u64) -> Decided {
        match self {
            Self::Governor(governor) => Decided::One(governor.take(slot, cost)),
            Self::Gcra(gcra) => Decided::Several(gcra.take(slot, cost)),
        }
    }

    pub(super) fn tracked(&self) -> usize {
        match self {
            Self::Governor(governor) => governor.table.tracked(),
            Self::Gcra(gcra) => gcra.table.tracked(),
        }
    }
}

/// Several quotas, all or nothing. Also one that governor cannot count.
#[derive(Debug)]
pub(super) struct Gcra {
    rates: Box<[Rate]>,
    table: Table<Vec<State>>,
    start: Instant,
}

impl Gcra {
    fn take(&self, slot: Slot, cost: u64) -> Vec<Decision> {
        let now = whole(self.start.elapsed().as_micros());
        let idle = |states: &Vec<State>| {
            let mut all = states.iter().zip(&self.rates);
            all.all(|(state, rate)| state.is_full(rate, now))
        };
        self.table.with(slot, now, idle, |states| {
            states.resize(self.rates.len(), State::default());
            gcra::take_all(states, &self.rates, cost, now)
        })
    }
}

/// One quota, decided by governor. The buckets are ours, for governor's own grow without bound.
///
/// One reading of tokio's clock serves the whole call: governor decides at zero, on a bucket whose
/// times count from now on.
#[derive(Debug)]
pub(super) struct Governor {
    limiter: RateLimiter<Call, Store, Now, NoOpMiddleware<Nanos>>,
    table: Arc<Table<u64>>,
    start: Instant,
    /// The same quota in nanoseconds, which tells what governor does not: the times to come.
    rate: Rate,
    burst: u32,
}

impl Governor {
    fn new(quota: &Quota, max_keys: usize) -> Option<Self> {
        let (interval, burst) = quota.nanoseconds()?;
        let table = Arc::new(Table::new(max_keys));
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
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let (allowed, retry_after) = match NonZeroU32::new(cost) {
            Some(some) if cost <= self.burst => match self.limiter.check_key_n(&call, some) {
                Ok(Ok(())) => (true, Some(0)),
                Ok(Err(until)) => (false, Some(micros(until.earliest_possible().as_u64()))),
                Err(_) => (false, None),
            },
            // Nothing to take, or never to be taken, and yet something to tell.
            other => {
                call.bucket(&self.table, |_| {});
                (other.is_none(), other.is_none().then_some(0))
            }
        };
        let left = State::until(call.debt.get()).look(&self.rate, 0);
        Decision {
            allowed,
            remaining: left.remaining,
            retry_after,
            next: micros(left.next),
            reset: micros(left.reset),
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

impl Clock for Now {
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

    fn decision(decided: &Decided) -> Decision {
        decided.as_slice()[0]
    }

    #[tokio::test(start_paused = true)]
    async fn both_tell_the_same() {
        let quota = Quota::per_second(10).burst(3);
        let governor = Memory::new(std::slice::from_ref(&quota), 10);
        let gcra = Memory::Gcra(Gcra {
            rates: [quota.rate()].into(),
            table: Table::new(10),
            start: Instant::now(),
        });
        assert!(matches!(governor, Memory::Governor(_)));
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
            let slot = Slot::Named(7);
            let both = [governor.take(slot, cost), gcra.take(slot, cost)];
            assert_eq!(decision(&both[0]), decision(&both[1]), "{cost} {rest}");
            tokio::time::advance(Duration::from_millis(rest)).await;
        }
    }
}
