use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const SECOND: u64 = 1_000_000;

#[test]
fn months_begin_on_the_first_at_midnight() {
    // Days since 1970-01-01.
    for (first, next) in [
        (0, 31),          // January 1970
        (10_988, 11_017), // February 2000, which had 29 days
        (20_758, 20_788), // November 2026
        (20_788, 20_819), // December 2026, into the next year
        (47_513, 47_541), // February 2100, which has 28
    ] {
        for now in [first * DAY, first * DAY + 5, next * DAY - 1] {
            assert_eq!(Length::Month.around(now), (first * DAY, next * DAY));
        }
    }
}

#[test]
fn every_day_of_four_centuries_is_in_the_month_that_counting_says() {
    let leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    let mut first = 0;
    for year in 1970..2370 {
        let february = if leap(year) { 29 } else { 28 };
        for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            for day in first..first + days {
                assert_eq!(first_of_month(day), first, "{year}: {day}");
            }
            first += days;
        }
    }
}

#[test]
fn a_fixed_window_grants_all_anew_with_the_clock() {
    let window = Fixed {
        limit: 3,
        length: Length::Fixed(60 * SECOND),
    };
    let minute = 1000 * 60 * SECOND;
    let mut state = State::default();
    for second in [10, 20, 59] {
        state = window.charge(state, 1, minute + second * SECOND).unwrap();
    }
    let now = minute + 59 * SECOND;
    assert_eq!(window.charge(state, 1, now), None);
    assert_eq!(window.wait(state, 1, now), Some(SECOND));
    assert_eq!(window.wait(state, 4, now), None, "never");
    assert_eq!(window.look(state, now).reset, SECOND);
    let next = minute + 60 * SECOND;
    assert_eq!(window.look(state, next).remaining, 3);
    assert!(window.charge(state, 3, next).is_some());
    // The clock goes back into the window before, which is used up still.
    let state = window.charge(state, 3, next).unwrap();
    assert_eq!(window.charge(state, 1, now), None);
    assert_eq!(window.wait(state, 1, now), Some(61 * SECOND));
}

#[test]
fn what_was_before_weighs_less_as_the_window_goes_on() {
    let window = Sliding {
        limit: 10,
        length: 100,
    };
    let state = window.charge(State::default(), 10, 1000).unwrap();
    for (now, remaining) in [
        (1099, 0),
        (1100, 0),
        (1109, 0),
        (1110, 1),
        (1150, 5),
        (1199, 9),
        (1200, 10),
    ] {
        assert_eq!(window.look(state, now).remaining, remaining, "{now}");
    }
    assert_eq!(window.wait(state, 1, 1050), Some(60));
    assert_eq!(window.wait(state, 10, 1050), Some(150));
}

/// An exact log of calls, each as long ago as it is.
#[derive(Default)]
struct Log(VecDeque<u64>);

impl Log {
    /// Calls in the window of this length that ends now.
    fn count(&mut self, length: u64, now: u64) -> u64 {
        while self.0.front().is_some_and(|then| then + length <= now) {
            self.0.pop_front();
        }
        self.0.len() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What the counter holds for used lies between what is in this window for certain, and that with
    /// all of the window before; so does what an exact log counts. Where both ends agree, so do they.
    #[test]
    fn the_counter_and_a_log_of_the_same_calls_differ_by_the_window_before_at_most(
        limit in 1..50_u64,
        length in 1..10_000_u64,
        steps in prop::collection::vec(0..500_u64, 1..300),
    ) {
        let window = Sliding { limit, length };
        let (mut state, mut log, mut now) = (State::default(), Log::default(), 1_000_000);
        let mut taken = Vec::new();
        for step in steps {
            now += step * length / 1000;
            let (current, elapsed) = window.current(state, now);
            let counted = current.used + window.weight(current.before, elapsed);
            let exact = log.count(length, now);
            let (least, most) = (current.used, current.used + current.before);
            prop_assert!((least..=most).contains(&counted), "{counted}");
            prop_assert!((least..=most).contains(&exact), "{exact}");
            let charged = window.charge(state, 1, now);
            prop_assert_eq!(charged.is_some(), counted < limit);
            if most < limit {
                prop_assert!(exact < limit && charged.is_some());
            }
            if least >= limit {
                prop_assert!(exact >= limit && charged.is_none());
            }
            if let Some(after) = charged {
                state = after;
                log.0.push_back(now);
                taken.push(now);
            }
        }
        // Never more in a window that the clock begins, and less than twice as much in any other.
        let in_window = |start: u64| taken.iter().filter(|at| (start..start + length).contains(*at)).count() as u64;
        for at in &taken {
            prop_assert!(in_window(at - at % length) <= limit);
            prop_assert!(in_window(*at) < 2 * limit || limit == 1 && in_window(*at) <= 2);
        }
    }

    /// Of calls that come evenly from the beginning of a window on, no window at all, wherever it begins,
    /// has more than one too many.
    #[test]
    fn of_even_calls_the_counter_lets_in_what_a_log_would(
        limit in 1..50_u64,
        rate in 1..20_u64,
        offset in 0..100_000_u64,
    ) {
        let length = 100_000;
        let window = Sliding { limit, length };
        let step = (length / (limit * rate)).max(1);
        let offset = offset % step;
        let mut state = State::default();
        let mut taken = Vec::new();
        let mut now = 10 * length + offset;
        while now < 14 * length {
            if let Some(after) = window.charge(state, 1, now) {
                state = after;
                taken.push(now);
            }
            now += step;
        }
        for (index, at) in taken.iter().enumerate() {
            let within = taken[index..].iter().take_while(|then| **then < at + length).count() as u64;
            prop_assert!(within <= limit + 1, "{within} of {limit}");
        }
    }

    /// A fixed window lets in all of its units and no more, in each of the clock's windows.
    #[test]
    fn a_fixed_window_lets_in_the_quota_exactly(
        limit in 1..50_u64,
        length in 1..100_000_u64,
        steps in prop::collection::vec((0..500_u64, 0..5_u64), 1..300),
    ) {
        let window = Fixed { limit, length: Length::Fixed(length) };
        let (mut state, mut now) = (State::default(), 1_000_000);
        let mut taken = std::collections::BTreeMap::<u64, u64>::new();
        for (step, cost) in steps {
            now += step * length / 1000;
            let used = taken.entry(now / length).or_default();
            let charged = window.charge(state, cost, now);
            prop_assert_eq!(charged.is_some(), *used + cost <= limit);
            if let Some(after) = charged {
                *used += cost;
                state = after;
            }
        }
    }
}
