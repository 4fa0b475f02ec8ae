//! Whoever decides says the same: Redis, the arithmetic by itself, a store in this process, and a layer
//! without a store, by governor where that counts exactly.

use super::{RedisStore, server::RedisServer};
use crate::{
    principal::Limit,
    rate_limit::{
        MemoryStore, Quota,
        memory::Memory,
        meter::{Decision, State},
        store::{Rules, Store, Take, Taken},
        table::Slot,
    },
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{cell::Cell, collections::HashMap, sync::Arc, time::Duration};

const SECOND: u64 = 1_000_000;
/// 2026-11-21, about noon.
const NOON: u64 = 1_795_262_400 * SECOND;

fn any_quota() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![
        1..1000_u64,
        1..SECOND,
        1..100 * SECOND,
        1..365 * 86_400 * SECOND,
        Just(60 * SECOND),
    ];
    let units = || prop_oneof![0..5_u64, 1..60_u64, 1..1_000_000_000_000_000_u64];
    let quota = (units(), period, units(), 0..5_u8, any::<bool>());
    quota.prop_map(|(limit, period, burst, algorithm, shadow)| {
        let quota = Quota::per(limit, Duration::from_micros(period));
        let quota = match algorithm {
            0 => quota.burst(burst),
            1 => quota,
            2 => quota.sliding_window(),
            3 => quota.fixed_window(),
            _ => Quota::per_month(limit),
        };
        // A fifth, about: else they hide what the others do.
        if shadow && burst % 3 == 0 {
            quota.shadow()
        } else {
            quota
        }
    })
}

/// One that governor decides on: a unit comes back in whole nanoseconds.
fn a_governed_quota() -> impl Strategy<Value = Quota> {
    let interval = prop_oneof![1..5000_u64, 1..SECOND];
    (1..60_u64, interval, 1..60_u64).prop_map(|(limit, interval, burst)| {
        // In eighths of a microsecond.
        let period = Duration::from_micros(limit * interval);
        Quota::per(limit * 8, period).burst(burst)
    })
}

#[derive(Clone, Copy, Debug)]
struct Step {
    clock: u8,
    by: u64,
    size: u8,
    cost: u64,
    plan: u8,
    units: u64,
}

#[derive(Clone, Debug)]
struct Trace {
    quotas: Vec<Quota>,
    /// Whether the clock is never set back.
    onward: bool,
    /// Whether a configuration is loaded meanwhile.
    loads: bool,
    /// Whether the store may have forgotten what was.
    forgets: bool,
    steps: Vec<Step>,
}

fn any_trace() -> impl Strategy<Value = Trace> {
    let step = (
        0..9_u8,
        any::<u64>(),
        0..4_u8,
        any::<u64>(),
        0..8_u8,
        0..100_u64,
    );
    let step = step.prop_map(|(clock, by, size, cost, plan, units)| Step {
        clock,
        by,
        size,
        cost,
        plan,
        units,
    });
    let quotas = prop_oneof![
        prop::collection::vec(a_governed_quota(), 1),
        prop::collection::vec(any_quota(), 1..4),
    ];
    let steps = prop::collection::vec(step, 1..12);
    (quotas, any::<(bool, bool)>(), 0..4_u8, steps).prop_map(
        |(quotas, (onward, loads), forgets, steps)| Trace {
            quotas,
            onward,
            loads,
            forgets: forgets == 0,
            steps,
        },
    )
}

impl Trace {
    /// By what a call is counted: the quotas, or those of one who has other limits, or those of a
    /// configuration that was loaded since.
    fn plan(&self, step: Step) -> Vec<Quota> {
        let mut quotas = self.quotas.clone();
        let first = quotas[0].clone();
        let limit =
            |period| Limit::new(first.label(), step.units, period).with_burst(step.cost % 90);
        match step.plan % if self.loads { 8 } else { 6 } {
            0..4 => {}
            4 => quotas[0] = first.limited(&limit(first.period())),
            5 => quotas[0] = first.limited(&limit(Duration::from_millis(1 + step.units / 50))),
            6 => quotas.insert(0, Quota::per_hour(step.units)),
            _ => quotas.truncate(1.max(quotas.len() - 1)),
        }
        quotas
    }

