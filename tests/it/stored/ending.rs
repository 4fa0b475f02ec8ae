//! Streams whose key is revoked.

use super::{SECOND, Scene, request};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::atomic::Ordering,
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Body, Principal, Rejection,
    auth::{AuthLayer, Place, stored::EndRevokedLayer},
    rejection::Kind,
};

/// One piece, and then nothing for ever.
fn stream() -> Response<Body> {
    let first = stream::once(ready(Ok::<_, Infallible>(http_body::Frame::data(
        Bytes::from("a"),
    ))));
    let body = http_body_util::StreamBody::new(first.chain(stream::pending()));
    Response::new(Body::new(body))
}

/// The answer to a call with this key, its first piece taken.
async fn streaming(scene: &Scene, key: &str) -> tower_gateway::Body {
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(scene.keys.clone()))
        .layer(EndRevokedLayer::new(&scene.keys))
        .service_fn(|_: Request<axum::body::Body>| ready(Ok::<_, Infallible>(stream())));
    let response = service.oneshot(request(key)).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "a"
    );
    body
}

#[tokio::test(start_paused = true)]
async fn abuse_43_a_stream_ends_within_five_seconds_of_its_keys_revocation() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    let mut bodies = Vec::new();
    for _ in 0..10 {
        bodies.push(streaming(&scene, &key).await);
    }
    let mut open = tokio_test::task::spawn(bodies[0].frame());
    for _ in 0..20 {
        assert!(open.poll().is_pending());
        advance(SECOND).await;
        tokio::task::yield_now().await;
    }
    drop(open);
    let asked = scene.asked();
    assert!((5..=9).contains(&asked), "twice in five seconds: {asked}");

    scene.ring.revoke(&id).await.unwrap();
    let start = tokio::time::Instant::now();
    let mut error = None;
    for body in &mut bodies {
        error = body.frame().await.unwrap().err();
        assert!(body.frame().await.is_none());
    }
    assert!(start.elapsed() <= 5 * SECOND, "{:?}", start.elapsed());
    assert!(scene.asked() - asked <= 2, "one look-up for all");
    let rejection = error.unwrap().downcast::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::InvalidCredentials);
}

#[tokio::test(start_paused = true)]
async fn streams_go_on_while_the_store_does_not_answer() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    let mut body = streaming(&scene, &key).await;
    scene.store.down.store(true, Ordering::Relaxed);
    scene.ring.revoke(&id).await.unwrap();
    let minute = tokio::time::timeout(60 * SECOND, body.frame());
    assert!(minute.await.is_err());
    scene.store.down.store(false, Ordering::Relaxed);
    let soon = tokio::time::timeout(5 * SECOND, body.frame()).await;
    assert!(soon.unwrap().unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_key() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    let mut body = streaming(&scene, &key).await;
    // Its end comes now, by the clock on the wall, which no test can wait for.
    scene.ring.rotate(&id, Duration::ZERO).await.unwrap();
    let soon = tokio::time::timeout(5 * SECOND, body.frame()).await;
    assert!(soon.unwrap().unwrap().is_err());
}

/// A source that is never pending, read slowly.
fn torrent() -> Response<Body> {
    let frames =
        stream::repeat_with(|| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from("a"))));
    Response::new(Body::new(http_body_util::StreamBody::new(frames)))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_something_to_give_ends_all_the_same() {
    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(scene.keys.clone()))
        .layer(EndRevokedLayer::new(&scene.keys))
        .service_fn(|_: Request<axum::body::Body>| ready(Ok::<_, Infallible>(torrent())));
    let mut body = service.oneshot(request(&key)).await.unwrap().into_body();
    for _ in 0..100 {
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::sleep(SECOND / 10).await;
    }
    scene.ring.revoke(&id).await.unwrap();
    let start = tokio::time::Instant::now();
    let error = loop {
        match body.frame().await.expect("it is cut off") {
            Ok(_) => tokio::time::sleep(SECOND / 10).await,
            Err(error) => break error,
        }
        assert!(start.elapsed() <= 6 * SECOND, "it goes on");
    };
    let rejection = error.downcast::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::InvalidCredentials);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_two_credentials_let_in_ends_with_either_of_them() {
    for nth in [0, 1] {
        let scene = Scene::new();
        let keys = [scene.issue().await, scene.issue().await];
        let place = |name| [Place::header(http::HeaderName::from_static(name))];
        let service = ServiceBuilder::new()
            .layer(AuthLayer::new(scene.keys.clone()).places(place("x-one")))
            .layer(
                AuthLayer::new(scene.keys.clone())
                    .places(place("x-two"))
                    .and_outer(),
            )
            .layer(EndRevokedLayer::new(&scene.keys))
            .service_fn(|_: Request<axum::body::Body>| ready(Ok::<_, Infallible>(stream())));
        let request = Request::get("/")
            .header("x-one", &keys[0].1)
            .header("x-two", &keys[1].1)
            .body(axum::body::Body::empty())
            .unwrap();
        let mut body = service.oneshot(request).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        scene.ring.revoke(&keys[nth].0).await.unwrap();
        let soon = tokio::time::timeout(6 * SECOND, body.frame()).await;
        assert!(soon.expect("it ends").unwrap().is_err(), "{nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_by_other_credentials_are_left_alone() {
    let scene = Scene::new();
    let service = ServiceBuilder::new()
        .layer(EndRevokedLayer::new(&scene.keys))
        .service_fn(|_: Request<axum::body::Body>| ready(Ok::<_, Infallible>(stream())));
    let token = Principal::new("bob").with_key_id("a token's id");
    for who in [None, Some(token), Some(Principal::new("carol"))] {
        let mut request = request("");
        if let Some(who) = who {
            request.extensions_mut().insert(who);
        }
        let mut body = service.clone().oneshot(request).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        assert!(
            tokio::time::timeout(60 * SECOND, body.frame())
                .await
                .is_err()
        );
    }
    assert_eq!(scene.asked(), 1, "of the token's id, once");
}

#[tokio::test(start_paused = true)]
async fn a_call_or_a_stream_that_is_dropped_leaves_nothing_behind() {
    let scene = Scene::new();
    let (_, key) = scene.issue().await;
    drop(streaming(&scene, &key).await);
    let inner = tower::service_fn(|_: Request<axum::body::Body>| {
        pending::<Result<Response<Body>, Infallible>>()
    });
    let mut service = EndRevokedLayer::new(&scene.keys).layer(inner);
    let mut call = tokio_test::task::spawn(service.call(request(&key)));
    assert!(call.poll().is_pending());
    drop(call);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(scene.asked(), 1);
}

#[cfg(feature = "llm")]
#[tokio::test(start_paused = true)]
async fn on_the_plane_of_language_models_the_stream_ends_in_an_error() {
    use tower_gateway::{
        Extensible as _,
        llm::{ChatRequest, Error, Simulator},
    };

    let scene = Scene::new();
    let (id, key) = scene.issue().await;
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(scene.keys.clone()))
        .layer(EndRevokedLayer::new(&scene.keys))
        .service(Simulator::new().answer("one two three").pace(60 * SECOND));
    let mut ask = ChatRequest::new().user("Hello");
    ask.headers_mut().insert("x-api-key", key.parse().unwrap());
    let answer = service.oneshot(ask).await.unwrap();
    scene.ring.revoke(&id).await.unwrap();
    let Err(Error::Rejected(rejection)) = answer.text().await else {
        panic!("it went on");
    };
    assert_eq!(rejection.kind(), Kind::InvalidCredentials);
}
