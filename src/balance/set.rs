//! The set as it lives: whoever changes it makes another view of it.

use super::{
    condition::{Condition, Out, State, Status},
    endpoint::{Common, Endpoint, Node, PerLevel, Permit},
    outlier::Cause,
    pick::{Dice, GOLDEN, Level, PeakEwma, Ring, Share, mix},
    rules::{Rules, Strategy},
    view::{Choice, LevelView, Member, Picker, View},
};
use crate::deadline::Tried;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// How long an endpoint rests that refuses a call and does not say for how long.
const UNTOLD: Duration = Duration::from_secs(1);

/// The most endpoints of a set.
pub(super) const MOST: usize = 4096;

pub(super) struct Shared<S> {
    pub(super) common: Arc<Common>,
    set: Mutex<Set<S>>,
    view: RwLock<Arc<View<S>>>,
    epoch: Instant,
    /// When the view is to be looked after, in nanoseconds since the epoch.
    due: AtomicU64,
    turns: PerLevel,
    dice: AtomicU64,
    /// Tells of changes, and by its end that nobody is left who uses the set.
    changes: watch::Sender<()>,
}

pub(super) struct Set<S> {
    pub(super) entries: Vec<Entry<S>>,
    /// That of each priority.
    rings: BTreeMap<u8, (MadeOf, Arc<Ring>)>,
    /// When rates were last looked at.
    swept: Instant,
}

/// The names and the weights that a ring was made of.
type MadeOf = Vec<(Arc<str>, u32)>;

pub(super) struct Entry<S> {
    pub(super) endpoint: Endpoint,
    pub(super) node: Arc<Node<S>>,
    pub(super) condition: Condition,
}

impl<S> Shared<S> {
    pub(super) fn new(rules: Rules) -> Self {
        let now = Instant::now();
        let seed = rules.seeded();
        let ewma = PeakEwma::new(now).decay(rules.forgets_over());
        let common = Common {
            rules,
            ewma,
            out: PerLevel::default(),
        };
        Self {
            common: Arc::new(common),
            set: Mutex::new(Set {
                entries: Vec::new(),
                rings: BTreeMap::new(),
                swept: now,
            }),
            view: RwLock::new(Arc::new(View {
                levels: Box::default(),
                shares: Box::default(),
                retired: AtomicBool::new(false),
            })),
            epoch: now,
            due: AtomicU64::new(u64::MAX),
            turns: PerLevel::default(),
            dice: AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(()))),
            changes: watch::Sender::new(()),
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Chooses an endpoint and counts a call out at it. `cache` is the view that was used last.
    pub(super) fn pick(
        &self,
        cache: &mut Weak<View<S>>,
        key: Option<u64>,
        tried: Option<&Tried>,
    ) -> Option<Permit<S>> {
        let now = Instant::now();
        if self.nanos(now) >= self.due.load(Ordering::Relaxed) {
            self.look_after(now);
        }
        let view = match cache.upgrade() {
            Some(view) if !view.retired.load(Ordering::Acquire) => view,
            _ => {
                let view = self.view();
                *cache = Arc::downgrade(&view);
                view
            }
        };
        let seed = self.dice.fetch_add(GOLDEN, Ordering::Relaxed);
        let permit = view.pick(Choice {
            common: &self.common,
            turns: &self.turns,
            dice: Dice::new(mix(seed)),
            key,
            tried,
            now,
        })?;
        if let Some(tried) = tried {
            tried.note(permit.node().id);
        }
        Some(permit)
    }

    /// How long the slowest of those takes of whom something is known.
    pub(super) fn slowest(&self, now: Instant) -> Option<Duration> {
        let view = self.view();
        let members = view.levels.iter().flat_map(|level| &level.members);
        let known = |member: &Member<S>| self.common.ewma.read(member.node.latency(), now);
        members.filter_map(known).max()
    }

    fn view(&self) -> Arc<View<S>> {
        self.view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    // Whoever panicked with the lock left a valid set: it is one after every statement.
    pub(super) fn lock(&self) -> MutexGuard<'_, Set<S>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        nanos.try_into().unwrap_or(u64::MAX)
    }

    /// Does what is due, unless another call does.
    fn look_after(&self, now: Instant) {
        if let Ok(mut set) = self.set.try_lock() {
            self.settle(&mut set, now);
        }
    }

