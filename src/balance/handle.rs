//! The set as it is held: to be changed, and to be looked at.

use super::{
    LONGEST,
    condition::{Condition, Out, Status},
    endpoint::{Endpoint, Node},
    rules::Rules,
    set::{Entry, MOST, Set, Shared},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// A set of endpoints that lives: calls that come after a change see it, and no call that is out is lost.
///
/// Cloning it bumps a counter; all clones are the same set. See the [module docs](super) for an example.
pub struct Endpoints<S> {
    shared: Arc<Shared<S>>,
}

#[expect(
    clippy::must_use_candidate,
    reason = "whether an endpoint was there concerns few who change it"
)]
impl<S> Endpoints<S> {
    /// Nobody yet, under these [`Rules`] or with this [`Strategy`](super::Strategy).
    #[must_use]
    pub fn new(rules: impl Into<Rules>) -> Self {
        let shared = Arc::new(Shared::new(rules.into()));
        Self { shared }
    }

    /// Adds an endpoint. If there is one of this name, it has the new service, weight and priority from now
    /// on and is not drained any more; what is known of it stays. A set holds 4096; `false`: it is full.
    pub fn insert(&self, endpoint: impl Into<Endpoint>, service: S) -> bool {
        let endpoint = endpoint.into();
        let (room, left) = self.shared.change(|set, now| {
            if let Some(entry) = set.find(endpoint.name()) {
                entry.endpoint = endpoint;
                entry.condition.draining = false;
                return (true, Some(entry.node.replace(service)));
            }
            if set.entries.len() >= MOST {
                return (false, Some(service));
            }
            set.entries.push(self.entry(endpoint, service, now));
            (true, None)
        });
        drop(left);
        room
    }

    fn entry(&self, endpoint: Endpoint, service: S, now: Instant) -> Entry<S> {
        let name = endpoint.name().clone();
        let shared = Arc::downgrade(&self.shared);
        let node = Node::new(name, service, self.shared.common.clone(), shared);
        let condition = Condition::new(now);
        Entry {
            endpoint,
            node: Arc::new(node),
            condition,
        }
    }

