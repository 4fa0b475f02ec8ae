//! So much in so much time.

use axum::{Router, body::Body, routing::get};
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Extensible, Principal, Reject, Rejection,
    client_addr::{ByClientAddr, ClientAddr},
    key::{ByHeader, ByPrincipal, ByTenant, Global, Optional, WithLimits},
    principal::{Carried, Limit},
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

/// A question and an answer that are not HTTP.
#[derive(Default)]
struct Ask(Carried);

#[derive(Debug)]
struct Reply(Carried);

macro_rules! carried {
    ($($name:ident)*) => {
        $(impl Extensible for $name {
            fn headers(&self) -> &HeaderMap {
                &self.0.headers
            }
            fn headers_mut(&mut self) -> &mut HeaderMap {
                &mut self.0.headers
            }
            fn extensions(&self) -> &Extensions {
                &self.0.extensions
            }
            fn extensions_mut(&mut self) -> &mut Extensions {
                &mut self.0.extensions
            }
        })*
    };
}

carried!(Ask Reply);

impl Reject<Rejection> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, Rejection> {
        Err(rejection)
    }
}

#[tokio::test(start_paused = true)]
async fn any_request_and_any_answer_will_do() {
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(Quota::per_minute(1)))
        .service_fn(async |_: Ask| Ok::<_, Rejection>(Reply(Carried::default())));
    let ask = |name: &'static str| {
        let mut ask = Ask::default();
        ask.extensions_mut().insert(Principal::new(name));
        service.clone().oneshot(ask)
    };
    let reply = ask("alice").await.unwrap();
    assert_eq!(reply.headers()["x-ratelimit-remaining-requests"], "0");
    let rejection = ask("alice").await.unwrap_err();
    assert_eq!(rejection.kind(), Kind::RateLimited);
    assert_eq!(rejection.headers()["ratelimit"], r#""per-minute";r=0;t=60"#);
    assert!(ask("bob").await.is_ok());
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

#[tokio::test]
async fn in_bare_hyper_a_new_connection_brings_no_new_quota() {
    use http_body_util::Full;
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};

    let layer = RateLimitLayer::new(Quota::per_hour(2)).key(Global);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (client, server) = tokio::io::duplex(4096);
        let inner = tower::service_fn(async |_: Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::<axum::body::Bytes>::default()))
        });
        let service = TowerToHyperService::new(layer.layer(inner));
        let server = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        let server = tokio::spawn(async move { server.await.unwrap() });
        let io = TokioIo::new(client);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let client = tokio::spawn(async move { connection.await.unwrap() });
        let request = Request::new(Full::<axum::body::Bytes>::default());
        let answer = sender.send_request(request).await.unwrap();
        answers.push(answer.status().as_u16());
        drop((answer, sender));
        client.await.unwrap();
        server.await.unwrap();
    }
    assert_eq!(answers, [200, 200, 429]);
}

#[cfg(feature = "llm")]
#[tokio::test(start_paused = true)]
async fn a_language_model_has_limits_by_caller_and_model() {
    use tower_gateway::llm::{ByModel, ChatRequest, Error, Simulator};

    let layer = RateLimitLayer::new(Quota::per_minute(1)).key((ByPrincipal, ByModel));
    let service = layer.layer(Simulator::new());
    let ask = |name: &'static str, model: &'static str| {
        let mut ask = ChatRequest::new().user("Hello").for_model(model);
        ask.extensions_mut().insert(Principal::new(name));
        service.clone().oneshot(ask)
    };
    let answer = ask("alice", "fast").await.unwrap();
    assert_eq!(answer.headers()["ratelimit"], r#""per-minute";r=0;t=60"#);
    assert!(ask("alice", "slow").await.is_ok());
    assert!(ask("bob", "fast").await.is_ok());
    let Err(Error::Rejected(rejection)) = ask("alice", "fast").await else {
        panic!("the quota is used up");
    };
    assert_eq!(rejection.kind(), Kind::RateLimited);
    assert_eq!(rejection.retry_after(), Some(MINUTE));
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

/// What depends on the model is decided around the model, where it is known.
#[cfg(feature = "llm")]
#[tokio::test(start_paused = true)]
async fn a_model_has_a_quota_of_its_own_in_tokens() {
    use tower_gateway::llm::{ByModel, ChatRequest, Simulator};
    let layer = RateLimitLayer::all([
        Quota::per_minute(100).name("tokens"),
        Quota::per_day(10_000).fixed_window().name("tokens-a-day"),
    ])
    .key((ByPrincipal, ByModel))
    .cost(|req: &ChatRequest| u64::from(req.model().len() > 4) * 40 + 40)
    .headers(Headers::Ietf);
    let chat = layer.layer(Simulator::new().answer("Paris"));
    let ask = |model: &str| {
        let mut request = ChatRequest::new().for_model(model).user("The capital?");
        request.extensions_mut().insert(Principal::new("alice"));
        chat.clone().oneshot(request)
    };
    let answer = ask("fast").await.unwrap();
    assert!(
        answer.headers()["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with(r#""tokens";r=60"#)
    );
    assert!(ask("fast").await.is_ok());
    let refusal = ask("fast").await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::RateLimited);
    assert!(ask("thorough").await.is_ok(), "80 of its own");
    assert_eq!(ask("thorough").await.unwrap_err().kind(), Kind::RateLimited);
}
