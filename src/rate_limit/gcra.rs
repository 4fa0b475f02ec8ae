//! The generic cell rate algorithm: whether a call fits into a quota, as arithmetic.
//!
//! A bucket is one number, the *theoretical arrival time* (TAT): when it will be full again. A call
//! of cost `c` moves it on by `c` emission intervals, and fits if that does not lead further ahead
//! of now than a burst does. (ITU-T I.371, annex A.)
//!
//! The interval of most quotas is not a whole number of microseconds: of 7 a second it is
//! 142,857.14. So what is left of a microsecond counts in *ticks*, of which it has as many as the
//! quota grants units in its period. Then the interval is the period, in whole ticks, and nothing is
//! rounded but what is told to callers. A clock of nanoseconds does as well.
//!
//! No clock, no lock. All sums saturate: a bucket that cannot be counted is one that is empty for
//! very long.

use super::meter::Left;

/// A quota in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Ticks in one unit of the clock.
    pub(super) speed: u64,
    /// Ticks that one unit of the quota takes to come back.
    interval: u64,
    burst: u64,
    /// How long one unit takes to come back, and all of a burst.
    one: Time,
    pub(super) depth: Time,
}

/// Units of the clock, and ticks that are less than one. As a point in time, the TAT of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    pub(super) whole: u64,
    pub(super) rest: u64,
}

impl Time {
    pub(super) fn at(whole: u64) -> Self {
        Self { whole, rest: 0 }
    }
}

impl Rate {
    /// `limit` units in `period` units of the clock, both from 1 on. A limit is below 2⁶³.
    pub(super) fn new(limit: u64, period: u64, burst: u64) -> Self {
        // Both are divided by what they share, so that the numbers stay small enough for one word.
        let shared = gcd(limit, period).max(1);
        let mut rate = Self {
            speed: (limit / shared).max(1),
            interval: (period / shared).max(1),
            burst,
            one: Time::default(),
            depth: Time::default(),
        };
        rate.one = rate.time(rate.interval.into());
        rate.depth = rate.time(rate.deep());
        rate
    }

    /// How long so many units take to come back. `None`: there are never so many.
    pub(super) fn price(&self, cost: u64) -> Option<Time> {
        match cost {
            _ if cost > self.burst => None,
            1 => Some(self.one),
            _ => Some(self.time(u128::from(cost) * u128::from(self.interval))),
        }
    }

    /// The bucket after a call, if it fits.
    pub(super) fn charge(&self, tat: Time, cost: u64, now: u64) -> Option<Time> {
        let after = self.sum(self.own(tat).max(Time::at(now)), self.price(cost)?);
        (after <= self.sum(Time::at(now), self.depth)).then_some(after)
    }

    /// In how many units of the clock a call would fit, rounded up. `None`: never.
    pub(super) fn wait(&self, tat: Time, cost: u64, now: u64) -> Option<u64> {
        self.price(cost)?;
        let price = u128::from(cost) * u128::from(self.interval);
        let debt = self.debt(tat, now).saturating_add(price);
        Some(self.units(debt.saturating_sub(self.deep())))
    }

    /// What is in the bucket.
    pub(super) fn look(&self, tat: Time, now: u64) -> Left {
        let debt = self.debt(tat, now);
        let free = self.deep().saturating_sub(debt);
        let interval = u128::from(self.interval);
        let next = if debt == 0 {
            0
        } else {
            // From a bucket that is not full some part of a unit is missing.
            interval - free % interval
        };
        // Further than the burst, and it must first come back to it.
        let over = debt.saturating_sub(self.deep());
        Left {
            remaining: narrow(free / interval),
            next: self.units(next.saturating_add(over)),
            reset: self.units(debt),
        }
    }

    /// The bucket, of which so much more was taken.
    pub(super) fn owe(&self, tat: Time, debt: Time, now: u64) -> Time {
        match self.own(tat) {
            tat if tat > Time::at(now) => self.sum(tat, self.own(debt)),
            _ => Time {
                whole: now.saturating_add(debt.whole),
                ..debt
            },
        }
    }

    /// A time of so many parts of a unit of the clock, rounded up.
    pub(super) fn fraction(&self, time: u64, parts: u64) -> Time {
        let ticks = u128::from(time) * u128::from(self.speed);
        self.time(ticks.div_ceil(parts.into()))
    }

    /// How far the bucket is from full.
    fn debt(&self, tat: Time, now: u64) -> u128 {
        let tat = self.own(tat);
        match tat.whole.checked_sub(now) {
            Some(ahead) => u128::from(ahead) * u128::from(self.speed) + u128::from(tat.rest),
            None => 0,
        }
    }

    /// A bucket that was filled at another rate: less than a unit of the clock remains less.
    fn own(&self, tat: Time) -> Time {
        let rest = tat.rest.min(self.speed - 1);
        Time { rest, ..tat }
    }

    fn sum(&self, a: Time, b: Time) -> Time {
        let (whole, rest) = (a.whole.saturating_add(b.whole), a.rest + b.rest);
        match rest.checked_sub(self.speed) {
            Some(rest) => Time {
                whole: whole.saturating_add(1),
                rest,
            },
            None => Time { whole, rest },
        }
    }

    fn time(&self, ticks: u128) -> Time {
        let speed = u128::from(self.speed);
        Time {
            whole: narrow(ticks / speed),
            rest: narrow(ticks % speed),
        }
    }

    fn units(&self, ticks: u128) -> u64 {
        narrow(ticks.div_ceil(self.speed.into()))
    }

    fn deep(&self) -> u128 {
        u128::from(self.burst) * u128::from(self.interval)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
