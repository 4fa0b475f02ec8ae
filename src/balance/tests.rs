//! Calls over a set, without a socket.

mod calls;
mod health;
mod live;
mod refusals;

use super::{Balance, Endpoint, Endpoints, Rules, State, Strategy};
use crate::{Body, BoxError};
use http::{Request, Response, StatusCode};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

type Upstream = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

const SECOND: Duration = Duration::from_secs(1);

/// Answers with its name in `x-from`, and with a status that can be changed; a 429 has `Retry-After: 7`.
fn upstream(name: &'static str, status: &Arc<AtomicU16>) -> Upstream {
    let status = status.clone();
    let answer = service_fn(move |_| {
        let status = status.load(Ordering::Relaxed);
        let mut response = Response::builder().status(status).header("x-from", name);
        if status == 429 {
            response = response.header("retry-after", 7);
        }
        let response = response.body(Body::from("hello")).unwrap();
        async { Ok(response) }
    });
    BoxCloneSyncService::new(answer)
}

fn well() -> Arc<AtomicU16> {
    Arc::new(AtomicU16::new(200))
}

fn set(rules: impl Into<Rules>, names: &[&'static str]) -> Endpoints<Upstream> {
    let endpoints = Endpoints::new(rules.into().seed(1));
    for name in names {
        endpoints.insert(*name, upstream(name, &well()));
    }
    endpoints
}

fn request() -> Request<Body> {
    Request::new(Body::empty())
}

async fn answer(balance: &Balance<Upstream>, request: Request<Body>) -> Response<Body> {
    balance.clone().oneshot(request).await.unwrap()
}

/// Who answered. The answer is read to its end.
async fn asked(balance: &Balance<Upstream>, request: Request<Body>) -> String {
    let response = answer(balance, request).await;
    let from = response.headers()["x-from"].to_str().unwrap().to_owned();
    crate::collect(response.into_body(), 99).await.unwrap();
    from
}

/// How many of so many calls each had.
async fn counts(balance: &Balance<Upstream>, calls: usize, names: &[&str]) -> Vec<usize> {
    let mut counts = vec![0; names.len()];
    for _ in 0..calls {
        let from = asked(balance, request()).await;
        let at = names.iter().position(|name| *name == from).unwrap();
        counts[at] += 1;
    }
    counts
}

fn state<S>(endpoints: &Endpoints<S>, name: &str) -> State {
    endpoints.status(name).unwrap().state
}

fn in_flight<S>(endpoints: &Endpoints<S>) -> u32 {
    endpoints.statuses().iter().map(|one| one.in_flight).sum()
}

#[tokio::test]
async fn nobody_is_an_unavailable_destination() {
    let endpoints = set(Strategy::RoundRobin, &[]);
    let balance = Balance::new(endpoints.clone());
    let response = answer(&balance, request()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let told = &response.headers()["proxy-status"];
    assert_eq!(told, "tower-gateway; error=destination_unavailable");

    endpoints.insert(Endpoint::new("a").weight(0), upstream("a", &well()));
    assert_eq!(
        answer(&balance, request()).await.status(),
        503,
        "it takes no calls"
    );
    endpoints.set_weight("a", 1);
    assert_eq!(asked(&balance, request()).await, "a");
    assert!(!endpoints.remove("b") && endpoints.remove("a") && endpoints.is_empty());
    assert_eq!(answer(&balance, request()).await.status(), 503);
}

#[tokio::test]
async fn each_strategy_spreads_as_it_says() {
    let names = ["a", "b", "c"];
    for (strategy, due) in [
        (Strategy::RoundRobin, [100, 100, 100]),
        (Strategy::SmoothWeighted, [200, 50, 50]),
        (Strategy::Random, [200, 50, 50]),
        (Strategy::RingHash, [200, 50, 50]),
    ] {
        let endpoints = set(strategy, &names);
        endpoints.set_weight("a", 4);
        let mut counted = 0;
        let balance = Balance::new(endpoints.clone());
        let counts = counts(&balance, 300, &names).await;
        for (count, due) in counts.iter().zip(due) {
            // One key has one place.
            let off = count.abs_diff(due);
            let most = match strategy {
                Strategy::RingHash => 300,
                Strategy::Random => 25,
                _ => 1,
            };
            assert!(off <= most, "{strategy:?} {counts:?}");
            counted += count;
        }
        assert_eq!(counted, 300);
        if strategy == Strategy::RingHash {
            assert!(counts.contains(&300), "{counts:?}");
        }
        assert_eq!(in_flight(&endpoints), 0);
    }
}

#[test]
fn the_tails_of_least_outstanding_and_peak_ewma_are_a_fifth_of_round_robins() {
    use super::simulation::{Simulated, bounded, moved, off_weight, tail};
    let of_round_robin = tail(Simulated::RoundRobin, 1);
    assert!(of_round_robin.p99 > 400.0 && of_round_robin.p50 < 40.0);
    assert!(of_round_robin.p999 > of_round_robin.p99);
    assert!(tail(Simulated::Random, 1).p99 > 400.0);
    for strategy in Simulated::ALL[2..].iter().copied() {
        for seed in 1..3 {
            let tail = tail(strategy, seed);
            assert!(
                tail.p99 * 5.0 < of_round_robin.p99,
                "{strategy:?}: {tail:?}"
            );
            assert!(tail.slow_share < 0.01);
        }
    }
    let (in_turn, random) = off_weight();
    assert!(in_turn <= 0.01 && random <= 0.01);
    assert!(moved(10) <= 0.12);
    let (with, without) = bounded();
    assert!(with <= 1.25 && without > 1.25, "{with} and {without}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_gets_little_of_peak_ewma() {
    let endpoints = Endpoints::new(Rules::new(Strategy::PeakEwma).seed(2));
    for (name, millis) in [("a", 5), ("b", 5), ("c", 500)] {
        let slow = service_fn(move |_: Request<Body>| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<_, BoxError>(Response::new(Body::empty()))
        });
        endpoints.insert(name, slow);
    }
    let balance = Balance::new(endpoints.clone());
    for _ in 0..500 {
        let response = balance.clone().oneshot(request()).await.unwrap();
        drop(response);
    }
    let slow = endpoints.status("c").unwrap();
    assert!((1..=3).contains(&slow.calls), "{slow:?}");
    assert!(slow.latency.unwrap() > Duration::from_millis(100));
    assert!(endpoints.status("a").unwrap().latency.unwrap() < Duration::from_millis(20));
}
