//! How the entries of a pool do, seen and set from outside.

use super::Inner;
use crate::circuit_breaker;
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The handle of a pool, which shows how its entries do, and takes them out and in.
///
/// It is one for all clones of the [pool](super::Pool). What it sets holds for calls that come after.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Inner>);

/// How an entry does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// How many calls it answers just now, to the last byte.
    pub in_flight: u32,
    /// How often it was asked, so far.
    pub calls: u64,
    /// How many of these failed before their first content, so far.
    pub failures: u64,
    /// How long a stream takes to its first content, as an average that forgets within minutes. `None`: not
    /// known.
    pub first_content: Option<Duration>,
    /// How long an answer in one piece takes, likewise.
    pub whole: Option<Duration>,
    /// How many tokens a stream has in a second after its first content, likewise.
    pub tokens_per_second: Option<f32>,
    /// How long it is left alone yet, because its vendor said so or because it was told to. `None`: it is
    /// not.
    pub cooling: Option<Duration>,
    /// Whether it is drained.
    pub drained: bool,
    /// What its circuit does with calls, if it has one.
    pub circuit: Option<circuit_breaker::State>,
}

#[expect(
    clippy::must_use_candidate,
    reason = "they set something, whoever looks at what they say"
)]
impl Handle {
    /// How each entry does, in the order in which they were added.
    #[must_use]
    pub fn entries(&self) -> Vec<Status> {
        let now = self.0.now();
        let all = self.0.states.iter().zip(&self.0.entries);
        let named = all.zip(&self.0.names);
        named
            .map(|((state, entry), name)| Status {
                name: name.clone(),
                in_flight: state.in_flight.load(Ordering::Relaxed),
                calls: state.calls.load(Ordering::Relaxed),
                failures: state.failures.load(Ordering::Relaxed),
                first_content: state.first.get().value().map(Duration::from_secs_f32),
                whole: state.whole.get().value().map(Duration::from_secs_f32),
                tokens_per_second: state.speed.get().value(),
                cooling: state.cooling(now).map(|cooling| cooling.rest),
                drained: state.drained.load(Ordering::Relaxed),
                circuit: entry.circuit.as_ref().map(|circuit| circuit.state()),
            })
            .collect()
    }

    /// How this entry does. `None`: there is none of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Status> {
        self.entries().into_iter().find(|one| *one.name == *name)
    }

    /// Takes an entry out: calls in flight go on, and no new ones come. `false`: there is none of this
    /// name.
    pub fn drain(&self, name: &str) -> bool {
        self.at(name, |at| {
            self.0.states[at].drained.store(true, Ordering::Relaxed);
        })
    }

    /// Takes a drained entry in again.
    pub fn restore(&self, name: &str) -> bool {
        self.at(name, |at| {
            self.0.states[at].drained.store(false, Ordering::Relaxed);
        })
    }

    /// Leaves an entry alone for so long, an hour at most, whoever else is left.
    pub fn cool(&self, name: &str, time: Duration) -> bool {
        let now = self.0.now();
        self.at(name, |at| self.0.states[at].cool(time, now))
    }

    /// Forgets how fast an entry was, closes its circuit, and asks it again though it was drained or left
    /// alone.
    pub fn reset(&self, name: &str) -> bool {
        self.at(name, |at| {
            let state = &self.0.states[at];
            state.warm();
            state.drained.store(false, Ordering::Relaxed);
            for average in [&state.first, &state.whole, &state.speed] {
                average.forget();
            }
            if let Some(circuit) = &self.0.entries[at].circuit {
                circuit.handle().reset();
            }
        })
    }

    fn at(&self, name: &str, set: impl FnOnce(usize)) -> bool {
        let found = self.0.names.iter().position(|one| **one == *name);
        found.map(set).is_some()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.entries()).finish()
    }
}
