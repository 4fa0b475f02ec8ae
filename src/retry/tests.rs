//! What is asked again and what is not, over HTTP and over a service of another kind.

mod dropped;
mod own;

use super::*;
use crate::{Body, Rejection, answer::Remedy, deadline::Deadline, rejection::Kind};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::{
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

type Answer = Result<Response<Body>, Infallible>;

const MILLI: Duration = Duration::from_millis(1);

/// Answers by script, the last answer for good, and counts.
#[derive(Clone)]
struct Script {
    answers: Arc<[fn() -> Answer]>,
    calls: Arc<AtomicU32>,
    seen: Arc<Mutex<Vec<Request<Body>>>>,
}

impl Script {
    fn new<const N: usize>(answers: [fn() -> Answer; N]) -> Self {
        Self {
            answers: Arc::new(answers),
            calls: Arc::default(),
            seen: Arc::default(),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Service<Request<Body>> for Script {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let nth = self.calls.fetch_add(1, Ordering::Relaxed) as usize;
        self.seen.lock().unwrap().push(request);
        let answer = self.answers.get(nth).or(self.answers.last());
        std::future::ready(answer.unwrap()())
    }
}

fn ok() -> Answer {
    Ok(Response::new(Body::empty()))
}

fn status(status: u16) -> Answer {
    Ok(Response::builder()
        .status(status)
        .body(Body::empty())
        .unwrap())
}

fn unavailable() -> Answer {
    status(503)
}

fn after(seconds: u32) -> Answer {
    let mut answer = unavailable();
    if let Ok(answer) = &mut answer {
        answer.headers_mut().insert("retry-after", seconds.into());
    }
    answer
}

fn request(method: &str, body: &'static str) -> Request<Body> {
    let request = Request::builder().method(method).uri("/");
    request.body(Body::from(body)).unwrap()
}

/// With a body that does not say how large it is.
fn streaming() -> Request<Body> {
    let piece = Ok::<_, Infallible>(Frame::data(Bytes::from("x")));
    Request::put("/")
        .body(Body::new(StreamBody::new(stream::iter([piece]))))
        .unwrap()
}

async fn status_of(layer: &RetryLayer, script: &Script, request: Request<Body>) -> u16 {
    let answer = layer.layer(script.clone()).oneshot(request).await.unwrap();
    answer.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn what_is_idempotent_is_asked_again_and_what_is_not_is_not() {
    for (request, calls) in [
        (request("GET", ""), 3),
        (request("PUT", "some"), 3),
        (request("DELETE", ""), 3),
        (request("POST", "some"), 1),
        (request("PATCH", "some"), 1),
        (streaming(), 1),
    ] {
        let script = Script::new([unavailable]);
        assert_eq!(status_of(&RetryLayer::new(), &script, request).await, 503);
        assert_eq!(script.calls(), calls);
    }
    let script = Script::new([unavailable, ok]);
    assert_eq!(
        status_of(&RetryLayer::new(), &script, request("GET", "")).await,
        200
    );
    assert_eq!(script.calls(), 2);
    let script = Script::new([unavailable, ok]);
    let never = RetryLayer::new().retries(0);
    assert_eq!(status_of(&never, &script, request("GET", "")).await, 503);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_or_the_service_means_stands() {
    let stand: [fn() -> Answer; 6] = [
        ok,
        || status(304),
        || status(404),
        || status(409),
        || status(500),
        || Response::reject(Kind::Forbidden.into()),
    ];
    for answer in stand {
        let script = Script::new([answer, unavailable]);
        status_of(&RetryLayer::new(), &script, request("GET", "")).await;
        assert_eq!(script.calls(), 1);
    }
}

fn refused() -> Answer {
    Response::reject(Rejection::new(Kind::BadGateway).unsent())
}

fn open() -> Answer {
    Response::reject(Kind::CircuitOpen.into())
}

#[tokio::test(start_paused = true)]
async fn what_was_not_seen_is_sent_again_whatever_it_is() {
    let script = Script::new([refused, refused, ok]);
    assert_eq!(
        status_of(&RetryLayer::new(), &script, request("POST", "pay")).await,
        200
    );
    assert_eq!(script.calls(), 3);
    let seen = std::mem::take(&mut *script.seen.lock().unwrap());
    for request in seen {
        let body = crate::collect(request.into_body(), 9).await.unwrap();
        assert_eq!(body, "pay", "each time the same");
    }
    // Some of it was, the second time.
    let script = Script::new([refused, unavailable, ok]);
    assert_eq!(
        status_of(&RetryLayer::new(), &script, request("POST", "pay")).await,
        503
    );
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_counts_where_it_is_said_to() {
    let keyed = || {
        let mut request = request("POST", "pay");
        let key = http::HeaderValue::from_static("8e03978e");
        request.headers_mut().insert("idempotency-key", key);
        request
    };
    let heeded = RetryLayer::new().idempotency_keys();
    let any = RetryLayer::new().assume_idempotent();
    for (layer, request, calls) in [
        (RetryLayer::new(), keyed(), 1),
        (heeded.clone(), keyed(), 3),
        (heeded, request("POST", "pay"), 1),
        (any, request("POST", "pay"), 3),
    ] {
        let script = Script::new([unavailable]);
        status_of(&layer, &script, request).await;
        assert_eq!(script.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_cap_is_sent_once_and_whole() {
    let layer = RetryLayer::new().body_limit(4);
    for (body, calls) in [("four", 3), ("fives", 1)] {
        let script = Script::new([unavailable]);
        status_of(&layer, &script, request("PUT", body)).await;
        assert_eq!(script.calls(), calls);
        let sent = script.seen.lock().unwrap().remove(0);
        assert_eq!(crate::collect(sent.into_body(), 9).await.unwrap(), body);
    }
}

#[tokio::test(start_paused = true)]
async fn the_waits_are_those_that_are_told() {
    for _ in 0..50 {
        let start = Instant::now();
        let script = Script::new([unavailable]);
        status_of(
            &RetryLayer::new().retries(4).budget(None),
            &script,
            request("GET", ""),
        )
        .await;
        assert!(start.elapsed() <= (25 + 75 + 175 + 250 + 4) * MILLI);
        assert_eq!(script.calls(), 5);
    }
    let start = Instant::now();
    let script = Script::new([|| after(7), ok]);
    assert_eq!(
        status_of(&RetryLayer::new(), &script, request("GET", "")).await,
        200
    );
    assert!(
        (7000..=7026).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_does_not_fit_is_not_begun_and_is_told() {
    let layer = RetryLayer::new();
    let start = Instant::now();
    let script = Script::new([|| after(11), ok]);
    assert_eq!(status_of(&layer, &script, request("GET", "")).await, 503);
    let mut hasty = request("GET", "");
    let deadline = Deadline::new().until(start + Duration::from_secs(5));
    hasty.extensions_mut().insert(deadline);
    let script = Script::new([|| after(5), ok]);
    assert_eq!(status_of(&layer, &script, hasty).await, 503);
    assert!(start.elapsed().is_zero());
    assert_eq!(
        (layer.stats().without_time(), layer.stats().retries()),
        (2, 0)
    );

    let patient = RetryLayer::new().longest_wait(Duration::from_secs(20));
    let script = Script::new([|| after(11), ok]);
    assert_eq!(status_of(&patient, &script, request("GET", "")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn retries_within_retries_do_not_multiply() {
    let (outer, inner) = (RetryLayer::new().retries(9), RetryLayer::new().retries(9));
    let script = Script::new([unavailable]);
    let service = ServiceBuilder::new()
        .layer(outer.clone())
        .layer(inner.clone())
        .service(script.clone());
    service.oneshot(request("GET", "")).await.unwrap();
    assert_eq!(script.calls(), Deadline::ATTEMPTS);
    assert_eq!(inner.stats().without_attempts(), 1);
    assert_eq!(outer.stats().without_attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_by_all_that_one_layer_wraps_and_its_end_is_told() {
    let layer = RetryLayer::new().budget(Budget::rate().percent(0).minimum(1));
    let script = Script::new([unavailable]);
    for _ in 0..20 {
        // A router without state calls `layer` for each request.
        status_of(&layer.clone(), &script, request("GET", "")).await;
    }
    assert_eq!(script.calls(), 20 + 10);
    assert_eq!(
        (layer.stats().retries(), layer.stats().without_budget()),
        (10, 15)
    );
    let fresh = layer.clone().retries(1);
    status_of(&fresh, &script, request("GET", "")).await;
    assert_eq!(
        fresh.stats().without_budget(),
        1,
        "a budget that was given stays"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_numbered_once() {
    let layer = RetryLayer::new().attempt_header();
    let script = Script::new([unavailable]);
    let mut forged = request("GET", "");
    let many = http::HeaderValue::from_static("77");
    forged
        .headers_mut()
        .append("x-gateway-attempt-count", many.clone());
    forged.headers_mut().append("x-gateway-attempt-count", many);
    status_of(&layer, &script, forged).await;
    let seen = script.seen.lock().unwrap();
    for (nth, request) in seen.iter().enumerate() {
        let told = request.headers().get_all("x-gateway-attempt-count");
        let told: Vec<_> = told.iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(told, [(nth + 1).to_string()]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_another_may_do_better_the_answer_stands_unless_there_are_others() {
    let script = Script::new([open, ok]);
    assert_eq!(
        status_of(&RetryLayer::new(), &script, request("GET", "")).await,
        503
    );
    let several = RetryLayer::new().elsewhere();
    // It was not sent, so it may be anything; nor is there anything to wait for.
    let script = Script::new([open, || after(60), ok]);
    assert_eq!(status_of(&several, &script, request("GET", "")).await, 200);
    let script = Script::new([open, ok]);
    assert_eq!(status_of(&several, &script, request("POST", "")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_closure_decides() {
    let script = Script::new([|| status(404), ok]);
    let layer = RetryLayer::new().when(|answer: Result<&Response<Body>, &Infallible>| {
        let missing = answer.is_ok_and(|response| response.status() == 404);
        if missing {
            Remedy::again(None)
        } else {
            Remedy::Nothing
        }
    });
    let answer = layer
        .layer(script)
        .oneshot(request("GET", ""))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_service_is_made_ready_for_each_attempt_and_the_failed_answer_is_gone() {
    let script = Script::new([unavailable, unavailable, ok]);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(script.clone());
    for _ in 0..2 {
        let ready = service.ready().await.unwrap();
        assert_eq!(ready.call(request("GET", "")).await.unwrap().status(), 200);
    }
    assert_eq!(script.calls(), 4);

    // A service that has one place, which an answer takes until it is dropped.
    let place = Arc::new(tokio::sync::Semaphore::new(1));
    let own = place.clone();
    let service = RetryLayer::new().layer(tower::service_fn(move |_: Request<Body>| {
        let permit = own.clone().try_acquire_owned().expect("the place is free");
        let pieces = stream::poll_fn(move |_| {
            let _ = &permit;
            Poll::Ready(None::<Result<Frame<Bytes>, Infallible>>)
        });
        let body = Body::new(StreamBody::new(pieces));
        async { Ok::<_, Infallible>(Response::builder().status(503).body(body).unwrap()) }
    }));
    drop(service.oneshot(request("GET", "")).await);
    assert_eq!(place.available_permits(), 1);
}
