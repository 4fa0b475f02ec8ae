//! What was received before.

use super::webhook::Tag;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The signatures that were taken, until nobody would take them any more.
#[derive(Debug)]
pub(super) struct Replays {
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    until: HashMap<Tag, Instant>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    First,
    Again,
    /// Nobody can say, for there is no room to remember.
    Full,
}

impl Replays {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            seen: Mutex::default(),
        }
    }

    pub(super) fn note(&self, tag: Tag, until: Instant, now: Instant) -> Noted {
        let mut seen = self.lock();
        if seen.until.get(&tag).is_some_and(|until| now < *until) {
            return Noted::Again;
        }
        seen.sweep(self.most, now);
        if seen.until.len() >= self.most {
            return Noted::Full;
        }
        seen.until.insert(tag, until);
        Noted::First
    }

    pub(super) fn len(&self) -> usize {
        self.lock().until.len()
    }

    // What was seen is valid after every statement, whoever panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Forgets what is over: every minute, and every second while there is no room.
    fn sweep(&mut self, most: usize, now: Instant) {
        let often = Duration::from_secs(if self.until.len() >= most { 1 } else { 60 });
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) >= often {
            self.until.retain(|_, until| now < *until);
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signature_is_taken_once_and_forgotten_when_nobody_would_take_it() {
        let (replays, now) = (Replays::new(2), Instant::now());
        let (until, after) = (now + Duration::from_secs(300), Duration::from_secs(301));
        assert_eq!(replays.note([1; 32], until, now), Noted::First);
        assert_eq!(replays.note([1; 32], until, now), Noted::Again);
        assert_eq!(replays.note([2; 32], until, now), Noted::First);
        assert_eq!(replays.note([3; 32], until, now), Noted::Full);
        assert_eq!(
            replays.note([3; 32], until + after, now + after),
            Noted::First
        );
        assert_eq!(replays.len(), 1);
    }
}
