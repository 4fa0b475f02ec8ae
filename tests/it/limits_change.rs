//! Limits that differ from call to call: of several credentials of one owner, by a closure, and when a
//! configuration is loaded.

use axum::{Router, body::Body, routing::get};
use http::Request;
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;
use tower_gateway::{
    Principal,
    key::{ByHeader, WithLimits},
    principal::Limit,
    rate_limit::{MemoryStore, OnStoreDown, Quota, RateLimitLayer, Store, Take, Taken},
    storage::{Pending, StoreError},
};

const MINUTE: Duration = Duration::from_secs(60);

fn router() -> Router {
    Router::new().route("/", get(|| async { "Hello" }))
}

/// A store that never answers, so that this process decides.
struct Down;

impl Store for Down {
    fn take(&self, _: Take) -> Pending<'_, Taken> {
        Box::pin(async { Err(StoreError::unavailable("it is down")) })
    }
}

/// A layer of these quotas in this process, one in a store, and one whose store is down.
fn everywhere(quotas: &[Quota]) -> [Router; 3] {
    let layer = || RateLimitLayer::all(quotas.to_vec());
    let fallback = OnStoreDown::LocalFallback { fraction: 1.0 };
    [
        router().layer(layer()),
        router().layer(layer().shared("api", MemoryStore::new(10), OnStoreDown::Deny)),
        router().layer(layer().shared("api", Down, fallback)),
    ]
}

async fn passes(app: &Router, principal: &Principal) -> bool {
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    request.extensions_mut().insert(principal.clone());
    app.clone().oneshot(request).await.unwrap().status() == 200
}

async fn passed(app: &Router, principal: &Principal, calls: u32) -> u32 {
    let mut passed = 0;
    for _ in 0..calls {
        passed += u32::from(passes(app, principal).await);
    }
    passed
}

fn key(id: &str, limits: impl IntoIterator<Item = Limit>) -> Principal {
    Principal::new("app").with_key_id(id).with_limits(limits)
}

