//! For those who watch a circuit, or lay hands on it.

use super::{
    circuit::Forced,
    shared::Circuits,
    stats::{State, Stats},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;

/// How many changes are kept for one who watches and does not come round to it.
const KEPT: usize = 64;

/// A hand on the circuit of a layer, or on all of its circuits.
///
/// ```
/// use tower_gateway::circuit_breaker::{CircuitBreakerLayer, State};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let layer = CircuitBreakerLayer::gateway();
/// let handle = layer.handle();
/// let mut changes = handle.changes();
///
/// handle.force_open();
/// assert_eq!(layer.state(), State::ForcedOpen);
/// assert_eq!(changes.changed().await.unwrap().to(), State::ForcedOpen);
/// handle.reset();
/// assert_eq!(layer.state(), State::Closed);
/// # }
/// ```
///
/// Calls that are out when the state changes count for nothing afterwards, whoever changed it.
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle(pub(super) Circuits);

impl CircuitBreakerHandle {
    /// What is done with calls just now. See [`Stats::state`].
    #[must_use]
    pub fn state(&self) -> State {
        self.stats().state()
    }

    /// How things stand just now. With a key it looks at each circuit: to be asked now and then.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// The same apart for keys that have a [name](super::CircuitBreakerLayer::key_name): the first `most` by
    /// name, each once, and under `None` all others together. It looks at each circuit, too.
    #[must_use]
    pub fn stats_by_key(&self, most: usize) -> Vec<(Option<Arc<str>>, Stats)> {
        let now = Instant::now();
        let mut named = BTreeMap::<_, Stats>::new();
        let mut others: Option<Stats> = None;
        let add = |sum: &mut Option<Stats>, stats| match sum {
            Some(sum) => sum.merge(stats),
            None => *sum = Some(stats),
        };
        self.0.each(|circuit| {
            let stats = circuit.stats(now);
            match circuit.key() {
                Some(key) => match named.entry(key.clone()) {
                    Entry::Occupied(mut sum) => sum.get_mut().merge(stats),
                    Entry::Vacant(place) => drop(place.insert(stats)),
                },
                None => add(&mut others, stats),
            }
        });
        while named.len() > most
            && let Some((_, stats)) = named.pop_last()
        {
            add(&mut others, stats);
        }
        if let Some(others) = &mut others {
            others.counts.merge(self.0.forgotten());
        }
        let others = others.map(|stats| (None, stats));
        let named = named.into_iter().map(|(key, stats)| (Some(key), stats));
        named.chain(others).collect()
    }

    /// What the circuit is [called](super::CircuitBreakerLayer::name).
    #[must_use]
    pub fn called(&self) -> Option<&Arc<str>> {
        self.0.teller().circuit()
    }

    /// The changes of state from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.0.teller().sender.subscribe())
    }

    /// Opens it for its cool-down, as if too many calls had failed. It closes as ever. An open circuit stays as
    /// it is.
    pub fn trip(&self) {
        let now = Instant::now();
        self.stand(None);
        self.0
            .each(|circuit| circuit.change(|circuit| circuit.trip(now)));
    }

    /// Closes it, whatever state it is in or was forced into, and forgets its calls and how often it has
    /// opened.
    pub fn reset(&self) {
        self.stand(None);
        self.0
            .each(|circuit| circuit.change(|circuit| circuit.reset()));
    }

    /// Lets no call through until it is [reset](Self::reset) or [tripped](Self::trip): for an upstream that is
    /// taken down. The circuit of one key is not forgotten meanwhile, though nobody calls.
    pub fn force_open(&self) {
        self.force(Forced::Open);
    }

    /// Lets all calls through and counts nothing, until it is [reset](Self::reset) or
    /// [tripped](Self::trip).
    pub fn disable(&self) {
        self.force(Forced::Disabled);
    }

    /// Lets all calls through and counts them, until it is [reset](Self::reset) or
    /// [tripped](Self::trip): to see what a circuit would go by.
    pub fn metrics_only(&self) {
        self.force(Forced::MetricsOnly);
    }

    fn force(&self, forced: Forced) {
        self.stand(Some(forced));
        self.0
            .each(|circuit| circuit.change(|circuit| circuit.force(forced)));
    }

    /// Circuits of keys that are yet to come are in this state, too.
    fn stand(&self, forced: Option<Forced>) {
        if let Circuits::Keyed(table) = &self.0 {
            table.stand(forced);
        }
    }
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    from: State,
    to: State,
    circuit: Option<Arc<str>>,
    key: Option<Arc<str>>,
}

impl Change {
    /// What it was.
    #[must_use]
    pub fn from(&self) -> State {
        self.from
    }

    /// What it is.
    #[must_use]
    pub fn to(&self) -> State {
        self.to
    }

    /// What the circuit is [called](super::CircuitBreakerLayer::name).
    #[must_use]
    pub fn circuit(&self) -> Option<&str> {
        self.circuit.as_deref()
    }

    /// What its key is [called](super::CircuitBreakerLayer::key_name).
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// The changes of state, in their order. The last 64 are kept for one who is slow to ask, and those before
/// are lost.
pub struct Changes(broadcast::Receiver<Change>);

impl Changes {
    /// Waits for the next one. `None`: the circuit is gone, with all layers, services and handles that
    /// share it.
    ///
    /// May be dropped half-way, and nothing is lost.
    pub async fn changed(&mut self) -> Option<Change> {
        loop {
            match self.0.recv().await {
                Ok(change) => return Some(change),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// Tells of changes.
#[derive(Clone)]
pub(super) struct Teller {
    sender: broadcast::Sender<Change>,
    /// What the circuit is called.
    circuit: Option<Arc<str>>,
    /// What its key is called.
    key: Option<Arc<str>>,
}

impl Teller {
    pub(super) fn new(circuit: Option<Arc<str>>) -> Self {
        Self {
            sender: broadcast::Sender::new(KEPT),
            circuit,
            key: None,
        }
    }

    /// The same, of the circuit of one key.
    pub(super) fn of(&self, key: Option<Arc<str>>) -> Self {
        Self {
            key,
            ..self.clone()
        }
    }

    pub(super) fn circuit(&self) -> Option<&Arc<str>> {
        self.circuit.as_ref()
    }

    pub(super) fn key(&self) -> Option<&Arc<str>> {
        self.key.as_ref()
    }

    pub(super) fn tell(&self, from: State, to: State) {
        let (circuit, key) = (self.circuit.clone(), self.key.clone());
        // Whether anybody watches is not the circuit's business.
        let _ = self.sender.send(Change {
            from,
            to,
            circuit,
            key,
        });
    }

    pub(super) fn log(&self, to: State) {
        let (circuit, key) = (self.circuit.as_deref(), self.key.as_deref());
        match to {
            State::Open => tracing::warn!(circuit, key, "circuit opened"),
            State::HalfOpen => tracing::info!(circuit, key, "circuit is half open"),
            State::Closed => tracing::info!(circuit, key, "circuit closed"),
            State::Disabled => tracing::warn!(circuit, key, "circuit is disabled"),
            State::MetricsOnly => tracing::warn!(circuit, key, "circuit only counts"),
            State::ForcedOpen => tracing::warn!(circuit, key, "circuit is held open"),
        }
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("circuit", &self.circuit)
            .finish_non_exhaustive()
    }
}
