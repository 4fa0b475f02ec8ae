use super::*;
use crate::rate_limit::Quota;
use governor::{RateLimiter, clock::FakeRelativeClock};
use proptest::prelude::*;
use std::{num::NonZeroU32, time::Duration};

const SECOND: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bucket(Time);

#[derive(Debug, PartialEq)]
struct Decision {
    allowed: bool,
    remaining: u64,
    retry_after: Option<u64>,
    next: u64,
    reset: u64,
}

impl Bucket {
    fn take(&mut self, rate: &Rate, cost: u64, now: u64) -> Decision {
        let after = rate.charge(self.0, cost, now);
        let retry_after = rate.wait(self.0, cost, now);
        self.0 = after.unwrap_or(self.0);
        let Left {
            remaining,
            next,
            reset,
        } = self.look(rate, now);
        Decision {
            allowed: after.is_some(),
            remaining,
            retry_after,
            next,
            reset,
        }
    }

    fn look(&self, rate: &Rate, now: u64) -> Left {
        rate.look(self.0, now)
    }
}

/// How many single calls are let in if one comes in every microsecond of `times`.
fn let_in(rate: &Rate, times: impl Iterator<Item = u64>) -> usize {
    let mut state = Bucket::default();
    times
        .filter(|now| state.take(rate, 1, *now).allowed)
        .count()
}

#[test]
fn a_burst_and_then_the_rate() {
    let rate = Quota::per_second(10).burst(3).rate();
    let mut state = Bucket::default();
    for remaining in [2, 1, 0] {
        let decision = state.take(&rate, 1, 0);
        assert_eq!((decision.allowed, decision.remaining), (true, remaining));
    }
    let refusal = state.take(&rate, 1, 1);
    assert_eq!(
        refusal,
        Decision {
            allowed: false,
            remaining: 0,
            retry_after: Some(99_999),
            next: 99_999,
            reset: 299_999,
        }
    );
    assert!(
        !state.take(&rate, 1, 99_999).allowed,
        "one microsecond early"
    );
    assert!(state.take(&rate, 1, 100_000).allowed);
}

#[test]
fn an_interval_that_is_no_whole_number_is_not_rounded() {
    for limit in [3, 7, 600, 900_001] {
        // A burst of one would lose what is left of a microsecond each time that it is full.
        let rate = Quota::per_second(limit).burst(2).rate();
        let all = let_in(&rate, 0..=SECOND) as u64;
        assert_eq!(
            all,
            limit + 2,
            "two at once, and {limit} in the second after"
        );
    }
}

#[test]
fn what_costs_more_than_a_burst_is_never_let_in() {
    let rate = Quota::per_second(10).rate();
    let mut state = Bucket::default();
    assert_eq!(state.take(&rate, 11, 0).retry_after, None);
    assert!(state.take(&rate, 10, 0).allowed, "and took nothing");
    assert!(
        state.take(&rate, 0, 0).allowed,
        "what costs nothing always may"
    );
}

#[test]
fn zero_lets_nothing_in() {
    for quota in [
        Quota::per_day(0),
        Quota::per_day(0).burst(9),
        Quota::per_second(9).burst(0),
    ] {
        assert_eq!(let_in(&quota.rate(), 0..10), 0, "{quota:?}");
    }
}

#[test]
fn huge_numbers_and_long_rests_neither_overflow_nor_grant_more() {
    let ends = [0, 1, u64::MAX - 1, u64::MAX];
    for (limit, burst) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 1), (1, 1)] {
        let rate = Quota::per_day(limit).burst(burst).rate();
        for now in ends {
            let mut state = Bucket::default();
            for cost in ends {
                let decision = state.take(&rate, cost, now);
                assert!(decision.remaining <= burst);
            }
        }
    }
    let rate = Quota::per_second(2).rate();
    let mut state = Bucket::default();
    state.take(&rate, 2, 0);
    for allowed in [true, true, false] {
        assert_eq!(state.take(&rate, 1, u64::MAX / 2).allowed, allowed);
    }
}

