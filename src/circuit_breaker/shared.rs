//! Circuits with a lock and a clock, and the calls that they let through.

use super::{
    circuit::{Circuit, Config, Counts, Entry, Forced},
    handle::Teller,
    keyed::Table,
    stats::Stats,
};
use crate::{Rejection, answer::Outcome, key::Key};
use std::{
    any::Any,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// Whose circuit it is.
#[derive(Clone, Debug)]
pub(super) enum Circuits {
    One(Shared),
    Keyed(Arc<Table>),
}

impl Circuits {
    pub(super) fn of<Req, K: Key<Req>>(&self, key: &K, req: &Req) -> Shared {
        match self {
            Self::One(shared) => shared.clone(),
            Self::Keyed(table) => match key.key(req) {
                Some(name) => table.named(&name),
                None => table.nameless(),
            },
        }
    }

    /// The circuit of one name, if there is room for it.
    pub(super) fn own(&self, name: &(impl Hash + Any)) -> Option<Shared> {
        match self {
            Self::One(shared) => Some(shared.clone()),
            Self::Keyed(table) => table.own(name),
        }
    }

    pub(super) fn each(&self, mut see: impl FnMut(&Shared)) {
        match self {
            Self::One(shared) => see(shared),
            Self::Keyed(table) => table.each(see),
        }
    }

    /// What was counted by circuits that are no more.
    pub(super) fn forgotten(&self) -> Counts {
        match self {
            Self::One(_) => Counts::default(),
            Self::Keyed(table) => table.forgotten(),
        }
    }

    pub(super) fn teller(&self) -> &Teller {
        match self {
            Self::One(shared) => &shared.0.teller,
            Self::Keyed(table) => table.teller(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let now = Instant::now();
        match self {
            Self::One(shared) => shared.stats(now),
            Self::Keyed(table) => table.stats(now),
        }
    }
}

/// One circuit.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    circuit: Mutex<Circuit>,
    teller: Teller,
}

impl Shared {
    pub(super) fn new(config: Config, teller: Teller) -> Self {
        let circuit = Mutex::new(Circuit::new(config));
        Self(Arc::new(Inner { circuit, teller }))
    }

    /// Whether somebody holds it: a call, or a handle.
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(super) fn admit(self) -> Result<Permit, Rejection> {
        let since = Instant::now();
        let epoch = self.change(|circuit| circuit.admit(since))?;
        Ok(Permit {
            shared: self,
            epoch,
            since,
            answered: false,
            entry: None,
        })
    }

    /// Tells what became of the state: those who watch under the lock, so that they hear it in order, and the
    /// log when the lock is free again.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.lock();
        let result = change(&mut circuit);
        let changes = circuit.take_untold();
        for (from, to) in &changes {
            self.0.teller.tell(*from, *to);
        }
        drop(circuit);
        for (_, to) in changes {
            self.0.teller.log(to);
        }
        result
    }

    /// Holds a circuit that is new in a state, of which nobody need be told.
    pub(super) fn begin_in(&self, forced: Forced) {
        let mut circuit = self.lock();
        circuit.force(forced);
        drop(circuit.take_untold());
    }

    pub(super) fn stats(&self, now: Instant) -> Stats {
        self.lock().stats(now)
    }

    pub(super) fn forced(&self) -> Option<Forced> {
        self.lock().forced()
    }

    /// What its key is called.
    pub(super) fn key(&self) -> Option<&Arc<str>> {
        self.0.teller.key()
    }

    // Whoever panicked with the lock left a valid circuit: it is one after every statement.
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        let circuit = self.0.circuit.lock();
        circuit.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one call, which travels with its answer.
///
/// Settles exactly once: when the call is answered, or else on drop.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Shared,
    epoch: u64,
    since: Instant,
    answered: bool,
    entry: Option<Entry>,
}

impl Permit {
    pub(super) fn record(&mut self, outcome: Outcome) {
        self.answered = true;
        let now = Instant::now();
        let (epoch, elapsed) = (self.epoch, now - self.since);
        self.entry = self
            .shared
            .change(|circuit| circuit.record(epoch, outcome, elapsed, now));
    }

    /// Makes a failure of what was recorded.
    pub(super) fn revise(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared
                .change(|circuit| circuit.revise(entry, Instant::now()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.answered {
            let now = Instant::now();
            let (epoch, elapsed) = (self.epoch, now - self.since);
            self.shared
                .change(|circuit| circuit.abandon(epoch, elapsed, now));
        }
    }
}