    /// Changes the set.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Set<S>, Instant) -> T) -> T {
        let now = Instant::now();
        let mut set = self.lock();
        let changed = change(&mut set, now);
        self.settle_and_publish(&mut set, now);
        drop(set);
        self.changes.send_replace(());
        changed
    }

    /// Looks at everything again.
    pub(super) fn revise(&self) {
        let now = Instant::now();
        self.settle_and_publish(&mut self.lock(), now);
    }

    /// Takes an endpoint out, if one more may be.
    pub(super) fn eject(&self, id: NonZeroU64, cause: Cause, now: Instant) {
        let mut set = self.lock();
        let entry = set.entries.iter().position(|entry| entry.node.id == id);
        if entry.is_some_and(|at| self.take_out(&mut set, at, cause, now)) {
            self.settle_and_publish(&mut set, now);
        }
    }

    fn take_out(&self, set: &mut Set<S>, at: usize, cause: Cause, now: Instant) -> bool {
        let Some(rules) = self.common.rules.outlier_rules() else {
            return false;
        };
        let out = set
            .entries
            .iter()
            .filter(|entry| entry.condition.out.is_some());
        let may = rules.may(out.count(), set.entries.len());
        let entry = &mut set.entries[at];
        let name = &*entry.endpoint.name().clone();
        if entry.condition.out.is_some() || entry.condition.draining {
            return false;
        }
        if !may {
            tracing::debug!(endpoint = name, %cause, "too many endpoints are out for one more");
            return false;
        }
        let term = rules.term(entry.condition.times);
        entry.condition.out = Some(Out::Until(now + term, cause));
        entry.condition.times = entry.condition.times.saturating_add(1);
        entry.condition.ejections = entry.condition.ejections.saturating_add(1);
        entry.node.tally().clear();
        let seconds = term.as_secs();
        tracing::warn!(endpoint = name, %cause, seconds, "an endpoint is taken out");
        true
    }

    /// Lets an endpoint rest that asked for it, or refused and did not say until when.
    pub(super) fn rest(&self, id: NonZeroU64, told: Option<Duration>, now: Instant) {
        let after = told.unwrap_or(UNTOLD).min(self.common.rules.rest());
        if after.is_zero() {
            return;
        }
        let mut set = self.lock();
        let Some(entry) = set.entries.iter_mut().find(|entry| entry.node.id == id) else {
            return;
        };
        let until = now + after;
        let longer = |before| match told {
            Some(_) => before < until,
            // Where all rest, each refusal would begin it anew.
            None => before <= now,
        };
        if entry.condition.resting.is_none_or(longer) {
            entry.condition.resting = Some(until);
            self.settle(&mut set, now);
        }
    }

    /// Lets go of what is over, looks at rates when it is time, and makes another view if it has to.
    pub(super) fn settle(&self, set: &mut Set<S>, now: Instant) {
        let mut changed = self.sweep(set, now);
        for entry in &mut set.entries {
            changed |= entry.settle(now);
        }
        let slow = self.common.rules.slow();
        let grows = slow.is_some_and(|slow| {
            let still = |entry: &Entry<S>| entry.age(now) <= slow.window() + step(slow.window());
            set.entries.iter().any(still)
        });
        if changed || grows {
            self.publish(set, now);
        }
        self.due.store(self.next(set, now), Ordering::Relaxed);
    }

    fn settle_and_publish(&self, set: &mut Set<S>, now: Instant) {
        self.sweep(set, now);
        for entry in &mut set.entries {
            entry.settle(now);
        }
        self.publish(set, now);
        self.due.store(self.next(set, now), Ordering::Relaxed);
    }

    /// When something may change by itself.
    fn next(&self, set: &Set<S>, now: Instant) -> u64 {
        let ends = set.entries.iter().filter_map(|entry| entry.condition.due());
        let sweep = self
            .common
            .rules
            .outlier_rules()
            .map(|rules| set.swept + rules.every());
        let grows = self.common.rules.slow().and_then(|slow| {
            let step = step(slow.window());
            let grows = |entry: &Entry<S>| entry.age(now) <= slow.window();
            set.entries.iter().any(grows).then(|| now + step)
        });
        let next = ends.chain(sweep).chain(grows).min();
        next.map_or(u64::MAX, |next| self.nanos(next))
    }

    /// Looks at the rates of an interval, when it is over.
    fn sweep(&self, set: &mut Set<S>, now: Instant) -> bool {
        let Some(rules) = self.common.rules.outlier_rules() else {
            return false;
        };
        let over = now.saturating_duration_since(set.swept).as_nanos() / rules.every().as_nanos();
        if over == 0 {
            return false;
        }
        set.swept = now;
        let over = u32::try_from(over).unwrap_or(u32::MAX);
        for entry in set
            .entries
            .iter_mut()
            .filter(|entry| entry.condition.out.is_none())
        {
            entry.condition.times = entry.condition.times.saturating_sub(over);
        }
        let rates: Vec<_> = set
            .entries
            .iter()
            .map(|entry| entry.node.tally().take())
            .collect();
        let mut changed = false;
        for (at, cause) in rules.sweep(&rates) {
            changed |= self.take_out(set, at, cause, now);
        }
        changed
    }

    fn publish(&self, set: &mut Set<S>, now: Instant) {
        let view = Arc::new(self.see(set, now));
        let mut place = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, view);
        drop(place);
        old.retired.store(true, Ordering::Release);
    }

    fn see(&self, set: &mut Set<S>, now: Instant) -> View<S> {
        let rules = &self.common.rules;
        let called =
            |entry: &&Entry<S>| !entry.condition.draining && entry.endpoint.heaviness() > 0;
        let Set { entries, rings, .. } = set;
        let mut ranks: Vec<_> = entries
            .iter()
            .filter(called)
            .map(|entry| entry.endpoint.rank())
            .collect();
        ranks.sort_unstable();
        ranks.dedup();
        rings.retain(|rank, _| ranks.contains(rank));
        let of = |rank: u8| {
            let entries = entries.iter().filter(called);
            entries.filter(move |entry| entry.endpoint.rank() == rank)
        };
        // Whatever state comes before it: who is out, too, may have asked to be left alone.
        let rests = |entry: &Entry<S>| entry.condition.resting.is_some();
        let counts: Vec<_> = ranks
            .iter()
            .map(|&rank| {
                let count = |is: &dyn Fn(&Entry<S>) -> bool| of(rank).filter(|one| is(one)).count();
                Level {
                    all: of(rank).count(),
                    well: count(&|entry| entry.condition.state == State::Up),
                    resting: count(&|entry| !entry.condition.told() && rests(entry)),
                    barred: count(&|entry| entry.condition.told()),
                }
            })
            .collect();
        let shares = rules.levels().shares(&counts);
        let all_rest = counts.iter().all(|level| level.askable() == 0);
        let level = |(&rank, share): (&u8, &Share)| {
            let member = |entry: &Entry<S>| {
                let state = entry.condition.state;
                let slow = match rules.slow() {
                    Some(slow) if state == State::Up => slow.share(entry.age(now)),
                    _ => 1.0,
                };
                Member {
                    node: entry.node.clone(),
                    weight: f64::from(entry.endpoint.heaviness()) * slow,
                    open: match state {
                        State::Up => true,
                        _ if entry.condition.told() => false,
                        _ if rests(entry) => all_rest,
                        _ => share.panic,
                    },
                }
            };
            let members: Box<[_]> = of(rank).map(member).collect();
            let open: Box<[_]> = (0..)
                .zip(&members)
                .filter(|(_, member)| member.open)
                .map(|(at, _)| at)
                .collect();
            let weights: Vec<_> = open.iter().map(|&at| members[at as usize].weight).collect();
            let picker = Picker::new(rules.strategy(), &weights, || {
                let names = of(rank)
                    .map(|entry| (entry.endpoint.name().clone(), entry.endpoint.heaviness()));
                let names: Vec<_> = names.collect();
                let named = || names.iter().map(|(name, weight)| (&**name, *weight));
                let ring = match rings.get(&rank) {
                    Some((same, ring)) if *same == names => return ring.clone(),
                    Some((_, before)) => before.changed(named(), rules.points()),
                    None => Ring::new(named(), rules.points()),
                };
                let ring = Arc::new(ring);
                rings.insert(rank, (names, ring.clone()));
                ring
            });
            LevelView {
                rank,
                open,
                total: weights.iter().sum(),
                members,
                picker,
            }
        };
        let levels = ranks.iter().zip(&shares).map(level).collect();
        View {
            levels,
            shares: shares.into(),
            retired: AtomicBool::new(false),
        }
    }
}

