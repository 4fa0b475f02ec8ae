//! In whose name calls are counted, and what is granted under it.

use super::*;
use tower_gateway::{
    Principal,
    client_addr::{ByClientAddr, ClientAddr},
    key::{ByPrincipal, ByTenant, Optional, WithLimits},
    principal::Limit,
};

#[tokio::test(start_paused = true)]
async fn keys_have_a_bucket_each() {
    let app = by_user(Quota::per_minute(1));
    assert_eq!(
        [status(&app, "a").await, status(&app, "b").await],
        [200, 200]
    );
    assert_eq!(
        [status(&app, "a").await, status(&app, "b").await],
        [429, 429]
    );
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_key_are_treated_as_told() {
    let app = |missing| {
        let layer = RateLimitLayer::new(Quota::per_minute(1)).on_missing_key(missing);
        router().layer(layer.key(ByPrincipal))
    };
    let shared = app(OnMissingKey::Shared);
    assert_eq!(
        [status(&shared, "a").await, status(&shared, "b").await],
        [200, 429]
    );
    let skip = app(OnMissingKey::Skip);
    assert_eq!(
        [status(&skip, "a").await, status(&skip, "a").await],
        [200, 200]
    );
    let reject = call(&app(OnMissingKey::Reject), "a").await;
    assert_eq!(reject.status(), 401);
    assert_eq!(header(&reject, "www-authenticate"), "Bearer");

    let mut request = Request::get("/").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Principal::new("alice"));
    let known = shared.oneshot(request).await.unwrap();
    assert_eq!(known.status(), 200, "a bucket of its own");
}

#[tokio::test(start_paused = true)]
async fn abuse_42_a_flood_of_keys_stays_bounded_and_is_no_free_pass() {
    let layer = RateLimitLayer::new(Quota::per_minute(1))
        .key(ByHeader::new("x-user"))
        .max_keys(100);
    let app = router().layer(layer.clone());
    assert_eq!(status(&app, "regular").await, 200);
    let mut passed = 0;
    for n in 0..1000 {
        passed += u32::from(status(&app, &format!("made up {n}")).await == 200);
    }
    assert_eq!(
        passed,
        99 + 1,
        "those who found room, and the shared bucket once"
    );
    assert_eq!(layer.tracked_keys(), 100);
    assert_eq!(status(&app, "regular").await, 429, "is not forgotten");

    advance(2 * MINUTE).await;
    assert_eq!(
        [status(&app, "new").await, status(&app, "regular").await],
        [200, 200]
    );
    assert_eq!(layer.tracked_keys(), 2, "the idle ones are gone");
}

