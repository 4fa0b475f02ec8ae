//! How well the strategies do, by simulation: calls that come at random to ten endpoints, of which one is
//! slow. The clock is simulated, chance repeats itself.

use super::pick::{
    Alias, Dice, Latency, LeastOutstanding, PeakEwma, Ring, SmoothWeighted, bound, hash,
    round_robin,
};
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};
use tokio::time::Instant;

const ENDPOINTS: usize = 10;
/// 1000 calls a second.
const BETWEEN: f64 = 0.001;
const CALLS: usize = 100_000;
/// 20 ms, and 10 ms more on average; the slow one takes 20 times that.
const LEAST: f64 = 0.020;
const MORE: f64 = 0.010;
const SLOWER: f64 = 20.0;
const SLOW: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Simulated {
    RoundRobin,
    Random,
    LeastOutstanding,
    PeakEwma,
}

impl Simulated {
    pub(crate) const ALL: [Self; 4] = [
        Self::RoundRobin,
        Self::Random,
        Self::LeastOutstanding,
        Self::PeakEwma,
    ];
}

/// How long calls took, in milliseconds, and which share of them the slow endpoint had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) slow_share: f64,
}

pub(crate) fn tail(strategy: Simulated, seed: u64) -> Tail {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let ewma = PeakEwma::new(start);
    let drawn = Alias::new(&[1.0; ENDPOINTS]);
    let least = LeastOutstanding::new(&[1.0; ENDPOINTS]);
    let mut dice = Dice::new(seed);
    let mut out = [0_u32; ENDPOINTS];
    let mut latency = [Latency::UNKNOWN; ENDPOINTS];
    // When each call ends, in nanoseconds; where; and how long it took.
    let mut ends: BinaryHeap<Reverse<(u64, usize, Duration)>> = BinaryHeap::new();
    let mut took = Vec::with_capacity(CALLS);
    let mut slow = 0_u32;
    let mut now = 0.0;
    for call in 0..CALLS {
        now -= BETWEEN * (1.0 - dice.unit()).ln();
        while let Some(&Reverse((end, endpoint, time))) = ends.peek()
            && end as f64 <= now * 1e9
        {
            ends.pop();
            out[endpoint] -= 1;
            let end = start + Duration::from_nanos(end);
            latency[endpoint] = ewma.observe(latency[endpoint], time, end);
        }
        let endpoint = match strategy {
            Simulated::RoundRobin => round_robin(call as u64, ENDPOINTS),
            Simulated::Random => drawn.pick(&mut dice),
            Simulated::LeastOutstanding => least.pick(&mut dice, |one| Some(out[one])),
            Simulated::PeakEwma => PeakEwma::pick(&drawn, &mut dice, |one| {
                Some(ewma.cost(latency[one], out[one], at(now)))
            }),
        };
        let endpoint = endpoint.unwrap_or_default();
        let time = LEAST - MORE * (1.0 - dice.unit()).ln();
        let time = if endpoint == SLOW {
            time * SLOWER
        } else {
            time
        };
        slow += u32::from(endpoint == SLOW);
        out[endpoint] += 1;
        took.push(time);
        let end = ((now + time) * 1e9) as u64;
        ends.push(Reverse((end, endpoint, Duration::from_secs_f64(time))));
    }
    took.sort_by(f64::total_cmp);
    let percentile = |share: f64| took[((CALLS - 1) as f64 * share) as usize] * 1e3;
    Tail {
        p50: percentile(0.5),
        p99: percentile(0.99),
        p999: percentile(0.999),
        slow_share: f64::from(slow) / CALLS as f64,
    }
}

/// By how much the share of an endpoint is off its weight at the most, over 100,000 picks: in turn, and at
/// random.
pub(crate) fn off_weight() -> (f64, f64) {
    const PICKS: u32 = 100_000;
    let weights = [50, 20, 10, 7, 5, 4, 2, 1, 1];
    let total: u32 = weights.iter().sum();
    let worst = |mut pick: Box<dyn FnMut(u64) -> Option<usize>>| {
        let mut counts = [0_u32; 9];
        for turn in 0..PICKS {
            if let Some(at) = pick(turn.into()) {
                counts[at] += 1;
            }
        }
        let off = counts.iter().zip(weights).map(|(&count, weight)| {
            let share = f64::from(count) / f64::from(PICKS);
            (share - f64::from(weight) / f64::from(total)).abs()
        });
        off.fold(0.0, f64::max)
    };
    let smooth = SmoothWeighted::new(&weights);
    let alias = Alias::new(&weights.map(f64::from));
    let mut dice = Dice::new(2);
    let in_turn = worst(Box::new(move |turn| smooth.at(turn)));
    (in_turn, worst(Box::new(move |_| alias.pick(&mut dice))))
}

/// Which share of keys a ring moves when one of `n` endpoints goes, at the most.
pub(crate) fn moved(n: usize) -> f64 {
    const KEYS: u64 = 20_000;
    let names: Vec<_> = (0..n).map(|at| format!("endpoint-{at}")).collect();
    let ring = |names: &[&str]| {
        let ring = Ring::new(names.iter().map(|name| (*name, 1)), Ring::POINTS);
        let whose = |key| {
            ring.pick(hash(&key), |_| true)
                .map(|at| names[at].to_owned())
        };
        (0..KEYS).map(whose).collect::<Vec<_>>()
    };
    let all: Vec<_> = names.iter().map(|name| &**name).collect();
    let before = ring(&all);
    let gone = (0..n.min(10)).map(|gone| {
        let mut fewer = all.clone();
        fewer.remove(gone);
        let after = ring(&fewer);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        moved as f64 / KEYS as f64
    });
    gone.fold(0.0, f64::max)
}

/// How many times the mean the most loaded endpoint has, less one call, when a tenth of the keys make nine
/// tenths of the calls: with a bound of 1.25, and without.
pub(crate) fn bounded() -> (f64, f64) {
    let names: Vec<_> = (0..ENDPOINTS).map(|at| format!("endpoint-{at}")).collect();
    let ring = Ring::new(names.iter().map(|name| (&**name, 1)), Ring::POINTS);
    let run = |factor: f64| {
        let mut dice = Dice::new(4);
        let mut out = [0_u32; ENDPOINTS];
        let mut calls: Vec<usize> = Vec::new();
        let mut worst: f64 = 0.0;
        for _ in 0..20_000 {
            // 200 calls are out.
            if calls.len() == 200 {
                out[calls.swap_remove(dice.below(200))] -= 1;
            }
            let hot = dice.unit() < 0.9;
            let key = if hot {
                dice.below(10)
            } else {
                10 + dice.below(90)
            };
            let most = bound(factor, calls.len() as u64, 1.0 / ENDPOINTS as f64);
            let Some(at) = ring.pick(hash(&key), |at| out[at] < most) else {
                continue;
            };
            out[at] += 1;
            calls.push(at);
            let mean = calls.len() as f64 / ENDPOINTS as f64;
            worst = worst.max((f64::from(out[at]) - 1.0) / mean);
        }
        worst
    };
    (run(1.25), run(1e6))
}
