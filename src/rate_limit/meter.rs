//! Quotas as arithmetic, whatever their algorithms, and one decision over several of them.

use super::{
    gcra::{Rate, Time},
    window::{Fixed, Length, Sliding},
};
use std::borrow::BorrowMut;

/// How long what a store said, and what it is told of that, may be on their ways, in microseconds. What is
/// used up within so long may be granted once more by a store that has forgotten it.
const ON_THE_WAY: u64 = 1_000_000;

/// What is kept of one quota for one key: three numbers, all zero for one that nothing was taken from.
///
/// | algorithm | the numbers |
/// |---|---|
/// | GCRA | when all units are there again, in microseconds since 1970, a rest of less than one, when it was taken from last |
/// | fixed window | when the window began, what was taken in it, 0 |
/// | sliding window | when the window began, what was taken in it, what was taken in the one before |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) at: u64,
    pub(super) used: u64,
    pub(super) before: u64,
}

impl State {
    /// From what [`numbers`](Self::numbers) told.
    #[must_use]
    pub fn from_numbers([at, used, before]: [u64; 3]) -> Self {
        Self { at, used, before }
    }

    /// To be kept elsewhere.
    #[must_use]
    pub fn numbers(self) -> [u64; 3] {
        [self.at, self.used, self.before]
    }

    fn tat(self) -> Time {
        Time {
            whole: self.at,
            rest: self.used,
        }
    }
}

/// By how much a clock may go back without being thought to be set back, in microseconds: calls that
/// are made at once do not come in order.
const SET_BACK: u64 = 1_000_000;

/// Rounded up: who has used some of the whole has used some of the part.
fn share(units: u64, part: f64) -> u64 {
    (units as f64 * part).ceil() as u64
}

/// A bucket that fills until then, and was taken from now.
fn filling(tat: Time, now: u64) -> State {
    State {
        at: tat.whole,
        used: tat.rest,
        before: now,
    }
}

/// What there is to say of a bucket without a call. Times are in units of the clock, from now on and
/// rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Units that could be taken at once.
    pub(super) remaining: u64,
    /// When there is one unit more. Zero: all are there.
    pub(super) next: u64,
    /// When all units are there.
    pub(super) reset: u64,
}

/// What became of a call, and what is left after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// When the same call would be let in. `None`: never, for it costs more than there ever is.
    pub(super) retry_after: Option<u64>,
    pub(super) left: Left,
}

/// What one process knows of a bucket that a store may have forgotten, on any clock: how long it is until
/// it is full; or when a window began, what was taken in it, and what was taken in the one before.
pub(super) type Known = [u64; 3];

/// A quota, on a clock of microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meter {
    Gcra(Rate),
    Sliding(Sliding),
    Fixed(Fixed),
}

impl Meter {
    /// The bucket, if the clock was set back since it was taken from: as if no time had gone by. Else who
    /// had come while the clock was wrong would wait until it is as late again.
    pub(super) fn settle(&self, state: State, now: u64) -> State {
        let latest = now.saturating_add(SET_BACK);
        match self {
            Self::Gcra(_) if state.before > latest => State {
                at: now.saturating_add(state.at.saturating_sub(state.before)),
                before: now,
                ..state
            },
            // What was taken in a window that is yet to come was taken in this one.
            Self::Fixed(window) if state.at > latest => State {
                at: window.length.around(now).0,
                ..state
            },
            Self::Sliding(window) if state.at > latest => State {
                at: now - now % window.length,
                used: state.used.saturating_add(state.before).min(window.limit),
                before: 0,
            },
            _ => state,
        }
    }

    /// The bucket after a call, if it fits.
    pub(super) fn charge(&self, state: State, cost: u64, now: u64) -> Option<State> {
        match self {
            Self::Gcra(rate) => {
                let tat = rate.charge(state.tat(), cost, now)?;
                Some(filling(tat, now))
            }
            Self::Sliding(window) => window.charge(state, cost, now),
            Self::Fixed(window) => window.charge(state, cost, now),
        }
    }

    /// How long it takes at most until all units are there again.
    pub(super) fn depth(&self) -> u64 {
        match self {
            Self::Gcra(rate) => rate.depth.whole.saturating_add(1),
            Self::Sliding(window) => window.length.saturating_mul(2),
            Self::Fixed(window) => match window.length {
                Length::Fixed(length) => length,
                Length::Month => 31 * 86_400_000_000,
            },
        }
    }

    /// What the bucket here, of a part of the whole, says of the whole.
    pub(super) fn known(&self, here: State, now: u64, part: f64) -> Known {
        // The least that would be as much of the part: a store that has forgotten nothing is told nothing
        // new. It is kept below what is more than any quota, and yet exact.
        let whole = |units: u64| {
            let less = (units.saturating_sub(1) as f64 / part) as u64;
            let already = share(less, part) >= units;
            (less.min(1 << 50) + u64::from(!already)).min(1 << 50)
        };
        match self {
            // In time, the part is as deep as the whole. What was learned of an answer is as old as the way
            // from the store, and what is told now is older when it is there.
            Self::Gcra(rate) => [
                rate.look(here.tat(), now).reset.saturating_sub(ON_THE_WAY),
                0,
                0,
            ],
            _ => [here.at, whole(here.used), whole(here.before)],
        }
    }

