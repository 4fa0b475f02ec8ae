//! How an entry does: what clones of a pool share of it.

use super::average::{Shared, Tick};
use crate::{
    answer::Remedy,
    llm::{Error, Summary, VendorFault, catalog::Entry as Known},
    rejection::Kind,
};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How long an entry is left alone after a 429 that does not say how long.
const UNNAMED: Duration = Duration::from_secs(10);
/// The same for one whose key is refused, or whose account is used up: an operator must do something.
const ACCOUNT: Duration = Duration::from_secs(60);
/// How many tokens are generated after the first one at least for a speed to be told.
const LEAST_TOKENS: u64 = 8;
/// How many tokens are waited for after the first one, where one entry is held against another.
const TOKENS: f32 = 256.0;

/// The state of one entry.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) in_flight: AtomicU32,
    pub(super) calls: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Until its first content, in seconds, of streams.
    pub(super) first: Shared,
    /// Until all of it is there, of answers in one piece.
    pub(super) whole: Shared,
    /// Tokens in a second, after the first content.
    pub(super) speed: Shared,
    /// Until when it is left alone because its vendor, or an operator, has named the time: milliseconds
    /// since the pool was made, and behind them in two bits [why](Why).
    named: AtomicU64,
    /// Until when it is left alone though nobody has named a time.
    unnamed: AtomicU64,
    /// How often in a row its key or its account was refused.
    refused: AtomicU32,
    pub(super) drained: AtomicBool,
    /// What the catalog has of it, once someone looked.
    pub(super) known: OnceLock<Option<Known>>,
}

/// Why one is left alone for a time that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Told = 0,
    Full = 1,
    Busy = 2,
}

impl Why {
    /// As what callers are told of it.
    fn kind(bits: u64) -> Kind {
        match bits & 3 {
            bits if bits == Self::Full as u64 => Kind::UpstreamRateLimited,
            bits if bits == Self::Busy as u64 => Kind::UpstreamOverloaded,
            _ => Kind::CircuitOpen,
        }
    }
}

/// For how long one is left alone yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cooling {
    pub(super) rest: Duration,
    /// The part of it that was named, and as what callers are told of it. `None`: nobody named a time, and
    /// where no other is left it is asked all the same.
    pub(super) named: Option<(Duration, Kind)>,
}

impl State {
    /// How long it is left alone yet. `None`: it is not.
    pub(super) fn cooling(&self, now: Now) -> Option<Cooling> {
        let named = self.named.load(Ordering::Relaxed);
        let unnamed = self.unnamed.load(Ordering::Relaxed);
        let latest = unnamed.max(named >> 2);
        if latest <= now.millis {
            return None;
        }
        let by_name = (named >> 2)
            .checked_sub(now.millis)
            .filter(|rest| *rest > 0);
        Some(Cooling {
            rest: Duration::from_millis(latest - now.millis),
            named: by_name.map(|rest| (Duration::from_millis(rest), Why::kind(named))),
        })
    }

    /// Leaves it alone for so long, or for longer if that was said before: an operator says so.
    pub(super) fn cool(&self, time: Duration, now: Now) {
        self.leave(time, Some(Why::Told), now);
    }

    fn leave(&self, time: Duration, named: Option<Why>, now: Now) {
        let time = u64::try_from(time.min(Remedy::LONGEST).as_millis()).unwrap_or(u64::MAX);
        let until = now.millis.saturating_add(time).max(1);
        match named {
            Some(why) => self
                .named
                .fetch_max(until << 2 | why as u64, Ordering::Relaxed),
            None => self.unnamed.fetch_max(until, Ordering::Relaxed),
        };
    }

    pub(super) fn warm(&self) {
        for until in [&self.named, &self.unnamed] {
            until.store(0, Ordering::Relaxed);
        }
        self.refused.store(0, Ordering::Relaxed);
    }

    /// It has begun to answer: its key and its account are good. `cooling`: it was asked though it was to
    /// be left alone, for which there is no reason any more.
    pub(super) fn answers(&self, cooling: bool) {
        if self.refused.load(Ordering::Relaxed) > 0 {
            self.refused.store(0, Ordering::Relaxed);
        }
        if cooling {
            self.unnamed.store(0, Ordering::Relaxed);
        }
    }

