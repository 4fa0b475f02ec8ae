use super::*;
use crate::rate_limit::{Quota, contract, store::Rules};
use redis::AsyncCommands;
use std::sync::Arc;

mod agreement;
#[path = "../../../tests/support/redis.rs"]
mod server;

use server::RedisServer;

#[tokio::test]
async fn keeps_the_contract() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    contract::all(&RedisStore::new(server.url()).unwrap()).await;
}

fn take(quotas: &[Quota], bucket: &str, cost: u64) -> Take {
    Take {
        bucket: bucket.into(),
        rules: Arc::new(Rules::new(quotas)),
        known: Box::default(),
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
    let mut connection = store.connected().unwrap();
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
    let mut connection = store.connected().unwrap();
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
    let mut connection = store.connected().unwrap();
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
    ] {
        match RedisStore::new(url) {
            Ok(store) => assert!(!format!("{store:?}").contains("canary")),
            Err(error) => assert!(!format!("{error:?} {error}").contains("canary"), "{url}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_says_so() {
    let store = RedisStore::new("redis://user:canary@127.0.0.1:1/0").unwrap();
    let error = store
        .take(take(&[Quota::per_day(2)], "a", 1))
        .await
        .unwrap_err();
    assert_eq!(error.failure(), Failure::Unavailable);
    assert!(!format!("{error:?}").contains("canary"));
}

/// A name in front of several servers, which leads to one of them.
async fn name_of(server: &RedisServer) -> (String, Arc<std::sync::Mutex<String>>) {
    let address = |url: &str| url.trim_start_matches("redis://").to_owned();
    let target = Arc::new(std::sync::Mutex::new(address(&server.url())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let to = target.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = to.lock().unwrap().clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (url, target)
}

#[tokio::test]
async fn when_another_server_is_to_be_written_to_it_is_found_by_its_name() {
    let (Some(old), Some(new)) = (RedisServer::start(), RedisServer::start()) else {
        return;
    };
    let (url, target) = name_of(&old).await;
    let store = RedisStore::new(url).unwrap();
    let quotas = [Quota::per_day(100)];
    store.take(take(&quotas, "a", 1)).await.unwrap();
    let new = new.url();
    let (host, port) = new.trim_start_matches("redis://").split_once(':').unwrap();
    let mut connection = store.connected().unwrap();
    let _: () = redis::cmd("REPLICAOF")
        .arg(host)
        .arg(port)
        .query_async(&mut connection)
        .await
        .unwrap();
    *target.lock().unwrap() = format!("{host}:{port}");
    let error = store.take(take(&quotas, "a", 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "Redis: READONLY");
    store.take(take(&quotas, "a", 1)).await.unwrap();
}

#[tokio::test]
async fn who_hangs_up_at_once_does_not_cost_the_others_their_connection() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).unwrap();
    let quotas = [Quota::per_day(100)];
    store.take(take(&quotas, "a", 1)).await.unwrap();
    for _ in 0..10 {
        let mut call = tokio_test::task::spawn(store.take(take(&quotas, "a", 1)));
        assert!(call.poll().is_pending());
    }
    assert!(store.manager().is_some());
    // A server that says nothing for as long as a layer waits is another matter.
    server.freeze(true);
    for _ in 0..LOST {
        let call = store.take(take(&quotas, "a", 1));
        let waited = tokio::time::timeout(2 * PATIENCE, call).await;
        assert!(waited.is_err());
    }
    assert!(store.manager().is_none());
    server.freeze(false);
}
