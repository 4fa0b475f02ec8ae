//! A store that is down, slow, or asked too often.

use super::*;

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_only_what_is_in_memory_lets_in() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    let (_, other) = scene.issue().await;
    assert_eq!(scene.status(&key).await, 200);
    scene.store.down.store(true, Ordering::Relaxed);
    assert_eq!(scene.status(&key).await, 200);
    let response = call(&scene.app, &other).await;
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(
        (response.status().as_u16(), rejection.kind()),
        (503, Kind::AuthUnavailable)
    );
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    let body = axum::body::to_bytes(response.into_body(), 10_000)
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&body).contains("canary"));
    advance(5 * SECOND).await;
    assert_eq!(scene.status(&key).await, 503);

    scene.store.down.store(false, Ordering::Relaxed);
    advance(SECOND).await;
    assert_eq!(scene.status(&key).await, 200);
    assert_eq!(scene.status(&other).await, 200);
    assert_eq!(scene.keys.failed_look_ups(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_serves_for_its_time_if_it_may() {
    let scene = Scene::with(|keys| keys.serve_stale(60 * SECOND));
    let (id, key) = scene.issue().await;
    let (_, other) = scene.issue().await;
    assert_eq!(scene.status(&key).await, 200);
    scene.store.down.store(true, Ordering::Relaxed);
    advance(64 * SECOND).await;
    for _ in 0..5 {
        assert_eq!(scene.status(&key).await, 200);
        assert_eq!(scene.status(&other).await, 503);
        assert_eq!(scene.status(&wrong_secret(&scene, &id).await).await, 503);
    }
    assert_eq!(scene.keys.stale_answers(), 5);
    advance(SECOND).await;
    assert_eq!(scene.status(&key).await, 503);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_silent_is_waited_for_two_seconds_and_then_left_alone_for_one() {
    let scene = Scene::new();
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(scene.issue().await.1);
    }
    scene.store.silent.store(true, Ordering::Relaxed);
    let start = tokio::time::Instant::now();
    let mut waited = Vec::new();
    for key in &keys {
        assert_eq!(scene.status(key).await, 503);
        waited.push(start.elapsed().as_secs());
    }
    assert_eq!((waited, scene.asked()), (vec![2, 4, 6, 6, 6], 3));
    scene.store.silent.store(false, Ordering::Relaxed);
    advance(SECOND).await;
    assert_eq!(scene.status(&keys[0]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_keeps_nobody_else_out() {
    let store = MemoryKeys::new();
    let ring = Keyring::new(Arc::new(store.clone()), pepper());
    let (odd, odd_secret) = ring.issue(Grant::new("alice")).await.unwrap();
    let (_, fine) = ring.issue(Grant::new("bob")).await.unwrap();
    let lookup = move |id: Arc<str>| {
        let (store, odd) = (store.clone(), odd.id().clone());
        async move {
            if id == odd {
                return Err(StoreError::corrupt("a grant of a newer program"));
            }
            store.find(&id).await
        }
    };
    let keys = StoredKeys::new(lookup, pepper());
    let app = router().layer(AuthLayer::new(keys.clone()));
    for _ in 0..5 {
        assert_eq!(call(&app, odd_secret.expose()).await.status(), 503);
    }
    assert_eq!(keys.failed_look_ups(), 5);
    assert_eq!(call(&app, fine.expose()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_address_with_too_many_wrong_keys_does_not_reach_the_store() {
    let scene = Scene::new();
    let (_, known) = scene.issue().await;
    let (_, unknown) = scene.issue().await;
    let layer = AuthLayer::new(scene.keys.clone()).failure_limit(FailureLimit::per_minute(2));
    let app = router().layer(layer);
    let elsewhere = Keyring::new(Arc::new(MemoryKeys::new()), pepper());
    let shown = async |key: &str| {
        let mut request = request(key);
        let address = ClientAddr([192, 0, 2, 1].into());
        request.extensions_mut().insert(address);
        app.clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(shown(&known).await, 200);
    for status in [401, 401, 429, 429] {
        let guess = elsewhere.issue(Grant::new("mallory")).await.unwrap();
        assert_eq!(shown(guess.1.expose()).await, status);
    }
    assert_eq!((shown(&unknown).await, shown(&known).await), (429, 200));
    assert_eq!(scene.asked(), 3);
}
