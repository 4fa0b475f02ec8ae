use super::*;
use Outcome::{Failure, Neutral, Success};
use proptest::{collection::vec, prelude::*};

const CONFIG: Config = Config {
    failure_percent: 50,
    slow: None,
    window: 4,
    minimum_calls: 2,
    probes: 2,
    cool_down: Duration::from_secs(30),
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
    let (circuit, _) = after(&[
        Success, Success, Success, Failure, Success, Success, Success, Failure,
    ]);
    assert_eq!((circuit.phase, circuit.window.failed), (Phase::Closed, 1));
}

#[test]
fn neutral_calls_do_not_count() {
    let (circuit, _) = after(&[Failure, Neutral, Neutral]);
    assert_eq!(
        (circuit.phase, circuit.window.answers.len()),
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
    assert_eq!(circuit.phase, Phase::HalfOpen { free: 2 });
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
    for _ in 0..CONFIG.window {
        circuit.record(0, Failure, Duration::ZERO, now);
    }
    assert_eq!((circuit.phase, circuit.window.failed), (Phase::Closed, 0));
}

#[test]
fn a_revised_success_counts_as_one_failure() {
    let (mut circuit, now) = after(&[]);
    let entries = calls(&mut circuit, now, &[Success, Success, Success]);
    for _ in 0..2 {
        circuit.revise(entries[0].unwrap(), now);
    }
    assert_eq!((circuit.phase, circuit.window.failed), (Phase::Closed, 1));
    circuit.revise(entries[1].unwrap(), now);
    assert!(is_open(&circuit));
}

#[test]
fn an_answer_that_left_the_window_is_not_revised() {
    let (mut circuit, now) = after(&[]);
    let first = calls(&mut circuit, now, &[Success])[0].unwrap();
    calls(&mut circuit, now, &[Success; CONFIG.window]);
    circuit.revise(first, now);
    assert_eq!(circuit.window.failed, 0);
}

#[test]
fn a_late_revision_does_not_move_the_next_phase() {
    let (mut circuit, now) = cooled_down();
    let probes = calls(&mut circuit, now, &[Success, Success]);
    calls(&mut circuit, now, &[Success, Success]);
    for probe in probes {
        circuit.revise(probe.unwrap(), now);
    }
    assert_eq!((circuit.phase, circuit.window.failed), (Phase::Closed, 0));
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
        assert_eq!(circuit.window.failed, 0, "slow is not failed");
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
            let count = |bad: fn(&&Answer) -> bool| circuit.window.answers.iter().filter(bad).count();
            prop_assert_eq!(circuit.window.failed, count(|answer| answer.failed));
            prop_assert_eq!(circuit.window.slow, count(|answer| answer.slow));
            prop_assert!(circuit.window.answers.len() <= CONFIG.window);
            if let Phase::HalfOpen { free } = circuit.phase {
                let probing = out.iter().filter(|epoch| **epoch == circuit.epoch).count();
                prop_assert_eq!(free + probing + circuit.window.answers.len(), CONFIG.probes);
            }
        }
    }
}
