use super::*;
use crate::rate_limit::{Quota, contract, store::Rules};
use proptest::{prelude::*, test_runner::TestRunner};
use redis::AsyncCommands;
use std::{cell::Cell, sync::Arc};

mod cluster;
#[path = "../../../tests/support/redis.rs"]
mod server;
mod tls;

use server::{RedisCluster, RedisServer};

const SECOND: u64 = 1_000_000;
/// 2026-11-21, about noon.
const NOON: u64 = 1_795_262_400 * SECOND;

/// A connection that is nobody's else.
async fn plain(server: &RedisServer) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    contract::all(&RedisStore::new(server.url()).unwrap()).await;
}

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

type Step = (u8, u64, u8, u64);

fn any_trace() -> impl Strategy<Value = (Vec<Quota>, Vec<Step>)> {
    let step = (0..9_u8, any::<u64>(), 0..4_u8, any::<u64>());
    (
        prop::collection::vec(any_quota(), 1..4),
        prop::collection::vec(step, 1..12),
    )
}

/// Whatever comes when, to quotas of all kinds and sizes, also by a clock that goes back: the script
/// decides as this process does, and keeps the same numbers.
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
    let count = Cell::new(0_u32);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // It must not learn the script in the midst of a trace, which would change its order.
    let first = redis.take(take(&[Quota::per_day(1)], "first", 1));
    runtime.block_on(first).unwrap();
    let agreed = runner.run(&any_trace(), |(quotas, steps)| {
        count.set(count.get() + 1);
        let bucket = format!("trace:{}", count.get());
        let rules = Arc::new(Rules::new(&quotas));
        let mut states = vec![State::default(); quotas.len()];
        let period = quotas[0].window() * SECOND;
        let mut now = NOON;
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for (kind, step, size, cost) in steps {
            now = match kind {
                0..3 => now,
                3 => now + step % 10,
                4..6 => now + step % period,
                6..8 => now + step % (3 * period),
                _ => now.saturating_sub(step % (2 * period)),
            };
            // The time that can be told exactly ends in 2112.
            now = now.min(4_500_000_000 * SECOND);
            let cost = match size {
                0 => 1,
                1 => cost % 7,
                2 => cost % (quotas[0].limit() + 2),
                _ => cost >> (cost % 64),
            };
            let take = Take {
                bucket: bucket.as_str().into(),
                rules: rules.clone(),
                cost,
                now: Some(now),
            };
            here.push(take.decide(&mut states, now));
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
    println!("traces: {} agreed", count.get());
}

fn take(quotas: &[Quota], bucket: &str, cost: u64) -> Take {
    Take {
        bucket: bucket.into(),
        rules: Arc::new(Rules::new(quotas)),
        cost,
        now: None,
    }
}

#[tokio::test]
async fn what_is_full_again_expires_and_not_before() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).unwrap().prefix("p:");
    let mut connection = plain(&server).await;
    let both = [Quota::per_minute(60), Quota::per_day(5).sliding_window()];
    store.take(take(&both, "a", 2)).await.unwrap();
    let left: i64 = connection.pttl("p:{a}").await.unwrap();
    let day = 86_400_000;
    assert!((day - 1000..=2 * day + 1).contains(&left), "{left}");
    // Of a quota that is full sooner the key does not expire sooner.
    store.take(take(&both[..1], "a", 1)).await.unwrap();
    let later: i64 = connection.pttl("p:{a}").await.unwrap();
    assert!((left - 1000..=left).contains(&later), "{later}");
    store.take(take(&both[..1], "b", 2)).await.unwrap();
    let left: i64 = connection.pttl("p:{b}").await.unwrap();
    assert!((1500..=2001).contains(&left), "{left}");
    store
        .take(take(&[Quota::per_day(0)], "c", 1))
        .await
        .unwrap();
    let kept: bool = connection.exists("p:{c}").await.unwrap();
    assert!(!kept, "a refusal leaves nothing");
    let bytes: u64 = redis::cmd("MEMORY")
        .arg("USAGE")
        .arg("p:{b}")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(bytes <= 200, "{bytes}");
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).unwrap();
    let quotas = [Quota::per_day(2)];
    let fits = async || {
        let taken = store.take(take(&quotas, "a", 1)).await.unwrap();
        taken.buckets().all(|(fits, _)| fits)
    };
    assert!(fits().await);
    let mut connection = plain(&server).await;
    let flushed: Result<(), _> = redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async(&mut connection)
        .await;
    flushed.unwrap();
    assert!(fits().await);
    assert!(!fits().await, "it counted both");
}

#[tokio::test]
async fn what_is_in_redis_and_is_no_bucket_is_a_full_one_or_an_error() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).unwrap();
    let quotas = [Quota::per_day(2)];
    let mut connection = plain(&server).await;
    let field = "gcra:86400000000:per-day";
    for rubbish in ["", "x", "1", "-1 2 3", "1 2 3 4", "1e9 0 0"] {
        let _: () = connection
            .hset("rate-limit:{a}", field, rubbish)
            .await
            .unwrap();
        let taken = store.take(take(&quotas, "a", 2)).await.unwrap();
        assert!(taken.buckets().all(|(fits, _)| fits), "{rubbish}");
    }
    let _: () = connection.set("rate-limit:{b}", "a string").await.unwrap();
    let error = store.take(take(&quotas, "b", 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "Redis: WRONGTYPE");
}

#[test]
fn a_url_is_never_shown() {
    for url in [
        "redis://user:canary@127.0.0.1:1/0",
        "redis://user:canary@[::1",
        "canary",
        "rediss://user:canary@127.0.0.1/",
        "rediss://user:canary@127.0.0.1/canary",
        "rediss://user:canary@127.0.0.1/#insecure",
        "redis+unix:///tmp/none?pass=canary",
    ] {
        for made in [RedisStore::new(url), RedisStore::cluster([url])] {
            match made {
                Ok(store) => assert!(!format!("{store:?}").contains("canary")),
                Err(error) => assert!(!format!("{error:?} {error}").contains("canary"), "{url}"),
            }
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_at_once() {
    let local = "rediss://127.0.0.1:1";
    let insecure = format!("{local}#insecure");
    for wrong in [
        "",
        "127.0.0.1",
        "http://127.0.0.1",
        "redis://127.0.0.1/zero",
        &insecure,
    ] {
        assert!(RedisStore::new(wrong).is_err(), "{wrong}");
        assert!(RedisStore::cluster([wrong]).is_err(), "{wrong}");
    }
    assert!(RedisStore::cluster([""; 0]).is_err());
    assert!(RedisStore::cluster(["redis://a:x@127.0.0.1", "redis://b:x@127.0.0.1"]).is_err());
    assert!(RedisStore::cluster([local, "redis://127.0.0.1:2"]).is_err());
    let tls = || RedisStore::new(local).unwrap();
    assert!(tls().identity_pem("canary", "canary").is_err());
    assert!(
        RedisStore::new("redis://127.0.0.1:1")
            .unwrap()
            .trust_pem("")
            .is_err()
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_says_so() {
    let url = "redis://user:canary@127.0.0.1:1/0";
    for store in [RedisStore::new(url), RedisStore::cluster([url])] {
        let store = store.unwrap();
        let error = store
            .take(take(&[Quota::per_day(2)], "a", 1))
            .await
            .unwrap_err();
        assert_eq!(error.failure(), Failure::Unavailable);
        assert!(!format!("{error:?}").contains("canary"));
    }
}
