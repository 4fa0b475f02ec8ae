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
    /// Until when it is left alone, in milliseconds since the pool was made.
    cooling: AtomicU64,
    pub(super) drained: AtomicBool,
    /// What the catalog has of it, once someone looked.
    pub(super) known: OnceLock<Option<Known>>,
}

impl State {
    /// How long it is left alone yet. `None`: it is not.
    pub(super) fn cooling(&self, since: Instant, now: Instant) -> Option<Duration> {
        match self.cooling.load(Ordering::Relaxed) {
            0 => None,
            until => Duration::from_millis(until)
                .checked_sub(now.saturating_duration_since(since))
                .filter(|rest| !rest.is_zero()),
        }
    }

    /// Leaves it alone for so long, or for longer if that was said before.
    pub(super) fn cool(&self, time: Duration, since: Instant, now: Instant) {
        let until = now.saturating_duration_since(since) + time.min(Remedy::LONGEST);
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.cooling.fetch_max(until.max(1), Ordering::Relaxed);
    }

    pub(super) fn warm(&self) {
        self.cooling.store(0, Ordering::Relaxed);
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
            // It would have taken longer than that.
            self.begun(streams, after, now.tick());
        }
        if let Some(time) = left_alone(error) {
            self.cool(time, now.since, now.now);
        }
    }
}

/// The time, and since when the pool counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) since: Instant,
    pub(super) now: Instant,
}

impl Now {
    pub(super) fn tick(self) -> Tick {
        Tick::of(self.since, self.now)
    }
}

/// How long one is left alone that has failed so. `None`: that is for its circuit to say.
fn left_alone(error: &Error) -> Option<Duration> {
    let named = match error {
        Error::Vendor(error) => {
            let limits = error.limits().and_then(|limits| limits.exhausted_for());
            match error.fault() {
                VendorFault::RateLimited => error.retry_after().or(limits).or(Some(UNNAMED)),
                VendorFault::Auth | VendorFault::Quota => Some(ACCOUNT),
                fault if fault.concerns_caller() => None,
                _ => error.retry_after(),
            }
        }
        Error::Rejected(rejection) => match rejection.kind() {
            Kind::UpstreamRateLimited => rejection.retry_after().or(Some(UNNAMED)),
            Kind::UpstreamAuth | Kind::UpstreamQuota => Some(ACCOUNT),
            Kind::UpstreamOverloaded => rejection.retry_after(),
            _ => None,
        },
    };
    named.filter(|time| !time.is_zero())
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
            Some(7 * second)
        );
        assert_eq!(of(VendorFault::RateLimited, None), Some(UNNAMED));
        assert_eq!(of(VendorFault::Quota, Some(second)), Some(ACCOUNT));
        assert_eq!(of(VendorFault::Overloaded, None), None);
        assert_eq!(of(VendorFault::Overloaded, Some(second)), Some(second));
        assert_eq!(of(VendorFault::InvalidRequest, Some(second)), None);

        let state = State::default();
        let since = Instant::now();
        assert_eq!(state.cooling(since, since), None);
        state.cool(Duration::MAX, since, since);
        assert_eq!(state.cooling(since, since), Some(Remedy::LONGEST));
        state.cool(second, since, since);
        let later = since + Remedy::LONGEST - second;
        assert_eq!(
            state.cooling(since, later),
            Some(second),
            "the longer time holds"
        );
        assert_eq!(state.cooling(since, later + second), None);
        state.warm();
        assert_eq!(state.cooling(since, since), None);
    }

    #[test]
    fn what_a_stream_takes_is_its_first_token_and_its_speed() {
        let state = State::default();
        let tick = Tick::of(Instant::now(), Instant::now());
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
}
