use super::{shared::Permit, *};
use crate::{Body, Rejection, key::Key, rejection::Kind};
use axum::{Router, routing::get};
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

fn enter<C, K: Key<()>>(layer: &CircuitBreakerLayer<C, K>) -> Result<Permit, Rejection> {
    layer.circuits.of(&layer.key, &()).admit()
}

/// Half open from the next call on.
fn half_open(probes: u16) -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new()
        .cool_down(Duration::ZERO)
        .probes(probes);
    layer.handle().trip();
    layer
}

#[test]
fn of_64_threads_no_more_get_through_than_there_are_probes() {
    let layer = half_open(10);
    let (start, through) = (Barrier::new(64), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                let permit = enter(&layer);
                through.fetch_add(usize::from(permit.is_ok()), Ordering::SeqCst);
                // Nobody gives back before all have tried.
                start.wait();
            });
        }
    });
    assert_eq!(through.into_inner(), 10);
    assert_eq!(layer.handle().stats().not_permitted_calls(), 54);
    assert_eq!(layer.state(), State::HalfOpen);
}

#[test]
fn of_64_threads_that_come_and_go_no_more_are_in_at_once_than_there_are_probes() {
    let layer = half_open(7);
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let Ok(permit) = enter(&layer) else {
                        thread::yield_now();
                        continue;
                    };
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    // Others come in now, if they can.
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!((1..=7).contains(&most), "{most}");
    assert_eq!(layer.state(), State::HalfOpen, "nobody has answered");
}

