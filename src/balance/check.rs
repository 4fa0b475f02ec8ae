//! Asking endpoints how they are.

use super::{
    Endpoints, LONGEST,
    endpoint::Endpoint,
    pick::Dice,
    set::{Entry, Shared},
};
use crate::BoxError;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    pin::Pin,
    sync::Weak,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

/// How often endpoints are asked, and what is made of what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    interval: Duration,
    timeout: Duration,
    healthy: u32,
    unhealthy: u32,
    initially_healthy: bool,
}

impl Checks {
    /// Every 5 to 10 seconds, at random so that not all are asked at once. No answer within 2 seconds is a
    /// bad one. Two good ones in a row bring an endpoint in, three bad ones take it out; one that was never
    /// asked is in.
    #[must_use]
    pub fn new() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            healthy: 2,
            unhealthy: 3,
            initially_healthy: true,
        }
    }

    /// Sets how long it is to the next check at the most; it is half of this at the least. At least two
    /// milliseconds, a year at most.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        let interval = interval.clamp(Duration::from_millis(2), LONGEST);
        Self { interval, ..self }
    }

    /// Sets how long a check may take. Half of the interval at the most.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets how many good checks in a row bring an endpoint in. Zero is taken as one.
    #[must_use]
    pub fn healthy(self, checks: u32) -> Self {
        let healthy = checks.max(1);
        Self { healthy, ..self }
    }

    /// Sets how many bad checks in a row take an endpoint out. Zero is taken as one.
    #[must_use]
    pub fn unhealthy(self, checks: u32) -> Self {
        let unhealthy = checks.max(1);
        Self { unhealthy, ..self }
    }

    /// Keeps endpoints out until their first check went well. One is enough then.
    #[must_use]
    pub fn initially_unhealthy(self) -> Self {
        let initially_healthy = false;
        Self {
            initially_healthy,
            ..self
        }
    }

    fn allowed(&self) -> Duration {
        self.timeout.min(self.interval / 2)
    }

    /// When the next one is due after one that began `now`.
    fn next(&self, now: Instant, dice: &mut Dice) -> Instant {
        now + self.interval.mul_f64(0.5 + 0.5 * dice.unit())
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self::new()
    }
}

/// What the checks of one endpoint said.
#[derive(Debug, Default)]
pub(super) struct Streak {
    unwell: bool,
    in_a_row: u32,
    last: Option<(Instant, bool)>,
}

impl Streak {
    pub(super) fn is_well(&self) -> bool {
        !self.unwell
    }

    pub(super) fn last(&self) -> Option<(Instant, bool)> {
        self.last
    }

    /// Keeps it out that was never asked.
    fn doubt(&mut self, rules: &Checks) {
        if self.last.is_none() && !rules.initially_healthy {
            self.unwell = true;
        }
    }

    fn record(&mut self, well: bool, rules: &Checks, now: Instant) {
        let first = self.last.is_none();
        self.last = Some((now, well));
        if well != self.unwell {
            self.in_a_row = 0;
            return;
        }
        self.in_a_row += 1;
        let enough = match well {
            true if first => 1,
            true => rules.healthy,
            false => rules.unhealthy,
        };
        if self.in_a_row >= enough {
            self.unwell = !well;
            self.in_a_row = 0;
        }
    }
}

type Probe = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// One endpoint that is asked now and then.
struct Asked {
    timer: Pin<Box<Sleep>>,
    /// Since when it is being asked.
    probe: Option<(Instant, Probe)>,
}

impl<S: Clone + Send + 'static> Endpoints<S> {
    /// Asks all endpoints now and then how they are, by `probe`: any protocol will do. It is given a clone
    /// of the endpoint's service, which it may ask, once that is ready, or leave alone.
    ///
    /// An endpoint that answers well is in from then on, even if it was [taken out](super::Outlier) for its
    /// answers, and those are forgotten. One that does not is out after [three](Checks::unhealthy) checks.
    ///
    /// The future does the work and must be spawned. It ends when the last handle and the last balancer of
    /// the set are dropped.
    pub fn check<F, Fut>(
        &self,
        checks: Checks,
        probe: F,
    ) -> impl Future<Output = ()> + Send + use<S, F, Fut>
    where
        F: Fn(&Endpoint, S) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let changes = self.shared().changes();
        let shared = self.downgrade();
        let mut checker = Checker {
            shared,
            checks,
            probe: move |endpoint: &Endpoint, service| -> Probe {
                Box::pin(probe(endpoint, service))
            },
            asked: BTreeMap::new(),
            dice: Dice::new(RandomState::new().hash_one(())),
        };
        async move {
            let mut changed = Box::pin(changed(changes));
            checker.meet();
            poll_fn(move |cx| {
                while let Poll::Ready(news) = changed.as_mut().poll(cx) {
                    let Some(changes) = news else {
                        return Poll::Ready(());
                    };
                    changed.set(self::changed(changes));
                    checker.meet();
                }
                checker.poll(cx)
            })
            .await;
        }
    }
}

/// Waits for the next change. `None`: there will be none.
pub(super) async fn changed(mut changes: watch::Receiver<()>) -> Option<watch::Receiver<()>> {
    changes.changed().await.ok().map(|()| changes)
}

