//! Whoever refuses, answers nobody, or was taken out by somebody.

use super::*;
use crate::{
    Reject, Rejection,
    balance::{Cause, Checks, Outlier, SlowStart},
    rejection::Kind,
};
use tokio::time::{advance, sleep, timeout};

const MILLIS: Duration = Duration::from_millis(1);

/// Answers at once, each time the same.
fn at_once(answer: fn() -> Response<Body>) -> Upstream {
    BoxCloneSyncService::new(service_fn(move |_| {
        let answer = answer();
        async { Ok(answer) }
    }))
}

fn limited() -> Response<Body> {
    let answer = Response::builder().status(429);
    answer.body(Body::empty()).unwrap()
}

fn at_once_again() -> Response<Body> {
    let answer = Response::builder().status(429).header("retry-after", 0);
    answer.body(Body::empty()).unwrap()
}

/// As a breaker inside of the endpoint has it.
fn open() -> Response<Body> {
    let rejection = Rejection::new(Kind::CircuitOpen).with_retry_after(SECOND);
    let Ok(answer) = <_ as Reject<Infallible>>::reject(rejection);
    answer
}

/// Answers well after so long.
fn after(time: Duration) -> Upstream {
    BoxCloneSyncService::new(service_fn(move |_| async move {
        sleep(time).await;
        Ok(Response::new(Body::empty()))
    }))
}

