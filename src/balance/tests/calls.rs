//! One call: whom it goes to, and what is counted until it is over.

use super::*;
use crate::{
    End, Follow, Reject, Rejection,
    answer::{Health, Outcome},
    balance::Verdict,
    deadline::Deadline,
    key::ByHeader,
    rejection::Kind,
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, limit::ConcurrencyLimitLayer};

#[tokio::test]
async fn what_comes_again_goes_to_another() {
    for strategy in [
        Strategy::RoundRobin,
        Strategy::SmoothWeighted,
        Strategy::LeastOutstanding,
        Strategy::PeakEwma,
        Strategy::RingHash,
        Strategy::Random,
    ] {
        let endpoints = set(strategy, &["a", "b", "c"]);
        endpoints.insert(Endpoint::new("d").priority(1), upstream("d", &well()));
        let balance = Balance::new(endpoints);
        let deadline = Deadline::new();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let mut request = request();
            request.extensions_mut().insert(deadline.clone());
            seen.push(asked(&balance, request).await);
        }
        assert_eq!(
            seen[3], "d",
            "{strategy:?}: of another priority rather than again"
        );
        seen.sort();
        assert_eq!(seen, ["a", "b", "c", "d"], "{strategy:?}");
        let mut request = request();
        request.extensions_mut().insert(deadline.clone());
        assert_ne!(asked(&balance, request).await, "d", "all were tried");
    }
}

#[tokio::test]
async fn a_key_has_one_place_and_moves_only_with_it() {
    let names = ["a", "b", "c", "d"];
    let endpoints = set(Strategy::RingHash, &names);
    let balance = Balance::new(endpoints.clone()).key(ByHeader::new("x-session"));
    let place = async |session: u32| {
        let mut request = request();
        request.headers_mut().insert("x-session", session.into());
        let response = balance.clone().oneshot(request).await.unwrap();
        response.headers()["x-from"].clone()
    };
    let mut before = Vec::new();
    for session in 0..200 {
        before.push(place(session).await);
        assert_eq!(place(session).await, before[session as usize]);
    }
    endpoints.drain("a");
    for session in 0..200 {
        let now = place(session).await;
        let old = &before[session as usize];
        assert!(now != "a" && (now == old || old == "a"));
    }
    endpoints.resume("a");
    for session in 0..200 {
        assert_eq!(place(session).await, before[session as usize]);
    }
}

#[tokio::test]
async fn a_bounded_load_spreads_what_one_key_would_heap_up() {
    let endpoints = set(Strategy::RingHash, &["a", "b", "c", "d"]);
    let balance = Balance::new(endpoints.clone());
    // Their bodies are not read: all of them are out.
    let mut out = Vec::new();
    for call in 1..=100 {
        out.push(answer(&balance, request()).await);
        let most = endpoints.statuses().iter().map(|one| one.in_flight).max();
        let bound = (1.25 * f64::from(call) / 4.0).ceil();
        assert!(f64::from(most.unwrap()) <= bound, "{most:?} of {call}");
    }
    drop(out);
    assert_eq!(in_flight(&endpoints), 0);
    let rules = Rules::new(Strategy::RingHash).bounded_load(None);
    let endpoints = set(rules, &["a", "b", "c", "d"]);
    let balance = Balance::new(endpoints.clone());
    let mut out = Vec::new();
    for _ in 0..100 {
        out.push(answer(&balance, request()).await);
    }
    assert!(endpoints.statuses().iter().any(|one| one.in_flight == 100));
}

/// Is not ready twice, does not answer twice, and has nothing to give twice.
#[derive(Clone, Default)]
struct Hesitant {
    readied: u8,
}

impl Service<Request<Body>> for Hesitant {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.readied += 1;
        cx.waker().wake_by_ref();
        match self.readied {
            1 | 2 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert_eq!(self.readied, 3, "the one that is ready is called");
        Box::pin(async {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let pieces = stream::unfold(0, |piece| async move {
                tokio::task::yield_now().await;
                let frame = http_body::Frame::data(Bytes::from_static(b"x"));
                (piece < 2).then(|| (Ok::<_, Infallible>(frame), piece + 1))
            });
            Ok(Response::new(Body::new(StreamBody::new(pieces))))
        })
    }
}