#[test]
fn the_presets_have_the_numbers_that_they_are_known_by() {
    let seconds = Duration::from_secs;
    let config = CircuitBreakerLayer::resilience4j().settings.config;
    assert_eq!(
        (config.window, config.minimum_calls, config.failure_percent),
        (Span::Calls(100), 100, 50)
    );
    assert_eq!(config.slow, Some((seconds(60), 100)));
    assert_eq!((config.cool_down, config.probes), (seconds(60), 10));
    let config = CircuitBreakerLayer::gateway().settings.config;
    assert_eq!(
        (config.window, config.minimum_calls, config.failure_percent),
        (Span::Seconds(10), 20, 50)
    );
    assert_eq!((config.slow, config.probes), (None, 3));
    assert_eq!(
        (config.cool_down, config.longest_cool_down),
        (seconds(5), seconds(60))
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_of_seconds_forgets_a_bad_time() {
    let layer = CircuitBreakerLayer::gateway();
    for _ in 0..19 {
        enter(&layer).unwrap().record(Outcome::Failure);
    }
    advance(Duration::from_secs(10)).await;
    for _ in 0..20 {
        enter(&layer).unwrap().record(Outcome::Success);
    }
    enter(&layer).unwrap().record(Outcome::Failure);
    assert_eq!(layer.state(), State::Closed, "one of 21");
    let stats = layer.handle().stats();
    assert_eq!((stats.buffered_calls(), stats.failed_calls()), (21, 20));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_revised_in_the_second_of_its_head() {
    let layer = CircuitBreakerLayer::gateway().minimum_calls(2);
    let mut old = enter(&layer).unwrap();
    old.record(Outcome::Success);
    advance(Duration::from_secs(5)).await;
    let mut new = enter(&layer).unwrap();
    new.record(Outcome::Success);
    advance(Duration::from_secs(5)).await;
    old.revise();
    assert_eq!(layer.handle().stats().buffered_failed_calls(), 0, "it left");
    new.revise();
    new.revise();
    assert_eq!(layer.handle().stats().buffered_failed_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_watches_hears_every_change_in_its_order() {
    let layer = CircuitBreakerLayer::new().minimum_calls(1).probes(1);
    let handle = layer.handle();
    let mut changes = handle.changes();
    enter(&layer).unwrap().record(Outcome::Failure);
    advance(Duration::from_secs(30)).await;
    enter(&layer).unwrap().record(Outcome::Success);
    handle.disable();
    handle.disable();
    handle.trip();
    use State::{Closed, Disabled, HalfOpen, Open};
    let states = [Closed, Open, HalfOpen, Closed, Disabled, Open];
    for pair in states.windows(2) {
        let change = changes.changed().await.unwrap();
        assert_eq!([change.from(), change.to()], pair);
    }
    let mut next = task::spawn(async { changes.changed().await });
    assert_pending!(next.poll());
    drop(handle);
    drop(layer);
    assert!(next.is_woken());
    assert_eq!(assert_ready!(next.poll()), None);
}

#[tokio::test]
async fn who_is_slow_to_watch_misses_the_oldest_changes() {
    let layer = CircuitBreakerLayer::new();
    let handle = layer.handle();
    let mut changes = handle.changes();
    for _ in 0..1000 {
        handle.force_open();
        handle.reset();
    }
    drop((layer, handle));
    let mut heard = 0;
    while changes.changed().await.is_some() {
        heard += 1;
    }
    assert_eq!(heard, 64);
}

type Asked = Request<()>;

fn by_path(req: &Asked) -> Option<String> {
    let path = req.uri().path();
    (path != "/").then(|| path.to_owned())
}

type ByPath = fn(&Asked) -> Option<String>;

fn keyed() -> CircuitBreakerLayer<ByHealth, ByPath> {
    CircuitBreakerLayer::new()
        .minimum_calls(1)
        .key(by_path as ByPath)
}

fn asked(path: &str) -> Asked {
    Request::get(path).body(()).unwrap()
}

/// One call that fails.
fn fail(layer: &CircuitBreakerLayer<ByHealth, ByPath>, path: &str) -> Result<(), Rejection> {
    let mut permit = layer.circuits.of(&layer.key, &asked(path)).admit()?;
    permit.record(Outcome::Failure);
    Ok(())
}

fn kept(layer: &CircuitBreakerLayer<ByHealth, ByPath>) -> usize {
    // Beside the two that are shared.
    layer.handle().stats().circuits() - 2
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_circuit_and_calls_without_one_share_theirs() {
    let layer = keyed()
        .name("upstream")
        .key_name(|path: &String| path.as_str().into());
    let mut changes = layer.handle().changes();
    fail(&layer, "/a").unwrap();
    let change = changes.changed().await.unwrap();
    assert_eq!(
        (change.circuit(), change.key()),
        (Some("upstream"), Some("/a"))
    );
    assert_eq!(fail(&layer, "/a").unwrap_err().kind(), Kind::CircuitOpen);
    fail(&layer, "/b").unwrap();
    fail(&layer, "/").unwrap();
    assert!(fail(&layer, "/").is_err());
    let stats = layer.handle().stats();
    assert_eq!((stats.circuits(), stats.not_closed()), (4, 3));
    assert_eq!(stats.not_permitted_calls(), 2);
    assert_eq!(layer.state(), State::Open);

    let one = layer.handle_of(&"/b".to_owned()).unwrap();
    assert_eq!(one.state(), State::Open);
    one.reset();
    assert_eq!(one.state(), State::Closed);
    assert!(fail(&layer, "/b").is_ok() && fail(&layer, "/a").is_err());
}

#[tokio::test(start_paused = true)]
async fn beyond_the_cap_new_keys_share_one_circuit() {
    let layer = keyed().max_keys(2);
    for path in ["/a", "/b", "/c"] {
        fail(&layer, path).unwrap();
    }
    assert!(fail(&layer, "/d").is_err(), "that of c");
    for key in 0..1000 {
        let _ = fail(&layer, &format!("/{key}"));
    }
    assert_eq!(kept(&layer), 2);
    let has_own = |key: &str| layer.handle_of(&key.to_owned()).is_some();
    assert!(has_own("/a") && !has_own("/c"));
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_uses_are_forgotten_but_not_while_they_are_open_or_held() {
    let minute = Duration::from_secs(60);
    let layer = keyed().idle(minute).cool_down(5 * minute);
    let held = layer.handle_of(&"/held".to_owned()).unwrap();
    let forced = layer.handle_of(&"/forced".to_owned()).unwrap();
    forced.force_open();
    drop(forced);
    for key in 0..1000 {
        fail(&layer, &format!("/{key}")).unwrap();
    }
    assert_eq!(kept(&layer), 1002);
    let counted = layer.handle().stats().failed_calls();
    let sweep = || {
        for key in 1000..1200 {
            let _ = fail(&layer, &format!("/{key}"));
        }
    };
    advance(4 * minute).await;
    sweep();
    assert_eq!(kept(&layer), 1202, "as long as the cool-down lasts");
    advance(5 * minute).await;
    sweep();
    assert_eq!(kept(&layer), 202);
    assert!(
        fail(&layer, "/forced").is_err(),
        "until somebody says otherwise"
    );
    let stats = layer.handle().stats();
    assert!(
        stats.failed_calls() >= counted,
        "also of those that are forgotten"
    );
    held.force_open();
    assert!(fail(&layer, "/held").is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_forced_holds_for_keys_to_come() {
    let layer = keyed();
    fail(&layer, "/a").unwrap();
    let handle = layer.handle();
    let mut changes = handle.changes();
    handle.metrics_only();
    for path in ["/a", "/b", "/b"] {
        fail(&layer, path).unwrap();
    }
    assert_eq!(layer.state(), State::MetricsOnly);
    handle.reset();
    fail(&layer, "/c").unwrap();
    assert!(fail(&layer, "/c").is_err());
    drop((layer, handle));
    let mut begun = 0;
    while let Some(change) = changes.changed().await {
        begun += usize::from(change.to() == State::MetricsOnly);
    }
    assert_eq!(begun, 3, "of a and the two that are shared");
}

#[tokio::test]
async fn a_router_that_wraps_for_each_request_keeps_the_circuits() {
    let layer = CircuitBreakerLayer::new()
        .minimum_calls(1)
        .key(|req: &Request<axum::body::Body>| Some(req.uri().path().to_owned()));
    let app: Router = Router::new()
        .route("/down", get(async || StatusCode::BAD_GATEWAY))
        .route("/up", get(async || "up"))
        .layer(layer);
    let ask = async |path: &str| {
        let request = Request::get(path).body(axum::body::Body::empty());
        app.clone()
            .oneshot(request.unwrap())
            .await
            .unwrap()
            .status()
    };
    assert_eq!(ask("/down").await, StatusCode::BAD_GATEWAY);
    assert_eq!(ask("/down").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask("/up").await, StatusCode::OK);
}

/// Whatever the poll after which its caller goes, the probe is free again.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_after_any_poll_makes_room() {
    const TURNS: usize = 4;
    for polls in 0..=TURNS {
        let layer = half_open(1);
        let inner = service_fn(async |_: ()| {
            for _ in 0..TURNS - 1 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(Response::new(Body::new(Dripping)))
        });
        let mut service = ServiceBuilder::new().layer(layer.clone()).service(inner);
        let mut call = task::spawn(service.ready().await.unwrap().call(()));
        let mut answer = None;
        for _ in 0..polls {
            if let Poll::Ready(Ok(response)) = call.poll() {
                answer = Some(response);
            }
        }
        drop(call);
        // By its head the probe has succeeded, and the circuit is closed; else there is room for another.
        let state = if answer.is_some() {
            State::Closed
        } else {
            State::HalfOpen
        };
        drop(answer);
        let again = enter(&layer);
        assert!(again.is_ok(), "after {polls} polls");
        assert_eq!(layer.state(), state, "after {polls} polls");
        let stats = layer.handle().stats();
        let answered = usize::from(state == State::Closed);
        assert_eq!(stats.successful_calls(), answered as u64);
        assert_eq!(stats.ignored_calls(), 1 - answered as u64);
    }
}

struct Dripping;

impl http_body::Body for Dripping {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn one_that_is_held_open_does_not_call() {
    let layer = CircuitBreakerLayer::new();
    layer.handle().force_open();
    let inner = service_fn(async |_: ()| pending::<Result<Response<Body>, Infallible>>().await);
    let mut service = ServiceBuilder::new().layer(layer).service(inner);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let answer = service.call(()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("proxy-status"));
    assert!(!answer.headers().contains_key("retry-after"));
}
