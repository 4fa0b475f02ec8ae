//! What a store of buckets must do: one atomic take.

use super::{
    memory::Own,
    meter::{self, Known, Rule, State},
    quota::{Quota, hashed},
    table::Slot,
};
use crate::storage::Pending;
use std::{
    fmt,
    future::ready,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// Where buckets are that several processes share.
///
/// Implement this for a store of your own. A bucket is a few [`State`]s, one for each quota, under a
/// name. A store reads those of [`Take::bucket`], lets [`Take::decide`] change them, and writes them
/// back, while nobody else does: in a transaction, under a lock, or by comparing and swapping. What it
/// does not find is [`State::default`].
///
/// It need not mind how long it takes: the layer waits only so long, and drops the future then.
#[diagnostic::on_unimplemented(message = "`{Self}` is no store of rate limits")]
pub trait Store: Send + Sync + 'static {
    /// Takes what a call costs out of all buckets of a key, or out of none.
    ///
    /// # Errors
    ///
    /// What kept it from answering, in words that hold no secret. The layer says it in its log, and does
    /// what it was told to do then.
    fn take(&self, take: Take) -> Pending<'_, Taken>;
}

impl<T: Store + ?Sized> Store for Arc<T> {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        (**self).take(take)
    }
}

/// The quotas of a layer as a store needs them.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) rules: Box<[Rule]>,
    pub(super) fields: Box<[Box<str>]>,
}

impl Rules {
    pub(super) fn new(quotas: &[Quota]) -> Self {
        let mut fields: Vec<Box<str>> = Vec::with_capacity(quotas.len());
        let mut rules = Vec::with_capacity(quotas.len());
        for quota in quotas {
            let field = quota.field();
            let named = |name: &str| fields.iter().any(|field| **field == *name);
            let mut name = field.clone();
            let mut count = 0;
            while named(&name) {
                count += 1;
                name = format!("{field}#{count}");
            }
            rules.push(Rule {
                field: hashed(&name),
                ..quota.rule()
            });
            fields.push(name.into());
        }
        Self {
            rules: rules.into(),
            fields: fields.into(),
        }
    }
}

/// What shall be taken, and from where.
#[derive(Clone)]
pub struct Take {
    pub(super) bucket: Box<str>,
    pub(super) rules: Arc<Rules>,
    /// What the store may have forgotten of each quota, if there is reason to think so.
    pub(super) known: Box<[Known]>,
    pub(super) cost: u64,
    pub(super) now: Option<u64>,
}

impl Take {
    /// The name of the buckets: that of the layer, and a hash of the key. It is at most 97 bytes of
    /// ASCII, and the same in all processes.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The names of the quotas, which last as long as their name, algorithm and period. A store that
    /// keeps states under these finds them again when quotas are added and removed.
    #[must_use]
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.fields.iter().map(|field| &**field)
    }

    /// The time to decide by, in microseconds since 1970, if it is not the store's own. For tests.
    #[must_use]
    pub fn now(&self) -> Option<u64> {
        self.now
    }

    /// Sets the time to decide by, in microseconds since 1970.
    #[must_use]
    pub fn at(mut self, now: u64) -> Self {
        self.now = Some(now);
        self
    }

    /// Decides, at this time in microseconds since 1970, by what is kept, one state for each quota. Keep
    /// what they are then, whether it fits or not.
    pub fn decide(&self, states: &mut [State], now: u64) -> Taken {
        let mut taken = Taken::at(now);
        let rules = &self.rules.rules;
        meter::take_all(
            states,
            rules,
            &self.known,
            self.cost,
            now,
            |_, fits, state| {
                taken.push(fits, state);
            },
        );
        taken
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take")
            .field("bucket", &self.bucket)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// What became of a take: what each quota says, and what is kept of it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    now: u64,
    buckets: Vec<(bool, State)>,
}

impl Taken {
    /// Nothing yet, at this time in microseconds since 1970. For stores that decide by themselves.
    #[must_use]
    pub fn at(now: u64) -> Self {
        Self {
            now,
            buckets: Vec::new(),
        }
    }

    /// Adds the next quota: whether the call fits into it, and what is kept of it now.
    pub fn push(&mut self, fits: bool, state: State) {
        self.buckets.push((fits, state));
    }

    /// When it was decided, in microseconds since 1970, by the clock of the store.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Of each quota, whether the call fits into it, and what is kept of it now. It was taken from all if
    /// it fits into all that are no shadows.
    #[must_use]
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (bool, State)> {
        self.buckets.iter().copied()
    }
}

/// Buckets in this process that outlive a layer, or that several layers share. At most so many keys;
/// beyond that new keys share one bucket.
///
/// A layer by itself keeps its own, and is faster. This is for layers that are made anew when a
/// configuration is loaded, and for tests of what is shared otherwise. A quota is found again by its
/// name, algorithm and period, wherever it stands among others: one that was added is full, and the
/// others hold what they held. Of one key that is so for 32 quotas.
#[derive(Debug)]
pub struct MemoryStore {
    own: Own,
    hasher: RandomState,
}

impl MemoryStore {
    /// Empty, for at most so many keys.
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        Self {
            own: Own::new(max_keys),
            hasher: RandomState::new(),
        }
    }

    /// How many keys have buckets now.
    #[must_use]
    pub fn tracked_keys(&self) -> usize {
        self.own.table.tracked()
    }
}

impl Store for MemoryStore {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        let slot = Slot::Named(self.hasher.hash_one(take.bucket()));
        let now = take.now().unwrap_or_else(|| self.own.clock.now());
        Box::pin(ready(Ok(self.own.take_raw(slot, &take, now))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quotas_of_one_name_are_kept_apart() {
        let quotas = [
            Quota::per_minute(1),
            Quota::per_minute(2),
            Quota::per_minute(2).fixed_window(),
            Quota::per_minute(3),
        ];
        let rules = Rules::new(&quotas);
        let fields: Vec<_> = rules.fields.iter().map(|field| &**field).collect();
        assert_eq!(
            fields,
            [
                "gcra:60000000:per-minute",
                "gcra:60000000:per-minute#1",
                "fixed:60000000:per-minute",
                "gcra:60000000:per-minute#2",
            ]
        );
    }
}