struct Checker<S, F> {
    shared: Weak<Shared<S>>,
    checks: Checks,
    probe: F,
    asked: BTreeMap<NonZeroU64, Asked>,
    dice: Dice,
}

impl<S: Clone, F: Fn(&Endpoint, S) -> Probe> Checker<S, F> {
    /// Takes in who is new, and lets go of who is not there any more.
    fn meet(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut doubted = false;
        let mut set = shared.lock();
        let ids: Vec<_> = set.entries.iter().map(|entry| entry.node.id).collect();
        self.asked.retain(|id, _| ids.contains(id));
        for entry in &mut set.entries {
            self.asked.entry(entry.node.id).or_insert_with(|| {
                entry.condition.streak.doubt(&self.checks);
                doubted |= !entry.condition.streak.is_well();
                // The first ones are spread over a tenth of an interval.
                let first = self.checks.interval.mul_f64(0.1 * self.dice.unit());
                let timer = Box::pin(sleep_until(now + first));
                Asked { timer, probe: None }
            });
        }
        drop(set);
        if doubted {
            shared.revise();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut told = Vec::new();
        for (&id, asked) in &mut self.asked {
            while let Poll::Ready(well) = asked.poll(cx, &self.checks) {
                match well {
                    Some(well) => {
                        told.push((id, well));
                        asked
                            .timer
                            .as_mut()
                            .reset(self.checks.next(Instant::now(), &mut self.dice));
                    }
                    None => {
                        let Some(shared) = self.shared.upgrade() else {
                            return Poll::Ready(());
                        };
                        let Some((endpoint, service)) = shared.to_ask(id) else {
                            break;
                        };
                        let now = Instant::now();
                        asked.probe = Some((now, (self.probe)(&endpoint, service)));
                        asked.timer.as_mut().reset(now + self.checks.allowed());
                    }
                }
            }
        }
        if told.is_empty() {
            return Poll::Pending;
        }
        let Some(shared) = self.shared.upgrade() else {
            return Poll::Ready(());
        };
        for (id, well) in told {
            shared.checked(id, well, &self.checks);
        }
        Poll::Pending
    }
}

impl Asked {
    /// What was found out. `None`: it is time to ask.
    fn poll(&mut self, cx: &mut Context<'_>, checks: &Checks) -> Poll<Option<bool>> {
        let Some((_, probe)) = &mut self.probe else {
            ready!(self.timer.as_mut().poll(cx));
            return Poll::Ready(None);
        };
        let well = match probe.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a check went wrong");
                false
            }
            Poll::Pending => {
                ready!(self.timer.as_mut().poll(cx));
                let millis = checks.allowed().as_millis();
                tracing::debug!(millis, "a check took too long");
                false
            }
        };
        self.probe = None;
        Poll::Ready(Some(well))
    }
}

impl<S> Shared<S> {
    fn to_ask(&self, id: NonZeroU64) -> Option<(Endpoint, S)>
    where
        S: Clone,
    {
        let set = self.lock();
        let entry = set.entries.iter().find(|entry| entry.node.id == id)?;
        Some((entry.endpoint.clone(), entry.node.service()))
    }

    fn checked(&self, id: NonZeroU64, well: bool, checks: &Checks) {
        let now = Instant::now();
        let mut set = self.lock();
        let Some(entry) = set.entries.iter_mut().find(|entry| entry.node.id == id) else {
            return;
        };
        entry.checked(well, checks, now);
        self.settle(&mut set, now);
    }
}

impl<S> Entry<S> {
    fn checked(&mut self, well: bool, checks: &Checks, now: Instant) {
        self.condition.streak.record(well, checks, now);
        if well && self.condition.came_back() {
            self.node.tally().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_good_ones_bring_in_and_three_bad_ones_take_out() {
        let now = Instant::now();
        let rules = Checks::new();
        let mut streak = Streak::default();
        let mut said = |all: &[bool]| {
            for &well in all {
                streak.record(well, &rules, now);
            }
            streak.is_well()
        };
        assert!(said(&[false, false, true, false, false]));
        assert!(!said(&[false]));
        assert!(!said(&[true, false, true]));
        assert!(said(&[true]));
    }

    #[test]
    fn whoever_was_never_asked_may_be_kept_out_until_one_good_answer() {
        let now = Instant::now();
        let rules = Checks::new().initially_unhealthy();
        let mut streak = Streak::default();
        streak.doubt(&rules);
        assert!(!streak.is_well());
        streak.record(true, &rules, now);
        assert!(streak.is_well());
        let mut streak = Streak::default();
        streak.doubt(&rules);
        streak.record(false, &rules, now);
        streak.record(true, &rules, now);
        assert!(!streak.is_well(), "it was asked, and two are needed");
        streak.record(true, &rules, now);
        assert!(streak.is_well());
    }

    #[test]
    fn intervals_differ_and_a_check_ends_before_the_next() {
        let now = Instant::now();
        let rules = Checks::new().timeout(Duration::from_secs(60));
        assert_eq!(rules.allowed(), Duration::from_secs(5));
        let mut dice = Dice::new(1);
        for _ in 0..100 {
            let wait = rules.next(now, &mut dice) - now;
            assert!(wait >= Duration::from_secs(5) && wait <= Duration::from_secs(10));
        }
    }
}
