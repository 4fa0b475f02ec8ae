//! Who can take a call, and in which order they are asked.

use super::{
    Inner, Strategy, Verdict,
    call::Call,
    needs::{self, Needs, lacks, surely_can},
    order::{Fnv, Standing, mixed, order, rank},
    state::{Cooling, Now},
};
use crate::{
    Extensible, Rejection,
    exchange::Usage,
    llm::{
        ChatRequest, Operation,
        catalog::{ModelFacts, Money, Price},
    },
    rejection::Kind,
};
use std::{hash::Hasher, sync::atomic::Ordering, time::Duration};

/// In the extensions of a request of which all is to be told, prices too where nobody else asks for them.
#[derive(Clone, Copy, Debug)]
pub(in crate::llm) struct Explain;

/// What a pool made of a call.
pub(super) struct Picked {
    /// Those that can take it. The first is the one that is asked first.
    pub(super) order: Vec<Standing>,
    /// Those that are asked though they are to be left alone, when nobody else is left: the soonest end
    /// first. They stand among the dropped, too.
    pub(super) cooling: Vec<(usize, Duration)>,
    /// Those that cannot, and why.
    pub(super) dropped: Vec<(usize, Verdict)>,
    /// What it costs at each, where someone wants to know.
    pub(super) prices: Vec<Option<Money>>,
    strategy: Strategy,
    is_in_order: bool,
}

impl Picked {
    /// How many can be asked.
    pub(super) fn len(&self) -> usize {
        self.order.len() + self.cooling.len()
    }

    /// The one that is asked in this turn.
    pub(super) fn at(&mut self, turn: usize) -> Option<usize> {
        if turn > 0 {
            self.put_in_order();
        }
        match self.order.get(turn) {
            Some(one) => Some(one.at),
            None => {
                let (at, _) = self.cooling.get(turn - self.order.len())?;
                Some(*at)
            }
        }
    }

    /// Whether the one that is asked in this turn is to be left alone.
    pub(super) fn is_cooling(&self, turn: usize) -> bool {
        turn >= self.order.len()
    }

    pub(super) fn put_in_order(&mut self) {
        if !self.is_in_order {
            self.is_in_order = true;
            order(self.strategy, &mut self.order, &self.prices);
        }
    }

    pub(super) fn price(&self, at: usize) -> Option<Money> {
        self.prices.get(at).copied().flatten()
    }

    /// What a caller is told when nobody can take its call.
    pub(super) fn nobody(&self, pool: &Inner, now: Now) -> Rejection {
        let is = |verdict| self.dropped.iter().any(|(_, one)| *one == verdict);
        let cooling = self.dropped.iter();
        let cooling = cooling.filter(|(_, verdict)| *verdict == Verdict::Cooling);
        let named = cooling.filter_map(|(at, _)| pool.states[*at].cooling(now)?.named);
        if let Some((rest, kind)) = named.min_by_key(|(rest, _)| *rest) {
            // A second is what such headers can tell at the least.
            let rest = rest.max(Duration::from_secs(1));
            return Rejection::new(kind).with_retry_after(rest);
        }
        if self.dropped.is_empty() || is(Verdict::Drained) {
            return Rejection::new(Kind::CircuitOpen);
        }
        if is(Verdict::Window) {
            let detail = "The conversation is longer than any of the models of this name takes.";
            return Rejection::new(Kind::InvalidRequest).with_detail(detail);
        }
        let detail = "None of the models of this name can, or may, take this request.";
        Rejection::new(Kind::NotSupported).with_detail(detail)
    }
}

