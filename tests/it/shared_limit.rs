//! Limits that several processes share, and what is done when their store does not answer. The store here
//! is a mock; Redis itself is in `redis_limit`.

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt};
use tower_gateway::{
    Principal, Rejection,
    key::{ByHeader, Global, Key, One},
    principal,
    rate_limit::{
        MemoryStore, OnMissingKey, OnStoreDown, Quota, RateLimitLayer, Shared, Store, Take, Taken,
    },
    rejection::Kind,
    storage::{Pending, StoreError},
};

/// A store that answers, fails or hangs, as it is told to.
struct Moody {
    buckets: MemoryStore,
    mood: AtomicUsize,
    asked: AtomicU64,
}

const ANSWERS: usize = 0;
const FAILS: usize = 1;
const HANGS: usize = 2;

impl Moody {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            buckets: MemoryStore::new(1000),
            mood: AtomicUsize::new(ANSWERS),
            asked: AtomicU64::new(0),
        })
    }

    fn mood(&self, mood: usize) {
        self.mood.store(mood, Ordering::Relaxed);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Store for Moody {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.mood.load(Ordering::Relaxed) {
            ANSWERS => self.buckets.take(take),
            FAILS => Box::pin(async { Err(StoreError::unavailable("canary")) }),
            _ => Box::pin(pending()),
        }
    }
}

const FALLBACK: OnStoreDown = OnStoreDown::LocalFallback { fraction: 0.5 };

type Limit<K> = RateLimitLayer<K, One, Shared>;

fn limit<K>(quota: Quota, key: K, store: &Arc<Moody>, down: OnStoreDown) -> Limit<K> {
    let layer = RateLimitLayer::new(quota).key(key);
    layer.shared("api", store.clone(), down)
}

fn app<K: Key<Request<Body>> + Clone + Send + Sync + 'static>(layer: Limit<K>) -> Router {
    let router = Router::new().route("/", get(|| async { "Hello" }));
    router.layer(layer)
}

async fn call(app: &Router, user: &str) -> Response<Body> {
    let request = Request::get("/").header("x-user", user).body(Body::empty());
    app.clone().oneshot(request.unwrap()).await.unwrap()
}

