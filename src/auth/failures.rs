//! How often an address may show keys that are wrong.

use crate::{Rejection, rejection::Kind};
use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How many wrong keys an address may show in a window of time, before it hears 429 in the place of 401.
///
/// See the [module docs](super#wrong-keys) for what then happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimit {
    failures: u32,
    window: Duration,
    max_addresses: usize,
    strict: bool,
}

impl FailureLimit {
    /// So many in a minute. Of at most 10,000 addresses at once; a good key still lets in, if the
    /// authenticator knows it without waiting.
    #[must_use]
    pub fn per_minute(failures: u32) -> Self {
        Self {
            failures,
            window: Duration::from_secs(60),
            max_addresses: 10_000,
            strict: false,
        }
    }

    /// Sets how long failures count, from the first on. At most a day.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Sets of how many addresses failures are counted at once, at some 60 bytes each. All others share
    /// one count.
    #[must_use]
    pub fn max_addresses(mut self, addresses: usize) -> Self {
        self.max_addresses = addresses;
        self
    }

    /// Refuses good keys too while an address is over its limit, so that nobody there learns whether
    /// one is good. For keys that people choose. Whoever shares an address with such a caller is locked
    /// out with it: be sure that [`ClientAddr`](crate::client_addr::ClientAddr) is not a proxy's.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }
}

/// Twenty in a minute.
impl Default for FailureLimit {
    fn default() -> Self {
        Self::per_minute(20)
    }
}

/// The failures that count, by address. Nothing is kept of those who show good keys.
pub(super) struct Failures {
    pub(super) limit: FailureLimit,
    counts: Mutex<Counts>,
}

impl Failures {
    pub(super) fn new(limit: FailureLimit) -> Self {
        Self {
            limit,
            counts: Mutex::default(),
        }
    }

    /// Whether the address has used up its failures.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Rejection> {
        let now = Instant::now();
        let counts = self.lock();
        match counts.over(&self.limit, address, now) {
            Some(until) => Err(refusal(until, now)),
            None => Ok(()),
        }
    }

    /// Counts a wrong key, if the address had any left.
    pub(super) fn fail(&self, address: IpAddr) -> Result<(), Rejection> {
        let now = Instant::now();
        match self.lock().fail(&self.limit, address, now) {
            Some(until) => Err(refusal(until, now)),
            None => Ok(()),
        }
    }

    /// Of how many addresses there is a count, which may be over.
    pub(super) fn addresses(&self) -> usize {
        self.lock().counts.len()
    }

    // Counts are valid after every statement, whoever panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures")
            .field("limit", &self.limit)
            .field("addresses", &self.addresses())
            .finish()
    }
}

fn refusal(until: Instant, now: Instant) -> Rejection {
    Rejection::new(Kind::RateLimited)
        .with_detail("Too many invalid credentials from this address.")
        .for_abnormal_usage()
        .with_retry_after(until - now)
}

/// How many failures there were since the first.
#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    until: Instant,
}

/// The core: no clock, no lock.
#[derive(Debug, Default)]
struct Counts {
    counts: HashMap<IpAddr, Count>,
    /// Of all addresses for which there is no room.
    others: Option<Count>,
    swept: Option<Instant>,
}

impl Counts {
    /// Until when the address has no failure left.
    fn over(&self, limit: &FailureLimit, address: IpAddr, now: Instant) -> Option<Instant> {
        let count = match self.counts.get(&address) {
            Some(count) => count,
            None if self.counts.len() < limit.max_addresses => return None,
            None => self.others.as_ref()?,
        };
        (now < count.until && count.failures >= limit.failures).then_some(count.until)
    }

    /// Counts one more, unless there is none left.
    fn fail(&mut self, limit: &FailureLimit, address: IpAddr, now: Instant) -> Option<Instant> {
        let fresh = Count {
            failures: 0,
            until: now + limit.window,
        };
        if !self.counts.contains_key(&address) {
            self.make_room(limit, now);
        }
        let has_room = self.counts.len() < limit.max_addresses;
        let count = match self.counts.get_mut(&address) {
            Some(count) => count,
            None if has_room => self.counts.entry(address).or_insert(fresh),
            None => self.others.get_or_insert(fresh),
        };
        if now >= count.until {
            *count = fresh;
        }
        if count.failures >= limit.failures {
            return Some(count.until);
        }
        count.failures += 1;
        None
    }

    /// Forgets what does not count any more: once in a window, and when there is no room once a second.
    fn make_room(&mut self, limit: &FailureLimit, now: Instant) {
        let full = self.counts.len() >= limit.max_addresses;
        let often = if full {
            Duration::from_secs(1).min(limit.window)
        } else {
            limit.window
        };
        let swept = *self.swept.get_or_insert(now);
        if now - swept < often {
            return;
        }
        self.swept = Some(now);
        self.counts.retain(|_, count| now < count.until);
        // After a flood, the memory too.
        if self.counts.len() < self.counts.capacity() / 8 {
            self.counts.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: FailureLimit = FailureLimit {
        failures: 2,
        window: Duration::from_secs(60),
        max_addresses: 3,
        strict: false,
    };

    #[test]
    fn it_is_refused_for_what_it_does_and_not_for_how_much() {
        let now = Instant::now();
        assert!(refusal(now + LIMIT.window, now).is_for_abnormal_usage());
    }

    fn address(last: u32) -> IpAddr {
        IpAddr::from(last.to_be_bytes())
    }

    #[test]
    fn a_window_begins_with_its_first_failure_and_forgets_all_at_once() {
        let mut counts = Counts::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(counts.over(&LIMIT, address(1), start), None);
        for (second, until) in [
            (0, None),
            (59, None),
            (59, Some(at(60))),
            (60, None),
            (61, None),
            (62, Some(at(120))),
        ] {
            let told = counts.fail(&LIMIT, address(1), at(second));
            assert_eq!(told, until, "{second}");
        }
        assert_eq!(counts.over(&LIMIT, address(1), at(119)), Some(at(120)));
        assert_eq!(counts.over(&LIMIT, address(1), at(120)), None);
        assert_eq!(counts.over(&LIMIT, address(2), at(119)), None);
    }

    #[test]
    fn abuse_42_a_flood_of_addresses_shares_one_count_and_leaves_nothing() {
        let mut counts = Counts::default();
        let start = Instant::now();
        for last in 0..3 {
            assert_eq!(counts.fail(&LIMIT, address(last), start), None);
        }
        let mut refused = 0;
        for last in 3..100_000 {
            refused += usize::from(counts.fail(&LIMIT, address(last), start).is_some());
        }
        assert_eq!((counts.counts.len(), refused), (3, 100_000 - 3 - 2));
        assert!(counts.over(&LIMIT, address(7_000_000), start).is_some());
        assert_eq!(counts.fail(&LIMIT, address(0), start), None, "its own");

        let later = start + LIMIT.window;
        assert_eq!(counts.fail(&LIMIT, address(7_000_000), later), None);
        assert_eq!(counts.counts.len(), 1, "there is room again");
    }

    #[test]
    fn no_room_at_all_is_one_count() {
        let limit = LIMIT.max_addresses(0);
        let mut counts = Counts::default();
        let now = Instant::now();
        for (last, refused) in [(1, false), (2, false), (3, true)] {
            assert_eq!(counts.fail(&limit, address(last), now).is_some(), refused);
        }
    }
}