#[tokio::test]
async fn whatever_is_dropped_after_whichever_poll_is_not_counted_any_more() {
    for strategy in [Strategy::LeastOutstanding, Strategy::RingHash] {
        let endpoints = Endpoints::new(strategy);
        endpoints.insert("a", Hesitant::default());
        let balance = Balance::new(endpoints.clone());
        let call = async |balance: Balance<Hesitant>| {
            let response = balance.oneshot(request()).await.unwrap();
            crate::collect(response.into_body(), 9).await.unwrap();
        };
        let mut polls = 0;
        loop {
            let mut call = task::spawn(call(balance.clone()));
            let done = (0..polls).any(|_| call.poll().is_ready());
            let expected = u32::from(polls > 0 && !done);
            assert_eq!(in_flight(&endpoints), expected, "after {polls} polls");
            drop(call);
            assert_eq!(in_flight(&endpoints), 0, "dropped after {polls} polls");
            polls += 1;
            if done {
                break;
            }
        }
        assert!(polls > 6, "{polls}");
        let out = endpoints.shared().common.out.of(0).load(Ordering::Relaxed);
        assert_eq!(out, 0);
    }
}

/// Answers of its own, not HTTP.
#[derive(Debug, PartialEq)]
struct Reply(&'static str);

#[derive(Debug)]
enum Failed {
    Refused(Kind),
    Broken,
}

impl Reject<Failed> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, Failed> {
        Err(Failed::Refused(rejection.kind()))
    }
}

impl Health<Failed> for Reply {
    fn health(answer: Result<&Self, &Failed>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }
    }
}

impl Follow<Failed> for Reply {
    type Followed = Self;

    fn follow(self, end: impl FnOnce(End<'_, Failed>) + Send + 'static) -> Self {
        end(End::Complete);
        self
    }

    fn cut(
        self,
        _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self
    }
}

#[tokio::test]
async fn what_is_not_http_is_balanced_too() {
    let answer = service_fn(async |name: &'static str| match name {
        "bad" => Err(Failed::Broken),
        name => Ok(Reply(name)),
    });
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    endpoints.insert("a", answer);
    let balance = Balance::new(endpoints.clone()).forgetful();
    assert_eq!(
        balance.clone().oneshot("hello").await.unwrap(),
        Reply("hello")
    );
    assert!(matches!(
        balance.clone().oneshot("bad").await,
        Err(Failed::Broken)
    ));
    let status = endpoints.status("a").unwrap();
    assert_eq!((status.calls, status.failures, status.in_flight), (2, 1, 0));
    endpoints.drain("a");
    let refused = balance.clone().oneshot("nobody").await.unwrap_err();
    assert!(matches!(refused, Failed::Refused(Kind::CircuitOpen)));
    endpoints.resume("a");

    // Whoever has no `Health` is judged by a closure.
    let judge = |answer: Result<&Reply, &Failed>| match answer {
        Ok(_) => Verdict::new(Outcome::Success),
        Err(_) => Verdict::new(Outcome::Neutral),
    };
    let lenient = balance.judge(judge);
    assert!(lenient.clone().oneshot("bad").await.is_err());
    assert_eq!(endpoints.status("a").unwrap().failures, 1);
}

#[tokio::test]
async fn a_limit_inside_is_shared_by_the_clones_that_are_called() {
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = service_fn(move |_: Request<Body>| {
        let mut released = released.clone();
        async move {
            let _ = released.wait_for(|go| *go).await;
            Ok::<_, BoxError>(Response::new(Body::empty()))
        }
    });
    let endpoints = Endpoints::new(Strategy::LeastOutstanding);
    endpoints.insert("a", ConcurrencyLimitLayer::new(1).layer(slow));
    let balance = Balance::new(endpoints.clone());
    let mut first = task::spawn(balance.clone().oneshot(request()));
    let mut second = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_eq!(in_flight(&endpoints), 2, "who waits is counted");
    drop(second);
    assert_eq!(in_flight(&endpoints), 1);
    let mut second = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(second.poll());
    release.send(true).unwrap();
    drop(first.await.unwrap());
    drop(second.await.unwrap());
    assert_eq!(in_flight(&endpoints), 0);
}

/// Dies instead of becoming ready.
#[derive(Clone)]
struct Dead;

impl Service<Request<Body>> for Dead {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Pending<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("dead".into()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::pending()
    }
}

#[tokio::test]
async fn who_cannot_become_ready_fails_on_the_way() {
    let endpoints = Endpoints::new(Strategy::RoundRobin);
    endpoints.insert("a", Dead);
    endpoints.insert("b", Dead);
    let balance = Balance::new(endpoints.clone());
    for _ in 0..10 {
        let error = balance.clone().oneshot(request()).await.unwrap_err();
        assert_eq!(error.to_string(), "dead");
    }
    let out = endpoints
        .statuses()
        .iter()
        .filter(|one| one.state == State::Ejected)
        .count();
    assert_eq!((out, in_flight(&endpoints)), (1, 0));
}
