//! When keys are fetched, and how long they are used. No clock, no lock, no network.

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long keys are taken to be fresh, whatever their issuer says.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
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
            cooldown: Duration::from_secs(10),
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
    /// How often the issuer was asked.
    asked: u64,
    /// The last time, counted so, that it answered with all that it says. What is published since is not
    /// known.
    answered: u64,
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
            asked: 0,
            answered: 0,
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

    /// How often the issuer was asked before now: when a call came, for [`unknown`](Self::unknown).
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// The issuer is asked, for the how manieth time.
    pub(super) fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// `came`: how often the issuer had been asked when the call did. Only what it was asked since can say
    /// that there is no such key: it may be as new as the call, whatever was said of its name before.
    pub(super) fn unknown(&mut self, came: u64, now: Instant) -> Unknown {
        if came < self.answered {
            return Unknown::Refuse;
        }
        let rest = self.rest(now).max(self.wait(now));
        if rest.is_zero() {
            self.forced = Some(now);
            return Unknown::Fetch;
        }
        Unknown::CannotTell(rest.max(Duration::from_secs(1)))
    }

    /// How long nothing may be fetched for a name that is not known.
    fn rest(&self, now: Instant) -> Duration {
        let over = self.forced.map(|then| then + self.config.cooldown);
        over.map_or(Duration::ZERO, |over| over.saturating_duration_since(now))
    }

    /// Keys came, or the word that those at hand are the same (`None`). `whole`: the how manieth time
    /// it was, if the issuer was asked for all else that it says, too.
    pub(super) fn succeed(
        &mut self,
        keys: Option<Arc<K>>,
        lifetime: Option<Duration>,
        whole: Option<u64>,
        now: Instant,
    ) {
        self.answered = whole.map_or(self.answered, |nth| nth.max(self.answered));
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
        core.succeed(Some(Arc::new(1)), Some(100 * SECOND), None, now);
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
            core.succeed(None, Some(said * SECOND), None, now);
            assert_eq!(have(&core, now + (meant - 1) * SECOND), "aging", "{said}");
            let keeps = core.good.as_ref().unwrap().fresh_until;
            assert_eq!(keeps, now + meant * SECOND, "{said}");
        }
    }

    #[test]
    fn a_storm_of_unknown_names_fetches_once_in_ten_seconds() {
        let now = Instant::now();
        let mut core = loaded(now);
        let (mut fetched, mut refused) = (0, 0);
        for n in 1..=60_000_u32 {
            let at = now + Duration::from_millis(n.into());
            let came = core.asked();
            match core.unknown(came, at) {
                Unknown::Fetch => {
                    fetched += 1;
                    let nth = core.ask();
                    core.succeed(None, None, Some(nth), at);
                    assert_eq!(core.unknown(came, at), Unknown::Refuse);
                }
                Unknown::Refuse => refused += 1,
                Unknown::CannotTell(rest) => assert!(rest <= 10 * SECOND),
            }
        }
        assert_eq!((fetched, refused), (6, 0));
    }

    #[test]
    fn what_was_asked_before_a_call_came_does_not_say_that_it_has_no_key() {
        let now = Instant::now();
        let mut core = loaded(now);
        let early = core.asked();
        assert_eq!(core.unknown(early, now), Unknown::Fetch);
        let nth = core.ask();
        // It joined a flight that was under way.
        let late = core.asked();
        let then = now + 2 * SECOND;
        core.succeed(None, None, Some(nth), then);
        assert_eq!(core.unknown(early, then), Unknown::Refuse);
        assert_eq!(core.unknown(late, then), Unknown::CannotTell(8 * SECOND));
        let then = now + 10 * SECOND;
        assert_eq!(core.unknown(late, then), Unknown::Fetch);
        core.ask();
        core.succeed(None, None, None, then);
        assert_ne!(core.unknown(late, then), Unknown::Refuse, "by hearsay");
        let nth = core.ask();
        core.succeed(None, None, Some(nth), then);
        assert_eq!(core.unknown(late, then), Unknown::Refuse);
    }

    #[test]
    fn while_an_issuer_is_down_nobody_can_say_that_a_name_is_unknown() {
        let now = Instant::now();
        let mut core = loaded(now);
        let at = |seconds: u32| now + seconds * SECOND;
        let came = core.asked();
        assert_eq!(core.unknown(came, at(1)), Unknown::Fetch);
        core.ask();
        core.fail(at(1));
        assert_eq!(core.unknown(came, at(1)), Unknown::CannotTell(10 * SECOND));
        assert_eq!(core.unknown(came, at(10)), Unknown::CannotTell(SECOND));
        assert_eq!(core.unknown(came, at(11)), Unknown::Fetch);
        let nth = core.ask();
        core.succeed(Some(Arc::new(2)), None, Some(nth), at(11));
        assert_eq!(core.unknown(came, at(11)), Unknown::Refuse);
    }
}
