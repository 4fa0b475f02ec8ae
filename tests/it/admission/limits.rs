//! Limits by the builder.

use super::*;
use tower_gateway::{
    client_addr::ByClientAddr,
    gateway::Slot,
    key::{ByPrincipal, ByTenant},
    llm::ByModel,
    rate_limit::{Headers, MemoryStore, OnStoreDown, Quota, RateLimitLayer, Store, Take, Taken},
    storage::{Pending, StoreError},
};

fn keys() -> ApiKeys {
    ApiKeys::new()
        .add(Grant::new("alice").tenant("acme"), KEY)
        .add(Grant::new("bob").tenant("acme"), "a-secret-that-bob-has")
}

async fn who(gateway: &GatewayService, key: &str, peer: &str) -> u16 {
    let dress = Dress::bearer(key).from(peer);
    ask(gateway, dress.put_on("/who", "")).await.0
}

const BOB: &str = "a-secret-that-bob-has";
const HERE: &str = "192.0.2.1";

#[tokio::test(start_paused = true)]
async fn limits_of_different_keys_stand_in_the_order_of_the_calls() {
    let by_address = RateLimitLayer::new(Quota::per_hour(4).name("address")).key(ByClientAddr);
    let by_tenant = RateLimitLayer::new(Quota::per_hour(3).name("tenant")).key(ByTenant);
    let by_user = RateLimitLayer::all([
        Quota::per_hour(2).name("user"),
        Quota::per_month(1000).name("month"),
    ]);
    let gateway = gateway(|builder| {
        let builder = builder.api_keys(keys()).rate_limit(by_address);
        builder.rate_limit(by_tenant).rate_limit(by_user)
    });
    let limits = gateway.describe().matches("RateLimitLayer").count();
    assert_eq!(limits, 3, "{}", gateway.describe());
    for (key, peer, status) in [
        (KEY, HERE, 200),
        (KEY, HERE, 200),
        (KEY, HERE, 429),
        (BOB, "192.0.2.2", 429),
        (BOB, HERE, 429),
        (BOB, HERE, 429),
    ] {
        assert_eq!(who(&gateway, key, peer).await, status);
    }
    assert_eq!(gauge(&gateway, "gateway_rate_limit_keys"), Some(2 + 1 + 1));
}

/// A store that can be switched off.
struct Switched(MemoryStore, Arc<AtomicUsize>);

impl Store for Switched {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        if self.1.load(Ordering::Relaxed) > 0 {
            return Box::pin(async { Err(StoreError::timed_out()) });
        }
        self.0.take(take)
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_seen_in_the_metrics() {
    for (down, status) in [
        (OnStoreDown::Deny, 503),
        (OnStoreDown::Allow, 200),
        (OnStoreDown::LocalFallback { fraction: 0.1 }, 429),
    ] {
        let off = Arc::new(AtomicUsize::new(0));
        let store = Switched(MemoryStore::new(100), off.clone());
        let layer = RateLimitLayer::all([Quota::per_day(10), Quota::per_month(100)])
            .key((ByTenant, ByPrincipal))
            .shared("api", store, down);
        let gateway = gateway(|builder| builder.api_keys(keys()).rate_limit(layer));
        assert_eq!(who(&gateway, KEY, HERE).await, 200);
        assert_eq!(gauge(&gateway, "gateway_rate_limit_degraded"), Some(0));
        off.store(1, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(who(&gateway, KEY, HERE).await, status, "{down:?}");
        }
        assert_eq!(gauge(&gateway, "gateway_rate_limit_degraded"), Some(1));
        assert_eq!(gauge(&gateway, "gateway_rate_limit_without_store"), Some(3));
        off.store(0, Ordering::Relaxed);
        tokio::time::sleep(SOON).await;
        assert_eq!(who(&gateway, KEY, HERE).await, 200);
        assert_eq!(gauge(&gateway, "gateway_rate_limit_degraded"), Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn around_the_models_their_names_are_known() {
    let layer = RateLimitLayer::new(Quota::per_hour(1).name("model"))
        .key((ByPrincipal, ByModel))
        .headers(Headers::Ietf);
    let gateway = gateway(|builder| {
        let builder = builder.api_keys(keys()).rate_limit(Quota::per_hour(100));
        builder.chat_rate_limit(layer)
    });
    let (alice, bob) = (Dress::bearer(KEY), Dress::bearer(BOB));
    assert_eq!(chat(&gateway, &alice, "fast").await, 200);
    assert_eq!(chat(&gateway, &alice, "fast").await, 429);
    assert_eq!(chat(&gateway, &alice, "slow").await, 200);
    assert_eq!(chat(&gateway, &bob, "fast").await, 200);
    assert_eq!(
        who(&gateway, KEY, HERE).await,
        200,
        "no route is limited by it"
    );
    assert_eq!(gauge(&gateway, "gateway_rate_limit_keys"), Some(2 + 3));
    assert!(gateway.describe().contains("\nllm   RateLimitLayer\n"));
}

/// Each in its place, whatever the order of the calls.
#[test]
fn the_order_is_fixed_and_described() {
    let list = AddressListLayer::new(Addresses::new());
    let gateway = gateway(|builder| {
        builder
            .rate_limit(RateLimitLayer::new(Quota::per_second(9)).key(ByClientAddr))
            .concurrency(7)
            .signed_requests(SignatureLayer::new().optional())
            .auth(AuthLayer::new(keys()).or_outer())
            .rate_limit(Quota::per_minute(9))
            .layer_at(Slot::Authorize, tower::layer::util::Identity::new())
            .address_list(list)
    });
    let lines: Vec<_> = gateway.describe().lines().collect();
    let from = lines.iter().position(|line| line.contains("Limits"));
    let expected = [
        "http  Limits       AddressListLayer",
        "http  Auth         SignatureLayer",
        "http  Auth         AuthLayer",
        "http  Authorize    Identity",
        "http  RateLimit    RateLimitLayer",
        "http  RateLimit    RateLimitLayer",
        "http  Concurrency  ConcurrencyLayer",
    ];
    assert_eq!(lines[from.unwrap()..][..expected.len()], expected);
}

#[test]
fn two_quotas_of_one_key_belong_in_one_layer() {
    let twice = |layer: RateLimitLayer| {
        let builder = Gateway::builder().simulator(Simulator::new());
        builder
            .rate_limit(Quota::per_minute(1))
            .rate_limit(layer)
            .build()
    };
    let fault = twice(RateLimitLayer::new(Quota::per_day(1))).unwrap_err();
    assert!(fault.to_string().contains("RateLimitLayer::all"), "{fault}");
}