/// How often a slow start takes a step.
fn step(window: Duration) -> Duration {
    (window / 20).max(Duration::from_millis(10))
}

impl<S> Set<S> {
    pub(super) fn names(&self) -> BTreeSet<Arc<str>> {
        let names = self.entries.iter().map(|entry| entry.endpoint.name());
        names.cloned().collect()
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut Entry<S>> {
        self.entries
            .iter_mut()
            .find(|entry| **entry.endpoint.name() == *name)
    }
}

impl<S> Entry<S> {
    /// How long it has been up.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.condition.since)
    }

    fn settle(&mut self, now: Instant) -> bool {
        let was = self.condition.state;
        let changed = self.condition.settle(now);
        if self.condition.state != was {
            // What it answered while it was out is over, too.
            if was == State::Ejected {
                self.node.tally().clear();
            }
            let (endpoint, state) = (&**self.endpoint.name(), self.condition.state);
            tracing::info!(endpoint, %state, "an endpoint changed");
        }
        changed
    }

    pub(super) fn status(&self, common: &Common, now: Instant) -> Status {
        let condition = &self.condition;
        Status {
            name: self.endpoint.name().clone(),
            weight: self.endpoint.heaviness(),
            priority: self.endpoint.rank(),
            state: condition.state,
            since: condition.since,
            in_flight: self.node.active(),
            calls: self.node.calls(),
            failures: self.node.failures(),
            local_failures: self.node.local_failures(),
            latency: common.ewma.read(self.node.latency(), now),
            ejections: condition.ejections,
            cause: condition.out.map(Out::cause),
            ejected_until: condition.out.and_then(Out::until),
            resting_until: condition.resting,
            last_check: condition.streak.last(),
        }
    }
}

impl<S> Shared<S> {
    /// What is known of each endpoint, or of one.
    pub(super) fn statuses(&self, one: Option<&str>) -> Vec<Status> {
        let now = Instant::now();
        let mut set = self.lock();
        self.settle(&mut set, now);
        let asked = |entry: &&Entry<S>| one.is_none_or(|one| **entry.endpoint.name() == *one);
        let entries = set.entries.iter().filter(asked);
        entries
            .map(|entry| entry.status(&self.common, now))
            .collect()
    }

    pub(super) fn needs_key(&self) -> bool {
        self.common.rules.strategy() == Strategy::RingHash
    }
}