    /// How long an answer is likely to take, in seconds.
    pub(super) fn latency(&self, streams: bool, now: Tick) -> Option<f32> {
        if !streams {
            return self.whole.get().faded(now);
        }
        let first = self.first.get().faded(now)?;
        // A speed is no more forgotten than the wait that it belongs to.
        let speed = self.speed.get().value();
        Some(first + speed.map_or(0.0, |speed| TOKENS / speed.max(0.1)))
    }

    /// It has begun to answer after so long.
    pub(super) fn begun(&self, streams: bool, after: Duration, now: Tick) {
        let average = if streams { &self.first } else { &self.whole };
        average.add(after, now);
    }

    /// It has not begun to answer, and nobody waits for it any more: only news if it is bad. Of one that
    /// nothing is known of it is from a second on.
    pub(super) fn gave_up(&self, streams: bool, after: Duration, now: Tick) {
        let average = if streams { &self.first } else { &self.whole };
        let known = average.get().value();
        if after.as_secs_f32() >= known.unwrap_or(1.0) {
            average.add(after, now);
        }
    }

    /// It has answered to the end, so long after it began.
    pub(super) fn ended(&self, summary: &Summary, after: Duration, now: Tick) {
        let tokens = summary.usage.map_or(0, |usage| usage.output);
        let seconds = after.as_secs_f32();
        if tokens > LEAST_TOKENS && seconds > 0.001 {
            self.speed.add_number((tokens - 1) as f32 / seconds, now);
        }
    }

    /// It has failed.
    pub(super) fn failed(&self, error: &Error, after: Duration, streams: bool, now: Now) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if error.kind() == Kind::Timeout {
            self.gave_up(streams, after, now.tick());
        }
        if matches!(error.kind(), Kind::UpstreamAuth | Kind::UpstreamQuota) {
            // The request itself may be what it refuses, and one request visits them all.
            let before = self.refused.fetch_add(1, Ordering::Relaxed);
            if before == 0 {
                return;
            }
        }
        if let Some((time, named)) = left_alone(error) {
            self.leave(time, named, now);
        }
    }
}

/// The time, and since when the pool counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) now: Instant,
    /// Since the pool was made.
    millis: u64,
}

impl Now {
    pub(super) fn of(since: Instant, now: Instant) -> Self {
        let millis = now.saturating_duration_since(since).as_millis() as u64;
        Self { now, millis }
    }

    pub(super) fn tick(self) -> Tick {
        Tick::of_millis(self.millis)
    }
}

