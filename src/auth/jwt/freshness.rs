//! When keys are fetched, and how long they are used. No clock, no lock, no network.

use crate::auth::cache::Digest;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long keys are taken to be fresh, whatever their issuer says.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a name stays unknown that was asked for in vain, and of how many names that is kept.
const UNKNOWN_FOR: Duration = Duration::from_secs(5 * 60);
const MOST_UNKNOWN: usize = 128;
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where the issuer does not say.
    pub(super) lifetime: Duration,
    pub(super) max_stale: Duration,
    pub(super) cooldown: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(10 * 60),
            max_stale: LONGEST,
            cooldown: Duration::from_secs(30),
        }
    }
}

#[derive(Debug)]
pub(super) struct Freshness<K> {
    config: Config,
    good: Option<Good<K>>,
    /// In a row.
    failures: u32,
    not_before: Option<Instant>,
    /// When keys were last fetched for a name that was not known.
    forced: Option<Instant>,
    unknown: HashMap<Digest, Instant>,
}

#[derive(Debug)]
struct Good<K> {
    keys: Arc<K>,
    refresh_at: Instant,
    fresh_until: Instant,
    usable_until: Instant,
}

/// What there is, and what is to be done.
#[derive(Debug)]
pub(super) enum Have<K> {
    Keys(Arc<K>),
    /// The same, and it is time to fetch others behind the back of the call.
    Aging(Arc<K>),
    /// They must be fetched first.
    Fetch,
    /// Nor may they be fetched, for so long.
    Nothing(Duration),
}

/// What becomes of a call whose key is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Keys are fetched for it.
    Fetch,
    /// It has no key.
    Refuse,
    /// It may have one, and the issuer does not tell; ask again later.
    CannotTell(Duration),
}

