//! Requests that are signed.

use axum::{Router, routing::post};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_gateway::{
    Body, BoxError, Principal, Reject, Rejection, auth::signature::SignatureLayer,
    client_addr::ClientAddr, rejection::Kind,
};

const NOW: u64 = 1_800_000_000;
/// 24 bytes of `a`, and of `b`.
const SECRET: &str = "whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh";
const OTHER: &str = "whsec_YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJi";

fn layer() -> SignatureLayer {
    let layer = SignatureLayer::new().secret("billing", SECRET).unwrap();
    layer.clock(|| UNIX_EPOCH + Duration::from_secs(NOW))
}

pub(crate) fn sign(secret: u8, id: &str, at: u64, body: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&[secret; 24]).unwrap();
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    let mut out = String::from("v1,");
    for group in mac.finalize().into_bytes().chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = bits >> (18 - 6 * at) & 63;
            let letter = char::from(ALPHABET[index as usize]);
            out.push(if at > group.len() { '=' } else { letter });
        }
    }
    out
}

fn signed(id: &str, at: u64, signature: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/")
        .header("webhook-id", id)
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", signature)
        .body(body.into())
        .unwrap()
}

/// In order, and sent now.
fn fine(id: &str) -> Request<Body> {
    signed(id, NOW, &sign(b'a', id, NOW, b"hello"), "hello")
}