    /// Takes an endpoint away. Calls that are out end as they would. Whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.shared.change(|set, _| {
            let at = set
                .entries
                .iter()
                .position(|entry| **entry.endpoint.name() == *name)?;
            Some(set.entries.remove(at))
        });
        removed.is_some()
    }

    /// Makes this the whole set, at once. Of those that stay all that is known stays, and they have the new
    /// services. Of two of one name the last counts; beyond 4096 none does.
    pub fn replace<E: Into<Endpoint>>(&self, endpoints: impl IntoIterator<Item = (E, S)>) {
        let new = endpoints.into_iter();
        let new = new.map(|(endpoint, service)| (endpoint.into(), Some(service)));
        // Each has a service.
        let _ = self.exchange(distinct(new), false);
    }

    /// As [`replace`](Self::replace), with the services of those that stay as they are, and new ones from
    /// `make` for those that are new: what a set that is found out by names is fed by.
    ///
    /// `make` may use this handle. If it panics, the set stays as it was.
    pub fn reconcile(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        mut make: impl FnMut(&Endpoint) -> S,
    ) {
        let mut new = distinct(endpoints.into_iter().map(|endpoint| (endpoint, None)));
        // Made without the lock. If somebody goes meanwhile who was to stay, that is one more to be made, and
        // all is looked at again.
        loop {
            let known = self.shared.lock().names();
            for (endpoint, service) in &mut new {
                if service.is_none() && !known.contains(endpoint.name()) {
                    *service = Some(make(endpoint));
                }
            }
            match self.exchange(new, true) {
                Ok(()) => return,
                Err(lacking) => new = lacking,
            }
        }
    }

    /// Makes this the whole set. Those that stay `keep` their services, or have those that are given.
    ///
    /// If one that is new has no service, nothing is changed, and all comes back.
    fn exchange(&self, new: Vec<Given<S>>, keep: bool) -> Result<(), Vec<Given<S>>> {
        // Services may do something when they are dropped, and not under the lock.
        let left = self.shared.change(|set, now| {
            let known = set.names();
            let lacks =
                |(one, service): &Given<S>| service.is_none() && !known.contains(one.name());
            if new.iter().any(lacks) {
                return Err(new);
            }
            let old = std::mem::take(&mut set.entries);
            let mut old: BTreeMap<_, _> = old
                .into_iter()
                .map(|entry| (entry.endpoint.name().clone(), entry))
                .collect();
            let mut left = Vec::new();
            for (endpoint, given) in new {
                match (old.remove(endpoint.name()), given) {
                    (Some(mut entry), given) => {
                        entry.endpoint = endpoint;
                        left.extend(given.map(|given| match keep {
                            true => given,
                            false => entry.node.replace(given),
                        }));
                        set.entries.push(entry);
                    }
                    (None, Some(service)) => set.entries.push(self.entry(endpoint, service, now)),
                    // There is none, as was seen above.
                    (None, None) => {}
                }
            }
            Ok((old, left))
        });
        left.map(drop)
    }

    /// Sets the weight of an endpoint. Whether it is there.
    pub fn set_weight(&self, name: &str, weight: u32) -> bool {
        self.with(name, |entry| {
            entry.endpoint = entry.endpoint.clone().weight(weight)
        })
    }

    /// Sets the priority of an endpoint. Whether it is there.
    pub fn set_priority(&self, name: &str, priority: u8) -> bool {
        self.with(name, |entry| {
            entry.endpoint = entry.endpoint.clone().priority(priority)
        })
    }

    /// Gives an endpoint no more calls. Those that are out end as they would:
    /// [`Status::in_flight`] says how many there are. Whether it is there.
    pub fn drain(&self, name: &str) -> bool {
        self.with(name, |entry| entry.condition.draining = true)
    }

    /// Gives an endpoint calls again that was drained. Whether it is there.
    pub fn resume(&self, name: &str) -> bool {
        self.with(name, |entry| entry.condition.draining = false)
    }

    /// Takes an endpoint out until [`uneject`](Self::uneject), whatever its checks say, and even where health
    /// is ignored. Whether it is there.
    pub fn eject(&self, name: &str) -> bool {
        self.with(name, |entry| {
            entry.condition.out = Some(Out::Told);
            let count = &mut entry.condition.ejections;
            *count = count.saturating_add(1);
        })
    }

    /// Lets an endpoint in again: one that is out or rests. Its failures are forgotten. Whether it is there.
    pub fn uneject(&self, name: &str) -> bool {
        self.with(name, |entry| {
            entry.condition.out = None;
            entry.condition.times = 0;
            entry.condition.resting = None;
            entry.node.tally().clear();
        })
    }

    /// Lets an endpoint rest for so long, whatever it asked for itself: a year at most. Zero: no longer.
    /// Whether it is there.
    pub fn rest(&self, name: &str, rest: Duration) -> bool {
        self.with(name, |entry| {
            let until = Instant::now() + rest.min(LONGEST);
            entry.condition.resting = (!rest.is_zero()).then_some(until);
        })
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Entry<S>)) -> bool {
        let change = |set: &mut Set<S>, _| set.find(name).map(change).is_some();
        self.shared.change(change)
    }

    /// What is known of each endpoint just now.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.shared.statuses(None)
    }

    /// What is known of one endpoint just now.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<Status> {
        self.shared.statuses(Some(name)).pop()
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().entries.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A handle that only looks, knows nothing of the services, and keeps nothing alive: for a metrics page.
    #[must_use]
    pub fn watcher(&self) -> Watcher
    where
        S: Send + 'static,
    {
        let shared = self.downgrade();
        Watcher(Arc::new(move || {
            let shared = shared.upgrade();
            shared
                .map(|shared| shared.statuses(None))
                .unwrap_or_default()
        }))
    }

    pub(super) fn shared(&self) -> &Arc<Shared<S>> {
        &self.shared
    }

    pub(super) fn downgrade(&self) -> Weak<Shared<S>> {
        Arc::downgrade(&self.shared)
    }

    pub(super) fn upgrade(shared: &Weak<Shared<S>>) -> Option<Self> {
        shared.upgrade().map(|shared| Self { shared })
    }
}

/// An endpoint, and its service if it is given a new one.
type Given<S> = (Endpoint, Option<S>);

/// Of two of one name the last, at the place of the first. No more than a set holds.
fn distinct<S>(endpoints: impl Iterator<Item = Given<S>>) -> Vec<Given<S>> {
    let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut all: Vec<Given<S>> = Vec::new();
    for given in endpoints {
        if let Some(&at) = places.get(given.0.name()) {
            all[at] = given;
        } else if all.len() < MOST {
            places.insert(given.0.name().clone(), all.len());
            all.push(given);
        } else {
            tracing::warn!(most = MOST, "a set holds no more endpoints than this");
            break;
        }
    }
    all
}

impl<S> Default for Endpoints<S> {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl<S> Clone for Endpoints<S> {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        Self { shared }
    }
}

impl<S> fmt::Debug for Endpoints<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses = self.statuses();
        let all = statuses.iter().map(|one| (&*one.name, one.state.as_str()));
        f.debug_map().entries(all).finish()
    }
}

/// Looks at a set of endpoints. Made by [`Endpoints::watcher`].
#[derive(Clone)]
pub struct Watcher(Arc<dyn Fn() -> Vec<Status> + Send + Sync>);

impl Watcher {
    /// What is known of each endpoint just now. Nothing, if the set is not used any more.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        (self.0)()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
