use super::*;
use crate::rate_limit::Quota;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// 2026-11-21, about noon.
const NOON: u64 = 1_795_262_400 * SECOND;

fn rules(quotas: &[Quota]) -> Vec<Rule> {
    quotas.iter().map(Quota::rule).collect()
}

fn take(states: &mut [State], rules: &[Rule], cost: u64, now: u64) -> Vec<Decision> {
    let mut decisions = Vec::new();
    take_all(states, rules, &[], cost, now, |rule, fits, state| {
        decisions.push(rule.meter.tell(fits, state, cost, now));
    });
    decisions
}

#[test]
fn a_refusal_by_one_leaves_the_others_untouched_whatever_they_are() {
    let rules = rules(&[
        Quota::per_second(5),
        Quota::per_minute(5).sliding_window(),
        Quota::per_day(5).fixed_window(),
        Quota::per_hour(1),
    ]);
    let mut states = [State::default(); 4];
    let first = take(&mut states, &rules, 1, NOON);
    assert!(first.iter().all(|decision| decision.allowed));
    let before = states;
    let second = take(&mut states, &rules, 1, NOON);
    assert_eq!(states, before);
    let left: Vec<_> = second
        .iter()
        .map(|d| (d.allowed, d.left.remaining))
        .collect();
    let holds = [(true, 4), (true, 4), (true, 4), (false, 0)];
    assert_eq!(left, holds, "what they hold, not what they would");
}

#[test]
fn a_shadow_counts_and_stops_nothing() {
    let rules = rules(&[Quota::per_minute(1).shadow(), Quota::per_minute(3)]);
    let mut states = [State::default(); 2];
    let mut seen = Vec::new();
    for _ in 0..5 {
        let decisions = take(&mut states, &rules, 1, NOON);
        seen.push((decisions[0].allowed, decisions[1].allowed));
    }
    let shadow_refuses_from_the_second_on = [
        (true, true),
        (false, true),
        (false, true),
        (false, false),
        (false, false),
    ];
    assert_eq!(seen, shadow_refuses_from_the_second_on);
    // What another one refuses, a shadow is not charged for.
    let mut states = [State::default(); 2];
    let reversed = [rules[0], rules[1]].map(|rule| Rule {
        shadow: !rule.shadow,
        ..rule
    });
    take(&mut states, &reversed, 1, NOON);
    let before = states;
    take(&mut states, &reversed, 1, NOON);
    assert_eq!(states, before);
}

#[test]
fn a_bucket_is_warmed_by_what_others_used_and_never_filled() {
    let there = [Quota::per_minute(60), Quota::per_minute(60).fixed_window()];
    let here: Vec<_> = there.iter().map(|quota| quota.part(0.25).rule()).collect();
    let there = rules(&there);
    let mut states = [State::default(); 2];
    // Half of each was used elsewhere, by a clock that is three seconds ahead.
    take(&mut states, &there, 30, NOON + 3 * SECOND);
    for (index, rule) in here.iter().enumerate() {
        let meter = rule.meter;
        let clocks = (NOON + 3 * SECOND, NOON);
        let warm = meter.warm(State::default(), states[index], clocks, 0.25);
        assert_eq!(meter.look(warm, NOON).remaining, 7, "of 15: {meter:?}");
        let used = meter.charge(warm, 7, NOON).unwrap();
        let again = meter.warm(used, states[index], clocks, 0.25);
        assert_eq!(meter.look(again, NOON).remaining, 0, "{meter:?}");
    }
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![1..1000_u64, 1..SECOND, 1..100 * SECOND, 1..3 * DAY];
    (1..60_u64, period, 1..60_u64, 0..4_u8).prop_map(|(limit, period, burst, algorithm)| {
        let quota = Quota::per(limit, std::time::Duration::from_micros(period));
        match algorithm {
            0 => quota.burst(burst),
            1 => quota.sliding_window(),
            2 => quota.fixed_window(),
            _ => Quota::per_month(limit),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Of any algorithm: a refusal takes nothing, what costs less fits as well, and what is told of the
    /// time to come is true, to the microsecond.
    #[test]
    fn what_is_told_is_true(
        quota in any_quota(),
        start in 0..2 * NOON,
        trace in prop::collection::vec((0..4_u8, 0..u64::MAX, 0..40_u64), 1..25),
    ) {
        let meter = quota.rule().meter;
        let period = quota.window() * SECOND;
        let (mut state, mut now) = (State::default(), start);
        for (kind, step, cost) in trace {
            now += match kind { 0 => 0, 1 => step % 10, 2 => step % period, _ => step % (3 * period) };
            let after = meter.charge(state, cost, now);
            let decision = meter.tell(after.is_some(), after.unwrap_or(state), cost, now);
            let fits = |cost, later| meter.charge(state, cost, now + later).is_some();
            if let Some(smaller) = cost.checked_sub(1) {
                prop_assert!(!decision.allowed || fits(smaller, 0), "more for more");
            }
            match decision.retry_after {
                Some(wait) if !decision.allowed => {
                    prop_assert!(wait > 0 && fits(cost, wait) && !fits(cost, wait - 1), "{}", wait);
                }
                Some(wait) => prop_assert_eq!(wait, 0),
                None => prop_assert!(!fits(cost, 40 * DAY)),
            }
            state = after.unwrap_or(state);
            let left = meter.look(state, now);
            let fits = |cost, later| meter.charge(state, cost, now + later).is_some();
            prop_assert!(fits(left.remaining, 0) && !fits(left.remaining + 1, 0));
            if left.next > 0 {
                prop_assert!(fits(left.remaining + 1, left.next));
                prop_assert!(!fits(left.remaining + 1, left.next - 1));
            }
            let most = meter.look(State::default(), now).remaining;
            prop_assert_eq!(meter.look(state, now + left.reset).remaining, most);
            prop_assert!(left.reset == 0 || meter.look(state, now + left.reset - 1).next > 0);
        }
    }

    /// A clock that is set back grants nothing: what is left afterwards was left before. Nor does it take
    /// anything for longer than it would have.
    #[test]
    fn a_clock_that_goes_back_grants_nothing(
        quota in any_quota(),
        used in 1..60_u64,
        back in 0..NOON,
    ) {
        let meter = quota.rule().meter;
        let Some(state) = meter.charge(State::default(), used, NOON) else { return Ok(()) };
        let left = meter.look(state, NOON).remaining;
        let early = NOON - back;
        let settled = meter.settle(state, early);
        let after = meter.look(settled, early);
        prop_assert!(after.remaining <= left);
        prop_assert_eq!(meter.settle(settled, early), settled);
        let before = meter.look(state, NOON);
        let longest = match (back <= SET_BACK, meter) {
            // It stands still.
            (true, _) => before.reset + back,
            (_, Meter::Gcra(_)) => before.reset,
            (_, Meter::Fixed(window)) => {
                let (start, end) = window.length.around(early);
                end - start
            }
            (_, Meter::Sliding(window)) => 2 * window.length,
        };
        // What a clock that goes back a little makes of a window that has just begun.
        prop_assert!(after.reset <= longest + SET_BACK, "{} {}", after.reset, longest);
        if let (true, Some(wait)) = (back <= SET_BACK, meter.wait(settled, left + 1, early)) {
            prop_assert!(wait >= meter.wait(state, left + 1, NOON).unwrap_or(0));
        }
    }
}
