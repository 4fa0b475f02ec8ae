//! How an endpoint is, and what is known of it. Plain data, which takes the time.

use super::{check::Streak, outlier::Cause};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Whether an endpoint is called, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It is called.
    Up,
    /// It asked to be left alone for a while, as with a 429.
    Resting,
    /// It was taken out for its answers.
    Ejected,
    /// Its active checks fail.
    Unhealthy,
    /// It is given no more calls, and those that are out end as they would.
    Draining,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Up,
        Self::Resting,
        Self::Ejected,
        Self::Unhealthy,
        Self::Draining,
    ];

    /// `up`, `resting`, `ejected`, `unhealthy` or `draining`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Resting => "resting",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of one endpoint just now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// Its weight.
    pub weight: u32,
    /// Its priority, 0 first.
    pub priority: u8,
    /// How it is.
    pub state: State,
    /// Since when it is so.
    pub since: Instant,
    /// How many calls it has out, each to the end of its answer.
    pub in_flight: u32,
    /// How many calls it was given so far.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of those failed on the way to it, or for want of an answer.
    pub local_failures: u64,
    /// How long the heads of its answers take: a peak EWMA. `None`: nothing is known.
    pub latency: Option<Duration>,
    /// How often it was taken out so far.
    pub ejections: u32,
    /// Why it is out, if it is.
    pub cause: Option<Cause>,
    /// Until when it is out, if it is, and not for good.
    pub ejected_until: Option<Instant>,
    /// Until when it rests, if it does.
    pub resting_until: Option<Instant>,
    /// When it was last checked, and whether that went well.
    pub last_check: Option<(Instant, bool)>,
}

/// For how long it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Until(Instant, Cause),
    /// Until somebody says otherwise.
    Told,
}

impl Out {
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Until(_, cause) => cause,
            Self::Told => Cause::Told,
        }
    }

    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Until(until, _) => Some(until),
            Self::Told => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) draining: bool,
    pub(super) out: Option<Out>,
    /// How often it was out, less one for each interval that it was not.
    pub(super) times: u32,
    pub(super) ejections: u32,
    pub(super) resting: Option<Instant>,
    /// Whether it did when that was last looked at, whatever the state is.
    rests: bool,
    pub(super) streak: Streak,
}

impl Condition {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Up,
            since: now,
            draining: false,
            out: None,
            times: 0,
            ejections: 0,
            resting: None,
            rests: false,
            streak: Streak::default(),
        }
    }

    /// Lets go of what is over, and says whether the state is another one, or whether it rests.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        self.out = self
            .out
            .filter(|out| out.until().is_none_or(|until| until > now));
        self.resting = self.resting.filter(|until| *until > now);
        let state = if self.draining {
            State::Draining
        } else if self.out.is_some() {
            State::Ejected
        } else if !self.streak.is_well() {
            State::Unhealthy
        } else if self.resting.is_some() {
            State::Resting
        } else {
            State::Up
        };
        let rested = std::mem::replace(&mut self.rests, self.resting.is_some());
        let other = state != self.state;
        if other {
            self.state = state;
            self.since = now;
        }
        other || self.rests != rested
    }

    /// Whether somebody took it out: then it is not called, whatever else there is.
    pub(super) fn told(&self) -> bool {
        self.out == Some(Out::Told)
    }

    /// It is in, if it was out for its answers and not because somebody said so. Whether it was.
    pub(super) fn came_back(&mut self) -> bool {
        let back = matches!(self.out, Some(Out::Until(..)));
        if back {
            self.out = None;
        }
        back
    }

    /// When it may be another one by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        let out = self.out.and_then(Out::until);
        out.into_iter().chain(self.resting).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_let_go_and_what_is_not_comes_to_light() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut condition = Condition::new(start);
        assert!(!condition.settle(start));
        condition.out = Some(Out::Until(start + second, Cause::Consecutive));
        condition.resting = Some(start + 3 * second);
        assert!(condition.settle(start));
        assert_eq!(condition.state, State::Ejected);
        assert_eq!(condition.due(), Some(start + second));
        assert!(condition.settle(start + second));
        assert_eq!(
            (condition.state, condition.since),
            (State::Resting, start + second)
        );
        assert!(condition.settle(start + 3 * second));
        assert_eq!((condition.state, condition.due()), (State::Up, None));
        condition.out = Some(Out::Told);
        assert!(condition.settle(start + 99 * second));
        let since = condition.since;
        condition.resting = Some(start + 101 * second);
        assert!(condition.settle(start + 100 * second), "it rests, too");
        assert!(condition.settle(start + 101 * second), "and does not");
        assert!(!condition.settle(start + 102 * second));
        assert_eq!(condition.since, since);
        assert_eq!((condition.state, condition.due()), (State::Ejected, None));
    }
}