/// Answers with the name of the caller, and the body.
fn router() -> Router {
    let handler = async |request: Request<axum::body::Body>| {
        let name = Principal::of(&request).map_or("nobody".into(), |who| who.id().to_string());
        for gone in ["webhook-signature", "x-user-id"] {
            assert!(!request.headers().contains_key(gone), "{gone}");
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        [name.as_bytes(), b": ", &body].concat()
    };
    Router::new().route("/", post(handler))
}

async fn call(app: &Router, request: Request<Body>) -> (u16, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
    assert_eq!(challenged, status == 401);
    let code = response
        .extensions()
        .get::<Rejection>()
        .map(|it| it.kind().code());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, code.map_or(text, Into::into))
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_is_let_in_under_the_name_of_its_sender() {
    let app = router().layer(layer());
    let mut request = fine("a");
    let headers = request.headers_mut();
    headers.insert("x-user-id", "admin".parse().unwrap());
    request.extensions_mut().insert(Principal::new("admin"));
    assert_eq!(call(&app, request).await, (200, "billing: hello".into()));
    // Bytes are bytes.
    let body: &[u8] = b"\xff\x00\r\n {\"a\" :1}";
    let request = signed(
        "b",
        NOW,
        &sign(b'a', "b", NOW, body),
        Bytes::from_static(body),
    );
    assert_eq!(call(&app, request).await.0, 200);
    let request = signed("c", NOW, &sign(b'a', "c", NOW, b""), Body::empty());
    assert_eq!(call(&app, request).await, (200, "billing: ".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_is_not() {
    let app = router().layer(layer().body_limit(10));
    let right = sign(b'a', "a", NOW, b"hello");
    let invalid = |status| (status, "invalid_api_key".to_owned());
    for request in [
        signed("a", NOW, &right, "hello "),
        signed("a", NOW, &right, "hell"),
        signed("b", NOW, &right, "hello"),
        signed("a", NOW + 1, &right, "hello"),
        signed("a", NOW, &sign(b'b', "a", NOW, b"hello"), "hello"),
        signed("a", NOW, right.trim_start_matches("v1,"), "hello"),
        signed("a", NOW, &right.replace("v1,", "v2,"), "hello"),
        signed("a", NOW, &right.to_uppercase(), "hello"),
        signed("a", NOW, "v1,", "hello"),
    ] {
        assert_eq!(call(&app, request).await, invalid(401));
    }
    for (apart, status) in [(300, 200), (301, 401)] {
        for at in [NOW - apart, NOW + apart] {
            let request = signed("t", at, &sign(b'a', "t", at, b"hello"), "hello");
            assert_eq!(call(&app, request).await.0, status, "{at}");
        }
    }
    assert_eq!(
        call(&app, Request::post("/").body(Body::empty()).unwrap()).await,
        (401, "missing_api_key".into())
    );
    let mut twice = fine("x");
    twice
        .headers_mut()
        .append("webhook-id", "y".parse().unwrap());
    assert_eq!(call(&app, twice).await.0, 400);
    let mut half = fine("x");
    half.headers_mut().remove("webhook-timestamp");
    assert_eq!(call(&app, half).await.0, 400);
    let long = signed(
        "l",
        NOW,
        &sign(b'a', "l", NOW, b"hello world"),
        "hello world",
    );
    assert_eq!(call(&app, long).await, (413, "request_too_large".into()));
    // No secret is nobody's secret.
    let app = router().layer(SignatureLayer::new().clock(|| UNIX_EPOCH + Duration::from_secs(NOW)));
    assert_eq!(call(&app, fine("a")).await, invalid(401));
}

#[tokio::test(start_paused = true)]
async fn a_signature_is_taken_once_by_all_services_of_a_layer() {
    let layer = layer();
    // A router without `with_state` applies its layers anew for each request.
    let apps = [router().layer(layer.clone()), router().layer(layer.clone())];
    let calls = (0..20).map(|n| call(&apps[n % 2], fine("a")));
    let told = futures_util::future::join_all(calls).await;
    assert_eq!(told.iter().filter(|(status, _)| *status == 200).count(), 1);
    assert_eq!(
        told.iter()
            .filter(|told| **told == (409, "replay".into()))
            .count(),
        19
    );
    // Who tries again signs again.
    let again = signed("a", NOW + 1, &sign(b'a', "a", NOW + 1, b"hello"), "hello");
    assert_eq!(call(&apps[0], again).await.0, 200);
    assert_eq!(layer.remembers(), 2);
    // A request that was refused was not taken.
    let wrong = signed("b", NOW, &sign(b'a', "b", NOW, b"hello"), "other");
    assert_eq!(call(&apps[0], wrong).await.0, 401);
    assert_eq!(call(&apps[0], fine("b")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn without_room_to_remember_nobody_is_let_in_twice() {
    let app = router().layer(layer().remembered(2));
    assert_eq!(call(&app, fine("a")).await.0, 200);
    assert_eq!(call(&app, fine("b")).await.0, 200);
    assert_eq!(
        call(&app, fine("c")).await,
        (503, "auth_unavailable".into())
    );
    assert_eq!(call(&app, fine("a")).await.0, 409);
}

#[tokio::test(start_paused = true)]
async fn while_secrets_change_either_will_do_and_each_has_an_owner() {
    let layer = layer().secret("shop", OTHER).unwrap();
    let layer = layer
        .secret_of(
            Principal::new("billing").with_team("new"),
            "whsec_Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj",
        )
        .unwrap();
    let app = router().layer(layer);
    for (secret, owner) in [(b'a', "billing"), (b'b', "shop"), (b'c', "billing")] {
        let id = format!("id-{secret}");
        let request = signed(&id, NOW, &sign(secret, &id, NOW, b"x"), "x");
        assert_eq!(call(&app, request).await, (200, format!("{owner}: x")));
    }
    // A sender may sign by both.
    let both = format!(
        "{} {}",
        sign(b'x', "d", NOW, b"x"),
        sign(b'b', "d", NOW, b"x")
    );
    assert_eq!(
        call(&app, signed("d", NOW, &both, "x")).await,
        (200, "shop: x".into())
    );
}

/// What was captured is not another request when one of its signatures is taken away.
#[tokio::test(start_paused = true)]
async fn a_request_with_two_good_signatures_is_taken_once() {
    for other in ["billing", "shop"] {
        let app = router().layer(layer().secret(other, OTHER).unwrap());
        for (id, sent) in [("x", [0, 1]), ("y", [1, 0])] {
            let signatures = [b'a', b'b'].map(|secret| sign(secret, id, NOW, b"hello"));
            let both = sent.map(|nth| &*signatures[nth]).join(" ");
            assert_eq!(call(&app, signed(id, NOW, &both, "hello")).await.0, 200);
            for again in [&*both, &signatures[0], &signatures[1]] {
                let told = call(&app, signed(id, NOW, again, "hello")).await;
                assert_eq!(told, (409, "replay".into()), "{other}: {id}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_lets_nothing_in_twice() {
    let wall = Arc::new(std::sync::atomic::AtomicU64::new(NOW));
    let clock = wall.clone();
    let layer =
        layer().clock(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed)));
    let app = router().layer(layer.clone());
    let sent = |id: &str, at| signed(id, at, &sign(b'a', id, at, b"hello"), "hello");
    assert_eq!(call(&app, sent("a", NOW)).await.0, 200);
    // It is forgotten, as nobody would take it any more.
    for pass in [700, 700] {
        tokio::time::advance(Duration::from_secs(pass)).await;
        let now = wall.fetch_add(pass, Ordering::Relaxed) + pass;
        assert_eq!(call(&app, sent("b", now)).await.0, 200);
    }
    assert_eq!(layer.remembers(), 1);
    wall.store(NOW + 100, Ordering::Relaxed);
    assert_eq!(call(&app, sent("a", NOW)).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_has_sent_too_much_is_not_read() {
    let read = Arc::new(AtomicUsize::new(0));
    let app = router().layer(layer());
    let send = async |host: u8, id: &str, signature: &str| {
        let counted = read.clone();
        let body = futures_util::stream::once(async move {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(http_body::Frame::data(Bytes::from("hello")))
        });
        let body = Body::new(http_body_util::StreamBody::new(body));
        let mut request = signed(id, NOW, signature, body);
        let address = ClientAddr([192, 0, 2, host].into());
        request.extensions_mut().insert(address);
        let (status, code) = {
            let response = app.clone().oneshot(request).await.unwrap();
            let code = response.extensions().get::<Rejection>();
            (
                response.status().as_u16(),
                code.map(|it| it.kind().code().to_owned()),
            )
        };
        (status, code.unwrap_or_default())
    };
    let wrong = sign(b'z', "a", NOW, b"hello");
    for _ in 0..20 {
        assert_eq!(send(1, "a", &wrong).await.0, 401);
    }
    assert_eq!(read.load(Ordering::Relaxed), 20);
    let right = sign(b'a', "a", NOW, b"hello");
    for signature in [&wrong, &right] {
        assert_eq!(send(1, "a", signature).await.0, 429);
    }
    assert_eq!(read.load(Ordering::Relaxed), 20, "nothing was read");
    assert_eq!(send(2, "a", &right).await.0, 200);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(send(1, "a", &right).await.0, 409);
}

#[tokio::test(start_paused = true)]
async fn with_many_secrets_bodies_are_shorter() {
    let mut many = layer();
    for _ in 0..255 {
        many = many.secret("shop", OTHER).unwrap();
    }
    let app = router().layer(many);
    // 64 MiB / 256.
    for (more, status) in [(0, 401), (1, 413)] {
        let body = vec![b'x'; (256 << 10) + more];
        let request = signed("a", NOW, &sign(b'z', "a", NOW, b""), body_of(body));
        assert_eq!(call(&app, request).await.0, status, "{more}");
    }
}

fn body_of(bytes: Vec<u8>) -> Body {
    Bytes::from(bytes).into()
}

#[tokio::test(start_paused = true)]
async fn where_it_is_optional_nobody_passes_and_a_wrong_signature_does_not() {
    let app = router().layer(layer().optional().body_limit(1));
    let mut nobody = Request::post("/").body(Body::from("unsigned")).unwrap();
    nobody.extensions_mut().insert(Principal::new("admin"));
    assert_eq!(call(&app, nobody).await, (200, "nobody: unsigned".into()));
    assert_eq!(call(&app, signed("a", NOW, "v1,", "x")).await.0, 401);
}

struct Broken(Option<BoxError>);

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        std::task::Poll::Ready(self.0.take().map(Err))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_not_signed() {
    let app = router().layer(layer());
    let slow: BoxError = Rejection::new(Kind::RequestTimeout).into();
    for (error, status) in [("gone".into(), 400), (slow, 408)] {
        let body = Body::new(Broken(Some(error)));
        let request = signed("a", NOW, &sign(b'a', "a", NOW, b""), body);
        assert_eq!(call(&app, request).await.0, status);
    }
}

struct Reply(Bytes);

impl Reject<Rejection> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, Rejection> {
        Err(rejection)
    }
}

#[tokio::test(start_paused = true)]
async fn any_answer_that_can_be_refused_will_do() {
    let service =
        ServiceBuilder::new()
            .layer(layer())
            .service_fn(async |request: Request<Body>| {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Rejection>(Reply(body))
            });
    let answer = service.clone().oneshot(fine("a")).await;
    assert_eq!(answer.unwrap_or_else(|_| panic!()).0, "hello");
    let Err(rejection) = service.oneshot(fine("a")).await else {
        panic!("it was let in twice");
    };
    assert_eq!(rejection.kind(), Kind::Replayed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_its_body_is_read_leaves_no_trace() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Bytes::new())) }
    });
    let layer = layer();
    // Panics if it is called without having been ready.
    let inner = ServiceBuilder::new().concurrency_limit(1).service(inner);
    let mut service = layer.layer(inner);
    let (send, body) = tokio::sync::oneshot::channel::<Bytes>();
    let body = Body::new(http_body_util::StreamBody::new(futures_util::stream::once(
        async { body.await.map(http_body::Frame::data) },
    )));
    let signature = sign(b'a', "a", NOW, b"hello");
    let request = signed("a", NOW, &signature, body);
    let ready = ServiceExt::<Request<Body>>::ready(&mut service)
        .await
        .unwrap();
    let mut reading = tokio_test::task::spawn(ready.call(request));
    assert!(reading.poll().is_pending());
    drop(reading);
    drop(send);
    assert_eq!((calls.load(Ordering::Relaxed), layer.remembers()), (0, 0));
    let answer = service.oneshot(fine("a")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[test]
fn nothing_printable_shows_a_secret() {
    let shown = format!("{:?}", layer());
    assert!(shown.contains("billing") && !shown.contains("YWFh") && !shown.contains("97, 97"));
}