impl Inner {
    /// Filters, and finds the first of the rest.
    pub(super) fn pick(&self, request: &ChatRequest, now: Now) -> Picked {
        let call = Call::new(request);
        let needs = self.needs.as_ref().map(|needs| needs(&call));
        let most = needs.as_ref().and_then(|needs| needs.most);
        let explains = request.extensions().get::<Explain>().is_some();
        let asks_prices =
            self.strategy.asks_prices() || explains || most.is_some() || self.limits_prices;
        let seed = self.seed(request);
        let streams = streams(request);
        let tick = now.tick();
        let mut picked = Picked {
            order: Vec::with_capacity(self.entries.len()),
            cooling: Vec::new(),
            dropped: Vec::new(),
            prices: Vec::new(),
            strategy: self.strategy,
            is_in_order: false,
        };
        if asks_prices {
            picked.prices.reserve_exact(self.entries.len());
        }
        for (at, entry) in self.entries.iter().enumerate() {
            let state = &self.states[at];
            let known = self.known(at, request);
            let facts = known.map(|known| known.0);
            let price = known.and_then(|known| known.1).filter(|_| asks_prices);
            let mut verdict = self.drops(at, &call, needs.as_ref(), facts);
            let mut estimate = price.and_then(|price| estimated(price, &call, call.output()));
            if verdict.is_none()
                && let Some(most) = [entry.most, most].into_iter().flatten().min()
            {
                let output = call.most_output(facts);
                let limit = price.and_then(|price| estimated(price, &call, output));
                if limit.is_none_or(|limit| limit > most) {
                    (verdict, estimate) = (Some(Verdict::Price), limit);
                }
            }
            if asks_prices {
                picked.prices.push(estimate);
            }
            let verdict = verdict.or_else(|| {
                let drained = state.drained.load(Ordering::Relaxed);
                drained.then_some(Verdict::Drained)
            });
            let cooling = match verdict {
                None => state.cooling(now),
                Some(_) => None,
            };
            if let Some(Cooling { rest, named: None }) = cooling {
                picked.cooling.push((at, rest));
            }
            if let Some(verdict) = verdict.or(cooling.map(|_| Verdict::Cooling)) {
                picked.dropped.push((at, verdict));
                continue;
            }
            let latency = match self.strategy {
                Strategy::LowestLatency => state.latency(streams, tick),
                _ => None,
            };
            let sure = self.strategy == Strategy::CheapestCapable
                && facts.is_some_and(|facts| surely_can(facts, &call, needs.as_ref()));
            picked.order.push(Standing {
                at,
                priority: entry.priority,
                weight: entry.weight,
                in_flight: state.in_flight.load(Ordering::Relaxed),
                latency,
                sure,
                draw: mixed(seed ^ self.hashes[at]),
                score: 0.0,
            });
        }
        picked.cooling.sort_by_key(|(_, rest)| *rest);
        rank(self.strategy, &mut picked.order, &picked.prices);
        if explains {
            picked.put_in_order();
        }
        picked
    }

    /// Why it cannot take the call, whatever it costs and however it does.
    fn drops(
        &self,
        at: usize,
        call: &Call<'_>,
        needs: Option<&Needs>,
        facts: Option<&ModelFacts>,
    ) -> Option<Verdict> {
        let entry = &self.entries[at];
        if !entry.holds(call) {
            return Some(Verdict::Condition);
        }
        if let Some(region) = needs.and_then(|needs| needs.region.as_ref())
            && entry.region.as_ref() != Some(region)
        {
            return Some(Verdict::Region);
        }
        facts.and_then(|facts| lacks(facts, call, needs))
    }

    /// What is known of the model of an entry, and what its vendor takes for it.
    pub(super) fn known(
        &self,
        at: usize,
        request: &ChatRequest,
    ) -> Option<(&ModelFacts, Option<&Price>)> {
        let entry = &self.entries[at];
        if let Some(facts) = &entry.facts {
            return Some((&**facts, facts.price.as_ref()));
        }
        let (vendor, model) = (entry.vendor.as_ref()?, entry.model.as_ref()?);
        let known = self.states[at]
            .known
            .get_or_init(|| needs::known(request, self.catalog.as_ref(), vendor, model));
        let known = known.as_ref()?;
        Some((known.facts(), known.price()))
    }

    /// By chance, or by the conversation.
    fn seed(&self, request: &ChatRequest) -> u64 {
        if self.strategy == Strategy::Sticky {
            let conversation = match &self.conversation {
                Some(conversation) => conversation(request),
                None => {
                    let mut hash = Fnv::default();
                    needs::conversation(request, &mut hash).map(|()| hash.finish())
                }
            };
            if let Some(conversation) = conversation {
                return conversation;
            }
        }
        // The constant of SplitMix64.
        let next = self
            .rolls
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed(next)
    }
}

/// Whether the answer comes piece by piece.
pub(super) fn streams(request: &ChatRequest) -> bool {
    let converses = matches!(
        request.operation(),
        Operation::Chat | Operation::Completions
    );
    request.streams() && converses
}

fn estimated(price: &Price, call: &Call<'_>, output: u64) -> Option<Money> {
    let usage = Usage::new(call.tokens(), output);
    price.cost(&usage).ok()
}
