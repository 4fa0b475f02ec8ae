//! The generic cell rate algorithm: whether a call fits into a quota, as arithmetic.
//!
//! A bucket is one number, the *theoretical arrival time* (TAT): when it will be full again. A call
//! of cost `c` moves it on by `c` emission intervals, and fits if that does not lead further ahead
//! of now than a burst does. (ITU-T I.371, annex A.)
//!
//! The interval of most quotas is not a whole number of microseconds: of 7 a second it is
//! 142,857.14. So the TAT counts *ticks*, of which one microsecond has as many as the quota grants
//! units in its period. Then the interval is the period, in whole ticks, and nothing is rounded but
//! what is told to callers. A clock of nanoseconds does as well.
//!
//! No clock, no lock. All sums saturate: a bucket that cannot be counted is one that is empty for
//! very long.

/// A quota in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Ticks in one unit of the clock.
    speed: u64,
    /// Ticks that one unit of the quota takes to come back.
    interval: u64,
    burst: u64,
}

/// One bucket. By default it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The theoretical arrival time, in ticks.
    tat: u128,
}

/// What became of a call, and what is left after it. Times are in units of the clock, from now on
/// and rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// Units that could be taken at once.
    pub(super) remaining: u64,
    /// When the same call would be let in. `None`: never, for it costs more than a burst.
    pub(super) retry_after: Option<u64>,
    /// When there is one unit more. Zero: all are there.
    pub(super) next: u64,
    /// When all units are there.
    pub(super) reset: u64,
}

impl Rate {
    /// `limit` units in `period` units of the clock, both from 1 on.
    pub(super) fn new(limit: u64, period: u64, burst: u64) -> Self {
        // Both are divided by what they share, so that the numbers stay small enough for one word.
        let shared = gcd(limit, period).max(1);
        Self {
            speed: (limit / shared).max(1),
            interval: (period / shared).max(1),
            burst,
        }
    }

    fn ticks(&self, now: u64) -> u128 {
        u128::from(now) * u128::from(self.speed)
    }

    fn depth(&self) -> u128 {
        u128::from(self.burst) * u128::from(self.interval)
    }

    /// What there is to say of a bucket without a call.
    fn look(&self, tat: u128, now: u128) -> Decision {
        let debt = tat.saturating_sub(now);
        let free = self.depth().saturating_sub(debt);
        let interval = u128::from(self.interval);
        let remaining = narrow(free / interval);
        let next = if debt == 0 {
            0
        } else {
            // From a bucket that is not full some part of a unit is missing.
            interval - free % interval
        };
        // Further than the burst, and it must first come back to it.
        let over = debt.saturating_sub(self.depth());
        Decision {
            allowed: true,
            remaining,
            retry_after: Some(0),
            next: self.time(next.saturating_add(over)),
            reset: self.time(debt),
        }
    }

    fn time(&self, ticks: u128) -> u64 {
        narrow(ticks.div_ceil(self.speed.into()))
    }
}

impl State {
    /// A bucket that is full again at this time of the clock, for a rate of one tick per unit.
    pub(super) fn until(tat: u64) -> Self {
        Self { tat: tat.into() }
    }

    /// Whether the bucket is full, so that it need not be kept.
    pub(super) fn is_full(&self, rate: &Rate, now: u64) -> bool {
        self.tat <= rate.ticks(now)
    }

    /// What is in the bucket.
    pub(super) fn look(&self, rate: &Rate, now: u64) -> Decision {
        rate.look(self.tat, rate.ticks(now))
    }

    /// Decides on a call, and says what the bucket is after it.
    fn judge(&self, rate: &Rate, cost: u64, now: u64) -> (Decision, Self) {
        let now = rate.ticks(now);
        let price = u128::from(cost) * u128::from(rate.interval);
        let after = self.tat.max(now).saturating_add(price);
        let latest = now.saturating_add(rate.depth());
        if after <= latest {
            return (rate.look(after, now), Self { tat: after });
        }
        let refusal = Decision {
            allowed: false,
            retry_after: (cost <= rate.burst).then(|| rate.time(after - latest)),
            ..rate.look(self.tat, now)
        };
        (refusal, *self)
    }

    /// Takes `cost` units, if they are there.
    #[cfg(test)]
    pub(super) fn take(&mut self, rate: &Rate, cost: u64, now: u64) -> Decision {
        let (decision, after) = self.judge(rate, cost, now);
        *self = after;
        decision
    }
}

/// Takes `cost` units from all buckets, or from none.
///
/// The decisions tell what is left. If one is not allowed none was taken, and they tell what each
/// bucket holds as it is.
pub(super) fn take_all(states: &mut [State], rates: &[Rate], cost: u64, now: u64) -> Vec<Decision> {
    let judged = states.iter().zip(rates);
    let judged: Vec<_> = judged
        .map(|(state, rate)| state.judge(rate, cost, now))
        .collect();
    let allowed = judged.iter().all(|(decision, _)| decision.allowed);
    states
        .iter_mut()
        .zip(rates)
        .zip(judged)
        .map(|((state, rate), (decision, after))| {
            if allowed {
                *state = after;
                decision
            } else if decision.allowed {
                state.look(rate, now)
            } else {
                decision
            }
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