impl<K> Freshness<K> {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            good: None,
            failures: 0,
            not_before: None,
            forced: None,
            unknown: HashMap::new(),
        }
    }

    /// The last good keys, while they may be used.
    pub(super) fn usable(&self, now: Instant) -> Option<&Arc<K>> {
        let good = self.good.as_ref()?;
        (now < good.usable_until).then_some(&good.keys)
    }

    pub(super) fn have(&self, now: Instant) -> Have<K> {
        let wait = self.wait(now);
        match &self.good {
            Some(good) if now < good.usable_until => {
                let keys = good.keys.clone();
                if now < good.refresh_at || !wait.is_zero() {
                    Have::Keys(keys)
                } else if now < good.fresh_until || self.failures > 0 {
                    // A call waits for an issuer once, and not for one that is known to be down.
                    Have::Aging(keys)
                } else {
                    Have::Fetch
                }
            }
            _ if wait.is_zero() => Have::Fetch,
            _ => Have::Nothing(wait),
        }
    }

    /// How long nothing may be fetched.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.not_before
            .map_or(Duration::ZERO, |then| then.saturating_duration_since(now))
    }

    /// `fetched`: whether keys were fetched for this very call.
    pub(super) fn unknown(&mut self, name: Digest, fetched: bool, now: Instant) -> Unknown {
        if self.failures > 0 {
            let wait = self.wait(now);
            if wait.is_zero() && self.force(now) {
                return Unknown::Fetch;
            }
            return Unknown::CannotTell(wait.max(Duration::from_secs(1)));
        }
        if self.unknown.get(&name).is_some_and(|until| now < *until) {
            return Unknown::Refuse;
        }
        if self.force(now) {
            return Unknown::Fetch;
        }
        if fetched {
            self.remember(name, now);
        }
        Unknown::Refuse
    }

    fn force(&mut self, now: Instant) -> bool {
        let cooling = |then| now < then + self.config.cooldown;
        let may = !self.forced.is_some_and(cooling);
        if may {
            self.forced = Some(now);
        }
        may
    }

    fn remember(&mut self, name: Digest, now: Instant) {
        if self.unknown.len() >= MOST_UNKNOWN {
            self.unknown.retain(|_, until| now < *until);
        }
        if self.unknown.len() >= MOST_UNKNOWN {
            let first = self.unknown.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(name, _)| *name) {
                self.unknown.remove(&first);
            }
        }
        self.unknown.insert(name, now + UNKNOWN_FOR);
    }

    /// Keys came, or the word that those at hand are the same (`None`).
    pub(super) fn succeed(
        &mut self,
        keys: Option<Arc<K>>,
        lifetime: Option<Duration>,
        now: Instant,
    ) {
        self.failures = 0;
        self.not_before = None;
        let last = self.good.take().map(|good| good.keys);
        let lifetime = lifetime.unwrap_or(self.config.lifetime);
        let lifetime = lifetime.clamp(SHORTEST, LONGEST);
        self.good = keys.or(last).map(|keys| Good {
            keys,
            refresh_at: now + lifetime * 4 / 5,
            fresh_until: now + lifetime,
            usable_until: now + lifetime.max(self.config.max_stale),
        });
    }

    /// They did not come. Those at hand stay.
    pub(super) fn fail(&mut self, now: Instant) {
        let wait = Duration::from_secs(1) * 2_u32.saturating_pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + wait.min(LONGEST_WAIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn loaded(now: Instant) -> Freshness<u8> {
        let mut core = Freshness::new(Config::default());
        core.succeed(Some(Arc::new(1)), Some(100 * SECOND), now);
        core
    }

    fn have(core: &Freshness<u8>, now: Instant) -> &'static str {
        match core.have(now) {
            Have::Keys(_) => "keys",
            Have::Aging(_) => "aging",
            Have::Fetch => "fetch",
            Have::Nothing(_) => "nothing",
        }
    }

    #[test]
    fn keys_are_refreshed_behind_the_back_before_they_are_old() {
        let now = Instant::now();
        let core = loaded(now);
        for (after, expected) in [
            (0, "keys"),
            (79, "keys"),
            (80, "aging"),
            (99, "aging"),
            (100, "fetch"),
        ] {
            assert_eq!(have(&core, now + after * SECOND), expected, "{after}");
        }
    }

    #[test]
    fn the_last_good_keys_outlive_their_issuer_for_a_day() {
        let now = Instant::now();
        let mut core = loaded(now);
        core.fail(now + 80 * SECOND);
        assert_eq!(
            have(&core, now + 80 * SECOND),
            "keys",
            "nothing is asked for a second"
        );
        assert_eq!(have(&core, now + 81 * SECOND), "aging");
        for later in 200..300 {
            core.fail(now + later * SECOND);
        }
        let then = now + 300 * SECOND;
        assert_eq!(core.wait(then), 59 * SECOND, "a minute at the most");
        assert_eq!(have(&core, then), "keys");
        assert_eq!(have(&core, now + LONGEST - SECOND), "aging", "nobody waits");
        assert_eq!(have(&core, now + LONGEST), "fetch");
    }

    #[test]
    fn without_keys_there_is_nothing_until_it_may_be_tried_again() {
        let now = Instant::now();
        let mut core = Freshness::<u8>::new(Config::default());
        assert_eq!(have(&core, now), "fetch");
        core.fail(now);
        assert_eq!(have(&core, now), "nothing");
        assert_eq!(have(&core, now + SECOND), "fetch");
        core.fail(now + SECOND);
        assert_eq!(core.wait(now + SECOND), 2 * SECOND);
    }

    #[test]
    fn lifetimes_are_a_minute_to_a_day_whatever_an_issuer_says() {
        let now = Instant::now();
        for (said, meant) in [(0, 60), (59, 60), (61, 61), (10_000_000, 86_400)] {
            let mut core = loaded(now);
            core.succeed(None, Some(said * SECOND), now);
            assert_eq!(have(&core, now + (meant - 1) * SECOND), "aging", "{said}");
            let keeps = core.good.as_ref().unwrap().fresh_until;
            assert_eq!(keeps, now + meant * SECOND, "{said}");
        }
    }

    #[test]
    fn a_storm_of_unknown_names_fetches_once_in_half_a_minute() {
        let now = Instant::now();
        let mut core = loaded(now);
        let name = |n: u32| {
            let mut name = [0; 32];
            name[..4].copy_from_slice(&n.to_be_bytes());
            name
        };
        let mut fetched = 0;
        for n in 0..60_000_u32 {
            let at = now + Duration::from_millis(n.into());
            if core.unknown(name(n), false, at) == Unknown::Fetch {
                fetched += 1;
                core.succeed(None, None, at);
                assert_eq!(core.unknown(name(n), true, at), Unknown::Refuse);
            } else {
                core.unknown(name(n), true, at);
            }
        }
        assert_eq!(fetched, 2);
        assert_eq!(core.unknown.len(), MOST_UNKNOWN);
        let later = now + 100 * SECOND;
        assert_eq!(
            core.unknown(name(0), false, later),
            Unknown::Fetch,
            "it was forgotten"
        );
        assert_eq!(
            core.unknown(name(59_999), false, later + 31 * SECOND),
            Unknown::Refuse
        );
        assert_eq!(
            core.unknown(name(59_999), false, later + 600 * SECOND),
            Unknown::Fetch
        );
    }

    #[test]
    fn while_an_issuer_is_down_nobody_can_say_that_a_name_is_unknown() {
        let now = Instant::now();
        let mut core = loaded(now);
        assert_eq!(core.unknown([1; 32], false, now), Unknown::Fetch);
        core.fail(now);
        assert_eq!(
            core.unknown([1; 32], true, now),
            Unknown::CannotTell(SECOND)
        );
        assert_eq!(
            core.unknown([2; 32], false, now + 31 * SECOND),
            Unknown::Fetch
        );
        core.succeed(Some(Arc::new(2)), None, now + 31 * SECOND);
        assert_eq!(
            core.unknown([2; 32], true, now + 31 * SECOND),
            Unknown::Refuse
        );
    }
}
