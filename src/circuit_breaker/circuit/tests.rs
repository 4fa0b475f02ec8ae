use super::{super::window::Tally, *};
use Outcome::{Failure, Neutral, Success};
use proptest::{collection::vec, prelude::*};

const WINDOW: usize = 4;

const CONFIG: Config = Config {
    failure_percent: 50,
    slow: None,
    window: Span::Calls(WINDOW),
    minimum_calls: 2,
    probes: 2,
    cool_down: Duration::from_secs(30),
    longest_cool_down: Duration::ZERO,
    half_open: None,
};

/// Lets in and records one call for each outcome.
fn calls(circuit: &mut Circuit, now: Instant, outcomes: &[Outcome]) -> Vec<Option<Entry>> {
    outcomes
        .iter()
        .map(|outcome| {
            let epoch = circuit.admit(now).unwrap();
            circuit.record(epoch, *outcome, Duration::ZERO, now)
        })
        .collect()
}

fn after(outcomes: &[Outcome]) -> (Circuit, Instant) {
    let now = Instant::now();
    let mut circuit = Circuit::new(CONFIG);
    calls(&mut circuit, now, outcomes);
    (circuit, now)
}

/// A circuit that has opened and cooled down.
fn cooled_down() -> (Circuit, Instant) {
    let (circuit, now) = after(&[Failure, Failure]);
    (circuit, now + CONFIG.cool_down)
}

/// Of a window of calls, to which the time is nothing.
fn tally(circuit: &mut Circuit) -> Tally {
    circuit.window.tally(Instant::now())
}

fn is_open(circuit: &Circuit) -> bool {
    matches!(circuit.phase, Phase::Open { .. })
}

#[test]
fn too_few_calls_do_not_open() {
    assert_eq!(after(&[Failure]).0.phase, Phase::Closed);
    assert!(is_open(&after(&[Failure, Failure]).0));
}

#[test]
fn the_rate_opens_and_not_the_count() {
    assert_eq!(
        after(&[Success, Success, Success, Failure]).0.phase,
        Phase::Closed
    );
    assert!(is_open(&after(&[Success, Success, Failure, Failure]).0));
}

#[test]
fn calls_that_left_the_window_do_not_count() {
    let (mut circuit, _) = after(&[
        Success, Success, Success, Failure, Success, Success, Success, Failure,
    ]);
    assert_eq!(
        (circuit.phase, tally(&mut circuit).failed),
        (Phase::Closed, 1)
    );
}

#[test]
fn neutral_calls_do_not_count() {
    let (mut circuit, _) = after(&[Failure, Neutral, Neutral]);
    assert_eq!(
        (circuit.phase, tally(&mut circuit).calls),
        (Phase::Closed, 1)
    );
}

#[test]
fn a_minimum_above_the_window_is_taken_as_the_window() {
    let mut circuit = Circuit::new(Config {
        minimum_calls: 100,
        ..CONFIG
    });
    calls(&mut circuit, Instant::now(), &[Failure; 4]);
    assert!(is_open(&circuit));
}

#[test]
fn slow_calls_open_where_they_are_asked_to() {
    let slow = Duration::from_secs(5);
    for (asked, opens) in [(None, false), (Some((slow, 100)), true)] {
        let mut circuit = Circuit::new(Config {
            slow: asked,
            ..CONFIG
        });
        let now = Instant::now();
        for _ in 0..2 {
            let epoch = circuit.admit(now).unwrap();
            circuit.record(epoch, Success, slow, now);
        }
        assert_eq!(is_open(&circuit), opens);
    }
}

#[test]
fn open_says_when_to_retry() {
    let (mut circuit, now) = after(&[Failure, Failure]);
    let rejection = circuit.admit(now + Duration::from_secs(10)).unwrap_err();
    assert_eq!(rejection.kind(), Kind::CircuitOpen);
    assert_eq!(rejection.retry_after(), Some(Duration::from_secs(20)));
}

#[test]
fn no_more_probes_than_configured() {
    let (mut circuit, now) = cooled_down();
    assert!(circuit.admit(now).is_ok());
    assert!(circuit.admit(now).is_ok());
    assert!(circuit.admit(now).is_err());
}

