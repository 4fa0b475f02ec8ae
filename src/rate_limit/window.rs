//! Windows that begin with the clock: the fixed window, and the counter that slides between two.
//!
//! A *fixed window* begins with the minute, hour, day or month, in UTC, and grants all of its units
//! anew. Across an edge twice the quota can be used in a moment.
//!
//! The *sliding window counter* keeps what was taken in this window and in the one before, and takes
//! it that what was taken before came evenly: of `before` there counts as much as the sliding window
//! still covers of it, `before · (1 − elapsed / length) + used`. Two numbers do what an exact log
//! needs one for each call for. It errs by how unevenly the calls before came: of calls that come
//! evenly since a window began it lets in one more than an exact log at most, and whatever comes, less
//! than twice the quota in any window and never more than the quota in one that the clock begins.
//!
//! No clock, no lock. A clock that goes back a little stands still until it has caught up: nothing is
//! granted twice. One that was set back is the [meter](super::meter)'s.

use super::meter::{Left, State};

const DAY: u64 = 86_400_000_000;

/// How long a window is, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// At least one. Windows begin with multiples of it, counted from 1970.
    Fixed(u64),
    /// A month of the Gregorian calendar.
    Month,
}

impl Length {
    /// `None`: it is not always the same.
    #[cfg(feature = "rate-limit-redis")]
    pub(super) fn micros(self) -> Option<u64> {
        match self {
            Self::Fixed(length) => Some(length),
            Self::Month => None,
        }
    }

    /// When the window began that this time is in, and when the next one does.
    pub(super) fn around(self, now: u64) -> (u64, u64) {
        match self {
            Self::Fixed(length) => {
                let start = now - now % length;
                (start, start.saturating_add(length))
            }
            Self::Month => {
                let first = first_of_month(now / DAY);
                // 31 days after a first there is always the next month, and never the one after.
                let next = first_of_month(first + 31);
                (first.saturating_mul(DAY), next.saturating_mul(DAY))
            }
        }
    }
}

/// The first day of the month that a day is in, both counted from 1970-01-01.
fn first_of_month(day: u64) -> u64 {
    // Years that begin in March end with the leap day, and their months repeat every five: 153 days.
    let day_of_era = (day + 719_468) % 146_097;
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    // The era begins in March of the year 0, so the first of a month is never before 1970's.
    day - (day_of_year - (153 * month + 2) / 5)
}

/// So many units in each window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    pub(super) limit: u64,
    pub(super) length: Length,
}

impl Fixed {
    /// The window of now, and when it ends.
    fn current(&self, state: State, now: u64) -> (State, u64) {
        let (at, end) = self.length.around(now.max(state.at));
        let used = if state.at == at { state.used } else { 0 };
        (
            State {
                at,
                used,
                before: 0,
            },
            end,
        )
    }

    pub(super) fn charge(&self, state: State, cost: u64, now: u64) -> Option<State> {
        let (state, _) = self.current(state, now);
        let used = state.used.checked_add(cost)?;
        (used <= self.limit).then_some(State { used, ..state })
    }

    pub(super) fn wait(&self, state: State, cost: u64, now: u64) -> Option<u64> {
        let (state, end) = self.current(state, now);
        match self.limit.checked_sub(cost)? {
            room if state.used <= room => Some(0),
            _ => Some(end.saturating_sub(now)),
        }
    }

    pub(super) fn look(&self, state: State, now: u64) -> Left {
        let (state, end) = self.current(state, now);
        let anew = if state.used == 0 {
            0
        } else {
            end.saturating_sub(now)
        };
        Left {
            remaining: self.limit.saturating_sub(state.used),
            next: anew,
            reset: anew,
        }
    }
}

/// So many units in a window of this length that ends now, about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sliding {
    pub(super) limit: u64,
    /// At least one microsecond.
    pub(super) length: u64,
}

impl Sliding {
    /// The window of now, and how far it has come.
    fn current(&self, state: State, now: u64) -> (State, u64) {
        let now = now.max(state.at);
        let at = now - now % self.length;
        let (used, before) = if state.at == at {
            (state.used, state.before)
        } else if state.at.checked_add(self.length) == Some(at) {
            (0, state.used)
        } else {
            (0, 0)
        };
        (State { at, used, before }, now - at)
    }

    /// What still counts of the window before, rounded up.
    fn weight(&self, before: u64, elapsed: u64) -> u64 {
        let rest = u128::from(self.length - elapsed);
        // Not more than `before`.
        (u128::from(before) * rest).div_ceil(self.length.into()) as u64
    }

    pub(super) fn charge(&self, state: State, cost: u64, now: u64) -> Option<State> {
        let (state, elapsed) = self.current(state, now);
        let used = state.used.checked_add(cost)?;
        let all = used.checked_add(self.weight(state.before, elapsed))?;
        (all <= self.limit).then_some(State { used, ..state })
    }

    pub(super) fn wait(&self, state: State, cost: u64, now: u64) -> Option<u64> {
        let room = self.limit.checked_sub(cost)?;
        let (state, elapsed) = self.current(state, now);
        // How far a window must have come for no more than `spare` to count of the one before.
        let come = |before: u64, spare: u64| {
            let covered = u128::from(spare) * u128::from(self.length);
            let covered = covered.checked_div(before.into()).unwrap_or(u128::MAX);
            self.length - u64::try_from(covered).map_or(self.length, |c| c.min(self.length))
        };
        let wait = match room.checked_sub(state.used) {
            // At the very end of this window, if need be: there what is used now fits.
            Some(spare) => come(state.before, spare).saturating_sub(elapsed),
            // In the next one, where what is used now is what was before.
            None => (self.length - elapsed) + come(state.used, room),
        };
        // The clock may have gone back.
        Some(wait.saturating_add((state.at + elapsed).saturating_sub(now)))
    }

    pub(super) fn look(&self, state: State, now: u64) -> Left {
        let (current, elapsed) = self.current(state, now);
        let weight = self.weight(current.before, elapsed);
        let remaining = self.limit.saturating_sub(current.used);
        let remaining = remaining.saturating_sub(weight);
        let more = remaining.saturating_add(1).min(self.limit);
        Left {
            remaining,
            next: self.wait(state, more, now).unwrap_or(0),
            reset: self.wait(state, self.limit, now).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests;
