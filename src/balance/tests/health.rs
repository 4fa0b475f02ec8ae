//! Who is well.

use super::*;
use crate::balance::{Checks, Outlier, SlowStart};
use futures_util::stream;
use http_body_util::StreamBody;
use std::{io, sync::atomic::AtomicUsize};
use tokio::time::{Instant, advance};

async fn get(balance: &Balance<Upstream>) -> u16 {
    let response = answer(balance, request()).await;
    let status = response.status();
    crate::collect(response.into_body(), 99).await.unwrap();
    status.as_u16()
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_take_an_endpoint_out_for_thirty_seconds_and_then_sixty() {
    let endpoints = set(Strategy::RoundRobin, &["a", "b"]);
    let broken = Arc::new(AtomicU16::new(500));
    endpoints.insert("c", upstream("c", &broken));
    let balance = Balance::new(endpoints.clone());
    for term in [30, 60] {
        let mut failed = 0;
        for _ in 0..30 {
            failed += usize::from(get(&balance).await == 500);
        }
        assert_eq!(failed, 5);
        assert_eq!(state(&endpoints, "c"), State::Ejected);
        advance(SECOND * (term - 1)).await;
        assert_eq!(state(&endpoints, "c"), State::Ejected);
        advance(SECOND).await;
        assert_eq!(state(&endpoints, "c"), State::Up);
    }
    broken.store(200, Ordering::Relaxed);
    assert_eq!(counts(&balance, 30, &["a", "b", "c"]).await, [10, 10, 10]);
    let status = endpoints.status("c").unwrap();
    assert_eq!(
        (status.ejections, status.failures, status.calls),
        (2, 10, 20)
    );
    // Each interval that it stays in takes one from how often it was out.
    advance(10 * SECOND).await;
    let _ = endpoints.statuses();
    broken.store(500, Ordering::Relaxed);
    for _ in 0..30 {
        get(&balance).await;
    }
    let until = endpoints.status("c").unwrap().ejected_until.unwrap();
    assert_eq!((until - Instant::now()).as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn one_may_be_out_and_not_a_second_and_of_one_alone_health_is_ignored() {
    let broken = Arc::new(AtomicU16::new(503));
    let endpoints = set(Strategy::RoundRobin, &[]);
    for name in ["a", "b", "c"] {
        endpoints.insert(name, upstream(name, &broken));
    }
    let balance = Balance::new(endpoints.clone());
    for _ in 0..60 {
        get(&balance).await;
    }
    let out = endpoints
        .statuses()
        .iter()
        .filter(|one| one.state == State::Ejected)
        .count();
    assert_eq!(out, 1);
    let alone = set(Strategy::RoundRobin, &[]);
    alone.insert("a", upstream("a", &broken));
    let balance = Balance::new(alone.clone());
    for _ in 0..20 {
        assert_eq!(get(&balance).await, 503);
    }
    assert_eq!(
        (state(&alone, "a"), alone.status("a").unwrap().calls),
        (State::Ejected, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn who_answers_worse_than_the_others_is_out_when_the_interval_is_over() {
    let names = ["a", "b", "c", "d", "e"];
    let rules = Rules::new(Strategy::RoundRobin).outlier(Outlier::new().consecutive(0));
    let endpoints = set(rules, &names);
    let calls = Arc::new(AtomicUsize::new(0));
    let flaky = service_fn(move |_: Request<Body>| {
        let third = calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        let status = if third { 500 } else { 200 };
        async move {
            Ok(Response::builder()
                .status(status)
                .body(Body::empty())
                .unwrap())
        }
    });
    endpoints.insert("f", BoxCloneSyncService::new(flaky));
    let balance = Balance::new(endpoints.clone());
    for _ in 0..600 {
        get(&balance).await;
    }
    assert_eq!(state(&endpoints, "f"), State::Up);
    advance(10 * SECOND).await;
    get(&balance).await;
    assert_eq!(state(&endpoints, "f"), State::Ejected);
}

#[tokio::test(start_paused = true)]
async fn who_is_rate_limited_rests_until_the_reset_that_it_named() {
    let endpoints = set(Strategy::RoundRobin, &["a", "b"]);
    let limited = Arc::new(AtomicU16::new(429));
    endpoints.insert("a", upstream("a", &limited));
    let balance = Balance::new(endpoints.clone());
    assert_eq!(get(&balance).await, 429);
    assert_eq!(state(&endpoints, "a"), State::Resting);
    limited.store(200, Ordering::Relaxed);
    for _ in 0..10 {
        assert_eq!(asked(&balance, request()).await, "b");
    }
    let until = endpoints.status("a").unwrap().resting_until.unwrap();
    assert_eq!(until - Instant::now(), 7 * SECOND);
    advance(7 * SECOND).await;
    assert_eq!(counts(&balance, 10, &["a", "b"]).await, [5, 5]);
    assert_eq!(
        endpoints.status("a").unwrap().failures,
        0,
        "that is no failure"
    );

    // Those that do not rest are called rather, even if they are not well.
    limited.store(429, Ordering::Relaxed);
    let broken = Arc::new(AtomicU16::new(500));
    endpoints.insert("b", upstream("b", &broken));
    while state(&endpoints, "a") != State::Resting || state(&endpoints, "b") != State::Ejected {
        get(&balance).await;
    }
    for _ in 0..10 {
        assert_eq!(asked(&balance, request()).await, "b");
    }
    endpoints.eject("b");
    assert_eq!(
        get(&balance).await,
        429,
        "all rest: there is nothing to lose"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_rests_who_must_not_and_never_longer_than_said() {
    for (longest, due) in [(Duration::ZERO, State::Up), (2 * SECOND, State::Resting)] {
        let rules = Rules::new(Strategy::RoundRobin).longest_rest(longest);
        let endpoints = set(rules, &[]);
        endpoints.insert("a", upstream("a", &Arc::new(AtomicU16::new(429))));
        get(&Balance::new(endpoints.clone())).await;
        assert_eq!(state(&endpoints, "a"), due);
        advance(2 * SECOND).await;
        assert_eq!(state(&endpoints, "a"), State::Up);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failure_on_the_way_and_one_that_is_dropped_is_none() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    let half = service_fn(async |_: Request<Body>| {
        let broken = stream::iter([
            Ok(http_body::Frame::data(bytes::Bytes::from_static(b"half"))),
            Err(io::Error::other("reset")),
        ]);
        Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(broken))))
    });
    endpoints.insert("a", half);
    endpoints.insert("b", half);
    let balance = Balance::new(endpoints.clone());
    for _ in 0..20 {
        drop(balance.clone().oneshot(request()).await.unwrap());
    }
    assert!(endpoints.statuses().iter().all(|one| one.failures == 0));
    for _ in 0..10 {
        let response = balance.clone().oneshot(request()).await.unwrap();
        assert!(crate::collect(response.into_body(), 99).await.is_err());
    }
    assert!(
        endpoints
            .statuses()
            .iter()
            .all(|one| (one.failures, one.local_failures) == (5, 5))
    );
    let out = endpoints
        .statuses()
        .iter()
        .filter(|one| one.state == State::Ejected)
        .count();
    assert_eq!(out, 1);
}

#[tokio::test(start_paused = true)]
async fn priorities_overflow_and_a_new_one_starts_slowly() {
    let names = ["a", "b", "c", "d"];
    let endpoints = set(Strategy::Random, &names);
    endpoints.set_priority("d", 1);
    let balance = Balance::new(endpoints.clone());
    assert_eq!(counts(&balance, 100, &names).await[3], 0);
    // Two of three: 93 %.
    endpoints.eject("a");
    let overflow = counts(&balance, 2000, &names).await;
    assert!(
        (80..200).contains(&overflow[3]) && overflow[0] == 0,
        "{overflow:?}"
    );
    // One of three: 47 %, and the rest.
    endpoints.eject("b");
    let overflow = counts(&balance, 2000, &names).await;
    assert!(
        (950..1180).contains(&overflow[3]) && overflow[1] == 0,
        "{overflow:?}"
    );

    for strategy in [Strategy::SmoothWeighted, Strategy::Random] {
        let rules = Rules::new(strategy).slow_start(SlowStart::new(20 * SECOND));
        let endpoints = set(rules, &["a"]);
        let balance = Balance::new(endpoints.clone());
        advance(20 * SECOND).await;
        endpoints.insert("b", upstream("b", &well()));
        let at_first = counts(&balance, 1100, &["a", "b"]).await[1];
        advance(10 * SECOND).await;
        let half_way = counts(&balance, 1500, &["a", "b"]).await[1];
        advance(11 * SECOND).await;
        let in_the_end = counts(&balance, 1000, &["a", "b"]).await[1];
        assert!((70..140).contains(&at_first), "{strategy:?} {at_first}");
        assert!((430..570).contains(&half_way), "{strategy:?} {half_way}");
        assert!(
            (450..550).contains(&in_the_end),
            "{strategy:?} {in_the_end}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn checks_take_out_and_bring_in_and_forgive() {
    let endpoints = set(Strategy::RoundRobin, &["a", "b"]);
    let sick = Arc::new(AtomicU16::new(200));
    let probe = {
        let sick = sick.clone();
        move |endpoint: &Endpoint, service: Upstream| {
            let suspect = **endpoint.name() == *"a";
            let sick = sick.clone();
            async move {
                service.oneshot(request()).await?;
                match sick.load(Ordering::Relaxed) {
                    500 if suspect => Err("sick".into()),
                    504 if suspect => std::future::pending().await,
                    _ => Ok(()),
                }
            }
        }
    };
    let task = tokio::spawn(endpoints.check(Checks::new(), probe));
    let settle = async || {
        for _ in 0..40 {
            advance(SECOND).await;
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    assert!(
        endpoints
            .statuses()
            .iter()
            .all(|one| one.last_check.is_some_and(|(_, well)| well))
    );
    for bad in [500, 504] {
        sick.store(bad, Ordering::Relaxed);
        settle().await;
        assert_eq!(state(&endpoints, "a"), State::Unhealthy);
        assert_eq!(state(&endpoints, "b"), State::Up);
        sick.store(200, Ordering::Relaxed);
        settle().await;
        assert_eq!(state(&endpoints, "a"), State::Up);
    }
    // Whoever was taken out for its answers is in with its next good check.
    let broken = Arc::new(AtomicU16::new(500));
    endpoints.insert("c", upstream("c", &broken));
    tokio::task::yield_now().await;
    let balance = Balance::new(endpoints.clone());
    while state(&endpoints, "c") != State::Ejected {
        get(&balance).await;
    }
    advance(11 * SECOND).await;
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(state(&endpoints, "c"), State::Up);
    // Not if somebody took it out.
    endpoints.eject("c");
    settle().await;
    assert_eq!(state(&endpoints, "c"), State::Ejected);
    endpoints.uneject("c");
    assert_eq!(state(&endpoints, "c"), State::Up);

    drop(balance);
    assert!(!task.is_finished());
    drop(endpoints);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_trusted_before_is_called_after_its_first_good_check() {
    let endpoints = set(Strategy::RoundRobin, &["a"]);
    let checks = Checks::new().initially_unhealthy();
    tokio::spawn(endpoints.check(checks, |_: &Endpoint, _| async {
        tokio::time::sleep(SECOND).await;
        Ok(())
    }));
    tokio::task::yield_now().await;
    assert_eq!(state(&endpoints, "a"), State::Unhealthy);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(state(&endpoints, "a"), State::Up);
    endpoints.insert("b", upstream("b", &well()));
    tokio::task::yield_now().await;
    assert_eq!(state(&endpoints, "b"), State::Unhealthy);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(state(&endpoints, "b"), State::Up);
}