async fn status(app: &Router, user: &str) -> u16 {
    call(app, user).await.status().as_u16()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn layers_of_one_name_count_together_and_those_of_others_do_not() {
    let store = Moody::new();
    let by_user = || ByHeader::new("x-user");
    let one = app(limit(
        Quota::per_minute(2),
        by_user(),
        &store,
        OnStoreDown::Deny,
    ));
    let two = app(limit(
        Quota::per_minute(2),
        by_user(),
        &store,
        OnStoreDown::Deny,
    ));
    let first = call(&one, "a").await;
    assert_eq!(header(&first, "ratelimit"), r#""per-minute";r=1;t=30"#);
    assert_eq!(status(&two, "a").await, 200);
    let refusal = call(&one, "a").await;
    assert_eq!(refusal.status(), 429);
    assert_eq!(header(&refusal, "retry-after"), "30");
    assert_eq!(header(&refusal, "ratelimit"), r#""per-minute";r=0;t=30"#);
    assert_eq!(status(&two, "b").await, 200);
    let other = RateLimitLayer::new(Quota::per_minute(2)).key(by_user());
    let other = app(other.shared("other", store.clone(), OnStoreDown::Deny));
    assert_eq!(status(&other, "a").await, 200);
    assert_eq!(store.buckets.tracked_keys(), 3);
}

#[tokio::test(start_paused = true)]
async fn abuse_40_a_store_that_is_down_does_what_was_declared() {
    let store = Moody::new();
    let layers = [OnStoreDown::Deny, OnStoreDown::Allow, FALLBACK]
        .map(|down| limit(Quota::per_hour(4), Global, &store, down));
    let apps = layers.clone().map(app);
    for mood in [FAILS, HANGS] {
        store.mood(mood);
        let mut seen = Vec::new();
        for app in &apps {
            let mut statuses = Vec::new();
            for _ in 0..4 {
                statuses.push(status(app, "a").await);
            }
            seen.push(statuses);
        }
        let fallback = if mood == FAILS {
            vec![200, 200, 429, 429]
        } else {
            vec![429; 4]
        };
        assert_eq!(seen, [vec![503; 4], vec![200; 4], fallback]);
    }
    let refusal = call(&apps[0], "a").await;
    assert_eq!(header(&refusal, "retry-after"), "1");
    let rejection = refusal.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::LimiterUnavailable);
    assert_eq!(rejection.kind().code(), "rate_limiter_unavailable");
    for layer in &layers {
        let stats = layer.stats();
        assert!(stats.is_degraded() && stats.without_store() >= 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_its_timeout_three_times_and_then_once_a_pause() {
    let store = Moody::new();
    let app = app(limit(
        Quota::per_hour(4),
        Global,
        &store,
        OnStoreDown::Allow,
    ));
    store.mood(HANGS);
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(status(&app, "a").await, 200);
    }
    let elapsed = start.elapsed().as_millis();
    assert!((60..=66).contains(&elapsed), "20 ms each: {elapsed}");
    assert_eq!(store.asked(), 3);
    advance(Duration::from_secs(1)).await;
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(status(&app, "a").await, 200);
    }
    assert!(start.elapsed() <= Duration::from_millis(22));
    assert_eq!(store.asked(), 4);
    store.mood(ANSWERS);
    advance(Duration::from_secs(1)).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(status(&app, "a").await);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429], "it is back at once");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_makes_room_for_another() {
    let store = Moody::new();
    let layer = limit(Quota::per_hour(4), Global, &store, OnStoreDown::Allow);
    let stats = layer.stats();
    let app = app(layer);
    store.mood(FAILS);
    for _ in 0..3 {
        status(&app, "a").await;
    }
    assert!(stats.is_degraded());
    advance(Duration::from_secs(1)).await;
    store.mood(HANGS);
    let dropped = tokio::time::timeout(Duration::from_millis(1), status(&app, "a"));
    assert!(dropped.await.is_err());
    store.mood(ANSWERS);
    assert_eq!(status(&app, "a").await, 200);
    assert!(!stats.is_degraded());
}

#[tokio::test(start_paused = true)]
async fn whoever_had_used_up_the_quota_finds_no_fresh_one_when_the_store_fails() {
    for quota in [
        Quota::per_hour(10),
        Quota::per_day(10).fixed_window(),
        Quota::per_day(10).sliding_window(),
    ] {
        let store = Moody::new();
        let by_user = || ByHeader::new("x-user");
        let here = limit(quota.clone(), by_user(), &store, FALLBACK);
        let stats = here.stats();
        let [here, there] = [app(here), app(limit(quota, by_user(), &store, FALLBACK))];
        // Nine of ten are used elsewhere, and one here, which learns of it.
        for _ in 0..9 {
            assert_eq!(status(&there, "greedy").await, 200);
        }
        assert_eq!(status(&here, "greedy").await, 200);
        for _ in 0..4 {
            assert_eq!(status(&here, "modest").await, 200);
        }
        assert_eq!(stats.tracked_keys(), 2);
        store.mood(FAILS);
        assert_eq!(status(&here, "greedy").await, 429);
        let mut passed = 0;
        for _ in 0..10 {
            passed += u32::from(status(&here, "modest").await == 200);
        }
        assert_eq!(passed, 3, "half of ten, less half of four");
        assert!(stats.is_degraded());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_beside_a_store_is_bounded_too() {
    let store = Moody::new();
    let layer = limit(
        Quota::per_minute(2),
        ByHeader::new("x-user"),
        &store,
        FALLBACK,
    )
    .max_keys(10);
    let stats = layer.stats();
    let app = app(layer);
    for user in 0..100 {
        assert_eq!(
            status(&app, &user.to_string()).await,
            200,
            "the store has room"
        );
    }
    assert_eq!(stats.tracked_keys(), 10);
    store.mood(FAILS);
    let mut passed = 0;
    for user in 100..200 {
        passed += u32::from(status(&app, &user.to_string()).await == 200);
    }
    assert_eq!(passed, 1, "the shared bucket, which no known key has used");
}

#[tokio::test(start_paused = true)]
async fn without_a_key_there_is_nothing_to_ask() {
    let store = Moody::new();
    for (missing, statuses) in [
        (OnMissingKey::Shared, [200, 429]),
        (OnMissingKey::Skip, [200, 200]),
        (OnMissingKey::Reject, [401, 401]),
        (OnMissingKey::Forbid, [403, 403]),
    ] {
        let nobody = |_: &Request<Body>| None::<u8>;
        let layer = limit(Quota::per_minute(1), nobody, &store, OnStoreDown::Deny);
        let app = app(layer.on_missing_key(missing));
        assert_eq!([status(&app, "a").await, status(&app, "a").await], statuses);
    }
    assert_eq!(store.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_never_denies_even_without_its_store() {
    let store = Moody::new();
    let layer = limit(
        Quota::per_minute(1).shadow(),
        Global,
        &store,
        OnStoreDown::Deny,
    );
    let stats = layer.stats();
    let app = app(layer);
    for _ in 0..3 {
        let answer = call(&app, "a").await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "ratelimit")),
            (200, "")
        );
    }
    assert_eq!(stats.shadow_refusals(), 2);
    store.mood(FAILS);
    assert_eq!(status(&app, "a").await, 200);
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_principals_own_hold_in_the_store_too() {
    let store = Moody::new();
    let layer = RateLimitLayer::new(Quota::per_minute(1)).shared("api", store, OnStoreDown::Deny);
    let app = app(layer);
    let calls = async |principal: Principal| {
        let mut passed = 0;
        for _ in 0..5 {
            let mut request = Request::get("/").body(Body::empty()).unwrap();
            request.extensions_mut().insert(principal.clone());
            let answer = app.clone().oneshot(request).await.unwrap();
            passed += u32::from(answer.status() == 200);
        }
        passed
    };
    let minute = Duration::from_secs(60);
    let limit = principal::Limit::new("per-minute", 3, minute);
    assert_eq!(calls(Principal::new("alice").with_limits([limit])).await, 3);
    assert_eq!(calls(Principal::new("bob")).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    #[derive(Debug)]
    struct Once(bool);

    impl Clone for Once {
        fn clone(&self) -> Self {
            Self(false)
        }
    }

    impl Service<Request<()>> for Once {
        type Response = Response<Bytes>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            self.0 = true;
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(self.0, "it was not ready");
            std::future::ready(Ok(Response::new(Bytes::new())))
        }
    }

    let store = Moody::new();
    let layer = limit(Quota::per_minute(9), Global, &store, OnStoreDown::Deny);
    let mut service = layer.layer(Once(false));
    for _ in 0..3 {
        let answer = service.ready().await.unwrap().call(Request::new(())).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_store_is_asked_does_not_reach_the_service() {
    let store = Moody::new();
    store.mood(HANGS);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = tower::service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(
            Bytes::new(),
        )))
    });
    let mut service = limit(Quota::per_minute(9), Global, &store, OnStoreDown::Allow).layer(inner);
    let mut asked = tokio_test::task::spawn(service.ready().await.unwrap().call(Request::new(())));
    assert!(asked.poll().is_pending());
    drop(asked);
    assert_eq!((store.asked(), calls.load(Ordering::Relaxed)), (1, 0));
}
