//! The set changes while calls are out.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_is_lost_while_the_set_changes() {
    for strategy in [
        Strategy::SmoothWeighted,
        Strategy::PeakEwma,
        Strategy::RingHash,
    ] {
        let endpoints = set(Rules::new(strategy).ring_points(64), &["a"]);
        let balance = Balance::new(endpoints.clone());
        let over = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicU64::new(0));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (balance, over, calls) = (balance.clone(), over.clone(), calls.clone());
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let response = answer(&balance, request()).await;
                        assert_eq!(response.status(), 200);
                        tokio::task::yield_now().await;
                        crate::collect(response.into_body(), 9).await.unwrap();
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for change in 0..200_u32 {
            let due = calls.load(Ordering::Relaxed) + 3;
            while calls.load(Ordering::Relaxed) < due {
                tokio::task::yield_now().await;
            }
            match change % 5 {
                0 => {
                    endpoints.insert("b", upstream("b", &well()));
                }
                1 => {
                    endpoints.set_weight("b", change % 7);
                }
                2 => endpoints.replace(["b", "c"].map(|name| (name, upstream(name, &well())))),
                3 => {
                    endpoints.drain("b");
                }
                _ => endpoints.replace([("a", upstream("a", &well()))]),
            }
        }
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(in_flight(&endpoints), 0);
        let out = endpoints.shared().common.out.of(0).load(Ordering::Relaxed);
        assert_eq!(out, 0);
    }
}

#[tokio::test]
async fn who_stays_keeps_what_is_known_of_it_and_who_goes_keeps_its_calls() {
    let endpoints = set(Strategy::RoundRobin, &["a", "b"]);
    let balance = Balance::new(endpoints.clone());
    let (one, other) = (
        answer(&balance, request()).await,
        answer(&balance, request()).await,
    );
    endpoints.drain("a");
    endpoints.replace([
        (Endpoint::new("a").weight(3), upstream("new a", &well())),
        (Endpoint::new("c"), upstream("c", &well())),
    ]);
    let status = endpoints.status("a").unwrap();
    assert_eq!((status.calls, status.in_flight, status.weight), (1, 1, 3));
    assert_eq!(status.state, State::Draining, "that was an operator's word");
    assert!(endpoints.status("b").is_none());
    for left in [one, other] {
        assert_eq!(crate::collect(left.into_body(), 9).await.unwrap(), "hello");
    }
    endpoints.resume("a");
    assert_eq!(counts(&balance, 10, &["new a", "c"]).await, [5, 5]);

    // Of two of one name the last counts.
    endpoints.replace([("x", upstream("1", &well())), ("x", upstream("2", &well()))]);
    assert_eq!(
        (asked(&balance, request()).await, endpoints.len()),
        ("2".to_owned(), 1)
    );
}

#[tokio::test]
async fn services_of_those_that_stay_are_not_made_again() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    let mut made = Vec::new();
    for names in [&["a", "b"][..], &["b", "c"], &["c", "a"]] {
        let new = names.iter().map(|name| Endpoint::new(*name));
        endpoints.reconcile(new, |endpoint| {
            made.push(endpoint.name().to_string());
            upstream("x", &well())
        });
    }
    assert_eq!(made, ["a", "b", "c", "a"]);
    let names: Vec<_> = endpoints
        .statuses()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, [Arc::from("c"), Arc::from("a")]);
}

#[tokio::test]
async fn clones_and_watchers_are_of_one_set_and_an_idle_clone_keeps_nobody() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    let held = Arc::new(());
    let service = {
        let held = held.clone();
        service_fn(move |_: Request<Body>| {
            let _held = held.clone();
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        })
    };
    endpoints.insert("a", service);
    let balance = Balance::new(endpoints.clone());
    let idle = {
        let mut idle = balance.clone();
        let response = tower::Service::call(&mut idle, request()).await.unwrap();
        drop(response);
        idle
    };
    let watcher = endpoints.watcher();
    assert_eq!(watcher.statuses()[0].calls, 1);
    endpoints.remove("a");
    assert_eq!(Arc::strong_count(&held), 1, "it went with its service");
    assert!(watcher.statuses().is_empty());
    assert_eq!(format!("{idle:?}"), "Balance { endpoints: {}, .. }");
    drop((balance, idle, endpoints));
    assert!(watcher.statuses().is_empty());
}

#[tokio::test]
async fn what_makes_services_may_use_the_set_and_may_die() {
    let endpoints = set(Strategy::RoundRobin, &["a", "b"]);
    let names = || {
        let statuses = endpoints.statuses().into_iter();
        statuses.map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    let mut made = Vec::new();
    endpoints.reconcile(["a", "b", "c", "c"].map(Endpoint::new), |endpoint| {
        // It was there when it was looked at who is missing.
        endpoints.remove("b");
        made.push(endpoint.name().to_string());
        upstream("x", &well())
    });
    assert_eq!(made, ["c", "b"]);
    assert_eq!(names(), ["a", "b", "c"]);

    let dies = || {
        endpoints.reconcile(["a", "b", "d"].map(Endpoint::new), |endpoint| {
            assert_eq!(**endpoint.name(), *"d", "it went meanwhile");
            endpoints.remove("b");
            upstream("x", &well())
        });
    };
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(dies));
    assert!(died.is_err());
    assert_eq!(names(), ["a", "c"], "as it was");
    // Who is there when its service is made keeps its own.
    let mut first = true;
    endpoints.reconcile(["a", "e"].map(Endpoint::new), |_| {
        if std::mem::take(&mut first) {
            endpoints.insert("e", upstream("its own", &well()));
        }
        upstream("x", &well())
    });
    endpoints.remove("a");
    let balance = Balance::new(endpoints.clone());
    assert_eq!(asked(&balance, request()).await, "its own");
}

#[tokio::test]
async fn a_heavier_one_that_comes_moves_no_key_between_the_others() {
    let rules = Rules::new(Strategy::RingHash).bounded_load(None);
    let endpoints = set(rules, &["a", "b", "c"]);
    let balance = Balance::new(endpoints.clone()).key(crate::key::ByHeader::new("x-session"));
    let places = async || {
        let mut places = Vec::new();
        for session in 0..400_u32 {
            let mut request = request();
            request.headers_mut().insert("x-session", session.into());
            let response = balance.clone().oneshot(request).await.unwrap();
            places.push(response.headers()["x-from"].clone());
        }
        places
    };
    let before = places().await;
    endpoints.insert(Endpoint::new("d").weight(2), upstream("d", &well()));
    let with = places().await;
    assert!(with.iter().any(|place| place == "d"));
    for (before, with) in before.iter().zip(&with) {
        assert!(before == with || with == "d", "{before:?} {with:?}");
    }
    endpoints.remove("d");
    assert_eq!(places().await, before);
}

#[tokio::test]
async fn a_set_is_not_without_end() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    let many = (0..5000).map(|at| Endpoint::new(at.to_string()));
    endpoints.reconcile(many, |_| upstream("x", &well()));
    assert_eq!(endpoints.len(), 4096);
    assert!(!endpoints.insert("one more", upstream("x", &well())));
}
