//! Models that are offered under names.

use super::GatewayBuilder;
use crate::{
    gateway::{directory::ChatService, gauges::Gauges},
    llm::{
        AnyModel,
        pool::{Entry, Pool, Strategy},
    },
};
use tower::util::BoxCloneSyncService;

impl GatewayBuilder {
    /// Offers a model under this name, by services that are asked in turn until one has begun to
    /// answer. Each has a circuit breaker of its own. [`pool`](Self::pool) chooses among them in other ways.
    ///
    /// Called again with the same name it adds to them. Then all are of one [pool](Pool), in which each
    /// gets an equal share of the calls, [at random](Strategy::Weighted), and another is asked
    /// when it fails.
    ///
    /// ```
    /// use tower_gateway::{gateway::Gateway, llm::Simulator};
    ///
    /// let gateway = Gateway::builder()
    ///     .model("fast", [Simulator::new().answer("one")])
    ///     .model("fast", [Simulator::new().answer("two")])
    ///     .build()?;
    /// # Ok::<_, tower_gateway::gateway::BuildError>(())
    /// ```
    pub fn model<S: AnyModel>(mut self, name: &str, services: impl IntoIterator<Item = S>) -> Self {
        let offered = services.into_iter().map(Offered::new);
        let offered: Vec<_> = offered.collect();
        if offered.is_empty() {
            self.fault(format!("model({name:?})"), "give it at least one service");
            return self;
        }
        self.nameless("model", name);
        self.models.entry(name.into()).or_default().push(offered);
        self
    }

    /// Offers a model under this name, by a [`Pool`]: of several, the one that the strategy says, and
    /// another when it fails. Each has a circuit breaker of its own, unless the pool says otherwise. Its
    /// [handle](Pool::handle) is to be had before. Nothing else has its name.
    ///
    /// ```
    /// use tower_gateway::gateway::Gateway;
    /// use tower_gateway::llm::{Simulator, pool::{Entry, Pool, Strategy}};
    ///
    /// let fast = Pool::new()
    ///     .entry(Entry::new(Simulator::new()).name("large").weight(9))
    ///     .entry(Entry::new(Simulator::new()).name("small").weight(1))
    ///     .strategy(Strategy::Weighted);
    /// let handle = fast.handle();
    /// let gateway = Gateway::builder().pool("fast", fast).build()?;
    /// assert!(handle.drain("small"));
    /// # Ok::<_, tower_gateway::gateway::BuildError>(())
    /// ```
    pub fn pool(mut self, name: &str, pool: Pool) -> Self {
        if pool.entries().is_empty() {
            self.fault(format!("pool({name:?})"), "give it at least one entry");
            return self;
        }
        self.nameless("pool", name);
        self.pooled("pool", name, pool);
        self
    }

    fn pooled(&mut self, method: &str, name: &str, pool: Pool) {
        for entry in pool.entries() {
            self.speakers.add(entry.given());
            if let Some(circuit) = entry.breaker() {
                self.gauges.circuit(circuit);
            }
        }
        self.gauges.pool(pool.handle());
        self.named(method, name, BoxCloneSyncService::new(pool));
    }

    fn named(&mut self, method: &str, name: &str, service: ChatService) {
        if self.named.insert(name.into(), service).is_some() {
            self.fault(format!("{method}({name:?})"), "the name is taken");
        }
    }

    fn nameless(&mut self, method: &str, name: &str) {
        if name.is_empty() {
            self.fault(format!("{method}(\"\")"), "give it a name");
        }
    }

    /// Those that were given one by one, each under all that were given with its name.
    pub(super) fn gather(&mut self) {
        for (name, mut calls) in std::mem::take(&mut self.models) {
            let strategy = match calls.len() {
                1 => Strategy::Failover,
                _ => Strategy::Weighted,
            };
            let alone = calls.len() == 1 && calls[0].len() == 1;
            let only = if alone { calls[0].pop() } else { None };
            if let Some(only) = only {
                // There is nobody to choose from.
                self.speakers.add(only.entry.given());
                let guarded = (only.guard)(&mut self.gauges);
                self.named("model", &name, guarded);
                continue;
            }
            let all = calls.into_iter().flatten();
            let pool: Pool = all.map(|offered| offered.entry).collect();
            self.pooled("model", &name, pool.strategy(strategy));
        }
    }
}

/// A service of a model: as one of a pool, and as the only one.
pub(super) struct Offered {
    entry: Entry,
    guard: Box<dyn FnOnce(&mut Gauges) -> ChatService + Send + Sync>,
}

impl Offered {
    fn new<S: AnyModel>(service: S) -> Self {
        Self {
            entry: Entry::new(service.clone()),
            guard: Box::new(move |gauges| gauges.guarded(service)),
        }
    }
}
