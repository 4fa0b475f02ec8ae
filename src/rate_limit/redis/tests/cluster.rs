//! A cluster of three nodes.

use super::*;
use crate::{
    key::ByHeader,
    rate_limit::{OnStoreDown, RateLimitLayer},
};
use bytes::Bytes;
use http::{Request, Response};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

fn store(cluster: &RedisCluster) -> RedisStore {
    RedisStore::cluster(cluster.urls()).unwrap()
}

/// How many keys each node holds.
fn keys(cluster: &RedisCluster) -> Vec<u64> {
    let size = |node: &RedisServer| node.say("DBSIZE").trim().trim_start_matches(':').parse();
    cluster
        .nodes
        .iter()
        .map(|node| size(node).unwrap())
        .collect()
}

#[tokio::test]
async fn a_cluster_keeps_the_contract() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    contract::all(&store(&cluster)).await;
    // One node is enough to find the others.
    let one = RedisStore::cluster(&cluster.urls()[2..]).unwrap();
    let quotas = [Quota::per_day(9), Quota::per_minute(9).sliding_window()];
    let before: u64 = keys(&cluster).iter().sum();
    for n in 0..60 {
        for _ in 0..2 {
            let bucket = format!("spread:{n}");
            one.take(take(&quotas, &bucket, 1)).await.unwrap();
        }
    }
    let after = keys(&cluster);
    assert_eq!(
        after.iter().sum::<u64>(),
        before + 60,
        "a key for each decision"
    );
    assert!(after.iter().all(|keys| *keys > 0), "{after:?}");
}

/// Limits by two keys are two decisions, each on the node of its key.
#[tokio::test]
async fn a_tenant_and_its_users_may_be_on_different_nodes() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let store = Arc::new(store(&cluster));
    let limit = |name: &str, header, units| {
        RateLimitLayer::all([Quota::per_day(units), Quota::per_month(units)])
            .key(ByHeader::new(header))
            .shared(name, store.clone(), OnStoreDown::Deny)
            .timeout(Duration::from_secs(5))
    };
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let by_user = limit("users", "x-user", 2).layer(inner);
    let service = limit("tenants", "x-tenant", 5).layer(by_user);
    let mut statuses = Vec::new();
    for user in ["a", "a", "a", "b", "c", "d"] {
        let request = Request::get("/")
            .header("x-tenant", "acme")
            .header("x-user", user)
            .body(())
            .unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    // The third is the user's own limit, and stays charged to the tenant.
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429]);
    assert_eq!(keys(&cluster).iter().sum::<u64>(), 1 + 3);
}

#[tokio::test]
async fn calls_follow_a_slot_that_moves() {
    let Some(cluster) = RedisCluster::start() else {
        return;
    };
    let store = store(&cluster);
    let quotas = [Quota::per_day(3)];
    let fits = async || {
        let taken = store.take(take(&quotas, "moved", 1)).await.unwrap();
        taken.buckets().all(|(fits, _)| fits)
    };
    assert!(fits().await && fits().await);
    let number = |text: String| text.trim().trim_start_matches(':').to_owned();
    let slot = number(cluster.nodes[0].say("CLUSTER KEYSLOT rate-limit:{moved}"));
    let held = |node: &&RedisServer| number(node.say("DBSIZE")) == "1";
    let (old, new) = (
        cluster.nodes.iter().find(held).unwrap(),
        cluster.nodes.iter().find(|node| !held(node)).unwrap(),
    );
    let id = |node: &RedisServer| {
        let text = node.say("CLUSTER MYID");
        text.lines().nth(1).unwrap().to_owned()
    };
    let done = |node: &RedisServer, command: String| {
        let answer = node.say(&command);
        assert!(answer.starts_with("+OK"), "{command}: {answer}");
    };
    done(new, format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(old)));
    done(old, format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(new)));
    let to = format!("127.0.0.1 {}", new.port());
    done(old, format!("MIGRATE {to} rate-limit:{{moved}} 0 5000"));
    assert!(fits().await, "asked of the node that imports it");
    for node in [new, old] {
        done(node, format!("CLUSTER SETSLOT {slot} NODE {}", id(new)));
    }
    assert!(!fits().await, "and what was counted moved along");
}

#[tokio::test]
async fn a_node_that_is_gone_takes_its_own_keys_and_no_others() {
    let Some(mut cluster) = RedisCluster::start() else {
        return;
    };
    let store = store(&cluster);
    let quotas = [Quota::per_day(100)];
    let ask = async |n: u32| {
        let bucket = format!("key:{n}");
        let taken = store.take(take(&quotas, &bucket, 1));
        let taken = tokio::time::timeout(Duration::from_secs(5), taken).await;
        taken.is_ok_and(|taken| taken.is_ok())
    };
    for n in 0..30 {
        assert!(ask(n).await);
    }
    let lost = keys(&cluster)[1];
    cluster.nodes[1].kill();
    let mut answered = 0;
    for n in 0..30 {
        answered += u64::from(ask(n).await);
    }
    assert_eq!(answered, 30 - lost);
}
