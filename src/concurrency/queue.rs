//! Who waits, and who is next. No lock, no clock, no runtime.

use super::Priority;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// What holds for a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How many may wait.
    pub(super) places: usize,
    /// How long each of them may, at the most.
    pub(super) max_wait: Duration,
    /// Every so many turns for which several priorities wait, the one that came first is next, whatever
    /// its priority. Zero: never.
    pub(super) first_every: u32,
    pub(super) delay: Option<ControlledDelay>,
}

/// For how long a queue may stand, and what is waited then.
#[derive(Clone, Copy, Debug)]
pub(super) struct ControlledDelay {
    pub(super) target: Duration,
    pub(super) interval: Duration,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    /// One for each priority, by the number of who waits: they are given out in order.
    lanes: [BTreeMap<u64, Waiter<T>>; Priority::ALL.len()],
    len: usize,
    next: u64,
    /// How often somebody was chosen out of several priorities.
    turns: u32,
    /// Since when it was never empty.
    stands: Option<Instant>,
}

#[derive(Debug)]
struct Waiter<T> {
    since: Instant,
    token: T,
}

/// Who waits where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    lane: usize,
    number: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed<T> {
    Waits {
        place: Place,
        /// How long it may.
        patience: Duration,
        /// Who had to go for it.
        displaced: Option<T>,
    },
    Full(T),
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            lanes: Default::default(),
            len: 0,
            next: 0,
            turns: 0,
            stands: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn waiting(&self) -> [usize; Priority::ALL.len()] {
        self.lanes.each_ref().map(BTreeMap::len)
    }

    /// One more who waits. If there is no place, whoever would be the last to be served goes: one of the
    /// lowest priority, and of those who came in last, or, while the newest go first, who came first.
    pub(super) fn push(
        &mut self,
        rules: &Rules,
        priority: Priority,
        token: T,
        now: Instant,
    ) -> Pushed<T> {
        let lane = priority.lane();
        let standing = self.is_standing(rules, now);
        let mut displaced = None;
        if self.len >= rules.places {
            let lowest = self.lanes.iter().rposition(|lane| !lane.is_empty());
            displaced = match lowest {
                Some(lowest) if lowest > lane || (lowest == lane && standing) => {
                    self.take(lowest, standing)
                }
                _ => return Pushed::Full(token),
            };
        }
        let number = self.next;
        self.next += 1;
        let waiter = Waiter { since: now, token };
        self.lanes[lane].insert(number, waiter);
        self.len += 1;
        self.stands.get_or_insert(now);
        let patience = match rules.delay {
            Some(delay) if standing => delay.target.min(rules.max_wait),
            _ => rules.max_wait,
        };
        let place = Place { lane, number };
        Pushed::Waits {
            place,
            patience,
            displaced,
        }
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self, rules: &Rules, now: Instant) -> Option<T> {
        let lane = self.lanes.iter().position(|lane| !lane.is_empty())?;
        if self.lanes[lane].len() < self.len {
            self.turns = self.turns.wrapping_add(1);
            if rules.first_every > 0 && self.turns.is_multiple_of(rules.first_every) {
                let first = |lane: &BTreeMap<u64, _>| lane.keys().next().copied();
                let lanes = 0..self.lanes.len();
                let waiting = lanes.filter_map(|lane| Some((first(&self.lanes[lane])?, lane)));
                let (_, lane) = waiting.min()?;
                return self.take(lane, true);
            }
        }
        let newest_first = self.is_standing(rules, now);
        self.take(lane, !newest_first)
    }

    /// One who has waited longer than anyone may while the queue stands.
    pub(super) fn pop_late(&mut self, rules: &Rules, now: Instant) -> Option<T> {
        let target = rules.delay?.target;
        if !self.is_standing(rules, now) {
            return None;
        }
        let is_late = |lane: &BTreeMap<u64, Waiter<T>>| {
            let first = lane.first_key_value();
            first.is_some_and(|(_, waiter)| now.saturating_duration_since(waiter.since) > target)
        };
        let lane = self.lanes.iter().position(is_late)?;
        self.take(lane, true)
    }

    /// Lets go of a place. `None`: its turn had come.
    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        let waiter = self.lanes[place.lane].remove(&place.number);
        self.taken(waiter)
    }

    /// Whether it was never empty for as long as the interval: more come than are served, and who waits
    /// waits for nothing but the others.
    fn is_standing(&self, rules: &Rules, now: Instant) -> bool {
        let (Some(delay), Some(since)) = (rules.delay, self.stands) else {
            return false;
        };
        now.saturating_duration_since(since) >= delay.interval
    }

    fn take(&mut self, lane: usize, oldest: bool) -> Option<T> {
        let lane = &mut self.lanes[lane];
        let taken = match oldest {
            true => lane.pop_first(),
            false => lane.pop_last(),
        };
        self.taken(taken.map(|(_, waiter)| waiter))
    }

    fn taken(&mut self, waiter: Option<Waiter<T>>) -> Option<T> {
        let waiter = waiter?;
        self.len -= 1;
        if self.len == 0 {
            self.stands = None;
        }
        Some(waiter.token)
    }
}

#[cfg(test)]
mod tests;