#[test]
fn a_neutral_probe_makes_room_for_another() {
    let (mut circuit, now) = cooled_down();
    calls(&mut circuit, now, &[Neutral, Neutral, Neutral]);
    assert_eq!(
        circuit.phase,
        Phase::HalfOpen {
            free: 2,
            until: None
        }
    );
}

#[test]
fn probes_that_succeed_close() {
    let (mut circuit, now) = cooled_down();
    calls(&mut circuit, now, &[Success, Success]);
    assert_eq!(circuit.phase, Phase::Closed);
}

#[test]
fn a_verdict_does_not_wait_for_a_probe_that_hangs() {
    for (answered, phase) in [
        (
            Failure,
            Phase::Open {
                until: Instant::now(),
            },
        ),
        (Success, Phase::Closed),
    ] {
        let mut circuit = Circuit::new(Config {
            probes: 3,
            ..CONFIG
        });
        let now = Instant::now();
        calls(&mut circuit, now, &[Failure, Failure]);
        let later = now + CONFIG.cool_down;
        circuit.admit(later).unwrap();
        calls(&mut circuit, later, &[answered, answered]);
        assert_eq!(
            std::mem::discriminant(&circuit.phase),
            std::mem::discriminant(&phase)
        );
    }
}

#[test]
fn a_late_failure_does_not_reopen() {
    let (mut circuit, now) = cooled_down();
    calls(&mut circuit, now, &[Success, Success]);
    for _ in 0..WINDOW {
        circuit.record(0, Failure, Duration::ZERO, now);
    }
    assert_eq!(
        (circuit.phase, tally(&mut circuit).failed),
        (Phase::Closed, 0)
    );
}

#[test]
fn a_revised_success_counts_as_one_failure() {
    let (mut circuit, now) = after(&[]);
    let entries = calls(&mut circuit, now, &[Success, Success, Success]);
    for _ in 0..2 {
        circuit.revise(entries[0].unwrap(), now);
    }
    assert_eq!(
        (circuit.phase, tally(&mut circuit).failed),
        (Phase::Closed, 1)
    );
    circuit.revise(entries[1].unwrap(), now);
    assert!(is_open(&circuit));
}

#[test]
fn an_answer_that_left_the_window_is_not_revised() {
    let (mut circuit, now) = after(&[]);
    let first = calls(&mut circuit, now, &[Success])[0].unwrap();
    calls(&mut circuit, now, &[Success; WINDOW]);
    circuit.revise(first, now);
    assert_eq!(tally(&mut circuit).failed, 0);
}

#[test]
fn a_late_revision_does_not_move_the_next_phase() {
    let (mut circuit, now) = cooled_down();
    let probes = calls(&mut circuit, now, &[Success, Success]);
    calls(&mut circuit, now, &[Success, Success]);
    for probe in probes {
        circuit.revise(probe.unwrap(), now);
    }
    assert_eq!(
        (circuit.phase, tally(&mut circuit).failed),
        (Phase::Closed, 0)
    );
}

#[test]
fn a_dropped_call_counts_if_it_was_slow() {
    let slow = Duration::from_secs(5);
    for (elapsed, opens) in [(Duration::ZERO, false), (slow, true)] {
        let mut circuit = Circuit::new(Config {
            slow: Some((slow, 100)),
            ..CONFIG
        });
        let now = Instant::now();
        for _ in 0..2 {
            let epoch = circuit.admit(now).unwrap();
            circuit.abandon(epoch, elapsed, now);
        }
        assert_eq!(is_open(&circuit), opens);
        assert_eq!(tally(&mut circuit).failed, 0, "slow is not failed");
    }
}

#[test]
fn a_probe_that_is_revised_reopens_while_others_are_out() {
    let (mut circuit, now) = cooled_down();
    let first = calls(&mut circuit, now, &[Success])[0].unwrap();
    circuit.revise(first, now);
    assert!(is_open(&circuit), "one of two probes is half of them");
}

