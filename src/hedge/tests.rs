use super::*;
use crate::{Body, Rejection, deadline::Deadline, rejection::Kind};
use http::{Request, Response};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{sync::Semaphore, time::sleep};
use tokio_test::task;
use tower::{
    Layer, ServiceBuilder, ServiceExt,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    service_fn,
};

type Answer = Result<Response<Body>, Infallible>;

const MILLI: Duration = Duration::from_millis(1);

/// How long each call takes, and what it answers; and how many run.
#[derive(Clone)]
struct Script {
    calls: &'static [(u64, u16)],
    called: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Script {
    fn new(calls: &'static [(u64, u16)]) -> Self {
        Self {
            calls,
            called: Arc::default(),
            running: Arc::default(),
        }
    }

    fn called(&self) -> usize {
        self.called.load(Ordering::Relaxed)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    async fn answer(self) -> Answer {
        let nth = self.called.fetch_add(1, Ordering::Relaxed);
        let (millis, status) = *self.calls.get(nth).or(self.calls.last()).unwrap();
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(self.running.clone());
        sleep(Duration::from_millis(millis)).await;
        let mut answer = Response::new(Body::from(nth.to_string()));
        *answer.status_mut() = status.try_into().unwrap();
        Ok(answer)
    }

    /// What a layer answers to a `GET`: which attempt's it is, its status, and after which time it came.
    async fn asked(&self, layer: &HedgeLayer) -> (usize, u16, u64) {
        let own = self.clone();
        let service = layer.layer(service_fn(move |_: Request<Body>| own.clone().answer()));
        let start = Instant::now();
        let answer = service.oneshot(Request::new(Body::empty())).await.unwrap();
        let took = start.elapsed().as_millis() as u64;
        assert_eq!(
            self.running(),
            0,
            "losers are gone before the winner is there"
        );
        let status = answer.status().as_u16();
        let text = crate::collect(answer.into_body(), 9).await.unwrap();
        (
            std::str::from_utf8(&text).unwrap().parse().unwrap(),
            status,
            took,
        )
    }
}

/// How long each call takes and what it answers, and which of them is the answer, and when.
type Case = (&'static [(u64, u16)], (usize, u16, u64));

fn after_100() -> HedgeLayer {
    HedgeLayer::after(100 * MILLI)
}

#[tokio::test(start_paused = true)]
async fn whoever_begins_first_wins() {
    let cases: [Case; 4] = [
        (&[(50, 200), (0, 200)], (0, 200, 50)),
        (&[(500, 200), (50, 200)], (1, 200, 150)),
        (&[(120, 200), (50, 200)], (0, 200, 120)),
        (&[(500, 200), (500, 200)], (0, 200, 500)),
    ];
    for (calls, won) in cases {
        assert_eq!(Script::new(calls).asked(&after_100()).await, won);
    }
    let script = Script::new(&[(900, 200), (900, 200), (50, 200)]);
    let layer = after_100().extra(2);
    assert_eq!(script.asked(&layer).await, (2, 200, 250));
    assert_eq!((layer.stats().hedges(), layer.stats().won()), (2, 1));
    let script = Script::new(&[(900, 200)]);
    assert_eq!(script.asked(&after_100().extra(9)).await, (0, 200, 900));
    assert_eq!(script.called(), 3, "never more");
}

#[tokio::test(start_paused = true)]
async fn what_failed_does_not_win_while_another_runs() {
    let cases: [Case; 5] = [
        (&[(300, 200), (50, 503)], (0, 200, 300)),
        (&[(120, 500), (50, 200)], (1, 200, 150)),
        (&[(120, 503), (50, 502)], (1, 502, 150)),
        (&[(300, 404), (50, 503)], (0, 404, 300)),
        // Nobody is asked because of a failure: that is for a retry.
        (&[(50, 503), (0, 200)], (0, 503, 50)),
    ];
    for (calls, won) in cases {
        assert_eq!(Script::new(calls).asked(&after_100()).await, won);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_idempotent_or_cannot_be_kept_is_asked_once() {
    for (method, body, called) in [("POST", "", 1), ("PUT", "some", 2), ("PUT", "larger", 1)] {
        let script = Script::new(&[(500, 200)]);
        let own = script.clone();
        let layer = after_100().body_limit(4);
        let service = layer.layer(service_fn(move |_: Request<Body>| own.clone().answer()));
        let request = Request::builder().method(method).body(Body::from(body));
        service.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(script.called(), called, "{method} {body}");
    }
}

/// What a client takes to say what it wants is not what the service takes to answer.
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_no_slow_service() {
    let script = Script::new(&[(10, 200)]);
    let own = script.clone();
    let layer = after_100();
    let service = layer.layer(service_fn(move |_: Request<Body>| own.clone().answer()));
    let slow = http_body_util::StreamBody::new(futures_util::stream::once(async {
        sleep(1000 * MILLI).await;
        Ok::<_, Infallible>(http_body::Frame::data(bytes::Bytes::from_static(b"some")))
    }));
    let slow = Body::new(http_body_util::Limited::new(slow, 4));
    let start = Instant::now();
    let request = Request::put("/").body(slow).unwrap();
    service.oneshot(request).await.unwrap();
    assert_eq!(start.elapsed(), 1010 * MILLI);
    assert_eq!((script.called(), layer.stats().hedges()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_exchange_and_the_service_have_budgets() {
    let layer = after_100().extra(2);
    let script = Script::new(&[(500, 200)]);
    let own = script.clone();
    let service = layer.layer(service_fn(move |_: Request<Body>| own.clone().answer()));
    let mut request = Request::new(Body::empty());
    let deadline = Deadline::new().attempts(2);
    request.extensions_mut().insert(deadline.clone());
    service.oneshot(request).await.unwrap();
    assert_eq!((script.called(), deadline.left()), (2, 0));
    assert_eq!((layer.stats().hedges(), layer.stats().denied()), (1, 1));

    // One a second, and a tenth of the calls. A router without state calls `layer` for each request.
    let layer = after_100();
    let script = Script::new(&[(101, 200)]);
    for _ in 0..50 {
        script.asked(&layer.clone()).await;
    }
    assert_eq!(layer.stats().hedges() + layer.stats().denied(), 50);
    assert!(
        (10..=15).contains(&layer.stats().hedges()),
        "{:?}",
        layer.stats()
    );
}

#[tokio::test(start_paused = true)]
async fn a_percentile_is_of_what_was_seen() {
    let layer = HedgeLayer::new();
    let script = Script::new(&[(100, 200)]);
    for _ in 0..40 {
        script.asked(&layer).await;
    }
    assert_eq!(layer.stats().hedges(), 0);
    let delay = layer.delay().unwrap();
    assert!((100..=114).contains(&delay.as_millis()), "{delay:?}");
    let script = Script::new(&[(5000, 200), (10, 200)]);
    let (won_by, _, took) = script.asked(&layer).await;
    assert!(won_by == 1 && took < 130);
    assert_eq!(layer.clone().extra(2).delay(), None, "another layer");
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_waits_until_there_is_a_place_for_it() {
    let script = Script::new(&[(500, 200)]);
    let own = script.clone();
    let mut service = ServiceBuilder::new()
        .layer(after_100())
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(move |_: Request<Body>| own.clone().answer());
    for called in 1..4 {
        let ready = service.ready().await.unwrap();
        ready.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(script.called(), called);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_after_any_poll_leaves_every_place_free() {
    let places = Arc::new(Semaphore::new(2));
    let budget = Budget::concurrent().percent(0).minimum(1);
    let layer = after_100().budget(budget.clone());
    let script = Script::new(&[(170, 200)]);
    let mut polls = 0;
    loop {
        let own = script.clone();
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(places.clone()))
            .service_fn(move |_: Request<Body>| own.clone().answer());
        let mut call = task::spawn(service.oneshot(Request::new(Body::empty())));
        let mut over = false;
        for _ in 0..polls {
            over = over || call.poll().is_ready();
            tokio::time::advance(30 * MILLI).await;
        }
        drop(call);
        assert_eq!((places.available_permits(), script.running()), (2, 0));
        let probe = budget.call(Instant::now());
        assert!(
            probe.further(Instant::now()).is_some(),
            "after {polls} polls"
        );
        if over {
            break;
        }
        polls += 1;
    }
    assert!(polls > 5 && layer.stats().hedges() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_second_is_not_the_end_of_the_first() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = calls.clone();
    let service = after_100().layer(service_fn(move |_: Request<Body>| {
        let nth = counts.fetch_add(1, Ordering::Relaxed);
        async move {
            if nth > 0 {
                return Response::reject(Rejection::new(Kind::Overloaded));
            }
            sleep(300 * MILLI).await;
            Answer::Ok(Response::new(Body::empty()))
        }
    }));
    let answer = service.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), calls.load(Ordering::Relaxed)),
        (200, 2)
    );
}
