//! When a store, or whoever else decides, is asked again after it did not answer.
//!
//! After so many failures in a row it is left alone for a while; then one call asks it, and by that
//! one's answer it is left alone again or asked by all. A pure core: no clock, no lock.

use std::time::Duration;
use tokio::time::Instant;

/// How many failures in a row.
const FAILURES: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    until: Instant,
    asked: bool,
}

/// The right to ask once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As all do.
    Usual,
    /// To find out whether it is back.
    Probe,
}

impl Pause {
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Turn> {
        match &mut self.down {
            None => Some(Turn::Usual),
            Some(down) if down.asked || now < down.until => None,
            Some(down) => {
                down.asked = true;
                Some(Turn::Probe)
            }
        }
    }

    /// The store answered. Whether it had been down.
    pub(crate) fn answered(&mut self) -> bool {
        self.failures = 0;
        self.down.take().is_some()
    }

    /// It did not. Whether it is down from now on.
    pub(crate) fn failed(&mut self, turn: Turn, now: Instant, pause: Duration) -> bool {
        let until = now + pause;
        match (&mut self.down, turn) {
            (Some(down), Turn::Probe) => {
                let asked = false;
                *down = Down { until, asked };
                false
            }
            // Asked before it was known.
            (Some(_), Turn::Usual) => false,
            (None, _) => {
                self.failures += 1;
                let down = self.failures >= FAILURES;
                if down {
                    let asked = false;
                    self.down = Some(Down { until, asked });
                }
                down
            }
        }
    }

    /// Nobody waited for the answer.
    pub(crate) fn dropped(&mut self, turn: Turn) {
        if let (Some(down), Turn::Probe) = (&mut self.down, turn) {
            down.asked = false;
        }
    }

    /// Whether the last answer was a failure: what is asked may have been restarted in the meantime.
    #[cfg_attr(not(feature = "rate-limit"), allow(dead_code))]
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_in_a_row_and_then_one_call_asks() {
        let mut pause = Pause::default();
        let start = Instant::now();
        for failure in 1..=3 {
            let turn = pause.turn(start).unwrap();
            assert_eq!(turn, Turn::Usual);
            assert_eq!(pause.failed(turn, start, PAUSE), failure == 3);
        }
        assert!(!pause.failed(Turn::Usual, start, PAUSE), "asked before");
        assert_eq!(pause.turn(start + PAUSE / 2), None);
        let later = start + PAUSE;
        assert_eq!(pause.turn(later), Some(Turn::Probe));
        assert_eq!(pause.turn(later), None, "one asks");
        assert!(!pause.failed(Turn::Probe, later, PAUSE), "is still down");
        assert_eq!(pause.turn(later + PAUSE / 2), None);
        assert_eq!(pause.turn(later + PAUSE), Some(Turn::Probe));
        pause.dropped(Turn::Probe);
        assert_eq!(pause.turn(later + PAUSE), Some(Turn::Probe), "another may");
        assert!(pause.answered() && !pause.is_down());
        assert_eq!(pause.turn(later), Some(Turn::Usual));
    }

    #[test]
    fn an_answer_forgives_failures() {
        let mut pause = Pause::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert!(!pause.failed(Turn::Usual, now, PAUSE));
            assert!(!pause.failed(Turn::Usual, now, PAUSE));
            assert!(pause.has_failed());
            assert!(!pause.answered(), "it had not been down");
            assert!(!pause.has_failed());
        }
    }
}