proptest! {
    /// Whatever comes, in whatever order: the counts are what is in the window, the window is no
    /// longer than it may be, and no more probes are out than were allowed.
    #[test]
    fn the_books_always_balance(steps in vec((0..6u8, 0..40u64), 0..300)) {
        let mut circuit = Circuit::new(Config { slow: Some((Duration::from_secs(2), 80)), ..CONFIG });
        let mut now = Instant::now();
        let (mut out, mut recorded) = (Vec::new(), Vec::new());
        for (step, seconds) in steps {
            now += Duration::from_secs(seconds / 10);
            match step {
                0 | 1 => out.extend(circuit.admit(now)),
                2 if !out.is_empty() => circuit.abandon(out.remove(0), Duration::ZERO, now),
                3 if !out.is_empty() => {
                    let outcome = if seconds % 3 == 0 { Failure } else { Success };
                    recorded.extend(circuit.record(out.remove(0), outcome, Duration::from_secs(seconds / 10), now));
                }
                4 if !recorded.is_empty() => circuit.revise(recorded.remove(0), now),
                _ => now += CONFIG.cool_down / 2,
            }
            let calls = tally(&mut circuit).calls;
            prop_assert!(calls <= WINDOW);
            if let Phase::HalfOpen { free, .. } = circuit.phase {
                let probing = out.iter().filter(|epoch| **epoch == circuit.epoch).count();
                prop_assert_eq!(free + probing + calls, CONFIG.probes);
            }
        }
    }
}

#[test]
fn a_circuit_that_does_not_recover_is_left_alone_for_longer_each_time() {
    let seconds = Duration::from_secs;
    let mut circuit = Circuit::new(Config {
        cool_down: seconds(5),
        longest_cool_down: seconds(60),
        probes: 1,
        ..CONFIG
    });
    let mut now = Instant::now();
    calls(&mut circuit, now, &[Failure, Failure]);
    for wait in [5, 10, 20, 40, 60, 60] {
        let refused = circuit.admit(now).unwrap_err();
        assert_eq!(refused.retry_after(), Some(seconds(wait)));
        now += seconds(wait);
        calls(&mut circuit, now, &[Failure]);
    }
    now += seconds(60);
    calls(&mut circuit, now, &[Success, Failure, Failure]);
    let refused = circuit.admit(now).unwrap_err();
    assert_eq!(refused.retry_after(), Some(seconds(5)), "it had closed");
}

#[test]
fn probes_that_do_not_answer_in_time_open_it_again() {
    let wait = Duration::from_secs(3);
    let mut circuit = Circuit::new(Config {
        half_open: Some(wait),
        ..CONFIG
    });
    let now = Instant::now();
    calls(&mut circuit, now, &[Failure, Failure]);
    let now = now + CONFIG.cool_down;
    let probe = circuit.admit(now).unwrap();
    assert!(circuit.admit(now + wait / 2).is_ok());
    let refused = circuit.admit(now + wait).unwrap_err();
    assert_eq!(refused.retry_after(), Some(CONFIG.cool_down));
    circuit.record(probe, Success, wait, now + wait);
    assert!(is_open(&circuit), "that probe was given up");
    // However long nobody came: it is half open from when somebody does.
    let late = now + 9 * CONFIG.cool_down;
    assert!(circuit.admit(late).is_ok() && circuit.admit(late + wait / 2).is_ok());
    let states: Vec<_> = circuit
        .take_untold()
        .into_iter()
        .map(|(_, to)| to)
        .collect();
    let (open, half) = (State::Open, State::HalfOpen);
    assert_eq!(states, [open, half, open, half]);
}

#[test]
fn what_is_forced_stays_until_it_is_reset() {
    let now = Instant::now();
    for (forced, counted) in [(Forced::Disabled, 0), (Forced::MetricsOnly, 4)] {
        let mut circuit = Circuit::new(CONFIG);
        circuit.force(forced);
        calls(&mut circuit, now, &[Failure; 4]);
        assert_eq!(tally(&mut circuit).failed, counted);
        assert_eq!(circuit.stats(now).failed_calls(), counted as u64);
        assert_eq!(circuit.phase, Phase::Forced(forced), "it never opens");
        circuit.reset();
        assert_eq!(
            (circuit.phase, tally(&mut circuit).calls),
            (Phase::Closed, 0)
        );
    }
    let mut circuit = Circuit::new(CONFIG);
    circuit.force(Forced::Open);
    let refused = circuit.admit(now + 9 * CONFIG.cool_down).unwrap_err();
    assert_eq!(refused.retry_after(), None, "nobody knows");
    assert_eq!(circuit.stats(now).not_permitted_calls(), 1);
    circuit.trip(now);
    assert!(is_open(&circuit), "and cools down");
}