/// How many of 800 calls of 16 clients go to an endpoint that refuses at once, beside one that takes 20 ms.
async fn calls_to(refuses: Upstream, rules: Rules) -> u64 {
    let endpoints = Endpoints::new(rules.seed(1));
    endpoints.insert("b", after(20 * MILLIS));
    let balance = Balance::new(endpoints.clone());
    answer(&balance, request()).await;
    endpoints.insert("a", refuses);
    let clients = (0..16).map(|_| {
        let balance = balance.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                answer(&balance, request()).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let calls = |name| endpoints.status(name).unwrap().calls;
    assert_eq!(calls("a") + calls("b"), 801);
    calls("a")
}

#[tokio::test(start_paused = true)]
async fn who_refuses_at_once_is_not_taken_for_who_is_free() {
    for strategy in [Strategy::LeastOutstanding, Strategy::PeakEwma] {
        for answer in [limited, open, at_once_again] {
            let calls = calls_to(at_once(answer), Rules::new(strategy)).await;
            assert!(calls < 80, "{strategy:?}: {calls} of 800");
        }
    }
    // Where nobody rests, its refusals are not taken for quick answers.
    let restless = Rules::new(Strategy::PeakEwma).longest_rest(Duration::ZERO);
    let calls = calls_to(at_once(open), restless).await;
    assert!(calls < 80, "{calls} of 800");
}

#[tokio::test(start_paused = true)]
async fn who_refuses_without_a_time_rests_a_second_and_is_called_if_all_do() {
    let endpoints = set(Strategy::RoundRobin, &[]);
    endpoints.insert("a", at_once(open));
    endpoints.insert("b", at_once(limited));
    let balance = Balance::new(endpoints.clone());
    for _ in 0..2 {
        answer(&balance, request()).await;
    }
    for name in ["a", "b"] {
        let status = endpoints.status(name).unwrap();
        assert_eq!((status.state, status.calls), (State::Resting, 1));
    }
    answer(&balance, request()).await;
    let calls = |name| endpoints.status(name).unwrap().calls;
    assert_eq!(calls("a") + calls("b"), 3, "there is nothing to lose");
    advance(SECOND).await;
    assert_eq!(state(&endpoints, "a"), State::Up);
    // What the caller did wrong is no refusal of the endpoint's.
    endpoints.insert("c", upstream("c", &Arc::new(AtomicU16::new(404))));
    endpoints.remove("a");
    endpoints.remove("b");
    answer(&balance, request()).await;
    assert_eq!(state(&endpoints, "c"), State::Up);
}

#[tokio::test(start_paused = true)]
async fn who_answers_nobody_before_they_give_up_is_not_the_best_for_long() {
    let endpoints = Endpoints::new(Rules::new(Strategy::PeakEwma).seed(3));
    endpoints.insert("a", after(5 * MILLIS));
    endpoints.insert("b", after(5 * MILLIS));
    endpoints.insert("hole", after(9999 * SECOND));
    let balance = Balance::new(endpoints.clone());
    for _ in 0..200 {
        let _ = timeout(200 * MILLIS, answer(&balance, request())).await;
    }
    let hole = endpoints.status("hole").unwrap();
    assert!((2..10).contains(&hole.calls), "{hole:?}");
    assert!(hole.latency.unwrap() > 100 * MILLIS);

    // Not even if they wait no longer than they would for others.
    let endpoints = Endpoints::new(Rules::new(Strategy::PeakEwma).seed(3));
    endpoints.insert("a", after(50 * MILLIS));
    let balance = Balance::new(endpoints.clone());
    answer(&balance, request()).await;
    endpoints.insert("hole", after(9999 * SECOND));
    for _ in 0..9 {
        let _ = timeout(20 * MILLIS, answer(&balance, request())).await;
    }
    let hole = endpoints.status("hole").unwrap();
    assert!(hole.latency.unwrap() >= 49 * MILLIS, "{hole:?}");
}

/// All of these fail, and all may be out at once.
fn failing(names: &[&'static str]) -> Endpoints<Upstream> {
    let broken = Arc::new(AtomicU16::new(500));
    let rules = Rules::new(Strategy::RoundRobin).outlier(Outlier::new().most_percent(100));
    let endpoints = set(rules, &[]);
    for name in names {
        endpoints.insert(*name, upstream(name, &broken));
    }
    endpoints
}

#[tokio::test(start_paused = true)]
async fn whom_somebody_took_out_is_not_called_even_if_all_others_fail() {
    let endpoints = failing(&["a", "b", "c"]);
    endpoints.eject("a");
    let balance = Balance::new(endpoints.clone());
    assert_eq!(
        counts(&balance, 40, &["a", "b", "c"]).await,
        [0, 20, 20],
        "health is ignored, and not an operator's word"
    );
    let status = |name| endpoints.status(name).unwrap();
    for (name, cause) in [("a", Cause::Told), ("b", Cause::Consecutive)] {
        let status = status(name);
        assert_eq!((status.state, status.cause), (State::Ejected, Some(cause)));
        assert_eq!(status.ejected_until.is_some(), cause != Cause::Told);
        assert_eq!(status.local_failures, 0);
    }
    // Nor if it is alone, or alone of its priority.
    endpoints.set_priority("b", 1);
    endpoints.set_priority("c", 1);
    assert_eq!(counts(&balance, 20, &["a", "b", "c"]).await, [0, 10, 10]);
    endpoints.rest("b", SECOND);
    endpoints.rest("c", SECOND);
    assert_eq!(counts(&balance, 20, &["a", "b", "c"]).await, [0, 10, 10]);
    endpoints.remove("b");
    endpoints.remove("c");
    assert_eq!(answer(&balance, request()).await.status(), 503);
    endpoints.uneject("a");
    assert_eq!(status("a").cause, None);
    assert_eq!(asked(&balance, request()).await, "a");
}

#[tokio::test(start_paused = true)]
async fn who_rests_is_not_called_where_health_is_ignored_whatever_else_it_is() {
    let names = ["a", "b", "c"];
    let endpoints = failing(&names);
    let balance = Balance::new(endpoints.clone());
    while names
        .iter()
        .any(|name| state(&endpoints, name) != State::Ejected)
    {
        counts(&balance, 1, &names).await;
    }
    assert!(endpoints.rest("a", 9 * SECOND) && !endpoints.rest("d", SECOND));
    assert_eq!(counts(&balance, 10, &names).await, [0, 5, 5]);
    endpoints.rest("b", SECOND);
    endpoints.rest("c", SECOND);
    assert_eq!(counts(&balance, 9, &names).await, [3, 3, 3], "all rest");
    advance(SECOND).await;
    assert_eq!(counts(&balance, 10, &names).await, [0, 5, 5]);
    endpoints.rest("a", Duration::ZERO);
    assert_eq!(counts(&balance, 9, &names).await, [3, 3, 3], "nobody does");
}

#[tokio::test(start_paused = true)]
async fn no_time_is_too_long_to_be_set() {
    let long = Duration::MAX;
    let outlier = Outlier::new().interval(long).time_out(long, long);
    let rules = Rules::new(Strategy::PeakEwma)
        .outlier(outlier)
        .slow_start(SlowStart::new(long))
        .longest_rest(long)
        .penalty(long)
        .decay(long);
    let endpoints = set(rules, &["a", "b"]);
    let checks = Checks::new().interval(long).timeout(long);
    let checked = tokio::spawn(endpoints.check(checks, |_: &Endpoint, _| async { Ok(()) }));
    let balance = Balance::new(endpoints.clone());
    let broken = Arc::new(AtomicU16::new(500));
    endpoints.insert("b", upstream("b", &broken));
    for _ in 0..20 {
        answer(&balance, request()).await;
    }
    endpoints.rest("a", long);
    assert_eq!(state(&endpoints, "a"), State::Resting);
    sleep(40 * 24 * 60 * 60 * SECOND).await;
    let last = endpoints.status("a").unwrap().last_check;
    assert!(last.is_some_and(|(_, well)| well), "a tenth of a year");
    sleep(400 * 24 * 60 * 60 * SECOND).await;
    assert_eq!(state(&endpoints, "a"), State::Up);
    assert!(!checked.is_finished());
}
