//! What was received before.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The hash of whose request it was, its id and its time. Not the signature: one request may bear
/// several that are right, and is one request by each of them.
pub(super) type Mark = [u8; 32];

/// The requests that were taken, until nobody would take them any more.
#[derive(Debug)]
pub(super) struct Replays {
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    taken: HashMap<Mark, Taken>,
    swept: Option<Instant>,
    /// The latest time that one which is forgotten bore. Where the clock goes back, one of then or
    /// before may have been taken.
    forgotten: u64,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    /// What it says itself, in seconds since 1970.
    at: u64,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    First,
    Again,
    /// Nobody can say, for there is no room to remember.
    Full,
    /// Nobody can say, for it is as old as some that are forgotten.
    Forgotten,
}

impl Replays {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            seen: Mutex::default(),
        }
    }

    /// Takes a request under all of its marks, of which there is one for each principal who has signed
    /// it, unless it was taken under one of them.
    pub(super) fn note(&self, marks: &[Mark], at: u64, until: Instant, now: Instant) -> Noted {
        let mut seen = self.lock();
        if marks.iter().any(|mark| seen.taken.contains_key(mark)) {
            return Noted::Again;
        }
        seen.sweep(self.most, now);
        if at <= seen.forgotten {
            return Noted::Forgotten;
        }
        if seen.taken.len() + marks.len() > self.most {
            return Noted::Full;
        }
        let taken = Taken { at, until };
        seen.taken.extend(marks.iter().map(|mark| (*mark, taken)));
        Noted::First
    }

    pub(super) fn len(&self) -> usize {
        self.lock().taken.len()
    }

    // What was seen is valid after every statement, whoever panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Forgets what is over: every minute, and every second while there is no room.
    fn sweep(&mut self, most: usize, now: Instant) {
        let often = Duration::from_secs(if self.taken.len() >= most { 1 } else { 60 });
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) >= often {
            let Self {
                taken, forgotten, ..
            } = self;
            taken.retain(|_, taken| {
                let kept = now < taken.until;
                if !kept {
                    *forgotten = taken.at.max(*forgotten);
                }
                kept
            });
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_800_000_000;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_taken_once_and_forgotten_when_nobody_would_take_it() {
        let (replays, now) = (Replays::new(2), Instant::now());
        let (until, after) = (now + Duration::from_secs(300), Duration::from_secs(301));
        let note = |mark: u8, at, until, now| replays.note(&[[mark; 32]], at, until, now);
        assert_eq!(note(1, AT, until, now), Noted::First);
        assert_eq!(note(1, AT, until, now), Noted::Again);
        assert_eq!(note(2, AT, until, now), Noted::First);
        assert_eq!(note(3, AT, until, now), Noted::Full);
        let (until, now) = (until + after, now + after);
        assert_eq!(note(3, AT + 301, until, now), Noted::First);
        assert_eq!(replays.len(), 1);
        // Whether it was taken nobody knows any more, and only a clock that goes back lets it come.
        assert_eq!(note(1, AT, until, now), Noted::Forgotten);
        assert_eq!(note(4, AT, until, now), Noted::Forgotten);
        assert_eq!(note(4, AT + 1, until, now), Noted::First);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_several_marks_is_taken_under_all_or_none() {
        let (replays, now) = (Replays::new(3), Instant::now());
        let until = now + Duration::from_secs(300);
        let note = |marks: &[Mark]| replays.note(marks, AT, until, now);
        assert_eq!(note(&[[1; 32], [2; 32]]), Noted::First);
        assert_eq!(note(&[[2; 32]]), Noted::Again);
        assert_eq!(note(&[[3; 32], [1; 32]]), Noted::Again);
        assert_eq!(note(&[[3; 32], [4; 32]]), Noted::Full);
        assert_eq!(note(&[[3; 32]]), Noted::First);
    }
}
