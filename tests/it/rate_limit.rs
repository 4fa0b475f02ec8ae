//! So much in so much time.

mod keys;
mod planes;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};
use tower_gateway::{
    Rejection,
    key::{ByHeader, Global},
    rate_limit::{Headers, OnMissingKey, Quota, RateLimitLayer},
    rejection::Kind,
};

const MINUTE: Duration = Duration::from_secs(60);

fn router() -> Router {
    Router::new().route("/", get(|| async { "Hello" }))
}

/// Adds the layer, also where the router stays lazy and applies it for each request.
fn by_user(quota: Quota) -> Router {
    router().layer(RateLimitLayer::new(quota).key(ByHeader::new("x-user")))
}

async fn call(app: &Router, user: &str) -> Response<Body> {
    let request = Request::get("/").header("x-user", user).body(Body::empty());
    app.clone().oneshot(request.unwrap()).await.unwrap()
}

async fn status(app: &Router, user: &str) -> u16 {
    call(app, user).await.status().as_u16()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn lets_in_exactly_the_quota_and_then_the_rate() {
    let app = by_user(Quota::per_minute(60));
    let mut passed = 0;
    // Ten calls a second for two minutes: the burst, and then one a second.
    for _ in 0..1200 {
        passed += u32::from(status(&app, "a").await == 200);
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(passed, 60 + 119);
}

#[tokio::test(start_paused = true)]
async fn state_survives_a_layer_that_is_applied_for_each_request() {
    let lazy = by_user(Quota::per_minute(1));
    assert_eq!(
        [status(&lazy, "a").await, status(&lazy, "a").await],
        [200, 429]
    );
    let fixed = by_user(Quota::per_minute(1)).with_state(());
    assert_eq!(
        [status(&fixed, "a").await, status(&fixed, "a").await],
        [200, 429]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back_and_means_it() {
    let app = by_user(Quota::per_minute(60).burst(1).name("calls"));
    assert_eq!(status(&app, "a").await, 200);
    advance(Duration::from_millis(400)).await;
    let refusal = call(&app, "a").await;
    assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refusal, "retry-after"), "1", "600 ms, rounded up");
    assert_eq!(header(&refusal, "ratelimit"), r#""calls";r=0;t=1"#);
    assert_eq!(header(&refusal, "ratelimit-policy"), r#""calls";q=60;w=60"#);
    assert_eq!(header(&refusal, "x-ratelimit-limit-requests"), "60");
    assert_eq!(header(&refusal, "x-ratelimit-remaining-requests"), "0");
    assert_eq!(header(&refusal, "x-ratelimit-reset-requests"), "600ms");
    assert_eq!(header(&refusal, "cache-control"), "no-store");

    let rejection = refusal.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::RateLimited);
    assert!(rejection.retry_after().unwrap() <= Duration::from_millis(601));
    assert_eq!(rejection.violated_policies().collect::<Vec<_>>(), ["calls"]);

    advance(Duration::from_secs(1)).await;
    assert_eq!(status(&app, "a").await, 200);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_never_zero() {
    let app = by_user(Quota::per_second(1000).burst(1));
    assert_eq!(status(&app, "a").await, 200);
    assert_eq!(header(&call(&app, "a").await, "retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_tells_what_is_left() {
    let app = by_user(Quota::per_minute(600));
    let answer = call(&app, "a").await;
    assert_eq!(header(&answer, "ratelimit"), r#""per-minute";r=599;t=1"#);
    assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), "599");
    assert_eq!(header(&answer, "x-ratelimit-reset-requests"), "100ms");

    let quiet = RateLimitLayer::new(Quota::per_minute(1))
        .key(Global)
        .headers(Headers::Off);
    let app = router().layer(quiet);
    assert_eq!(header(&call(&app, "a").await, "ratelimit"), "");
    let refusal = call(&app, "a").await;
    assert_eq!(header(&refusal, "ratelimit"), "");
    assert_eq!(header(&refusal, "retry-after"), "60");
}

#[tokio::test(start_paused = true)]
async fn of_several_quotas_a_call_takes_all_or_none() {
    let quotas = [Quota::per_second(10), Quota::per_day(2)];
    let app = router().layer(RateLimitLayer::all(quotas).key(ByHeader::new("x-user")));
    assert_eq!(
        [status(&app, "a").await, status(&app, "a").await],
        [200, 200]
    );
    for _ in 0..20 {
        let refusal = call(&app, "a").await;
        assert_eq!(refusal.status(), 429);
        let left = r#""per-second";r=8;t=1, "per-day";r=0;t=43200"#;
        assert_eq!(
            header(&refusal, "ratelimit"),
            left,
            "the first is untouched"
        );
        assert_eq!(header(&refusal, "retry-after"), "43200");
        let rejection = refusal.extensions().get::<Rejection>().unwrap();
        let violated: Vec<_> = rejection.violated_policies().collect();
        assert_eq!(violated, ["per-day"]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_quota_all_calls_pass() {
    let app = router().layer(RateLimitLayer::all([]).on_missing_key(OnMissingKey::Reject));
    let answer = call(&app, "a").await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "ratelimit")),
        (200, "")
    );
}

#[tokio::test(start_paused = true)]
async fn a_limiter_further_out_does_not_hide_a_stricter_one() {
    let limit = |quota: Quota| RateLimitLayer::new(quota).key(Global);
    let app = router()
        .layer(limit(Quota::per_minute(5).name("inner")))
        .layer(limit(Quota::per_minute(99).name("outer")));
    let answer = call(&app, "a").await;
    let lines: Vec<_> = answer.headers().get_all("ratelimit").into_iter().collect();
    assert_eq!(lines, [r#""inner";r=4;t=12"#, r#""outer";r=98;t=1"#]);
    assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "5");

    let app = router()
        .layer(limit(Quota::per_minute(99).name("inner")))
        .layer(limit(Quota::per_minute(5).name("outer")));
    let answer = call(&app, "a").await;
    assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "5");
    assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), "4");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_told_so() {
    let never = |refusal: &Response<Body>| {
        assert_eq!(refusal.status(), 429);
        assert_eq!(header(refusal, "retry-after"), "");
        assert_eq!(header(refusal, "x-should-retry"), "false");
    };
    let weighed = RateLimitLayer::new(Quota::per_minute(10))
        .key(Global)
        .cost(|req: &Request<Body>| req.headers()["x-user"].to_str().unwrap().parse().unwrap());
    let app = router().layer(weighed);
    let refusal = call(&app, "11").await;
    never(&refusal);
    assert_eq!(header(&refusal, "x-ratelimit-remaining-requests"), "10");
    never(&call(&app, &u64::MAX.to_string()).await);
    assert_eq!(status(&app, "10").await, 200, "nothing was taken");
    assert_eq!(status(&app, "0").await, 200, "what costs nothing passes");
    assert_eq!(header(&call(&app, "1").await, "retry-after"), "6");

    never(&call(&by_user(Quota::per_minute(0)), "a").await);
    never(&call(&by_user(Quota::per_minute(9).burst(0)), "a").await);
}

#[tokio::test(start_paused = true)]
async fn huge_quotas_and_long_rests_do_not_overflow() {
    for quota in [
        Quota::per_second(u64::MAX),
        Quota::per_day(1).burst(u64::MAX),
        Quota::per(u64::MAX, Duration::MAX).burst(u64::MAX),
        Quota::per(1, Duration::ZERO),
        Quota::per_second(u32::MAX.into()),
    ] {
        let app = by_user(quota.clone());
        for _ in 0..3 {
            assert_eq!(status(&app, "a").await, 200, "{quota:?}");
            advance(Duration::from_secs(20 * 365 * 24 * 60 * 60)).await;
        }
    }
    let app = by_user(Quota::per_day(1));
    for expected in [200, 429] {
        assert_eq!(status(&app, "a").await, expected);
    }
    advance(Duration::from_secs(100 * 365 * 24 * 60 * 60)).await;
    for expected in [200, 429] {
        assert_eq!(status(&app, "a").await, expected, "a rest grants one burst");
    }
}

#[tokio::test(start_paused = true)]
async fn clones_count_together_and_setters_begin_anew() {
    let layer = RateLimitLayer::new(Quota::per_minute(1)).key(Global);
    let [one, other] = [router().layer(layer.clone()), router().layer(layer.clone())];
    assert_eq!(
        [status(&one, "a").await, status(&other, "a").await],
        [200, 429]
    );
    for fresh in [
        layer.clone().max_keys(5),
        layer.clone().headers(Headers::Off),
        layer.clone().on_missing_key(OnMissingKey::Skip),
        layer.clone().key(Global),
    ] {
        assert_eq!(status(&router().layer(fresh), "a").await, 200);
    }
    let weighed = layer.cost(|_: &Request<Body>| 1);
    assert_eq!(status(&router().layer(weighed), "a").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_gets_exactly_the_quota() {
    for layer in [
        RateLimitLayer::new(Quota::per_day(10)),
        RateLimitLayer::all([Quota::per_day(10), Quota::per_hour(1000)]),
    ] {
        let app = router().layer(layer.key(Global));
        let calls = (0..1000).map(|_| {
            let app = app.clone();
            tokio::spawn(async move { status(&app, "a").await })
        });
        let mut passed = 0;
        for call in calls.collect::<Vec<_>>() {
            passed += u32::from(call.await.unwrap() == 200);
        }
        assert_eq!(passed, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_does_not_reach_the_service_and_a_dropped_one_stays_charged() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = tower::service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Result<Response<axum::body::Bytes>, Infallible>>()
    });
    let layer = RateLimitLayer::new(Quota::per_minute(1)).key(Global);
    let mut service = layer.layer(inner);
    let first = service.ready().await.unwrap().call(Request::new(()));
    drop(first);
    let second = service.ready().await.unwrap().call(Request::new(()));
    assert_eq!(second.await.unwrap().status(), 429);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn windows_grant_all_anew() {
    for quota in [
        Quota::per_minute(2).fixed_window(),
        Quota::per_month(2).name("per-minute"),
        Quota::per_minute(2).sliding_window(),
    ] {
        let app = by_user(quota.clone());
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(status(&app, "a").await);
        }
        // The edge of a window may be in between, but not twice.
        assert!(statuses.contains(&200), "{quota:?}");
        let refusal = loop {
            let answer = call(&app, "a").await;
            if answer.status() == 429 {
                break answer;
            }
        };
        let wait: u64 = header(&refusal, "retry-after").parse().unwrap();
        assert!((1..=31 * 86_400).contains(&wait), "{wait}");
        advance(Duration::from_secs(wait)).await;
        assert_eq!(status(&app, "a").await, 200, "{quota:?}");
        assert_eq!(
            header(&refusal, "ratelimit"),
            format!(r#""per-minute";r=0;t={wait}"#)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn quotas_of_all_kinds_are_taken_from_together() {
    let quotas = [
        Quota::per_second(10),
        Quota::per_day(5).sliding_window(),
        Quota::per_month(2),
    ];
    let app = router().layer(RateLimitLayer::all(quotas).key(Global));
    assert_eq!(
        [status(&app, "a").await, status(&app, "a").await],
        [200, 200]
    );
    let refusal = call(&app, "a").await;
    let rejection = refusal.extensions().get::<Rejection>().unwrap();
    assert_eq!(
        rejection.violated_policies().collect::<Vec<_>>(),
        ["per-month"]
    );
    let policy = r#""per-second";q=10;w=1, "per-day";q=5;w=86400, "per-month";q=2;w=2678400"#;
    assert_eq!(header(&refusal, "ratelimit-policy"), policy);
    assert!(
        header(&refusal, "ratelimit").contains(r#""per-day";r=3"#),
        "untouched"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shadow_is_seen_by_the_operator_and_by_nobody_else() {
    let quotas = [Quota::per_hour(1).shadow(), Quota::per_minute(60)];
    let layer = RateLimitLayer::all(quotas).key(Global);
    let stats = layer.stats();
    let app = router().layer(layer);
    for n in 0..5 {
        let answer = call(&app, "a").await;
        assert_eq!(answer.status(), 200);
        assert!(!header(&answer, "ratelimit").contains("per-hour"));
        assert!(!header(&answer, "ratelimit-policy").contains("per-hour"));
        assert_eq!(stats.shadow_refusals(), n);
    }
}