    /// The bucket, if no more is in it than somebody knows.
    pub(super) fn remind(&self, state: State, [at, used, before]: Known, now: u64) -> State {
        match self {
            Self::Gcra(rate) => {
                let ahead = at.min(rate.depth.whole);
                let known = filling(Time::at(now.saturating_add(ahead)), now);
                if ahead > 0 && known.at > state.at {
                    known
                } else {
                    state
                }
            }
            Self::Fixed(window) => {
                let (start, used) = (window.length.around(now).0, used.min(window.limit));
                let here = if state.at == start { state.used } else { 0 };
                if at != start || state.at > start || used <= here {
                    return state;
                }
                State {
                    at,
                    used,
                    before: 0,
                }
            }
            Self::Sliding(window) => {
                let start = now - now % window.length;
                let (used, before) = (used.min(window.limit), before.min(window.limit));
                let (used, before) = match at {
                    at if at == start => (used, before),
                    at if at.checked_add(window.length) == Some(start) => (0, used),
                    _ => return state,
                };
                let here = match state.at {
                    at if at > start => return state,
                    at if at == start => (state.used, state.before),
                    at if at.checked_add(window.length) == Some(start) => (0, state.used),
                    _ => (0, 0),
                };
                if used <= here.0 && before <= here.1 {
                    return state;
                }
                State {
                    at: start,
                    used: used.max(here.0),
                    before: before.max(here.1),
                }
            }
        }
    }

    /// The bucket, if so much time was taken out of it elsewhere.
    pub(super) fn owe(&self, state: State, debt: Time, now: u64) -> State {
        match self {
            Self::Gcra(rate) => filling(rate.owe(state.tat(), debt, now), now),
            Self::Sliding(_) | Self::Fixed(_) => state,
        }
    }

    fn wait(&self, state: State, cost: u64, now: u64) -> Option<u64> {
        match self {
            Self::Gcra(rate) => rate.wait(state.tat(), cost, now),
            Self::Sliding(window) => window.wait(state, cost, now),
            Self::Fixed(window) => window.wait(state, cost, now),
        }
    }

    /// What there is to say of a bucket.
    pub(super) fn look(&self, state: State, now: u64) -> Left {
        match self {
            Self::Gcra(rate) => rate.look(state.tat(), now),
            Self::Sliding(window) => window.look(state, now),
            Self::Fixed(window) => window.look(state, now),
        }
    }

    /// What to tell of a call that was decided on, of which this is the bucket afterwards.
    pub(super) fn tell(&self, fits: bool, state: State, cost: u64, now: u64) -> Decision {
        Decision {
            allowed: fits,
            retry_after: if fits {
                Some(0)
            } else {
                self.wait(state, cost, now)
            },
            left: self.look(state, now),
        }
    }

    /// The bucket here, brought up to what another clock's bucket of the whole quota says, of which
    /// this one grants a part. Never fuller than it was.
    pub(super) fn warm(
        &self,
        here: State,
        there: State,
        (then, now): (u64, u64),
        part: f64,
    ) -> State {
        let share = |units: u64| share(units, part);
        match self {
            Self::Gcra(_) => {
                // In time, the part is as deep as the whole.
                let ahead = there.at.saturating_sub(then) + u64::from(there.used > 0);
                let tat = Time::at(now.saturating_add(ahead));
                filling(here.tat().max(tat), now)
            }
            Self::Sliding(_) | Self::Fixed(_) if here.at > there.at => here,
            Self::Sliding(_) | Self::Fixed(_) => {
                let same = here.at == there.at;
                let most = |here: u64, there| share(there).max(if same { here } else { 0 });
                State {
                    at: there.at,
                    used: most(here.used, there.used),
                    before: most(here.before, there.before),
                }
            }
        }
    }
}

/// A quota, and whether it is in earnest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) meter: Meter,
    /// Counts, and refuses nobody.
    pub(super) shadow: bool,
    /// A hash of the name that the quota is kept under, for who keeps it in this process.
    pub(super) field: u64,
}

/// Takes `cost` units from all buckets, or from none.
///
/// The decisions tell what is left. If one is not allowed none was taken, and they tell what each
/// bucket holds as it is. A quota in shadow mode is taken from where it can be, and stops nothing.
/// Buckets are settled whether they are taken from or not, and reminded of what is known, if anything is.
pub(super) fn take_all<S: BorrowMut<State>>(
    states: &mut [S],
    rules: &[Rule],
    known: &[Known],
    cost: u64,
    now: u64,
    mut told: impl FnMut(&Rule, bool, State),
) {
    for (state, rule) in states.iter_mut().zip(rules) {
        let state = state.borrow_mut();
        *state = rule.meter.settle(*state, now);
    }
    for ((state, rule), known) in states.iter_mut().zip(rules).zip(known) {
        let state = state.borrow_mut();
        *state = rule.meter.remind(*state, *known, now);
    }
    let charged = |state: &State, rule: &Rule| rule.meter.charge(*state, cost, now);
    let mut both = states.iter().zip(rules);
    let allowed = both.all(|(state, rule)| rule.shadow || charged(state.borrow(), rule).is_some());
    for (state, rule) in states.iter_mut().zip(rules) {
        let state = state.borrow_mut();
        let after = charged(state, rule);
        if let Some(after) = after.filter(|_| allowed) {
            *state = after;
        }
        told(rule, after.is_some(), *state);
    }
}

#[cfg(test)]
mod tests;