#[test]
fn who_trips_an_open_circuit_changes_nothing() {
    let (mut circuit, now) = after(&[Failure, Failure]);
    let before = circuit.phase;
    circuit.trip(now + Duration::from_secs(10));
    assert_eq!(circuit.phase, before);
}

#[test]
fn answers_to_calls_of_before_a_change_count_nowhere() {
    let now = Instant::now();
    let mut circuit = Circuit::new(CONFIG);
    let mut out: Vec<u64> = (0..3).map(|_| circuit.admit(now).unwrap()).collect();
    let recorded = calls(&mut circuit, now, &[Success])[0].unwrap();
    let changes: [&dyn Fn(&mut Circuit); 4] = [
        &|circuit| circuit.trip(now),
        &|circuit| circuit.force(Forced::MetricsOnly),
        &|circuit| circuit.force(Forced::Disabled),
        &|circuit| circuit.reset(),
    ];
    for change in changes {
        change(&mut circuit);
        let before = circuit.stats(now);
        for epoch in &out {
            circuit.record(*epoch, Failure, Duration::ZERO, now);
            circuit.abandon(*epoch, Duration::ZERO, now);
        }
        circuit.revise(recorded, now);
        assert_eq!(circuit.stats(now), before);
        // Late after the next change.
        out.extend(circuit.admit(now));
    }
}

#[test]
fn rates_are_told_when_there_are_enough_calls() {
    let (mut circuit, now) = after(&[Success]);
    assert_eq!(circuit.stats(now).failure_rate(), None);
    calls(&mut circuit, now, &[Success, Success, Failure]);
    let stats = circuit.stats(now);
    assert_eq!(stats.failure_rate(), Some(0.25));
    assert_eq!(stats.slow_call_rate(), Some(0.0));
    assert_eq!((stats.buffered_calls(), stats.successful_calls()), (4, 3));
}

proptest! {
    /// Both windows count what somebody would who kept every answer and counted them all anew.
    #[test]
    fn both_windows_equal_a_naive_recount(
        span in 1..8usize,
        steps in vec((0..8u8, 0..2500u64, any::<u16>()), 0..300),
    ) {
        let origin = Instant::now();
        for of_time in [false, true] {
            let mut window = Window::new(if of_time { Span::Seconds(span) } else { Span::Calls(span) });
            // The answers, each with its second and its place.
            let mut all: Vec<(u64, Answer, u64)> = Vec::new();
            let (mut now, mut begun) = (origin, None);
            for (step, millis, pick) in &steps {
                now += Duration::from_millis(if *step == 7 { 20 * millis } else { *millis });
                let second = now.duration_since(*begun.get_or_insert(now)).as_secs();
                let here = |at: usize, of: u64, len: usize| match of_time {
                    true => of + span as u64 > second,
                    false => at + span >= len,
                };
                let len = all.len();
                if *step < 5 || all.is_empty() {
                    let answer = Answer { failed: step % 2 == 0, slow: pick % 3 == 0 };
                    let place = window.push(answer, now);
                    all.push((second, answer, place));
                } else {
                    let at = usize::from(*pick) % len;
                    let (of, answer, place) = &mut all[at];
                    // Nobody revises what had failed.
                    if !answer.failed {
                        let is_here = here(at, *of, len);
                        prop_assert_eq!(window.fail(*place, now), is_here);
                        answer.failed |= is_here;
                    }
                }
                let len = all.len();
                let mut naive = Tally::default();
                for (at, (of, answer, _)) in all.iter().enumerate() {
                    if here(at, *of, len) {
                        naive.merge(Tally {
                            calls: 1,
                            failed: answer.failed.into(),
                            slow: answer.slow.into(),
                        });
                    }
                }
                prop_assert_eq!(window.tally(now), naive);
            }
        }
    }
}