#[tokio::test(start_paused = true)]
async fn several_quotas_are_bounded_too() {
    let layer = RateLimitLayer::all([Quota::per_second(1), Quota::per_minute(1)])
        .key(ByHeader::new("x-user"))
        .max_keys(10);
    let app = router().layer(layer.clone());
    for n in 0..100 {
        status(&app, &n.to_string()).await;
    }
    assert_eq!(layer.tracked_keys(), 10);
    advance(2 * MINUTE).await;
    assert_eq!(status(&app, "new").await, 200);
    assert_eq!(layer.tracked_keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_limits_of_their_own_is_counted_by_them() {
    let app = router().layer(RateLimitLayer::all([
        Quota::per_minute(2),
        Quota::per_day(4),
    ]));
    let calls = async |principal: Principal| {
        let mut passed = 0;
        let mut last = None;
        for _ in 0..6 {
            let mut request = Request::get("/").body(Body::empty()).unwrap();
            request.extensions_mut().insert(principal.clone());
            let answer = app.clone().oneshot(request).await.unwrap();
            passed += u32::from(answer.status() == 200);
            last = Some(header(&answer, "ratelimit-policy").to_owned());
        }
        (passed, last.unwrap())
    };
    let limit = |name, units| Limit::new(name, units, Duration::from_secs(60));
    let bob = Principal::new("bob");
    let (passed, policy) = calls(bob).await;
    assert_eq!(
        (passed, &*policy),
        (2, r#""per-minute";q=2;w=60, "per-day";q=4;w=86400"#)
    );
    let alice = Principal::new("alice").with_limits([limit("per-minute", 3), limit("tokens", 1)]);
    let (passed, policy) = calls(alice).await;
    assert_eq!(
        (passed, &*policy),
        (3, r#""per-minute";q=3;w=60, "per-day";q=4;w=86400"#)
    );
    let blocked = Principal::new("eve").with_limits([limit("per-day", 0)]);
    assert_eq!(calls(blocked).await.0, 0);
    // One quota is governor's for all but those.
    let app = router().layer(RateLimitLayer::new(Quota::per_minute(1)));
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    let rich = Principal::new("rich").with_limits([limit("per-minute", 1_000_000)]);
    request.extensions_mut().insert(rich);
    for _ in 0..3 {
        let (parts, _) = request.into_parts();
        request = Request::from_parts(parts.clone(), Body::empty());
        let again = Request::from_parts(parts, Body::empty());
        assert_eq!(app.clone().oneshot(again).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_may_know_what_is_granted() {
    let gold = |req: &Request<Body>| {
        let gold = req.headers()["x-user"] == "gold";
        let limit = || Limit::new("per-minute", 3, MINUTE);
        gold.then(|| Arc::from([limit()]))
    };
    let key = WithLimits(ByHeader::new("x-user"), gold);
    let app = router().layer(RateLimitLayer::new(Quota::per_minute(1)).key(key));
    for (user, statuses) in [
        ("gold", [200, 200, 200, 429]),
        ("lead", [200, 429, 429, 429]),
    ] {
        for expected in statuses {
            assert_eq!(status(&app, user).await, expected, "{user}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_of_several_parts_keeps_them_apart() {
    let key = (ByHeader::new("x-user"), Optional(ByTenant), ByClientAddr);
    let layer = RateLimitLayer::new(Quota::per_minute(1)).key(key);
    let app = router().layer(layer.on_missing_key(OnMissingKey::Forbid));
    let call = async |user: &str, client: Option<&str>| {
        let mut request = Request::get("/")
            .header("x-user", user)
            .body(Body::empty())
            .unwrap();
        if let Some(client) = client {
            request
                .extensions_mut()
                .insert(ClientAddr(client.parse().unwrap()));
        }
        app.clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(call("a", None).await, 403);
    assert_eq!(call("a", Some("2001:db8::1")).await, 200);
    assert_eq!(call("a", Some("2001:db8::2")).await, 429, "the same /64");
    assert_eq!(call("a", Some("2001:db8:0:1::1")).await, 200);
    assert_eq!(call("b", Some("2001:db8::1")).await, 200);
}

struct Numbered(u32);

/// By what the gauge says. What the operating system says of ten million keys, the bench of limits tells.
#[tokio::test(start_paused = true)]
async fn abuse_42_a_flood_stays_within_the_bytes_that_the_documents_say() {
    for (quotas, most) in [
        (vec![Quota::per_day(9)], 40),
        (vec![Quota::per_day(9).sliding_window()], 96 + 32),
        (vec![Quota::per_day(9), Quota::per_hour(9)], 96 + 2 * 32),
    ] {
        let layer = RateLimitLayer::all(quotas).key(|req: &Numbered| Some(req.0));
        let inner = tower::service_fn(|_: Numbered| {
            std::future::ready(Ok::<_, Infallible>(Response::new(bytes::Bytes::new())))
        });
        let mut service = layer.layer(inner);
        let stats = layer.stats();
        for n in 0..150_000 {
            let call = service.ready().await.unwrap().call(Numbered(n));
            drop(call);
        }
        let keys = stats.tracked_keys();
        assert_eq!(keys, 100_000);
        let bytes = stats.bytes();
        assert!(bytes <= most * keys, "{} a key", bytes / keys);
    }
}