/// How long one is left alone that has failed so, and why if that time was named. `None`: that is for its
/// circuit to say.
fn left_alone(error: &Error) -> Option<(Duration, Option<Why>)> {
    let full = |named: Option<Duration>| match named {
        Some(time) => Some((time, Some(Why::Full))),
        None => Some((UNNAMED, None)),
    };
    let busy = |named: Option<Duration>| named.map(|time| (time, Some(Why::Busy)));
    let time = match error {
        Error::Vendor(error) => {
            let limits = error.limits().and_then(|limits| limits.exhausted_for());
            match error.fault() {
                VendorFault::RateLimited => full(error.retry_after().or(limits)),
                VendorFault::Auth | VendorFault::Quota => Some((ACCOUNT, None)),
                fault if fault.concerns_caller() => None,
                _ => busy(error.retry_after()),
            }
        }
        Error::Rejected(rejection) => match rejection.kind() {
            Kind::UpstreamRateLimited => full(rejection.retry_after()),
            Kind::UpstreamAuth | Kind::UpstreamQuota => Some((ACCOUNT, None)),
            Kind::UpstreamOverloaded => busy(rejection.retry_after()),
            _ => None,
        },
    };
    time.filter(|(time, _)| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::VendorError;

    #[test]
    fn a_vendor_is_left_alone_for_as_long_as_it_says_and_an_hour_at_most() {
        let of = |fault, after| left_alone(&VendorError::new(fault).with_retry_after(after).into());
        let second = Duration::from_secs(1);
        assert_eq!(
            of(VendorFault::RateLimited, Some(7 * second)),
            Some((7 * second, Some(Why::Full)))
        );
        assert_eq!(of(VendorFault::RateLimited, None), Some((UNNAMED, None)));
        assert_eq!(of(VendorFault::Quota, Some(second)), Some((ACCOUNT, None)));
        assert_eq!(of(VendorFault::Overloaded, None), None);
        assert_eq!(
            of(VendorFault::Overloaded, Some(second)),
            Some((second, Some(Why::Busy)))
        );
        assert_eq!(of(VendorFault::InvalidRequest, Some(second)), None);

        let state = State::default();
        let since = Instant::now();
        let after = |time| Now::of(since, since + time);
        let rest = |time| state.cooling(after(time)).map(|cooling| cooling.rest);
        let none = Duration::ZERO;
        assert_eq!(rest(none), None);
        state.cool(Duration::MAX, after(none));
        assert_eq!(rest(none), Some(Remedy::LONGEST));
        state.cool(second, after(none));
        let later = Remedy::LONGEST - second;
        assert_eq!(rest(later), Some(second), "the longer time holds");
        assert_eq!(rest(later + second), None);
        state.warm();
        assert_eq!(rest(none), None);
    }

    #[test]
    fn the_time_that_was_named_is_told_with_its_reason() {
        let state = State::default();
        let since = Instant::now();
        let second = Duration::from_secs(1);
        let now = Now::of(since, since);
        let fails = |fault, after| {
            let error = VendorError::new(fault).with_retry_after(after);
            state.failed(&error.into(), second, true, now);
        };
        let named = || state.cooling(now).and_then(|cooling| cooling.named);
        fails(VendorFault::RateLimited, None);
        assert_eq!(state.cooling(now).unwrap().rest, UNNAMED);
        assert_eq!(named(), None);
        fails(VendorFault::Overloaded, Some(second));
        assert_eq!(named(), Some((second, Kind::UpstreamOverloaded)));
        assert_eq!(state.cooling(now).unwrap().rest, UNNAMED);
        fails(VendorFault::RateLimited, Some(2 * second));
        assert_eq!(named(), Some((2 * second, Kind::UpstreamRateLimited)));
        state.cool(3 * second, now);
        assert_eq!(named(), Some((3 * second, Kind::CircuitOpen)));
    }

    #[test]
    fn a_key_is_no_good_when_it_was_refused_twice_in_a_row() {
        let state = State::default();
        let since = Instant::now();
        let now = Now::of(since, since);
        let error = |fault| Error::from(VendorError::new(fault));
        let fails = |fault| state.failed(&error(fault), Duration::ZERO, true, now);
        fails(VendorFault::Auth);
        state.answers(false);
        fails(VendorFault::Quota);
        assert_eq!(state.cooling(now), None);
        fails(VendorFault::Auth);
        assert_eq!(state.cooling(now).unwrap().rest, ACCOUNT);
        state.answers(true);
        assert_eq!(state.cooling(now), None);
    }

    #[test]
    fn what_a_stream_takes_is_its_first_token_and_its_speed() {
        let state = State::default();
        let tick = Tick::of_millis(0);
        assert_eq!(state.latency(true, tick), None);
        state.begun(true, Duration::from_millis(500), tick);
        assert_eq!(state.latency(true, tick), Some(0.5));
        let summary = Summary {
            usage: Some(crate::exchange::Usage::new(1, 129)),
            ..Summary::default()
        };
        state.ended(&summary, Duration::from_secs(1), tick);
        assert_eq!(state.latency(true, tick), Some(2.5));
        assert_eq!(state.latency(false, tick), None);
    }

    #[test]
    fn to_have_waited_in_vain_is_news_only_if_it_was_long() {
        let state = State::default();
        let tick = Tick::of_millis(0);
        let millis = Duration::from_millis;
        state.gave_up(true, millis(900), tick);
        assert_eq!(state.latency(true, tick), None);
        state.gave_up(true, millis(1000), tick);
        assert_eq!(state.latency(true, tick), Some(1.0));
        state.gave_up(true, millis(10), tick);
        assert_eq!(state.latency(true, tick), Some(1.0));
        state.gave_up(true, millis(11_000), tick);
        assert!(state.latency(true, tick) > Some(1.9));
    }
}