    fn clock(&self, step: Step, now: u64) -> u64 {
        let period = self.quotas[0].window() * SECOND;
        let now = match step.clock {
            0..3 => now,
            3 => now + step.by % 10,
            4..6 => now + step.by % period,
            6..8 => now + step.by % (3 * period),
            _ if self.onward => now + step.by % 1000,
            _ => now.saturating_sub(step.by % (2 * period)),
        };
        // The time that can be told exactly ends in 2112.
        now.min(4_500_000_000 * SECOND)
    }

    /// What somebody says, who knows it or not.
    fn known(&self, step: Step, now: u64, quotas: usize) -> Box<[[u64; 3]]> {
        if !self.forgets || step.size == 1 {
            return Box::default();
        }
        let period = self.quotas[0].window() * SECOND;
        let time = match step.by % 4 {
            0 => now - now % period,
            1 => (now - now % period).saturating_sub(period),
            2 => step.cost % period,
            _ => 0,
        };
        vec![[time, step.units, step.cost % 99]; quotas].into()
    }

    fn cost(&self, Step { size, cost, .. }: Step) -> u64 {
        match size {
            0 => 1,
            1 => cost % 7,
            2 => cost % (self.quotas[0].limit() + 2),
            _ => cost >> (cost % 64),
        }
    }
}

fn told(taken: &Taken, take: &Take) -> Vec<Decision> {
    let rules = take.rules.rules.iter().zip(taken.buckets());
    rules
        .map(|(rule, (fits, state))| rule.meter.tell(fits, state, take.cost, taken.now()))
        .collect()
}

/// Whatever comes when, to quotas of all kinds and sizes, which change meanwhile, also by a clock that is
/// set back: the script decides as the arithmetic does, and keeps the same numbers. A store in this process
/// and a layer without a store, whose clocks are not set back, tell the same.
#[test]
fn redis_and_this_process_agree_on_10_000_traces() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let redis = RedisStore::new(server.url()).unwrap();
    let (count, governed) = (Cell::new(0_u32), Cell::new(0_u32));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // It must not learn the script in the midst of a trace, which would change its order.
    let first = redis.take(super::take(&[Quota::per_day(1)], "first", 1));
    runtime.block_on(first).unwrap();
    let agreed = runner.run(&any_trace(), |trace| {
        count.set(count.get() + 1);
        let bucket = format!("trace:{}", count.get());
        let store = MemoryStore::new(10);
        let layer = Memory::new(&trace.quotas, 10).made_at(NOON);
        let mut kept = HashMap::<String, State>::new();
        let mut now = NOON;
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for step in trace.steps.iter().copied() {
            now = trace.clock(step, now);
            let quotas = trace.plan(step);
            let take = Take {
                bucket: bucket.as_str().into(),
                known: trace.known(step, now, quotas.len()),
                rules: Arc::new(Rules::new(&quotas)),
                cost: trace.cost(step),
                now: Some(now),
            };
            let fields: Vec<_> = take.quotas().map(str::to_owned).collect();
            let known = |field| kept.get(field).copied().unwrap_or_default();
            let mut states: Vec<_> = fields.iter().map(known).collect();
            let taken = take.decide(&mut states, now);
            kept.extend(fields.into_iter().zip(states));
            let expected = told(&taken, &take);
            if trace.onward {
                let stored = runtime.block_on(store.take(take.clone())).unwrap();
                prop_assert_eq!(&told(&stored, &take), &expected, "a store in this process");
            }
            // A layer has its quotas for ever, and all calls are counted by some of these.
            if trace.onward && !trace.loads && !trace.forgets {
                governed.set(governed.get() + u32::from(layer.is_governed()));
                let (slot, nanos) = (Slot::Named(7), (now - NOON) * 1000);
                let rules = &take.rules.rules;
                let decided =
                    layer.take_at(slot, rules, (4..6).contains(&step.plan), take.cost, nanos);
                prop_assert_eq!(decided.as_slice(), &expected[..], "a layer");
            }
            here.push(taken);
            there.push(redis.take(take));
        }
        // One connection takes them in this order.
        let there: Result<Vec<_>, _> = runtime
            .block_on(futures_util::future::join_all(there))
            .into_iter()
            .collect();
        prop_assert_eq!(there.unwrap(), here);
        Ok(())
    });
    agreed.unwrap();
    assert_eq!(count.get(), 10_000);
    assert!(governed.get() > 1000, "by governor: {}", governed.get());
    println!(
        "traces: {} agreed, with {} calls to governor",
        count.get(),
        governed.get()
    );
}