#[tokio::test(start_paused = true)]
async fn keys_of_one_owner_with_limits_of_their_own_use_up_nothing_of_each_others() {
    let minute = Quota::per_minute(30);
    let both = [minute.clone(), Quota::per_day(100_000)];
    let window = [minute.clone().fixed_window()];
    for quotas in [&[minute][..], &both, &window] {
        for app in everywhere(quotas) {
            let limit = |units| [Limit::new("per-minute", units, MINUTE)];
            let (ci, prod) = (key("ci", limit(10)), key("prod", limit(1000)));
            assert_eq!(passed(&app, &prod, 20).await, 20);
            assert_eq!(passed(&app, &ci, 20).await, 10, "{quotas:?}");
            assert_eq!(passed(&app, &prod, 20).await, 20);
            // Keys without, and those whose limits are of other quotas, share what the owner has.
            let other = key("other", [Limit::new("tokens", 5, MINUTE)]);
            assert_eq!(passed(&app, &key("plain", []), 20).await, 20);
            assert_eq!(passed(&app, &other, 20).await, 10);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_rotated_and_its_successor_are_not_twice_as_much() {
    for app in everywhere(&[Quota::per_minute(30)]) {
        let limit = || [Limit::new("per-minute", 10, MINUTE)];
        let old = key("old", limit()).with_limited_as("new");
        let new = key("new", limit());
        assert_eq!(passed(&app, &old, 6).await, 6);
        assert_eq!(passed(&app, &new, 20).await, 4);
        assert!(!passes(&app, &old).await);
    }
}

/// What one principal has may depend on when or where it calls.
#[tokio::test(start_paused = true)]
async fn limits_that_alternate_grant_what_they_grant_and_no_more() {
    let base = || Quota::per_minute(30).name("requests");
    let hour = Duration::from_secs(3600);
    for quota in [base(), base().sliding_window(), base().fixed_window()] {
        for app in everywhere(std::slice::from_ref(&quota)) {
            let alice = |limit| Principal::new("alice").with_limits([limit]);
            let minute = alice(Limit::new("requests", 10, MINUTE));
            let hour = alice(Limit::new("requests", 15, hour));
            let (mut a, mut b) = (0, 0);
            for _ in 0..100 {
                a += u32::from(passes(&app, &minute).await);
                b += u32::from(passes(&app, &hour).await);
            }
            assert_eq!((a, b), (10, 15), "{quota:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_widens_a_limit_for_some_calls_opens_no_second_bucket() {
    let wide = |req: &Request<Body>| {
        let limit = || [Limit::new("per-minute", 40, MINUTE)];
        let wide = req.headers().contains_key("x-wide");
        wide.then(|| Arc::from(limit()))
    };
    let layer = RateLimitLayer::new(Quota::per_minute(20));
    let layer = layer.key(WithLimits(ByHeader::new("x-user"), wide));
    let store = MemoryStore::new(10);
    let shared = layer.clone().shared("api", store, OnStoreDown::Deny);
    for app in [router().layer(layer), router().layer(shared)] {
        let passed = async |wide: bool, calls: u32| {
            let mut passed = 0;
            for _ in 0..calls {
                let mut request = Request::get("/").header("x-user", "a");
                if wide {
                    request = request.header("x-wide", "1");
                }
                let request = request.body(Body::empty()).unwrap();
                let answer = app.clone().oneshot(request).await.unwrap();
                passed += u32::from(answer.status() == 200);
            }
            passed
        };
        assert_eq!(passed(false, 15).await, 15);
        assert_eq!(
            passed(true, 100).await,
            10,
            "a quarter of the minute is left"
        );
        assert_eq!(passed(false, 100).await, 0);
    }
}

/// With the store that outlives them.
#[tokio::test(start_paused = true)]
async fn layers_made_anew_with_more_or_fewer_quotas_refill_nothing() {
    let store = Arc::new(MemoryStore::new(10));
    let app = |quotas: &[Quota]| {
        let layer = RateLimitLayer::all(quotas.to_vec());
        router().layer(layer.shared("api", store.clone(), OnStoreDown::Deny))
    };
    let alice = Principal::new("alice");
    let (minute, day) = (Quota::per_minute(3), Quota::per_day(5));
    assert_eq!(
        passed(&app(std::slice::from_ref(&minute)), &alice, 5).await,
        3
    );
    let both = app(&[day.clone(), minute.clone()]);
    assert_eq!(passed(&both, &alice, 5).await, 0);
    tokio::time::advance(MINUTE).await;
    assert_eq!(passed(&both, &alice, 5).await, 3);
    assert_eq!(passed(&app(&[day]), &alice, 5).await, 2);
    assert_eq!(passed(&app(&[minute]), &alice, 5).await, 0);
}

/// Of no time at all there are no units, rather than as many as one can send.
#[tokio::test(start_paused = true)]
async fn a_limit_without_a_period_grants_nothing() {
    for app in everywhere(&[Quota::per_minute(30)]) {
        let never = key("never", [Limit::new("per-minute", 10, Duration::ZERO)]);
        assert_eq!(passed(&app, &never, 5).await, 0);
        let bob = Principal::new("bob");
        assert_eq!(passed(&app, &bob, 5).await, 5);
    }
}

#[cfg(feature = "auth")]
#[tokio::test]
async fn a_stored_key_that_was_rotated_counts_under_its_successor() {
    use tower_gateway::auth::stored::{Grant, Keyring, MemoryKeys, Pepper};

    let pepper = Pepper::new(1, "a secret of the tests, which is long enough").unwrap();
    let keyring = Keyring::new(Arc::new(MemoryKeys::new()), pepper);
    let limit = Limit::new("per-minute", 10, MINUTE);
    let (old, _) = keyring.issue(Grant::new("app").limit(limit)).await.unwrap();
    assert_eq!(old.principal().limited_as(), Some(old.id()));
    let (new, _) = keyring.rotate(old.id(), MINUTE).await.unwrap().unwrap();
    let old = keyring.find(old.id()).await.unwrap().unwrap();
    assert_eq!(old.principal().key_id(), Some(old.id()));
    assert_eq!(old.principal().limited_as(), Some(new.id()));
    assert_eq!(new.principal().limited_as(), Some(new.id()));
}
