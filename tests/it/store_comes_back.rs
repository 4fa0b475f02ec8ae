//! What becomes of limits when their store comes back without its memory.

use http::{Request, Response};
use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_gateway::{
    key::ByHeader,
    rate_limit::{MemoryStore, OnStoreDown, Quota, RateLimitLayer, Store, Take, Taken},
    storage::{Pending, StoreError},
};

/// A store that is there, or not.
#[derive(Clone)]
struct Fragile(Arc<Mutex<Option<Arc<MemoryStore>>>>);

impl Fragile {
    fn empty() -> Option<Arc<MemoryStore>> {
        Some(Arc::new(MemoryStore::new(100)))
    }

    fn set(&self, store: Option<Arc<MemoryStore>>) -> Option<Arc<MemoryStore>> {
        std::mem::replace(&mut self.0.lock().unwrap(), store)
    }
}

impl Store for Fragile {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        let store = self.0.lock().unwrap().clone();
        Box::pin(async move {
            match store {
                Some(store) => store.take(take).await,
                None => Err(StoreError::unavailable("it is down")),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_empty_grants_no_fresh_quota() {
    for quota in [
        Quota::per_hour(10),
        Quota::per_day(10).fixed_window(),
        Quota::per_day(10).sliding_window(),
        Quota::per_month(10),
    ] {
        // Of a window this process counts a half, by which it knows the whole to one unit.
        let grain = u32::from(quota != Quota::per_hour(10));
        let store = Fragile(Arc::new(Mutex::new(Fragile::empty())));
        let fallback = OnStoreDown::LocalFallback { fraction: 0.5 };
        let layer = RateLimitLayer::new(quota.clone())
            .key(ByHeader::new("x-user"))
            .shared("api", store.clone(), fallback);
        let stats = layer.stats();
        let inner = service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(bytes::Bytes::new())))
        });
        let service = layer.layer(inner);
        let passed = async |user: &'static str, calls: u32| {
            let mut passed = 0;
            for _ in 0..calls {
                let request = Request::get("/").header("x-user", user).body(()).unwrap();
                let answer = service.clone().oneshot(request).await.unwrap();
                passed += u32::from(answer.status() == 200);
            }
            passed
        };
        assert_eq!(passed("greedy", 12).await, 10, "{quota:?}");
        assert_eq!(passed("modest", 4).await, 4);
        let kept = store.set(None);
        assert_eq!(passed("greedy", 3).await, 0, "{quota:?}");
        assert!(stats.is_degraded());
        store.set(Fragile::empty());
        advance(Duration::from_secs(1)).await;
        assert_eq!(passed("greedy", 12).await, grain, "{quota:?}");
        assert!(!stats.is_degraded());
        assert_eq!(passed("modest", 12).await, 6 + grain, "{quota:?}");
        assert_eq!(passed("new", 12).await, 10, "{quota:?}");
        drop(kept);
        advance(Duration::from_secs(62 * 86_400)).await;
        assert_eq!(passed("greedy", 12).await, 10, "{quota:?}");
    }
}
