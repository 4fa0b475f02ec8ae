//! In which order entries are asked: plain data in, an order out.

use crate::llm::catalog::Money;
use std::cmp::Ordering;

/// By what a [pool](super::Pool) orders those that can take a call.
///
/// Whatever it is, entries of a smaller [priority](super::Entry::priority) number come first, and those
/// that it cannot tell apart are asked in the order in which they were added, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// As they were added: the first one, and the next when it fails.
    #[default]
    Failover,
    /// At random, as often as their [weights](super::Entry::weight) say. One of weight 0 is asked when no
    /// other is left.
    Weighted,
    /// The one with the fewest calls in flight for its weight; at random among equals. A call is in flight
    /// until the last byte of its answer.
    LeastBusy,
    /// The one whose answer is likely to be there first, times its calls in flight and one: the time to
    /// the first token and that for 256 more, or for answers in one piece the time for all of it. Both are
    /// averages that forget within some minutes, so one that was slow is tried again; one of which nothing
    /// is known counts as twice as fast as the fastest.
    LowestLatency,
    /// The cheapest by the catalog, for the tokens of the call as they are estimated and an answer of 512
    /// tokens, or of fewer if no more are asked for. Those without a price come last.
    LowestPrice,
    /// The cheapest of those of which it is known that they can do all that the request asks for, and then
    /// the cheapest of those of which nobody knows.
    CheapestCapable,
    /// The same one for the same conversation, by weight, which keeps the vendor's prompt cache warm.
    /// While that one is out the conversation goes to another, always the same, and then comes back. When
    /// an entry is added no conversation moves but to it.
    Sticky,
}

impl Strategy {
    pub(super) fn asks_prices(self) -> bool {
        matches!(self, Self::LowestPrice | Self::CheapestCapable)
    }
}

/// What is known of one that can take the call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// Its place in the pool.
    pub(super) at: usize,
    pub(super) priority: u32,
    pub(super) weight: u32,
    pub(super) in_flight: u32,
    /// How long its answer is likely to take, in seconds.
    pub(super) latency: Option<f32>,
    /// Whether it is known to do all that is asked.
    pub(super) sure: bool,
    /// 64 bits of chance, or of a hash.
    pub(super) draw: u64,
    /// The smallest is asked first, among those of one priority. [`rank`] sets it.
    pub(super) score: f64,
}

/// What they cost, by their places in the pool. Empty where nobody asks.
pub(super) type Prices = [Option<Money>];

/// Sets the scores, and puts the one that is asked first into the first place. The others are put
/// [in order](order) when it has failed: most often it does not.
pub(super) fn rank(strategy: Strategy, all: &mut [Standing], prices: &Prices) {
    if let [_] | [] = all {
        return;
    }
    score(strategy, all);
    let mut first = 0;
    for at in 1..all.len() {
        if compare(strategy, prices, &all[at], &all[first]).is_lt() {
            first = at;
        }
    }
    all.swap(0, first);
}

/// Puts them into the order in which they are asked.
pub(super) fn order(strategy: Strategy, all: &mut [Standing], prices: &Prices) {
    all.sort_unstable_by(|one, other| compare(strategy, prices, one, other));
}

fn score(strategy: Strategy, all: &mut [Standing]) {
    match strategy {
        Strategy::Failover | Strategy::LowestPrice | Strategy::CheapestCapable => {}
        Strategy::Weighted | Strategy::Sticky => {
            let weight = all[0].weight;
            if weight > 0 && all.iter().all(|one| one.weight == weight) {
                // In the same order as below, and no logarithm is taken.
                all.iter_mut().for_each(|one| one.score = -unit(one.draw));
                return;
            }
            // Time to the first event of a Poisson process of this rate: the order of such times picks by
            // weight without putting back (Efraimidis and Spirakis), and by rendezvous where the draw is a
            // hash.
            for one in all {
                one.score = match one.weight {
                    0 => f64::INFINITY,
                    weight => -unit(one.draw).ln() / f64::from(weight),
                };
            }
        }
        Strategy::LeastBusy => {
            for one in all {
                one.score = match one.weight {
                    0 => f64::INFINITY,
                    weight => load(one) / f64::from(weight),
                };
            }
        }
        Strategy::LowestLatency => {
            let fastest = all.iter().filter_map(|one| one.latency);
            let fastest = fastest.fold(f32::INFINITY, f32::min);
            let unknown = if fastest.is_finite() {
                fastest / 2.0
            } else {
                1.0
            };
            for one in all {
                one.score = f64::from(one.latency.unwrap_or(unknown)) * load(one);
            }
        }
    }
}

fn load(one: &Standing) -> f64 {
    f64::from(one.in_flight) + 1.0
}

