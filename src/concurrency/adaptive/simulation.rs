//! A service of known capacity, and a load that never ends.

use super::*;
use std::{cmp::Reverse, collections::BinaryHeap};

/// So many workers that take so long for a call, and a queue before them without bound.
struct Service {
    free_at: Vec<Instant>,
    takes: Duration,
    random: u64,
}

impl Service {
    fn new(workers: usize, takes: Duration, now: Instant) -> Self {
        Self {
            free_at: vec![now; workers],
            takes,
            random: 0x2545_f491_4f6c_dd1d,
        }
    }

    /// When a call that comes now is answered. A call takes 10 % more or less than another.
    fn call(&mut self, now: Instant) -> Instant {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let takes = self.takes * (90 + (self.random % 21) as u32) / 100;
        let worker = self.free_at.iter_mut().min();
        let worker = worker.expect("there is one");
        *worker = (*worker).max(now) + takes;
        *worker
    }
}

struct Simulation {
    core: Core,
    service: Service,
    now: Instant,
    /// When each is answered, and when it began.
    flying: BinaryHeap<Reverse<(Instant, Instant)>>,
}

/// What there was to see in a while.
#[derive(Debug)]
struct Seen {
    answered: usize,
    /// The greatest limit, and the least that was no probe.
    most: usize,
    least: usize,
    slowest: Duration,
}

impl Simulation {
    fn new(limit: impl Into<AdaptiveLimit>) -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(&limit.into(), now),
            // 2,000 a second.
            service: Service::new(20, Duration::from_millis(10), now),
            now,
            flying: BinaryHeap::new(),
        }
    }

    /// 5,000 calls a second for so long.
    fn run(&mut self, seconds: u64) -> Seen {
        let mut seen = Seen {
            answered: 0,
            most: 0,
            least: usize::MAX,
            slowest: Duration::ZERO,
        };
        for _ in 0..seconds * 5000 {
            self.now += Duration::from_micros(200);
            while let Some(Reverse((ends, begun))) = self.flying.peek().copied()
                && ends <= self.now
            {
                let sample = Sample {
                    begun,
                    now: ends,
                    in_flight: self.flying.len(),
                    outcome: Outcome::Success,
                };
                self.flying.pop();
                self.core.sample(&sample);
                seen.answered += 1;
                seen.slowest = seen.slowest.max(sample.took());
            }
            let limit = self.core.limit();
            seen.most = seen.most.max(limit);
            if limit > 3 {
                seen.least = seen.least.min(limit);
            }
            if self.flying.len() < limit {
                let ends = self.service.call(self.now);
                self.flying.push(Reverse((ends, self.now)));
            }
        }
        seen
    }
}

#[test]
fn the_gradient_finds_the_capacity_and_comes_back_after_a_step() {
    let mut simulation = Simulation::new(Gradient::new());
    simulation.run(10);
    // What keeps 20 workers busy, a quarter more and a root: 30.
    let seen = simulation.run(30);
    assert!(seen.least >= 20 && seen.most <= 40, "{seen:?}");
    assert!(seen.answered >= 30 * 2000 * 95 / 100, "{seen:?}");
    assert!(seen.slowest <= Duration::from_millis(25), "{seen:?}");

    // It becomes three times as slow. Time at rest is found anew, and so is the same limit.
    simulation.service.takes = Duration::from_millis(30);
    simulation.run(10);
    let seen = simulation.run(10);
    assert!(seen.least >= 20 && seen.most <= 40, "{seen:?}");
    assert!(seen.answered >= 10 * 666 * 95 / 100, "{seen:?}");

    // And as fast as before: the next time that rest is found, at the latest, the limit is right again.
    simulation.service.takes = Duration::from_millis(10);
    simulation.run(80);
    let seen = simulation.run(30);
    assert!(seen.least >= 20 && seen.most <= 40, "{seen:?}");
    assert!(seen.answered >= 30 * 2000 * 95 / 100, "{seen:?}");
}

#[test]
fn aimd_finds_the_capacity_and_comes_back_after_a_step() {
    // Answers take 20 ms when 40 are in flight.
    let mut simulation = Simulation::new(Aimd::new(Duration::from_millis(20)));
    simulation.run(10);
    let seen = simulation.run(30);
    assert!(seen.least >= 28 && seen.most <= 42, "{seen:?}");
    assert!(seen.answered >= 30 * 2000 * 99 / 100, "{seen:?}");

    // Now when 30 are.
    simulation.service.free_at.truncate(15);
    simulation.run(10);
    let seen = simulation.run(30);
    assert!(seen.least >= 20 && seen.most <= 32, "{seen:?}");
    assert!(seen.answered >= 30 * 1500 * 99 / 100, "{seen:?}");

    let now = simulation.now;
    simulation.service.free_at.resize(20, now);
    simulation.run(10);
    let seen = simulation.run(30);
    assert!(seen.least >= 28 && seen.most <= 42, "{seen:?}");
}