#[test]
fn a_clock_that_goes_back_grants_nothing() {
    let rate = Quota::per_second(1).rate();
    let mut state = Bucket::default();
    assert!(state.take(&rate, 1, 10 * SECOND).allowed);
    let early = state.take(&rate, 1, SECOND);
    assert_eq!((early.allowed, early.remaining), (false, 0));
    assert_eq!(early.retry_after, Some(10 * SECOND));
}

#[test]
fn a_bucket_that_was_filled_at_another_rate_keeps_its_time() {
    let [slow, fast] = [7, 70].map(|limit| Quota::per_second(limit).rate());
    let mut state = Bucket::default();
    state.take(&fast, 70, 0);
    assert_eq!(state.look(&fast, 0).reset, SECOND);
    assert_eq!(state.look(&slow, 0).reset, SECOND);
    state.take(&fast, 1, 14_286);
    assert!(state.look(&slow, 14_286).reset.abs_diff(SECOND) <= 1);
}

fn governor(interval: Duration, burst: u32) -> Option<governor::Quota> {
    let burst = NonZeroU32::new(burst)?;
    Some(governor::Quota::with_period(interval)?.allow_burst(burst))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever comes when, governor and we let in the same, and name the same wait.
    #[test]
    fn decides_as_governor_does(
        interval in 1..2 * SECOND,
        burst in 1_u32..20,
        trace in prop::collection::vec((0..3 * SECOND, 1_u32..8, 0..3_u8), 1..60),
    ) {
        let rate = Rate::new(1, interval, burst.into());
        let clock = FakeRelativeClock::default();
        let quota = governor(Duration::from_micros(interval), burst).unwrap();
        let oracle = RateLimiter::direct_with_clock(quota, clock.clone());
        let (mut state, mut now) = (Bucket::default(), 0);
        for (step, cost, rest) in trace {
            // A third of the calls come at the same time, a third within one interval.
            let step = match rest { 0 => 0, 1 => step % interval, _ => step };
            now += step;
            clock.advance(Duration::from_micros(step));
            let ours = state.take(&rate, cost.into(), now);
            let wait = match oracle.check_n(NonZeroU32::new(cost).unwrap()) {
                Ok(Ok(())) => Some(None),
                Ok(Err(until)) => {
                    use governor::clock::Clock;
                    Some(Some(until.wait_time_from(clock.now()).as_micros() as u64))
                }
                Err(_) => None,
            };
            match wait {
                Some(None) => prop_assert!(ours.allowed),
                Some(wait) => {
                    prop_assert!(!ours.allowed);
                    prop_assert_eq!(ours.retry_after, wait);
                }
                None => prop_assert_eq!((ours.allowed, ours.retry_after), (false, None)),
            }
        }
    }

    /// What is told is true: so much can be taken now, one more then, all of it at the end.
    #[test]
    fn what_is_told_is_true(
        limit in 1..5000_u64,
        burst in 1..50_u64,
        trace in prop::collection::vec((0..SECOND, 0..9_u64), 1..30),
    ) {
        let rate = Quota::per_second(limit).burst(burst).rate();
        let (mut state, mut now) = (Bucket::default(), 0);
        for (step, cost) in trace {
            now += step;
            let told = state.take(&rate, cost, now);
            let at = |cost, later| { let mut copy = state; copy.take(&rate, cost, now + later).allowed };
            prop_assert!(at(told.remaining, 0) && !at(told.remaining + 1, 0));
            prop_assert!(state.look(&rate, now + told.reset).remaining == burst);
            if told.next > 0 {
                prop_assert!(at(told.remaining + 1, told.next) && !at(told.remaining + 1, told.next - 1));
                prop_assert!(state.look(&rate, now + told.reset - 1).next > 0);
            }
            if let (false, Some(wait)) = (told.allowed, told.retry_after) {
                prop_assert!(at(cost, wait) && !at(cost, wait - 1));
            }
        }
    }
}