fn compare(strategy: Strategy, prices: &Prices, one: &Standing, other: &Standing) -> Ordering {
    let price = |of: &Standing| prices.get(of.at).copied().flatten();
    let mut order = one.priority.cmp(&other.priority);
    if strategy == Strategy::CheapestCapable {
        order = order.then_with(|| other.sure.cmp(&one.sure));
    }
    if strategy.asks_prices() {
        order = order.then_with(|| match (price(one), price(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
    } else {
        order = order.then_with(|| one.score.total_cmp(&other.score));
    }
    if let Strategy::LeastBusy | Strategy::LowestLatency = strategy {
        order = order.then_with(|| one.draw.cmp(&other.draw));
    }
    order.then_with(|| one.at.cmp(&other.at))
}

/// A number above 0 and not above 1.
fn unit(draw: u64) -> f64 {
    ((draw >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Spreads what is near to each other: the finaliser of SplitMix64.
pub(super) fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// FNV-1a: the same in every process, so that gateways beside each other agree on who has a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        mixed(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, hash::Hasher};

    fn one(at: usize) -> Standing {
        Standing {
            at,
            priority: 0,
            weight: 1,
            in_flight: 0,
            latency: None,
            sure: false,
            draw: mixed(at as u64),
            score: 0.0,
        }
    }

    fn ordered(strategy: Strategy, all: Vec<Standing>) -> Vec<usize> {
        priced(strategy, all, &[])
    }

    fn priced(strategy: Strategy, mut all: Vec<Standing>, prices: &Prices) -> Vec<usize> {
        rank(strategy, &mut all, prices);
        let first = all.first().map(|one| one.at);
        order(strategy, &mut all, prices);
        assert_eq!(all.first().map(|one| one.at), first);
        all.iter().map(|one| one.at).collect()
    }

    #[test]
    fn a_smaller_priority_goes_first_whatever_the_strategy() {
        let prices = [Some(Money::ZERO), None];
        let second = Standing {
            priority: 1,
            latency: Some(0.001),
            sure: true,
            ..one(0)
        };
        let first = Standing {
            in_flight: 9,
            latency: Some(9.0),
            weight: 1,
            ..one(1)
        };
        for strategy in [
            Strategy::Failover,
            Strategy::Weighted,
            Strategy::LeastBusy,
            Strategy::LowestLatency,
            Strategy::LowestPrice,
            Strategy::CheapestCapable,
            Strategy::Sticky,
        ] {
            assert_eq!(priced(strategy, vec![second, first], &prices), [1, 0]);
        }
        assert_eq!(
            ordered(Strategy::Failover, vec![one(0), one(1), one(2)]),
            [0, 1, 2]
        );
    }

    #[test]
    fn weights_hold_over_many_picks() {
        let weights = [5, 3, 2, 0];
        let mut first = [0_usize; 4];
        for pick in 0..100_000_u64 {
            let all = weights.iter().enumerate().map(|(at, &weight)| Standing {
                weight,
                draw: mixed(mixed(pick) ^ at as u64),
                ..one(at)
            });
            let order = ordered(Strategy::Weighted, all.collect());
            assert_eq!(order[3], 3, "of weight 0");
            first[order[0]] += 1;
        }
        for (count, share) in first.into_iter().zip([50_000, 30_000, 20_000, 0]) {
            assert!(count.abs_diff(share) <= 1000, "{first:?}");
        }
    }

    #[test]
    fn the_least_busy_is_so_for_its_weight() {
        let busy = |at, in_flight, weight| Standing {
            in_flight,
            weight,
            ..one(at)
        };
        let all = vec![busy(0, 2, 1), busy(1, 4, 2), busy(2, 8, 10)];
        assert_eq!(ordered(Strategy::LeastBusy, all), [2, 1, 0]);
    }

    #[test]
    fn the_fastest_is_so_with_its_load_and_one_that_is_not_known_is_tried() {
        let fast = |at, latency, in_flight| Standing {
            latency,
            in_flight,
            ..one(at)
        };
        let all = vec![
            fast(0, Some(0.4), 0),
            fast(1, Some(0.1), 2),
            fast(2, None, 0),
        ];
        assert_eq!(ordered(Strategy::LowestLatency, all), [2, 1, 0]);
        // The one that is tried is not tried by everybody at once.
        let all = vec![fast(0, Some(0.1), 0), fast(1, None, 2)];
        assert_eq!(ordered(Strategy::LowestLatency, all), [0, 1]);
    }

    #[test]
    fn what_has_no_price_comes_last_and_what_surely_can_goes_first() {
        let prices = [None, Some(5), Some(2), Some(2)].map(|picos| picos.map(Money::from_picos));
        let all = || {
            let sure = [true, true, false, false].into_iter().enumerate();
            sure.map(|(at, sure)| Standing { sure, ..one(at) })
                .collect()
        };
        let ordered = |strategy| priced(strategy, all(), &prices);
        assert_eq!(ordered(Strategy::LowestPrice), [2, 3, 1, 0]);
        assert_eq!(ordered(Strategy::CheapestCapable), [1, 0, 2, 3]);
    }

    #[test]
    fn a_conversation_stays_and_moves_only_when_its_own_is_out() {
        let entries = ["a", "b", "c", "d"].map(|name| {
            let mut hash = Fnv::default();
            hash.write(name.as_bytes());
            hash.finish()
        });
        let standing = |conversation: u64, at: usize| Standing {
            draw: mixed(conversation ^ entries[at]),
            ..one(at)
        };
        let mut shares = HashMap::<_, usize>::new();
        for conversation in (0..10_000).map(mixed) {
            let all: Vec<_> = (0..4).map(|at| standing(conversation, at)).collect();
            let before = ordered(Strategy::Sticky, all.clone());
            assert_eq!(ordered(Strategy::Sticky, all.clone()), before);
            *shares.entry(before[0]).or_default() += 1;
            let without: Vec<_> = all.into_iter().filter(|one| one.at != 3).collect();
            let after = ordered(Strategy::Sticky, without);
            assert_eq!(after[0], if before[0] == 3 { before[1] } else { before[0] });
        }
        assert!(
            shares.values().all(|share| share.abs_diff(2500) < 250),
            "{shares:?}"
        );
    }
}
