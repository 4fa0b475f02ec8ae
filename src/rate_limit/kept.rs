//! What is kept of one key: of each quota its state, found again by the quota's name.
//!
//! A key may be counted by some quotas in one call and by others in the next: its limits depend on the
//! call, or a configuration was loaded. So a state belongs to a name, as in a store, and to no position;
//! those that a call does not go by stay as they are.

use super::meter::{Rule, State};
use std::{
    borrow::{Borrow, BorrowMut},
    mem,
};

/// How many quotas are remembered of one key, beside those of the call.
const OTHERS: usize = 32;

/// The buckets of one key.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// When they are all full again.
    pub(super) until: u64,
    /// First those of the last call, in its order.
    states: Box<[Named]>,
}

/// A state, and the name that it is kept under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    field: u64,
    state: State,
}

impl Kept {
    /// The states of these quotas, in their order. What was not there is full.
    pub(super) fn states(&mut self, rules: &[Rule]) -> &mut [Named] {
        for (index, rule) in rules.iter().enumerate() {
            let here = self.states.get(index);
            if here.is_none_or(|here| here.field != rule.field) {
                self.arrange(rules);
                break;
            }
        }
        &mut self.states[..rules.len()]
    }

    /// How long it is until they are all full, if it is so long for those of the last call.
    pub(super) fn keep(&mut self, rules: &[Rule], until: u64) {
        let alone = self.states.len() == rules.len();
        self.until = if alone { until } else { self.until.max(until) };
    }

    #[cold]
    fn arrange(&mut self, rules: &[Rule]) {
        let mut others = Vec::from(mem::take(&mut self.states));
        let mut states = Vec::with_capacity(rules.len() + others.len());
        for rule in rules {
            let at = others.iter().position(|other| other.field == rule.field);
            states.push(match at {
                Some(at) => others.swap_remove(at),
                None => Named {
                    field: rule.field,
                    state: State::default(),
                },
            });
        }
        while others.len() > OTHERS {
            // The one that is full first, or was begun first.
            let first = others.iter().enumerate().min_by_key(|(_, o)| o.state.at);
            let Some((at, _)) = first else { break };
            others.swap_remove(at);
        }
        states.append(&mut others);
        self.states = states.into();
    }
}

impl Borrow<State> for Named {
    fn borrow(&self) -> &State {
        &self.state
    }
}

impl BorrowMut<State> for Named {
    fn borrow_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// The bytes on the heap for a key of so many quotas.
pub(super) fn heap(quotas: usize) -> usize {
    // A heap hands out no less than 32 bytes, and of each piece keeps a word.
    (quotas * size_of::<Named>() + 8).next_multiple_of(16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Quota;
    use std::time::Duration;

    fn rules(quotas: &[Quota]) -> Vec<Rule> {
        quotas.iter().map(Quota::rule).collect()
    }

    fn numbers(states: &[Named]) -> Vec<u64> {
        states.iter().map(|named| named.state.at).collect()
    }

    #[test]
    fn a_state_belongs_to_its_quota_wherever_that_stands() {
        let [a, b, c] = [
            Quota::per_second(1),
            Quota::per_minute(1),
            Quota::per_day(1),
        ];
        let mut kept = Kept::default();
        let fill = |states: &mut [Named], numbers: &[u64]| {
            for (named, at) in states.iter_mut().zip(numbers) {
                named.state.at = *at;
            }
        };
        fill(kept.states(&rules(&[a.clone(), b.clone()])), &[1, 2]);
        let other = rules(&[c.clone(), b.clone()]);
        assert_eq!(numbers(kept.states(&other)), [0, 2]);
        fill(kept.states(&other), &[3, 2]);
        assert_eq!(numbers(kept.states(&rules(&[b, a, c]))), [2, 1, 3]);
    }

    #[test]
    fn a_key_is_kept_until_all_its_quotas_are_full() {
        let (one, other) = (rules(&[Quota::per_day(1)]), rules(&[Quota::per_second(1)]));
        let mut kept = Kept::default();
        kept.states(&one);
        kept.keep(&one, 100);
        kept.states(&other);
        kept.keep(&other, 10);
        assert_eq!(kept.until, 100);
    }

    #[test]
    fn periods_without_end_do_not_grow_without_bound() {
        let mut kept = Kept::default();
        for period in 1..1000_u64 {
            let rules = rules(&[Quota::per(1, Duration::from_millis(period))]);
            kept.states(&rules)[0].state.at = period;
        }
        assert_eq!(kept.states.len(), OTHERS + 1);
        let last = rules(&[Quota::per(1, Duration::from_millis(999))]);
        assert_eq!(numbers(kept.states(&last)), [999]);
        let recent = rules(&[Quota::per(1, Duration::from_millis(980))]);
        assert_eq!(numbers(kept.states(&recent)), [980]);
    }
}
