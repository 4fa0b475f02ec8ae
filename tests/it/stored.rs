//! Keys in stores.

mod allowed;
mod contract;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod databases;
mod ending;
mod failing;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, header};
use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{task::yield_now, time::advance};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Principal, Rejection,
    auth::{
        AuthLayer, FailureLimit,
        stored::{
            Grant, KeyFilter, KeyLookup, KeyStore, Keyring, MemoryKeys, Pepper, StoredKey,
            StoredKeys,
        },
    },
    client_addr::ClientAddr,
    principal::Limit,
    rejection::Kind,
    storage::{Failure, Pending, StoreError},
};

const SECOND: Duration = Duration::from_secs(1);

fn pepper() -> Pepper {
    Pepper::new(1, "a secret of the tests, of 32 bytes and more").unwrap()
}

/// A store that counts what it is asked, and does as it is told.
#[derive(Default)]
struct Watched {
    keys: MemoryKeys,
    asked: AtomicUsize,
    down: AtomicBool,
    silent: AtomicBool,
    slow: AtomicBool,
    used: Mutex<Vec<usize>>,
}

impl KeyLookup for Watched {
    fn find<'a>(&'a self, id: &'a str) -> Pending<'a, Option<StoredKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) {
            return Box::pin(ready(Err(StoreError::unavailable("canary: no way"))));
        }
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(pending());
        }
        let slow = self.slow.load(Ordering::Relaxed);
        Box::pin(async move {
            let found = self.keys.find(id).await;
            if slow {
                tokio::time::sleep(SECOND).await;
            }
            found
        })
    }

    fn used<'a>(&'a self, uses: &'a [(Arc<str>, SystemTime)]) -> Pending<'a, ()> {
        self.used.lock().unwrap().push(uses.len());
        self.keys.used(uses)
    }
}

struct Scene {
    store: Arc<Watched>,
    ring: Keyring<MemoryKeys>,
    keys: StoredKeys,
    app: Router,
}

impl Scene {
    fn new() -> Self {
        Self::with(|keys| keys)
    }

    fn with(set: impl FnOnce(StoredKeys) -> StoredKeys) -> Self {
        let store = Arc::new(Watched::default());
        let ring = Keyring::new(Arc::new(store.keys.clone()), pepper());
        let keys = set(StoredKeys::new(store.clone(), pepper()));
        let app = router().layer(AuthLayer::new(keys.clone()));
        Self {
            store,
            ring,
            keys,
            app,
        }
    }

    /// The id of a new key of alice's, and the key.
    async fn issue(&self) -> (Arc<str>, String) {
        let (key, secret) = self.ring.issue(Grant::new("alice")).await.unwrap();
        (key.id().clone(), secret.expose().to_owned())
    }

    async fn status(&self, key: &str) -> u16 {
        call(&self.app, key).await.status().as_u16()
    }

    fn asked(&self) -> usize {
        self.store.asked.load(Ordering::Relaxed)
    }
}

fn router() -> Router {
    let name = async |request: Request<Body>| {
        Principal::of(&request).map_or("nobody".into(), |who| who.id().to_string())
    };
    Router::new().route("/", get(name))
}

fn request(key: &str) -> Request<Body> {
    let request = Request::get("/").header("x-api-key", key);
    request.body(Body::empty()).unwrap()
}

async fn call(app: &Router, key: &str) -> Response<Body> {
    app.clone().oneshot(request(key)).await.unwrap()
}

