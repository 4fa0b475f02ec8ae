//! Who can take a call, and in which order they are asked.

use super::{
    Inner, Strategy, Verdict,
    call::Call,
    needs::{self, Needs, lacks, surely_can},
    order::{Fnv, Standing, mixed, order},
    state::Now,
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
    /// Those that can take it, in the order in which they are asked.
    pub(super) order: Vec<Standing>,
    /// Those that cannot, and why.
    pub(super) dropped: Vec<(usize, Verdict)>,
}

impl Picked {
    /// What a caller is told when nobody can take its call.
    pub(super) fn nobody(&self, pool: &Inner, now: Now) -> Rejection {
        let states = self.dropped.iter().map(|(at, _)| &pool.states[*at]);
        let cooling = states.filter_map(|state| state.cooling(now.since, now.now));
        let is = |verdict| self.dropped.iter().any(|(_, one)| *one == verdict);
        if let Some(rest) = cooling.min().filter(|_| is(Verdict::Cooling)) {
            // A second is what such headers can tell at the least.
            let rest = rest.max(Duration::from_secs(1));
            return Rejection::new(Kind::UpstreamRateLimited).with_retry_after(rest);
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
    /// Filters, and puts the rest into order.
    pub(super) fn pick(&self, request: &ChatRequest, now: Now) -> Picked {
        let call = Call::new(request);
        let needs = self.needs.as_ref().map(|needs| needs(&call));
        let explains = request.extensions().get::<Explain>().is_some();
        let seed = self.seed(request);
        let streams = streams(request);
        let tick = now.tick();
        let mut picked = Picked {
            order: Vec::with_capacity(self.entries.len()),
            dropped: Vec::new(),
        };
        for (at, entry) in self.entries.iter().enumerate() {
            let state = &self.states[at];
            let known = self.known(at, request);
            let facts = known.map(|known| known.0);
            let asks_price = self.strategy.asks_prices()
                || explains
                || entry.most.is_some()
                || needs.as_ref().is_some_and(|needs| needs.most.is_some());
            let price = known
                .and_then(|known| known.1)
                .filter(|_| asks_price)
                .and_then(|price| estimated(price, &call));
            if let Some(verdict) = self.drops(at, &call, needs.as_ref(), facts, price, now) {
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
                price,
                sure,
                draw: mixed(seed ^ self.hashes[at]),
            });
        }
        order(self.strategy, &mut picked.order);
        picked
    }

    /// Why it cannot take the call.
    fn drops(
        &self,
        at: usize,
        call: &Call<'_>,
        needs: Option<&Needs>,
        facts: Option<&ModelFacts>,
        price: Option<Money>,
        now: Now,
    ) -> Option<Verdict> {
        let (entry, state) = (&self.entries[at], &self.states[at]);
        if !entry.holds(call) {
            return Some(Verdict::Condition);
        }
        if let Some(region) = needs.and_then(|needs| needs.region.as_ref())
            && entry.region.as_ref() != Some(region)
        {
            return Some(Verdict::Region);
        }
        if let Some(verdict) = facts.and_then(|facts| lacks(facts, call, needs)) {
            return Some(verdict);
        }
        let mut most = entry
            .most
            .iter()
            .chain(needs.and_then(|needs| needs.most.as_ref()));
        if most.any(|most| price.is_none_or(|price| price > *most)) {
            return Some(Verdict::Price);
        }
        if state.drained.load(Ordering::Relaxed) {
            return Some(Verdict::Drained);
        }
        state.cooling(now.since, now.now).map(|_| Verdict::Cooling)
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

fn estimated(price: &Price, call: &Call<'_>) -> Option<Money> {
    let usage = Usage::new(call.tokens(), call.output());
    price.cost(&usage).ok()
}