/// The same key with another secret, whose checksum is right.
async fn wrong_secret(scene: &Scene, id: &str) -> String {
    // Any key that is made anew has a secret that is not this one's.
    let other = Keyring::new(Arc::new(MemoryKeys::new()), pepper());
    let (key, secret) = other.issue(Grant::new("nobody")).await.unwrap();
    let text = secret.expose().replace(&**key.id(), id);
    let body = &text[..text.len() - 6];
    let base62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32(body.as_bytes()) as usize;
    let mut sum = [b'0'; 6];
    for char in sum.iter_mut().rev() {
        *char = base62[rest % 62];
        rest /= 62;
    }
    let text = format!("{body}{}", std::str::from_utf8(&sum).unwrap());
    assert!(tower_gateway::auth::ApiKey::is_well_formed(&text));
    assert!(scene.ring.find(id).await.unwrap().is_some());
    text
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[tokio::test]
async fn what_a_key_grants_reaches_the_service() {
    let store = Arc::new(MemoryKeys::new());
    let ring = Keyring::new(store.clone(), pepper()).prefix("acme_live");
    let limit = Limit::new("per-minute", 600, Duration::from_secs(60));
    let grant = Grant::new("alice")
        .team("red")
        .tenant("acme")
        .scopes(["chat"])
        .models(["fast"])
        .routes(["/v1/*"])
        .limit(limit.clone());
    let (key, secret) = ring.issue(grant).await.unwrap();
    assert!(secret.expose().starts_with("acme_live_"));
    let id = key.id().clone();
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(StoredKeys::new(store, pepper())).require_scope("chat"))
        .service_fn(move |request: Request<Body>| {
            let who = Principal::of(&request).unwrap();
            assert_eq!((&**who.id(), who.key_id()), ("alice", Some(&id)));
            assert_eq!(who.team().map(|team| &**team), Some("red"));
            assert_eq!(who.tenant().map(|tenant| &**tenant), Some("acme"));
            assert_eq!(who.limits().first(), Some(&limit));
            assert!(who.may_use_model("fast") && !who.may_use_model("slow"));
            assert!(who.may_use_route("/v1/models") && !who.may_use_route("/admin"));
            assert!(!request.headers().contains_key("x-api-key"));
            ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
    let response = service.oneshot(request(secret.expose())).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn abuse_53_unknown_wrong_early_late_and_revoked_are_answered_alike() {
    let scene = Scene::new();
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let (id, good) = scene.issue().await;
    let mut keys = vec![wrong_secret(&scene, &id).await];
    let begin = now - 2 * hour;
    for grant in [
        Grant::new("alice").not_before(now + hour),
        Grant::new("alice").not_before(begin).expires_at(now - hour),
    ] {
        keys.push(scene.ring.issue(grant).await.unwrap().1.expose().into());
    }
    let (revoked, key) = scene.issue().await;
    assert!(scene.ring.revoke(&revoked).await.unwrap());
    keys.push(key);
    let elsewhere = Keyring::new(Arc::new(MemoryKeys::new()), pepper());
    let unknown = elsewhere.issue(Grant::new("alice")).await.unwrap();
    keys.push(unknown.1.expose().into());
    keys.push("no key at all".into());
    let (front, last) = good.split_at(good.len() - 1);
    keys.push(format!("{front}{}", if last == "x" { "y" } else { "x" }));

    assert_eq!(scene.status(&good).await, 200);
    let mut answers = Vec::new();
    for key in keys.iter().chain(&keys) {
        let response = call(&scene.app, key).await;
        let head = format!("{} {:?}", response.status(), response.headers());
        let body = axum::body::to_bytes(response.into_body(), 10_000).await;
        answers.push((head, body.unwrap()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert!(answers[0].0.starts_with("401"), "{answers:?}");
    // The first five each once, whether the id is in memory or not; the early one each time.
    assert_eq!(scene.asked(), 1 + 5 + 1);
}

#[tokio::test(start_paused = true)]
async fn abuse_43_a_revoked_key_stops_within_five_seconds() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    assert_eq!(scene.status(&key).await, 200);
    scene.ring.revoke(&id).await.unwrap();
    assert_eq!(scene.status(&key).await, 200, "it is in memory");
    advance(5 * SECOND).await;
    assert_eq!(scene.status(&key).await, 401);

    let (id, key) = scene.issue().await;
    assert_eq!(scene.status(&key).await, 200);
    scene.ring.revoke(&id).await.unwrap();
    scene.keys.forget(&id);
    assert_eq!(scene.status(&key).await, 401);

    // A key in use is asked for again before the time is over, and nobody waits for it.
    let (id, key) = scene.issue().await;
    assert_eq!(scene.status(&key).await, 200);
    scene.ring.revoke(&id).await.unwrap();
    advance(3 * SECOND).await;
    assert_eq!(scene.status(&key).await, 200);
    yield_now().await;
    assert_eq!(scene.status(&key).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_revoked_while_it_is_looked_up_is_not_let_in_afterwards() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    scene.store.slow.store(true, Ordering::Relaxed);
    let mut first = tokio_test::task::spawn(scene.app.clone().oneshot(request(&key)));
    assert!(first.poll().is_pending());
    yield_now().await;
    scene.ring.revoke(&id).await.unwrap();
    scene.keys.forget(&id);
    advance(SECOND).await;
    // It was asked for before.
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(scene.status(&key).await, 401);
}

#[tokio::test(start_paused = true)]
async fn both_keys_let_in_until_the_overlap_is_over() {
    let scene = Scene::new();
    let (id, old) = scene.issue().await;
    let (new_id, secret) = scene.ring.rotate(&id, 30 * SECOND).await.unwrap().unwrap();
    assert_ne!(*new_id.id(), id);
    assert_eq!(scene.status(&old).await, 200);
    assert_eq!(scene.status(secret.expose()).await, 200);
    assert!(
        scene.ring.rotate(&id, SECOND).await.unwrap().is_none(),
        "once"
    );

    let at_once = scene
        .ring
        .rotate(new_id.id(), Duration::ZERO)
        .await
        .unwrap();
    scene.keys.forget_all();
    assert_eq!(scene.status(secret.expose()).await, 401);
    assert_eq!(scene.status(at_once.unwrap().1.expose()).await, 200);
}

#[tokio::test]
async fn a_rotated_key_lasts_as_long_as_the_one_before() {
    let scene = Scene::new();
    let end = SystemTime::now() + 1000 * SECOND;
    let grant = Grant::new("alice").scopes(["chat"]).expires_at(end);
    let (old, _) = scene.ring.issue(grant).await.unwrap();
    let rotated = scene.ring.rotate(old.id(), SECOND).await.unwrap();
    let (new, _) = rotated.unwrap();
    assert_eq!(new.grant().scopes, old.grant().scopes);
    let lasts = |key: &StoredKey| {
        let end = key.grant().expires_at.unwrap();
        end.duration_since(key.created_at()).unwrap()
    };
    assert_eq!(lasts(&new), lasts(&old));
    assert_eq!(new.grant().not_before, None);
    // One that has not begun is not good any earlier for being rotated.
    let start = SystemTime::now() + 500 * SECOND;
    let grant = Grant::new("alice").not_before(start).expires_at(end);
    let (old, _) = scene.ring.issue(grant).await.unwrap();
    let rotated = scene.ring.rotate(old.id(), SECOND).await.unwrap();
    let (new, secret) = rotated.unwrap();
    assert_eq!(new.grant().not_before, old.grant().not_before);
    assert_eq!(scene.status(secret.expose()).await, 401);
    assert!(scene.ring.rotate("nobody", SECOND).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_older_pepper_let_in_as_long_as_it_is_given() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    let newer = || Pepper::new(2, "another secret of 32 bytes and more").unwrap();
    let both = newer()
        .previous(1, "a secret of the tests, of 32 bytes and more")
        .unwrap();
    for (pepper, status) in [(both, 200), (newer(), 503)] {
        let keys = StoredKeys::new(scene.store.clone(), pepper);
        let app = router().layer(AuthLayer::new(keys));
        assert_eq!(call(&app, &key).await.status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn one_look_up_serves_all_who_wait_and_none_of_them_can_end_it() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    scene.store.slow.store(true, Ordering::Relaxed);
    let mut first = tokio_test::task::spawn(scene.app.clone().oneshot(request(&key)));
    assert!(first.poll().is_pending());
    let others = (0..100).map(|_| tokio::spawn(scene.app.clone().oneshot(request(&key))));
    let others: Vec<_> = others.collect();
    yield_now().await;
    drop(first);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(scene.asked(), 1);
    assert_eq!((scene.keys.look_ups(), scene.keys.known_keys()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_is_not_looked_up_and_a_wrong_one_once() {
    let scene = Scene::new();
    for _ in 0..3 {
        assert_eq!(scene.status("tgw_00000000_with a typing error").await, 401);
    }
    assert_eq!(scene.asked(), 0);
    let (id, _) = scene.issue().await;
    let wrong = wrong_secret(&scene, &id).await;
    for _ in 0..3 {
        assert_eq!(scene.status(&wrong).await, 401);
    }
    assert_eq!(scene.asked(), 1);
    advance(5 * SECOND).await;
    assert_eq!(scene.status(&wrong).await, 401);
    assert_eq!(scene.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn uses_are_written_once_a_minute_each_key_once() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    let (_, other) = scene.issue().await;
    let before = SystemTime::now();
    for second in 0..60 {
        assert_eq!(scene.status(&key).await, 200, "{second}");
        assert_eq!(scene.status(&other).await, 200);
        assert!(scene.store.used.lock().unwrap().is_empty());
        tokio::time::sleep(SECOND).await;
    }
    yield_now().await;
    assert_eq!(*scene.store.used.lock().unwrap(), [2]);
    let found = scene.ring.find(&id).await.unwrap().unwrap();
    let behind = before.duration_since(found.last_used_at().unwrap());
    assert!(behind.unwrap_or_default() < 5 * SECOND);

    assert_eq!(scene.status(&key).await, 200);
    scene.keys.write_uses().await.unwrap();
    scene.keys.write_uses().await.unwrap();
    assert_eq!(*scene.store.used.lock().unwrap(), [2, 1]);

    let quiet = Scene::with(|keys| keys.note_uses(None));
    let (_, key) = quiet.issue().await;
    quiet.status(&key).await;
    quiet.keys.write_uses().await.unwrap();
    assert!(quiet.store.used.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_key_that_is_used_once_is_written_too() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    for written in 1..=2 {
        assert_eq!(scene.status(&key).await, 200);
        tokio::time::sleep(61 * SECOND).await;
        assert_eq!(*scene.store.used.lock().unwrap(), vec![1; written]);
    }
    let found = scene.ring.find(&id).await.unwrap().unwrap();
    assert!(found.last_used_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_closure_can_look_up() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    let store = scene.store.clone();
    let closure = move |id: Arc<str>| {
        let store = store.clone();
        async move { store.find(&id).await }
    };
    let app = router().layer(AuthLayer::new(StoredKeys::new(closure, pepper())));
    assert_eq!(call(&app, &key).await.status(), 200);
    // One that answers with the key of another id is not believed.
    let (wrong, _) = scene.ring.issue(Grant::new("bob")).await.unwrap();
    let closure = move |_: Arc<str>| ready(Ok(Some(wrong.clone())));
    let app = router().layer(AuthLayer::new(StoredKeys::new(closure, pepper())));
    assert_eq!(call(&app, &key).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_outlives_the_services_of_a_layer() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    // A router that still lacks its state applies its layers for each request.
    let lazy = Router::<()>::new()
        .route("/", get(|| ready("Hello")))
        .layer(AuthLayer::new(scene.keys.clone()));
    for _ in 0..3 {
        assert_eq!(call(&lazy, &key).await.status(), 200);
    }
    assert_eq!(scene.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_while_its_key_is_looked_up_never_reaches_the_service() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    scene.store.slow.store(true, Ordering::Relaxed);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = tower::service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let mut service = AuthLayer::new(scene.keys.clone()).layer(inner);
    let mut call = tokio_test::task::spawn(service.call(request(&key)));
    assert!(call.poll().is_pending());
    drop(call);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(
        (calls.load(Ordering::Relaxed), scene.keys.known_keys()),
        (0, 1)
    );
}

#[tokio::test]
async fn what_cannot_be_a_key_is_not_made() {
    let ring = Keyring::new(Arc::new(MemoryKeys::new()), pepper());
    let invalid = |made: Result<_, StoreError>| made.unwrap_err().failure() == Failure::Invalid;
    assert!(invalid(ring.issue(Grant::new("")).await));
    assert!(invalid(ring.issue(Grant::new("a\r\nb")).await));
    assert!(invalid(
        ring.clone().prefix("ä").issue(Grant::new("a")).await
    ));
    assert!(ring.list(&KeyFilter::new()).await.unwrap().is_empty());
    let store: Arc<dyn KeyStore> = Arc::new(MemoryKeys::new());
    assert!(
        !Keyring::new(store, pepper())
            .revoke("nobody")
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn abuse_51_nothing_printable_shows_a_key_its_hash_or_the_pepper() {
    let secret = "canary canary canary canary canary";
    let pepper = Pepper::new(1, secret).unwrap();
    let store = Arc::new(MemoryKeys::new());
    let ring = Keyring::new(store.clone(), pepper.clone());
    let (key, shown_once) = ring.issue(Grant::new("alice")).await.unwrap();
    let keys = StoredKeys::new(store.clone(), pepper);
    let app = AuthLayer::new(keys.clone());
    let shown = format!("{ring:?} {key:?} {shown_once:?} {keys:?} {store:?} {app:?}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(!shown.contains(shown_once.expose()), "{shown}");
    let json = key.to_json();
    let hash = json.split(r#""digest":""#).nth(1).unwrap();
    assert!(!shown.contains(&hash[..64]), "{shown}");
}
